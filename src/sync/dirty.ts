/** What is known to be worth a look: paths, or everything. Pure bookkeeping. */
import { BURST_HINTS } from "./limits.js";
import type { Hint } from "./watch.js";

export interface Work {
  readonly folder: string;
  /** Why the whole folder is to be walked; `undefined`: look at `paths` only. */
  readonly everything: string | undefined;
  readonly paths: ReadonlySet<string>;
}

export class Dirty {
  #folder = "";
  #everything: string | undefined;
  #paths = new Set<string>();
  #hints = 0;

  /** Hints taken in so far. */
  get hints(): number {
    return this.#hints;
  }

  get empty(): boolean {
    return this.#everything === undefined && this.#paths.size === 0;
  }

  /** Whether nothing but a walk is asked for, which need not wait for the events to rest. */
  get urgent(): boolean {
    return this.#everything !== undefined && this.#paths.size === 0;
  }

  add({ folder, path, reason }: Hint): void {
    if (this.#folder !== "" && this.#folder !== folder) throw new TypeError("hints of two folders in one push");
    this.#folder = folder;
    this.#hints++;
    if (path === "") this.#everything ??= reason;
    else if (this.#paths.size < BURST_HINTS) this.#paths.add(path);
    else this.#everything ??= "many changes at once";
  }

  /** All there is, and starts anew. */
  take(): Work {
    const work = { folder: this.#folder, everything: this.#everything, paths: this.#paths };
    this.#everything = undefined;
    this.#paths = new Set();
    return work;
  }
}
