import type { OnReadOptions } from "./socket-options.js";

/** Hands what arrives to the buffers and the callback of the option `onread`. */
export class OnRead {
  readonly #options: OnReadOptions;
  /** The callback's `this`. */
  readonly #socket: unknown;
  /** What has arrived behind the part that paused the socket. */
  #left: Uint8Array | null = null;

  constructor(options: OnReadOptions, socket: unknown) {
    this.#options = options;
    this.#socket = socket;
  }

  /** The reader of `options`; null where they are not complete, which `node:net` ignores. */
  static from(options: OnReadOptions | null | undefined, socket: unknown): OnRead | null {
    const { buffer, callback } = options ?? {};
    const isBuffer = buffer instanceof Uint8Array || typeof buffer === "function";
    return isBuffer && typeof callback === "function" ? new OnRead({ buffer, callback }, socket) : null;
  }

  /** Whether something of an earlier `push` still waits for `flush`. */
  get isWaiting(): boolean {
    return this.#left !== null;
  }

  /** @returns false where the callback wants nothing more for now */
  push(bytes: Uint8Array): boolean {
    let at = 0;
    while (at < bytes.length) {
      const { buffer: given, callback } = this.#options;
      const buffer = typeof given === "function" ? given() : given;
      const length = Math.min(buffer.length, bytes.length - at);
      buffer.set(bytes.subarray(at, at + length));
      at += length;
      if (callback.call(this.#socket, length, buffer) !== false) continue;
      this.#left = at < bytes.length ? bytes.subarray(at) : null;
      return false;
    }
    return true;
  }

  /** Hands over what has waited. @returns false where the callback wants nothing more for now */
  flush(): boolean {
    const left = this.#left;
    this.#left = null;
    return left === null || this.push(left);
  }
}
