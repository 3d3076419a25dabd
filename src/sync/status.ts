/** Where a mirror stands, and how far it is, out of its events. */
import { defer, distinctUntilChanged, filter, map, type OperatorFunction } from "rxjs";
import { SyncError } from "./errors.js";
import type { MirrorEvent } from "./events.js";

/**
 * - `connecting`: there is no connection, and one is being made.
 * - `syncing`: the folder and the destination are compared, or what differs is carried over.
 * - `synced`: all that the folder held when the last round began is at the destination.
 * - `waiting`: nothing goes on until a pause ends, a person approves what is held back, or what fails can be done.
 */
export type MirrorState = "connecting" | "syncing" | "synced" | "waiting";

export interface MirrorStatus {
  readonly state: MirrorState;
  /** With `waiting`, the reason; with `connecting`, why the attempt before failed. */
  readonly error?: SyncError;
}

/**
 * The state of a mirror, each time that it changes. Whoever subscribes later gets the latest with
 * `shareReplay({ bufferSize: 1, refCount: true })` behind it.
 *
 * ```
 * events  ─(connecting)─(retrying)─(connecting)──(connected)─(planned)─(synced)─→
 * status  ─(connecting)─(waiting)──(connecting)──(syncing)─────────────(synced)─→
 * ```
 * Completes and errors as its source does.
 */
export function status(): OperatorFunction<MirrorEvent, MirrorStatus> {
  return (events) =>
    defer(() => {
      const states = new States();
      return events.pipe(
        map((event) => states.after(event)),
        filter((next) => next !== undefined),
        distinctUntilChanged((a, b) => a === b || (a.state === b.state && sameError(a.error, b.error))),
      );
    });
}

class States {
  #now: MirrorStatus | undefined;
  /** The last failure of a path since the mirror was in sync. */
  #failure: SyncError | undefined;
  #held: SyncError | undefined;

  after(event: MirrorEvent): MirrorStatus | undefined {
    this.#now = this.#next(event);
    return this.#now;
  }

  #next(event: MirrorEvent): MirrorStatus | undefined {
    switch (event.type) {
      case "connecting": {
        const error = this.#now?.error;
        return error === undefined ? { state: "connecting" } : { state: "connecting", error };
      }
      case "retrying":
        return { state: "waiting", error: new SyncError(event.code, event.reason) };
      case "connected":
        this.#failure = undefined;
        this.#held = undefined;
        return { state: "syncing" };
      case "planned":
      case "released":
        if (event.type === "released") this.#held = undefined;
        return { state: "syncing" };
      case "failed":
        this.#failure = new SyncError(event.code, event.message, { path: event.path });
        return this.#now?.state === "syncing" ? this.#now : this.#resting();
      case "held":
        this.#held = new SyncError("ERR_MASS_DELETE", event.message, { losses: event, held: event });
        return this.#now?.state === "syncing" ? this.#now : this.#resting();
      case "notice":
        // The folder itself is missing.
        if (event.code !== "ERR_FOLDER") return this.#now;
        return { state: "waiting", error: new SyncError(event.code, event.message) };
      case "synced":
        if (event.failed === 0) this.#failure = undefined;
        if (event.held === undefined) this.#held = undefined;
        return this.#resting();
      default:
        return this.#now;
    }
  }

  #resting(): MirrorStatus {
    const error = this.#held ?? this.#failure;
    return error === undefined ? { state: "synced" } : { state: "waiting", error };
  }
}

function sameError(a: SyncError | undefined, b: SyncError | undefined): boolean {
  return a?.code === b?.code && a?.message === b?.message && a?.path === b?.path;
}

export interface MirrorProgress {
  /** Content bytes sent since the mirror was in sync last. */
  readonly bytes: number;
  /** Content bytes sent, and those that are known to be left. */
  readonly bytesTotal: number;
  /** From 0 to 1, by bytes; by steps where no content is to be sent. 1 exactly when the mirror is in sync. */
  readonly ratio: number;
}

/**
 * How far a mirror is on its way from one `synced` to the next, over all rounds and connections between. What is found
 * meanwhile adds to `bytesTotal`, so that `ratio` may fall.
 *
 * ```
 * events    ─(planned 8)─(progress 4 of 8)─(planned 2)─────(synced)─→
 * progress  ─(0 of 8)────(4 of 8)──────────(4 of 6)────────(6 of 6)─→
 * ```
 * Completes and errors as its source does.
 */
export function progress(): OperatorFunction<MirrorEvent, MirrorProgress> {
  return (events) =>
    defer(() => {
      const way = new Way();
      return events.pipe(
        map((event) => way.after(event)),
        filter((next) => next !== undefined),
        distinctUntilChanged((a, b) => a.bytes === b.bytes && a.bytesTotal === b.bytesTotal && a.ratio === b.ratio),
      );
    });
}

/** The rounds since the last `synced`. */
class Way {
  /** Of the rounds before the present one. */
  #before = 0;
  #bytes = 0;
  #over = true;

  after(event: MirrorEvent): MirrorProgress | undefined {
    if (event.type === "planned") {
      this.#before = this.#over ? 0 : this.#bytes;
      this.#bytes = this.#before;
      this.#over = false;
      return this.#at(event.bytes, 0);
    }
    if (event.type === "progress") {
      this.#bytes = this.#before + event.bytes;
      const { steps, stepsTotal } = event;
      return this.#at(event.bytesTotal, stepsTotal === 0 ? 0 : steps / stepsTotal);
    }
    if (event.type !== "synced") return undefined;
    this.#over = event.failed === 0 && event.held === undefined;
    return this.#over ? { bytes: this.#bytes, bytesTotal: this.#bytes, ratio: 1 } : undefined;
  }

  /** Where the present round is to send `bytes`. */
  #at(bytes: number, steps: number): MirrorProgress {
    const bytesTotal = Math.max(this.#before + bytes, this.#bytes);
    const ratio = bytesTotal === 0 ? steps : this.#bytes / bytesTotal;
    // The last of it is to be confirmed.
    return { bytes: this.#bytes, bytesTotal, ratio: Math.min(ratio, MOST_BEFORE_SYNCED) };
  }
}

const MOST_BEFORE_SYNCED = 0.999;
