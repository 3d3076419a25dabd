/**
 * Where chunks are, by their hashes: a hash table in a file, of which nothing is kept in memory. What it says is a hint
 * that may be wrong in any way: whoever uses it reads what is there and compares. So it is written in place and never
 * flushed, and a crash or damage costs no more than what it tore.
 *
 * Buckets of slots; a bucket that is full of what still counts makes the table twice as large, and when it is as large as
 * it may be, something in that bucket goes.
 */
import fs from "node:fs";
import { LEAST_TABLE_BUCKETS, MOST_TABLE_BUCKETS } from "./limits.js";
import { replaceFile, stampedHeader } from "./stamped.js";

/** Upper 32 bits of the hash, 3 bytes length (0: free), 4 bytes number of the source, 5 bytes offset in it. */
const SLOT_BYTES = 16;
const BUCKET_SLOTS = 16;
export const BUCKET_BYTES: number = SLOT_BYTES * BUCKET_SLOTS;
const LENGTH_AT = 4;
const SOURCE_AT = 7;
const OFFSET_AT = 11;
/** Of a hash of 48 bits, what a slot does not hold. */
const UNKEPT = 2 ** 16;
const MAGIC = Buffer.from("confundo chunks 1\n");
/** Buckets moved at a time while the table grows. */
const GROWING_BUCKETS = 4096;

export interface ChunkPlace {
  readonly source: number;
  readonly offset: number;
}

export class ChunkTable {
  readonly #path: string;
  readonly #bucket: Buffer = Buffer.allocUnsafe(BUCKET_BYTES);
  #fd: number;
  #buckets: number;

  private constructor(path: string, fd: number, buckets: number) {
    this.#path = path;
    this.#fd = fd;
    this.#buckets = buckets;
  }

  /** The table at `path` that has this stamp; `undefined` where there is none, or another one. */
  static open(path: string, stamp: Uint8Array): ChunkTable | undefined {
    let fd: number | undefined;
    try {
      fd = fs.openSync(path, "r+");
      const header = Buffer.alloc(BUCKET_BYTES);
      fs.readSync(fd, header, 0, BUCKET_BYTES, 0);
      const buckets = fs.fstatSync(fd).size / BUCKET_BYTES - 1;
      const sized =
        buckets >= LEAST_TABLE_BUCKETS && buckets <= MOST_TABLE_BUCKETS && Number.isInteger(Math.log2(buckets));
      if (sized && header.equals(stampedHeader(MAGIC, stamp, BUCKET_BYTES))) return new ChunkTable(path, fd, buckets);
    } catch {
      // None yet, or none that can be read.
    }
    if (fd !== undefined) fs.closeSync(fd);
    return undefined;
  }

  /** An empty one, in the place of what is there. */
  static create(path: string, stamp: Uint8Array): ChunkTable {
    const fd = fs.openSync(path, "w+", 0o600);
    fs.writeSync(fd, stampedHeader(MAGIC, stamp, BUCKET_BYTES));
    fs.ftruncateSync(fd, (LEAST_TABLE_BUCKETS + 1) * BUCKET_BYTES);
    return new ChunkTable(path, fd, LEAST_TABLE_BUCKETS);
  }

  /** Chunks it has room for. */
  get slots(): number {
    return this.#buckets * BUCKET_SLOTS;
  }

  /** Where such a chunk may be. */
  find(hash: number, length: number): ChunkPlace | undefined {
    const fingerprint = fingerprintOf(hash);
    const at = slotOf(this.#read(fingerprint), fingerprint, length);
    if (at === undefined) return undefined;
    const source = this.#bucket.readUInt32BE(at + SOURCE_AT);
    return { source, offset: this.#bucket.readUIntBE(at + OFFSET_AT, 5) };
  }

  /** The newest place of a chunk takes that of an older one. `counts` says of which sources something is still worth keeping. */
  put(hash: number, length: number, place: ChunkPlace, counts: (source: number) => boolean): void {
    const fingerprint = fingerprintOf(hash);
    for (;;) {
      const bucket = this.#read(fingerprint);
      const at = slotOf(bucket, fingerprint, length) ?? freeSlot(bucket, counts);
      if (at !== undefined || this.#buckets >= MOST_TABLE_BUCKETS) {
        // Of a bucket of the largest table that is full, any one goes.
        this.#write(fingerprint, at ?? (fingerprint >>> 28) * SLOT_BYTES, length, place);
        return;
      }
      this.#grow();
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }

  #read(fingerprint: number): Buffer {
    const bytes = fs.readSync(this.#fd, this.#bucket, 0, BUCKET_BYTES, this.#at(fingerprint));
    return bytes === BUCKET_BYTES ? this.#bucket : this.#bucket.fill(0);
  }

  #write(fingerprint: number, at: number, length: number, { source, offset }: ChunkPlace): void {
    const slot = this.#bucket.subarray(at, at + SLOT_BYTES);
    slot.writeUInt32BE(fingerprint, 0);
    slot.writeUIntBE(length, LENGTH_AT, 3);
    slot.writeUInt32BE(source, SOURCE_AT);
    slot.writeUIntBE(offset, OFFSET_AT, 5);
    fs.writeSync(this.#fd, slot, 0, SLOT_BYTES, this.#at(fingerprint) + at);
  }

  /** The header takes the place of one bucket. */
  #at(fingerprint: number): number {
    return ((fingerprint & (this.#buckets - 1)) + 1) * BUCKET_BYTES;
  }

  /** What was in bucket b goes to b or to b + the number there were, by the next bit of its fingerprint. */
  #grow(): void {
    const fd = replaceFile(this.#path, (beside) => this.#split(beside));
    fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#buckets *= 2;
  }

  #split(into: number): void {
    const header = Buffer.alloc(BUCKET_BYTES);
    fs.readSync(this.#fd, header, 0, BUCKET_BYTES, 0);
    fs.writeSync(into, header, 0, BUCKET_BYTES, 0);
    const low = Buffer.alloc(Math.min(GROWING_BUCKETS, this.#buckets) * BUCKET_BYTES);
    const high = Buffer.alloc(low.length);
    for (let from = BUCKET_BYTES; from <= this.#buckets * BUCKET_BYTES; from += low.length) {
      fs.readSync(this.#fd, low, 0, low.length, from);
      high.fill(0);
      for (let at = 0; at < low.length; at += SLOT_BYTES) {
        if ((low.readUInt32BE(at) & this.#buckets) === 0) continue;
        low.copy(high, at, at, at + SLOT_BYTES);
        low.fill(0, at, at + SLOT_BYTES);
      }
      fs.writeSync(into, low, 0, low.length, from);
      fs.writeSync(into, high, 0, high.length, from + this.#buckets * BUCKET_BYTES);
    }
  }
}

function fingerprintOf(hash: number): number {
  return Math.floor(hash / UNKEPT) >>> 0;
}

function slotOf(bucket: Buffer, fingerprint: number, length: number): number | undefined {
  for (let at = 0; at < BUCKET_BYTES; at += SLOT_BYTES) {
    if (bucket.readUInt32BE(at) === fingerprint && bucket.readUIntBE(at + LENGTH_AT, 3) === length) return at;
  }
  return undefined;
}

function freeSlot(bucket: Buffer, counts: (source: number) => boolean): number | undefined {
  for (let at = 0; at < BUCKET_BYTES; at += SLOT_BYTES) {
    if (bucket.readUIntBE(at + LENGTH_AT, 3) === 0 || !counts(bucket.readUInt32BE(at + SOURCE_AT))) return at;
  }
  return undefined;
}
