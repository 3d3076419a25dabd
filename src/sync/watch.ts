/**
 * Watches a folder. What it emits are hints: something may have changed at a path, or anywhere. The folder itself is
 * the truth; whoever gets a hint looks there.
 */
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { relative, resolve, sep } from "node:path";
import { type FSWatcher, watch } from "chokidar";
import { concat, defer, filter, interval, Observable, of, type Subscriber, switchMap, take } from "rxjs";
import { guardIgnore } from "./callback.js";
import { systemCode } from "./errors.js";
import { FolderWatch, type Watched } from "./folder-watch.js";
import { type Ignore, ignoreNothing } from "./ignore.js";
import { HEARTBEAT_MS, WALK_EVERY_MS, WALK_EVERY_UNWATCHED_MS } from "./limits.js";
import { systemPath } from "./names.js";
import { canSpell, TreeWatch } from "./tree-watch.js";

export interface Hint {
  /** The watched folder. */
  readonly folder: string;
  /** Relative to the folder, `/` between the parts. `""`: anything in the folder may have changed. */
  readonly path: string;
  /** What the system calls the event, or why to look, in words. */
  readonly reason: string;
  /** The watches are in place: changes are noticed from here on. */
  readonly ready?: boolean;
  /** Somebody asks to be told (`confirmed`) when the path as it is now stands at the destination. */
  readonly ask?: number;
  /** With an error of the watcher: the system's code, or one of docs/errors.md. */
  readonly code?: string;
}

export interface WatchOptions {
  readonly ignore?: Ignore | undefined;
  /** Ask the file system every so many milliseconds instead of waiting for its events. */
  readonly pollMs?: number | undefined;
  /**
   * Default `chokidar`, on every platform. `folders`: each folder is watched by inotify directly (Linux), which takes less
   * memory at the start; see docs/sync-protocol.md for both compared.
   */
  readonly backend?: "folders" | "chokidar" | undefined;
  /**
   * A watcher of chokidar that the program has, whose paths lie in the folder or above it: its events are the hints, and it is the
   * program that closes it. It sees what its own options let it see; what is missed, a walk finds.
   */
  readonly watcher?: FSWatcher | undefined;
}

/** A hint that anything in the folder may have changed. */
export function everything(folder: string, reason: string): Hint {
  return { folder, path: "", reason };
}

/**
 * Hints about changes below `folder`, from the moment of subscription until the unsubscription. Says that everything
 * may have changed when the watches are in place, after a burst in which the system may have dropped events, and with a
 * `code` where something cannot be watched. A folder that is missing is said to be so (`ERR_FOLDER`), and watched from when it is
 * there. Never completes; errors only where `ignore` throws.
 *
 * ```
 * subscribe   ─(ready)──(a/f)──(a/g)(a/f)──────(everything: a burst)──(b)─→
 * ```
 */
export function watchFolder(folder: string, options: WatchOptions = {}): Observable<Hint> {
  return defer(() => {
    if (existsSync(systemPath(folder))) return watchExisting(folder, options);
    const missing: Hint = { ...everything(folder, `${folder} is missing`), code: "ERR_FOLDER" };
    const appeared = interval(HEARTBEAT_MS).pipe(
      filter(() => existsSync(systemPath(folder))),
      take(1),
    );
    return concat(of(missing), appeared.pipe(switchMap(() => watchExisting(folder, options))));
  });
}

function watchExisting(folder: string, options: WatchOptions): Observable<Hint> {
  const { backend = "chokidar", pollMs, watcher } = options;
  if (watcher !== undefined) return fromWatcher(folder, watcher, options.ignore);
  if (pollMs !== undefined) return pollFiles(folder, pollMs, options.ignore);
  return new Observable((subscriber) => {
    const ignore = reporting(options.ignore, subscriber);
    const remote = remoteFileSystem(folder);
    if (remote !== undefined)
      subscriber.next({ ...everything(folder, changesElsewhere(remote)), code: "ERR_NO_EVENTS" });
    const watchOptions = {
      ignore,
      queueEvents: readSetting("max_queued_events") ?? 16_384,
      refreshMs: WALK_EVERY_MS,
      onHint: (path: string, reason: string) => subscriber.next({ folder, path, reason }),
      onWatching: ({ reason, ...watched }: Watched) => {
        if (watched.code !== undefined) subscriber.next(unwatched(folder, { reason, ...watched }));
        const ready = reason === undefined ? { ready: true } : {};
        subscriber.next({ ...everything(folder, reason ?? "watching begins"), ...ready });
      },
      onMounts: (paths: readonly string[]) =>
        subscriber.next({ ...everything(folder, changesThroughMounts(paths)), code: "ERR_NO_EVENTS" }),
    };
    const Watch = backend === "chokidar" && canSpell(folder) ? TreeWatch : FolderWatch;
    const watching = new Watch(folder, watchOptions);
    return () => watching.close();
  });
}

/** Has chokidar look at each file at an interval. */
function pollFiles(folder: string, pollMs: number, ignored?: Ignore): Observable<Hint> {
  return new Observable((subscriber) => {
    const ignore = reporting(ignored, subscriber);
    const watcher = watch(folder, {
      atomic: false,
      followSymlinks: false,
      ignoreInitial: true,
      ignorePermissionErrors: true,
      ignored: (path, stats) => {
        const inside = insideOf(folder, path);
        return inside !== undefined && inside !== "" && ignore(inside, stats?.isDirectory() ?? false);
      },
      backend: "polling",
      pollingInterval: pollMs,
    });
    const stop = listen(folder, watcher, subscriber);
    return () => {
      stop();
      void watcher.close().catch(() => {});
    };
  });
}

/** Hints from what somebody watches already. */
function fromWatcher(folder: string, watcher: FSWatcher, ignored?: Ignore): Observable<Hint> {
  return new Observable((subscriber) => {
    const ignore = reporting(ignored, subscriber);
    const stop = listen(folder, watcher, subscriber, (path) => ignore(path, false));
    const isWatching = Object.keys(watcher.getWatched()).length > 0;
    if (isWatching) subscriber.next(begins(folder));
    return stop;
  });
}

function listen(
  folder: string,
  watcher: FSWatcher,
  subscriber: Subscriber<Hint>,
  ignores: (path: string) => boolean = () => false,
): () => void {
  const root = resolve(folder);
  const onAll = (event: string, path: string): void => {
    const inside = insideOf(root, resolve(watcher.options.cwd ?? "", path));
    if (inside === "") subscriber.next(everything(folder, "the folder itself has changed"));
    else if (inside !== undefined && !ignores(inside)) subscriber.next({ folder, path: inside, reason: event });
  };
  const onReady = (): void => subscriber.next(begins(folder));
  const onError = (error: unknown): void => subscriber.next(watcherFailed(folder, error));
  watcher.on("all", onAll).on("ready", onReady).on("error", onError);
  return () => void watcher.off("all", onAll).off("ready", onReady).off("error", onError);
}

function begins(folder: string): Hint {
  return { ...everything(folder, "watching begins"), ready: true };
}

/** A predicate that watchers can call in their callbacks: where it throws, the subscriber gets the error. */
function reporting(ignore: Ignore = ignoreNothing, subscriber: Subscriber<Hint>): Ignore {
  const guarded = guardIgnore(ignore, (error) => subscriber.error(error));
  return (path, directory) => {
    try {
      return guarded(path, directory);
    } catch {
      return true;
    }
  };
}

function watcherFailed(folder: string, error: unknown): Hint {
  const code = systemCode(error) ?? "ERR_WATCH";
  if (helpFor(code) !== undefined) return unwatched(folder, { reason: undefined, folders: 0, unwatched: 0, code });
  const message = error instanceof Error ? error.message : String(error);
  return { ...everything(folder, `watching failed: ${message}`), code };
}

/** What cannot be watched is walked. */
function unwatched(folder: string, { unwatched, folders, code = "ERR_WATCH" }: Watched): Hint {
  const which = unwatched === 0 ? "some folders" : `${unwatched} of ${folders + unwatched} folders`;
  const seconds = WALK_EVERY_UNWATCHED_MS / 1000;
  const help = helpFor(code);
  if (help === undefined) return { ...everything(folder, `${which} cannot be watched (${code})`), code };
  const message = `the system has no watches left for ${which}: the whole folder is walked every ${seconds} s instead`;
  return { ...everything(folder, `${message}; ${help} allows more`), code };
}

function helpFor(code: string): string | undefined {
  if (process.platform !== "linux") return undefined;
  if (code === "ENOSPC")
    return `sysctl fs.inotify.max_user_watches=${4 * (readSetting("max_user_watches") ?? 262_144)}`;
  if (code === "EMFILE")
    return `sysctl fs.inotify.max_user_instances=${4 * (readSetting("max_user_instances") ?? 256)}`;
  return undefined;
}

/** What inotify allows here; `undefined` where nobody says. */
export function readSetting(name: "max_user_watches" | "max_user_instances" | "max_queued_events"): number | undefined {
  try {
    const value = Number(readFileSync(`/proc/sys/fs/inotify/${name}`, "utf8"));
    return Number.isFinite(value) && value > 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** File systems whose files others may change without an event here (statfs(2), `f_type`). */
const REMOTE = new Map([
  [0x6969, "NFS"],
  [0xff53_4d42, "CIFS"],
  [0xfe53_4d42, "SMB"],
  [0x517b, "SMB"],
  [0x0102_1997, "9P"],
  [0x00c3_6400, "Ceph"],
  [0x5346_414f, "AFS"],
  [0x786f_4256, "VirtualBox"],
  [0x6573_5546, "FUSE"],
]);

/** The kind of file system the folder is on, where that is one that tells nothing of what others change. */
export function remoteFileSystem(folder: string): string | undefined {
  try {
    return process.platform === "linux" ? REMOTE.get(statfsSync(systemPath(folder)).type >>> 0) : undefined;
  } catch {
    return undefined;
  }
}

function changesElsewhere(kind: string): string {
  const seconds = WALK_EVERY_UNWATCHED_MS / 1000;
  return `the folder is on a ${kind} file system, which does not tell what others change: it is walked every ${seconds} s`;
}

function changesThroughMounts(paths: readonly string[]): string {
  const seconds = WALK_EVERY_UNWATCHED_MS / 1000;
  const which = paths.length === 1 ? paths[0] : `${paths[0]} and ${paths.length - 1} more paths in the folder`;
  return `something is mounted at ${which}; changes made through other paths may raise no events: the folder is scanned every ${seconds} s`;
}

/** `path` relative to the folder, `""` for the folder itself, `undefined` outside of it. */
function insideOf(folder: string, path: string): string | undefined {
  const inside =
    path.startsWith(folder) && path[folder.length] === sep ? path.slice(folder.length + 1) : relative(folder, path);
  if (inside === ".." || inside.startsWith(`..${sep}`)) return undefined;
  return sep === "/" ? inside : inside.split(sep).join("/");
}
