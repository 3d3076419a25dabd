import { once } from "node:events";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect, type EditionName } from "../index.js";
import { formatBytes, meter, ProgressLine, progressText } from "./progress.js";
import { traceToStdout } from "./trace.js";

export interface SendOptions {
  readonly edition: EditionName;
  readonly trace?: boolean;
}

/** The course client: sends a file (`-`: stdin), then FIN, then waits the 2 s in which late FINs are answered. */
export async function send(host: string, port: number, file: string, options: SendOptions): Promise<void> {
  const source = await openSource(file);
  const socket = connect({
    host,
    port,
    edition: options.edition,
    // Course servers send nothing back, and some not even a FIN.
    readable: false,
    finWait: "foreground",
    shortSegments: "never",
    // Whoever types, or a slow program, may pause for longer than the peer waits for a silent client.
    keepAlive: file === "-",
    trace: options.trace ? traceToStdout() : undefined,
  });
  const line = new ProgressLine();
  if (options.trace || !line.visible) {
    await pipeline(source.bytes, socket);
  } else {
    const startedAt = performance.now();
    let sent = 0;
    const show = (total: number) => {
      sent = total;
      line.show(progressText(total, source.size, (performance.now() - startedAt) / 1000));
    };
    await pipeline(source.bytes, meter(show), socket).finally(() => line.clear());
    const seconds = (performance.now() - startedAt) / 1000;
    process.stderr.write(`sent ${formatBytes(sent)} to ${host}:${port} in ${seconds.toFixed(1)} s\n`);
  }
  if (!socket.closed) await once(socket, "close");
}

async function openSource(file: string): Promise<{ bytes: Readable; size: number | null }> {
  if (file === "-") return { bytes: process.stdin, size: null };
  const handle = await open(file);
  const stat = await handle.stat();
  if (stat.isDirectory()) {
    await handle.close();
    throw Object.assign(new Error("is a folder"), { code: "EISDIR", path: file });
  }
  return { bytes: handle.createReadStream(), size: stat.isFile() ? stat.size : null };
}
