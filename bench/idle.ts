/**
 * Memory of a server with 1,000 idle connections, beside node:net.
 *
 * The server, a process of its own, answers what each client sends with the same bytes; after that all are silent. What
 * is told is what it holds more than before the first connection, divided by their number: resident memory, and what
 * the garbage collector keeps (the heap and array buffers). A hundred connections come and go first, as a warm-up.
 *
 *   npm run build && node bench/idle.ts [connections] [rounds] [bytes exchanged] [words of the ways wanted]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { dial, serve } from "./support/duplex.js";
import { TCP, type Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";

const AT_ONCE = 20;
const WARM_UP = 100;
/** Long enough for a sign of life, with which buffers are given back. */
const SETTLE_MS = 7000;

const required = { extended: "required" } as const;
const WAYS: readonly Way[] = [
  TCP,
  { name: "confundo", peer: "confundo", options: required },
  { name: "confundo dgram", peer: "confundo", options: { ...required, tier: "dgram" } },
  { name: "confundo fiu-2023", peer: "confundo", options: { extended: false, edition: "fiu-2023" } },
];

interface Memory {
  readonly connections: number;
  readonly residentKiB: number;
  readonly heapKiB: number;
  readonly buffersKiB: number;
}

const [, , first = "1000", second = "5", third = "1024", fourth] = process.argv;
if (first === "serve") await echo(JSON.parse(second));
else if (first === "dial") await hold(JSON.parse(second), Number(third), Number(fourth), Number(process.argv[6]));
else await compare(Number(first), Number(second), Number(third), fourth);

async function compare(connections: number, rounds: number, bytes: number, words: string | undefined): Promise<void> {
  console.log(`${connections} connections after ${bytes} bytes each way, ${rounds} rounds, ${describeMachine()}`);
  const results = await alternate<Memory>({
    rounds,
    ways: chosen(WAYS, words),
    measure: (way) => measure(way, connections, bytes),
    line: ({ residentKiB, heapKiB, buffersKiB }) =>
      `per connection: resident ${residentKiB.toFixed(1)} KiB, heap ${heapKiB.toFixed(1)}, buffers ${buffersKiB.toFixed(1)}`,
  });
  const middle = (memory: readonly Memory[], of: (one: Memory) => number): string => median(memory.map(of)).toFixed(1);
  console.log();
  printTable(results, [
    { title: "resident KiB each", of: (memory) => middle(memory, ({ residentKiB }) => residentKiB) },
    { title: "heap KiB each", of: (memory) => middle(memory, ({ heapKiB }) => heapKiB) },
    { title: "buffers KiB each", of: (memory) => middle(memory, ({ buffersKiB }) => buffersKiB) },
  ]);
  console.log(`\nafterwards: ${describeMachine()}`);
}

async function measure(way: Way, connections: number, bytes: number): Promise<Memory> {
  const server = child(["serve", JSON.stringify(way)]);
  const [port] = await once(server, "message");
  const ask = async (): Promise<{ connections: number; memory: NodeJS.MemoryUsage }> => {
    server.send("memory");
    const [answer] = await once(server, "message");
    return answer;
  };
  const warmUp = child(["dial", JSON.stringify(way), `${port}`, `${WARM_UP}`, `${bytes}`]);
  await Promise.race([once(warmUp, "message"), once(warmUp, "exit")]);
  warmUp.send("end");
  await once(warmUp, "exit");
  await sleep(SETTLE_MS);
  const before = await ask();
  const clients = child(["dial", JSON.stringify(way), `${port}`, `${connections}`, `${bytes}`]);
  await Promise.race([once(clients, "message"), once(clients, "exit")]);
  await sleep(SETTLE_MS);
  const after = await ask();
  for (const end of [clients, server]) if (end.connected) end.disconnect();
  if (after.connections - before.connections !== connections) {
    throw new Error(`${after.connections - before.connections} connections at the server`);
  }
  const each = (key: keyof NodeJS.MemoryUsage): number => (after.memory[key] - before.memory[key]) / connections / 1024;
  return {
    connections,
    residentKiB: each("rss"),
    heapKiB: each("heapUsed"),
    buffersKiB: each("external"),
  };
}

function child(args: string[]) {
  return fork(fileURLToPath(import.meta.url), args, { execArgv: ["--expose-gc"] });
}

async function echo(way: Way): Promise<void> {
  process.once("disconnect", () => process.exit());
  let connections = 0;
  const port = await serve(way, (socket) => {
    connections++;
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("error", () => {});
    socket.once("close", () => {
      connections--;
    });
  });
  process.on("message", () => {
    global.gc?.();
    global.gc?.();
    process.send?.({ connections, memory: process.memoryUsage() });
  });
  process.send?.(port);
}

/** Opens connections, exchanges a little on each and keeps them. */
async function hold(way: Way, port: number, connections: number, bytes: number): Promise<void> {
  process.once("disconnect", () => process.exit());
  const sockets: Duplex[] = [];
  const message = Buffer.alloc(bytes, 7);
  const one = async (): Promise<void> => {
    const socket = await dial(way, port);
    sockets.push(socket);
    let missing = bytes;
    socket.write(message);
    await new Promise<void>((resolve) => {
      socket.on("data", (chunk: Uint8Array) => {
        missing -= chunk.length;
        if (missing <= 0) resolve();
      });
      if (bytes === 0) resolve();
    });
  };
  while (sockets.length < connections) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, connections - sockets.length) }, one));
  }
  process.send?.("open");
  await once(process, "message");
  await Promise.all(
    sockets.map(async (socket) => {
      socket.resume().end();
      await once(socket, "close");
    }),
  );
  process.disconnect?.();
}
