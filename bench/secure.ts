/**
 * What encryption costs: `confundo mirror --once` with TLS beside `--insecure`, in turns, on the same disk; and what a server
 * costs that does nothing: the time from its start until it listens, and its memory (VmRSS) a second later.
 *
 *   npm run build && node bench/secure.ts [MiB of the file] [small files] [rounds]
 *
 * The time of a mirror is from the start of the client to its end, so that the start of Node is in both. Processor seconds are
 * of the client and the server together, where /proc has them. Medians of all rounds.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../bin/confundo.js", import.meta.url));
const [fileMiB = 256, smallFiles = 2000, rounds = 3] = process.argv.slice(2).map(Number);
/** Of Linux, everywhere: getconf CLK_TCK. */
const TICKS_PER_SECOND = 100;

const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-bench-")));
const env = { ...process.env, XDG_STATE_HOME: path.join(work, "state") };
const children = new Set<ChildProcess>();
process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

interface Run {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly startMs: number;
  readonly idleMiB: number;
}

const folders = { [`one file of ${fileMiB} MiB`]: makeLarge(), [`${smallFiles} files of 4 KiB`]: makeSmall() };
console.log(`Node ${process.versions.node}, ${os.availableParallelism()} CPUs, medians of ${rounds}`);
for (const [name, folder] of Object.entries(folders)) {
  const runs: Record<"TLS" | "--insecure", Run[]> = { TLS: [], "--insecure": [] };
  for (let round = 0; round < rounds; round++) {
    runs.TLS.push(await mirror(folder, []));
    runs["--insecure"].push(await mirror(folder, ["--insecure"]));
  }
  console.log(`\n${name.padEnd(28)} seconds  CPU seconds  server: ms to listen  idle MiB`);
  for (const [way, all] of Object.entries(runs)) {
    const cell = (pick: (run: Run) => number, digits: number, width: number): string =>
      median(all.map(pick)).toFixed(digits).padStart(width);
    console.log(
      `  ${way.padEnd(26)}${cell((run) => run.seconds, 2, 8)}${cell((run) => run.cpuSeconds, 2, 13)}` +
        `${cell((run) => run.startMs, 0, 22)}${cell((run) => run.idleMiB, 0, 10)}`,
    );
  }
  const ratio = (pick: (run: Run) => number): string =>
    (median(runs.TLS.map(pick)) / median(runs["--insecure"].map(pick))).toFixed(2);
  console.log(`  ratio: ${ratio((run) => run.seconds)} in time, ${ratio((run) => run.cpuSeconds)} in CPU`);
}

async function mirror(folder: string, options: readonly string[]): Promise<Run> {
  const home = fs.mkdtempSync(path.join(work, "home-"));
  // The first start makes keys and a database: what is timed is a later one.
  await ended(await serve(home, options).then(({ server }) => server));
  const { server, port, startMs } = await serve(home, options);
  await sleep(1000);
  const idleMiB = status(server.pid, "VmRSS") / 1024;
  const before = cpuSeconds(server.pid);
  const began = performance.now();
  const client = start(["mirror", folder, `confundo://127.0.0.1:${port}/m`, "--once", ...options]);
  const closed = once(client, "close");
  let clientCpu = 0;
  const timer = setInterval(() => {
    clientCpu = Math.max(clientCpu, cpuSeconds(client.pid));
  }, 10);
  const [code] = await closed;
  const seconds = (performance.now() - began) / 1000;
  clearInterval(timer);
  if (code !== 0) throw new Error(`mirror ended with ${code}`);
  const cpu = clientCpu + cpuSeconds(server.pid) - before;
  await ended(server);
  fs.rmSync(home, { recursive: true });
  return { seconds, cpuSeconds: cpu, startMs, idleMiB };
}

async function serve(home: string, options: readonly string[]) {
  const began = performance.now();
  const server = start(["serve", home, "--port", "0", "--no-http", ...options]);
  let printed = "";
  const port = await new Promise<string>((resolve, reject) => {
    server.stdout?.on("data", (text) => {
      printed += text;
      const found = /^try: .*:(\d+)\/NAME/m.exec(printed)?.[1];
      if (found !== undefined) resolve(found);
    });
    server.once("exit", () => reject(new Error(`serve ended: ${printed}`)));
  });
  return { server, port, startMs: performance.now() - began };
}

function start(args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ["ignore", "pipe", "ignore"] });
  children.add(child);
  child.once("close", () => children.delete(child));
  if (args[0] === "mirror") child.stdout?.resume();
  return child;
}

async function ended(server: ChildProcess): Promise<void> {
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  await exit;
}

function status(pid: number | undefined, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(proc(pid, "status"))?.[1] ?? Number.NaN);
}

/** utime and stime of proc_pid_stat(5). */
function cpuSeconds(pid: number | undefined): number {
  const [, rest = ""] = proc(pid, "stat").split(") ");
  const fields = rest.split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
}

function proc(pid: number | undefined, file: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function makeLarge(): string {
  const folder = fs.mkdtempSync(path.join(work, "large-"));
  const fd = fs.openSync(path.join(folder, "large.bin"), "w");
  const block = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < fileMiB; i++) fs.writeSync(fd, randomFillSync(block));
  fs.closeSync(fd);
  return folder;
}

function makeSmall(): string {
  const folder = fs.mkdtempSync(path.join(work, "small-"));
  for (let i = 0; i < smallFiles; i++) fs.writeFileSync(path.join(folder, `${i}`), randomFillSync(Buffer.alloc(4096)));
  return folder;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
