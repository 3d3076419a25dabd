/**
 * Lets operations on different paths run side by side while those that touch the same branch keep their order: an
 * operation waits for the earlier ones on its own paths, on the folders above them, and on whatever is below them.
 * Pure bookkeeping.
 */
import { ancestorsOf } from "./path.js";

export interface Turn {
  /** Resolves when it is this operation's turn; `undefined` when it is already. */
  readonly ready: Promise<void> | undefined;
  /** Must be called once, whatever became of the operation. */
  leave(): void;
}

/** An operation in line. */
interface Place {
  /** Earlier ones that it waits for; one that is in its way twice counts twice. */
  ahead: number;
  /** Those that wait for it. */
  readonly behind: Place[];
  begin: () => void;
}

const nothing = (): void => {};

export class PathOrder {
  readonly #at = new Map<string, Set<Place>>();
  readonly #below = new Map<string, Set<Place>>();

  /** Takes a place behind everything that entered before and touches the same branch. Never rejects. */
  enter(...paths: string[]): Turn {
    const place: Place = { ahead: 0, behind: [], begin: nothing };
    const ancestors = paths.length === 1 ? ancestorsOf(paths[0] as string) : paths.flatMap(ancestorsOf);
    for (const path of paths) {
      follow(place, this.#at.get(path));
      follow(place, this.#below.get(path));
    }
    for (const ancestor of ancestors) follow(place, this.#at.get(ancestor));

    for (const path of paths) add(this.#at, path, place);
    for (const ancestor of ancestors) add(this.#below, ancestor, place);
    const leave = (): void => {
      for (const path of paths) remove(this.#at, path, place);
      for (const ancestor of ancestors) remove(this.#below, ancestor, place);
      for (const next of place.behind) if (--next.ahead === 0) next.begin();
    };
    const wait = (begin: () => void): void => {
      place.begin = begin;
    };
    return { ready: place.ahead === 0 ? undefined : new Promise(wait), leave };
  }

  /** Whether nothing is waiting or running. */
  get idle(): boolean {
    return this.#at.size === 0;
  }
}

function follow(place: Place, others: ReadonlySet<Place> | undefined): void {
  if (others === undefined) return;
  for (const other of others) other.behind.push(place);
  place.ahead += others.size;
}

function add(map: Map<string, Set<Place>>, key: string, place: Place): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([place]));
  else set.add(place);
}

function remove(map: Map<string, Set<Place>>, key: string, place: Place): void {
  const set = map.get(key);
  set?.delete(place);
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
