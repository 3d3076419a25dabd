import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock, Timer } from "../../src/stream/clock.js";

/** Turns of the event loop without any activity after which nothing but time can bring something. */
const QUIET_TURNS = 4;

/**
 * Time that passes when a test says so. Datagrams between sockets of one process arrive within a turn of the event loop,
 * so a transfer with timeouts of half a second takes milliseconds.
 */
export class TestClock implements Clock {
  #nowMs = 1000;
  #activity = 0;
  readonly #timers = new Set<TestTimer>();

  now(): number {
    this.#activity++;
    return this.#nowMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    this.#activity++;
    return new TestTimer(this.#timers, () => this.#nowMs, callback, delayMs);
  }

  afterInput(callback: () => void): void {
    this.#activity++;
    setImmediate(callback);
  }

  /**
   * Lets so many milliseconds pass as a process does that is stopped, or whose event loop is blocked: afterwards all timers
   * fire late, before anything is read.
   */
  stall(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at <= this.#nowMs && this.#timers.has(timer)) this.#fire(timer);
    }
  }

  /** Lets so many milliseconds pass at once; datagrams do not travel in the meantime. */
  advance(ms: number): void {
    const end = this.#nowMs + ms;
    for (;;) {
      const timer = this.#earliest();
      if (timer === null || timer.at > end) break;
      this.#fire(timer);
    }
    this.#nowMs = end;
  }

  /** Lets datagrams travel until nothing happens any more, without any time passing. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
      const before = this.#activity;
      await nextTurn();
      if (this.#activity !== before) quiet = -1;
    }
  }

  /** Lets so many milliseconds pass, and datagrams travel. */
  async pass(ms: number): Promise<void> {
    const end = this.#nowMs + ms;
    await this.settle();
    for (let timer = this.#earliest(); timer !== null && timer.at <= end; timer = this.#earliest()) {
      this.#fire(timer);
      await this.settle();
    }
    this.#nowMs = end;
  }

  /** Lets time pass, whenever there is nothing else to do, until the promise is settled. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    while (!settled) {
      await this.settle();
      const timer = settled ? null : this.#earliest();
      if (timer !== null) this.#fire(timer);
    }
    return promise;
  }

  #earliest(): TestTimer | null {
    let earliest: TestTimer | null = null;
    for (const timer of this.#timers) {
      if (earliest === null || timer.at < earliest.at) earliest = timer;
    }
    return earliest;
  }

  #fire(timer: TestTimer): void {
    this.#nowMs = Math.max(this.#nowMs, timer.at);
    this.#timers.delete(timer);
    timer.callback();
  }
}

class TestTimer implements Timer {
  at = 0;
  readonly callback: () => void;
  readonly #timers: Set<TestTimer>;
  readonly #now: () => number;
  readonly #delayMs: number;

  constructor(timers: Set<TestTimer>, now: () => number, callback: () => void, delayMs: number) {
    this.#timers = timers;
    this.#now = now;
    this.callback = callback;
    this.#delayMs = delayMs;
    this.refresh();
  }

  refresh(): this {
    this.at = this.#now() + this.#delayMs;
    this.#timers.add(this);
    return this;
  }
  close(): this {
    this.#timers.delete(this);
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}
