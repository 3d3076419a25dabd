/**
 * What waits to be written to the database. It is written in batches: the larger, the fewer pages are written twice; and
 * again and again while the database is away.
 */

/** What comes together is written together … */
const FLUSH_MS = 20;
/** … and where more comes all the time, this is how long it gathers, */
const GATHER_MS = 100;
/** up to so many, as other things wait for as long as these take. */
const MAX_BATCH = 300;
const RETRY_MS = 1000;

export interface QueueOptions<T> {
  readonly write: (batch: readonly T[]) => Promise<void>;
  /** Whether what `write` rejected with is worth another try. */
  readonly isPassing: (error: unknown) => boolean;
  /** Whether an item has to be written by itself. Default: none has to be. */
  readonly isAlone?: (item: T) => boolean;
  /** Called when some are written, or lost, and wait no longer. */
  readonly onDropped?: () => void;
  /** These cannot be written, now or later. */
  readonly onLost: (items: readonly T[], error?: unknown) => void;
  /** Called when something was lost, and writing works again. */
  readonly catchUp: () => Promise<void>;
}

interface Waiting<T> {
  readonly item: T;
  readonly bytes: number;
  readonly since: number;
}

export class Queue<T> {
  readonly #options: QueueOptions<T>;
  #items: Waiting<T>[] = [];
  #bytes = 0;
  /** How many are written together now: fewer while it is looked for which of them cannot be written. */
  #most = MAX_BATCH;
  /** Whether somebody waits until it is empty. */
  #hurry = false;
  #incomplete = false;
  #failing = false;
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

  /** Whether the last attempt to write failed, and is repeated. */
  get failing(): boolean {
    return this.#failing;
  }

  get size(): number {
    return this.#items.length;
  }

  /** Sum of the bytes that were told of the items. */
  get bytes(): number {
    return this.#bytes;
  }

  /** For how long the first item has been waiting, in milliseconds. */
  get lagMs(): number {
    const first = this.#items[0];
    return first === undefined ? 0 : performance.now() - first.since;
  }

  /** `hurry`: it is waited for. */
  add(item: T, { hurry = false, bytes = 0 }: { readonly hurry?: boolean; readonly bytes?: number } = {}): void {
    this.#items.push({ item, bytes, since: performance.now() });
    this.#bytes += bytes;
    if (hurry) this.#hurry = true;
    this.#onMore?.();
    this.#running ??= this.#run();
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
    try {
      await this.#writeAll();
    } finally {
      this.#running = undefined;
    }
    // What came between the last look and now.
    if (this.#items.length > 0 && !(this.#closing && this.#failing)) this.#running = this.#run();
  }

  async #writeAll(): Promise<void> {
    for (let ms = FLUSH_MS; this.#items.length > 0; ms = GATHER_MS) {
      await this.#gather(ms);
      const batch = this.#next();
      try {
        await this.#insist(batch);
        if (this.#failing) return;
        this.#drop(batch.length);
        this.#most = Math.min(this.#most * 2, MAX_BATCH);
        if (this.#incomplete) await this.#catchUp();
      } catch (error) {
        // One of them is the reason; the others can be written.
        if (batch.length > 1) this.#most = Math.ceil(batch.length / 2);
        else {
          this.#drop(batch.length);
          this.#incomplete = true;
          this.#options.onLost(batch, error);
        }
      }
    }
  }

  #next(): T[] {
    const isAlone = this.#options.isAlone ?? (() => false);
    const first = this.#items.slice(0, this.#most).map(({ item }) => item);
    const alone = first.findIndex(isAlone);
    return alone < 0 ? first : first.slice(0, Math.max(alone, 1));
  }

  /** Writes a batch as soon as it can be, and no other before. Where we are closing, it stays. */
  async #insist(batch: readonly T[]): Promise<void> {
    for (;;) {
      try {
        await this.#options.write(batch);
        this.#failing = false;
        return;
      } catch (error) {
        if (!this.#options.isPassing(error)) {
          this.#failing = false;
          throw error;
        }
        this.#failing = true;
        if (this.#closing) return;
        await this.#pause(RETRY_MS);
      }
    }
  }

  async #catchUp(): Promise<void> {
    try {
      await this.#options.catchUp();
      this.#incomplete = false;
    } catch (error) {
      if (!this.#options.isPassing(error)) throw error;
    }
  }

  /** Waits for more, unless there is enough. */
  async #gather(ms: number): Promise<void> {
    const enough = (): boolean => this.#items.length >= this.#most || this.#hurry;
    if (!enough()) {
      this.#onMore = () => enough() && this.#wakeUp?.();
      await this.#pause(ms);
      this.#onMore = undefined;
    }
    // Until it is empty.
    this.#hurry = this.#items.length > this.#most;
  }

  #drop(count: number): void {
    for (const { bytes } of this.#items.splice(0, count)) this.#bytes -= bytes;
    this.#options.onDropped?.();
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
