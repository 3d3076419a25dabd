/**
 * What a followed folder costs and how fast its changes arrive: `confundo mirror` beside `lsyncd` (where it is installed), on the
 * same disks, both ends on this machine.
 *
 *   npm run build && node bench/follow.ts [changes] [files of the large tree]
 *
 * - latency: a file of 1 KiB is rewritten; the clock stops when the destination holds the new content.
 * - bursts: 1,000 and 20,000 files of 100 bytes are created in one go; the clock runs from before the first is created until the
 *   last is at the destination. How long the creating alone takes is told beside it.
 * - followed: a tree that is in step already; the clock runs from the start of the client to its `watching`. Peak memory is
 *   VmHWM; a stall is the longest time that the event loop of the client did not turn.
 *
 * confundo flushes each file and its folder (fdatasync, fsync) before it acknowledges it; what is measured is when it is visible.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describeMachine, median } from "./support/report.js";

const PROGRAM = fileURLToPath(new URL("../bin/confundo.js", import.meta.url));
/** Loaded into the client: says at its end how long its event loop stood still at most, and how much memory it took. */
const WITNESS = `data:text/javascript,${encodeURIComponent(`
  import fs from "node:fs"; import { isMainThread } from "node:worker_threads"; import { monitorEventLoopDelay } from "node:perf_hooks";
  if (isMainThread) {
    const delay = monitorEventLoopDelay({ resolution: 5 }); delay.enable();
    setTimeout(() => delay.reset(), 250).unref();
    process.on("exit", () => { const hwm = /VmHWM:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0;
      fs.writeSync(2, "WITNESS " + JSON.stringify({ stallMs: delay.max / 1e6, peakMiB: hwm / 1024 }) + "\\n"); });
  }`)}`;

/** What has not arrived after this long is taken for lost. */
const LOST_MS = 10_000;

const [changes = 20, largeTree = 100_000] = process.argv.slice(2).map(Number);
/** The same one each time: the index of the client is for an address. */
const PORT = 20_000 + (process.pid % 20_000);
const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-follow-")));
const children = new Set<ChildProcess>();
process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

interface Following {
  readonly folder: string;
  readonly destination: string;
  end(): Promise<Witness | undefined>;
}

interface Witness {
  readonly stallMs: number;
  readonly peakMiB: number;
}

console.log(`${describeMachine()}, ${work}`);
const ways: Record<string, (folder: string) => Promise<Following>> = { confundo: followWithConfundo };
if (spawnSync("lsyncd", ["--version"]).status === 0) ways["lsyncd -delay 0"] = followWithLsyncd;
for (const [name, follow] of Object.entries(ways)) {
  console.log(name);
  await latency(follow);
  for (const files of [1000, 20_000]) await burst(follow, files);
}
if (largeTree > 0) await followed(largeTree);

async function latency(follow: (folder: string) => Promise<Following>): Promise<void> {
  const { folder, destination, end } = await follow(newFolder());
  const took: number[] = [];
  for (let i = 0; i < changes + 3; i++) {
    await sleep(300 + 37 * (i % 7));
    const content = `${i} `.padEnd(1024, "x");
    const began = performance.now();
    fs.writeFileSync(path.join(folder, "file"), content);
    while (!holds(path.join(destination, "file"), content) && performance.now() - began < LOST_MS) await turn();
    took.push(performance.now() - began);
  }
  await end();
  const counted = took.slice(3).sort((a, b) => a - b);
  const at = (share: number): string => (counted[Math.floor(share * (counted.length - 1))] ?? 0).toFixed(1);
  console.log(
    `  latency of ${changes}: median ${median(counted).toFixed(1)} ms, least ${at(0)}, 90 % ${at(0.9)}, most ${at(1)}`,
  );
}

async function burst(follow: (folder: string) => Promise<Following>, files: number): Promise<void> {
  const { folder, destination, end } = await follow(newFolder());
  await sleep(1000);
  const began = performance.now();
  for (let i = 0; i < files; i++) {
    if (i % 500 === 0) fs.mkdirSync(path.join(folder, `d${i / 500}`));
    fs.writeFileSync(path.join(folder, `d${Math.floor(i / 500)}`, `f${i}`), `${i}`.padEnd(100, "."));
  }
  const created = performance.now();
  while (countOf(destination) < files) await sleep(20);
  const arrived = performance.now();
  const witness = await end();
  const stall =
    witness === undefined
      ? ""
      : `, longest stall ${witness.stallMs.toFixed(0)} ms, peak ${witness.peakMiB.toFixed(0)} MiB`;
  console.log(`  burst of ${files}: ${seconds(arrived - began)} (creating them ${seconds(created - began)})${stall}`);
}

async function followed(files: number): Promise<void> {
  const folder = newFolder();
  for (let i = 0; i < files; i++) {
    if (i % 100 === 0) fs.mkdirSync(path.join(folder, `d${i / 100}`));
    fs.writeFileSync(path.join(folder, `d${Math.floor(i / 100)}`, `f${i}`), `${i}`);
  }
  const first = await followWithConfundo(folder);
  const server = first.destination;
  await first.end();
  const began = performance.now();
  const second = await followWithConfundo(folder, path.dirname(server), (what) => {
    console.log(`  ${files} files followed: ${what} after ${seconds(performance.now() - began)}`);
  });
  await sleep(3000);
  const witness = await second.end();
  if (witness) console.log(`  longest stall ${witness.stallMs.toFixed(0)} ms, peak ${witness.peakMiB.toFixed(0)} MiB`);
}

async function followWithConfundo(
  folder: string,
  home = newFolder(),
  told: (what: string) => void = () => {},
): Promise<Following> {
  const server = start(process.execPath, [PROGRAM, "serve", home, "--no-http", "--port", String(PORT), "--insecure"]);
  const [listening] = await once(server.stdout as NodeJS.ReadableStream, "data");
  const port = /listening on \S+:(\d+)/.exec(String(listening))?.[1];
  const state = path.join(path.dirname(home), `state-of-${path.basename(folder)}`);
  const env = { ...process.env, XDG_STATE_HOME: state };
  const args = [
    "--import",
    WITNESS,
    PROGRAM,
    "mirror",
    folder,
    `confundo://127.0.0.1:${port}/m`,
    "--json",
    "--insecure",
  ];
  const client = start(process.execPath, args, env);
  let printed = "";
  let problems = "";
  client.stderr?.on("data", (text) => (problems += text));
  const seen = new Set<string>();
  await new Promise<void>((resolve, reject) => {
    client.once("exit", () => reject(new Error(`the client has ended: ${problems}`)));
    client.stdout?.on("data", (text) => {
      printed += text;
      for (const what of ["watching", "synced"]) {
        if (seen.has(what) || !printed.includes(`{"type":"${what}"`)) continue;
        seen.add(what);
        told(what);
      }
      if (seen.size === 2) {
        printed = "";
        resolve();
      }
    });
  });
  const end = async (): Promise<Witness | undefined> => {
    await stop(client, "SIGINT");
    await stop(server, "SIGTERM");
    const said = /WITNESS (.*)/.exec(problems)?.[1];
    return said === undefined ? undefined : (JSON.parse(said) as Witness);
  };
  return { folder, destination: path.join(home, "m"), end };
}

async function followWithLsyncd(folder: string): Promise<Following> {
  const destination = newFolder();
  const client = start("lsyncd", ["-nodaemon", "-delay", "0", "-rsync", folder, destination]);
  await sleep(2000);
  return {
    folder,
    destination,
    end: async () => {
      await stop(client, "SIGTERM");
      return undefined;
    },
  };
}

function start(file: string, args: string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], env });
  children.add(child);
  child.stdout?.resume();
  child.stderr?.resume();
  return child;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode === null) {
    child.kill(signal);
    await once(child, "exit");
  }
  children.delete(child);
}

function newFolder(): string {
  return fs.mkdtempSync(path.join(work, "f-"));
}

function holds(file: string, content: string): boolean {
  try {
    return fs.readFileSync(file, "utf8") === content;
  } catch {
    return false;
  }
}

function countOf(folder: string): number {
  try {
    return fs.readdirSync(folder).reduce((sum, name) => sum + fs.readdirSync(path.join(folder, name)).length, 0);
  } catch {
    return 0;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
