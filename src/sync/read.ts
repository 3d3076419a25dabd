/** Reads local files such that what was read is one version of the file, or says that it is not. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { FileEntry } from "./entry.js";
import { SyncError } from "./errors.js";
import { CHANGE_CHECK_BYTES, MAX_DATA_BYTES, REST_MS } from "./limits.js";
import { fileEntry } from "./scan.js";

const open = promisify(fs.open);
const fread = promisify(fs.read);

const { O_RDONLY } = fs.constants;
/** A file that was swapped for a link or a pipe since it was scanned is neither followed nor waited for. */
const FLAGS = O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0);

export interface WholeFile {
  readonly content: Buffer;
  readonly sha256: Buffer;
}

/**
 * Reads a small file whole. Rejects with `ERR_CHANGED` when it is not, from before the reading until after it, the
 * version that `entry` describes.
 */
export async function readWhole(folder: string, entry: FileEntry, signal: AbortSignal): Promise<WholeFile> {
  const reader = await VersionReader.open(folder, entry, signal);
  try {
    const content = Buffer.allocUnsafeSlow(entry.size);
    await reader.fill(content);
    return { content, sha256: reader.finish() };
  } finally {
    reader.close();
  }
}

/** Reads one version of a large file from its start, hashing on the way. */
export class VersionReader {
  readonly entry: FileEntry;
  readonly #fd: number;
  readonly #hash = createHash("sha256");
  #offset = 0;
  #checkedAt = 0;
  #busy: Promise<unknown> | undefined;

  private constructor(fd: number, entry: FileEntry) {
    this.#fd = fd;
    this.entry = entry;
  }

  /** Rejects with `ERR_CHANGED` when the file is not the version that `entry` describes. */
  static async open(folder: string, entry: FileEntry, signal: AbortSignal): Promise<VersionReader> {
    const reader = new VersionReader(await openOrChanged(`${folder}/${entry.path}`, entry.path), entry);
    try {
      const age = Date.now() - reader.check();
      // Until the clock of the file system has ticked on, one more change could hide behind the same time stamp.
      if (age >= 0 && age < REST_MS) await delay(REST_MS - age, undefined, { signal });
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Fills `buffer` with what comes next and hashes it. Rejects with `ERR_CHANGED` where the file ends earlier. */
  async fill(buffer: Buffer): Promise<void> {
    for (let done = 0; done < buffer.length; ) {
      const reading = fread(this.#fd, buffer, done, buffer.length - done, this.#offset + done);
      this.#busy = reading;
      const { bytesRead } = await reading;
      this.#busy = undefined;
      if (bytesRead === 0) throw changed(this.entry.path);
      done += bytesRead;
    }
    this.#offset += buffer.length;
    this.#hash.update(buffer);
    if (this.#offset - this.#checkedAt < CHANGE_CHECK_BYTES) return;
    this.#checkedAt = this.#offset;
    this.check();
  }

  /** Reads and hashes up to `offset` without keeping anything. */
  async skipTo(offset: number, signal: AbortSignal): Promise<void> {
    const buffer = Buffer.allocUnsafe(MAX_DATA_BYTES);
    while (this.#offset < offset) {
      signal.throwIfAborted();
      await this.fill(buffer.subarray(0, Math.min(buffer.length, offset - this.#offset)));
    }
  }

  /** The hash of everything, once all was read and nothing has changed since the start. */
  finish(): Buffer {
    this.check();
    return this.#hash.digest();
  }

  /** When the file was changed last, in milliseconds since 1970. Throws `ERR_CHANGED` when it is not our version. */
  check(): number {
    const stats = fs.fstatSync(this.#fd, { bigint: true });
    if (!stats.isFile()) throw changed(this.entry.path);
    const now = fileEntry(this.entry.path, stats);
    const known = this.entry.version;
    const same = now.size === this.entry.size && now.mtimeNs === this.entry.mtimeNs;
    if (!same || (known !== undefined && now.version !== known)) throw changed(this.entry.path);
    return Number(stats.ctimeNs / 1_000_000n);
  }

  close(): void {
    const close = (): void => fs.closeSync(this.#fd);
    if (this.#busy === undefined) close();
    else void this.#busy.then(close, close);
  }
}

async function openOrChanged(file: string, path: string): Promise<number> {
  try {
    return await open(file, FLAGS);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP" || code === "ENXIO") throw changed(path);
    throw error;
  }
}

function changed(path: string): SyncError {
  return new SyncError("ERR_CHANGED", "the file changed while it was read", { path });
}
