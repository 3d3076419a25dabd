/** Reads local files such that what was read is one version of the file, or says that it is not. */
import { createHash, hash } from "node:crypto";
import fs from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { FileCopy } from "./copy.js";
import { isOpenForWriting } from "./disk.js";
import type { FileEntry } from "./entry.js";
import { SyncError, systemCode } from "./errors.js";
import { Holes, hashZeros } from "./holes.js";
import { CHANGE_CHECK_BYTES, MAX_DATA_BYTES, REST_MS, SLOW_READ_MS, SLOW_READS } from "./limits.js";
import { systemPath } from "./names.js";
import { fileEntry } from "./scan.js";

const open = promisify(fs.open);
const fread = promisify(fs.read);

const { O_RDONLY } = fs.constants;
/** A file that was swapped for a link or a pipe since it was scanned is neither followed nor waited for. */
const FLAGS = O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0);

/** It was something else when it was scanned. */
const GONE: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"]);

export interface WholeFile {
  readonly content: Buffer;
  readonly sha256: Buffer;
}

/**
 * Reads small files whole. A file in the system's memory is read at once, which costs a fraction of what going through
 * other threads does; where that turns out to wait for a disk, the next ones are left to the threads.
 */
export class WholeReader {
  /** Reads in a row that took long, of those that were made at once. */
  #slow = 0;
  #patience = 0;

  /**
   * Rejects with `ERR_CHANGED` when the file is not, from before the reading until after it, the version that `entry`
   * describes, and with `ERR_OPEN` when it is open for writing and has changed within `settleOpenMs`.
   */
  async read(folder: string, entry: FileEntry, signal: AbortSignal, settleOpenMs = 0): Promise<WholeFile> {
    if (this.#patience > 0) {
      this.#patience--;
      return await readPatiently(folder, entry, signal, settleOpenMs);
    }
    const began = performance.now();
    const fd = openNow(folder, entry.path);
    try {
      requireClosed(fd, entry.path, settleOpenMs);
      const changedAgo = Date.now() - checkVersion(fd, entry);
      if (changedAgo >= 0 && changedAgo < REST_MS) return await readPatiently(folder, entry, signal, settleOpenMs);
      const content = Buffer.allocUnsafeSlow(entry.size);
      for (let done = 0; done < content.length; ) {
        const bytes = fs.readSync(fd, content, done, content.length - done, done);
        if (bytes === 0) throw changed(entry.path);
        done += bytes;
      }
      checkVersion(fd, entry);
      return { content, sha256: hash("sha256", content, "buffer") };
    } finally {
      fs.closeSync(fd);
      this.#slow = performance.now() - began > SLOW_READ_MS ? this.#slow + 1 : 0;
      if (this.#slow > 1) this.#patience = SLOW_READS;
    }
  }
}

async function readPatiently(
  folder: string,
  entry: FileEntry,
  signal: AbortSignal,
  settleOpenMs: number,
): Promise<WholeFile> {
  return await readAll(await VersionReader.open(folder, entry, signal, settleOpenMs));
}

/** All that the reader reads. Closes it. */
export async function readAll(reader: VersionReader): Promise<WholeFile> {
  try {
    const content = Buffer.allocUnsafeSlow(reader.entry.size);
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
  readonly #holes: Holes;
  #busy: Promise<unknown> | undefined;

  readonly #still: boolean;

  private constructor(fd: number, entry: FileEntry, still = false) {
    this.#fd = fd;
    this.entry = entry;
    this.#holes = new Holes(fd, entry.size);
    this.#still = still;
  }

  /** Reads a copy, which does not change. */
  static of(copy: FileCopy): VersionReader {
    return new VersionReader(copy.take(), copy.entry, true);
  }

  /** Rejects with `ERR_CHANGED` when the file is not the version that `entry` describes, and with `ERR_OPEN` as above. */
  static async open(folder: string, entry: FileEntry, signal: AbortSignal, settleOpenMs = 0): Promise<VersionReader> {
    const reader = new VersionReader(await openOrChanged(systemPath(`${folder}/${entry.path}`), entry.path), entry);
    try {
      requireClosed(reader.#fd, entry.path, settleOpenMs);
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

  /** Bytes of the hole that comes next, which need not be read; 0 where data comes. */
  get zeros(): number {
    return this.#holes.zeros(this.#offset);
  }

  /** Bytes that come next before there may be a hole. */
  get data(): number {
    return this.#holes.data(this.#offset);
  }

  /** Whether it has holes, before anything of it was read. */
  get isSparse(): boolean {
    return this.zeros > 0 || this.data < this.entry.size;
  }

  /** Hashes so many zeros of a hole, which are not read. */
  async skipHole(bytes: number, signal: AbortSignal): Promise<void> {
    await hashZeros(this.#hash, bytes, () => signal.aborted);
    signal.throwIfAborted();
    this.#offset += bytes;
    this.#checkNowAndThen();
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
    this.#checkNowAndThen();
  }

  #checkNowAndThen(): void {
    if (this.#offset - this.#checkedAt < CHANGE_CHECK_BYTES) return;
    this.#checkedAt = this.#offset;
    this.check();
  }

  /** Reads and hashes up to `offset` without keeping anything. */
  async skipTo(offset: number, signal: AbortSignal): Promise<void> {
    const buffer = Buffer.allocUnsafe(MAX_DATA_BYTES);
    while (this.#offset < offset) {
      signal.throwIfAborted();
      const left = offset - this.#offset;
      const zeros = Math.min(left, this.zeros);
      if (zeros > 0) await this.skipHole(zeros, signal);
      else await this.fill(buffer.subarray(0, Math.min(buffer.length, left, this.data)));
    }
  }

  /** The hash of everything, once all was read and nothing has changed since the start. */
  finish(): Buffer {
    this.check();
    return this.#hash.digest();
  }

  /** When the file was changed last, in milliseconds since 1970. Throws `ERR_CHANGED` when it is not our version. */
  check(): number {
    return this.#still ? 0 : checkVersion(this.#fd, this.entry);
  }

  close(): void {
    const close = (): void => fs.closeSync(this.#fd);
    if (this.#busy === undefined) close();
    else void this.#busy.then(close, close);
  }
}

/** When the file was changed last, in milliseconds since 1970. Throws `ERR_CHANGED` when it is not this version. */
function checkVersion(fd: number, { path, size, mtimeNs, version }: FileEntry): number {
  const stats = fs.fstatSync(fd, { bigint: true });
  if (!stats.isFile()) throw changed(path);
  const now = fileEntry(path, stats);
  const same = now.size === size && now.mtimeNs === mtimeNs;
  if (!same || (version !== undefined && now.version !== version)) throw changed(path);
  return Number(stats.ctimeNs / 1_000_000n);
}

/** Throws `ERR_OPEN` where another program has the file open for writing, and it has changed within `settleOpenMs`. */
function requireClosed(fd: number, path: string, settleOpenMs: number): void {
  if (settleOpenMs <= 0 || isOpenForWriting(fd) !== true) return;
  const { mtimeMs, ctimeMs } = fs.fstatSync(fd);
  if (Date.now() - Math.max(mtimeMs, ctimeMs) >= settleOpenMs) return;
  throw new SyncError("ERR_OPEN", "another program has the file open for writing", { path });
}

/** Whether another program has a file open for writing; `undefined` where the system does not say, or there is no file. */
export function isFileOpen(folder: string, path: string): boolean | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(systemPath(`${folder}/${path}`), FLAGS);
    return isOpenForWriting(fd);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

async function openOrChanged(file: string | Buffer, path: string): Promise<number> {
  try {
    return await open(file, FLAGS);
  } catch (error) {
    throw changedOr(error, path);
  }
}

function openNow(folder: string, path: string): number {
  try {
    return fs.openSync(systemPath(`${folder}/${path}`), FLAGS);
  } catch (error) {
    throw changedOr(error, path);
  }
}

function changedOr(error: unknown, path: string): unknown {
  return GONE.has(systemCode(error) ?? "") ? changed(path) : error;
}

function changed(path: string): SyncError {
  return new SyncError("ERR_CHANGED", "the file changed while it was read", { path });
}
