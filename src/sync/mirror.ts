/** A folder kept mirrored: scan, compare, push what differs, then follow. */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, lstatSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import {
  connect,
  debounceTime,
  defer,
  distinct,
  distinctUntilChanged,
  EMPTY,
  filter,
  finalize,
  from,
  ignoreElements,
  interval,
  type MonoTypeOperatorFunction,
  map,
  merge,
  mergeMap,
  NEVER,
  type Observable,
  type ObservableInput,
  of,
  repeat,
  type SchedulerLike,
  Subject,
  scan,
  share,
  shareReplay,
  startWith,
  switchMap,
  take,
  takeUntil,
  tap,
  timer,
} from "rxjs";
import { fromCallback, guardIgnore } from "./callback.js";
import { DeleteGuard, type MaxDelete } from "./delete-guard.js";
import { type Clocks, disruptions } from "./disruption.js";
import { SyncError } from "./errors.js";
import type { MirrorEvent } from "./events.js";
import { expectedEntries } from "./expected.js";
import { CONFUNDOIGNORE, GITIGNORE, type Ignore, IgnoreRules } from "./ignore.js";
import { IndexFile } from "./index-file.js";
import {
  DIVERGED_AT_ONCE,
  DIVERGED_EVERY_MS,
  HEARTBEAT_MS,
  MAX_ID_BYTES,
  ONCE_TIMEOUT_MS,
  RECHECK_HINTS,
  RECHECK_MS,
  RULES_REST_MS,
  SCRUB_SOURCE_MS,
  WALK_EVERY_LEAST_MS,
  WALK_EVERY_MS,
  WALK_EVERY_MS_AN_ENTRY,
  WALK_EVERY_UNWATCHED_MS,
} from "./limits.js";
import { LinkedFiles } from "./linked-files.js";
import { LossMemory } from "./loss-memory.js";
import { MountPoints } from "./mount-points.js";
import { nameToBytes, systemPath } from "./names.js";
import { type PushOptions, pushTo, Reported } from "./push.js";
import { absolutePath, realPath } from "./real-path.js";
import type { Approval } from "./remote.js";
import { RunFile } from "./run-file.js";
import { type Snapshot, unreadable } from "./scan.js";
import { type Backoff, type Identity, reconnecting, requireDuplex, session } from "./session.js";
import { type Source, sourceOf } from "./source.js";
import { type BandwidthLimit, bandwidthLimit } from "./throttle.js";
import { everything, type Hint, watchFolder } from "./watch.js";

export interface MirrorOptions {
  /** Opens a connection to the server. Called anew after every loss; must stop when the signal is aborted. */
  readonly connect: (signal: AbortSignal) => Duplex | Promise<Duplex>;
  /** Which mirror at the server. One path segment. */
  readonly name: string;
  /** Complete as soon as the destination equals the folder, instead of following. Default false. */
  readonly once?: boolean | undefined;
  /** Compare, report what would be done (`planned` with `steps`), and complete. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Delete at the destination what is not in the folder. Default true. */
  readonly delete?: boolean | undefined;
  /**
   * Never ask before files are deleted at the destination: neither more than half of its files and more than 100 within the
   * window, nor everything because the folder is empty, nor files of which nothing says that the folder ever held them.
   * Default false.
   */
  readonly allowMassDelete?: boolean | undefined;
  /** Ask before more files than this are deleted within the window: a number, or a share such as `"20%"`. */
  readonly maxDelete?: MaxDelete | undefined;
  /** How long a loss counts. Milliseconds, default 10 minutes. */
  readonly deleteWindowMs?: number | undefined;
  /** Make the mirror this folder's where it is another one's (`ERR_MIRROR_OWNER`), whatever is deleted. Default false. */
  readonly replace?: boolean | undefined;
  /**
   * Whether deletes that need an approval are held back until there is one (`held` events) while everything else goes on.
   * Otherwise they end the mirror (`ERR_MASS_DELETE`), and nothing is done. Default: not with `once`.
   */
  readonly asks?: boolean | undefined;
  /** What people say of deletes that are held back, besides what they say at the server. */
  readonly approvals?: Observable<Approval> | undefined;
  /**
   * What to leave alone on both sides: patterns, which decide before those of `.confundoignore` files (at any level),
   * or a predicate, which alone decides.
   */
  readonly ignore?: readonly string[] | Ignore | undefined;
  /** Heed `.gitignore` files too. Default false. */
  readonly gitignore?: boolean | undefined;
  /** Delete at the destination what is ignored, instead of leaving it alone. Default false. */
  readonly deleteIgnored?: boolean | undefined;
  /** What changed is sent when it has rested for this long, see {@link PushOptions}. Milliseconds, default 10. */
  readonly settleMs?: number | undefined;
  /** How long a file that another program has open for writing waits, see {@link PushOptions}. Milliseconds, default 5000. */
  readonly settleOpenMs?: number | undefined;
  /** See `PushOptions.rewriteRate`. */
  readonly rewriteRate?: number | undefined;
  /** What changed is looked at once more after the changes rest for this long. Milliseconds, default 1000. */
  readonly recheckMs?: number | undefined;
  /** The whole folder is walked this often in any case. Milliseconds, default 5000 to 60,000 by the number of its entries. */
  readonly walkEveryMs?: number | undefined;
  /** Failing paths are tried again after this long, then twice as long, … Milliseconds, default 5000. */
  readonly retryMs?: number | undefined;
  /** How lost connections are retried. */
  readonly backoff?: Backoff | undefined;
  /** Who is mirroring; default made from the host name and the real path of the folder. */
  readonly clientId?: string | undefined;
  /**
   * A file to remember in what the destination has confirmed (see {@link defaultIndexPath}), so that a later run need not
   * compare by hash what has not changed. One for each folder and destination. Default: none.
   */
  readonly index?: string | undefined;
  /** Shown to people who find the mirror busy; default HOST:FOLDER. */
  readonly label?: string | undefined;
  /** Read all files here at the start, and compare them with the destination by hash. Default false. */
  readonly checksum?: boolean | undefined;
  /** The same, and have the destination read all of its content too; what is not as it should be is repaired. Default false. */
  readonly verify?: boolean | undefined;
  /** While following, read each file here again within this time, see {@link PushOptions}. Milliseconds, default 30 days; 0: never. */
  readonly scrubMs?: number | undefined;
  /** Keep all permission bits at the destination, not only the executable one. Default false. */
  readonly perms?: boolean | undefined;
  /**
   * Send no more bytes a second than this, a number or a {@link bandwidthLimit} that several mirrors share. Default: as many as
   * there is room for.
   */
  readonly bandwidth?: number | BandwidthLimit | undefined;
  readonly pingMs?: number | undefined;
  readonly silenceMs?: number | undefined;
  /** Instead of {@link watchFolder}. */
  readonly watch?: ((folder: string, options: { ignore: Ignore }) => Observable<Hint>) | undefined;
  /** More places to look at, besides those that the watcher names. */
  readonly hints?: Observable<Hint> | undefined;
  /**
   * Stop following once this emits: the folder is walked once more, what is pending is confirmed at the destination, deletes that are
   * held back stay so, the server has been taken leave of, and then the mirror completes. Default: never.
   */
  readonly until?: ObservableInput<unknown> | undefined;
  /** For everything that waits: reconnecting, resting, rechecking, walking. Default: the system's timers. */
  readonly scheduler?: SchedulerLike | undefined;
  /** To notice by that this program stood still, or the machine slept. Default: the system's. */
  readonly clocks?: Clocks | undefined;
}

/**
 * Mirrors `folder` and, unless `once`, follows its changes until unsubscribed.
 *
 * Emits what happens. Completes (with `once` or `dryRun`) when done and the server has been taken leave of. Errors with
 * a {@link SyncError}: `ERR_FOLDER` (the folder cannot be read), `ERR_MASS_DELETE` (deletes need an approval, and nobody is
 * asked), `ERR_INCOMPLETE` (`once`: some paths failed; they are in its `failures`), `ERR_MIRROR_OWNER` (the mirror is another
 * folder's), `ERR_MIRROR_BUSY`, `ERR_MIRROR_NAME`, `ERR_REPLACED` and others the server answers, or the connection's error
 * when `backoff.attempts` or `backoff.timeoutMs` are used up. Lost connections are retried otherwise.
 */
export function mirror(folder: string, options: MirrorOptions): Observable<MirrorEvent> {
  return defer(() => {
    const { identity, onConnected } = identify(stablePath(folder), options);
    const stopping = fromCallback("until", () => options.until ?? NEVER).pipe(
      take(1),
      shareReplay({ bufferSize: 1, refCount: true }),
    );
    const mirrorAt = (source: string, retargeted = false) =>
      mirrorReal(source, { ...identity, retargeted, stopping }, onConnected, options);
    if (!follows(options)) return mirrorAt(realFolder(folder));
    return retargets(folder, stopping, options.scheduler).pipe(
      connect((targets) =>
        merge(
          targets.pipe(
            map(({ lost }) => lost),
            filter((event) => event !== undefined),
          ),
          targets.pipe(
            map(({ source }) => source),
            distinctUntilChanged(),
            switchMap((source, times) =>
              times === 0 ? mirrorAt(source) : mirrorAt(source, true).pipe(startWith(moved(folder, source))),
            ),
          ),
        ),
      ),
    );
  });
}

interface Target {
  /** The real path of the folder. */
  readonly source: string;
  /** The link that led there leads nowhere now. */
  readonly lost?: MirrorEvent;
}

/** Where the folder is, and where it is whenever that changes: a link that leads to it may lead elsewhere, or nowhere. */
function retargets(folder: string, stopping: Observable<unknown>, scheduler?: SchedulerLike): Observable<Target> {
  return merge(of(0), interval(HEARTBEAT_MS, scheduler).pipe(takeUntil(stopping))).pipe(
    scan((before: Target | undefined): Target => {
      if (before === undefined) return { source: realFolder(folder) };
      const { source } = before;
      try {
        const found = realPath(folder);
        return found === source && before.lost === undefined ? before : { source: found };
      } catch {
        // A folder that is missing itself is reported by scans.
        return before.lost !== undefined || !existsSync(systemPath(source))
          ? before
          : { source, lost: leadsNowhere(folder, source) };
      }
    }, undefined),
    filter((target) => target !== undefined),
    distinctUntilChanged(),
  );
}

function leadsNowhere(folder: string, source: string): MirrorEvent {
  const message = `${folder} leads nowhere now; ${source}, where it led, is mirrored until it leads elsewhere`;
  return { type: "notice", code: "ERR_FOLDER_MOVED", message };
}

function moved(folder: string, source: string): MirrorEvent {
  const message = `${folder} leads to ${source} now, which is mirrored from here on`;
  return { type: "notice", code: "ERR_FOLDER_MOVED", message };
}

/** Mirrors the folder at a path without links. */
function mirrorReal(
  source: string,
  { retargeted, stopping, ...identity }: Identity & { retargeted: boolean; stopping: Observable<unknown> },
  onConnected: () => void,
  options: MirrorOptions,
): Observable<MirrorEvent> {
  return defer(() => {
    const ignore = ignoring(source, options);
    const changes = follows(options) ? watching(source, ignore, options) : { live: EMPTY, lasting: EMPTY };
    const { allowMassDelete, maxDelete, deleteWindowMs: windowMs } = options;
    const mounts = new MountPoints(source, options.index === undefined ? undefined : `${options.index}.mounts`);
    const index = indexOf(identity.clientId, options);
    const memory = lossesBeside(index.index);
    const guard = new DeleteGuard({ allowMassDelete, maxDelete, windowMs, memory });
    const { walked, connecting, checksum, checkedAll, ...comparing } = compared(source, ignore, index.index, options);
    const linked = new LinkedFiles(source);
    const pace = new WalkingPace();
    const reported = new Reported();
    const kept = { guard, mounts, reported, ...index, ...(follows(options) ? { linked } : { walked }) };
    const of = whose(source, identity, { retargeted, options, index: index.index });
    const mirrored = session(
      { ...identity, ...comparing, ...(of.source === undefined ? {} : { source: of.source.id }) },
      throttled(options, connecting),
      (remote) =>
        hints(source, changes, linked, pace, { ...options, until: stopping }).pipe(
          pushTo(remote, { ...pushOptions(options, ignore), ...kept, ...of, checksum: checksum() }),
        ),
    );
    return mirrored.pipe(
      tap((event) => {
        if (event.type === "connected") onConnected();
        else if (event.type === "scanned") pace.take(event);
        else if (event.type === "synced") checkedAll();
      }),
      finalize(() => {
        index.index?.close();
        linked.close();
      }),
      reconnecting({ name: options.name, scheduler: options.scheduler, ...backoff(options) }),
      whileSubscribedTo(changes.lasting),
    );
  });
}

function follows(options: MirrorOptions): boolean {
  return !(options.once ?? false) && !(options.dryRun ?? false);
}

/** One watcher, however often we reconnect. */
interface Watching {
  readonly live: Observable<Hint>;
  /** That the watches are in place, and what is wrong with them: for those too who come later. */
  readonly lasting: Observable<Hint>;
}

function ignoring(folder: string, { ignore = [], gitignore = false }: MirrorOptions): Ignore | IgnoreRules {
  if (typeof ignore === "function") return guardIgnore(ignore);
  const files = gitignore ? [GITIGNORE, CONFUNDOIGNORE] : [CONFUNDOIGNORE];
  return new IgnoreRules(folder, { patterns: ignore, files });
}

function watching(folder: string, ignore: Ignore | IgnoreRules, options: MirrorOptions): Watching {
  const live = watchingAnew(folder, ignore, options).pipe(share());
  const lasting = live.pipe(
    filter(({ ready, code }) => ready === true || code !== undefined),
    distinct(({ code }) => code),
    shareReplay({ refCount: true }),
  );
  return { live: live.pipe(filter(({ ready }) => ready !== true)), lasting };
}

/** A watcher does not come back to what it has left out: when the rules change, there is a new one. */
function watchingAnew(folder: string, ignore: Ignore | IgnoreRules, options: MirrorOptions): Observable<Hint> {
  const { scheduler } = options;
  const watch = (ignores: Ignore): Observable<Hint> =>
    options.watch === undefined
      ? watchFolder(folder, { ignore: ignores })
      : fromCallback("watch", () => options.watch?.(folder, { ignore: ignores }) as Observable<Hint>);
  if (typeof ignore === "function") return watch(ignore);
  const changed = new Subject<void>();
  ignore.onChange = () => changed.next();
  const again = (hint: Hint): Hint => (hint.ready ? everything(folder, "the ignore rules have changed") : hint);
  return changed.pipe(
    debounceTime(RULES_REST_MS, scheduler),
    startWith(undefined),
    switchMap((_, generation) => {
      const hints = watch(ignore.ignores);
      return generation === 0 ? hints : hints.pipe(map(again));
    }),
  );
}

/**
 * Where to look and when: everywhere at the start; where something changed; there once more when the changes rest,
 * because a watcher loses events, most of all in bursts; and everywhere now and then.
 */
function hints(
  folder: string,
  { live, lasting }: Watching,
  linked: LinkedFiles,
  pace: WalkingPace,
  options: MirrorOptions,
): Observable<Hint> {
  const start = of(everything(folder, "comparing with the destination"));
  if (!follows(options)) return start;
  const { recheckMs = RECHECK_MS, scheduler } = options;
  const walkEvery = (delayMs: () => number): Observable<Hint> =>
    defer(() => timer(delayMs(), scheduler)).pipe(
      repeat(),
      map(() => everything(folder, "a walk now and then")),
    );
  const again = defer(() => {
    const seen: string[] = [];
    return live.pipe(
      tap(({ path }) => seen.length <= RECHECK_HINTS && seen.push(path)),
      debounceTime(recheckMs, scheduler),
      mergeMap(() => lookAgain(folder, seen.splice(0))),
    );
  });
  const unwatched = lasting.pipe(
    filter(({ code }) => code !== undefined && BLIND.has(code)),
    take(1),
    switchMap(() => walkEvery(() => WALK_EVERY_UNWATCHED_MS)),
  );
  const disrupted = disruptions(options.clocks, scheduler).pipe(map((reason) => everything(folder, reason)));
  const later = merge(
    live,
    lasting,
    linked.hints,
    again,
    walkEvery(() => options.walkEveryMs ?? pace.everyMs),
    unwatched,
    disrupted,
    fromCallback("hints", () => options.hints ?? EMPTY),
  );
  const until = from(options.until ?? NEVER);
  const end = until.pipe(
    take(1),
    map(() => everything(folder, "once more, before the end")),
  );
  return merge(start, later.pipe(takeUntil(until)), end);
}

/** How often the whole folder is walked: what is walked quickly, often. */
class WalkingPace {
  everyMs: number = WALK_EVERY_LEAST_MS;

  take({ files, directories, links }: { files: number; directories: number; links: number }): void {
    const ms = (files + directories + links) * WALK_EVERY_MS_AN_ENTRY;
    this.everyMs = Math.min(Math.max(ms, WALK_EVERY_LEAST_MS), WALK_EVERY_MS);
  }
}

/** Codes of hints after which changes may come without an event. */
const BLIND: ReadonlySet<string> = new Set(["ENOSPC", "EMFILE", "ENOMEM", "ERR_NO_EVENTS"]);

function lookAgain(folder: string, seen: readonly string[]): Hint[] {
  if (seen.length > RECHECK_HINTS) return [everything(folder, "once more after many changes")];
  return [...new Set(seen)].map((path) => ({ folder, path, reason: path === "" ? "once more, to be sure" : "again" }));
}

/** Keeps `other` subscribed until the source completes, and errors when `other` does. */
function whileSubscribedTo<T>(other: Observable<unknown>): MonoTypeOperatorFunction<T> {
  return (source) =>
    defer(() => {
      const completed = new Subject<void>();
      return merge(
        other.pipe(ignoreElements(), takeUntil(completed)),
        source.pipe(tap({ complete: () => completed.next() })),
      );
    });
}

function backoff(options: MirrorOptions): Backoff {
  const timeoutMs = options.backoff?.timeoutMs ?? (follows(options) ? undefined : ONCE_TIMEOUT_MS);
  return { ...options.backoff, timeoutMs };
}

function pushOptions(options: MirrorOptions, ignore: Ignore | IgnoreRules): PushOptions {
  const { settleMs, settleOpenMs, rewriteRate, retryMs, approvals, scheduler } = options;
  const { dryRun = false, deleteIgnored = false } = options;
  return {
    ignore,
    dryRun,
    deleteIgnored,
    delete: options.delete ?? true,
    scrubMs: follows(options) ? (options.scrubMs ?? SCRUB_SOURCE_MS) : 0,
    asks: options.asks ?? follows(options),
    leavesHeld: follows(options),
    approvals,
    settleMs,
    settleOpenMs,
    rewriteRate,
    retryMs,
    scheduler,
  };
}

/** For the mirror to remember, by the folder itself: its path may become another one, or another folder's. */
function whose(
  folder: string,
  { name, label }: Identity,
  { retargeted, options, index }: { retargeted: boolean; options: MirrorOptions; index: IndexFile | undefined },
): { source?: Source } {
  const id = sourceOf(folder);
  if (id === undefined) return {};
  const { replace = false } = options;
  return { source: { id, name, label: label ?? folder, replace, known: index?.hadRecords ?? false, retargeted } };
}

function indexOf(clientId: string, { name, index }: MirrorOptions): { index?: IndexFile } {
  if (index === undefined) return {};
  const warn = (error: Error): void => {
    process.emitWarning(`The index ${index} cannot be written, so the next run compares anew: ${error.message}`);
  };
  return { index: new IndexFile(index, `${clientId}\0${name}`, warn) };
}

function lossesBeside(index: IndexFile | undefined): LossMemory | undefined {
  return index === undefined ? undefined : new LossMemory(`${index.path}.losses`, index.hadRecords);
}

interface Connecting {
  /** To be called before each attempt to connect. */
  readonly connecting: () => void;
  /** Whether all files are to be read, until that is said to be done. */
  readonly checksum: () => boolean;
  readonly checkedAll: () => void;
}

/** How a session finds out what the mirror holds: by one hash where that is enough, and thoroughly where asked to. */
function compared(
  folder: string,
  ignore: Ignore | IgnoreRules,
  index: IndexFile | undefined,
  { verify = false, checksum = verify }: MirrorOptions,
): Pick<Identity, "expected" | "verify" | "mayDiverge"> & Required<Pick<PushOptions, "walked">> & Connecting {
  let verified = !verify;
  let checked = !(checksum || verify);
  /** How often it may happen at once; grows back with time. */
  let left = DIVERGED_AT_ONCE;
  let countedMs = performance.now();
  const ignores = ignore instanceof IgnoreRules ? ignore.ignores : ignore;
  // By what the index knows, both ends may seem equal.
  const look = async () => (index === undefined || !checked ? undefined : expectedEntries(folder, ignores, index));
  // While the first connection is made; later ones may be made long after.
  let early: ReturnType<typeof look> | undefined;
  let walked: Snapshot | undefined;
  let attempts = 0;
  return {
    connecting: () => {
      early = attempts++ === 0 ? look() : undefined;
      early?.catch(() => {});
    },
    expected: async () => {
      const found = await (early ?? look());
      walked = early === undefined ? undefined : found;
      early = undefined;
      return found?.entries;
    },
    walked: () => {
      const taken = walked;
      walked = undefined;
      return taken;
    },
    checksum: () => !checked,
    checkedAll: () => {
      checked = true;
    },
    verify: () => {
      const first = !verified;
      verified = true;
      return first;
    },
    mayDiverge: () => {
      const now = performance.now();
      left = Math.min(DIVERGED_AT_ONCE, left + (now - countedMs) / DIVERGED_EVERY_MS);
      countedMs = now;
      if (left < 1) return false;
      left--;
      return true;
    },
  };
}

function throttled(options: MirrorOptions, connecting: () => void): MirrorOptions {
  const { bandwidth } = options;
  const connect: MirrorOptions["connect"] = (signal) => {
    connecting();
    return options.connect(signal);
  };
  if (bandwidth === undefined) return { ...options, connect };
  const limit = typeof bandwidth === "number" ? bandwidthLimit(bandwidth) : bandwidth;
  return { ...options, connect: async (signal) => limit.throttle(requireDuplex(await connect(signal))) };
}

/** The path of a folder without links. Throws a {@link SyncError} `ERR_FOLDER`. */
export function realFolder(folder: string): string {
  try {
    return realPath(folder);
  } catch (error) {
    throw unreadable(folder, error);
  }
}

/** The path that a folder is known by: a link to it stays the same when it leads elsewhere. */
function stablePath(folder: string): string {
  try {
    const path = absolutePath(folder);
    if (!lstatSync(systemPath(path)).isSymbolicLink()) return realFolder(folder);
    return join(realPath(dirname(path)), basename(path));
  } catch {
    return realFolder(folder);
  }
}

function identify(folder: string, options: MirrorOptions) {
  const place = `${hostname()}:${folder}`;
  const clientId = options.clientId ?? createHash("sha256").update(nameToBytes(place)).digest("hex");
  const label = options.label ?? (Buffer.byteLength(place) > MAX_ID_BYTES ? hostname() : place);
  const identity = {
    name: options.name,
    clientId,
    instanceId: randomUUID(),
    label,
    perms: options.perms ?? false,
  };
  const run = options.index === undefined ? undefined : new RunFile(`${options.index}.run`);
  const ended = run?.ended();
  return {
    identity: ended === undefined ? identity : { ...identity, replaces: ended },
    onConnected: () => run?.claim(identity.instanceId),
  };
}
