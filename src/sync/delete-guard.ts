/**
 * Decides which deletes of a round are carried out at once, which wait, and which are held back until a person approves
 * them: those that would cost a mirror more of its files than the limit, all of them because the folder is empty, or
 * files that nobody has seen this folder hold. Pure decisions; time is an argument.
 */
import { createHash, randomUUID } from "node:crypto";
import type { Comparison, Entry } from "./entry.js";
import {
  DELETE_REST_MOST_MS,
  DELETE_REST_MS,
  HELD_SAMPLE,
  LOSS_WINDOW_MS,
  MASS_DELETE_FILES,
  MAX_FRESH,
  REMEMBER_EVERY_MS,
  RESTLESS_LOOKS,
} from "./limits.js";
import type { LossMemory, LossState } from "./loss-memory.js";
import { likenesses, netLoss } from "./losses.js";
import { isWithin } from "./path.js";
import type { Entries, Operation } from "./plan.js";

/** A limit of deletes: so many files, or a share of what the mirror holds such as `"20%"`. */
export type MaxDelete = number | `${number}%`;

export interface DeleteGuardOptions {
  /** Never hold deletes back. Default false. */
  readonly allowMassDelete?: boolean | undefined;
  /** How much may be lost within the window without a question. Default: 100 files, or half of them if that is more. */
  readonly maxDelete?: MaxDelete | undefined;
  /** How long a loss counts. Milliseconds, default 10 minutes. */
  readonly windowMs?: number | undefined;
  /** Keeps what was lost within the window for the next run. Default: each run counts for itself. */
  readonly memory?: LossMemory | undefined;
  /** Makes the ids of what is held back different from those of other guards. Default: random. */
  readonly nonce?: string | undefined;
}

/** What a round is about to do, for {@link DeleteGuard.evaluate}. */
export interface Intent {
  readonly operations: readonly Operation[];
  /** What was found here; only a `whole` scan can tell that the folder is empty. */
  readonly local: Entries;
  /** What the whole mirror holds. */
  readonly remote: Entries;
  readonly comparison?: Comparison;
  readonly whole: boolean;
  /** Tells this folder from another one at the same place, such as the empty one below an unmounted disk. */
  readonly folderId: string;
  readonly nowMs: number;
  /** Whether the person has said that this round's deletes are meant. */
  readonly meant?: boolean;
  /** Whether every lost file counts, however few, because it is not known that this folder ever held them. */
  readonly unfamiliar?: boolean;
  /** Folders in which a disk was mounted that is not there now, or is another one: each loss in them counts. */
  readonly away?: readonly string[];
  /** Whether the folders above these paths have not changed while they were scanned. Default: they have not. */
  readonly atRest?: (paths: Iterable<string>) => boolean;
}

/** Why deletes are held back. */
export type HoldReason = "limit" | "empty" | "unfamiliar" | "unmounted";

/** Deletes that are held back until they are approved. Plain data. */
export interface HeldDeletes {
  /** Names exactly this set of deletes; an approval has to say it. */
  readonly id: string;
  readonly reason: HoldReason;
  /** Files and links that are kept at the mirror for now. */
  readonly files: number;
  /** What the mirror held when the window began. */
  readonly of: number;
  /** Files of these that were deleted at the mirror within the window, before the limit was reached. */
  readonly deleted: number;
  /** When the first of those was deleted. Milliseconds since 1970. */
  readonly deletedSince?: number;
  /** How long a loss counts. Milliseconds. */
  readonly windowMs: number;
  /** Some of the paths, in order. */
  readonly paths: readonly string[];
}

/**
 * - `go`: carry everything out, but for `keep`.
 * - `look`: do nothing before the whole folder was scanned, as what is missing here may be elsewhere.
 * - `rest`: keep `keep` for so long, as it may come back or more may follow; `whole`: then scan the whole folder.
 * - `wait`: the folder is missing or another one, and empty: touch nothing until that changes.
 * - `hold`: keep `keep` until it is approved.
 */
export type Verdict =
  | { readonly verdict: "go"; readonly recheck?: boolean }
  | { readonly verdict: "wait" | "look" }
  | { readonly verdict: "rest"; readonly restMs: number; readonly whole: boolean; readonly keep: ReadonlySet<string> }
  | {
      readonly verdict: "hold";
      readonly held: HeldDeletes;
      readonly keep: ReadonlySet<string>;
      /** Some of `keep` is not held back, and is decided after so long. */
      readonly restMs?: number;
    };

interface Loss {
  readonly atMs: number;
  readonly key: string | undefined;
  /** Whether the file had come within the window: then a later one takes its place. */
  readonly fresh: boolean;
}

/** Remembers, over all the rounds and connections of one mirror, what it has lost, what is held back and what was approved. */
export class DeleteGuard {
  readonly #allowed: boolean;
  readonly #limit: MaxDelete | undefined;
  readonly #windowMs: number;
  readonly #nonce: string;
  readonly #memory: LossMemory | undefined;
  #isRecalled = false;
  #rememberedMs: number | undefined;
  #approvals = 0;
  #folderId: string | undefined;
  readonly #window: LossWindow;
  /** Missing here and not deleted there yet; when that began, and when it became more last. */
  readonly #missing = new Set<string>();
  #missingSince = 0;
  #missedLast = 0;
  /** Files that are held back however few they are, with the reason. */
  readonly #suspect = new Map<string, HoldReason>();
  readonly #approved = new Set<string>();
  #held: { readonly state: HeldDeletes; readonly paths: ReadonlySet<string> } | undefined;
  /** What was missing in each of so many scans in a row. */
  #doubt: { readonly lost: ReadonlySet<string>; readonly looks: number } | undefined;
  /** Milliseconds since 1970 at time 0 of {@link Intent.nowMs}. */
  readonly #epochMs: number;

  constructor(options: DeleteGuardOptions = {}, epochMs: number = Date.now() - performance.now()) {
    this.#allowed = options.allowMassDelete ?? false;
    this.#limit = options.maxDelete;
    this.#windowMs = options.windowMs ?? LOSS_WINDOW_MS;
    this.#window = new LossWindow(this.#windowMs);
    this.#nonce = options.nonce ?? randomUUID();
    this.#epochMs = epochMs;
    this.#memory = this.#allowed ? undefined : options.memory;
  }

  /** Whether the folder has been seen by this mirror, so that it may come back when it is missing. */
  get hasSeenFolder(): boolean {
    return this.#folderId !== undefined;
  }

  /** What is held back now. */
  get held(): HeldDeletes | undefined {
    return this.#held?.state;
  }

  /** What is held back. */
  get heldPaths(): Iterable<string> {
    return this.#held?.paths ?? [];
  }

  /** Whether something at or below `path` is held back. */
  holdsWithin(path: string): boolean {
    for (const held of this.#held?.paths ?? []) if (isWithin(held, path)) return true;
    return false;
  }

  /** Whether files are held back of which nothing says that this folder ever held them. */
  get holdsUnfamiliar(): boolean {
    for (const reason of this.#suspect.values()) if (reason === "unfamiliar") return true;
    return false;
  }

  /** Lets the deletes of that id be carried out, once. False: that is not what is held back now. */
  approve(id: string): boolean {
    if (this.#held?.state.id !== id) return false;
    for (const path of this.#held.paths) {
      this.#approved.add(path);
      this.#suspect.delete(path);
      this.#missing.delete(path);
    }
    this.#held = undefined;
    this.#doubt = undefined;
    this.#window.clear();
    this.#remember();
    this.#approvals++;
    return true;
  }

  evaluate(intent: Intent): Verdict {
    const { folderId, whole, local, nowMs } = intent;
    this.#recall(nowMs);
    const another = this.#folderId !== undefined && this.#folderId !== folderId;
    const { lost, added } = netLoss(intent);
    const recheck = this.#forget(intent, lost);
    this.#window.advance(nowMs);
    for (const entry of added) this.#window.restored(entry.path, likenesses(entry, intent.comparison));
    const open = new Set([...lost].filter((path) => !this.#approved.has(path)));
    const doubt = this.#doubt;
    if (whole) this.#doubt = undefined;
    if (this.#allowed || intent.meant || open.size === 0) {
      if (whole) this.#held = undefined;
      return this.#go(intent, whole || !another, added, new Set(), recheck);
    }
    if (!whole && another) return { verdict: "look" };
    if (whole && another && holdsNothing(local)) return { verdict: "wait" };
    this.#suspectSome(intent, open);
    const { emptied, over, of } = this.#weigh(intent, open);
    const holding = emptied || over ? open : new Set([...open].filter((path) => this.#suspect.has(path)));
    if (holding.size > 0) {
      if (!whole) return { verdict: "look" };
      // A folder that is renamed during a scan may be found under neither name: what counts is found again.
      const same = doubt !== undefined && [...holding].every((path) => doubt.lost.has(path));
      const looks = same ? doubt.looks + 1 : 1;
      this.#doubt = { lost: holding, looks };
      const atRest = intent.atRest?.(holding) ?? true;
      if (looks < (atRest ? (this.#folderId === undefined ? 1 : 2) : RESTLESS_LOOKS)) {
        return { verdict: "rest", restMs: DELETE_REST_MS, whole: true, keep: open };
      }
    }
    const others = new Set([...open].filter((path) => !holding.has(path)));
    const restMs = this.#folderId === undefined || others.size === 0 ? 0 : this.#rest(others, nowMs);
    if (holding.size === 0) {
      if (restMs > 0) return { verdict: "rest", restMs, whole: false, keep: open };
      if (whole) this.#held = undefined;
    }
    const going = restMs > 0 ? new Set<string>() : others;
    for (const path of going) this.#missing.delete(path);
    const verdict = this.#go(intent, true, added, going, recheck);
    if (holding.size === 0) return verdict;
    const held = this.#hold(holding, emptied ? "empty" : over ? "limit" : undefined, of);
    return { verdict: "hold", held, keep: restMs > 0 ? open : holding, ...(restMs > 0 ? { restMs } : {}) };
  }

  /** Takes in, at first, what earlier runs have lost. */
  #recall(nowMs: number): void {
    if (this.#isRecalled) return;
    this.#isRecalled = true;
    const before = this.#memory?.read();
    if (before !== undefined) this.#window.load(before, this.#epochMs, nowMs);
  }

  #remember(nowMs?: number): void {
    this.#rememberedMs = nowMs;
    this.#memory?.write(this.#window.save(this.#epochMs));
  }

  /** Marks what is held back however little it is. */
  #suspectSome({ local, unfamiliar, away = [], whole }: Intent, open: ReadonlySet<string>): void {
    for (const path of open) {
      if (away.some((folder) => isWithin(path, folder))) this.#suspect.set(path, "unmounted");
      // What another kind of entry takes the place of is replaced, as content is.
      else if (unfamiliar && whole && !local.has(path)) this.#suspect.set(path, "unfamiliar");
    }
  }

  /** Counts what goes, with what went within the window and what is held back already, against what the mirror held. */
  #weigh({ remote, local, whole }: Intent, open: ReadonlySet<string>) {
    const going = new Set([...this.#missing, ...open]);
    for (const path of this.#held?.paths ?? []) if (remote.has(path) && !local.has(path)) going.add(path);
    const counted = [...going].filter((path) => !this.#suspect.has(path)).length;
    const present = going.size > 1 || this.#folderId === undefined ? countFiles(remote) : remote.size;
    const of = Math.max(this.#window.losses + going.size, present + this.#window.losses - this.#window.additions);
    const empty = whole ? holdsNothing(local) : going.size >= present;
    // The last file of a folder that is followed may be deleted; several at once, up to the last, may come back, as after a build.
    const emptied = empty && (this.#folderId === undefined || going.size > 1);
    return { emptied, over: counted > 0 && this.#exceeds(this.#window.losses + counted, of), of };
  }

  #hold(paths: ReadonlySet<string>, reason: HoldReason | undefined, of: number): HeldDeletes {
    const sorted = [...paths].sort();
    const hash = createHash("sha256").update(`${this.#nonce}/${this.#approvals}`);
    for (const path of sorted) hash.update(`\0${path}`);
    const since = this.#window.since;
    const state: HeldDeletes = {
      id: hash.digest("hex").slice(0, 12),
      reason: reason ?? this.#suspect.get(sorted[0] ?? "") ?? "limit",
      files: paths.size,
      of,
      deleted: this.#window.losses,
      ...(since === undefined ? {} : { deletedSince: Math.floor(this.#epochMs + since) }),
      windowMs: this.#windowMs,
      paths: sorted.slice(0, HELD_SAMPLE),
    };
    this.#held = { state, paths };
    return state;
  }

  #exceeds(files: number, of: number): boolean {
    if (this.#limit === undefined) return files > MASS_DELETE_FILES && files * 2 > of;
    if (typeof this.#limit === "number") return files > this.#limit;
    return files * 100 > Number(this.#limit.slice(0, -1)) * of;
  }

  /**
   * Removes from what is remembered what has come back, was deleted, or is found to have moved. True: some of what is held
   * back is among that, and only a whole scan can tell what that means.
   */
  #forget({ local, remote, whole }: Intent, lost: ReadonlySet<string>): boolean {
    const over = (path: string): boolean => local.has(path) || !remote.has(path) || (whole && !lost.has(path));
    for (const paths of [this.#missing, this.#suspect, this.#approved]) {
      for (const path of [...paths.keys()]) if (over(path)) paths.delete(path);
    }
    if (whole || this.#held === undefined) return false;
    for (const path of this.#held.paths) if (local.has(path)) return true;
    return false;
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

  #go(
    { folderId, remote, comparison, nowMs }: Intent,
    known: boolean,
    added: readonly Entry[],
    deleted: ReadonlySet<string>,
    recheck: boolean,
  ): Verdict {
    if (!this.#allowed) {
      for (const path of deleted) {
        const entry = remote.get(path);
        this.#window.lost(path, entry === undefined ? undefined : likenesses(entry, comparison)[0], nowMs);
      }
      // What the first round of the first run brings is what there was before.
      if (this.#folderId !== undefined || this.#memory?.continues) this.#window.added(added, nowMs);
      // Before anything is deleted, so that a run that is killed counts.
      const isDue = nowMs - (this.#rememberedMs ?? Number.NEGATIVE_INFINITY) >= REMEMBER_EVERY_MS;
      if (deleted.size > 0 || (added.length > 0 && isDue)) this.#remember(nowMs);
    }
    if (known) this.#folderId = folderId;
    return recheck ? { verdict: "go", recheck } : { verdict: "go" };
  }
}

/** What was deleted at the mirror and added to it within a sliding window of time. */
class LossWindow {
  readonly #windowMs: number;
  /** In the order of their times. */
  readonly #losses = new Map<string, Loss>();
  readonly #byKey = new Map<string, string[]>();
  readonly #fresh = new Map<string, number>();
  #additions: { readonly atMs: number; readonly files: number }[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  get losses(): number {
    return this.#losses.size;
  }

  /** Takes in what earlier runs have lost; `epochMs` is the time 0 of this window. Times that are still to come are now. */
  load({ losses, more, fresh, additions }: LossState, epochMs: number, nowMs: number): void {
    const time = (at: number): number => Math.min(at - epochMs, nowMs);
    for (const [path, at, key, wasFresh] of losses) {
      if (wasFresh) this.#fresh.set(path, time(at));
      this.lost(path, key ?? undefined, time(at));
    }
    // The oldest are listed: those that are only counted were not lost before the last of them.
    const last = losses.at(-1)?.[1] ?? 0;
    for (let i = 0; i < more; i++) this.lost(`\0${i}`, undefined, time(last));
    for (const [path, at] of fresh) this.#fresh.set(path, time(at));
    this.#additions = additions.map(([at, files]) => ({ atMs: time(at), files }));
  }

  /** What {@link load} takes. */
  save(epochMs: number): LossState {
    const at = (ms: number): number => Math.round(epochMs + ms);
    const losses = [...this.#losses].filter(([path]) => !path.startsWith("\0"));
    return {
      losses: losses.map(([path, { atMs, key = null, fresh }]) => [path, at(atMs), key, fresh]),
      more: this.#losses.size - losses.length,
      fresh: [...this.#fresh].map(([path, atMs]) => [path, at(atMs)]),
      additions: this.#additions.map(({ atMs, files }) => [at(atMs), files]),
    };
  }

  /** When the first of the losses was. */
  get since(): number | undefined {
    const [first] = this.#losses.values();
    return first?.atMs;
  }

  /** Files added since the first of the losses. */
  get additions(): number {
    return this.#additions.reduce((sum, { files }) => sum + files, 0);
  }

  clear(): void {
    this.#losses.clear();
    this.#byKey.clear();
    this.#additions = [];
  }

  advance(nowMs: number): void {
    const from = nowMs - this.#windowMs;
    for (const [path, { atMs }] of this.#losses) {
      if (atMs >= from) break;
      this.#losses.delete(path);
    }
    if (this.#losses.size === 0) this.#byKey.clear();
    const since = this.since ?? Number.POSITIVE_INFINITY;
    this.#additions = this.#additions.filter(({ atMs }) => atMs >= since);
    for (const [path, atMs] of this.#fresh) {
      if (atMs >= from) break;
      this.#fresh.delete(path);
    }
  }

  lost(path: string, key: string | undefined, atMs: number): void {
    this.#losses.delete(path);
    this.#losses.set(path, { atMs, key, fresh: this.#fresh.delete(path) });
    if (key === undefined) return;
    const same = this.#byKey.get(key);
    if (same === undefined) this.#byKey.set(key, [path]);
    else same.push(path);
  }

  /** What was lost and is back, under its own name or another one, is no loss. */
  restored(path: string, keys: readonly string[]): void {
    if (this.#losses.delete(path)) return;
    for (const key of keys) {
      const same = this.#byKey.get(key) ?? [];
      for (let lost = same.pop(); lost !== undefined; lost = same.pop()) {
        if (this.#losses.get(lost)?.key !== key) continue;
        this.#losses.delete(lost);
        return;
      }
    }
  }

  /** A new file takes the place of one that was new itself: files that come and go all the time are nothing anybody misses. */
  added(entries: readonly Entry[], atMs: number): void {
    let places = 0;
    for (const { fresh } of this.#losses.values()) if (fresh) places++;
    let files = 0;
    for (const { path } of entries) {
      if (this.#fresh.size < MAX_FRESH) this.#fresh.set(path, atMs);
      if (places === 0) files++;
      else {
        places--;
        for (const [lost, { fresh }] of this.#losses) {
          if (!fresh) continue;
          this.#losses.delete(lost);
          break;
        }
      }
    }
    if (files > 0 && this.#losses.size > 0) this.#additions.push({ atMs, files });
  }
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
