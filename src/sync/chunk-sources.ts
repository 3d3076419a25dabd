/**
 * The files in which a mirror's chunks were found, by number: where each is, and what it holds, so that it is still found
 * when only an old version of it is kept. In memory while a mirror is used, within bounds; on disk a log of records, of
 * which the last one for a number counts. What follows a record that is damaged or cut off counts for nothing.
 */
import fs from "node:fs";
import { crc32 } from "node:zlib";
import { Reader, Writer } from "./bytes.js";
import { MAX_CHUNK_SOURCES, MAX_PATH_BYTES, MAX_SOURCE_PATH_CHARS, SPARE_SOURCE_RECORDS } from "./limits.js";
import { isWithin } from "./path.js";
import { replaceFile, STAMPED_BYTES, stampedHeader, stampIn } from "./stamped.js";

/** One version of a file. */
export interface ChunkSource {
  /** Where it is in the mirror; empty when it is there no more. */
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  /** In hex; empty where it is not known. */
  readonly sha256: string;
}

const MAGIC = Buffer.from("confundo sources 1\n");
/** Checksum and length of what follows. */
const PREFIX_BYTES = 6;
const GONE: ChunkSource = { path: "", size: 0, mtimeNs: 0n, sha256: "" };
const NO_HASH = Buffer.alloc(32);

export class ChunkSources {
  readonly stamp: Buffer;
  readonly #path: string;
  readonly #byNumber = new Map<number, ChunkSource>();
  readonly #byPath = new Map<string, number>();
  #fd: number;
  #next = 1;
  #chars = 0;
  #records = 0;

  private constructor(path: string, fd: number, stamp: Buffer) {
    this.#path = path;
    this.#fd = fd;
    this.stamp = stamp;
  }

  /** Those at `path`; `undefined` where there are none that can be read. */
  static open(path: string): ChunkSources | undefined {
    let fd: number | undefined;
    try {
      const content = fs.readFileSync(path);
      if (content.length < STAMPED_BYTES || !content.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
      fd = fs.openSync(path, "a+");
      const sources = new ChunkSources(path, fd, stampIn(content));
      fs.ftruncateSync(fd, sources.#read(content));
      return sources;
    } catch {
      if (fd !== undefined) fs.closeSync(fd);
      return undefined;
    }
  }

  /** None yet, in the place of what is there. */
  static create(path: string, stamp: Buffer): ChunkSources {
    const fd = fs.openSync(path, "w+", 0o600);
    fs.writeSync(fd, stampedHeader(MAGIC, stamp));
    return new ChunkSources(path, fd, stamp);
  }

  get size(): number {
    return this.#byNumber.size;
  }

  get(number: number): ChunkSource | undefined {
    return this.#byNumber.get(number);
  }

  at(path: string): number | undefined {
    return this.#byPath.get(path);
  }

  /** The numbers of those that have a path. */
  paths(): IterableIterator<[path: string, number: number]> {
    return this.#byPath.entries();
  }

  /** A number that no other has. */
  number(): number {
    return this.#next++;
  }

  /** The oldest ones go where there are too many. */
  add(number: number, source: ChunkSource): void {
    this.#change(number, source);
    while (this.#byNumber.size > MAX_CHUNK_SOURCES || this.#chars > MAX_SOURCE_PATH_CHARS) {
      const [oldest] = this.#byNumber.keys();
      if (oldest === undefined || oldest === number) break;
      this.#change(oldest, GONE);
    }
  }

  /** A file, or a folder with all it holds, has another name. */
  moved(from: string, to: string): void {
    const one = this.#byPath.get(from);
    const moved =
      one === undefined ? [...this.#byPath].filter(([path]) => isWithin(path, from)) : [[from, one] as const];
    for (const [path, number] of moved) {
      const source = this.#byNumber.get(number);
      if (source !== undefined) this.#change(number, { ...source, path: to + path.slice(from.length) });
    }
  }

  /** It is in the mirror no more. */
  left(number: number): void {
    const source = this.#byNumber.get(number);
    if (source !== undefined && source.path !== "") this.#change(number, { ...source, path: "" });
  }

  forget(number: number): void {
    if (this.#byNumber.has(number)) this.#change(number, GONE);
  }

  close(): void {
    fs.closeSync(this.#fd);
  }

  #change(number: number, source: ChunkSource): void {
    this.#take(number, source);
    fs.writeSync(this.#fd, encode(number, source));
    if (++this.#records > 2 * this.#byNumber.size + SPARE_SOURCE_RECORDS) this.#rewrite();
  }

  #take(number: number, source: ChunkSource): void {
    const before = this.#byNumber.get(number);
    if (before !== undefined) this.#chars -= before.path.length;
    if (before !== undefined && this.#byPath.get(before.path) === number) this.#byPath.delete(before.path);
    if (source.path === "" && source.sha256 === "") this.#byNumber.delete(number);
    else this.#byNumber.set(number, source);
    this.#chars += source.path.length;
    if (source.path !== "") this.#byPath.set(source.path, number);
  }

  /** Returns how much of it is sound. */
  #read(content: Buffer): number {
    let at = STAMPED_BYTES;
    while (at + PREFIX_BYTES <= content.length) {
      const end = at + PREFIX_BYTES + content.readUInt16BE(at + 4);
      if (end > content.length || crc32(content.subarray(at + 4, end)) !== content.readUInt32BE(at)) break;
      const reader = new Reader(content.subarray(at + PREFIX_BYTES, end));
      const number = reader.u32();
      const size = reader.u64();
      const mtimeNs = reader.time();
      const hash = reader.raw(NO_HASH.length);
      const sha256 = hash.equals(NO_HASH) ? "" : hash.toString("hex");
      this.#take(number, { path: reader.name(MAX_PATH_BYTES), size, mtimeNs, sha256 });
      this.#next = Math.max(this.#next, number + 1);
      this.#records++;
      at = end;
    }
    return at;
  }

  /** Only what counts, in the same order. */
  #rewrite(): void {
    const records = [...this.#byNumber].map(([number, source]) => encode(number, source));
    const content = Buffer.concat([stampedHeader(MAGIC, this.stamp), ...records]);
    const fd = replaceFile(this.#path, (beside) => fs.writeSync(beside, content));
    fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#records = this.#byNumber.size;
  }
}

function encode(number: number, { path, size, mtimeNs, sha256 }: ChunkSource): Buffer {
  const hash = sha256 === "" ? NO_HASH : Buffer.from(sha256, "hex");
  const payload = new Writer(64 + path.length).u32(number).u64(size).time(mtimeNs).raw(hash).name(path, MAX_PATH_BYTES);
  const content = payload.finish();
  const record = Buffer.alloc(PREFIX_BYTES + content.length);
  record.writeUInt16BE(content.length, 4);
  content.copy(record, PREFIX_BYTES);
  record.writeUInt32BE(crc32(record.subarray(4)), 0);
  return record;
}
