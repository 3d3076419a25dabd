/** Sends no faster than told: a token bucket between a session and its stream. */
import { Duplex } from "node:stream";
import { MAX_BURST_MS, SLICE_BYTES } from "./limits.js";

/** So many bytes a second, and at once what {@link MAX_BURST_MS} would have allowed. Pure: time is an argument. */
export class TokenBucket {
  readonly #perMs: number;
  #tokens = 0;
  #at: number;

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#perMs = bytesPerSecond / 1000;
    this.#at = nowMs;
  }

  /** Takes `bytes`, and says how long to wait before they may be sent. */
  take(bytes: number, nowMs: number): number {
    this.#tokens = Math.min(this.#tokens + Math.max(0, nowMs - this.#at) * this.#perMs, MAX_BURST_MS * this.#perMs);
    this.#at = nowMs;
    this.#tokens -= bytes;
    return Math.max(0, -this.#tokens / this.#perMs);
  }
}

/** `inner`, written to at no more than `bytesPerSecond`. Takes it over; reading is as it was. */
export function throttle(inner: Duplex, bytesPerSecond: number): Duplex {
  return new Throttled(inner, bytesPerSecond);
}

class Throttled extends Duplex {
  readonly #inner: Duplex;
  readonly #bucket: TokenBucket;
  #timer: NodeJS.Timeout | undefined;

  constructor(inner: Duplex, bytesPerSecond: number) {
    super({ writableHighWaterMark: SLICE_BYTES });
    this.#inner = inner;
    this.#bucket = new TokenBucket(bytesPerSecond, performance.now());
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
