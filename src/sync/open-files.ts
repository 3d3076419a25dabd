/**
 * Files that are not sent yet because another program has them open for writing, or because they were just emptied where
 * the system does not say whether one has. Time is an argument.
 */
import { EMPTIED_REST_MS, FIRST_OPEN_CHECK_MS, MANY_OPEN_FILES, MOST_OPEN_CHECK_MS } from "./limits.js";

interface OpenFile {
  readonly sinceMs: number;
  /** Whether it waits only because it has become empty. */
  readonly emptied: boolean;
  /** Whether it was named by {@link OpenFiles.due} and not looked at since. */
  named: boolean;
}

export class OpenFiles {
  readonly #settleOpenMs: number;
  readonly #waiting = new Map<string, OpenFile>();
  #delayMs = FIRST_OPEN_CHECK_MS;

  /** A file that stays open is due when it has waited for `settleOpenMs`. */
  constructor(settleOpenMs: number) {
    this.#settleOpenMs = settleOpenMs;
  }

  get size(): number {
    return this.#waiting.size;
  }

  get paths(): Iterable<string> {
    return this.#waiting.keys();
  }

  /** A file was found open; it counts from the first time. */
  add(path: string, emptied: boolean, nowMs: number): void {
    const known = this.#waiting.get(path);
    if (known === undefined) this.#delayMs = FIRST_OPEN_CHECK_MS;
    this.#waiting.set(path, { sinceMs: known?.sinceMs ?? nowMs, emptied, named: false });
  }

  /** It was sent, or is not there any more. */
  delete(path: string): void {
    this.#waiting.delete(path);
  }

  /** Whether a file that is still open has waited long enough. */
  isOverdue(path: string, nowMs: number): boolean {
    const file = this.#waiting.get(path);
    if (file === undefined) return false;
    return nowMs - file.sinceMs >= (file.emptied ? EMPTIED_REST_MS : this.#settleOpenMs);
  }

  /** How long to wait before they are checked again: longer each time, and with many. Milliseconds. */
  nextCheckMs(): number {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(2 * delayMs, MOST_OPEN_CHECK_MS);
    return this.#waiting.size > MANY_OPEN_FILES ? 10 * MOST_OPEN_CHECK_MS : delayMs;
  }

  /** Those to be looked at now, each once: closed, or overdue. `isOpen` is undefined where the system does not say. */
  due(isOpen: (path: string) => boolean | undefined, nowMs: number): string[] {
    const due: string[] = [];
    for (const [path, file] of this.#waiting) {
      if (file.named || !(this.isOverdue(path, nowMs) || (!file.emptied && !isOpen(path)))) continue;
      file.named = true;
      due.push(path);
    }
    return due;
  }
}
