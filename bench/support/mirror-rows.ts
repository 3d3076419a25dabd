/** The rows of bench/mirror.ts. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LINKS, Links, missing as missingLink, RECEIVER, tcpControllers } from "./link.js";
import { fingerprint, makeFiles, makeLarge, until } from "./mirror-folders.js";
import { counted, listening, type Place, peakMiB, type Wire } from "./place.js";
import { CONFUNDO, RSYNC_OVER, type Running, stallMs, TOOLS, type Tool } from "./tools.js";

const MEBIBYTE = 1024 * 1024;

export interface Result {
  readonly seconds: number;
  readonly bytes: number;
  /** Further figures, by their names. */
  readonly more?: Readonly<Record<string, number>>;
}

/** A tool at work on a folder. */
export interface Site {
  readonly tool: Tool;
  readonly place: Place;
  readonly running: Running;
  /** The client that follows. */
  child?: ChildProcess | undefined;
}

export interface Row {
  readonly key: string;
  readonly title: string;
  readonly aim: string;
  readonly tools: readonly Tool[];
  /** Each tool keeps its folder and destination over all rounds. Without, every round begins with an empty destination. */
  readonly lasting?: boolean;
  readonly rounds?: number;
  make(folder: string): void;
  /** The wire, and what it needs before a round. */
  wire?(tool: Tool, round: number): Promise<Wire>;
  /** Before the first round of a lasting site. */
  setUp?(site: Site): Promise<void>;
  measure(site: Site, round: number): Promise<Result>;
  end?(): Promise<void>;
}

export function rows(scale: number): Row[] {
  const scaled = (count: number): number => Math.max(1, Math.round(count * scale));
  return [
    small(scaled(10_000)),
    large(scaled(1024)),
    unchanged(scaled(10_000)),
    oneByte(scaled(1024)),
    latency(scaled(20)),
    burst("burst1k", scaled(1000), "0.5 s"),
    burst("burst20k", scaled(20_000), "3 s"),
    moves(scaled(256), scaled(1000)),
    copies(scaled(256)),
    resume(scaled(512)),
    many(scaled(1000)),
    ...link(scaled(1000), scaled(64)),
  ];
}

function small(files: number): Row {
  return {
    key: "small",
    title: `first mirror of ${files} files of 4 KiB`,
    aim: "at most 2 x rsync, ahead of all others",
    tools: named("confundo", "rsync", "rsync --fsync", "unison", "rclone (sftp)", "syncthing"),
    make: (folder) => void makeFiles(folder, files, 4096),
    measure: bringInLine,
  };
}

function large(mebibytes: number): Row {
  return {
    key: "large",
    title: `one random file of ${mebibytes} MiB`,
    aim: "at most 1.2 x rsync",
    tools: named("confundo", "rsync", "rsync --fsync", "unison", "syncthing"),
    make: (folder) => makeLarge(path.join(folder, "large"), mebibytes),
    measure: bringInLine,
  };
}

function unchanged(files: number): Row {
  return {
    key: "unchanged",
    title: `nothing changed in ${files} files`,
    aim: "at most 1.2 x rsync's time, under 2 KB",
    tools: named("confundo", "rsync", "unison", "rclone (sftp)"),
    lasting: true,
    make: (folder) => void makeFiles(folder, files, 4096),
    setUp: async (site) => void (await bringInLine(site)),
    measure: bringInLine,
  };
}

function oneByte(mebibytes: number): Row {
  const middle = (mebibytes * MEBIBYTE) / 2;
  return {
    key: "byte",
    title: `one byte changed in the middle of ${mebibytes} MiB, following (rsync, unison: run at once)`,
    aim: "at most 0.5 x rsync's time, under 300 KB",
    tools: named("confundo", "rsync", "unison", "syncthing", "lsyncd, delay 0"),
    lasting: true,
    make: (folder) => makeLarge(path.join(folder, "large"), mebibytes),
    setUp: inStep,
    async measure(site, round) {
      const at = middle + round * 4096;
      const [here, there] = [path.join(site.place.folder, "large"), path.join(site.place.copy, "large")];
      await sleep(1000);
      return measured(site, async () => {
        const fd = fs.openSync(here, "r+");
        const value = Buffer.from([~(byteAt(here, at) ?? 0) & 0xff]);
        fs.writeSync(fd, value, 0, 1, at);
        fs.closeSync(fd);
        await arrived(site, () => byteAt(there, at) === value[0]);
      });
    },
  };
}

function latency(changes: number): Row {
  return {
    key: "latency",
    title: `a small file changed until it stands at the destination, median of ${changes}`,
    aim: "at most 30 ms, losing nothing",
    tools: named("confundo", "lsyncd, delay 0", "lsyncd, delay 1", "unison", "syncthing"),
    lasting: true,
    rounds: 1,
    make: (folder) => void makeFiles(folder, 100, 1024),
    setUp: inStep,
    async measure(site) {
      const [here, there] = [path.join(site.place.folder, "0/7"), path.join(site.place.copy, "0/7")];
      const seconds: number[] = [];
      for (let i = 0; i < changes; i++) {
        await sleep(200 + ((i * 97) % 300));
        const content = `${i} `.repeat(300);
        const began = performance.now();
        fs.writeFileSync(here, content);
        await until(() => contentOf(there) === content, "a change");
        seconds.push((performance.now() - began) / 1000);
      }
      seconds.sort((a, b) => a - b);
      const most = (seconds.at(-1) ?? 0) * 1000;
      return {
        seconds: seconds[Math.floor(changes / 2)] ?? Number.NaN,
        bytes: Number.NaN,
        more: { "ms at most": most },
      };
    },
  };
}

function burst(key: string, files: number, aim: string): Row {
  return {
    key,
    title: `${files} files of 100 bytes created at once until all are there`,
    aim: `at most ${aim}`,
    tools: named("confundo", "lsyncd, delay 0", "lsyncd, delay 1", "unison", "syncthing"),
    lasting: true,
    make: (folder) => void makeFiles(folder, 10, 100),
    setUp: inStep,
    async measure(site, round) {
      await sleep(500);
      let creating = 0;
      const result = await measured(site, async () => {
        const began = performance.now();
        const names = makeFiles(path.join(site.place.folder, `burst ${round}`), files, 100, 500);
        creating = performance.now() - began;
        await allThere(path.join(site.place.copy, `burst ${round}`), names, 100);
      });
      return { ...result, more: { "ms to create them": creating } };
    },
  };
}

function moves(mebibytes: number, files: number): Row {
  return {
    key: "moves",
    title: `a file of ${mebibytes} MiB and a folder of ${files} files renamed (rsync, unison: run at once)`,
    aim: "under 0.1 MB sent",
    tools: named("confundo", "rsync", "unison", "syncthing"),
    lasting: true,
    make: (folder) => {
      makeLarge(path.join(folder, "large 0"), mebibytes);
      makeFiles(path.join(folder, "folder 0"), files, 1024, files);
    },
    setUp: inStep,
    async measure(site, round) {
      const { folder, copy } = site.place;
      const last = path.join(`folder ${round + 1}`, "0", `${files - 1}`);
      await sleep(1500);
      return measured(site, async () => {
        for (const what of ["large", "folder"]) {
          fs.renameSync(path.join(folder, `${what} ${round}`), path.join(folder, `${what} ${round + 1}`));
        }
        const gone = [`large ${round}`, `folder ${round}`].map((name) => path.join(copy, name));
        const there = [`large ${round + 1}`, last].map((name) => path.join(copy, name));
        await arrived(
          site,
          () => there.every((name) => fs.existsSync(name)) && !gone.some((name) => fs.existsSync(name)),
        );
      });
    },
  };
}

function copies(mebibytes: number): Row {
  const bytes = mebibytes * MEBIBYTE;
  return {
    key: "copies",
    title: `a copy of a file of ${mebibytes} MiB, edited in four places, under a new name (rsync, unison: run at once)`,
    aim: "under 1 MB sent",
    tools: named("confundo", "rsync", "unison", "syncthing"),
    lasting: true,
    make: (folder) => makeLarge(path.join(folder, "large"), mebibytes),
    setUp: inStep,
    async measure(site, round) {
      const { folder, copy } = site.place;
      const [here, there] = [path.join(folder, `copy ${round}`), path.join(copy, `copy ${round}`)];
      const beside = path.join(path.dirname(folder), `${path.basename(folder)}.copy`);
      fs.copyFileSync(path.join(folder, "large"), beside);
      const fd = fs.openSync(beside, "r+");
      for (let i = 1; i <= 4; i++) fs.writeSync(fd, `edited in round ${round}`, (i * bytes) / 5);
      fs.closeSync(fd);
      // What came last is to be at rest, and known, at the other end.
      await sleep(3000);
      const result = await measured(site, async () => {
        fs.renameSync(beside, here);
        await arrived(site, () => sizeOf(there) === bytes);
      });
      if (fingerprint(copy) !== fingerprint(folder)) throw new Error("the destination differs");
      return result;
    },
  };
}

function resume(mebibytes: number): Row {
  return {
    key: "resume",
    title: `${mebibytes} MiB, the client killed half way, then finished: seconds and bytes after the kill`,
    aim: "nothing twice but the tail (under 280 MB of 512 MiB)",
    tools: named("confundo", "rsync", "rsync --partial-dir", "syncthing"),
    make: (folder) => makeLarge(path.join(folder, "large"), mebibytes),
    async measure(site) {
      const { place, running } = site;
      const from = place.wire.bytes();
      if (Number.isNaN(from)) throw new Error("nobody counts bytes here: run it as root");
      const client = running.begin?.() ?? (await running.follow?.());
      await until(() => place.wire.bytes() - from > (mebibytes * MEBIBYTE) / 2, "the first half", 1);
      if (client !== undefined) await place.kill(client);
      await sleep(1000);
      return bringInLine(site);
    },
  };
}

function many(folders: number): Row {
  const chokidar: Tool = {
    name: "chokidar alone",
    durability: "-",
    needs: [],
    open: async (place) => ({ follow: () => watchWithChokidar(place) }),
  };
  return {
    key: "many",
    title: `${folders * 100} files in ${folders} folders followed: seconds until ready`,
    aim: "ready in 2 s, at most 250 MB, no stall over 100 ms",
    tools: [CONFUNDO, chokidar],
    lasting: true,
    make: (folder) => void makeFiles(folder, folders * 100, 16, 100),
    setUp: async (site) => void (await site.running.once?.()),
    async measure(site) {
      const result = await measured(site, async () => {
        site.child = await site.running.follow?.();
      });
      await sleep(1500);
      const peak = peakMiB(site.child?.pid);
      const stall = site.child === undefined ? Number.NaN : await stallMs(site.child);
      return { ...result, more: { "MiB at most": peak, "ms stall at most": stall } };
    },
  };
}

async function watchWithChokidar(place: Place): Promise<ChildProcess> {
  const program = `
    import { watch } from "chokidar"; import { monitorEventLoopDelay } from "node:perf_hooks"; import { writeSync } from "node:fs";
    const delay = monitorEventLoopDelay({ resolution: 5 }); delay.enable();
    process.on("SIGTERM", () => process.exit()).on("exit", () => writeSync(2, "STALL " + delay.max / 1e6 + "\\n"));
    watch(${JSON.stringify(place.folder)}, { ignoreInitial: true }).on("ready", () => console.log("ready"));`;
  const child = place.startClient(process.execPath, ["--input-type=module", "-e", program]);
  if (child.stdout !== null) await once(child.stdout, "data");
  return child;
}

function link(files: number, mebibytes: number): Row[] {
  const properties = LINKS.find(({ megabits, lossPercent }) => megabits === 100 && lossPercent === 1);
  const reason = missingLink();
  if (properties === undefined || reason !== null) {
    console.log(`the row link is left out: ${reason}`);
    return [];
  }
  const offered = tcpControllers();
  const tools = [CONFUNDO, ...RSYNC_OVER.filter(({ congestion = "" }) => offered.includes(congestion))];
  let links: Links | undefined;
  const over = "100 Mbit/s, 40 ms, 1 % loss";
  const common = {
    key: "link",
    aim: "ahead of both",
    tools,
    async wire(tool: Tool, round: number): Promise<Wire> {
      links ??= new Links();
      await links.up(properties, 1 + round, tool.congestion);
      const [client, server] = [links.senderCommand, links.receiverCommand];
      return {
        client,
        server,
        host: RECEIVER,
        bytes: () => counted(client, "tl0", [0, 8]),
        listens: (port) => listening(server, port),
      };
    },
    measure: bringInLine,
    async end(): Promise<void> {
      await links?.down();
      links?.close();
      links = undefined;
    },
  };
  return [
    {
      ...common,
      title: `${over}: ${files} files of 20 KiB`,
      make: (folder) => void makeFiles(folder, files, 20 * 1024),
    },
    {
      ...common,
      title: `${over}: one file of ${mebibytes} MiB`,
      make: (folder) => makeLarge(path.join(folder, "large"), mebibytes),
    },
  ];
}

function named(...names: string[]): Tool[] {
  return names.flatMap((name) => TOOLS.find((tool) => tool.name === name) ?? []);
}

/** Time and bytes of a task. */
async function measured({ place }: Site, task: () => Promise<void>): Promise<Result> {
  const before = place.wire.bytes();
  const began = performance.now();
  await task();
  const seconds = (performance.now() - began) / 1000;
  return { seconds, bytes: place.wire.bytes() - before };
}

/** From the start of the client until the destination equals the folder. */
async function bringInLine(site: Site): Promise<Result> {
  const { place, running } = site;
  const names = fs.readdirSync(place.folder, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => fs.statSync(path.join(place.folder, name)).isFile());
  const bytes = fs.statSync(path.join(place.folder, files[0] ?? "")).size;
  const result = await measured(site, async () => {
    if (running.once !== undefined) return running.once();
    site.child = await running.follow?.();
    await allThere(place.copy, files, bytes);
  });
  if (fingerprint(place.copy) !== fingerprint(place.folder)) throw new Error("the destination differs");
  return result;
}

/** Brought in line, and followed by those that follow. */
async function inStep(site: Site): Promise<void> {
  await bringInLine(site);
  site.child ??= await site.running.follow?.();
  await sleep(1000);
}

/** A tool that does not follow is run. */
async function arrived(site: Site, condition: () => boolean): Promise<void> {
  if (site.child === undefined) await site.running.once?.();
  await until(condition, "the change");
}

/** Resolves when all files are there, each with so many bytes. */
async function allThere(folder: string, names: readonly string[], bytes: number): Promise<void> {
  let at = 0;
  const complete = (): boolean => {
    while (at < names.length && sizeOf(path.join(folder, names[at] ?? "")) === bytes) at++;
    return at === names.length;
  };
  try {
    await until(complete, "all files", 2, 150);
  } catch {
    const lost = names.filter((name) => sizeOf(path.join(folder, name)) !== bytes).length;
    throw new Error(`${lost} of ${names.length} files were not there within 150 s`);
  }
}

function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? -1;
}

function contentOf(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function byteAt(file: string, at: number): number | undefined {
  const fd = fs.openSync(file, "r");
  const byte = Buffer.alloc(1);
  const bytes = fs.readSync(fd, byte, 0, 1, at);
  fs.closeSync(fd);
  return bytes === 1 ? byte[0] : undefined;
}
