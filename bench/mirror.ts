/**
 * Keeping a folder mirrored: confundo beside rsync (through its daemon), lsyncd, unison, rclone and syncthing, on the
 * same disk, in alternating rounds, each with a server and a client of its own. Tools that are not installed are named
 * and left out (Debian: rsync lsyncd unison syncthing rclone).
 *
 *   npm run build && node bench/mirror.ts [rows] [rounds] [words of the tools wanted] [scale]
 *
 * Rows, comma-separated, all without: small large unchanged byte latency burst1k burst20k moves copies resume many link.
 * Rounds: 3. Scale: 1; less makes every folder smaller, to try things out. Tables in Markdown come at the end.
 *
 * As root both ends live in a network namespace of their own, whose loopback interface counts the bytes of both
 * directions with their headers; else there are no bytes. The row `link` needs what bench/links.ts needs.
 * The clock runs from the start of a client to its end, or from a change to the moment when the destination shows it.
 * After each measurement the destination is compared with the folder. A tool that took longer than a minute in one
 * round sits out the rounds that are left.
 *
 * ext4 does not give an inode again for minutes after its file was deleted, and passes each of those by for every file that is
 * made nearby (`recently_deleted`): where much was deleted lately, creating files takes several times as long, for the bench
 * and for every tool. Give TMPDIR on a file system that was made for it.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Result, type Row, rows, type Site } from "./support/mirror-rows.js";
import { Loopback, Place } from "./support/place.js";
import { describeMachine, median } from "./support/report.js";
import { missing, type Tool } from "./support/tools.js";

const LONG_SECONDS = 60;

const [, , keys, rounds = "3", words, scale = "1"] = process.argv;
const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-bench-")));
const loopback = new Loopback();
const places = new Set<Place>();
process.once("SIGINT", () => process.exit(1));
process.once("SIGTERM", () => process.exit(1));
process.on("exit", () => {
  for (const place of places) place.killAll();
  loopback.close();
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 5 });
});

await main();

async function main(): Promise<void> {
  console.log(`${describeMachine()}, ${work}`);
  const tables: string[] = [];
  for (const row of rows(Number(scale))) {
    if (keys !== undefined && keys !== "all" && !keys.split(",").includes(row.key)) continue;
    console.log(`\n${row.key}: ${row.title}`);
    const began = performance.now();
    tables.push(table(row, await compare(row)));
    console.log(`  (${((performance.now() - began) / 1000).toFixed(0)} s for the row)`);
  }
  console.log(`\n${tables.join("\n")}\nafterwards: ${describeMachine()}`);
}

async function compare(row: Row): Promise<Map<Tool, Result[]>> {
  const results = new Map<Tool, Result[]>();
  const sites = new Map<Tool, Site>();
  const tools = row.tools.filter((tool) => isWanted(tool) && isThere(tool));
  const shared = row.lasting ? undefined : newFolder(row);
  const count = Math.min(Number(rounds), row.rounds ?? Number.POSITIVE_INFINITY);
  for (let round = 0; round < count; round++) {
    for (const tool of [...tools.slice(round % tools.length), ...tools.slice(0, round % tools.length)]) {
      const before = results.get(tool) ?? [];
      if (before.length < round || before.some(({ seconds }) => seconds > LONG_SECONDS)) continue;
      let site = sites.get(tool);
      try {
        site ??= await open(row, tool, shared ?? newFolder(row), round);
        if (row.lasting) sites.set(tool, site);
        spawnSync("sync");
        const result = await row.measure(site, round);
        results.set(tool, [...before, result]);
        console.log(`  ${round + 1} ${tool.name.padEnd(20)} ${describe(result)}`);
      } catch (error) {
        console.log(`  ${round + 1} ${tool.name.padEnd(20)} FAILED: ${error instanceof Error ? error.message : error}`);
      }
      if (!row.lasting && site !== undefined) await leave(site);
    }
  }
  for (const site of sites.values()) {
    await leave(site);
    fs.rmSync(site.place.folder, { recursive: true, force: true });
  }
  await row.end?.();
  if (shared !== undefined) fs.rmSync(shared, { recursive: true, force: true });
  return results;
}

function isWanted({ name }: Tool): boolean {
  return words === undefined || words === "all" || words.split(",").some((word) => name.includes(word));
}

function isThere(tool: Tool): boolean {
  const need = missing(tool);
  if (need !== undefined) console.log(`  ${tool.name}: ${need} is not installed`);
  return need === undefined;
}

function newFolder(row: Row): string {
  const folder = fs.mkdtempSync(path.join(work, "source-"));
  row.make(folder);
  return folder;
}

async function open(row: Row, tool: Tool, folder: string, round: number): Promise<Site> {
  const place = new Place(folder, (await row.wire?.(tool, round)) ?? loopback, work);
  places.add(place);
  const site: Site = { tool, place, running: await tool.open(place) };
  await row.setUp?.(site);
  return site;
}

async function leave({ place }: Site): Promise<void> {
  await place.close();
  places.delete(place);
}

function describe({ seconds, bytes, more = {} }: Result): string {
  const rest = Object.entries(more).map(([name, value]) => `, ${value.toFixed(0)} ${name}`);
  return `${seconds.toFixed(3)} s${Number.isNaN(bytes) ? "" : `, ${shownBytes(bytes)}`}${rest.join("")}`;
}

function table(row: Row, results: ReadonlyMap<Tool, readonly Result[]>): string {
  const middle = (of: readonly Result[], value: (result: Result) => number): number => median(of.map(value));
  const ours = middle([...results].find(([{ name }]) => name === "confundo")?.[1] ?? [], ({ seconds }) => seconds);
  const names = [...new Set([...results.values()].flat().flatMap(({ more }) => Object.keys(more ?? {})))];
  const titles = ["", "rounds", "seconds", "x ours", "bytes", ...names, "on disk by then"];
  const lines = [...results].map(([tool, all]) => {
    const seconds = middle(all, (result) => result.seconds);
    const more = names.map((name) => middle(all, (result) => result.more?.[name] ?? Number.NaN).toFixed(0));
    const bytes = middle(all, (result) => result.bytes);
    const figures = [all.length, seconds.toFixed(3), (seconds / ours).toFixed(2), shownBytes(bytes), ...more];
    return [tool.name, ...figures, tool.durability];
  });
  const rule = titles.map((_, i) => (i === 0 || i === titles.length - 1 ? "---" : "---:"));
  const text = [titles, rule, ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  return `**${row.title}** (aim: ${row.aim}):\n\n${text}\n`;
}

function shownBytes(bytes: number): string {
  if (Number.isNaN(bytes)) return "-";
  return bytes < 100_000 ? `${bytes} B` : `${(bytes / 1e6).toFixed(bytes < 10e6 ? 2 : 0)} MB`;
}
