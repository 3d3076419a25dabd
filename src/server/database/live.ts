/** The log of events as it grows, also by what other processes write. */
import { Observable, Subject } from "rxjs";
import { eventsAfter, lastEvent } from "./journal.js";
import type { Store } from "./store.js";
import type { LoggedEvent } from "./types.js";

/** What PostgreSQL's LISTEN and NOTIFY are about. */
export const EVENTS_CHANNEL = "confundo_events";

const RETRY_MS = 250;
const PAGE = 1000;

/**
 * Looks for new events when it is told that there may be some, and only while somebody listens. That it is told too often,
 * or late after the database was away, costs nothing and loses nothing: the number of the last event seen is the truth.
 */
export class LiveEvents {
  readonly events$: Observable<LoggedEvent>;
  readonly #store: Store;
  /** Starts to call back when another process may have written; returns what ends that. */
  readonly #watch: (changed: () => void) => () => void;
  readonly #subject = new Subject<LoggedEvent>();
  #listeners = 0;
  #unwatch: (() => void) | undefined;
  /** `undefined` until it is known where to begin. */
  #seen: number | undefined;
  #busy = false;
  #again = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(store: Store, watch: (changed: () => void) => () => void) {
    this.#store = store;
    this.#watch = watch;
    this.events$ = new Observable((subscriber) => {
      const subscription = this.#subject.subscribe(subscriber);
      if (this.#listeners++ === 0) this.#start();
      return () => {
        subscription.unsubscribe();
        if (--this.#listeners === 0) this.#stop();
      };
    });
  }

  /** There may be new events. */
  wake(): void {
    if (this.#listeners === 0) return;
    this.#again = true;
    if (!this.#busy) void this.#look();
  }

  /** Completes for everybody. */
  close(): void {
    this.#subject.complete();
    this.#stop();
  }

  #start(): void {
    this.#seen = undefined;
    this.#unwatch = this.#watch(() => this.wake());
    this.wake();
  }

  #stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#retry);
  }

  async #look(): Promise<void> {
    this.#busy = true;
    try {
      while (this.#again && this.#listeners > 0) {
        this.#again = false;
        // In the queue of writes, so that whatever this process appends from now on comes after.
        this.#seen ??= await this.#store.write(lastEvent);
        await this.#catchUp();
      }
    } catch {
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.wake(), RETRY_MS).unref();
    } finally {
      this.#busy = false;
    }
  }

  async #catchUp(): Promise<void> {
    for (;;) {
      const from = this.#seen;
      if (from === undefined) return;
      const { events } = await this.#store.read((db) => eventsAfter(db, from, PAGE));
      // Whoever listened is gone, and others, who want nothing of before, have come.
      if (this.#seen !== from) return;
      for (const event of events) {
        this.#seen = event.id;
        this.#subject.next(event);
      }
      if (events.length < PAGE || this.#listeners === 0) return;
    }
  }
}
