/**
 * Watches a folder. What it emits are hints: something may have changed at a path, or anywhere. The folder itself is
 * the truth; whoever gets a hint looks there.
 */
import { relative, sep } from "node:path";
import { type ChokidarOptions, watch } from "chokidar";
import { Observable } from "rxjs";
import { systemCode } from "./errors.js";
import { type Ignore, ignoreNothing } from "./ignore.js";

export interface Hint {
  /** The watched folder. */
  readonly folder: string;
  /** Relative to the folder, `/` between the parts. `""`: anything in the folder may have changed. */
  readonly path: string;
  /** `add`, `change`, `unlink`, `addDir`, `unlinkDir`; for the whole folder, why, in words. */
  readonly reason: string;
  /** The watches are in place: changes are noticed from here on. */
  readonly ready?: boolean;
  /** With an error of the watcher: the system's code. */
  readonly code?: string;
}

export interface WatchOptions {
  readonly ignore?: Ignore;
  /** Ask the file system every so many milliseconds instead of waiting for its events. */
  readonly pollMs?: number;
}

/** A hint that anything in the folder may have changed. */
export function everything(folder: string, reason: string): Hint {
  return { folder, path: "", reason };
}

/**
 * Hints about changes below `folder`, from the moment of subscription until the unsubscription. Says that everything
 * may have changed when the watches are in place, and when the watcher reports an error. Never errors or completes.
 */
export function watchFolder(folder: string, options: WatchOptions = {}): Observable<Hint> {
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
    ...(options.pollMs === undefined ? {} : { usePolling: true, interval: options.pollMs }),
  };
}

function watcherFailed(folder: string, error: unknown): Hint {
  const code = systemCode(error) ?? "ERR_WATCH";
  const message = error instanceof Error ? error.message : String(error);
  const help =
    code === "ENOSPC" && process.platform === "linux"
      ? "the system has no watches left (sysctl fs.inotify.max_user_watches=1048576 allows more)"
      : `watching failed: ${message}`;
  return { ...everything(folder, help), code };
}

/** `path` relative to the folder, `""` for the folder itself, `undefined` outside of it. */
function insideOf(folder: string, path: string): string | undefined {
  const inside =
    path.startsWith(folder) && path[folder.length] === sep ? path.slice(folder.length + 1) : relative(folder, path);
  if (inside === ".." || inside.startsWith(`..${sep}`)) return undefined;
  return sep === "/" ? inside : inside.split(sep).join("/");
}
