import { once } from "node:events";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type ConfundoSocket, connect, type EditionName } from "../index.js";
import { endpointName } from "../stream/errors.js";
import { formatBytes, ProgressLine, progressText } from "./progress.js";
import { Interrupted, untilSignal } from "./signals.js";
import { traceToStdout } from "./trace.js";

export interface SendOptions {
  readonly edition: EditionName;
  readonly extended?: boolean;
  readonly trace?: boolean;
}

const PROGRESS_EVERY_MS = 100;

interface Source {
  readonly bytes: Readable;
  /** In bytes, where it is known. */
  readonly size: number | null;
}

/** The course client: sends a file (`-`: stdin), then FIN, then waits the 2 s in which late FINs are answered. */
export async function send(host: string, port: number, file: string, options: SendOptions): Promise<void> {
  const source = await openSource(file);
  const socket = connect({
    host,
    port,
    edition: options.edition,
    extended: options.extended ?? false,
    // Course servers send nothing back, and some not even a FIN.
    readable: false,
    finWait: "foreground",
    // A server that is started a moment later is waited for.
    retryRefused: true,
    shortSegments: "never",
    // Whoever types, or a slow program, may pause for longer than the peer waits for a silent client.
    keepAlive: file === "-",
    trace: options.trace ? traceToStdout() : undefined,
  });
  const peer = endpointName(host, port);
  const stopped = untilSignal().then((signal) => {
    const sent = formatBytes(socket.stats.bytesAcknowledged);
    throw new Interrupted(signal, `${signal} came before ${peer} had everything; it has acknowledged ${sent}.`);
  });
  try {
    await Promise.race([sendAll(source, socket, peer, options), stopped]);
  } finally {
    // A peer that can be told is told; a course server finds out by itself.
    if (!socket.closed) socket.destroy();
  }
}

async function sendAll(source: Source, socket: ConfundoSocket, peer: string, { trace }: SendOptions): Promise<void> {
  if (trace || process.stderr.isTTY !== true) await pipeline(source.bytes, socket);
  else await sendShowing(source, socket, peer);
  if (!socket.closed) await once(socket, "close");
}

/** With a progress bar, of what has been acknowledged. */
async function sendShowing(source: Source, socket: ConfundoSocket, peer: string): Promise<void> {
  const line = new ProgressLine();
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const acknowledged = () => socket.stats.bytesAcknowledged;
  const show = () => {
    if (socket.connecting) line.show(`connecting to ${peer}`);
    else line.show(progressText(acknowledged(), source.size, seconds()));
  };
  const timer = setInterval(show, PROGRESS_EVERY_MS);
  try {
    await pipeline(source.bytes, socket);
  } finally {
    clearInterval(timer);
    line.clear();
  }
  process.stderr.write(`sent ${formatBytes(acknowledged())} to ${peer} in ${seconds().toFixed(1)} s\n`);
}

async function openSource(file: string): Promise<Source> {
  if (file === "-") return { bytes: process.stdin, size: null };
  const handle = await open(file);
  const stat = await handle.stat();
  if (stat.isDirectory()) {
    await handle.close();
    throw Object.assign(new Error("is a folder"), { code: "EISDIR", path: file });
  }
  const bytes = handle.createReadStream();
  // The packet that ends the handshake has data where there is some: so it is read before, however fast the server answers.
  if (stat.isFile()) await once(bytes, "readable");
  return { bytes, size: stat.isFile() ? stat.size : null };
}
