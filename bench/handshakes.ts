/**
 * The time until many connections from one address are open, beside node:net: all begun at once, or one after the other.
 *
 * The server, a process of its own, accepts and does nothing else. Of each round the time from the first `connect()` to the
 * last `connect` event is taken; then all are closed.
 *
 *   npm run build && node bench/handshakes.ts [at once] [in sequence] [rounds]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { begin, dial, serve } from "./support/duplex.js";
import { TCP, type Way } from "./support/peers.js";
import { alternate, describeMachine, median, printTable } from "./support/report.js";

const CONFUNDO: Way = { name: "confundo", peer: "confundo", options: { extended: "required" } };
const CLASSIC: Way = { name: "confundo fiu-2023", peer: "confundo", options: { extended: false, edition: "fiu-2023" } };
const WAYS = [TCP, CONFUNDO, CLASSIC];

interface Opened {
  readonly ms: number;
  readonly failed: number;
}

async function withServer<T>(way: Way, use: (port: number) => Promise<T>): Promise<T> {
  const child = fork(fileURLToPath(import.meta.url), ["serve", JSON.stringify(way)]);
  const [port] = (await once(child, "message")) as [number];
  try {
    const result = await use(port);
    await sleep(LATE_MS);
    return result;
  } finally {
    child.kill();
    await once(child, "exit");
  }
}

/** Late FINs are answered for 2 s after a socket has closed, and take descriptors as long. */
const LATE_MS = 2500;

async function closed(socket: Duplex): Promise<void> {
  if (socket.closed) return;
  socket.on("error", () => {}).destroy();
  await once(socket, "close");
}

async function atOnce(way: Way, count: number): Promise<Opened> {
  return withServer(way, async (port) => {
    const began = performance.now();
    const sockets = Array.from({ length: count }, () => begin(way, port));
    const results = await Promise.allSettled(sockets.map((socket) => once(socket, "connect")));
    const ms = performance.now() - began;
    await Promise.all(sockets.map(closed));
    return { ms, failed: results.filter(({ status }) => status === "rejected").length };
  });
}

async function inSequence(way: Way, count: number): Promise<Opened> {
  return withServer(way, async (port) => {
    let failed = 0;
    const open: Duplex[] = [];
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      const socket: Duplex | null = await dial(way, port).catch(() => null);
      if (socket === null) failed++;
      if (socket !== null) open.push(socket);
      socket?.on("error", () => {}).destroy();
    }
    const ms = performance.now() - began;
    await Promise.all(open.map(closed));
    return { ms, failed };
  });
}

async function main(): Promise<void> {
  const [many = "4000", sequence = "2000", rounds = "5"] = process.argv.slice(2);
  console.log(describeMachine());
  for (const [title, count, open] of [
    ["at once", Number(many), atOnce],
    ["in sequence", Number(sequence), inSequence],
  ] as const) {
    console.log(`${count} ${title}`);
    const results = await alternate<Opened>({
      ways: WAYS,
      rounds: Number(rounds),
      measure: (way) => open(way, count),
      line: ({ ms, failed }) => `${ms.toFixed(0)} ms, ${failed} failed`,
    });
    printTable(results, [
      { title: "ms", of: (all) => median(all.map(({ ms }) => ms)).toFixed(0) },
      { title: "a second", of: (all) => ((1000 * count) / median(all.map(({ ms }) => ms))).toFixed(0) },
      { title: "failed", of: (all) => String(all.reduce((sum, { failed }) => sum + failed, 0)) },
    ]);
  }
}

if (process.argv[2] === "serve") {
  const port = await serve(JSON.parse(process.argv[3] as string) as Way, (socket) => {
    socket.on("error", () => {});
    socket.resume();
  });
  process.send?.(port);
} else await main();
