/**
 * Makes steps durable in groups. While one group is being flushed, the next one gathers and the one before is given its
 * names; a flush serves the content of those that come next and the names of those before, so that in a stream of small
 * files each group costs one, and nobody waits for it.
 *
 * A flush that fails does not say what of all that was written is not on the disk, and the next one does not say it again: what
 * has gathered until it ends fails too.
 */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import type { StagedFile } from "./flush.js";
import type { StepEvent } from "./hosting.js";
import { MAX_DONE_IDS } from "./limits.js";
import type { Storage } from "./storage.js";

/** A step that is done and not yet durable. */
export interface Placed {
  readonly id: number;
  /** Whose names have changed. */
  readonly folders: readonly string[];
  readonly event: StepEvent | undefined;
}

/** A file that was written beside. */
export interface Staged {
  readonly file: StagedFile;
  /** Called when its content is durable, or could not be made so. */
  readonly place: (error?: unknown) => void;
}

/** Files given their names before others, the flush among them, get their turn. */
const PLACED_IN_A_ROW = 128;

export interface CommitsOptions {
  readonly storage: Storage;
  /** Called for what is durable now; waited for. */
  readonly onDone: (group: readonly Placed[]) => Promise<void>;
  readonly onFail: (placed: Placed, error: unknown) => void;
  /** Called when there is something to flush, and when there is nothing more. */
  readonly onBusy: (busy: boolean) => void;
}

export class Commits {
  readonly #options: CommitsOptions;
  #staged: Staged[] = [];
  readonly #placed: Placed[] = [];
  #running = false;

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  /** Steps that are done and not yet durable. */
  get waiting(): number {
    return this.#placed.length;
  }

  /** Has the file flushed, and then placed. */
  stage(staged: Staged): void {
    this.#options.storage.keepOpen(staged.file, this.#staged.length);
    this.#staged.push(staged);
    this.#start();
  }

  /** Has the folders flushed, and then reports it. */
  add(placed: Placed): void {
    this.#placed.push(placed);
    this.#start();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#options.storage.begin();
    this.#options.onBusy(true);
    // What has arrived together is flushed together.
    setImmediate(() => void this.#run());
  }

  async #run(): Promise<void> {
    let flushed: { readonly staged: readonly Staged[]; readonly error: unknown } | undefined;
    while (this.#staged.length + this.#placed.length > 0 || flushed !== undefined) {
      const staged = this.#staged;
      this.#staged = [];
      const placed = this.#placed.splice(0, MAX_DONE_IDS);
      const flushing = staged.length + placed.length > 0 ? this.#flush(staged, placed) : undefined;
      if (flushed !== undefined) await this.#place(flushed.staged, flushed.error);
      flushed = undefined;
      const error = await flushing;
      if (error === undefined) await this.#options.onDone(placed);
      else this.#failAll(placed, error);
      const alsoStaged = error === undefined ? [] : this.#staged.splice(0);
      if (staged.length + alsoStaged.length > 0) flushed = { staged: [...staged, ...alsoStaged], error };
    }
    this.#running = false;
    this.#options.storage.rest();
    this.#options.onBusy(false);
  }

  #failAll(placed: readonly Placed[], error: unknown): void {
    for (const one of [...placed, ...this.#placed.splice(0)]) this.#options.onFail(one, error);
  }

  /** What gets its name while something is flushed is flushed the next time. */
  async #place(staged: readonly Staged[], error: unknown): Promise<void> {
    for (const [i, { place }] of staged.entries()) {
      if (i % PLACED_IN_A_ROW === 0) await yieldToOthers();
      place(error);
    }
  }

  async #flush(staged: readonly Staged[], placed: readonly Placed[]): Promise<unknown> {
    const folders = new Set(placed.flatMap((one) => one.folders));
    try {
      await this.#options.storage.flush(
        staged.map(({ file }) => file),
        folders,
      );
      return undefined;
    } catch (error) {
      return error ?? new Error("flushing failed");
    }
  }
}
