/**
 * Measures how late the event loop is: for as long as it is, nothing else happens in this process. A metric, and what the
 * admission of sessions goes by.
 */

/** Time between two measurements. What blocks the loop for less than this may go unseen. */
const TICK_MS = 10;
/** The longest delay is known for each of so many slices of time, … */
const SLICES = 12;
/** … which are this long. */
const SLICE_MS = 5000;
/** The weight of a new delay in the mean, which follows within about {@link TICK_MS} / this: a second. */
const WEIGHT = 0.01;

export interface LoopDelayOptions {
  /** Milliseconds, monotonic. Default: `performance.now`. */
  readonly now?: () => number;
}

export class LoopDelay {
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  readonly #slices: number[] = [0];
  #sliceEnd: number;
  #ticked: number;
  #meanMs = 0;
  #total = 0;

  constructor({ now = () => performance.now() }: LoopDelayOptions = {}) {
    this.#now = now;
    this.#ticked = now();
    this.#sliceEnd = this.#ticked + SLICE_MS;
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** The longest delay of the last minute, in milliseconds. */
  get maxMs(): number {
    return Math.max(...this.#slices, this.#lateness(this.#now()));
  }

  /** The mean delay of about the last second, in milliseconds. */
  get meanMs(): number {
    return Math.max(this.#meanMs, this.#lateness(this.#now()) * WEIGHT);
  }

  /** The sum of all delays, in milliseconds. */
  get totalMs(): number {
    return this.#total;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = this.#now();
    const late = this.#lateness(now);
    // A long delay stands for all the ticks that did not come.
    const missed = (now - this.#ticked) / TICK_MS;
    this.#meanMs += (late - this.#meanMs) * (1 - (1 - WEIGHT) ** missed);
    this.#total += late;
    this.#ticked = now;
    if (now >= this.#sliceEnd) {
      this.#sliceEnd = now + SLICE_MS;
      this.#slices.push(0);
      if (this.#slices.length > SLICES) this.#slices.shift();
    }
    const last = this.#slices.length - 1;
    this.#slices[last] = Math.max(this.#slices[last] ?? 0, late);
  }

  #lateness(now: number): number {
    return Math.max(0, now - this.#ticked - TICK_MS);
  }
}
