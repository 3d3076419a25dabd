/** What a mirror reports. Every event is plain data and survives `JSON.stringify`; docs/events.md has the schema. */
import type { HeldDeletes } from "./delete-guard.js";
import type { Kind } from "./entry.js";
import type { Failure } from "./errors.js";
import type { Operation, PlanSummary } from "./plan.js";

/** What a push to a {@link Remote} reports. */
export type PushEvent =
  /** The folder is walked, and why. */
  | { readonly type: "walking"; readonly reason: string }
  /** The watches are in place: changes are noticed from here on. */
  | { readonly type: "watching" }
  /** What a walk found. `bytes` is the content of all files. */
  | {
      readonly type: "scanned";
      readonly files: number;
      readonly directories: number;
      readonly links: number;
      readonly bytes: number;
    }
  /** What differs and will be done; with `dryRun`, each step by name. `bytes` is content to send. */
  | ({ readonly type: "planned"; readonly steps?: readonly Step[] } & PlanSummary)
  /**
   * How far the present round is: steps done and in all, content bytes sent and in all, and saved (the mirror had them, so
   * that they are no part of the others). At most ten a second.
   */
  | {
      readonly type: "progress";
      readonly steps: number;
      readonly stepsTotal: number;
      readonly bytes: number;
      readonly bytesTotal: number;
      readonly bytesSaved: number;
    }
  /** The content of a file is to be sent. It will be `pushed`, have `failed`, or be `superseded`, if the connection lasts. */
  | { readonly type: "queued"; readonly path: string; readonly size: number }
  /** A large file is under way: `bytes` of `size` were sent or need not be. At most ten a second for each. */
  | { readonly type: "sending"; readonly path: string; readonly bytes: number; readonly size: number }
  /** The file changed before all of it was sent: that version never becomes visible, and the later one is queued. */
  | { readonly type: "superseded"; readonly path: string }
  /** Durable at the destination. `bytes` of content were sent for it; 0 where only attributes changed. */
  | { readonly type: "pushed"; readonly path: string; readonly kind: Kind; readonly bytes: number }
  /** What was at `from` at the destination is at `path` now: nothing of it was sent. */
  | { readonly type: "moved"; readonly path: string; readonly from: string; readonly kind: Kind }
  | { readonly type: "deleted"; readonly path: string; readonly kind: Kind }
  /** A large file goes on where an earlier attempt stopped: `offset` of `size` bytes are not sent again. */
  | { readonly type: "resumed"; readonly path: string; readonly offset: number; readonly size: number }
  /** One path could not be mirrored; the others go on, and it is tried again later. `again`: that was said before. */
  | ({ readonly type: "failed"; readonly again?: true } & Failure)
  /** Something worth knowing that stops nothing: what is skipped, watches running out, … */
  | { readonly type: "notice"; readonly code: string; readonly message: string; readonly path?: string }
  /** Deletes are held back until somebody approves them; everything else goes on. Again where they become others. */
  | ({ readonly type: "held"; readonly message: string } & HeldDeletes)
  /** None of what was held back under that id is any more: it was approved, or it came back. */
  | { readonly type: "released"; readonly id: string; readonly approved: boolean }
  /**
   * What stood at and below `path` when a {@link Hint} with that `ask` came, or something newer, stands at the destination.
   * `exists`: whether something does; `ignored`: nothing does, as the path is ignored.
   */
  | {
      readonly type: "confirmed";
      readonly path: string;
      readonly ask: number;
      readonly exists: boolean;
      readonly ignored?: true;
    }
  /** The destination equals the folder (but for what `failed`, in number). Counts are since the last such event. */
  | ({ readonly type: "synced" } & SyncedSummary);

export interface SyncedSummary {
  /** Files sent, or given new attributes. */
  readonly files: number;
  /** Content bytes sent. */
  readonly bytesSent: number;
  /** Content bytes that need not be sent: the mirror had them in an older version, elsewhere, or from an earlier attempt. */
  readonly bytesReused: number;
  /** Content bytes of files that were renamed instead of sent. */
  readonly bytesMoved: number;
  readonly deleted: number;
  /** Files and folders renamed at the destination. */
  readonly moved: number;
  readonly seconds: number;
  /** Files, folders and links at the destination. */
  readonly entries: number;
  readonly failed: number;
  /** Deletes that are held back, where there are some. */
  readonly held?: number;
  /** One hash for all that both sides hold (docs/sync-protocol.md), in hex, where it is known. */
  readonly root?: string;
}

export interface Step {
  readonly do: Operation["do"];
  readonly kind: Kind;
  readonly path: string;
  /** Of `move` and `rename`: where it is now. */
  readonly from?: string;
}

/** What {@link mirror} reports. */
export type MirrorEvent =
  | PushEvent
  /** `attempt` counts from 1 and starts anew after every success. */
  | { readonly type: "connecting"; readonly name: string; readonly attempt: number }
  /** `entries` are at the destination already. */
  | { readonly type: "connected"; readonly name: string; readonly entries: number; readonly reconnected: boolean }
  /** The connection failed or was lost; the next attempt is in `delayMs` milliseconds. */
  | {
      readonly type: "retrying";
      readonly delayMs: number;
      readonly attempt: number;
      readonly code: string;
      readonly reason: string;
    };
