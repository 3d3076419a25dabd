/**
 * How a client learns what a mirror holds that is not the one it expects, by asking only for folders whose hash is not the
 * expected one: level by level, all of a level at once.
 */
import type { Entry } from "./entry.js";
import { MAX_ASKED_FOLDERS } from "./limits.js";
import { parentOf } from "./path.js";
import { Turns } from "./turns.js";

export interface Expected {
  readonly entries: ReadonlyMap<string, Entry>;
  /** A folder's hash, where what is in it is known. */
  readonly hashOf: (folder: string) => Uint8Array | undefined;
}

export class Descent {
  readonly #expected: Expected;
  readonly #ask: (folders: readonly string[]) => void;
  /** Folders that are as expected, with all they hold. */
  readonly #same = new Set<string>();
  /** To be asked for when the answer is whole. */
  #differing: string[] = [];
  #unanswered = 1;

  /** The first answer is on its way. */
  constructor(expected: Expected, ask: (folders: readonly string[]) => void) {
    this.#expected = expected;
    this.#ask = ask;
  }

  /** Folders that are there, with the first bytes of their hashes. */
  take(folders: readonly { readonly path: string; readonly hash: Uint8Array }[]): void {
    for (const { path, hash } of folders) {
      const ours = this.#expected.hashOf(path)?.subarray(0, hash.length);
      if (ours !== undefined && Buffer.compare(ours, hash) === 0) this.#same.add(path);
      else this.#differing.push(path);
    }
  }

  /** An answer is whole. Whether it was the last: nothing more is asked for. */
  answered(): boolean {
    this.#unanswered--;
    while (this.#differing.length > 0) {
      this.#unanswered++;
      this.#ask(this.#differing.splice(0, MAX_ASKED_FOLDERS));
    }
    return this.#unanswered === 0;
  }

  /** Adds to what was listed what was not, as it is the same. */
  async complete(listed: Map<string, Entry>): Promise<void> {
    const turns = new Turns();
    // A folder comes before what is in it, as in any walk.
    for (const entry of this.#expected.entries.values()) {
      if (turns.isOver()) await turns.next();
      if (!this.#same.has(parentOf(entry.path))) continue;
      if (entry.kind === "directory") this.#same.add(entry.path);
      listed.set(entry.path, entry);
    }
  }
}
