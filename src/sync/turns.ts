/** Long work in slices, so that whatever else the program does gets its turn in between. */
import { setImmediate as yieldToOthers } from "node:timers/promises";

/** Steps of work in one slice, each of which takes a few microseconds. */
const SLICE = 2048;

/**
 * ```ts
 * for (const entry of entries) {
 *   if (turns.isOver()) await turns.next();
 * ```
 */
export class Turns {
  readonly #slice: number;
  #left: number;

  constructor(slice: number = SLICE) {
    this.#slice = slice;
    this.#left = slice;
  }

  /** Counts one step. Whether others are to have their turn before it. */
  isOver(): boolean {
    return --this.#left < 0;
  }

  next(): Promise<void> {
    this.#left = this.#slice;
    return yieldToOthers();
  }
}
