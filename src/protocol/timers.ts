import { steps } from "../invariant/index.js";

/** Something that wants to be called at a time. */
export interface Timed {
  /** The earliest time something is due, Infinity for none. */
  deadline(): number;
}

interface Entry<T> {
  at: number;
  readonly timed: T;
  /** Where it is in the heap. */
  index: number;
}

/**
 * The earliest of many deadlines. Deadlines move later with almost every packet, so an entry is only looked at again when
 * its old time comes (lazy); one that moves earlier must be announced with {@link update}. Every call takes steps in proportion
 * to the logarithm of the number of items.
 */
export class Timers<T extends Timed> {
  /** A binary heap by `at`, with one entry for each item. */
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
    if (known !== undefined) {
      if (known.at <= at) return;
      known.at = at;
      this.#rise(known);
    } else if (at !== Number.POSITIVE_INFINITY) {
      const entry = { at, timed, index: this.#heap.length };
      this.#entries.set(timed, entry);
      this.#heap.push(entry);
      this.#rise(entry);
    }
  }

  remove(timed: T): void {
    const entry = this.#entries.get(timed);
    if (entry !== undefined) this.#delete(entry);
  }

  /** A time at or before the earliest deadline, Infinity for none. */
  next(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Takes out one item whose deadline has come; null when there is none. Announce it with {@link update} afterwards. */
  take(now: number): T | null {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > now) return null;
      const at = first.timed.deadline();
      if (at <= now) {
        this.#delete(first);
        return first.timed;
      }
      if (at === Number.POSITIVE_INFINITY) this.#delete(first);
      else {
        first.at = at;
        this.#sink(first);
      }
    }
  }

  #delete(entry: Entry<T>): void {
    this.#entries.delete(entry.timed);
    const last = this.#heap.pop() as Entry<T>;
    if (last === entry) return;
    last.index = entry.index;
    this.#heap[last.index] = last;
    this.#rise(last);
    this.#sink(last);
  }

  /** Moves an entry to before those that are later. */
  #rise(entry: Entry<T>): void {
    const heap = this.#heap;
    let at = entry.index;
    while (at > 0) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const parent = heap[(at - 1) >> 1] as Entry<T>;
      if (parent.at <= entry.at) break;
      const { index } = parent;
      parent.index = at;
      heap[at] = parent;
      at = index;
    }
    entry.index = at;
    heap[at] = entry;
  }

  /** Moves an entry to behind those that are earlier. */
  #sink(entry: Entry<T>): void {
    const heap = this.#heap;
    let at = entry.index;
    for (;;) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      let index = 2 * at + 1;
      if (index >= heap.length) break;
      if (index + 1 < heap.length && (heap[index + 1] as Entry<T>).at < (heap[index] as Entry<T>).at) index++;
      const child = heap[index] as Entry<T>;
      if (child.at >= entry.at) break;
      child.index = at;
      heap[at] = child;
      at = index;
    }
    entry.index = at;
    heap[at] = entry;
  }
}
