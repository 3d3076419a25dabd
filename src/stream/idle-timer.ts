import type { Clock, Timer } from "./clock.js";

/** Tells when a connection has moved nothing for so long: `net.Socket`'s `timeout`. It does not keep the process alive. */
export class IdleTimer {
  readonly #timer: Timer;
  readonly #bytesOnTheWay: () => number;
  /** Bytes that the peer had not acknowledged when the timer was last started. */
  #bytesOnTheWayAtStart: number;

  /** `bytesOnTheWay` counts the bytes that were written and that the peer has not acknowledged. */
  constructor(clock: Clock, ms: number, bytesOnTheWay: () => number, onIdle: () => void) {
    this.#bytesOnTheWay = bytesOnTheWay;
    this.#bytesOnTheWayAtStart = bytesOnTheWay();
    this.#timer = clock.setTimer(() => {
      // A part of a chunk that was acknowledged is activity too, although the stream only hears when all of it has room. What was
      // acknowledged to the last byte is not: the time counts from the write then, as in `node:net`.
      const left = bytesOnTheWay();
      if (left === 0 || left === this.#bytesOnTheWayAtStart) onIdle();
      else this.restart();
    }, ms);
    this.#timer.unref();
  }

  /** Something happened: the time begins again. */
  restart(): void {
    this.#bytesOnTheWayAtStart = this.#bytesOnTheWay();
    this.#timer.refresh();
  }

  close(): void {
    this.#timer.close();
  }
}
