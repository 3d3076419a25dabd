/**
 * Throughput on this machine, beside node:net.
 *
 * A sender and a receiver, each a process of its own, move random bytes over 127.0.0.1: with Confundo in two editions and
 * with node:net, in turns. The receiver checks the sha256. The clock runs from before connect() to `finish` at the sender
 * and the matching hash at the receiver. Medians of all rounds, and what share of node:net's they are.
 *
 *   npm run build && node bench/localhost.ts [MiB] [rounds]
 */
import { type ChildProcess, fork } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { type ConfundoSocket, connect, createServer, type EditionName } from "confundo";

const MEBIBYTE = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const WAYS = ["fiu-2023", "ucla-2017", "node:net"] as const;

type Way = (typeof WAYS)[number];

const [, , role, way, ...rest] = process.argv;
if (role === "receive") await receive(way as Way);
else if (role === "send") await send(way as Way, Number(rest[0]), Number(rest[1]));
else await compare(Number(role ?? 64), Number(way ?? 5));

async function compare(mebibytes: number, rounds: number): Promise<void> {
  const rates = new Map<Way, number[]>(WAYS.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of WAYS) rates.get(name)?.push(await run(name, mebibytes));
  }
  const reference = median(rates.get("node:net") ?? []);
  console.log(`${mebibytes} MiB over 127.0.0.1, Node ${process.versions.node}, median of ${rounds}`);
  for (const [name, values] of rates) {
    const rate = median(values);
    const spread = `${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)}`;
    const share = ((rate / reference) * 100).toFixed(1);
    console.log(`${name.padEnd(10)} ${rate.toFixed(1).padStart(8)} MiB/s  (${spread})  ${share} % of node:net`);
  }
}

/** One transfer between two new processes, in MiB/s. */
async function run(name: Way, mebibytes: number): Promise<number> {
  const receiver = start("receive", name);
  const [port] = await once(receiver, "message");
  const receiving = once(receiver, "message");
  const sender = start("send", name, `${port}`, `${mebibytes}`);
  const [[sent], [received]] = await Promise.all([once(sender, "message"), receiving]);
  if (sent.hash !== received) throw new Error(`${name}: what arrived is not what was sent`);
  await Promise.all([once(sender, "exit"), once(receiver, "exit")]);
  return mebibytes / (sent.elapsedMs / 1000);
}

function start(...args: string[]): ChildProcess {
  return fork(fileURLToPath(import.meta.url), args);
}

async function receive(name: Way): Promise<void> {
  const onConnection = async (socket: Duplex) => {
    const hash = createHash("sha256");
    for await (const chunk of socket) hash.update(chunk);
    process.send?.(hash.digest("hex"));
    process.disconnect?.();
    server.close();
  };
  const server =
    name === "node:net"
      ? net.createServer({ allowHalfOpen: false }, onConnection)
      : createServer({ edition: name as EditionName }, onConnection);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send?.((server.address() as AddressInfo).port);
}

async function send(name: Way, port: number, mebibytes: number): Promise<void> {
  const hash = createHash("sha256");
  const block = randomFillSync(Buffer.allocUnsafe(CHUNK_BYTES));
  const blocks = (mebibytes * MEBIBYTE) / CHUNK_BYTES;
  // Hashed beforehand: the receiver's hashing is part of its work, the sender's is not.
  for (let i = 0; i < blocks; i++) hash.update(block);
  function* source() {
    for (let i = 0; i < blocks; i++) yield block;
  }
  const began = performance.now();
  const socket: Duplex | ConfundoSocket =
    name === "node:net"
      ? net.connect(port, "127.0.0.1")
      : connect({ port, host: "127.0.0.1", edition: name as EditionName });
  socket.resume();
  await pipeline(Readable.from(source(), { objectMode: false }), socket);
  process.send?.({ elapsedMs: performance.now() - began, hash: hash.digest("hex") });
  process.disconnect?.();
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
