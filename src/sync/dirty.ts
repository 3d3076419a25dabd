/**
 * What is known to be worth a look: paths, or everything; and how long each path is to rest before. Pure bookkeeping,
 * time is an argument.
 *
 * A path is looked at when nothing was heard of it for its rest. One that is changed again as soon as it was sent is
 * given twice the rest each time, so that a file that is being written is not sent at each of its changes; one that
 * never rests is looked at all the same now and then.
 *
 * Where many come one after the other, they are looked at together when that is over, or after a while: each look begins
 * with what has gathered, and ends when all of it is durable at the destination.
 *
 * Of so many at a time some may have been lost: then everything is looked at too, when those that are known were. In between
 * it would be looked at in vain, as more of it changes.
 */
import { BURST_HINTS, GATHER_MS, GATHERING_HINTS, MAX_WAITING_HINTS, MOST_REST_MS, NEVER_RESTS_MS } from "./limits.js";
import type { Hint } from "./watch.js";

export interface Work {
  readonly folder: string;
  /** Why the whole folder is to be walked; `undefined`: look at `paths` only. */
  readonly everything: string | undefined;
  readonly paths: ReadonlySet<string>;
}

interface Waiting {
  readonly firstMs: number;
  lastMs: number;
  /** What was replaced next: where this path was moved to, if it was. */
  next?: string;
}

interface Restless {
  restMs: number;
  takenMs: number;
}

/** Names of events that say of a path that something else is there, or nothing. */
const REPLACED: ReadonlySet<string> = new Set(["rename", "add", "addDir", "unlink", "unlinkDir"]);
const MANY = "many changes at once";
/** Paths remembered as restless. */
const MOST_RESTLESS = 4096;

export class Dirty {
  readonly #settleMs: number;
  #folder = "";
  #everything: string | undefined;
  #waiting = new Map<string, Waiting>();
  #burst = false;
  /** Since when those that wait have gathered, and when the last of them came. */
  #gathersSinceMs = 0;
  #lastMs = 0;
  /** No path is due earlier. */
  #soonestMs = Number.POSITIVE_INFINITY;
  /** The path that was replaced last. */
  #replaced = "";
  /** Paths looked at lately, the latest last. */
  readonly #restless = new Map<string, Restless>();

  constructor(settleMs: number) {
    this.#settleMs = settleMs;
  }

  /** Whether everything is to be looked at. */
  get walks(): boolean {
    return this.#everything !== undefined || this.#burst;
  }

  /** The paths that wait. */
  get paths(): Iterable<string> {
    return this.#waiting.keys();
  }

  get empty(): boolean {
    return !this.walks && this.#waiting.size === 0;
  }

  add({ folder, path, reason }: Hint, nowMs: number): void {
    if (this.#folder !== "" && this.#folder !== folder) throw new TypeError("hints of two folders in one push");
    this.#folder = folder;
    // Another file by that name; what was moved is looked at together with where it came from.
    if (REPLACED.has(reason)) this.#pair(path);
    const waiting = this.#waiting.get(path);
    // A watcher that knows UTF-8 only says of other names no more than that they are.
    if (path === "" || path.includes("\uFFFD")) this.#everything ??= reason;
    else if (waiting !== undefined) this.#wait(path, waiting, nowMs);
    else if (this.#waiting.size < MAX_WAITING_HINTS) {
      if (this.#waiting.size === 0) this.#gathersSinceMs = nowMs;
      const fresh = { firstMs: nowMs, lastMs: nowMs };
      this.#waiting.set(path, fresh);
      this.#burst ||= this.#waiting.size > BURST_HINTS;
      this.#judge(path, nowMs);
      this.#wait(path, fresh, nowMs);
    } else this.#everything ??= MANY;
  }

  #wait(path: string, waiting: Waiting, nowMs: number): void {
    waiting.lastMs = nowMs;
    this.#lastMs = nowMs;
    this.#soonestMs = Math.min(this.#soonestMs, this.#dueMs(path, waiting));
  }

  /** The path was another one while it was looked at: it is to be looked at once more, with more rest. */
  again(folder: string, path: string, nowMs: number): void {
    this.#remember(path, nowMs);
    this.add({ folder, path, reason: "it changed while it was read" }, nowMs);
  }

  /** When the next thing is due, in the same milliseconds; `Infinity` when nothing waits. A walk is due at once. */
  dueMs(): number {
    if (this.#walk() !== undefined) return Number.NEGATIVE_INFINITY;
    let due = Number.POSITIVE_INFINITY;
    for (const [path, waiting] of this.#waiting) due = Math.min(due, this.#dueMs(path, waiting));
    if (this.#waiting.size < GATHERING_HINTS) return due;
    return Math.max(due, Math.min(this.#lastMs + this.#settleMs, this.#gathersSinceMs + GATHER_MS));
  }

  /** How long it takes until something may be due: 0 when something is. Asked for as often as one likes. */
  waitMs(nowMs: number): number {
    if (this.#walk() !== undefined) return 0;
    if (this.#soonestMs <= nowMs) this.#soonestMs = this.dueMs();
    return Math.max(0, this.#soonestMs - nowMs);
  }

  /** Why everything is to be looked at now. */
  #walk(): string | undefined {
    return this.#everything ?? (this.#burst && this.#waiting.size === 0 ? MANY : undefined);
  }

  /**
   * All that is due, or soon will be, as the two ends of a rename are named one after the other and belong together; with a
   * walk, all there is.
   */
  take(nowMs: number, early = false): Work {
    const everything = this.#walk();
    this.#everything = undefined;
    if (everything !== undefined) this.#burst = false;
    const paths = new Set<string>();
    for (const [path, waiting] of this.#waiting) {
      if (!early && everything === undefined && this.#dueMs(path, waiting) > nowMs + this.#settleMs / 2) continue;
      paths.add(path);
      if (waiting.next !== undefined && this.#waiting.has(waiting.next)) paths.add(waiting.next);
    }
    for (const path of paths) {
      this.#waiting.delete(path);
      if (everything === undefined) this.#remember(path, nowMs);
    }
    this.#gathersSinceMs = nowMs;
    this.#soonestMs = this.#waiting.size === 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    return { folder: this.#folder, everything, paths };
  }

  /** The paths that wait, due or not; none where everything is to be looked at anyway. */
  rush(nowMs: number): ReadonlySet<string> {
    return this.#walk() === undefined ? this.take(nowMs, true).paths : new Set();
  }

  #dueMs(path: string, { firstMs, lastMs, next }: Waiting): number {
    const restMs = this.#restless.get(path)?.restMs ?? this.#settleMs;
    const nextMs = (next === undefined ? undefined : this.#waiting.get(next)?.lastMs) ?? lastMs;
    return Math.min(Math.max(lastMs, nextMs) + restMs, firstMs + restMs + NEVER_RESTS_MS);
  }

  /** A move is told as two paths, one right after the other: they are looked at together. */
  #pair(path: string): void {
    this.#restless.delete(path);
    const before = this.#waiting.get(this.#replaced);
    if (before !== undefined && this.#replaced !== path) before.next = path;
    this.#replaced = path;
  }

  /** Changed again soon after it was looked at: it gets more rest. After a long time: it starts anew. */
  #judge(path: string, nowMs: number): void {
    const restless = this.#restless.get(path);
    if (restless === undefined) return;
    const quietMs = nowMs - restless.takenMs;
    if (quietMs < 4 * restless.restMs) restless.restMs = Math.min(2 * restless.restMs, MOST_REST_MS);
    else if (quietMs > MOST_REST_MS) this.#restless.delete(path);
  }

  #remember(path: string, takenMs: number): void {
    const restMs = this.#restless.get(path)?.restMs ?? this.#settleMs;
    this.#restless.delete(path);
    this.#restless.set(path, { restMs, takenMs });
    if (this.#restless.size <= MOST_RESTLESS) return;
    for (const oldest of this.#restless.keys()) {
      this.#restless.delete(oldest);
      return;
    }
  }
}
