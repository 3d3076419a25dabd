/**
 * Round trips of 64 bytes over 127.0.0.1, beside node:net and udx-native.
 *
 * An echo server and a client, each a process of its own; the client sends the next 64 bytes when the last have come
 * back, without Nagle. Each round has new processes, the first thousand round trips warm them up.
 *
 *   npm run build && node bench/ping-pong.ts [round trips] [rounds] [words of the ways wanted, with commas]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { dial, serve } from "./support/duplex.js";
import { TCP, UDX, type Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";

const MESSAGE_BYTES = 64;
const WARM_UP = 1000;

const required = { extended: "required" } as const;
const WAYS: readonly Way[] = [
  TCP,
  { name: "confundo", peer: "confundo", options: required },
  { name: "confundo dgram", peer: "confundo", options: { ...required, tier: "dgram" } },
  { name: "confundo fiu-2023", peer: "confundo", options: { extended: false, edition: "fiu-2023" } },
  UDX,
];

interface Times {
  readonly meanUs: number;
  readonly medianUs: number;
  readonly p99Us: number;
}

const [, , first = "20000", second = "5", third] = process.argv;
if (first === "serve") await echo(JSON.parse(second));
else if (first === "dial") await ping(JSON.parse(second), Number(third), Number(process.argv[5]));
else await compare(Number(first), Number(second), third);

async function compare(roundTrips: number, rounds: number, words: string | undefined): Promise<void> {
  console.log(`${roundTrips} round trips of ${MESSAGE_BYTES} bytes, ${rounds} rounds, ${describeMachine()}`);
  const results = await alternate<Times>({
    rounds,
    ways: chosen(WAYS, words),
    measure: (way) => measure(way, roundTrips),
    line: ({ meanUs, medianUs, p99Us }) =>
      `mean ${meanUs.toFixed(1)} µs, median ${medianUs.toFixed(1)} µs, 99 % within ${p99Us.toFixed(1)} µs`,
  });
  const mean = (times: readonly Times[]): number => median(times.map(({ meanUs }) => meanUs));
  const middle = (times: readonly Times[]): number => median(times.map(({ medianUs }) => medianUs));
  const tcp = results.get(TCP) ?? [];
  console.log();
  printTable(results, [
    { title: "mean µs", of: (times) => mean(times).toFixed(1) },
    { title: "x node:net", of: (times) => (mean(times) / mean(tcp)).toFixed(2) },
    { title: "median µs", of: (times) => middle(times).toFixed(1) },
    { title: "x node:net", of: (times) => (middle(times) / middle(tcp)).toFixed(2) },
    { title: "99 % within µs", of: (times) => median(times.map(({ p99Us }) => p99Us)).toFixed(1) },
  ]);
  console.log(`\nafterwards: ${describeMachine()}`);
}

async function measure(way: Way, roundTrips: number): Promise<Times> {
  const server = child("serve", way);
  const [port] = await once(server, "message");
  const client = child("dial", way, port, roundTrips);
  const [times] = await Promise.race([once(client, "message"), once(client, "exit")]);
  for (const end of [client, server]) if (end.connected) end.disconnect();
  if (typeof times !== "object" || times === null) throw new Error("the client ended before its report");
  return times;
}

function child(role: string, way: Way, ...args: number[]) {
  return fork(fileURLToPath(import.meta.url), [role, JSON.stringify(way), ...args.map(String)]);
}

async function echo(way: Way): Promise<void> {
  process.once("disconnect", () => process.exit());
  const port = await serve(way, (socket) => {
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("error", () => {});
  });
  process.send?.(port);
}

async function ping(way: Way, port: number, roundTrips: number): Promise<void> {
  process.once("disconnect", () => process.exit());
  const socket = await dial(way, port);
  const message = Buffer.alloc(MESSAGE_BYTES, 7);
  const took = new Float64Array(roundTrips);
  let missing = MESSAGE_BYTES;
  let done = -WARM_UP;
  let since = performance.now();
  await new Promise<void>((resolve) => {
    socket.on("data", (chunk: Uint8Array) => {
      missing -= chunk.length;
      if (missing > 0) return;
      const now = performance.now();
      if (done >= 0) took[done] = now - since;
      if (++done === roundTrips) {
        resolve();
        return;
      }
      missing = MESSAGE_BYTES;
      since = now;
      socket.write(message);
    });
    socket.write(message);
  });
  const sorted = took.toSorted();
  const sum = took.reduce((total, one) => total + one, 0);
  process.send?.({
    meanUs: (sum / roundTrips) * 1000,
    medianUs: (sorted[roundTrips >> 1] ?? 0) * 1000,
    p99Us: (sorted[Math.floor(roundTrips * 0.99)] ?? 0) * 1000,
  });
}
