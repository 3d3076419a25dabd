/** Connections that come and go, as observables. */
import type { Duplex } from "node:stream";
import { inspect } from "node:util";
import {
  asyncScheduler,
  concat,
  defer,
  finalize,
  from,
  type MonoTypeOperatorFunction,
  merge,
  Observable,
  type ObservableInput,
  of,
  retry,
  type SchedulerLike,
  Subject,
  type Subscription,
  takeUntil,
  tap,
  throwError,
  timer,
} from "rxjs";
import { callbackError, fromCallback } from "./callback.js";
import { SyncError, toSyncError } from "./errors.js";
import type { MirrorEvent, PushEvent } from "./events.js";
import { BACKOFF_FIRST_MS, BACKOFF_MOST_MS, UNSUBSCRIBED_GOODBYE_MS } from "./limits.js";
import { openRemote, type RemoteOptions, type RemoteSession } from "./remote.js";

export interface Backoff {
  /** The pause before the second attempt; it doubles with each further one. Milliseconds, default 250. */
  readonly firstMs?: number | undefined;
  /** The longest pause. Milliseconds, default 15,000. */
  readonly mostMs?: number | undefined;
  /** Attempts in a row without any progress before giving up. Default: unlimited. */
  readonly attempts?: number | undefined;
  /**
   * Time without a connection before giving up, which ends an attempt that is under way, too. It is counted over attempts, from
   * the last progress on. Milliseconds. Default: unlimited; 60,000 with `once` and `dryRun`.
   */
  readonly timeoutMs?: number | undefined;
  /** A number from 0 to 1 that spreads the pauses by a quarter. Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Who is mirroring, and how. */
export type Identity = Omit<RemoteOptions, "pingMs" | "silenceMs" | "handshakeMs">;

export interface ReconnectOptions extends Backoff {
  /** The name of the mirror, for the `connecting` events. Default: none, the empty string. */
  readonly name?: string | undefined;
  /** For the pauses. Default: `asyncScheduler`. */
  readonly scheduler?: SchedulerLike | undefined;
}

export interface SessionOptions {
  readonly connect: (signal: AbortSignal) => Duplex | Promise<Duplex>;
  readonly pingMs?: number | undefined;
  readonly silenceMs?: number | undefined;
}

/**
 * Connects on subscription, does `work` with the remote, and passes on what that emits. Takes leave of the server
 * before it completes or errors, and on unsubscription. Errors with why the connection failed or was lost.
 */
export function session(
  identity: Identity,
  options: SessionOptions,
  work: (remote: RemoteSession) => ObservableInput<PushEvent>,
): Observable<MirrorEvent> {
  let sessions = 0;
  return new Observable((subscriber) => {
    const aborted = new AbortController();
    let remote: RemoteSession | undefined;
    const unsubscribed = new Subject<void>();
    const start = async (): Promise<void> => {
      remote = await open(identity, options, aborted.signal);
      if (aborted.signal.aborted) return remote.destroy();
      const { name } = identity;
      subscriber.next({ type: "connected", name, entries: remote.entries.size, reconnected: sessions++ > 0 });
      if (subscriber.closed) return;
      // The session ends for one reason: the work is over, or else the connection is.
      let over = false;
      const finish = (tell: () => void) => () => {
        over = true;
        void remote?.close().then(tell);
      };
      void remote.closed.then((error) => over || subscriber.error(error ?? lost("the session was closed")));
      from(work(remote))
        .pipe(takeUntil(unsubscribed))
        .subscribe({
          next: (event) => subscriber.next(event),
          error: (error) => finish(() => subscriber.error(error))(),
          complete: () => subscriber.closed || finish(() => subscriber.complete())(),
        });
    };
    start().catch((error) => subscriber.error(error));
    return () => {
      unsubscribed.next();
      // A connection that stands is not aborted: the server is to hear that we leave, or it keeps our place for us.
      if (remote === undefined) aborted.abort(lost("unsubscribed"));
      else void remote.close(UNSUBSCRIBED_GOODBYE_MS);
    };
  });
}

/**
 * A connection for as long as it is subscribed to: opens one with `connect`, greets the server as `options` say, and passes on what
 * `project` makes of the remote, behind a `connected` event. Takes leave of the server before it completes or errors, and on
 * unsubscription. Errors with a {@link SyncError}: why the connection failed or was lost, or what the server answered.
 *
 * ```ts
 * const pushed = withRemote(() => connect({ port: 5000 }), { name: "photos", clientId, instanceId }, (remote) =>
 *   watchFolder("photos").pipe(pushTo(remote)),
 * ).pipe(reconnecting({ name: "photos" }));
 * ```
 */
export function withRemote(
  connect: SessionOptions["connect"],
  options: RemoteOptions,
  project: (remote: RemoteSession) => ObservableInput<PushEvent>,
): Observable<MirrorEvent> {
  const { pingMs, silenceMs } = options;
  return session(options, { connect, pingMs, silenceMs }, (remote) => fromCallback("project", () => project(remote)));
}

/**
 * Subscribes anew, after growing pauses, when the source errors with something that can pass; says so with a
 * `retrying` event. Each attempt begins with a `connecting` event. Progress (something pushed, deleted, or found in
 * sync) starts the counting anew.
 */
export function reconnecting(options: ReconnectOptions = {}): MonoTypeOperatorFunction<MirrorEvent> {
  const { name = "", scheduler, timeoutMs } = options;
  const { firstMs = BACKOFF_FIRST_MS, mostMs = BACKOFF_MOST_MS, attempts = Infinity, random = Math.random } = options;
  return (source) =>
    defer(() => {
      let attempt = 1;
      let lastError: unknown;
      const givenUp = new Subject<never>();
      const patience = new Patience(timeoutMs, scheduler, (spentMs) => givenUp.error(noAnswer(lastError, spentMs)));
      const connecting = (): MirrorEvent => {
        patience.wait();
        return { type: "connecting", name, attempt };
      };
      const attempted = concat(
        defer(() => of(connecting())),
        source.pipe(
          tap(({ type }) => {
            if (type === "connected") patience.pause();
            if (!PROGRESS.has(type)) return;
            attempt = 1;
            patience.renew();
          }),
        ),
      );
      const retrying = new Subject<MirrorEvent>();
      const delay = (error: unknown): Observable<unknown> => {
        const { code, message, retryable } = toSyncError(error);
        if (!retryable || attempt >= attempts) return throwError(() => error);
        lastError = error;
        patience.wait();
        const delayMs = Math.round(Math.min(firstMs * 2 ** (attempt - 1), mostMs) * (0.75 + random() / 2));
        attempt++;
        retrying.next({ type: "retrying", delayMs, attempt, code, reason: message });
        return timer(delayMs, scheduler);
      };
      const over = (): void => {
        retrying.complete();
        givenUp.complete();
      };
      return merge(givenUp, retrying, attempted.pipe(retry({ delay }), tap({ complete: over }))).pipe(
        finalize(() => patience.pause()),
      );
    });
}

/** Counts the time without a connection, and calls back when it is used up. */
class Patience {
  readonly #timeoutMs: number | undefined;
  readonly #scheduler: SchedulerLike;
  readonly #onEnd: (spentMs: number) => void;
  #leftMs: number;
  #waiting: { readonly since: number; readonly timer: Subscription } | undefined;

  constructor(
    timeoutMs: number | undefined,
    scheduler: SchedulerLike = asyncScheduler,
    onEnd: (spentMs: number) => void,
  ) {
    this.#timeoutMs = timeoutMs;
    this.#leftMs = timeoutMs ?? 0;
    this.#scheduler = scheduler;
    this.#onEnd = onEnd;
  }

  wait(): void {
    if (this.#timeoutMs === undefined || this.#waiting !== undefined) return;
    const spentMs = this.#timeoutMs;
    const ending = timer(this.#leftMs, this.#scheduler).subscribe(() => this.#onEnd(spentMs));
    this.#waiting = { since: this.#scheduler.now(), timer: ending };
  }

  pause(): void {
    if (this.#waiting === undefined) return;
    this.#leftMs = Math.max(0, this.#leftMs - (this.#scheduler.now() - this.#waiting.since));
    this.#waiting.timer.unsubscribe();
    this.#waiting = undefined;
  }

  renew(): void {
    this.#leftMs = this.#timeoutMs ?? 0;
  }
}

function noAnswer(error: unknown, spentMs: number): SyncError {
  const spent = `${spentMs / 1000} s`;
  if (error === undefined) return new SyncError("ERR_CONNECT", `no connection within ${spent}`);
  const { code, message } = toSyncError(error);
  return new SyncError(code, `${message.replace(/\.$/, "")}; given up after ${spent}`, { cause: error });
}

const PROGRESS: ReadonlySet<MirrorEvent["type"]> = new Set(["pushed", "deleted", "synced"]);

async function open(
  identity: Identity,
  { connect, pingMs, silenceMs }: SessionOptions,
  signal: AbortSignal,
): Promise<RemoteSession> {
  try {
    const duplex = requireDuplex(await connect(signal));
    return await openRemote(duplex, { ...identity, pingMs, silenceMs }, signal);
  } catch (error) {
    throw connectError(error);
  }
}

/** What goes wrong before the server has answered can pass, but for mistakes of the program and refusals. */
function connectError(error: unknown): SyncError {
  if (error instanceof TypeError || error instanceof RangeError) return callbackError("connect", error);
  if (error instanceof SyncError && error.code !== "ERR_CONNECTION_LOST") return error;
  // Whoever connects knows what cannot pass, such as a server's key that is another one.
  if ((error as { readonly retryable?: unknown } | null)?.retryable === false) return toSyncError(error);
  const { message } = toSyncError(error);
  return new SyncError("ERR_CONNECT", message, { cause: error });
}

/** Passes on what `connect` returned. Throws a {@link SyncError} `ERR_CALLBACK` where that is no `Duplex`. */
export function requireDuplex(value: unknown): Duplex {
  const { write, on } = (value ?? {}) as { readonly write?: unknown; readonly on?: unknown };
  if (typeof write === "function" && typeof on === "function") return value as Duplex;
  const what = value === undefined ? "undefined: does it lack a `return`?" : inspect(value, { depth: 0 });
  const cause = new TypeError(`connect returns a Duplex, or a promise of one, and returned ${what}`);
  throw new SyncError("ERR_CALLBACK", cause.message, { cause });
}

function lost(message: string): SyncError {
  return new SyncError("ERR_CONNECTION_LOST", message);
}
