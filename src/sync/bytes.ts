/** Numbers, texts and raw bytes to and from buffers, every length checked before it is believed. */
import { isUtf8 } from "node:buffer";
import { SyncError } from "./errors.js";
import { hasEscapes, nameFromBytes, nameToBytes } from "./names.js";
import { timeFromBits, timeToBits } from "./times.js";

/** Appends to a buffer that grows. */
export class Writer {
  #buffer: Buffer;
  #length = 0;

  constructor(bytes: number) {
    this.#buffer = Buffer.allocUnsafe(bytes);
  }

  flag(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u8(value: number): this {
    this.#room(1);
    this.#length = this.#buffer.writeUInt8(value, this.#length);
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#length = this.#buffer.writeUInt32BE(value, this.#length);
    return this;
  }

  u64(value: number): this {
    this.#room(8);
    this.#length = this.#buffer.writeBigUInt64BE(BigInt(value), this.#length);
    return this;
  }

  i64(value: bigint): this {
    this.#room(8);
    this.#length = this.#buffer.writeBigInt64BE(BigInt.asIntN(64, value), this.#length);
    return this;
  }

  time(timeNs: bigint): this {
    return this.i64(timeToBits(timeNs));
  }

  text(value: string, most: number): this {
    const bytes = Buffer.byteLength(value);
    if (bytes > most) throw new SyncError("ERR_LIMIT", `a text of ${bytes} bytes where at most ${most} are allowed`);
    this.u16(bytes);
    this.#room(bytes);
    this.#length += this.#buffer.write(value, this.#length, bytes, "utf8");
    return this;
  }

  /** A text that may have bytes which are not UTF-8 (names.ts). */
  name(value: string, most: number): this {
    if (!hasEscapes(value)) return this.text(value, most);
    const bytes = nameToBytes(value);
    if (bytes.length > most) throw new SyncError("ERR_LIMIT", `a name of ${bytes.length} bytes, of at most ${most}`);
    return this.u16(bytes.length).raw(bytes);
  }

  raw(value: Uint8Array): this {
    this.#room(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}

/** Reads a buffer from its start; throws `ERR_PROTOCOL` where it ends too early or a bound is passed. */
export class Reader {
  readonly #buffer: Buffer;
  #offset = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  raw(bytes: number): Buffer {
    const start = this.#offset;
    if (start + bytes > this.#buffer.length) throw malformed("a message ends too early");
    this.#offset += bytes;
    return this.#buffer.subarray(start, this.#offset);
  }

  u8(): number {
    return this.raw(1).readUInt8();
  }

  u16(): number {
    return this.raw(2).readUInt16BE();
  }

  u32(): number {
    return this.raw(4).readUInt32BE();
  }

  u64(): number {
    const value = this.raw(8).readBigUInt64BE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed("a number is too large");
    return Number(value);
  }

  i64(): bigint {
    return this.raw(8).readBigInt64BE();
  }

  time(): bigint {
    return timeFromBits(this.i64());
  }

  flag(): boolean {
    const value = this.u8();
    if (value > 1) throw malformed("a flag is neither 0 nor 1");
    return value === 1;
  }

  text(most: number): string {
    const bytes = this.u16();
    if (bytes > most) throw malformed(`a text of ${bytes} bytes where at most ${most} are allowed`);
    const raw = this.raw(bytes);
    if (!isUtf8(raw)) throw malformed("a text is not valid UTF-8");
    return raw.toString("utf8");
  }

  /** A text that may have bytes which are not UTF-8. */
  name(most: number): string {
    const bytes = this.u16();
    if (bytes > most) throw malformed(`a name of ${bytes} bytes where at most ${most} are allowed`);
    return nameFromBytes(this.raw(bytes));
  }

  /** `count`, once it is clear that so many items of at least `leastBytes` can follow. */
  count(count: number, leastBytes: number): number {
    if (count * leastBytes > this.#buffer.length - this.#offset) throw malformed("a count is larger than its message");
    return count;
  }

  rest(): Buffer {
    return this.raw(this.#buffer.length - this.#offset);
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#buffer.length - this.#offset;
  }

  finish(type: string): void {
    if (this.#offset !== this.#buffer.length) throw malformed(`a ${type} message is longer than it should be`);
  }
}

export function malformed(what: string): SyncError {
  return new SyncError("ERR_PROTOCOL", `the peer sent something that is not the mirror protocol: ${what}`);
}
