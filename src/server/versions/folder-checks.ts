/** Folders that have to be looked through before they are changed, one after the other, in the background. */
import { SyncError } from "../../sync/index.js";
import { FOLDER_CHECK_WAIT_MS } from "./limits.js";

interface Check {
  readonly done: Promise<void>;
  readonly settle: (error?: unknown) => void;
}

export class FolderChecks {
  readonly #check: (name: string) => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  /** In the order in which they are looked through. */
  readonly #waiting = new Map<string, Check>();
  #current: string | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `check` looks through one folder. What it rejects with is passed on to `onError`, and to those who wait for the folder. */
  constructor(check: (name: string) => Promise<unknown>, onError: (error: unknown) => void) {
    this.#check = check;
    this.#onError = onError;
  }

  /** How many folders are not looked through yet. */
  get pending(): number {
    return this.#waiting.size;
  }

  /** Those who want to change one of these wait from now on. */
  add(names: readonly string[]): void {
    for (const name of names) if (!this.#waiting.has(name)) this.#waiting.set(name, makeCheck());
  }

  /** Begins to look through those that were added. */
  start(): void {
    if (!this.#closed && this.#waiting.size > 0) this.#running ??= this.#run();
  }

  /**
   * Resolves when the folder is looked through, and has that done next. Rejects with `ERR_UNAVAILABLE`, after which it can be asked
   * for again, when it takes longer than {@link FOLDER_CHECK_WAIT_MS}.
   */
  async until(name: string): Promise<void> {
    const check = this.#waiting.get(name);
    if (check === undefined) return;
    if (this.#current !== name) this.#first(name, check);
    await within(FOLDER_CHECK_WAIT_MS, name, check.done);
  }

  /** Resolves when all are looked through. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Starts no other check. Resolves when the present one is done. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { settle } of this.#waiting.values()) settle(unavailable("the server is closing"));
    await this.#running;
  }

  #first(name: string, check: Check): void {
    const others = [...this.#waiting].filter(([other]) => other !== name);
    this.#waiting.clear();
    this.#waiting.set(name, check);
    for (const [other, one] of others) this.#waiting.set(other, one);
  }

  async #run(): Promise<void> {
    for (let [next] = this.#waiting; next !== undefined && !this.#closed; [next] = this.#waiting) {
      const [name, { settle }] = next;
      this.#current = name;
      try {
        await this.#check(name);
        settle();
      } catch (error) {
        settle(error);
        this.#onError(error);
      }
      this.#waiting.delete(name);
    }
    this.#current = undefined;
    this.#running = undefined;
  }
}

function makeCheck(): Check {
  let settle: Check["settle"] = () => {};
  const done = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === undefined ? resolve() : reject(error));
  });
  done.catch(() => {});
  return { done, settle };
}

function within(ms: number, name: string, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = (): void =>
      reject(unavailable(`the server is comparing the folder "${name}" with its database after an unclean end`));
    const timer = setTimeout(late, ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function unavailable(why: string): SyncError {
  return new SyncError("ERR_UNAVAILABLE", `${why}; try again in some seconds`);
}
