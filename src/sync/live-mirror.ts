/** A mirror that is followed, as an object to ask. */
import { realpathSync } from "node:fs";
import { defer, filter, from, map, merge, Observable, Subject, share, take } from "rxjs";
import type { MirrorEvent, SyncedSummary } from "./events.js";
import { synced, type Transfer, transfers } from "./lifecycle.js";
import { type MirrorOptions, mirror } from "./mirror.js";
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
   * `timeout` ends the waiting. Errors when the mirror does. Rejects paths outside of the folder with a `TypeError`.
   *
   * ```
   * a file changes   ──x───────────────────
   * whenSynced(file)    ^──────(path|)
   * ```
   */
  whenSynced(path?: string): Observable<string>;
}

/** Follows `folder` as {@link mirror} does (`once` and `dryRun` have no place here), for several who look on. */
export function liveMirror(folder: string, options: Omit<MirrorOptions, "once" | "dryRun" | "hints">): LiveMirror {
  /** What was asked and not yet answered: a new connection is asked again. */
  const asked = new Map<number, Hint>();
  const asking = new Subject<Hint>();
  const hints = defer(() => merge(from([...asked.values()]), asking));
  const events$ = mirror(folder, { ...options, hints }).pipe(share());
  let last = 0;

  const whenSynced = (path = ""): Observable<string> =>
    new Observable((subscriber) => {
      const parts = path.split("/");
      if (path !== "" && parts.some((part) => part === "" || part === "." || part === "..")) {
        subscriber.error(
          new TypeError(`"${path}" is not a path inside the folder: it is relative, with / between its parts`),
        );
        return;
      }
      const ask = ++last;
      const hint = { folder: realpathSync(folder), path, reason: "somebody waits for it", ask };
      asked.set(ask, hint);
      subscriber.add(() => void asked.delete(ask));
      const confirmed = events$.pipe(
        filter((event) => event.type === "confirmed" && event.ask === ask),
        take(1),
        map(() => path),
      );
      subscriber.add(confirmed.subscribe(subscriber));
      // Where the mirror runs already; one that was begun just now has it from the list.
      asking.next(hint);
    });
  return { events$, synced$: events$.pipe(synced()), transfers$: events$.pipe(transfers()), whenSynced };
}
