/**
 * Paths that are to stand at the destination as they were at some moment, or newer: those that a question is about, or all that
 * was to be looked at when a round began. Pure bookkeeping.
 *
 * A path is settled by a round that began after the moment, looked at the path, and left nothing undone there. That the path has
 * changed again meanwhile does not matter: what changes all the time would never be settled otherwise.
 */
import { isWithin } from "./path.js";

/** What a round looked at, and what it left undone. */
export interface Looked {
  /** Whether `path` was looked at, with all that is below it. */
  covers(path: string): boolean;
  /** Paths that were looked at and are not at the destination yet; `""`: nothing is known of any. */
  readonly undone: Iterable<string>;
}

export class Owed {
  readonly #paths: Set<string>;
  /** Whether a round is under way that began after the moment. */
  #begun = false;

  /** `""` stands for everything. */
  constructor(paths: Iterable<string>) {
    this.#paths = new Set(paths);
  }

  get settled(): boolean {
    return this.#paths.size === 0;
  }

  /** A round begins to look, or looks again at all that it has looked at. */
  begin(): void {
    this.#begun = true;
  }

  /** The round has ended. */
  end({ covers, undone }: Looked): void {
    if (!this.#begun) return;
    this.#begun = false;
    const looked = [...this.#paths].filter(covers);
    for (const path of looked) this.#paths.delete(path);
    for (const path of undone) {
      for (const owed of looked) if (path === "" || isWithin(path, owed)) this.#paths.add(path === "" ? owed : path);
    }
  }

  /** The round has ended without a result. */
  cancel(): void {
    this.#begun = false;
  }
}
