/**
 * What waits to be written to the database. It is written in batches: the larger, the fewer pages are written twice; and
 * again and again while the database is away.
 */

/** What comes together is written together … */
const FLUSH_MS = 20;
/** … and where more comes all the time, this is how long it gathers, */
const GATHER_MS = 100;
/** up to so many, as other things wait for as long as these take. A file that is stored is three. */
const MAX_BATCH = 3000;
const RETRY_MS = 1000;
/** More than this waits only while the database is away. */
const MAX_QUEUE = 200_000;

export interface QueueOptions<T> {
  readonly write: (batch: readonly T[]) => Promise<void>;
  /** Whether what `write` rejected with is worth another try. */
  readonly isPassing: (error: unknown) => boolean;
  /** These were more than can wait, or cannot be written, now or later. */
  readonly onLost: (items: readonly T[], error?: unknown) => void;
  /** Called when something was lost, and writing works again. */
  readonly catchUp: () => Promise<void>;
}

export class Queue<T> {
  readonly #options: QueueOptions<T>;
  #items: T[] = [];
  /** Whether somebody waits until it is empty. */
  #hurry = false;
  #incomplete = false;
  #running: Promise<void> | undefined;
  #closing = false;
  #onMore: (() => void) | undefined;
  #wakeUp: (() => void) | undefined;

  constructor(options: QueueOptions<T>) {
    this.#options = options;
  }

  /** Whether something was lost that is not caught up with yet. */
  get incomplete(): boolean {
    return this.#incomplete;
  }

  /** `hurry`: it is waited for. */
  add(item: T, hurry = false): void {
    if (this.#items.length >= MAX_QUEUE) this.#lose(this.#items.splice(0));
    this.#items.push(item);
    if (hurry) this.#hurry = true;
    this.#onMore?.();
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Nothing waits any longer for more, or for a database that is away. */
  hasten(): void {
    this.#closing = true;
    this.#wakeUp?.();
  }

  /** Writes what is left, if the database takes it. */
  async close(): Promise<void> {
    this.hasten();
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    for (let ms = FLUSH_MS; this.#items.length > 0; ms = GATHER_MS) {
      await this.#gather(ms);
      const batch = this.#items.slice(0, MAX_BATCH);
      try {
        await this.#options.write(batch);
        this.#drop(batch);
        if (this.#incomplete) await this.#catchUp();
      } catch (error) {
        if (!this.#options.isPassing(error)) {
          this.#drop(batch);
          this.#lose(batch, error);
        } else if (this.#closing) return;
        else await this.#pause(RETRY_MS);
      }
    }
  }

  async #catchUp(): Promise<void> {
    this.#incomplete = false;
    try {
      await this.#options.catchUp();
    } catch (error) {
      this.#incomplete = true;
      throw error;
    }
  }

  /** Waits for more, unless there is enough. */
  async #gather(ms: number): Promise<void> {
    const enough = (): boolean => this.#items.length >= MAX_BATCH || this.#hurry;
    if (!enough()) {
      this.#onMore = () => enough() && this.#wakeUp?.();
      await this.#pause(ms);
      this.#onMore = undefined;
    }
    this.#hurry = false;
  }

  /** Takes a batch away; where more was lost in between, it is gone already. */
  #drop(batch: readonly T[]): void {
    if (this.#items[0] === batch[0]) this.#items.splice(0, batch.length);
  }

  #lose(items: readonly T[], error?: unknown): void {
    this.#incomplete = true;
    this.#options.onLost(items, error);
  }

  #pause(ms: number): Promise<void> {
    if (this.#closing) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
