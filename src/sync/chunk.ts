/**
 * Content-defined chunks (FastCDC with normalised chunking, Xia et al. 2016 and 2020): where a file is cut depends on
 * the 32 bytes before the cut, so an insert moves the cuts behind it and changes none but the nearest. Pure.
 */
import { hash } from "node:crypto";

export const LEAST_CHUNK_BYTES: number = 16 * 1024;
export const AVERAGE_CHUNK_BYTES: number = 64 * 1024;
export const MOST_CHUNK_BYTES: number = 256 * 1024;

/** One number for each byte value; part of the protocol, as both ends cut. SplitMix32 from 0. */
const GEAR: Int32Array = Int32Array.from({ length: 256 }, (_, i) => {
  let z = Math.imul(i + 1, 0x9e37_79b9);
  z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
  return z ^ (z >>> 15);
});
/** Two bits more than the average asks for before it is reached, two less behind it: sizes stay close to it. */
const STRICT = -1 << (32 - 18);
const LENIENT = -1 << (32 - 14);

/** How long the first chunk of `data` is, of which at least {@link MOST_CHUNK_BYTES} or all that is left is given. */
export function chunkLength(data: Uint8Array): number {
  const end = Math.min(data.length, MOST_CHUNK_BYTES);
  if (end <= LEAST_CHUNK_BYTES) return end;
  const middle = Math.min(end, AVERAGE_CHUNK_BYTES);
  return firstCut(data, LEAST_CHUNK_BYTES, middle, STRICT, GEAR) ?? firstCut(data, middle, end, LENIENT, GEAR) ?? end;
}

/** What is shifted out of the hash is forgotten. */
const REMEMBERED_BYTES = 32;

/**
 * The first cut of this kind between two offsets. Four bytes at a time, which is a third faster: in a bundle, constants of
 * a module are variables, and each turn of a loop looks them up.
 */
function firstCut(data: Uint8Array, from: number, to: number, mask: number, gears: Int32Array): number | undefined {
  let gear = 0;
  let i = Math.max(LEAST_CHUNK_BYTES, from - REMEMBERED_BYTES);
  for (; i < from; i++) gear = ((gear << 1) + (gears[data[i] as number] as number)) | 0;
  for (; i + 4 <= to; i += 4) {
    const first = ((gear << 1) + (gears[data[i] as number] as number)) | 0;
    const second = ((first << 1) + (gears[data[i + 1] as number] as number)) | 0;
    const third = ((second << 1) + (gears[data[i + 2] as number] as number)) | 0;
    gear = ((third << 1) + (gears[data[i + 3] as number] as number)) | 0;
    if ((first & mask) === 0) return i + 1;
    if ((second & mask) === 0) return i + 2;
    if ((third & mask) === 0) return i + 3;
    if ((gear & mask) === 0) return i + 4;
  }
  for (; i < to; i++) {
    gear = ((gear << 1) + (gears[data[i] as number] as number)) | 0;
    if ((gear & mask) === 0) return i + 1;
  }
  return undefined;
}

/** A chunk in a list: 3 bytes length, the first 6 bytes of its sha256. */
export const CHUNK_RECORD_BYTES = 9;
const HASH_BYTES = 6;

/** The first 6 bytes of a chunk's sha256: they find candidates, the hash of the whole file decides. */
export function chunkHash(chunk: Uint8Array): number {
  return hash("sha256", chunk, "buffer").readUIntBE(0, HASH_BYTES);
}

export function chunkRecord(length: number, hash: number): Buffer {
  const record = Buffer.allocUnsafe(CHUNK_RECORD_BYTES);
  record.writeUIntBE(length, 0, 3);
  record.writeUIntBE(hash, 3, HASH_BYTES);
  return record;
}

/** The chunks of a file, in order. */
export class ChunkList {
  readonly records: Buffer;

  constructor(records: Buffer) {
    this.records = records;
  }

  get count(): number {
    return Math.floor(this.records.length / CHUNK_RECORD_BYTES);
  }

  length(index: number): number {
    return this.records.readUIntBE(index * CHUNK_RECORD_BYTES, 3);
  }

  hash(index: number): number {
    return this.records.readUIntBE(index * CHUNK_RECORD_BYTES + 3, HASH_BYTES);
  }

  /** Where each chunk begins, and at last where the file ends. */
  offsets(): Float64Array {
    const offsets = new Float64Array(this.count + 1);
    for (let i = 0; i < this.count; i++) offsets[i + 1] = (offsets[i] as number) + this.length(i);
    return offsets;
  }

  /** Whether it can be the list of a file of so many bytes. */
  fits(bytes: number): boolean {
    if (this.records.length % CHUNK_RECORD_BYTES !== 0) return false;
    for (let i = 0; i < this.count; i++) {
      const length = this.length(i);
      if (length === 0 || length > MOST_CHUNK_BYTES) return false;
    }
    return this.offsets()[this.count] === bytes;
  }
}

/** Says of a new version, piece by piece from its start, which pieces an older one has. */
export class Matcher {
  readonly #base: ChunkList;
  readonly #byHash = new Map<number, number>();
  /** The older chunk that comes next if nothing was inserted or removed: cut there, no gear is needed. */
  #expected = 0;

  constructor(base: ChunkList) {
    this.#base = base;
    for (let i = base.count - 1; i >= 0; i--) this.#byHash.set(base.hash(i), i);
  }

  /** The next piece of `view`: its length, and where the older version has it, if it does. */
  next(view: Uint8Array): { length: number; index: number | undefined; hash: number } {
    const expected = this.#expected;
    const likely = expected < this.#base.count ? this.#base.length(expected) : 0;
    const tried = likely > 0 && likely <= view.length ? chunkHash(view.subarray(0, likely)) : undefined;
    if (tried !== undefined && tried === this.#base.hash(expected)) return this.#found(expected, likely, tried);
    const length = chunkLength(view);
    const hash = tried !== undefined && length === likely ? tried : chunkHash(view.subarray(0, length));
    const index = this.#byHash.get(hash);
    if (index !== undefined && this.#base.length(index) === length) return this.#found(index, length, hash);
    // Changed in its place, the next one is likely to be the next one still.
    this.#expected = length === likely ? expected + 1 : this.#base.count;
    return { length, index: undefined, hash };
  }

  #found(index: number, length: number, hash: number) {
    this.#expected = index + 1;
    return { length, index, hash };
  }
}

const WINDOW_BYTES = 4 * MOST_CHUNK_BYTES;

/**
 * Goes through `bytes` bytes, which `fill` reads in order, in a window of bounded size. `take` is shown at least
 * {@link MOST_CHUNK_BYTES} (or what is left) and says how much of it is done with.
 */
export async function throughWindow(
  bytes: number,
  fill: (buffer: Buffer) => Promise<void>,
  take: (view: Buffer) => number | Promise<number>,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, bytes));
  let start = 0;
  let end = 0;
  for (let unread = bytes; unread > 0 || start < end; ) {
    if (end - start < MOST_CHUNK_BYTES && unread > 0) {
      buffer.copyWithin(0, start, end);
      end -= start;
      start = 0;
      const more = Math.min(unread, buffer.length - end);
      await fill(buffer.subarray(end, end + more));
      end += more;
      unread -= more;
    }
    const taken = take(buffer.subarray(start, Math.min(end, start + MOST_CHUNK_BYTES)));
    start += typeof taken === "number" ? taken : await taken;
  }
}
