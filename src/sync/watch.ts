/**
 * Watches a folder. What it emits are hints: something may have changed at a path, or anywhere. The folder itself is
 * the truth; whoever gets a hint looks there.
 */
import { readFileSync, statfsSync } from "node:fs";
import { relative, sep } from "node:path";
import { type ChokidarOptions, watch } from "chokidar";
import { Observable } from "rxjs";
import { systemCode } from "./errors.js";
import { FolderWatch, type Watched } from "./folder-watch.js";
import { type Ignore, ignoreNothing } from "./ignore.js";
import { WALK_EVERY_MS, WALK_EVERY_UNWATCHED_MS } from "./limits.js";

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
  readonly ignore?: Ignore;
  /** Ask the file system every so many milliseconds instead of waiting for its events. */
  readonly pollMs?: number;
  /**
   * `folders`: one watch for each folder, nothing for each file. `chokidar`: what that does on this system. Default:
   * `folders` on Linux, where chokidar looks at every file and takes memory for it; `chokidar` elsewhere and for polling.
   */
  readonly backend?: "folders" | "chokidar";
}

/** A hint that anything in the folder may have changed. */
export function everything(folder: string, reason: string): Hint {
  return { folder, path: "", reason };
}

/**
 * Hints about changes below `folder`, from the moment of subscription until the unsubscription. Says that everything
 * may have changed when the watches are in place, after a burst in which the system may have dropped events, and with a
 * `code` where something cannot be watched. Never errors or completes.
 *
 * ```
 * subscribe   ─(ready)──(a/f)──(a/g)(a/f)──────(everything: a burst)──(b)─→
 * ```
 */
export function watchFolder(folder: string, options: WatchOptions = {}): Observable<Hint> {
  const { backend = process.platform === "linux" && options.pollMs === undefined ? "folders" : "chokidar" } = options;
  return backend === "folders" ? watchEachFolder(folder, options) : watchWithChokidar(folder, options);
}

function watchEachFolder(folder: string, { ignore = ignoreNothing }: WatchOptions): Observable<Hint> {
  return new Observable((subscriber) => {
    const remote = remoteFileSystem(folder);
    if (remote !== undefined)
      subscriber.next({ ...everything(folder, changesElsewhere(remote)), code: "ERR_NO_EVENTS" });
    const watching = new FolderWatch(folder, {
      ignore,
      queueEvents: readSetting("max_queued_events") ?? 16_384,
      refreshMs: WALK_EVERY_MS,
      onHint: (path, reason) => subscriber.next({ folder, path, reason }),
      onWatching: ({ reason, ...watched }) => {
        if (watched.code !== undefined) subscriber.next(unwatched(folder, { reason, ...watched }));
        const ready = reason === undefined ? { ready: true } : {};
        subscriber.next({ ...everything(folder, reason ?? "watching begins"), ...ready });
      },
    });
    return () => watching.close();
  });
}

function watchWithChokidar(folder: string, options: WatchOptions): Observable<Hint> {
  return new Observable((subscriber) => {
    const watcher = watch(folder, chokidarOptions(folder, options));
    watcher.on("all", (event, path) => {
      const inside = insideOf(folder, path);
      if (inside === "") subscriber.next(everything(folder, "the folder itself has changed"));
      else if (inside !== undefined) subscriber.next({ folder, path: inside, reason: event });
    });
    watcher.on("ready", () => subscriber.next({ ...everything(folder, "watching begins"), ready: true }));
    watcher.on("error", (error) => subscriber.next(watcherFailed(folder, error)));
    return () => void watcher.close().catch(() => {});
  });
}

function chokidarOptions(folder: string, options: WatchOptions): ChokidarOptions {
  const ignore = options.ignore ?? ignoreNothing;
  return {
    // The defaults hide files named like editors' temporary ones, and links that point nowhere.
    atomic: false,
    followSymlinks: false,
    ignoreInitial: true,
    ignorePermissionErrors: true,
    ignored: (path, stats) => {
      const inside = insideOf(folder, path);
      return inside !== undefined && inside !== "" && ignore(inside, stats?.isDirectory() ?? false);
    },
    ...(options.pollMs === undefined ? {} : { backend: "polling", pollingInterval: options.pollMs }),
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
    return process.platform === "linux" ? REMOTE.get(statfsSync(folder).type >>> 0) : undefined;
  } catch {
    return undefined;
  }
}

function changesElsewhere(kind: string): string {
  const seconds = WALK_EVERY_UNWATCHED_MS / 1000;
  return `the folder is on a ${kind} file system, which does not tell what others change: it is walked every ${seconds} s`;
}

/** `path` relative to the folder, `""` for the folder itself, `undefined` outside of it. */
function insideOf(folder: string, path: string): string | undefined {
  const inside =
    path.startsWith(folder) && path[folder.length] === sep ? path.slice(folder.length + 1) : relative(folder, path);
  if (inside === ".." || inside.startsWith(`..${sep}`)) return undefined;
  return sep === "/" ? inside : inside.split(sep).join("/");
}
