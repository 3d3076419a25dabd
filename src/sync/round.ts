/** One round of a push: look, plan, carry out. */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { isAtRest } from "./at-rest.js";
import { adopt, differences, samePart, sharing } from "./compare.js";
import { copyFile } from "./copy.js";
import type { DeleteGuard, Verdict } from "./delete-guard.js";
import { explained } from "./descriptors.js";
import type { Work } from "./dirty.js";
import type { Entry, FileEntry, Kind } from "./entry.js";
import { DIFFERS } from "./entry.js";
import { type Failure, massDelete, SyncError } from "./errors.js";
import type { PushEvent } from "./events.js";
import { folded } from "./exact-names.js";
import type { Ignore } from "./ignore.js";
import type { IndexFile } from "./index-file.js";
import {
  CHANGES_BEFORE_COPY,
  EMPTIED_REST_MS,
  EMPTY_AFTER_CRASH_MS,
  LEAST_PACED_BYTES,
  MAX_INLINE_BYTES,
} from "./limits.js";
import type { LinkedFiles } from "./linked-files.js";
import type { MountPoints } from "./mount-points.js";
import { planWithMoves, soughtSources } from "./moves.js";
import type { OpenFiles } from "./open-files.js";
import { ancestorsOf, isWithin } from "./path.js";
import { refuseRecursion } from "./place.js";
import { type Operation, type Plan, plan, summarize } from "./plan.js";
import { isFileOpen } from "./read.js";
import type { Outcome, Remote } from "./remote.js";
import type { RewritePace } from "./rewrite-pace.js";
import { count, isShown, sizeOf, toStep } from "./round-report.js";
import { modificationTime, type PartialSnapshot, type Problem, type Snapshot, scanFolder, scanPaths } from "./scan.js";
import { ofAnother, type Source, standingOf } from "./source.js";
import { yearOf } from "./times.js";

export interface RoundOptions {
  readonly ignore: Ignore;
  readonly delete: boolean;
  readonly deleteIgnored: boolean;
  readonly dryRun: boolean;
  /** Remote paths from where a move has failed; added to. */
  readonly unmovable: Set<string>;
  readonly guard: DeleteGuard;
  /** Whether deletes that need an approval are held back. Otherwise they end the push, and nothing is done. */
  readonly holds: boolean;
  readonly source: Source | undefined;
  readonly mounts: MountPoints | undefined;
  /** What is in the folder, where it was walked just now. */
  readonly walked: Snapshot | undefined;
  readonly index: IndexFile | undefined;
  readonly linked: LinkedFiles | undefined;
  /** Paths hinted at meanwhile, which this round is to look at too. */
  readonly more: () => ReadonlySet<string>;
  /** Files that changed while they were read, and how often in a row. */
  readonly changing: ReadonlyMap<string, number>;
  /** Files that wait to be closed. */
  readonly open: OpenFiles;
  /** Files that are open for writing and have changed within this time wait. Milliseconds; 0: none waits. */
  readonly settleOpenMs: number;
  readonly pace: RewritePace;
  /** Whether a file may be empty because the machine has ended. */
  readonly isSuspect: (file: FileEntry) => boolean;
  /** By the clock of the pusher. */
  readonly nowMs: () => number;
}

const PROGRESS_EVERY_MS = 100;
/** Files that are told to be queued and are not concluded: a large round is not told at once. */
const QUEUED_AHEAD = 64;

export class Round {
  /** Steps that became durable. */
  done = 0;
  /** Files sent or touched, content bytes sent, entries deleted. */
  files = 0;
  bytesSent = 0;
  bytesReused = 0;
  bytesMoved = 0;
  deleted = 0;
  /** Whether there was something to do, which a `planned` event said. */
  planned = false;
  /** Paths of what became durable. */
  readonly donePaths: Set<string> = new Set<string>();
  /** Files that were sent as copies, as they are never at rest. */
  readonly copied: Set<string> = new Set<string>();
  /** Paths to look at again because they changed meanwhile. */
  readonly changed: Set<string> = new Set<string>();
  /** Files that were not sent, as they are open for writing; `true`: as they have just become empty. */
  readonly open: Map<string, boolean> = new Map<string, boolean>();
  /** Large files that were not sent, as they keep changing, and how long they wait. */
  readonly paced: Map<string, number> = new Map<string, number>();
  readonly failures: Failure[] = [];
  /** Folders that could not be made. */
  readonly #unmade = new Set<string>();
  /** What cannot be mirrored and is not a failure, such as sockets. */
  readonly skipped: Failure[] = [];
  /** Nothing was done, because only a look at everything can tell whether so much may be deleted. */
  unsure = false;
  /** What is held back may not be what it was: only a scan of the whole folder can tell. */
  recheck = false;
  /** What is not deleted yet, and for how long. */
  readonly resting: Set<string> = new Set<string>();
  restMs = 0;

  /** Files and folders renamed at the destination. */
  moved = 0;

  readonly #remote: Remote;
  readonly #report: (event: PushEvent) => void;
  readonly #signal: AbortSignal;
  readonly #options: RoundOptions;
  /** Of each file under way: content sent, content that need not be, and when that was told. */
  readonly #transfers = new Map<string, { sent: number; saved: number; toldAt: number }>();
  /** Files to be sent, in order; how many of them were told of; those of them that are not concluded. */
  #queue: readonly Operation[] = [];
  #told = 0;
  readonly #queued = new Set<string>();
  /** Files that were there before and are sent again. */
  readonly #rewritten = new Set<string>();
  #roots: readonly string[] = [""];
  #stepsTotal = 0;
  #bytesTotal = 0;
  #lastProgress = performance.now();

  constructor(remote: Remote, report: (event: PushEvent) => void, signal: AbortSignal, options: RoundOptions) {
    this.#remote = remote;
    this.#report = report;
    this.#signal = signal;
    this.#options = options;
  }

  /** Whether this round has looked at `path`. */
  covers(path: string): boolean {
    return this.#roots.some((root) => isWithin(path, root));
  }

  /** Rejects when the folder is missing or the remote is lost. */
  async run(work: Work): Promise<void> {
    const rootTime = modificationTime(work.folder);
    const { local, remote, problems, folderId } = await this.#look(work);
    this.#takeProblems(problems);
    if (this.#remote.place !== undefined) refuseRecursion(work.folder, local, this.#remote.place);
    this.#clampTimes(local);
    this.#options.linked?.look(this.#roots, local);
    const { comparison } = this.#remote;
    await adopt(local, this.#remote.entries, comparison);
    const differing = await differences(local, remote, comparison);
    const planned = this.#plan(differing.local, differing.remote, problems);
    const atRest = (lost: Iterable<string>): boolean => isAtRest(work.folder, lost, local, rootTime);
    const verdict = this.#evaluate(work, planned.operations, { local, folderId, atRest });
    if (this.unsure) return;
    const { operations, blocked } = this.#permitted(verdict, planned, local, () =>
      this.#plan(differing.local, differing.remote, problems, "keep" in verdict ? verdict.keep : undefined),
    );
    this.failures.push(...blocked);
    const summary = summarize(operations);
    this.#stepsTotal = operations.length;
    this.#bytesTotal = summary.bytes;
    const steps = this.#options.dryRun ? { steps: operations.filter(isShown).map(toStep) } : {};
    this.planned = operations.length > 0;
    if (this.planned || this.#options.dryRun) this.#report({ type: "planned", ...summary, ...steps });
    if (!this.planned || this.#options.dryRun) return;
    const prepared = await this.#prepare(work.folder, this.#atPace(this.#withoutSuspects(operations)));
    this.#queue = prepared.filter(({ do: what }) => what === "put");
    this.#tellQueued();
    try {
      await this.#carryOut(work.folder, prepared);
      this.#takeFreed(prepared);
    } finally {
      for (const operation of prepared) if (operation.do === "put") operation.copy?.close();
    }
  }

  /** Throws `ERR_MIRROR_OWNER`, `ERR_MASS_DELETE` where nothing is held back, and `ERR_FOLDER` where waiting is the answer. */
  #evaluate(
    { folder, everything }: Work,
    operations: readonly Operation[],
    found: { local: ReadonlyMap<string, Entry>; folderId: string; atRest: (lost: Iterable<string>) => boolean },
  ): Verdict {
    const { guard, mounts, source, holds, dryRun } = this.#options;
    const { entries, comparison } = this.#remote;
    const whole = everything !== undefined;
    const standing = whole ? this.#standing(found.local) : "ours";
    const verdict = guard.evaluate({
      ...found,
      operations,
      remote: entries,
      comparison,
      whole,
      nowMs: performance.now(),
      unfamiliar: standing === "unfamiliar" && !guard.hasSeenFolder,
      meant: standing === "meant",
      away: mounts?.away() ?? [],
    });
    if (verdict.verdict === "hold" && (dryRun || !holds)) {
      const error = massDelete(folder, source?.name, verdict.held, false);
      if (!dryRun) throw error;
      this.#report({ type: "notice", code: error.code, message: error.message });
    } else if (verdict.verdict === "wait") {
      const reason = "it is empty and not the folder it was, as when a disk is unmounted";
      throw new SyncError("ERR_FOLDER", `nothing of ${folder} is deleted at the destination: ${reason}`);
    }
    this.unsure = verdict.verdict === "look";
    if ("restMs" in verdict && verdict.restMs !== undefined) this.restMs = verdict.restMs;
    if (verdict.verdict === "go") this.recheck = verdict.recheck ?? false;
    if (whole && !dryRun && (verdict.verdict === "go" || verdict.verdict === "hold")) {
      mounts?.learn((path) => guard.holdsWithin(path));
      if (source !== undefined && !guard.holdsUnfamiliar) this.#claim(source);
    }
    return verdict;
  }

  /** Whether the mirror is this folder's, to be judged by {@link standingOf} as long as it is not said to be. */
  #standing(local: ReadonlyMap<string, Entry>): "ours" | "unfamiliar" | "meant" {
    const { source, dryRun, guard } = this.#options;
    const { relation, entries, comparison, owner } = this.#remote;
    if (source === undefined || (source.known && relation === "nobody")) return "ours";
    if (source.retargeted && relation === "place") return "ours";
    const standing = standingOf(relation, local, entries, comparison);
    if (standing === "ours") return "ours";
    if (source.replace && !guard.hasSeenFolder) return "meant";
    if (standing === "unfamiliar") return "unfamiliar";
    const error = ofAnother(source.name, source.label, owner, count(entries.values()).files);
    if (!dryRun) throw error;
    this.#report({ type: "notice", code: error.code, message: error.message });
    return "unfamiliar";
  }

  #claim({ id }: Source): void {
    const { relation } = this.#remote;
    if (relation !== undefined && relation !== "same") this.#remote.claim?.(id);
  }

  /** What of a plan may be carried out now. */
  #permitted(verdict: Verdict, planned: Plan, local: ReadonlyMap<string, Entry>, replan: () => Plan): Plan {
    if (this.#options.dryRun || verdict.verdict === "go") return planned;
    if (verdict.verdict === "rest" && !verdict.whole) {
      return { ...planned, operations: this.#withoutDeletes(planned.operations, local, verdict.keep) };
    }
    if (this.restMs > 0) this.resting.add("");
    return "keep" in verdict ? replan() : planned;
  }

  /** What stands where something else is to be goes all the same. */
  #withoutDeletes(
    operations: readonly Operation[],
    local: ReadonlyMap<string, Entry>,
    keep: ReadonlySet<string>,
  ): Operation[] {
    const gives = (path: string): boolean => (local.get(path)?.kind ?? "directory") !== "directory";
    const kept = new Set([...keep].flatMap((path) => [path, ...ancestorsOf(path)]));
    return operations.filter(({ do: what, entry: { path } }) => {
      if (what !== "remove" || local.has(path) || ancestorsOf(path).some(gives) || !kept.has(path)) return true;
      this.resting.add(path);
      return false;
    });
  }

  async #look({ folder, everything, paths }: Work) {
    const keep = sharing(this.#remote.entries);
    const { mounts } = this.#options;
    const options = { ignore: this.#options.ignore, signal: this.#signal, keep };
    if (everything === undefined) {
      let part = await scanPaths(folder, paths, options);
      const sought = [...(await this.#whereItWent(part)), ...(await this.#seek(part))];
      if (sought.length > 0) part = await scanPaths(folder, [...paths, ...sought], options);
      this.#roots = part.roots;
      return {
        local: part.entries,
        remote: await samePart(this.#remote.entries, part),
        problems: part.problems,
        folderId: part.folderId,
      };
    }
    this.#report({ type: "walking", reason: everything });
    const onFolder = mounts === undefined ? {} : { onFolder: mounts.scanning() };
    const { entries, problems, folderId } =
      this.#options.walked ?? (await scanFolder(folder, { ...options, ...onFolder }));
    this.#report({ type: "scanned", ...count(entries.values()) });
    return { local: entries, remote: this.#remote.entries, problems, folderId };
  }

  /** Where something is gone, it may have another name, which the events that come next tell. */
  async #whereItWent({ roots, entries }: PartialSnapshot): Promise<ReadonlySet<string>> {
    if (!roots.some((root) => this.#remote.entries.has(root) && !entries.has(root))) return new Set();
    // What the system has told by now is read in the next turn of the event loop.
    for (let turn = 0; turn < 2; turn++) await yieldToOthers();
    return this.#options.more();
  }

  /** Where else to look, to tell whether what is new here was moved. */
  async #seek(part: PartialSnapshot): Promise<string[]> {
    if (!this.#remote.moves) return [];
    return soughtSources(part.entries, await samePart(this.#remote.entries, part), this.#remote.entries);
  }

  /** Of a server, or a file system there, that does not know times so late. */
  #clampTimes(local: ReadonlyMap<string, Entry>): void {
    const { latestNs } = this.#remote.comparison;
    if (latestNs === undefined) return;
    const year = yearOf(latestNs);
    const message = `its modification time is later than ${year}, the latest that the destination keeps, and becomes that there`;
    for (const { path, mtimeNs = 0n } of local.values()) {
      if (mtimeNs > latestNs) this.skipped.push({ path, code: "ERR_TIME", message });
    }
  }

  #takeProblems(problems: readonly Problem[]): void {
    for (const problem of problems) {
      const { path, unreadable } = problem;
      const { code, message } = explained(new SyncError(problem.code, problem.message), "client");
      (unreadable ? this.failures : this.skipped).push({ path, code, message });
    }
  }

  #plan(
    local: ReadonlyMap<string, Entry>,
    remote: ReadonlyMap<string, Entry>,
    problems: readonly Problem[],
    keep?: ReadonlySet<string>,
  ): Plan {
    const unreadable = problems.filter((problem) => problem.unreadable).map(({ path }) => path);
    const { ignore, deleteIgnored } = this.#options;
    const protect = (path: string, kind: Kind): boolean =>
      (keep?.has(path) ?? false) ||
      (!deleteIgnored && ignore(path, kind === "directory")) ||
      unreadable.some((hidden) => isWithin(path, hidden));
    const planner = this.#remote.moves ? planWithMoves : plan;
    const { unmovable } = this.#options;
    return planner(local, remote, { unmovable, ...this.#remote.comparison, delete: this.#options.delete, protect });
  }

  /** A crash at the source is no edit: what is empty since then does not replace content for a while. */
  #withoutSuspects(operations: readonly Operation[]): readonly Operation[] {
    const suspects = operations.filter(
      ({ do: what, entry }) => what === "put" && entry.kind === "file" && this.#options.isSuspect(entry),
    );
    const held = suspects.filter(({ entry: { path } }) => {
      const there = this.#remote.entries.get(path);
      return there?.kind === "file" && there.size > 0;
    });
    if (held.length === 0) return operations;
    const minutes = EMPTY_AFTER_CRASH_MS / 60_000;
    for (const { entry } of held) {
      const { path } = entry;
      const size = (this.#remote.entries.get(path) as FileEntry).size;
      const why = "it was changed just before this machine ended, is empty since then";
      const what = `and holds ${size} bytes at the destination`;
      const message = `${why}, ${what}; it is sent when ${minutes} minutes have passed, or at once when it is written or touched`;
      this.failures.push({ path, code: "ERR_EMPTIED", message });
    }
    this.#stepsTotal -= held.length;
    return operations.filter((operation) => !held.includes(operation));
  }

  /** Without large files that keep changing and were written again not long ago: their turn comes. */
  #atPace(operations: readonly Operation[]): readonly Operation[] {
    const nowMs = this.#options.nowMs();
    for (const { do: what, entry } of operations) {
      if (what !== "put" || entry.kind !== "file" || entry.size < LEAST_PACED_BYTES) continue;
      if (this.#remote.entries.get(entry.path)?.kind !== "file") continue;
      const waitMs = this.#options.pace.waitMs(entry.path, entry.size, nowMs);
      if (waitMs > 0) this.paced.set(entry.path, waitMs);
      else this.#rewritten.add(entry.path);
    }
    if (this.paced.size === 0) return operations;
    this.#stepsTotal -= this.paced.size;
    return operations.filter(({ do: what, entry }) => what !== "put" || !this.paced.has(entry.path));
  }

  /** Has files copied that changed time and again while they were read, or have been open for writing for long. */
  async #prepare(folder: string, operations: readonly Operation[]): Promise<readonly Operation[]> {
    const { changing, open, settleOpenMs } = this.#options;
    const nowMs = this.#options.nowMs();
    const mayWait = (operation: Operation): operation is Operation & { do: "put" } =>
      operation.do === "put" &&
      ((changing.get(operation.entry.path) ?? 0) >= CHANGES_BEFORE_COPY ||
        open.isOverdue(operation.entry.path, nowMs) ||
        (settleOpenMs > 0 && this.#empties(operation.entry)));
    if (!operations.some(mayWait)) return operations;
    const prepared: Operation[] = [];
    for (const operation of operations) {
      if (!mayWait(operation)) {
        prepared.push(operation);
        continue;
      }
      const { entry } = operation;
      const { path } = entry;
      const overdue = open.isOverdue(path, nowMs);
      const isOpen = settleOpenMs > 0 && !overdue ? isFileOpen(folder, path) : false;
      if (isOpen || (isOpen === undefined && this.#empties(entry))) {
        this.open.set(path, isOpen !== true);
        continue;
      }
      if (!overdue && (changing.get(path) ?? 0) < CHANGES_BEFORE_COPY) {
        prepared.push(operation);
        continue;
      }
      const copy = await copyFile(folder, path, this.#signal).catch(() => undefined);
      if (copy !== undefined) this.copied.add(path);
      prepared.push(copy === undefined ? { ...operation, evenOpen: true } : { do: "put", entry: copy.entry, copy });
    }
    this.#stepsTotal -= operations.length - prepared.length;
    return prepared;
  }

  /** Whether a file has just become empty that holds something at the destination: it may be about to be written. */
  #empties({ path, size, mtimeNs }: FileEntry): boolean {
    if (size > 0 || Math.abs(Date.now() - Number(mtimeNs / 1_000_000n)) >= EMPTIED_REST_MS) return false;
    const there = this.#remote.entries.get(path);
    return there?.kind === "file" && there.size > 0;
  }

  /** Tells of what is next to be sent: so many files ahead, and in any case up to `path`. */
  #tellQueued(path?: string): void {
    const enough = (): boolean => (path === undefined ? this.#queued.size >= QUEUED_AHEAD : this.#queued.has(path));
    while (!enough() && this.#told < this.#queue.length) {
      const operation = this.#queue[this.#told++] as Operation;
      this.#queued.add(operation.entry.path);
      this.#report({ type: "queued", path: operation.entry.path, size: sizeOf(operation) });
    }
  }

  /** What another spelling of the name was in the way of, which has gone meanwhile, is looked at again. */
  #takeFreed(operations: readonly Operation[]): void {
    const taken = this.failures.filter(({ code }) => code === "ERR_NAME_TAKEN");
    if (taken.length === 0) return;
    const gone = operations.filter(({ do: what, entry }) => what === "remove" && this.donePaths.has(entry.path));
    const freed = new Set(gone.map(({ entry }) => folded(entry.path)));
    for (const failure of taken) {
      if (!freed.has(folded(failure.path))) continue;
      this.failures.splice(this.failures.indexOf(failure), 1);
      this.changed.add(failure.path);
    }
  }

  #carryOut(folder: string, operations: readonly Operation[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const applying = this.#remote.apply(folder, operations, this.#options.settleOpenMs).subscribe({
        next: (outcome) => this.#take(outcome),
        error: reject,
        complete: resolve,
      });
      const stop = (): void => {
        applying.unsubscribe();
        reject(this.#signal.reason);
      };
      this.#signal.addEventListener("abort", stop);
      applying.add(() => this.#signal.removeEventListener("abort", stop));
    });
  }

  #take(outcome: Outcome): void {
    const { path } = outcome.operation.entry;
    if (outcome.operation.do === "put") this.#tellQueued(path);
    if (outcome.type === "sent") this.#advance(outcome.operation, outcome.bytes, 0);
    else if (outcome.type === "hole") this.#advance(outcome.operation, 0, outcome.bytes);
    else if (outcome.type === "reused") {
      this.bytesReused += outcome.bytes;
      this.#advance(outcome.operation, 0, outcome.bytes);
    } else if (outcome.type === "resumed") {
      this.#report({ type: "resumed", path, offset: outcome.offset, size: sizeOf(outcome.operation) });
      this.bytesReused += outcome.offset;
      this.#advance(outcome.operation, 0, outcome.offset);
    } else {
      if (this.#moveFailed(outcome)) this.changed.add(path);
      else if (this.#checkFailed(outcome)) this.changed.add(path);
      else if (outcome.type === "open") {
        this.open.set(path, false);
        this.#report({ type: "superseded", path });
      } else if (outcome.type === "changed") {
        this.changed.add(path);
        if (outcome.operation.do === "put") this.#report({ type: "superseded", path });
      } else if (outcome.type === "done") this.#takeDone(outcome.operation, outcome.sha256);
      else this.#takeFailure(outcome);
      this.#stepsTotal -= outcome.type === "done" ? 0 : 1;
      this.#transfers.delete(path);
      this.#queued.delete(path);
      this.#tellQueued();
    }
    this.#progress();
  }

  /** That a folder that could not be made has no attributes either is no news. */
  #takeFailure({ operation, error: { code, message } }: Outcome & { type: "failed" }): void {
    const { path } = operation.entry;
    if (operation.do === "touch" && this.#unmade.has(path)) return;
    if (operation.do === "mkdir") this.#unmade.add(path);
    this.failures.push({ path, code, message });
  }

  #advance(operation: Operation, sent: number, saved: number): void {
    const { path } = operation.entry;
    const size = sizeOf(operation);
    this.bytesSent += sent;
    this.#bytesTotal -= saved;
    const transfer = this.#transfers.get(path) ?? { sent: 0, saved: 0, toldAt: Number.NEGATIVE_INFINITY };
    this.#transfers.set(path, transfer);
    transfer.sent += sent;
    transfer.saved += saved;
    const now = performance.now();
    if (size <= MAX_INLINE_BYTES || now - transfer.toldAt < PROGRESS_EVERY_MS) return;
    transfer.toldAt = now;
    this.#report({ type: "sending", path, bytes: transfer.sent + transfer.saved, size });
  }

  /** Whether a move was refused: then it is not tried again, and what it was to bring is looked at anew. */
  #moveFailed({ type, operation }: Outcome): boolean {
    if (type === "done") return false;
    if (operation.do === "hold") return true;
    if (operation.do !== "move" && operation.do !== "rename") return false;
    this.#options.unmovable.add(operation.from);
    this.changed.add(operation.from);
    return true;
  }

  /** Whether a file compared by hash was another one there: then it is sent. */
  #checkFailed({ type, operation }: Outcome): boolean {
    if (operation.do !== "check" || type === "done") return false;
    this.#remote.entries.set(operation.entry.path, { ...operation.entry, version: DIFFERS });
    return true;
  }

  #takeDone(operation: Operation, sha256: Uint8Array | undefined): void {
    const { path, kind } = operation.entry;
    this.done++;
    this.donePaths.add(path);
    if (operation.do === "hold") return;
    if (operation.entry.kind === "file" && operation.do !== "remove")
      this.#options.index?.record(operation.entry, sha256);
    if (operation.do === "check" && !operation.attributes) return;
    if (operation.do === "rename") this.#recordBelow(path);
    if (operation.do === "touch" && kind === "directory") return;
    if (operation.do === "move" || operation.do === "rename") {
      this.moved++;
      this.bytesMoved += operation.do === "move" ? operation.entry.size : this.#bytesBelow(path);
      this.#report({ type: "moved", path, from: operation.from, kind });
      return;
    }
    if (operation.do === "remove") {
      this.deleted++;
      this.#report({ type: "deleted", path, kind });
      return;
    }
    if (kind === "file") this.files++;
    if (operation.do === "put" && this.#rewritten.has(path))
      this.#options.pace.wrote(path, operation.entry.size, this.#options.nowMs());
    this.#report({ type: "pushed", path, kind, bytes: this.#transfers.get(path)?.sent ?? 0 });
  }

  #bytesBelow(folder: string): number {
    let bytes = 0;
    for (const entry of this.#remote.entries.values()) {
      if (entry.kind === "file" && isWithin(entry.path, folder)) bytes += entry.size;
    }
    return bytes;
  }

  /** What a folder holds that got another name. */
  #recordBelow(folder: string): void {
    if (this.#options.index === undefined) return;
    for (const entry of this.#remote.entries.values()) {
      if (entry.kind === "file" && isWithin(entry.path, folder)) this.#options.index.record(entry);
    }
  }

  #progress(): void {
    const now = performance.now();
    if (now - this.#lastProgress < PROGRESS_EVERY_MS && this.done < this.#stepsTotal) return;
    this.#lastProgress = now;
    const bytesTotal = Math.max(this.#bytesTotal, this.bytesSent);
    const bytes = { bytes: this.bytesSent, bytesTotal, bytesSaved: this.bytesReused + this.bytesMoved };
    this.#report({ type: "progress", steps: this.done, stepsTotal: this.#stepsTotal, ...bytes });
  }
}
