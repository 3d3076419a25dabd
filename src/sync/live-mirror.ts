/** A mirror that is followed, as an object to ask. */
import {
  defer,
  endWith,
  filter,
  finalize,
  from,
  lastValueFrom,
  map,
  merge,
  NEVER,
  Observable,
  Subject,
  share,
  take,
  takeWhile,
  timer,
} from "rxjs";
import { SyncError } from "./errors.js";
import type { MirrorEvent, SyncedSummary } from "./events.js";
import { synced, type Transfer, transfers } from "./lifecycle.js";
import { STOP_MS } from "./limits.js";
import { type MirrorOptions, mirror, realFolder } from "./mirror.js";
import type { Hint } from "./watch.js";

export interface LiveMirror {
  /**
   * All that happens, see {@link mirror}. Mirrors from the first subscription to the last unsubscription, of this and the others
   * below together; after that, or an error, a new subscription begins anew.
   */
  readonly events$: Observable<MirrorEvent>;
  /** Each time that the destination has become equal to the folder. */
  readonly synced$: Observable<SyncedSummary>;
  /** What becomes of each file that is sent. */
  readonly transfers$: Observable<Transfer>;
  /**
   * Emits once, and completes, when what stands at `path` (and below; default: everything) at the moment of subscription, or something
   * newer, is durable at the destination. Waits for as long as it takes: lost connections are retried, and so are paths that fail;
   * `timeout` ends the waiting. What changes all the time is no obstacle. Errors when the mirror does, and with a
   * {@link SyncError} `ERR_FOLDER` where the folder is missing. Rejects paths outside of the folder with a `TypeError`.
   *
   * With `mustExist` it errors when nothing stands at the path: `ENOENT`, or `ERR_IGNORED` where the path is ignored.
   *
   * ```
   * a file changes   ──x───────────────────
   * whenSynced(file)    ^──────(path|)
   * ```
   */
  whenSynced(path?: string, options?: WhenSyncedOptions): Observable<string>;
  /**
   * Stops following: what the folder holds now is confirmed at the destination, the server is taken leave of, and `events$` and the others
   * complete. Resolves then; at once where nobody is subscribed. Rejects with why the mirror errored meanwhile, or with a
   * {@link SyncError} `ERR_INCOMPLETE` where the time did not suffice: the mirror is at its end all the same.
   */
  stop(options?: StopOptions): Promise<void>;
}

export interface StopOptions {
  /** How long it may take, such as without a connection. Milliseconds, default 10,000. */
  readonly timeoutMs?: number | undefined;
}

export interface WhenSyncedOptions {
  /** Whether something has to stand at the path. Default false: then nothing at both ends is as good. */
  readonly mustExist?: boolean | undefined;
}

/** Follows `folder` as {@link mirror} does (`once` and `dryRun` have no place here), for several who look on. */
export function liveMirror(folder: string, options: Omit<MirrorOptions, "once" | "dryRun" | "hints">): LiveMirror {
  /** What was asked and not yet answered: a new connection is asked again. */
  const asked = new Map<number, Hint>();
  const asking = new Subject<Hint>();
  const hints = defer(() => merge(from([...asked.values()]), asking));
  /** Of the mirror that runs. */
  let run: { readonly until: Subject<void>; readonly cut: Subject<never> } | undefined;
  const events$ = defer(() => {
    const current = { until: new Subject<void>(), cut: new Subject<never>() };
    run = current;
    const until = merge(current.until, options.until ?? NEVER);
    return merge(mirror(folder, { ...options, hints, until }).pipe(endWith(null)), current.cut).pipe(
      takeWhile((event) => event !== null),
      finalize(() => {
        if (run === current) run = undefined;
      }),
    );
  }).pipe(share());
  let last = 0;

  const whenSynced = (path = "", { mustExist = false }: WhenSyncedOptions = {}): Observable<string> =>
    new Observable((subscriber) => {
      const parts = path.split("/");
      if (path !== "" && parts.some((part) => part === "" || part === "." || part === "..")) {
        subscriber.error(
          new TypeError(`"${path}" is not a path inside the folder: it is relative, with / between its parts`),
        );
        return;
      }
      const ask = ++last;
      const hint = { folder: realFolder(folder), path, reason: "somebody waits for it", ask };
      asked.set(ask, hint);
      subscriber.add(() => void asked.delete(ask));
      const confirmed = events$.pipe(
        filter((event) => event.type === "confirmed"),
        filter((event) => event.ask === ask),
        take(1),
        map((event) => {
          if (mustExist && !event.exists) throw nothingAt(path, event.ignored ?? false);
          return path;
        }),
      );
      subscriber.add(confirmed.subscribe(subscriber));
      // Where the mirror runs already; one that was begun just now has it from the list.
      asking.next(hint);
    });

  const stop = async ({ timeoutMs = STOP_MS }: StopOptions = {}): Promise<void> => {
    const current = run;
    if (current === undefined) return;
    const late = timer(timeoutMs, options.scheduler).subscribe(() => current.cut.error(stoppedEarly(timeoutMs)));
    // Whoever else unsubscribes meanwhile does not cut it short.
    const ended = lastValueFrom(events$, { defaultValue: undefined });
    current.until.next();
    await ended.finally(() => late.unsubscribe());
  };
  return { events$, synced$: events$.pipe(synced()), transfers$: events$.pipe(transfers()), whenSynced, stop };
}

function stoppedEarly(timeoutMs: number): SyncError {
  return new SyncError("ERR_INCOMPLETE", `stopped after ${timeoutMs / 1000} s, before all changes were confirmed`);
}

function nothingAt(path: string, ignored: boolean): SyncError {
  if (ignored) return new SyncError("ERR_IGNORED", `${path} is ignored, and not mirrored`, { path });
  return new SyncError("ENOENT", `there is nothing at ${path} in the folder`, { path });
}
