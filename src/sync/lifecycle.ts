/** What becomes of each file, and of the whole, out of a mirror's events. */
import { concatMap, defer, filter, map, type OperatorFunction } from "rxjs";
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
    defer(() => {
      /** Sizes of files under way. */
      const sizes = new Map<string, number>();
      const end = (path: string, tell: (size: number) => Transfer): Transfer[] => {
        const size = sizes.get(path);
        return size !== undefined && sizes.delete(path) ? [tell(size)] : [];
      };
      const superseded = (path: string): Transfer[] => end(path, (size) => ({ state: "superseded", path, size }));
      const take = (event: MirrorEvent): Transfer[] => {
        switch (event.type) {
          case "queued": {
            const { path, size } = event;
            sizes.set(path, size);
            return [{ state: "queued", path, size }];
          }
          case "sending": {
            const { path, size, bytes } = event;
            // Of a file that was queued before the subscription, too.
            sizes.set(path, size);
            return [{ state: "sending", path, size, bytes }];
          }
          case "pushed":
            return end(event.path, (size) => ({ state: "done", path: event.path, size, bytes: event.bytes }));
          case "failed": {
            const { path, code, message } = event;
            return end(path, (size) => ({ state: "failed", path, size, code, message }));
          }
          case "superseded":
            return superseded(event.path);
          case "retrying":
            return [...sizes.keys()].flatMap(superseded);
          default:
            return [];
        }
      };
      return events.pipe(concatMap(take));
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
