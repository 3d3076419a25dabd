/**
 * Memory while a fast source feeds a slow reader.
 *
 * The sender, a process of its own, offers random bytes as fast as the socket takes them. The receiver, another, reads
 * no more than a given rate. Both tell their resident memory ten times on the way, at equal steps of bytes received, and
 * their peak. Flat means: it depends on the windows and buffers, not on how much goes through. The sha256 is checked.
 *
 *   npm run build && node bench/slow-reader.ts [MiB] [MiB/s of the reader] [edition]
 */
import { type ChildProcess, fork } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect, createServer, type EditionName } from "confundo";

const MEBIBYTE = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const SAMPLES = 10;

interface Report {
  residentMiB: number[];
  peakMiB: number;
  hash: string;
}

async function measure(mebibytes: number, rate: number, edition: EditionName): Promise<void> {
  const began = performance.now();
  const receiver = start("receive", `${mebibytes}`, `${rate}`, edition);
  const [port] = await once(receiver, "message");
  const receiving = reportOf(receiver);
  const sender = start("send", `${mebibytes}`, `${port}`, edition);
  const [sent, received] = await Promise.all([reportOf(sender), receiving]);
  if (sent.hash !== received.hash) throw new Error("what arrived is not what was sent");
  const seconds = (performance.now() - began) / 1000;
  const mean = (mebibytes / seconds).toFixed(1);
  console.log(`${mebibytes} MiB, ${edition}, reader of ${rate} MiB/s: ${seconds.toFixed(0)} s, ${mean} MiB/s`);
  for (const [name, { residentMiB, peakMiB }] of Object.entries({ sender: sent, receiver: received })) {
    console.log(`${name.padEnd(8)} resident MiB: ${residentMiB.join(" ")}  peak ${peakMiB}`);
  }
}

function start(...args: string[]): ChildProcess {
  return fork(fileURLToPath(import.meta.url), args);
}

async function reportOf(child: ChildProcess): Promise<Report> {
  const dying = once(child, "exit").then(([code]) => {
    throw new Error(`a process ended with ${code} before its report`);
  });
  const [report] = await Promise.race([once(child, "message"), dying]);
  dying.catch(() => {});
  return report;
}

/** Takes a sample whenever another tenth has passed. */
class Memory {
  readonly residentMiB: number[] = [];
  readonly #step: number;
  constructor(totalBytes: number) {
    this.#step = totalBytes / SAMPLES;
  }
  passed(bytes: number): void {
    if (bytes >= this.#step * (this.residentMiB.length + 1)) {
      this.residentMiB.push(Math.round(process.memoryUsage.rss() / MEBIBYTE));
    }
  }
  tell(hash: string): void {
    const peakMiB = Math.round(process.resourceUsage().maxRSS / 1024);
    process.send?.({ residentMiB: this.residentMiB, peakMiB, hash } satisfies Report);
    process.disconnect?.();
  }
}

async function receive(mebibytes: number, rate: number, edition: EditionName): Promise<void> {
  const server = createServer({ edition }, async (socket) => {
    const memory = new Memory(mebibytes * MEBIBYTE);
    const hash = createHash("sha256");
    const began = performance.now();
    for await (const chunk of socket) {
      hash.update(chunk);
      memory.passed(socket.bytesRead);
      const aheadMs = (socket.bytesRead / (rate * MEBIBYTE)) * 1000 - (performance.now() - began);
      if (aheadMs > 10) await sleep(aheadMs);
    }
    memory.tell(hash.digest("hex"));
    server.close();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send?.(server.address()?.port);
}

async function send(mebibytes: number, port: number, edition: EditionName): Promise<void> {
  const memory = new Memory(mebibytes * MEBIBYTE);
  const hash = createHash("sha256");
  const socket = connect({ port, host: "127.0.0.1", edition });
  function* source() {
    for (let sent = 0; sent < mebibytes * MEBIBYTE; sent += CHUNK_BYTES) {
      const block = randomFillSync(Buffer.allocUnsafe(CHUNK_BYTES));
      hash.update(block);
      memory.passed(sent + CHUNK_BYTES);
      yield block;
    }
  }
  await pipeline(Readable.from(source(), { objectMode: false }), socket.resume());
  memory.tell(hash.digest("hex"));
}

const [, , first = "1024", second = "4", third = "ucla-2017", ...rest] = process.argv;
if (first === "receive") await receive(Number(second), Number(third), rest[0] as EditionName);
else if (first === "send") await send(Number(second), Number(third), rest[0] as EditionName);
else await measure(Number(first), Number(second), third as EditionName);
