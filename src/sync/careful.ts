/**
 * When a mirror stops and asks instead of deleting: before it would lose most of its files, and before it would become
 * empty because the folder here is. Pure decisions.
 */
import type { Comparison, FileEntry } from "./entry.js";
import { type Losses, SyncError } from "./errors.js";
import { LOSS_REST_MS, LOSS_WINDOW_MS, MASS_DELETE_FILES } from "./limits.js";
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
 * - `look`: decide that with a look at everything, as what is missing here may be elsewhere.
 * - `wait`: the folder is gone or another one, and empty: touch nothing until that changes.
 * - `ask`: stop, with the numbers.
 */
export type Judgement =
  | { readonly verdict: "go" | "look" | "wait" }
  | { readonly verdict: "ask"; readonly losses: Losses; readonly empty: boolean };

/** Remembers, over all the rounds of one mirror, what it has lost lately: a slow flood is one too. */
export class Caution {
  readonly #allowed: boolean;
  #folderId: string | undefined;
  #lost = 0;
  #since = 0;
  #last = Number.NEGATIVE_INFINITY;

  constructor(allowed = false) {
    this.#allowed = allowed;
  }

  /** Whether the folder has been seen by this mirror, so that it may come back when it is gone. */
  get hasSeenFolder(): boolean {
    return this.#folderId !== undefined;
  }

  judge(intent: Intent): Judgement {
    const { folderId, whole, nowMs } = intent;
    const another = this.#folderId !== undefined && this.#folderId !== folderId;
    const { lost, added } = netLoss(intent);
    if (this.#allowed || lost === 0) return this.#go(folderId, whole || !another, 0, added, nowMs);
    if (!whole && another) return { verdict: "look" };
    if (whole && holdsNothing(intent.local)) {
      if (another) return { verdict: "wait" };
      // A folder that this mirror has followed and that is still the same one was emptied on purpose, file by file.
      const unseen = this.#folderId === undefined;
      if (unseen) return { verdict: "ask", losses: { files: lost, of: countFiles(intent.remote) }, empty: true };
    }
    const before = this.#recent(nowMs);
    const files = before + lost;
    const of = files > MASS_DELETE_FILES ? countFiles(intent.remote) + before : 0;
    if (files > MASS_DELETE_FILES && files * 2 > of) {
      return whole ? { verdict: "ask", losses: { files, of }, empty: false } : { verdict: "look" };
    }
    return this.#go(folderId, true, lost, added, nowMs);
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

/** What a person is told who has to decide. */
export function massDelete(folder: string, { files, of }: Losses, empty: boolean): SyncError {
  const what = empty
    ? `${folder} holds no files, and the mirror holds ${of}, all of which would be deleted`
    : `the mirror would lose ${files} of its ${of} files`;
  const advice = "nothing was deleted; see whether the folder is complete (is its disk mounted?)";
  const answer = "where the loss is meant, say so with --allow-mass-delete (allowMassDelete)";
  return new SyncError("ERR_MASS_DELETE", `${what}; ${advice}; ${answer}`, { losses: { files, of } });
}

/** Files and links that would be gone, and those that would be new; what only moves is neither. */
function netLoss({ operations, remote, comparison }: Intent): { lost: number; added: number } {
  const unit = max(comparison?.mtimeToleranceNs ?? 0n, 1000n);
  const arriving = new Map<string, number>();
  let lost = 0;
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
    else lost++;
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
