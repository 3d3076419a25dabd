/**
 * Datagram I/O over loopback: what each tier moves, beside plain node:dgram and node:net TCP in the same run.
 *
 * Sender and receiver are processes of their own. The receiver tells after each batch how many bytes it has, and the
 * sender keeps at most a window on its way, as a transport would; nothing else is done to the bytes. What was lost is
 * found by a timer and reported. CPU is that of both processes.
 *
 *   node bench/datagram.ts [seconds] [rounds]
 */
import { type ChildProcess, fork } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { registerHooks } from "node:module";
import { connect, createServer } from "node:net";
import type * as Datagram from "../src/stream/datagram/index.js";

// The sources as they are: what is imported as .js is still .ts.
registerHooks({
  resolve: (specifier, context, next) =>
    next(context.parentURL?.includes("/src/") ? specifier.replace(/\.js$/, ".ts") : specifier, context),
});
const { openConnected, openShared }: typeof Datagram = await import(
  new URL("../src/stream/datagram/index.ts", import.meta.url).href
);

const MEBIBYTE = 1024 * 1024;
const WINDOW_BYTES = 2 * MEBIBYTE;
const SECONDS = Number(process.argv[2] ?? 3);
const ROUNDS = Number(process.argv[3] ?? 3);
const LOST_AFTER_MS = 200;
const PEERS = ["net", "plain", "dgram", "descriptor", "segmented"] as const;
const SEGMENTS = [1472, 65_507];

type Peer = (typeof PEERS)[number];

interface Figures {
  bytes: number;
  lostBytes: number;
  seconds: number;
  cpuSeconds: number;
}

const [role, peer, segment, port] = process.argv.slice(4) as [string?, Peer?, string?, string?];
if (role === "receive") await receive(peer as Peer);
else if (role === "send") await send(peer as Peer, Number(segment), Number(port));
else await compare();

async function compare(): Promise<void> {
  console.log(`node ${process.version}, ${SECONDS} s each, medians of ${ROUNDS} alternating rounds, loopback`);
  for (const segmentBytes of SEGMENTS) {
    const results = new Map<Peer, Figures[]>(PEERS.map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const name of PEERS) results.get(name)?.push(await measure(name, segmentBytes));
    }
    const tcp = median((results.get("net") ?? []).map(rate));
    console.log(`\n${segmentBytes} bytes a datagram`);
    console.log("what             MiB/s  x TCP   datagrams/s  CPU s/GiB  lost");
    for (const [name, figures] of results) {
      const speed = median(figures.map(rate));
      const cpu = median(figures.map(({ cpuSeconds, bytes }) => (cpuSeconds / bytes) * 1024 * MEBIBYTE));
      const lost = median(figures.map(({ lostBytes, bytes }) => lostBytes / (lostBytes + bytes)));
      const count = name === "net" ? "-" : Math.round((speed * MEBIBYTE) / segmentBytes).toLocaleString("en");
      console.log(
        name.padEnd(12),
        speed.toFixed(0).padStart(9),
        (speed / tcp).toFixed(2).padStart(6),
        count.padStart(13),
        cpu.toFixed(2).padStart(10),
        `${(lost * 100).toFixed(1)} %`.padStart(6),
      );
    }
  }
}

function rate({ bytes, seconds }: Figures): number {
  return bytes / seconds / MEBIBYTE;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}

async function measure(name: Peer, segmentBytes: number): Promise<Figures> {
  const receiver = child("receive", name, segmentBytes);
  const [listening] = (await once(receiver, "message")) as [number];
  const sender = child("send", name, segmentBytes, listening);
  const [sent] = (await once(sender, "message")) as [Figures];
  receiver.send("stop");
  const [received] = (await once(receiver, "message")) as [number];
  return { ...sent, cpuSeconds: sent.cpuSeconds + received };
}

function child(...args: (string | number)[]): ChildProcess {
  return fork(new URL(import.meta.url), [String(SECONDS), String(ROUNDS), ...args.map(String)]);
}

/** Says where it listens, and when told to stop, the CPU it took. */
async function receive(name: Peer): Promise<void> {
  let total = 0;
  let told = 0;
  const before = process.cpuUsage();
  const report = new Float64Array(1);
  const reportBytes = new Uint8Array(report.buffer);
  if (name === "net") {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        total += chunk.length;
      });
    }).listen(0, "127.0.0.1", () => process.send?.((server.address() as { port: number }).port));
  } else if (name === "plain") {
    const udp = createSocket({ type: "udp4", recvBufferSize: 4 * MEBIBYTE, sendBufferSize: 4 * MEBIBYTE });
    udp.on("message", (bytes, from) => {
      total += bytes.length;
      if (total - told < WINDOW_BYTES / 16 && bytes.length > 0) return;
      told = total;
      report[0] = total;
      udp.send(new Uint8Array(reportBytes), from.port, from.address);
    });
    udp.bind(0, "127.0.0.1", () => process.send?.(udp.address().port));
  } else {
    let from: Datagram.DatagramSocket | null = null;
    const shared = await openShared({
      address: "127.0.0.1",
      port: 0,
      tier: name,
      handlers: {
        onDatagram(bytes, remoteAddress, remotePort) {
          total += bytes.length;
          if (from !== null) return;
          from = shared.openPeer(remoteAddress, remotePort) ?? shared;
          from.enableCoalescing(false);
          peerAddress = remoteAddress;
          peerPort = remotePort;
        },
        onBatchEnd() {
          report[0] = total;
          from?.send(new Uint8Array(reportBytes), 8, peerPort, peerAddress);
        },
        onRefused() {},
        onHint() {},
      },
    });
    let peerAddress = "";
    let peerPort = 0;
    process.send?.(shared.address().port);
  }
  process.once("message", () => {
    process.send?.(cpuSince(before), () => process.exit());
  });
}

async function send(name: Peer, segmentBytes: number, to: number): Promise<void> {
  const flow = name === "net" ? await sendTcp(to) : await sendDatagrams(name, segmentBytes, to);
  // The first half second warms up.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const start = { ...flow };
  const before = process.cpuUsage();
  const since = performance.now();
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const figures: Figures = {
    bytes: flow.bytes - start.bytes,
    lostBytes: flow.lostBytes - start.lostBytes,
    seconds: (performance.now() - since) / 1000,
    cpuSeconds: cpuSince(before),
  };
  process.send?.(figures, () => process.exit());
}

/** What arrived and what did not, as far as is known. */
type Flow = Pick<Figures, "bytes" | "lostBytes">;

async function sendTcp(to: number): Promise<Flow> {
  const socket = connect(to, "127.0.0.1");
  await once(socket, "connect");
  const chunk = new Uint8Array(64 * 1024);
  const flow = { bytes: 0, lostBytes: 0 };
  const fill = (): void => {
    while (socket.write(chunk));
    flow.bytes = socket.bytesWritten - socket.writableLength;
  };
  socket.on("drain", fill);
  fill();
  return flow;
}

async function sendDatagrams(name: Exclude<Peer, "net">, segmentBytes: number, to: number): Promise<Flow> {
  const flow = { bytes: 0, lostBytes: 0 };
  const perSend = Math.max(1, Math.min(64, Math.floor(65_487 / segmentBytes)));
  const burst = new Uint8Array(perSend * segmentBytes);
  let sent = 0;
  let heard = performance.now();
  let write: (bytes: Uint8Array) => boolean = () => true;
  const fill = (): void => {
    while (sent - flow.bytes - flow.lostBytes < WINDOW_BYTES) {
      sent += burst.length;
      if (!write(burst)) break;
    }
  };
  const hear = (bytes: Uint8Array): void => {
    heard = performance.now();
    const total = new Float64Array(new Uint8Array(bytes.subarray(bytes.length - 8)).buffer)[0] as number;
    flow.bytes = Math.max(flow.bytes, total);
  };
  if (name === "plain") {
    const udp = createSocket({ type: "udp4", recvBufferSize: 4 * MEBIBYTE, sendBufferSize: 4 * MEBIBYTE });
    udp.on("error", () => {});
    udp.connect(to, "127.0.0.1");
    await once(udp, "connect");
    udp.on("message", (bytes) => {
      hear(bytes);
      fill();
    });
    write = (bytes) => {
      for (let at = 0; at < bytes.length; at += segmentBytes) udp.send(bytes, at, segmentBytes);
      return udp.getSendQueueCount() === 0;
    };
  } else {
    const socket = await openConnected({
      remoteAddress: "127.0.0.1",
      remotePort: to,
      tier: name,
      handlers: { onDatagram: hear, onBatchEnd: fill, onRefused() {}, onHint() {} },
    });
    write = (bytes) => socket.send(bytes, segmentBytes, to, "127.0.0.1");
  }
  setInterval(() => {
    if (performance.now() - heard < LOST_AFTER_MS) return;
    flow.lostBytes = sent - flow.bytes;
    fill();
  }, LOST_AFTER_MS);
  fill();
  return flow;
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
