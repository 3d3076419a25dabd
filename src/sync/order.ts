/**
 * Lets operations on different paths run side by side while those that touch the same branch keep their order: an
 * operation waits for the earlier ones on its own paths, on the folders above them, and on whatever is below them.
 * Pure bookkeeping.
 */
import { deferred } from "./deferred.js";
import { ancestorsOf } from "./path.js";

export interface Turn {
  /** Resolves when it is this operation's turn; `undefined` when it is already. */
  readonly ready: Promise<unknown> | undefined;
  /** Must be called once, whatever became of the operation. */
  leave(): void;
}

export class PathOrder {
  readonly #at = new Map<string, Set<Promise<void>>>();
  readonly #below = new Map<string, Set<Promise<void>>>();

  /** Takes a place behind everything that entered before and touches the same branch. Never rejects. */
  enter(...paths: string[]): Turn {
    const ancestors = paths.flatMap(ancestorsOf);
    const before: Promise<void>[] = [];
    for (const key of [...paths, ...ancestors]) before.push(...(this.#at.get(key) ?? []));
    for (const path of paths) before.push(...(this.#below.get(path) ?? []));

    const { promise, resolve } = deferred();
    for (const path of paths) add(this.#at, path, promise);
    for (const ancestor of ancestors) add(this.#below, ancestor, promise);
    const leave = (): void => {
      for (const path of paths) remove(this.#at, path, promise);
      for (const ancestor of ancestors) remove(this.#below, ancestor, promise);
      resolve();
    };
    return { ready: before.length === 0 ? undefined : Promise.all(before), leave };
  }

  /** Whether nothing is waiting or running. */
  get idle(): boolean {
    return this.#at.size === 0;
  }
}

function add(map: Map<string, Set<Promise<void>>>, key: string, promise: Promise<void>): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([promise]));
  else set.add(promise);
}

function remove(map: Map<string, Set<Promise<void>>>, key: string, promise: Promise<void>): void {
  const set = map.get(key);
  set?.delete(promise);
  if (set?.size === 0) map.delete(key);
}

/** At most `limit` holders at once; the others wait in line. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    await this.acquire();
    try {
      return await task();
    } finally {
      this.release();
    }
  }

  async acquire(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
