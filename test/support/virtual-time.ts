/**
 * Time that passes when nothing else happens. While it is installed, the global timers and `performance.now` are those of a
 * clock that stands still as long as this process has anything to do, and then goes to the next timer at once: a silence
 * of 15 s takes as long as noticing it. The clock of the wall and of the file system goes on as ever, and so do
 * `setImmediate` and the waits of node:timers/promises.
 */
import { asyncScheduler, type SchedulerLike } from "rxjs";
import type { Clocks } from "../../src/sync/disruption.js";

interface Timer {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly fire: () => void;
}

type Globals = Pick<typeof globalThis, "setTimeout" | "clearTimeout" | "setInterval" | "clearInterval">;

/** Turns of the event loop in which nothing was under way: what was answered may be answered in turn. */
const QUIET_TURNS = 4;
const IS_UNDER_WAY = /^(FS|Close|Write|Shutdown|Work|Zlib)/;

export class VirtualTime {
  readonly scheduler: SchedulerLike;
  readonly clocks: Clocks = { wallMs: () => this.#nowMs, steadyMs: () => this.#nowMs };
  readonly #timers = new Set<Timer>();
  readonly #real: Globals & { now: () => number };
  /** Timers of whoever runs the tests. */
  readonly #foreign: number;
  #nowMs = 1_000_000;

  constructor() {
    const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;
    this.#real = { setTimeout, clearTimeout, setInterval, clearInterval, now: performance.now };
    this.#foreign = timeouts();
    const now = (): number => this.#nowMs;
    this.scheduler = Object.create(asyncScheduler, { now: { value: now } }) as SchedulerLike;
    const clear = (handle: unknown): void =>
      void this.#timers.delete((handle as { timer: Timer } | undefined)?.timer as Timer);
    Object.assign(globalThis, {
      setTimeout: (call: (...given: unknown[]) => void, ms = 0, ...given: unknown[]) =>
        this.#add(() => call(...given), ms),
      setInterval: (call: (...given: unknown[]) => void, ms = 0, ...given: unknown[]) =>
        this.#add(() => call(...given), ms, Math.max(1, ms)),
      clearTimeout: clear,
      clearInterval: clear,
    });
    performance.now = now;
  }

  [Symbol.dispose](): void {
    const { now, ...globals } = this.#real;
    Object.assign(globalThis, globals);
    performance.now = now;
    this.#timers.clear();
  }

  /** Lets time pass, whenever there is nothing else to do, until the promise is settled. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const over = (): void => {
      settled = true;
    };
    promise.then(over, over);
    while (!settled) {
      await this.#idle();
      if (!settled) this.#passToNext();
    }
    return promise;
  }

  #add(fire: () => void, ms: number, everyMs?: number) {
    const timer: Timer = { atMs: this.#nowMs + Math.max(1, Number(ms) || 1), everyMs, fire };
    this.#timers.add(timer);
    const handle = { timer, unref: () => handle, ref: () => handle, hasRef: () => true };
    return handle;
  }

  #passToNext(): void {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined) return;
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    if (next.everyMs === undefined) this.#timers.delete(next);
    else next.atMs += next.everyMs;
    next.fire();
  }

  /** Resolves when nothing is under way: no call to the system, no wait of real time. */
  async #idle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      if (process.getActiveResourcesInfo().some((name) => IS_UNDER_WAY.test(name))) quiet = -1;
      else if (timeouts() > this.#foreign) {
        quiet = -1;
        await new Promise<void>((resolve) => void this.#real.setTimeout(resolve, 1));
      }
    }
  }
}

function timeouts(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
}
