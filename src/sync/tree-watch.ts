/**
 * Watches a tree with chokidar: one watch for each folder, whose `raw` events name every file that changes in it. Files are
 * neither tracked nor read by chokidar, so that they take no memory each.
 *
 * chokidar cannot watch folders whose names it cannot spell: those with bytes that are not UTF-8, as it reads names as text,
 * and on POSIX those with a backslash, which it takes for a separator. {@link FolderWatch} watches these.
 *
 * How missing events are recognised: the kernel keeps a bounded number of events and drops the rest without notice. It
 * delivers all it has before the event loop turns, so that nothing was dropped where fewer came within one turn. After a
 * larger burst the tree is watched again from scratch. A survey of all folders compares them with those that are watched: at
 * the start, at an interval, and when the mounts below the root change.
 */
import fs from "node:fs";
import { readdir } from "node:fs/promises";
import { sep } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type FSWatcher, watch } from "chokidar";
import { systemCode } from "./errors.js";
import { FolderWatch, type FolderWatchOptions, listFolders } from "./folder-watch.js";
import { MOUNTS_EVERY_MS, SURVEY_GRACE_MS } from "./limits.js";
import { mountsBelow } from "./mounts.js";
import { hasEscapes, systemPath } from "./names.js";
import { parentOf } from "./path.js";
import { Turns } from "./turns.js";

export interface TreeWatchOptions extends FolderWatchOptions {
  /** Called when file systems or bind mounts below the root were found, with the paths that are new since the last call. */
  readonly onMounts: (paths: readonly string[]) => void;
}

interface Known {
  readonly inode: number;
  /** Whether what is in it may have come before its watch. */
  fresh: boolean;
}

const OVERFLOW = "more events at once than the system keeps";
const UNWATCHED = "folders that were not watched";
/** Folders surveyed before others get their turn. */
const SLICE = 32;

export class TreeWatch {
  readonly #root: string;
  readonly #slashedRoot: string;
  readonly #options: TreeWatchOptions;
  #watcher: FSWatcher | undefined;
  /** Folders that chokidar watches, by path; "" is the root. */
  #known = new Map<string, Known>();
  /** Watchers of folders whose names chokidar cannot spell. */
  readonly #odd = new Map<string, FolderWatch>();
  #ready = false;
  #failed = 0;
  #code: string | undefined;
  #eventsThisTurn = 0;
  #mounts: readonly string[];
  #work: Promise<void> = Promise.resolve();
  #again: string | undefined;
  readonly #timers: readonly NodeJS.Timeout[];
  #closed = false;

  constructor(root: string, options: TreeWatchOptions) {
    this.#root = root;
    this.#slashedRoot = slashed(root);
    this.#options = options;
    this.#mounts = [];
    this.#timers = [
      setInterval(() => this.#queue(() => this.#survey()), options.refreshMs),
      setInterval(() => this.#lookForMounts(), MOUNTS_EVERY_MS),
    ];
    this.#lookForMounts();
    this.#begin(undefined);
  }

  /** Watches everything again from scratch. */
  refresh(reason: string): void {
    if (this.#again !== undefined || this.#closed) return;
    this.#again = reason;
    this.#queue(async () => {
      this.#again = undefined;
      if (this.#closed) return;
      // The old handles end first, as chokidar shares them between watchers of one path.
      await this.#watcher?.close().catch(() => {});
      if (!this.#closed) this.#begin(reason);
    });
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    void this.#watcher?.close().catch(() => {});
    for (const watching of this.#odd.values()) watching.close();
    this.#odd.clear();
  }

  #queue(task: () => Promise<void>): void {
    this.#work = this.#work.then(task).catch(() => {});
  }

  #begin(reason: string | undefined): void {
    this.#known = new Map();
    this.#ready = false;
    this.#failed = 0;
    this.#code = undefined;
    const watcher = watch(this.#root, {
      // The defaults hide files named like editors' temporary ones, and follow links out of the folder.
      atomic: false,
      followSymlinks: false,
      ignorePermissionErrors: true,
      ignored: (path, stats) => this.#isIgnored(path, stats),
    });
    this.#watcher = watcher;
    watcher.on("raw", (event, name, details) => {
      if (this.#watcher === watcher) this.#event(event, name, (details as { watchedPath: string }).watchedPath);
    });
    watcher.on("addDir", (path, stats) => {
      if (this.#watcher === watcher) this.#added(path, Number(stats?.ino ?? 0));
    });
    watcher.on("unlinkDir", (path) => {
      const inside = this.#inside(path);
      if (this.#watcher === watcher && inside !== undefined) this.#known.delete(inside);
    });
    watcher.on("error", (error) => {
      if (this.#watcher === watcher) this.#fail(error);
    });
    watcher.on("ready", () => {
      if (this.#watcher === watcher) this.#queue(() => this.#begun(watcher, reason));
    });
  }

  /** With the watches in place, folders that chokidar has left out are found. */
  async #begun(watcher: FSWatcher, reason: string | undefined): Promise<void> {
    this.#ready = true;
    await this.#search("", new Set());
    if (this.#closed || this.#watcher !== watcher) return;
    const unwatched = this.#failed;
    this.#options.onWatching({ reason, folders: this.#known.size - unwatched, unwatched, code: this.#code });
  }

  #fail(error: unknown): void {
    const code = systemCode(error) ?? "ERR_WATCH";
    this.#failed++;
    this.#code = code;
    if (!this.#ready || this.#failed > 1) return;
    const folders = Math.max(0, this.#known.size - this.#failed);
    this.#options.onWatching({ reason: "a new folder", folders, unwatched: this.#failed, code });
  }

  #event(kind: string, name: string | null, watchedPath: string): void {
    if (this.#closed) return;
    this.#count();
    const folder = this.#inside(watchedPath);
    if (folder === undefined) return;
    if (name === null || name === this.#nameOf(folder)) {
      this.#options.onHint(folder, "the folder itself has changed");
      if (name === null) return;
    }
    const path = folder === "" ? slashed(name) : `${folder}/${slashed(name)}`;
    const { ignore } = this.#options;
    if (ignore(path, false) && ignore(path, true)) return;
    this.#options.onHint(path, kind);
    if (kind === "rename" && isOdd(name)) this.#queue(() => this.#lookInto(folder));
  }

  /** Detects that the system may have dropped events: more came within one turn than half of what it keeps. */
  #count(): void {
    if (this.#eventsThisTurn++ === 0) setImmediate(() => (this.#eventsThisTurn = 0));
    if (this.#eventsThisTurn === this.#options.queueEvents >> 1) this.refresh(OVERFLOW);
  }

  #added(path: string, inode: number): void {
    const inside = this.#inside(path);
    if (inside === undefined) return;
    this.#known.set(inside, { inode, fresh: this.#ready });
    if (!this.#ready || this.#closed) return;
    this.#options.onHint(inside, "a new folder");
    this.#queue(() => this.#lookInto(inside));
  }

  /**
   * Keeps chokidar to folders. It asks before it reads what an event has named, without stats, and reads the whole parent of
   * what is missing: at each deletion, were the answer not that files are ignored, and what is not there.
   */
  #isIgnored(full: string, stats: fs.Stats | undefined): boolean {
    const path = this.#inside(full);
    if (path === undefined || path === "") return false;
    if (stats !== undefined) this.#seen(path);
    const known = this.#known.get(path);
    if (known !== undefined && (stats === undefined || stats.isDirectory())) return false;
    if (stats !== undefined && !stats.isDirectory()) return true;
    // The path may be another spelling: chokidar has made slashes of backslashes.
    const found = lookAt(full);
    if (found === undefined || !found.isDirectory() || (stats !== undefined && stats.ino !== found.ino)) return true;
    return this.#options.ignore(path, true);
  }

  /** An entry of a folder is listed, so that the folder is watched by now: what came before the watch is found by looking. */
  #seen(path: string): void {
    const folder = this.#known.get(parentOf(path));
    if (folder?.fresh !== true) return;
    folder.fresh = false;
    this.#options.onHint(parentOf(path), "a new folder");
  }

  /** Compares the folders there are with those that are watched; where they differ for long, all are watched again. */
  async #survey(): Promise<void> {
    if (this.#closed || !this.#ready) return;
    if (this.#failed > 0) return this.refresh(UNWATCHED);
    const differing = new Set<string>();
    await this.#search("", differing);
    if (differing.size === 0 || this.#closed) return;
    // What has just come may be on its way to be watched.
    await delay(SURVEY_GRACE_MS);
    for (const path of differing) if (this.#isAsKnown(path)) differing.delete(path);
    if (differing.size > 0) this.refresh(UNWATCHED);
  }

  /** Walks the folders at and below `start`: those that are not as they are known to be, and those of odd names. */
  async #search(start: string, differing: Set<string>): Promise<void> {
    const pending = [start];
    const turns = new Turns(SLICE);
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      if (this.#closed) return;
      if (turns.isOver()) await turns.next();
      if (!this.#isAsKnown(path)) differing.add(path);
      for (const name of await listFolders(this.#full(path))) {
        const inside = path === "" ? name : `${path}/${name}`;
        if (this.#options.ignore(inside, true)) continue;
        if (isOdd(name)) this.#watchOdd(inside);
        else pending.push(inside);
      }
    }
    for (const [path, watching] of this.#odd) {
      if (lookAt(this.#full(path))?.isDirectory()) continue;
      watching.close();
      this.#odd.delete(path);
    }
  }

  async #lookInto(folder: string): Promise<void> {
    const names = await readdir(this.#full(folder)).catch((): string[] => []);
    if (names.some(isOdd)) await this.#search(folder, new Set());
  }

  #watchOdd(path: string): void {
    if (this.#odd.has(path) || this.#closed) return;
    const { ignore, queueEvents, refreshMs, onHint, onWatching } = this.#options;
    const below = (inside: string): string => (inside === "" ? path : `${path}/${inside}`);
    const watching = new FolderWatch(this.#full(path), {
      queueEvents,
      refreshMs,
      ignore: (inside, directory) => ignore(below(inside), directory),
      onHint: (inside, reason) => onHint(below(inside), reason),
      onWatching: ({ reason, ...found }) => {
        if (reason !== undefined || found.unwatched > 0) onWatching({ reason: reason ?? "a new folder", ...found });
        else onHint(path, "a new folder");
      },
    });
    this.#odd.set(path, watching);
  }

  #isAsKnown(path: string): boolean {
    const found = lookAt(this.#full(path));
    const known = this.#known.get(path);
    if (found === undefined || !found.isDirectory()) return known === undefined;
    return known !== undefined && known.inode === found.ino;
  }

  /** A mount hides what was watched, and raises no event. */
  #lookForMounts(): void {
    const mounts = mountsBelow(this.#root);
    const before = this.#mounts;
    this.#mounts = mounts;
    const fresh = mounts.filter((path) => !before.includes(path));
    if (fresh.length > 0) this.#options.onMounts(fresh);
    const changed = fresh.length > 0 || before.some((path) => !mounts.includes(path));
    if (changed && this.#watcher !== undefined) this.refresh("the file systems mounted below the folder have changed");
  }

  #inside(full: string): string | undefined {
    const path = slashed(full);
    if (path === this.#slashedRoot) return "";
    const start = this.#slashedRoot.endsWith("/") ? this.#slashedRoot : `${this.#slashedRoot}/`;
    return path.startsWith(start) ? path.slice(start.length) : undefined;
  }

  #nameOf(folder: string): string {
    const path = folder === "" ? this.#root : folder;
    return path.slice(path.lastIndexOf("/") + 1);
  }

  #full(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }
}

/** Whether chokidar can watch a folder at this path. */
export function canSpell(path: string): boolean {
  return !isOdd(path);
}

function slashed(path: string): string {
  return sep === "/" ? path : path.split(sep).join("/");
}

function isOdd(name: string): boolean {
  return name.includes("\uFFFD") || hasEscapes(name) || (sep === "/" && name.includes("\\"));
}

function lookAt(full: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(systemPath(full), { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
