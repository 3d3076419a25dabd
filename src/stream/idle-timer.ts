import type { Clock, Timer } from "./clock.js";

/** Tells when a connection has moved nothing for so long: `net.Socket`'s `timeout`. It does not keep the process alive. */
export class IdleTimer {
  readonly #timer: Timer;
  readonly #bytesMoved: () => number;
  /** Bytes either way when the timer was last started. */
  #bytesMovedAtStart: number;

  /** `bytesMoved` counts the bytes that have arrived and that were acknowledged. */
  constructor(clock: Clock, ms: number, bytesMoved: () => number, onIdle: () => void) {
    this.#bytesMoved = bytesMoved;
    this.#bytesMovedAtStart = bytesMoved();
    // A part of a chunk that was acknowledged is activity too, although the stream only hears when all of it has room.
    this.#timer = clock.setTimer(() => (bytesMoved() === this.#bytesMovedAtStart ? onIdle() : this.restart()), ms);
    this.#timer.unref();
  }

  /** Something happened: the time begins again. */
  restart(): void {
    this.#bytesMovedAtStart = this.#bytesMoved();
    this.#timer.refresh();
  }

  close(): void {
    this.#timer.close();
  }
}
