/**
 * When a mirror stops and asks instead of deleting: before it would lose most of its files, and before it would become
 * empty because the folder here is. Pure decisions.
 */
import type { Comparison, FileEntry } from "./entry.js";
import { type Losses, SyncError } from "./errors.js";
import { DELETE_REST_MOST_MS, DELETE_REST_MS, LOSS_REST_MS, LOSS_WINDOW_MS, MASS_DELETE_FILES } from "./limits.js";
import type { Entries, Operation } from "./plan.js";

/** What a round is about to do, for {@link Caution.judge}. */
export interface Intent {
  readonly operations: readonly Operation[];
  /** What was found here; only a `whole` look can tell that the folder is empty. */
  readonly local: Entries;
  /** What the whole mirror holds. */
  readonly remote: Entries;
  readonly comparison?: Comparison;
  readonly whole: boolean;
  /** Tells this folder from another one at the same place, such as the empty one below an unmounted disk. */
  readonly folderId: string;
  readonly nowMs: number;
}

/**
 * - `go`: carry it out.
 * - `look`: decide that with a look at everything, after so long, as what is missing here may be elsewhere.
 * - `rest`: delete nothing yet, as more may be about to go: look again after so long. Everything else may be done.
 * - `wait`: the folder is gone or another one, and empty: touch nothing until that changes.
 * - `emptied`: it is the same folder and has lost all of several files at once: touch nothing until some are there.
 * - `ask`: stop, with the numbers.
 */
export type Judgement =
  | { readonly verdict: "go" | "wait" }
  | { readonly verdict: "look"; readonly afterMs: number }
  | { readonly verdict: "emptied"; readonly losses: Losses }
  | { readonly verdict: "rest"; readonly restMs: number }
  | { readonly verdict: "ask"; readonly losses: Losses; readonly empty: boolean };

/** Remembers, over all the rounds of one mirror, what it has lost lately: a slow flood is one too. */
export class Caution {
  readonly #allowed: boolean;
  #folderId: string | undefined;
  #lost = 0;
  #since = 0;
  #last = Number.NEGATIVE_INFINITY;
  /** What is gone here and is not deleted there yet; when that began, and when it became more last. */
  readonly #missing = new Set<string>();
  #missingSince = 0;
  #missedLast = 0;
  /** What the look at everything before has found, if most of the mirror was missing. */
  #doubt: { readonly lost: ReadonlySet<string>; readonly entries: number } | undefined;

  constructor(allowed = false) {
    this.#allowed = allowed;
  }

  /** Whether the folder has been seen by this mirror, so that it may come back when it is gone. */
  get hasSeenFolder(): boolean {
    return this.#folderId !== undefined;
  }

  judge(intent: Intent): Judgement {
    const { folderId, whole, remote, nowMs } = intent;
    const another = this.#folderId !== undefined && this.#folderId !== folderId;
    const { lost, added } = netLoss(intent);
    this.#forget(intent, lost);
    const doubt = this.#doubt;
    if (whole) this.#doubt = undefined;
    if (this.#allowed || lost.size === 0) return this.#go(folderId, whole || !another, 0, added, nowMs);
    if (!whole && another) return { verdict: "look", afterMs: 0 };
    if (whole && another && holdsNothing(intent.local)) return { verdict: "wait" };
    const before = this.#recent(nowMs);
    const going = this.#missing.size + [...lost].filter((path) => !this.#missing.has(path)).length;
    const files = before + going;
    const held = going > 1 || this.#folderId === undefined ? countFiles(remote) : remote.size;
    const empty = whole ? holdsNothing(intent.local) : going >= held;
    // The last file of a folder that is followed may go; several at once, up to the last, may come back, as after a build.
    const emptied = empty && (this.#folderId === undefined || going > 1);
    const most = files > MASS_DELETE_FILES && files * 2 > held + before;
    if ((emptied || most) && !whole) return { verdict: "look", afterMs: 0 };
    const all = { files: going, of: held };
    if (emptied && this.#folderId === undefined) return { verdict: "ask", losses: all, empty: true };
    if (emptied) return { verdict: "emptied", losses: all };
    if (most) {
      // A folder that is renamed while everything is looked at may be found nowhere: what counts is found twice.
      this.#doubt = { lost, entries: intent.local.size };
      const sure = this.#folderId === undefined || (doubt?.entries === intent.local.size && isSame(doubt.lost, lost));
      if (!sure) return { verdict: "look", afterMs: DELETE_REST_MS };
      return { verdict: "ask", losses: { files, of: held + before }, empty: false };
    }
    const restMs = this.#folderId === undefined ? 0 : this.#rest(lost, nowMs);
    if (restMs > 0) return { verdict: "rest", restMs };
    for (const path of lost) this.#missing.delete(path);
    return this.#go(folderId, true, lost.size, added, nowMs);
  }

  /** What has come back, or was deleted, or is found to have moved, is not missing. */
  #forget({ local, remote, whole }: Intent, lost: ReadonlySet<string>): void {
    for (const path of this.#missing) {
      if (local.has(path) || !remote.has(path) || (whole && !lost.has(path))) this.#missing.delete(path);
    }
  }

  /** How long deleting is to wait: until nothing more goes, or it has waited long enough. */
  #rest(lost: ReadonlySet<string>, nowMs: number): number {
    if (this.#missing.size === 0) this.#missingSince = nowMs;
    const before = this.#missing.size;
    for (const path of lost) this.#missing.add(path);
    if (this.#missing.size > before) this.#missedLast = nowMs;
    const rested = this.#missedLast + DELETE_REST_MS;
    return Math.min(rested, this.#missingSince + DELETE_REST_MOST_MS) - nowMs;
  }

  #go(folderId: string, known: boolean, lost: number, added: number, nowMs: number): Judgement {
    if (known) this.#folderId = folderId;
    const before = this.#recent(nowMs);
    if (before === 0) this.#since = nowMs;
    this.#lost = Math.max(0, before + lost - added);
    if (lost > 0) this.#last = nowMs;
    return { verdict: "go" };
  }

  #recent(nowMs: number): number {
    return nowMs - this.#last > LOSS_REST_MS || nowMs - this.#since > LOSS_WINDOW_MS ? 0 : this.#lost;
  }
}

function isSame(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((path) => other.has(path));
}

/** What a person is told who has to decide. */
export function massDelete(folder: string, { files, of }: Losses, empty: boolean): SyncError {
  const what = empty
    ? `${folder} holds no files, and the mirror holds ${of}, all of which would be deleted`
    : `the mirror would lose ${files} of its ${of} files`;
  const advice = "nothing was deleted; see whether the folder is complete (is its disk mounted?)";
  const answer = "where the loss is meant, say so with --allow-mass-delete (allowMassDelete)";
  return new SyncError("ERR_MASS_DELETE", `${what}; ${advice}; ${answer}`, { losses: { files, of } });
}

/** Files and links that would be gone, and how many would be new; what only moves is neither. */
function netLoss({ operations, remote, comparison }: Intent): { lost: Set<string>; added: number } {
  const unit = max(comparison?.mtimeToleranceNs ?? 0n, 1000n);
  const arriving = new Map<string, number>();
  const lost = new Set<string>();
  let added = 0;
  for (const { do: what, entry } of operations) {
    if (what !== "put" && what !== "link") continue;
    const there = remote.get(entry.path);
    if (there !== undefined && there.kind !== "directory") continue;
    added++;
    if (entry.kind !== "file") continue;
    const key = keyOf(entry, entry.mtimeNs / unit);
    arriving.set(key, (arriving.get(key) ?? 0) + 1);
  }
  for (const { do: what, entry } of operations) {
    if (what !== "remove" || entry.kind === "directory") continue;
    if (entry.kind === "file" && takeOne(arriving, entry, entry.mtimeNs / unit)) added--;
    else lost.add(entry.path);
  }
  return { lost, added };
}

function takeOne(arriving: Map<string, number>, entry: FileEntry, time: bigint): boolean {
  for (const near of [time, time - 1n, time + 1n]) {
    const key = keyOf(entry, near);
    const left = arriving.get(key) ?? 0;
    if (left === 0) continue;
    arriving.set(key, left - 1);
    return true;
  }
  return false;
}

function keyOf({ size }: FileEntry, time: bigint): string {
  return `${size}/${time}`;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function holdsNothing(entries: Entries): boolean {
  for (const { kind } of entries.values()) if (kind !== "directory") return false;
  return true;
}

function countFiles(entries: Entries): number {
  let files = 0;
  for (const { kind } of entries.values()) if (kind !== "directory") files++;
  return files;
}
