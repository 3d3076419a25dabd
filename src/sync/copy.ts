/**
 * Copies of files that are never at rest, so that what is sent of them was once the whole file. A copy has no name in
 * any folder: whatever ends this program, nothing of it is left.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { FileEntry } from "./entry.js";
import { Holes, hashZeros } from "./holes.js";
import { COPY_TRIES_MS, MAX_COPIED_BYTES, REST_MS } from "./limits.js";
import { systemPath } from "./names.js";
import { fileEntry } from "./scan.js";

const read = promisify(fs.read);
const write = promisify(fs.write);
const BLOCK_BYTES = 4 * 1024 * 1024;
const { O_RDONLY, O_RDWR, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_DIRECTORY = 0 } = fs.constants;
/** Linux: a file without a name (open(2)). Node has no name for it. */
const O_TMPFILE = 0o20000000 | O_DIRECTORY;

/** A version of a file that nothing changes any more. */
export class FileCopy {
  /** What was copied; its `version` equals none that a look at the folder finds, unless the file was at rest. */
  readonly entry: FileEntry;
  #fd: number | undefined;

  constructor(entry: FileEntry, fd: number) {
    this.entry = entry;
    this.#fd = fd;
  }

  /** The descriptor, which is the caller's to close from now on. It reads from 0. */
  take(): number {
    const fd = this.#fd;
    if (fd === undefined) throw new TypeError("a copy is read once");
    this.#fd = undefined;
    return fd;
  }

  /** Unless it was taken. */
  close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/**
 * Copies a file as it is at one moment: by a reflink, where the file system has them; or such that it was the same
 * version before and after; or such that a second reading found the same bytes. `undefined`: it never stood still, is too
 * large for that, or is no file any more. Rejects when the copy cannot be written.
 */
export async function copyFile(
  folder: string,
  path: string,
  signal: AbortSignal,
  beside: string = tmpdir(),
): Promise<FileCopy | undefined> {
  const source = openSource(systemPath(`${folder}/${path}`));
  if (source === undefined) return undefined;
  let copy: number | undefined;
  try {
    copy = openNameless(beside);
    const entry = reflink(source, copy, path) ?? (await copyStill(source, copy, path, signal));
    if (entry === undefined) return undefined;
    const done = new FileCopy(entry, copy);
    copy = undefined;
    return done;
  } finally {
    fs.closeSync(source);
    if (copy !== undefined) fs.closeSync(copy);
  }
}

function openSource(file: string | Buffer): number | undefined {
  try {
    const fd = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fs.fstatSync(fd).isFile()) return fd;
    fs.closeSync(fd);
  } catch {
    // It is gone, or was swapped for a link.
  }
  return undefined;
}

function openNameless(folder: string): number {
  if (process.platform === "linux") {
    try {
      return fs.openSync(folder, O_TMPFILE | O_RDWR, 0o600);
    } catch {
      // Not every file system can.
    }
  }
  const own = fs.mkdtempSync(join(folder, "confundo-"));
  try {
    const fd = fs.openSync(join(own, "copy"), "wx+", 0o600);
    fs.unlinkSync(join(own, "copy"));
    return fd;
  } finally {
    fs.rmSync(own, { recursive: true, force: true });
  }
}

/** One moment's content shared with the file, whatever is written to it later. Only within one file system that can. */
function reflink(source: number, copy: number, path: string): FileEntry | undefined {
  if (process.platform !== "linux") return undefined;
  const stats = fs.fstatSync(source, { bigint: true });
  if (stats.dev !== fs.fstatSync(copy, { bigint: true }).dev) return undefined;
  try {
    fs.copyFileSync(`/proc/self/fd/${source}`, `/proc/self/fd/${copy}`, fs.constants.COPYFILE_FICLONE_FORCE);
  } catch {
    return undefined;
  }
  const size = fs.fstatSync(copy).size;
  return restless({ ...fileEntry(path, stats), size });
}

async function copyStill(
  source: number,
  copy: number,
  path: string,
  signal: AbortSignal,
): Promise<FileEntry | undefined> {
  const until = performance.now() + COPY_TRIES_MS;
  do {
    signal.throwIfAborted();
    const before = fs.fstatSync(source, { bigint: true });
    if (before.size > MAX_COPIED_BYTES) return undefined;
    const size = Number(before.size);
    const first = await digest(source, size, signal, copy);
    if (first === undefined) continue;
    const after = fs.fstatSync(source, { bigint: true });
    const entry = fileEntry(path, before);
    const ageMs = Date.now() - Number(before.ctimeNs / 1_000_000n);
    if (fileEntry(path, after).version === entry.version && ageMs > 2 * REST_MS) return entry;
    // All that was read twice was there at the moment in between. Where the file has grown since, it was all of it before.
    const second = await digest(source, size, signal);
    if (second === first && fs.fstatSync(source).size >= size) return restless(entry);
  } while (performance.now() < until);
  return undefined;
}

/** The hash of the first `size` bytes, which go to `copy` too; `undefined` when there are fewer. */
async function digest(source: number, size: number, signal: AbortSignal, copy?: number): Promise<string | undefined> {
  const hash = createHash("sha256");
  const block = Buffer.allocUnsafe(Math.max(1, Math.min(size, BLOCK_BYTES)));
  const holes = new Holes(source, size);
  for (let done = 0; done < size; ) {
    const zeros = holes.zeros(done);
    await hashZeros(hash, zeros, () => signal.aborted);
    signal.throwIfAborted();
    done += zeros;
    if (zeros > 0) continue;
    const { bytesRead } = await read(source, block, 0, Math.min(block.length, holes.data(done)), done);
    if (bytesRead === 0) return undefined;
    const content = block.subarray(0, bytesRead);
    hash.update(content);
    for (let written = 0; copy !== undefined && written < bytesRead; ) {
      written += (await write(copy, content, written, bytesRead - written, done + written)).bytesWritten;
    }
    done += bytesRead;
  }
  if (copy !== undefined) fs.ftruncateSync(copy, size);
  return hash.digest("hex");
}

/** Whatever stands there later is another version. */
function restless(entry: FileEntry): FileEntry {
  const inode = entry.version?.slice(0, entry.version.indexOf("."));
  return { ...entry, version: `${inode}.copied` };
}
