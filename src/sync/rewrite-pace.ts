/**
 * How often a large file that keeps changing is brought up to date: at the destination each time writes all of it. Of each file so many
 * bytes a second are rewritten, averaged over a minute, and one that keeps growing comes at most once in a while. Time is an argument.
 */
import { LEAST_PACED_BYTES, MAX_PACED_FILES, PACE_WINDOW_MS } from "./limits.js";

interface Rewritten {
  /** Bytes that may be written at once; below 0 it is waited. */
  budget: number;
  atMs: number;
  size: number;
  /** How often in a row it had grown, soon after the time before. */
  grown: number;
}

export class RewritePace {
  readonly #bytesPerMs: number;
  readonly #growingMs: number;
  readonly #files = new Map<string, Rewritten>();

  /** `rate`: bytes a second of each file, 0 for no limit. A file that keeps growing is due once in `growingMs`. */
  constructor(rate: number, growingMs: number) {
    this.#bytesPerMs = rate / 1000;
    this.#growingMs = growingMs;
  }

  /** How long a file of this size has to wait until it is sent again. Milliseconds. */
  waitMs(path: string, size: number, nowMs: number): number {
    const file = this.#files.get(path);
    if (this.#bytesPerMs === 0 || file === undefined || size < LEAST_PACED_BYTES) return 0;
    const budget = this.#budget(file, nowMs);
    const forBudget = budget > 0 ? 0 : -budget / this.#bytesPerMs + 1;
    const grows = file.grown > 0 && size > file.size;
    return Math.ceil(Math.max(forBudget, grows ? file.atMs + this.#growingMs - nowMs : 0));
  }

  /** A file that was there was written again. */
  wrote(path: string, size: number, nowMs: number): void {
    const before = this.#files.get(path);
    this.#files.delete(path);
    if (this.#bytesPerMs === 0 || size < LEAST_PACED_BYTES) return;
    const soon = before !== undefined && nowMs - before.atMs < 2 * this.#growingMs;
    const grown = soon && size > before.size ? before.grown + 1 : 0;
    const budget = before === undefined ? this.#most : this.#budget(before, nowMs);
    this.#files.set(path, { budget: budget - size, atMs: nowMs, size, grown });
    if (this.#files.size > MAX_PACED_FILES) this.#files.delete(this.#files.keys().next().value as string);
  }

  get #most(): number {
    return this.#bytesPerMs * PACE_WINDOW_MS;
  }

  #budget({ budget, atMs }: Rewritten, nowMs: number): number {
    return Math.min(budget + (nowMs - atMs) * this.#bytesPerMs, this.#most);
  }
}
