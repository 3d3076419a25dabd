/**
 * `confundo mirror --once` beside `rsync` through its daemon, on the same disks.
 *
 * Two folders: many small files, and one large one, all random bytes. For each, both programs fill an empty destination, in
 * turns; the destination is compared with the folder after each run. The clock runs from the start of the client to its end.
 * Both servers are started once for each run, on a free port of 127.0.0.1; rsync's with a configuration of its own. Peak
 * memory is VmHWM, where /proc has it. Before a run the disks are brought to rest (sync). Medians of all rounds.
 *
 *   npm run build && node bench/mirror.ts [files] [bytes of each] [MiB of the large file] [rounds]
 *
 * They do not promise the same. confundo ends when each file has been hashed against what the sender read, flushed
 * (fdatasync, and its folder) and renamed, so that after a power cut all of it is there. rsync flushes nothing: what it has
 * renamed is in the page cache. `rsync --fsync` flushes each file, one after the other, and is measured where it is known.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MEBIBYTE = 1024 * 1024;
const PROGRAM = fileURLToPath(new URL("../bin/confundo.js", import.meta.url));
const SAMPLE_MS = 20;

const [files = 10_000, fileBytes = 4096, largeMiB = 1024, rounds = 3] = process.argv.slice(2).map(Number);

interface Run {
  readonly seconds: number;
  readonly clientMiB: number;
  readonly serverMiB: number;
}

type Way = (folder: string, destination: string) => Promise<Run>;

const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-bench-")));
const children = new Set<ChildProcess>();
process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

await main();

async function main(): Promise<void> {
  const ways: Record<string, Way> = { "confundo mirror --once": viaConfundo, ...rsyncWays() };
  console.log(`Node ${process.versions.node}, ${os.availableParallelism()} CPUs, ${fs.realpathSync(os.tmpdir())}`);
  for (const [name, make] of [
    [`${files} files of ${fileBytes} bytes`, makeSmall],
    [`one file of ${largeMiB} MiB`, makeLarge],
  ] as const) {
    const folder = fs.mkdtempSync(path.join(work, "source-"));
    make(folder);
    await compare(name, folder, ways);
    fs.rmSync(folder, { recursive: true });
  }
}

async function compare(name: string, folder: string, ways: Record<string, Way>): Promise<void> {
  const runs = new Map<string, Run[]>();
  const wanted = fingerprint(folder);
  for (let round = 0; round < rounds; round++) {
    for (const [way, run] of Object.entries(ways)) {
      const destination = fs.mkdtempSync(path.join(work, "destination-"));
      spawnSync("sync");
      const result = await run(folder, destination);
      if (fingerprint(path.join(destination, "m")) !== wanted) throw new Error(`${way}: the destination differs`);
      runs.set(way, [...(runs.get(way) ?? []), result]);
      fs.rmSync(destination, { recursive: true });
    }
  }
  const reference = median((runs.get("confundo mirror --once") ?? []).map(({ seconds }) => seconds));
  console.log(`\n${name}, median of ${rounds}            seconds  of ours   peak MiB: client  server`);
  for (const [way, results] of runs) {
    const seconds = median(results.map((run) => run.seconds));
    const client = median(results.map((run) => run.clientMiB));
    const server = median(results.map((run) => run.serverMiB));
    const cells = [seconds.toFixed(2), (seconds / reference).toFixed(2), client.toFixed(0), server.toFixed(0)];
    console.log(
      `  ${way.padEnd(48)}${cells[0]?.padStart(8)}${cells[1]?.padStart(9)}${cells[2]?.padStart(18)}${cells[3]?.padStart(8)}`,
    );
  }
}

async function viaConfundo(folder: string, destination: string): Promise<Run> {
  const server = start(process.execPath, [PROGRAM, "serve", destination, "--port", "0"]);
  const [listening] = await once(server.stdout as NodeJS.ReadableStream, "data");
  const port = /listening on \S+:(\d+)/.exec(String(listening))?.[1];
  return measure(process.execPath, [PROGRAM, "mirror", folder, `confundo://127.0.0.1:${port}/m`, "--once"], server);
}

function rsyncWays(): Record<string, Way> {
  const { stdout, status } = spawnSync("rsync", ["--help"], { encoding: "utf8" });
  if (status !== 0) {
    console.log("rsync is not installed: nothing to compare with.");
    return {};
  }
  const ways: Record<string, Way> = { "rsync -a (flushes nothing)": (...where) => viaRsync([], ...where) };
  if (stdout.includes("--fsync")) ways["rsync -a --fsync"] = (...where) => viaRsync(["--fsync"], ...where);
  return ways;
}

async function viaRsync(options: string[], folder: string, destination: string): Promise<Run> {
  const port = await freeTcpPort();
  const config = path.join(work, "rsyncd.conf");
  const owner = process.getuid?.() === 0 ? "uid = root\ngid = root\n" : "";
  fs.writeFileSync(
    config,
    `use chroot = no\naddress = 127.0.0.1\nreverse lookup = no\n${owner}[all]\n  path = ${destination}\n  read only = no\n`,
  );
  const server = start("rsync", ["--daemon", "--no-detach", `--port=${port}`, `--config=${config}`]);
  while (!(await answers(port))) await sleep(20);
  return measure("rsync", ["-a", ...options, `${folder}/`, `rsync://127.0.0.1:${port}/all/m/`], server);
}

/** Runs the client to its end, with an eye on the memory of both, and ends the server. */
async function measure(file: string, args: string[], server: ChildProcess): Promise<Run> {
  let [clientKiB, serverKiB] = [0, 0];
  const began = performance.now();
  const client = start(file, args);
  const sample = (): void => {
    clientKiB = Math.max(clientKiB, peakKiB(client.pid));
    // rsync's daemon serves in a process of its own, which receives in another.
    serverKiB = Math.max(serverKiB, familyPeakKiB(server.pid));
  };
  const timer = setInterval(sample, SAMPLE_MS);
  let problems = "";
  client.stderr?.on("data", (text) => (problems += text));
  const [code] = await once(client, "exit");
  const seconds = (performance.now() - began) / 1000;
  clearInterval(timer);
  sample();
  children.delete(client);
  server.kill("SIGTERM");
  await once(server, "exit");
  children.delete(server);
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${problems}`);
  return { seconds, clientMiB: clientKiB / 1024, serverMiB: serverKiB / 1024 };
}

function start(file: string, args: string[]): ChildProcess {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  child.stdout?.resume();
  child.stderr?.resume();
  return child;
}

/** The most memory a process has had, in KiB; 0 where nobody says, or it has ended. */
function peakKiB(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** The peaks of a process and of all that it has started, summed. */
function familyPeakKiB(pid: number | undefined): number {
  try {
    const own = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    return peakKiB(pid) + own.reduce((sum, child) => sum + familyPeakKiB(Number(child)), 0);
  } catch {
    return 0;
  }
}

function makeSmall(folder: string): void {
  for (let i = 0; i < files; i++) {
    const directory = path.join(folder, `${Math.floor(i / 100)}`);
    if (i % 100 === 0) fs.mkdirSync(directory);
    fs.writeFileSync(path.join(directory, `${i}`), randomFillSync(Buffer.allocUnsafe(fileBytes)));
  }
}

function makeLarge(folder: string): void {
  const fd = fs.openSync(path.join(folder, "large"), "w");
  const block = Buffer.allocUnsafe(MEBIBYTE);
  for (let i = 0; i < largeMiB; i++) fs.writeSync(fd, randomFillSync(block));
  fs.closeSync(fd);
}

/** One hash of all paths and contents. */
function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  const block = Buffer.allocUnsafe(MEBIBYTE);
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const full = path.join(folder, name);
    hash.update(`${name}\0`);
    if (!fs.statSync(full).isFile()) continue;
    const fd = fs.openSync(full, "r");
    for (let bytes = fs.readSync(fd, block); bytes > 0; bytes = fs.readSync(fd, block))
      hash.update(block.subarray(0, bytes));
    fs.closeSync(fd);
  }
  return hash.digest("hex");
}

async function freeTcpPort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
