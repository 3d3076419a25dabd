/** What becomes of each file, and of the whole, out of a mirror's events. */
import { filter, map, Observable, type OperatorFunction } from "rxjs";
import type { MirrorEvent, SyncedSummary } from "./events.js";

/**
 * One file on its way: `queued`, then `sending` (large files), then `done`, `failed` or `superseded`. A file that failed or
 * was superseded (it changed meanwhile, or the connection was lost) begins anew with `queued`.
 */
export type Transfer =
  | { readonly state: "queued"; readonly path: string; readonly size: number }
  /** `bytes` of `size` were sent or need not be. */
  | { readonly state: "sending"; readonly path: string; readonly size: number; readonly bytes: number }
  /** Durable at the destination; `bytes` of `size` were sent for it. */
  | { readonly state: "done"; readonly path: string; readonly size: number; readonly bytes: number }
  | {
      readonly state: "failed";
      readonly path: string;
      readonly size: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly state: "superseded"; readonly path: string; readonly size: number };

/**
 * The lifecycle of every file whose content is sent.
 *
 * ```
 * events     ─(queued a)─(queued b)─(sending a)─(pushed b)─(superseded a)─(queued a)─(pushed a)─→
 * transfers  ─(a queued)─(b queued)─(a sending)─(b done)───(a superseded)─(a queued)─(a done)───→
 * ```
 * When the connection is lost, all that is under way is `superseded`. Completes and errors as its source does.
 */
export function transfers(): OperatorFunction<MirrorEvent, Transfer> {
  return (events) =>
    new Observable((subscriber) => {
      /** Sizes of files under way. */
      const sizes = new Map<string, number>();
      const end = (path: string, tell: (size: number) => Transfer): void => {
        const size = sizes.get(path);
        if (size === undefined) return;
        sizes.delete(path);
        subscriber.next(tell(size));
      };
      const take = (event: MirrorEvent): void => {
        if (event.type === "queued") {
          const { path, size } = event;
          sizes.set(path, size);
          subscriber.next({ state: "queued", path, size });
        } else if (event.type === "sending") {
          const { path, size, bytes } = event;
          subscriber.next({ state: "sending", path, size, bytes });
        } else if (event.type === "pushed") {
          const { path, bytes } = event;
          end(path, (size) => ({ state: "done", path, size, bytes }));
        } else if (event.type === "failed") {
          const { path, code, message } = event;
          end(path, (size) => ({ state: "failed", path, size, code, message }));
        } else if (event.type === "superseded") {
          const { path } = event;
          end(path, (size) => ({ state: "superseded", path, size }));
        } else if (event.type === "retrying") {
          for (const path of [...sizes.keys()]) end(path, (size) => ({ state: "superseded", path, size }));
        }
      };
      return events.subscribe({
        next: take,
        error: (error) => subscriber.error(error),
        complete: () => subscriber.complete(),
      });
    });
}

/**
 * Each time that the destination has become equal to the folder.
 *
 * ```
 * events  ─(pushed)─(pushed)─(synced s)─(deleted)─(synced t)─→
 * synced  ───────────────────(s)──────────────────(t)────────→
 * ```
 */
export function synced(): OperatorFunction<MirrorEvent, SyncedSummary> {
  return (events) =>
    events.pipe(
      filter((event) => event.type === "synced"),
      map(({ type: _, ...summary }) => summary),
    );
}
