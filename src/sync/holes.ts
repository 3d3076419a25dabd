/** Holes of sparse files (lseek(2), SEEK_DATA and SEEK_HOLE): read past, hashed as zeros, and left out of copies. */
import { createHash, type Hash } from "node:crypto";
import fs from "node:fs";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { promisify } from "node:util";
import { chunkHash, chunkRecord, MOST_CHUNK_BYTES } from "./chunk.js";
import { nextData } from "./disk.js";
import { LEAST_HOLE_BYTES, LEAST_SPARSE_BYTES, MAX_DATA_BYTES } from "./limits.js";

const read = promisify(fs.read);
const write = promisify(fs.write);

/** Zeros hashed at a time: about half a millisecond. */
const ZEROS = Buffer.alloc(512 * 1024);
const ZERO_CHUNK_HASH = chunkHash(ZEROS.subarray(0, MOST_CHUNK_BYTES));
/** Data is looked for this far ahead where it is full of small holes, which are read. */
const LOOKED_AHEAD_BYTES = 4 * 1024 * 1024;

/** The holes of an open file that does not change, asked for from its start to its end. A file without holes is not asked about. */
export class Holes {
  readonly #fd: number;
  readonly #size: number;
  #sparse: boolean | undefined;
  #dataStart = 0;
  #dataEnd = 0;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
  }

  /** Whether less is allocated than the file is long. Compressed files are such too, and have no holes. */
  get any(): boolean {
    const least = this.#size - LEAST_SPARSE_BYTES;
    this.#sparse ??= least >= 0 && fs.fstatSync(this.#fd).blocks * 512 <= least;
    return this.#sparse;
  }

  /** Bytes of the hole at an offset, up to the next data; 0 where there is data, or a hole that is not worth a step. */
  zeros(offset: number): number {
    if (!this.any || offset >= this.#size) return 0;
    this.#find(offset);
    return Math.max(0, this.#dataStart - offset);
  }

  /** Bytes that can be read from an offset on before there may be a hole. */
  data(offset: number): number {
    if (!this.any || offset >= this.#size) return this.#size - offset;
    this.#find(offset);
    return Math.max(0, this.#dataEnd - Math.max(offset, this.#dataStart));
  }

  #find(offset: number): void {
    if (offset < this.#dataEnd) return;
    const next = nextData(this.#fd, offset, this.#size);
    if (next === undefined) {
      this.#sparse = false;
      [this.#dataStart, this.#dataEnd] = [offset, this.#size];
      return;
    }
    this.#dataStart = next.start - offset >= LEAST_HOLE_BYTES ? next.start : offset;
    let { end } = next;
    while (end < this.#size && end - this.#dataStart < LOOKED_AHEAD_BYTES) {
      const more = nextData(this.#fd, end, this.#size);
      if (more === undefined || more.start - end >= LEAST_HOLE_BYTES) break;
      end = more.end;
    }
    this.#dataEnd = Math.max(end, this.#dataStart);
  }
}

/** Hashes so many zeros, and lets others have their turn. Ends early when `isOver` says so. */
export async function hashZeros(hash: Hash, bytes: number, isOver?: () => boolean): Promise<void> {
  for (let left = bytes; left > 0 && isOver?.() !== true; left -= ZEROS.length) {
    hash.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
    await yieldToOthers();
  }
}

/** The chunks of a hole, as {@link ChunkList} has them: it is not cut by what it holds. */
export function zeroRecords(bytes: number): Buffer {
  const records = [];
  for (let left = bytes; left > 0; left -= MOST_CHUNK_BYTES) {
    const length = Math.min(left, MOST_CHUNK_BYTES);
    const hash = length === MOST_CHUNK_BYTES ? ZERO_CHUNK_HASH : chunkHash(ZEROS.subarray(0, length));
    records.push(chunkRecord(length, hash));
  }
  return Buffer.concat(records);
}

/** Whether that is the chunk of which holes consist. */
export function isZeroChunk(hash: number, length: number): boolean {
  return length === MOST_CHUNK_BYTES && hash === ZERO_CHUNK_HASH;
}

/** Whether a piece of at most 512 KiB is zeros only. */
export function isZero(content: Uint8Array): boolean {
  return (
    content.length <= ZEROS.length &&
    content[0] === 0 &&
    ZEROS.compare(content, 0, content.length, 0, content.length) === 0
  );
}

/**
 * The sha256 of the first `size` bytes of an open file, of which holes are not read; of a shorter one, that of all there is. With
 * `into`, a new file that is open too, they are copied there, and holes stay holes.
 */
export async function hashOf(fd: number, size: number, into?: number): Promise<Buffer> {
  const hash = createHash("sha256");
  const holes = new Holes(fd, size);
  const buffer = Buffer.allocUnsafe(Math.min(size, MAX_DATA_BYTES));
  let offset = 0;
  while (offset < size) {
    const zeros = holes.zeros(offset);
    await hashZeros(hash, zeros);
    offset += zeros;
    if (zeros > 0) continue;
    const { bytesRead } = await read(fd, buffer, 0, Math.min(buffer.length, holes.data(offset)), offset);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    for (let done = 0; into !== undefined && done < bytesRead; ) {
      done += (await write(into, buffer, done, bytesRead - done, offset + done)).bytesWritten;
    }
    offset += bytesRead;
  }
  if (into !== undefined) fs.ftruncateSync(into, offset);
  return hash.digest();
}

/** Copies an open file to a new one, hole by hole. Blocking. */
export function copySparse(fd: number, into: number): void {
  const { size } = fs.fstatSync(fd);
  const holes = new Holes(fd, size);
  const buffer = Buffer.allocUnsafe(Math.min(Math.max(size, 1), 4 * MAX_DATA_BYTES));
  let offset = 0;
  while (offset < size) {
    offset += holes.zeros(offset);
    const bytes = fs.readSync(fd, buffer, 0, Math.min(buffer.length, holes.data(offset)), offset);
    if (bytes === 0) break;
    for (let done = 0; done < bytes; ) done += fs.writeSync(into, buffer, done, bytes - done, offset + done);
    offset += bytes;
  }
  fs.ftruncateSync(into, size);
}
