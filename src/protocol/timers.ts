/** Something that wants to be called at a time. */
export interface Timed {
  /** The earliest time something is due, Infinity for none. */
  deadline(): number;
}

interface Entry<T> {
  at: number;
  /** Null once another entry counts, or none: nothing is kept alive by an old time. */
  timed: T | null;
}

/**
 * The earliest of many deadlines. Deadlines move later with almost every packet, so an entry is only looked at again when
 * its old time comes (lazy); one that moves earlier must be announced with {@link update}.
 */
export class Timers<T extends Timed> {
  /** A binary heap by `at`. Entries that no longer count stay in it until their time comes. */
  readonly #heap: Entry<T>[] = [];
  readonly #entries = new Map<T, Entry<T>>();

  /** Takes note of an item's deadline, if it has become earlier. */
  update(timed: T): void {
    const at = timed.deadline();
    const known = this.#entries.get(timed);
    if (known !== undefined && this.#heap.length === 1) {
      // A client has one connection: alone there is no order to keep, and no need to look too early.
      known.at = at;
      return;
    }
    if (known === undefined ? at === Number.POSITIVE_INFINITY : known.at <= at) return;
    if (known !== undefined) known.timed = null;
    const entry = { at, timed };
    this.#entries.set(timed, entry);
    this.#push(entry);
  }

  remove(timed: T): void {
    const entry = this.#entries.get(timed);
    if (entry === undefined) return;
    entry.timed = null;
    this.#entries.delete(timed);
  }

  /** A time at or before the earliest deadline, Infinity for none. */
  next(): number {
    this.#dropStale();
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Takes out one item whose deadline has come; null when there is none. Announce it with {@link update} afterwards. */
  take(now: number): T | null {
    for (;;) {
      this.#dropStale();
      const first = this.#heap[0];
      if (first === undefined || first.timed === null || first.at > now) return null;
      this.#pop();
      this.#entries.delete(first.timed);
      if (first.timed.deadline() <= now) return first.timed;
      this.update(first.timed);
    }
  }

  #dropStale(): void {
    while (this.#heap[0]?.timed === null) this.#pop();
  }

  #push(entry: Entry<T>): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent] as Entry<T>).at <= entry.at) break;
      heap[at] = heap[parent] as Entry<T>;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const entry = heap.pop() as Entry<T>;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as Entry<T>).at < (heap[child] as Entry<T>).at) child++;
      if ((heap[child] as Entry<T>).at >= entry.at) break;
      heap[at] = heap[child] as Entry<T>;
      at = child;
    }
    heap[at] = entry;
  }
}
