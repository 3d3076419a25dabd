/** Limits of the bytes a second that are sent: a token bucket between a session, or several, and their streams. */
import { Duplex } from "node:stream";
import { MAX_BURST_MS, SLICE_BYTES } from "./limits.js";

/** So many bytes a second, and at once what {@link MAX_BURST_MS} would have allowed. Pure: time is an argument. */
export class TokenBucket {
  #perMs: number;
  #tokens = 0;
  #at: number;

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#perMs = bytesPerSecond / 1000;
    this.#at = nowMs;
  }

  get bytesPerSecond(): number {
    return this.#perMs * 1000;
  }

  /** From `nowMs` on. What was taken before is paid back at the new rate. */
  setRate(bytesPerSecond: number, nowMs: number): void {
    this.take(0, nowMs);
    this.#perMs = bytesPerSecond / 1000;
  }

  /** Takes `bytes`, and says how long to wait before they may be sent. */
  take(bytes: number, nowMs: number): number {
    this.#tokens = Math.min(this.#tokens + Math.max(0, nowMs - this.#at) * this.#perMs, MAX_BURST_MS * this.#perMs);
    this.#at = nowMs;
    this.#tokens -= bytes;
    return Math.max(0, -this.#tokens / this.#perMs);
  }
}

/** Bytes a second that one connection, or several together, may send. */
export interface BandwidthLimit {
  /** May be changed at any time. Setting it throws a RangeError where it is not a number above 0. */
  bytesPerSecond: number;
  /** `duplex`, written to at no more than the limit leaves. Takes it over: reading, ends and errors are as they were. */
  throttle(duplex: Duplex): Duplex;
}

/**
 * A limit to give to several mirrors as their `bandwidth`: together they send no more than `bytesPerSecond`, which they share by
 * taking turns. Throws a RangeError where that is not a number above 0.
 */
export function bandwidthLimit(bytesPerSecond: number): BandwidthLimit {
  return new SharedLimit(bytesPerSecond);
}

class SharedLimit implements BandwidthLimit {
  readonly #bucket: TokenBucket;

  constructor(bytesPerSecond: number) {
    this.#bucket = new TokenBucket(checkedRate(bytesPerSecond), performance.now());
  }

  get bytesPerSecond(): number {
    return this.#bucket.bytesPerSecond;
  }
  set bytesPerSecond(value: number) {
    this.#bucket.setRate(checkedRate(value), performance.now());
  }

  throttle(duplex: Duplex): Duplex {
    return new Throttled(duplex, this.#bucket);
  }
}

function checkedRate(bytesPerSecond: number): number {
  if (Number.isFinite(bytesPerSecond) && bytesPerSecond > 0) return bytesPerSecond;
  throw new RangeError(`A bandwidth is a number of bytes a second above 0, and not ${bytesPerSecond}.`);
}

class Throttled extends Duplex {
  readonly #inner: Duplex;
  readonly #bucket: TokenBucket;
  #timer: NodeJS.Timeout | undefined;

  constructor(inner: Duplex, bucket: TokenBucket) {
    super({ writableHighWaterMark: SLICE_BYTES });
    this.#inner = inner;
    this.#bucket = bucket;
    inner.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) inner.pause();
    });
    inner.on("end", () => this.push(null));
    inner.on("error", (error) => this.destroy(error));
    inner.on("close", () => this.destroy());
    inner.pause();
  }

  override _read(): void {
    this.#inner.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#slice(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#inner.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#inner.destroy();
    done(error);
  }

  #slice(chunk: Buffer, done: (error?: Error | null) => void): void {
    if (chunk.length === 0) {
      done();
      return;
    }
    const slice = chunk.subarray(0, SLICE_BYTES);
    const go = (): void => {
      const next = (): void => this.#slice(chunk.subarray(slice.length), done);
      if (this.#inner.write(slice)) next();
      else this.#inner.once("drain", next);
    };
    const waitMs = this.#bucket.take(slice.length, performance.now());
    if (waitMs < 1) go();
    else this.#timer = setTimeout(go, waitMs);
  }
}
