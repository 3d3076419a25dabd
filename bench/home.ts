/**
 * The seed scenario: one server, many clients at once, each mirroring many files; and many who listen to its events.
 *
 * Ten processes of `confundo mirror --once` share the clients (confundo.json), each with its own folder, key and connection; all
 * start together. Afterwards each copy is compared with its folder hash for hash, the database with both, and every listener
 * must have been told of every file. Memory is the server's VmHWM.
 *
 *   npm run build && node bench/home.ts [clients] [files of each] [bytes of each] [listeners]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";

const PROGRAM = fileURLToPath(new URL("../bin/confundo.js", import.meta.url));
const PROCESSES = 10;
const [clients = 100, files = 100, fileBytes = 4096, listeners = 1000] = process.argv.slice(2).map(Number);

const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-home-")));
const home = path.join(work, "home");
const children = new Set<ChildProcess>();
/** What programs have printed. */
const texts = new WeakMap<ChildProcess, string>();
process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

await main();
process.exit(0);

async function main(): Promise<void> {
  console.log(`Node ${process.versions.node}, ${os.availableParallelism()} CPUs`);
  console.log(`${clients} clients, ${files} files of ${fileBytes} bytes each; ${listeners} listeners`);
  const server = start(work, "serve", home, "--port", "0", "--http", "127.0.0.1:0");
  const [, port = ""] = await printed(server, /listening on \S+:(\d+)\n/);
  const [, url = ""] = await printed(server, /(http:\/\/[^\s/]+)/);
  const [, password = ""] = await printed(server, /password: (\S+)/);
  const idleMiB = memoryOf(server, "VmRSS");
  const heard = await listen(url, password);
  const listeningMiB = memoryOf(server, "VmRSS");
  const folders = Array.from({ length: clients }, (_, client) => makeFolder(client));
  const cpuBefore = cpuOf(server);
  const began = performance.now();
  const runs = Array.from({ length: PROCESSES }, (_, at) => mirrorAll(folders, at, port));
  await Promise.all(runs);
  const seconds = (performance.now() - began) / 1000;
  const cpu = cpuOf(server) - cpuBefore;
  for (const [client, folder] of folders.entries()) compare(folder, path.join(home, nameOf(client)));
  await everybodyHeard(heard);
  const told = (performance.now() - began) / 1000;
  const log = await run(work, "reindex", "--dir", home);
  const agreeing = log.split("\n").filter((line) => / 0 added, 0 changed, 0 removed$/.test(line)).length;
  if (agreeing !== clients) throw new Error(`the database agrees with ${agreeing} of ${clients} folders:\n${log}`);
  const all = clients * files;
  console.log(`all ${all} files are there, each hash right; the database agrees with every folder`);
  console.log(
    `${seconds.toFixed(1)} s (${Math.round(all / seconds)} files/s), ${cpu.toFixed(1)} s of CPU time at the server`,
  );
  console.log(`every listener was told of every file after ${told.toFixed(1)} s (${listeners * all} messages)`);
  console.log(
    `memory of the server: ${idleMiB} MiB idle, ${listeningMiB} MiB with the listeners, ${memoryOf(server, "VmHWM")} MiB at most`,
  );
}

function nameOf(client: number): string {
  return `client-${client}`;
}

function makeFolder(client: number): string {
  const folder = path.join(work, "folders", nameOf(client));
  for (let file = 0; file < files; file++) {
    const place = path.join(folder, `part-${file % 5}`, `file-${file}.bin`);
    fs.mkdirSync(path.dirname(place), { recursive: true });
    fs.writeFileSync(place, randomFillSync(Buffer.allocUnsafe(fileBytes)));
  }
  return folder;
}

async function mirrorAll(folders: readonly string[], at: number, port: string): Promise<void> {
  const mine = folders
    .map((folder, client) => ({ folder, address: `confundo://127.0.0.1:${port}/${nameOf(client)}` }))
    .filter((_, client) => client % PROCESSES === at);
  if (mine.length === 0) return;
  const cwd = path.join(work, `process-${at}`);
  fs.mkdirSync(cwd);
  fs.writeFileSync(path.join(cwd, "confundo.json"), JSON.stringify({ mirrors: mine }));
  await run(cwd, "mirror", "--once");
}

/** How many files each listener has been told of. */
async function listen(url: string, password: string): Promise<number[]> {
  const login = await fetch(`${url}/api/v1/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "admin", password }),
  });
  if (!login.ok) throw new Error(`login: ${login.status} ${await login.text()}`);
  const { token } = (await login.json()) as { token: string };
  const heard = Array.from({ length: listeners }, () => 0);
  const address = `${url.replace(/^http/, "ws")}/api/v1/events`;
  for (let first = 0; first < listeners; first += 50) {
    await Promise.all(
      heard.slice(first, first + 50).map(async (_, offset) => {
        const socket = new WebSocket(address, { headers: { authorization: `Bearer ${token}` } });
        socket.on("message", (message: Buffer) => {
          // Of thousands of messages to a thousand listeners, parsing all would be the benchmark's own work.
          if (message.includes('"file.stored"') && message.includes('"kind":"file"'))
            heard[first + offset] = (heard[first + offset] ?? 0) + 1;
        });
        await once(socket, "open");
      }),
    );
  }
  return heard;
}

async function everybodyHeard(heard: readonly number[]): Promise<void> {
  const wanted = clients * files;
  for (let left = 1200; heard.some((count) => count < wanted); left--) {
    if (left === 0) throw new Error(`a listener was told of ${Math.min(...heard)} of ${wanted} files`);
    await sleep(50);
  }
}

function compare(folder: string, copy: string): void {
  const [a, b] = [folder, copy].map((at) => {
    const names = fs.readdirSync(at, { recursive: true, encoding: "utf8" }).sort();
    return names.map((name) => `${name} ${hashOf(path.join(at, name))}`).join("\n");
  });
  if (a !== b) throw new Error(`${copy} is not what ${folder} is`);
}

function hashOf(file: string): string {
  if (fs.statSync(file).isDirectory()) return "folder";
  return createHash("sha256").update(fs.readFileSync(file)).digest("hex");
}

function start(cwd: string, ...args: string[]): ChildProcess {
  // Keys of its own for each process.
  const env = { ...process.env, NODE_OPTIONS: "", XDG_STATE_HOME: path.join(work, "state") };
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  texts.set(child, "");
  for (const output of [child.stdout, child.stderr]) {
    output?.setEncoding("utf8").on("data", (text: string) => texts.set(child, `${texts.get(child)}${text}`));
  }
  child.once("close", () => children.delete(child));
  return child;
}

async function run(cwd: string, ...args: string[]): Promise<string> {
  const child = start(cwd, ...args);
  const [code] = (await once(child, "close")) as [number];
  if (code !== 0) throw new Error(`confundo ${args.join(" ")} ended with ${code}:\n${texts.get(child)}`);
  return texts.get(child) ?? "";
}

async function printed(child: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const match = pattern.exec(texts.get(child) ?? "");
    if (match !== null) return match;
    if (!children.has(child)) throw new Error(`the server ended:\n${texts.get(child)}`);
    await sleep(20);
  }
}

function memoryOf({ pid }: ChildProcess, field: "VmRSS" | "VmHWM"): number {
  const [, kibibytes] =
    new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(fs.readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Math.round(Number(kibibytes) / 1024);
}

/** Seconds, of all its threads. */
function cpuOf({ pid }: ChildProcess): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
