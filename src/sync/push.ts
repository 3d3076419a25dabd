/** The sending end as an operator: hints in, what became of them out. */
import { EMPTY, merge, Observable, type OperatorFunction, type SchedulerLike, Subject, takeUntil } from "rxjs";
import { callbackError, fromCallback, guardIgnore } from "./callback.js";
import { type Deferred, deferred } from "./deferred.js";
import { DeleteGuard, type MaxDelete } from "./delete-guard.js";
import { isExhausted } from "./descriptors.js";
import { Dirty, type Work } from "./dirty.js";
import { DIFFERS, type Entry, type FileEntry } from "./entry.js";
import { type Failure, massDelete, SyncError } from "./errors.js";
import type { PushEvent } from "./events.js";
import { type Ignore, IgnoreRules, ignoreNothing } from "./ignore.js";
import type { IndexFile } from "./index-file.js";
import {
  EXHAUSTED_RETRY_MS,
  MAX_CHANGED_ROUNDS,
  MAX_WALKS_IN_A_ROW,
  REWRITE_RATE,
  SETTLE_MS,
  SETTLE_OPEN_MS,
  SYNCED_EVERY_MS,
  WALK_EVERY_MS,
} from "./limits.js";
import type { LinkedFiles } from "./linked-files.js";
import type { MountPoints } from "./mount-points.js";
import { OpenFiles } from "./open-files.js";
import { Owed } from "./owed.js";
import { ancestorsOf } from "./path.js";
import { isFileOpen } from "./read.js";
import type { Approval, Remote } from "./remote.js";
import { RewritePace } from "./rewrite-pace.js";
import { Round } from "./round.js";
import type { Snapshot } from "./scan.js";
import type { Source } from "./source.js";
import { scrubSource } from "./source-scrub.js";
import { type Timing, timingOf } from "./timing.js";
import { everything, type Hint } from "./watch.js";

export interface PushOptions {
  /** Leave alone, on both sides. Default: nothing. */
  readonly ignore?: Ignore | IgnoreRules | undefined;
  /** Delete at the destination what is ignored, instead of leaving it alone. Default false. */
  readonly deleteIgnored?: boolean | undefined;
  /** Whether to delete at the destination what is not in the folder. Default true. */
  readonly delete?: boolean | undefined;
  /** Do not ask before most files at the destination are deleted. Default false: `ERR_MASS_DELETE`. */
  readonly allowMassDelete?: boolean | undefined;
  /** How much may be deleted without a question, see {@link DeleteGuard}. */
  readonly maxDelete?: MaxDelete | undefined;
  /** How long a loss counts. Milliseconds, default 10 minutes. */
  readonly deleteWindowMs?: number | undefined;
  /** Remembers what was deleted lately and what is held back; give the same one to pushes that follow each other. */
  readonly guard?: DeleteGuard | undefined;
  /**
   * Whether deletes that need an approval are held back until there is one (`held` events). Otherwise they end the push, and
   * nothing is done. Default: while the hints have not completed.
   */
  readonly asks?: boolean | undefined;
  /**
   * Complete when the hints have completed although deletes are held back, instead of waiting for a person's answer. Default
   * false.
   */
  readonly leavesHeld?: boolean | undefined;
  /** What people say of deletes that are held back, besides what they say at the mirror. */
  readonly approvals?: Observable<Approval> | undefined;
  /** The folder, where the mirror is to remember whose it is. */
  readonly source?: Source | undefined;
  /** Remembers the disks that are mounted below the folder. */
  readonly mounts?: MountPoints | undefined;
  /** What is known to be equal at the remote from earlier runs; added to. */
  readonly index?: IndexFile | undefined;
  /** What is in the folder, where it was walked just now: then the first round need not walk it again. */
  readonly walked?: () => Snapshot | undefined;
  /** What was reported of paths that fail, and of what cannot be mirrored; give the same one to pushes that follow each other. */
  readonly reported?: Reported | undefined;
  /** Is told of the files that have several names. */
  readonly linked?: LinkedFiles | undefined;
  /**
   * A path that was hinted at is looked at when it has rested for this long; one that changes again at once gets twice
   * as long each time, up to a second. What never rests is looked at every now and then. Milliseconds, default 10.
   */
  readonly settleMs?: number | undefined;
  /**
   * A file that another program has open for writing waits until it is closed (known on Linux, by a read lease), or for this
   * long; then it is sent as a version that it was as a whole, and after the same time again. Milliseconds, default 5000;
   * 0: it does not wait.
   */
  readonly settleOpenMs?: number | undefined;
  /**
   * How many bytes a second of a large file (1 MiB and more) that keeps changing are rewritten at the destination, averaged over a
   * minute; its last state arrives in any case. One that keeps growing is sent at most once in `settleOpenMs`. 0: whenever it has
   * changed. Default 10,000,000.
   */
  readonly rewriteRate?: number | undefined;
  /** What failed is tried again after this long, then twice as long, up to a minute. Milliseconds, default 5000. */
  readonly retryMs?: number | undefined;
  /**
   * Read every file once, and compare it with the destination by hash, whatever its size and times say. Default false. With an
   * {@link index}, the hashes in it are not used by the first round then.
   */
  readonly checksum?: boolean | undefined;
  /**
   * Read each file again within this time, in the background, once everything is equal: what has changed without another size,
   * time or inode is sent. Milliseconds; 0: never. Default 0.
   */
  readonly scrubMs?: number | undefined;
  /** For everything that waits. Default: the system's timers. */
  readonly scheduler?: SchedulerLike | undefined;
  /** Only report what would be done, once, and complete. Default false. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Pushes what the hints point to: looks there, compares with what the remote holds, and carries the difference over.
 * A walk over everything is repeated until it finds nothing to do.
 *
 * Completes when the hints have completed and the remote equals the folder. Errors with a {@link SyncError}:
 * `ERR_INCOMPLETE` when the hints have completed and some paths keep failing, `ERR_FOLDER` when the folder is missing
 * at the start, or why the remote was lost. Unsubscribing stops it; what was sent may still be carried out.
 *
 * ```ts
 * watchFolder(dir).pipe(filter(({ path }) => path.endsWith(".png")), pushTo(remote)).subscribe(console.log);
 * ```
 */
export function pushTo(remote: Remote, options: PushOptions = {}): OperatorFunction<Hint, PushEvent> {
  return (hints) =>
    new Observable((subscriber) => {
      const fail = (error: unknown): void => subscriber.error(error);
      const pusher = new Pusher(remote, options, (event) => subscriber.next(event), fail);
      void remote.closed?.then((error) => fail(error ?? new SyncError("ERR_CONNECTION_LOST", "the remote was closed")));
      const answers = merge(
        remote.approvals$ ?? EMPTY,
        fromCallback("approvals", () => options.approvals ?? EMPTY),
      );
      const unsubscribed = new Subject<void>();
      answers.pipe(takeUntil(unsubscribed)).subscribe({
        next: (approval) => pusher.answer(approval),
        error: fail,
      });
      hints.pipe(takeUntil(unsubscribed)).subscribe({
        next: (hint) => {
          try {
            pusher.add(hint);
          } catch (error) {
            fail(callbackError("the source of hints", error));
          }
        },
        error: fail,
        complete: () => subscriber.closed || pusher.end(),
      });
      pusher.run().then(() => subscriber.complete(), fail);
      return () => {
        unsubscribed.next();
        pusher.stop();
      };
    });
}

/** What was reported, so that it is not reported again. */
export class Reported {
  /** Codes of failures, by path. */
  readonly failures: Map<string, string> = new Map<string, string>();
  readonly notices: Set<string> = new Set<string>();
}

/** What rounds count, and `synced` events sum up. */
const NOTHING = { files: 0, bytesSent: 0, bytesReused: 0, bytesMoved: 0, deleted: 0, moved: 0 };
const TOTALS = Object.keys(NOTHING) as (keyof typeof NOTHING)[];

class Pusher {
  readonly #remote: Remote;
  readonly #options: PushOptions;
  readonly #report: (event: PushEvent) => void;
  readonly #dirty: Dirty;
  readonly #stopping = new AbortController();
  readonly #timing: Timing;
  /** Cancel what waits. */
  readonly #timers = new Set<() => void>();
  readonly #failures = new Map<string, Failure>();
  readonly #reported: Reported;
  /** Files that changed while they were read, and how often in a row. */
  readonly #changing = new Map<string, number>();
  /** What is to be deleted when nothing more goes. */
  readonly #resting = new Set<string>();
  #foundByWalk: ReadonlySet<string> = new Set();
  readonly #unmovable = new Set<string>();
  readonly #open: OpenFiles;
  readonly #pace: RewritePace;
  /** Large files that keep changing, until it is their turn. */
  readonly #paced = new Map<string, () => void>();
  readonly #settleOpenMs: number;
  #scrubs = false;
  #folder = "";
  #openTimer: (() => void) | undefined;
  #hinted: Deferred = deferred();
  /** When the waiting ends by itself; while nobody waits, in the past. */
  #wakesAtMs = Number.NEGATIVE_INFINITY;
  readonly #guard: DeleteGuard;
  /** The id of the deletes that were reported last as held back. */
  #heldId: string | undefined;
  #approvedId: string | undefined;
  /** A person wants them kept, and nothing else is left to be done. */
  #refused = false;
  readonly #ignore: Ignore;
  readonly #rules: IgnoreRules | undefined;
  #first = true;
  #rulesChanged = false;
  #ended = false;
  #failing = 0;
  #total = { ...NOTHING };
  /** Questions when a path stands at the destination, by the number of the question. */
  readonly #asks = new Map<number, { readonly path: string; readonly owed: Owed }>();
  /** What was to be looked at when the first round began after the last `synced`. */
  #owed: Owed | undefined;
  #owedSinceMs = 0;
  /** Walks one after the other that each found something new. */
  #walks = 0;
  #since: number;
  /** Whether the remote may have changed since it was told that all is equal, and whether there is something to tell. */
  #unsettled = true;
  #news = true;

  constructor(
    remote: Remote,
    options: PushOptions,
    report: (event: PushEvent) => void,
    onMistake: (error: SyncError) => void,
  ) {
    this.#remote = remote;
    this.#options = options;
    this.#timing = timingOf(options.scheduler);
    this.#since = this.#timing.now();
    this.#report = report;
    this.#dirty = new Dirty(options.settleMs ?? SETTLE_MS);
    this.#reported = options.reported ?? new Reported();
    this.#settleOpenMs = options.settleOpenMs ?? SETTLE_OPEN_MS;
    this.#open = new OpenFiles(this.#settleOpenMs);
    this.#pace = new RewritePace(options.rewriteRate ?? REWRITE_RATE, this.#settleOpenMs);
    const { allowMassDelete, maxDelete, deleteWindowMs: windowMs } = options;
    this.#guard = options.guard ?? new DeleteGuard({ allowMassDelete, maxDelete, windowMs });
    const { ignore = ignoreNothing } = options;
    this.#rules = ignore instanceof IgnoreRules ? ignore : undefined;
    this.#ignore = ignore instanceof IgnoreRules ? ignore.ignores : guardIgnore(ignore, onMistake);
    if (this.#rules !== undefined) {
      this.#rules.onProblem = (path, { code, message }) => this.#once({ type: "notice", code, message, path });
    }
  }

  add(hint: Hint): void {
    if (hint.code !== undefined) this.#once({ type: "notice", code: hint.code, message: hint.reason });
    if (hint.ready) this.#report({ type: "watching" });
    const now = this.#timing.now();
    if (this.#dirty.empty) this.#since = now;
    this.#folder = hint.folder;
    this.#dirty.add(hint, now);
    if (hint.ask !== undefined) this.#asks.set(hint.ask, { path: hint.path, owed: new Owed([hint.path]) });
    // Of the thousands of a burst few are due before the one that is waited for.
    if (this.#wakesAtMs > now && now + this.#dirty.waitMs(now) < this.#wakesAtMs) this.#wake();
  }

  /** A person's answer. One to what is not held back any more changes nothing. */
  answer({ id, approved }: Approval): void {
    const { held } = this.#guard;
    if (held?.id !== id) {
      // Whoever asks there sees what is not so any more.
      this.#remote.holds?.(held);
    } else if (!approved) {
      this.#refused = true;
      this.#wake();
    } else if (this.#guard.approve(id)) {
      this.#approvedId = id;
      this.#lookEverywhere(this.#folder, "deletes were approved");
      this.#wake();
    }
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  stop(): void {
    this.#options.index?.flush();
    this.#stopping.abort(new SyncError("ERR_CONNECTION_LOST", "stopped"));
    for (const cancel of this.#timers) cancel();
    this.#openTimer?.();
    for (const cancel of this.#paced.values()) cancel();
    this.#wake();
  }

  async run(): Promise<void> {
    if (this.#options.checksum) forgetVersions(this.#remote.entries);
    else await this.#options.index?.vouch(this.#remote.entries, this.#remote.comparison);
    while (await this.#somethingDue()) {
      const work = this.#withRules(this.#dirty.take(this.#timing.now()));
      this.#owe(work);
      this.#begin();
      const round = await this.#attempt(work);
      if (this.#stopped || this.#options.dryRun) return;
      if (round !== undefined) await this.#evaluate(work, round);
    }
  }

  #owe(work: Work): void {
    if (this.#owed !== undefined) return;
    this.#owed = new Owed(this.#outstanding(work));
    this.#owedSinceMs = this.#timing.now();
  }

  /** All that is to be looked at as a round begins. */
  #outstanding({ everything: walks, paths }: Work): Iterable<string> {
    if (walks !== undefined || this.#dirty.walks) return [""];
    return [...paths, ...this.#dirty.paths, ...this.#resting, ...this.#open.paths, ...this.#paced.keys()];
  }

  #begin(): void {
    for (const { owed } of this.#asks.values()) owed.begin();
    this.#owed?.begin();
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Waits for hints, and for their rest. False: there are none and will be none. */
  async #somethingDue(): Promise<boolean> {
    while (!this.#stopped) {
      const now = this.#timing.now();
      const waitMs = this.#dirty.waitMs(now);
      if (waitMs === 0) return true;
      if (this.#dirty.empty && this.#ended && this.#timers.size + this.#paced.size + this.#open.size === 0) {
        const { held } = this.#guard;
        if (held === undefined || this.#options.leavesHeld) return false;
        if (this.#refused) throw massDelete(this.#folder, this.#options.source?.name, held, false);
      }
      this.#hinted = deferred();
      this.#wakesAtMs = now + waitMs;
      const { resolve } = this.#hinted;
      const cancel = waitMs === Number.POSITIVE_INFINITY ? undefined : this.#timing.after(waitMs, resolve);
      await this.#hinted.promise;
      this.#wakesAtMs = Number.NEGATIVE_INFINITY;
      cancel?.();
    }
    return false;
  }

  /** From the first time on that everything is equal. */
  #scrub(): void {
    const { scrubMs = 0 } = this.#options;
    if (this.#scrubs || scrubMs <= 0 || this.#ended || this.#options.dryRun) return;
    this.#scrubs = true;
    void scrubSource({
      folder: this.#folder,
      remote: this.#remote,
      passMs: scrubMs,
      signal: this.#stopping.signal,
      timing: this.#timing,
      onSuspect: (file, differs) => this.#suspect(file, differs),
    });
  }

  #suspect(file: FileEntry, differs: boolean): void {
    const { path } = file;
    // It may have been sent meanwhile.
    if (this.#remote.entries.get(path) !== file) return;
    const { version: _, ...unknown } = file;
    this.#remote.entries.set(path, differs ? { ...file, version: DIFFERS } : unknown);
    if (differs) {
      const message = "its content has changed without a new time stamp since it was sent; it is sent again";
      this.#report({ type: "notice", code: "ERR_SILENT_CHANGE", message, path });
    }
    this.#dirty.add({ folder: this.#folder, path, reason: "it was read again" }, this.#timing.now());
    this.#wake();
  }

  #wake(): void {
    this.#hinted.resolve();
  }

  #after(ms: number, task: () => void): void {
    const cancel = this.#timing.after(ms, () => {
      this.#timers.delete(cancel);
      task();
    });
    this.#timers.add(cancel);
  }

  /** Looks at the same again after a while; the end waits for it. */
  #later(folder: string, paths: Iterable<string>, ms: number): void {
    const again = [...paths];
    this.#after(ms, () => {
      for (const path of again) this.#dirty.add({ folder, path, reason: "again" }, this.#timing.now());
      this.#wake();
    });
  }

  /** Has ignore files read anew where they may have changed; where they have, everything is to be looked at. */
  #withRules(work: Work): Work {
    const looksEverywhere = work.everything !== undefined;
    const changed = this.#rules?.refresh(looksEverywhere ? undefined : work.paths) ?? false;
    if (changed) this.#rulesChanged = true;
    return changed && !looksEverywhere ? { ...work, everything: "the ignore rules may have changed" } : work;
  }

  /** What was walked before the first round, which then need not walk; by other rules it does not count. */
  #takeWalked({ everything: walks }: Work): Snapshot | undefined {
    const walked = this.#first ? this.#options.walked?.() : undefined;
    this.#first = false;
    return walks === undefined || this.#rulesChanged ? undefined : walked;
  }

  /** One round. A folder that is missing is fatal at the start and at the end; in between it may come back. */
  async #attempt(work: Work): Promise<Round | undefined> {
    const round = new Round(this.#remote, this.#report, this.#stopping.signal, {
      ignore: this.#ignore,
      deleteIgnored: this.#options.deleteIgnored ?? false,
      delete: this.#options.delete ?? true,
      dryRun: this.#options.dryRun ?? false,
      unmovable: this.#unmovable,
      guard: this.#guard,
      holds: this.#options.asks ?? !this.#ended,
      source: this.#options.source,
      mounts: this.#options.mounts,
      walked: this.#takeWalked(work),
      index: this.#options.index,
      linked: this.#options.linked,
      changing: this.#changing,
      open: this.#open,
      pace: this.#pace,
      isSuspect: (file) => this.#options.index?.isSuspect(file) ?? false,
      settleOpenMs: this.#settleOpenMs,
      nowMs: () => this.#timing.now(),
      more: () => {
        const paths = this.#dirty.rush(this.#timing.now());
        // All that was looked at is looked at again, together with these.
        if (paths.size > 0) this.#begin();
        return paths;
      },
    });
    try {
      await round.run(work);
      if (this.#reported.notices.delete("notice ERR_FOLDER ")) this.#news = true;
      return round;
    } catch (error) {
      if (!(error instanceof SyncError) || this.#ended) throw error;
      if (error.code !== "ERR_FOLDER" || !this.#guard.hasSeenFolder) throw error;
      this.#once({ type: "notice", code: error.code, message: error.message });
      this.#later(work.folder, [""], this.#options.retryMs ?? 5000);
      this.#cancel();
      return undefined;
    }
  }

  async #evaluate({ folder, everything: walked }: Work, round: Round): Promise<void> {
    if (round.unsure) {
      this.#cancel();
      this.#lookEverywhere(folder, "before so much is deleted");
      return;
    }
    if (round.recheck) this.#lookEverywhere(folder, "some of what is held back has come back");
    this.#reportHeld(folder);
    for (const key of TOTALS) this.#total[key] += round[key];
    this.#unsettled ||= round.done > 0;
    this.#news ||= round.planned;
    this.#reportProblems(walked !== undefined, round);
    if (round.resting.size > 0) this.#rest(folder, round);
    this.#waitForRest(folder, walked !== undefined, round);
    this.#waitForClose(folder, walked !== undefined, round);
    this.#waitForTurn(folder, round);
    if (this.#walksAgain(walked !== undefined, round)) this.#lookEverywhere(folder, "until two walks agree");
    else if (this.#failures.size > 0) this.#tryAgain(folder, round.done > 0);
    else this.#failing = 0;
    this.#settle(walked !== undefined, round);
    if (this.#isSynced()) await this.#tellSynced();
  }

  /** What changes all the time is not walked for ever: the hints and the walks now and then find it. */
  #walksAgain(walked: boolean, round: Round): boolean {
    if (!walked) return false;
    if (this.#hasNews(round) && ++this.#walks < MAX_WALKS_IN_A_ROW) return true;
    this.#walks = 0;
    return false;
  }

  /** Whether all that there was when a round began is at the destination; where changes never end, from time to time. */
  #isSynced(): boolean {
    if (this.#dirty.empty) return this.#resting.size + this.#paced.size + this.#open.size === 0;
    if (this.#ended || this.#dirty.walks || this.#owed?.settled !== true) return false;
    return this.#timing.now() - this.#owedSinceMs >= SYNCED_EVERY_MS;
  }

  #cancel(): void {
    for (const { owed } of this.#asks.values()) owed.cancel();
    this.#owed?.cancel();
  }

  /** Takes a round into account, and answers the questions whose paths stand at the destination now. */
  #settle(walked: boolean, round: Round): void {
    const covers = (path: string): boolean => walked || round.covers(path);
    const unsent = [...round.changed, ...round.open.keys(), ...round.paced.keys(), ...this.#resting];
    this.#owed?.end({ covers, undone: unsent });
    const undone = [...unsent, ...this.#failures.keys(), ...this.#guard.heldPaths];
    for (const [ask, { path, owed }] of this.#asks) {
      owed.end({ covers, undone });
      if (!owed.settled) continue;
      this.#asks.delete(ask);
      this.#report({ type: "confirmed", path, ask, ...this.#stands(path) });
    }
  }

  /** Whether something is at the destination at `path`, and if not, whether that is because it is ignored. */
  #stands(path: string): { readonly exists: boolean; readonly ignored?: true } {
    if (path === "" || this.#remote.entries.has(path)) return { exists: true };
    const above = ancestorsOf(path).some((folder) => this.#ignore(folder, true));
    const ignored = above || this.#ignore(path, false) || this.#ignore(path, true);
    return ignored ? { exists: false, ignored } : { exists: false };
  }

  /** Says what is held back where that has changed, here and at the mirror. */
  #reportHeld(folder: string): void {
    const { held } = this.#guard;
    if (held?.id === this.#heldId) return;
    const before = this.#heldId;
    this.#heldId = held?.id;
    this.#news = true;
    this.#remote.holds?.(held);
    if (held === undefined) {
      if (before !== undefined) this.#report({ type: "released", id: before, approved: before === this.#approvedId });
      this.#reported.notices.delete("notice ERR_MASS_DELETE ");
      return;
    }
    const { code, message } = massDelete(folder, this.#options.source?.name, held, true);
    this.#once({ type: "notice", code, message });
    this.#report({ type: "held", message, ...held });
  }

  /** What is gone is looked at again before it is deleted; together with what goes meanwhile. */
  #rest(folder: string, { resting, restMs }: Round): void {
    const waits = this.#resting.size > 0;
    for (const path of resting) this.#resting.add(path);
    if (waits) return;
    this.#after(Math.ceil(restMs), () => {
      const now = this.#timing.now();
      for (const path of this.#resting) this.#dirty.add({ folder, path, reason: "before it is deleted" }, now);
      this.#resting.clear();
      this.#wake();
    });
  }

  /** Whether a walk found more than files which the walk before had found changed too, and which may change for ever. */
  #hasNews({ donePaths }: Round): boolean {
    const before = this.#foundByWalk;
    this.#foundByWalk = donePaths;
    return [...donePaths].some((path) => !before.has(path));
  }

  #lookEverywhere(folder: string, reason: string): void {
    this.#dirty.add(everything(folder, reason), this.#timing.now());
  }

  /** Takes in what failed; says of each path only what it has not said before. */
  #reportProblems(walked: boolean, round: Round): void {
    const before = [...this.#failures.keys()];
    for (const path of [...this.#failures.keys()]) if (walked || round.covers(path)) this.#failures.delete(path);
    for (const failure of round.failures) {
      this.#failures.set(failure.path, failure);
      this.#fail(failure);
    }
    // What is in sync has become more or less.
    this.#news ||= before.length !== this.#failures.size || before.some((path) => !this.#failures.has(path));
    for (const path of this.#reported.failures.keys()) {
      if (!this.#failures.has(path)) this.#reported.failures.delete(path);
    }
    for (const { path, code, message } of round.skipped) this.#once({ type: "notice", code, message, path });
  }

  #fail(failure: Failure): void {
    const again = this.#reported.failures.get(failure.path) === failure.code;
    this.#report({ type: "failed", ...failure, ...(again ? { again } : {}) });
    this.#reported.failures.set(failure.path, failure.code);
  }

  #once(event: PushEvent & { code: string; path?: string }): void {
    const key = `${event.type} ${event.code} ${event.path ?? ""}`;
    if (this.#reported.notices.has(key)) return;
    this.#reported.notices.add(key);
    this.#report(event);
  }

  /** A file that changes while it is read is sent again, after growing pauses; a one-time push gives it up at last. */
  #waitForRest(folder: string, walked: boolean, round: Round): void {
    for (const path of [...this.#changing.keys()]) {
      const rests = !round.changed.has(path) && !round.copied.has(path);
      if (rests && (walked || round.covers(path))) this.#changing.delete(path);
    }
    for (const path of round.changed) {
      const times = (this.#changing.get(path) ?? 0) + 1;
      this.#changing.set(path, times);
      if (!this.#ended || times <= MAX_CHANGED_ROUNDS) this.#dirty.again(folder, path, this.#timing.now());
      else {
        const failure = { path, code: "ERR_CHANGED", message: "the file keeps changing while it is read" };
        this.#failures.set(path, failure);
        this.#fail(failure);
      }
    }
  }

  /** Files that are open for writing are looked at again when they are closed, or have waited long enough. */
  #waitForClose(folder: string, walked: boolean, round: Round): void {
    const now = this.#timing.now();
    for (const path of [...this.#open.paths]) {
      if (!round.open.has(path) && (walked || round.covers(path))) this.#open.delete(path);
    }
    for (const [path, emptied] of round.open) this.#open.add(path, emptied, now);
    if (this.#open.size > 0) this.#openTimer ??= this.#checkOpen(folder);
  }

  /** Large files that keep changing are looked at again when they may be sent. */
  #waitForTurn(folder: string, { paced }: Round): void {
    for (const [path, waitMs] of paced) {
      if (this.#paced.has(path)) continue;
      const cancel = this.#timing.after(waitMs, () => {
        this.#paced.delete(path);
        this.#dirty.add({ folder, path, reason: "it is its turn" }, this.#timing.now());
        this.#wake();
      });
      this.#paced.set(path, cancel);
    }
  }

  #checkOpen(folder: string): () => void {
    return this.#timing.after(this.#open.nextCheckMs(), () => {
      this.#openTimer = undefined;
      const now = this.#timing.now();
      const due = this.#open.due((path) => isFileOpen(folder, path), now);
      for (const path of due) this.#dirty.add({ folder, path, reason: "it was closed" }, now);
      if (due.length > 0) this.#wake();
      // Those that are due are looked at by a round, which checks on.
      if (due.length < this.#open.size) this.#openTimer = this.#checkOpen(folder);
    });
  }

  #tryAgain(folder: string, progress: boolean): void {
    if (this.#ended) {
      const waits = this.#timers.size + this.#paced.size + this.#open.size > 0;
      if (!progress && this.#dirty.empty && !waits) throw this.#incomplete();
      if (progress) this.#lookEverywhere(folder, "until two walks agree");
      return;
    }
    if (this.#timers.size > 0) return;
    const passes = [...this.#failures.values()].every(isExhausted);
    if (passes && progress) this.#failing = 0;
    const firstMs = passes ? EXHAUSTED_RETRY_MS : (this.#options.retryMs ?? 5000);
    const delayMs = Math.min(firstMs * 2 ** Math.min(this.#failing++, 10), WALK_EVERY_MS);
    this.#later(folder, this.#failures.keys(), delayMs);
  }

  #incomplete(): SyncError {
    const failures = [...this.#failures.values()];
    const [first] = failures;
    const what = failures.length === 1 ? `${first?.path}: ${first?.message}` : `${failures.length} paths`;
    return new SyncError("ERR_INCOMPLETE", `could not be mirrored: ${what}`, { failures });
  }

  async #tellSynced(): Promise<void> {
    if (this.#unsettled) {
      // What failed may go without anything more to do: then all is equal by that.
      this.#unsettled = this.#failures.size > 0 || this.#guard.held !== undefined;
      this.#options.index?.flush();
      if (!this.#unsettled) await this.#remote.settled();
    }
    this.#scrub();
    this.#owed = undefined;
    if (!this.#news) return;
    this.#news = false;
    const seconds = Math.round(this.#timing.now() - this.#since) / 1000;
    const entries = this.#remote.entries.size;
    const failed = this.#failures.size;
    const root =
      failed > 0 || this.#guard.held !== undefined || this.#remote.root === undefined
        ? {}
        : { root: this.#remote.root };
    const held = this.#guard.held === undefined ? {} : { held: this.#guard.held.files };
    this.#report({ type: "synced", ...this.#total, seconds, entries, failed, ...held, ...root });
    this.#total = { ...NOTHING };
  }
}

/** Then the content of every file is compared by hash. */
function forgetVersions(entries: Map<string, Entry>): void {
  for (const entry of entries.values()) {
    if (entry.kind !== "file" || entry.version === undefined) continue;
    const { version: _, ...unknown } = entry;
    entries.set(entry.path, unknown);
  }
}
