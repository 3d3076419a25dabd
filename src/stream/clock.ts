import { performance } from "node:perf_hooks";

/** A timer that has been set: what is needed of Node's `Timeout`. */
export interface Timer {
  ref(): unknown;
  unref(): unknown;
  refresh(): unknown;
  close(): unknown;
}

/** Time as sockets and servers see it, so that tests can bring their own. */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Calls back once after so many milliseconds, and again after each `refresh()`. */
  setTimer(callback: () => void, delayMs: number): Timer;
  /** Calls back once when what has arrived was read. A clock that is never late has none. */
  afterInput?(callback: () => void): void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
  // The event loop reads sockets between timers and immediates.
  afterInput: (callback) => void setImmediate(callback),
};
