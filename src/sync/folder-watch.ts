/**
 * Watches a tree by one watch for each folder (inotify), which names whatever changes in it, by its bytes. Used where
 * chokidar cannot: at and below folders whose names are not UTF-8 or have a backslash (tree-watch.ts).
 *
 * What can go missing, and how that is known: the kernel keeps so many events and drops the rest without a word to us.
 * It hands over all it has before the event loop turns, so that nothing was dropped where fewer came within one turn.
 * Else, and now and then, all folders are gone through anew.
 */
import fs from "node:fs";
import { readdir } from "node:fs/promises";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { systemCode } from "./errors.js";
import type { Ignore } from "./ignore.js";
import { nameFromBytes, systemPath } from "./names.js";
import { parentOf } from "./path.js";

export interface FolderWatchOptions {
  readonly ignore: Ignore;
  /** How many events the system keeps for us until they are read. */
  readonly queueEvents: number;
  /** All folders are gone through this often in any case. Milliseconds. */
  readonly refreshMs: number;
  /** Something may have changed at the path; `""`: anywhere. */
  readonly onHint: (path: string, reason: string) => void;
  /** Folders were gone through, and are watched but for some. Not told when nothing is new about them. */
  readonly onWatching: (found: Watched) => void;
}

export interface Watched {
  /** Why folders were gone through; `undefined` for the first time. */
  readonly reason: string | undefined;
  /** All that are watched now. */
  readonly folders: number;
  /** Folders that could not be watched, and the system's code for why. */
  readonly unwatched: number;
  readonly code: string | undefined;
}

interface Folder {
  readonly watcher: fs.FSWatcher;
  /** Tells it from another one at the same place. */
  readonly inode: bigint;
  readonly inside: Map<string, Folder>;
}

/** Folders gone through in one go before others get their turn. */
const SLICE = 32;
const NOW_AND_THEN = "a look at all folders now and then";

export class FolderWatch {
  readonly #root: string;
  readonly #options: FolderWatchOptions;
  #top: Folder | undefined;
  #folders = 0;
  /** Paths where a folder may have come, gone or been replaced. */
  readonly #visits = new Set<string>();
  #visiting = false;
  /** Why all folders are to be gone through; `null`: they are not. */
  #refresh: string | undefined | null;
  #eventsThisTurn = 0;
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(root: string, options: FolderWatchOptions) {
    this.#root = root;
    this.#options = options;
    this.#timer = setInterval(() => this.refresh(NOW_AND_THEN), options.refreshMs);
    void this.#work();
  }

  /** Goes through all folders, watching those that are new. */
  refresh(reason: string): void {
    if (this.#refresh === null || this.#refresh === NOW_AND_THEN) this.#refresh = reason;
    void this.#work();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#drop(this.#top);
    this.#top = undefined;
  }

  #event(folder: string, kind: string, name: string | null): void {
    if (this.#closed) return;
    this.#count();
    const itself = name === null || name === this.#nameOf(folder);
    if (itself) {
      this.#options.onHint(folder, "the folder itself has changed");
      // It may be gone, and another one in its place already, of which this watch would say nothing.
      if (kind === "rename") this.#visit(folder);
    }
    if (name === null) return;
    const path = folder === "" ? name : `${folder}/${name}`;
    const { ignore } = this.#options;
    if (ignore(path, false) && ignore(path, true)) return;
    this.#options.onHint(path, kind);
    if (kind === "rename") this.#visit(path);
  }

  /** Whether the system may have dropped events: more came at once than half of what it keeps. */
  #count(): void {
    if (this.#eventsThisTurn++ === 0) setImmediate(() => (this.#eventsThisTurn = 0));
    if (this.#eventsThisTurn === this.#options.queueEvents >> 1)
      this.refresh("more events at once than the system keeps");
  }

  #nameOf(folder: string): string {
    const path = folder === "" ? this.#root : folder;
    return path.slice(path.lastIndexOf("/") + 1);
  }

  #visit(path: string): void {
    this.#visits.add(path);
    void this.#work();
  }

  async #work(): Promise<void> {
    if (this.#visiting) return;
    this.#visiting = true;
    // What events there are already come first, so that a burst of them is one visit each.
    await yieldToOthers();
    let visits = 0;
    for (let more = true; more && !this.#closed; ) {
      const [path] = this.#visits;
      if (this.#refresh !== null) await this.#goThrough(this.#refresh);
      else if (path === undefined) more = false;
      else {
        this.#visits.delete(path);
        await this.#look(path);
        if (++visits % SLICE === 0) await yieldToOthers();
      }
    }
    this.#visiting = false;
  }

  async #goThrough(reason: string | undefined): Promise<void> {
    this.#refresh = null;
    this.#visits.clear();
    const { fresh, unwatched, code } = await this.#spread("", false);
    if (this.#closed || (reason === NOW_AND_THEN && fresh + unwatched === 0)) return;
    const why = reason === NOW_AND_THEN ? "folders that were not watched" : reason;
    this.#options.onWatching({ reason: why, folders: this.#folders, unwatched, code });
  }

  /** A folder that is new at `path` is watched with all that is in it, and then looked at: it may have filled meanwhile. */
  async #look(path: string): Promise<void> {
    const known = this.#find(path);
    if (known === undefined && !this.#isFolder(path)) return;
    if (path !== "" && this.#find(parentOf(path)) === undefined) return;
    const { fresh, unwatched, code } = await this.#spread(path, true);
    if (this.#closed) return;
    if (unwatched > 0) this.#options.onWatching({ reason: "a new folder", folders: this.#folders, unwatched, code });
    else if (fresh > 0) this.#options.onHint(path, "a new folder");
  }

  /**
   * Watches the folder at `start` and those below. First the watch, then the look inside: what comes in between is named
   * by an event. `anew`: the watches that are there may be those of other folders, which have been moved.
   */
  async #spread(start: string, anew: boolean) {
    const pending = [start];
    const result = { fresh: 0, unwatched: 0, code: undefined as string | undefined };
    let calls = 0;
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      if (this.#closed) return result;
      const before = this.#find(path);
      const watched = this.#establish(path, before, anew);
      if (watched === undefined) continue;
      if (typeof watched === "string") {
        result.unwatched++;
        result.code = watched;
      } else if (watched !== before) result.fresh++;
      const names = await this.#subfolders(path);
      if (typeof watched === "object") this.#forget(watched, names);
      for (const name of names) pending.push(path === "" ? name : `${path}/${name}`);
      if (++calls % SLICE === 0) await yieldToOthers();
    }
    return result;
  }

  /** What watches the folder at `path`; the system's code where nothing can; `undefined` where no folder is. */
  #establish(path: string, known: Folder | undefined, anew: boolean): Folder | string | undefined {
    try {
      const place = systemPath(this.#full(path));
      const stats = fs.lstatSync(place, { bigint: true });
      if (!stats.isDirectory()) return this.#replace(path, known, undefined);
      if (known?.inode === stats.ino && !anew) return known;
      // Of a folder whose parent is not watched, nothing would tell us that it is gone.
      if (path !== "" && this.#find(parentOf(path)) === undefined) return "ENOSPC";
      const watcher = fs.watch(place, { encoding: "buffer" }, (kind, name) =>
        this.#event(path, kind, name === null ? null : nameFromBytes(name)),
      );
      // It is gone, with its file system perhaps.
      watcher.on("error", () => this.#visit(path));
      this.#folders++;
      return this.#replace(path, known, { watcher, inode: stats.ino, inside: new Map() });
    } catch (error) {
      this.#replace(path, known, undefined);
      const code = systemCode(error) ?? "ERR_WATCH";
      return code === "ENOENT" || code === "ENOTDIR" ? undefined : code;
    }
  }

  /** The old watch ends when the new one stands: on the same folder they are one to the system, and nothing is lost. */
  #replace<T extends Folder | undefined>(path: string, known: Folder | undefined, folder: T): T {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const siblings = this.#find(parentOf(path))?.inside;
    if (path === "") this.#top = folder;
    else if (folder === undefined) siblings?.delete(name);
    else siblings?.set(name, folder);
    this.#drop(known);
    return folder;
  }

  async #subfolders(path: string): Promise<string[]> {
    const { ignore } = this.#options;
    const names = await listFolders(this.#full(path));
    return names.filter((name) => !ignore(path === "" ? name : `${path}/${name}`, true));
  }

  #forget(folder: Folder, names: readonly string[]): void {
    if (folder.inside.size === 0) return;
    const there = new Set(names);
    for (const [name, gone] of folder.inside) {
      if (there.has(name)) continue;
      folder.inside.delete(name);
      this.#drop(gone);
    }
  }

  #drop(folder: Folder | undefined): void {
    const pending = folder === undefined ? [] : [folder];
    for (let gone = pending.pop(); gone !== undefined; gone = pending.pop()) {
      gone.watcher.close();
      this.#folders--;
      pending.push(...gone.inside.values());
    }
  }

  #find(path: string): Folder | undefined {
    let folder = this.#top;
    if (path !== "") for (const name of path.split("/")) folder = folder?.inside.get(name);
    return folder;
  }

  #isFolder(path: string): boolean {
    try {
      return fs.lstatSync(systemPath(this.#full(path)), { throwIfNoEntry: false })?.isDirectory() ?? false;
    } catch {
      return false;
    }
  }

  #full(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }
}

/** The names of the folders in a folder, those that are not UTF-8 escaped (names.ts); none where it cannot be read. */
export async function listFolders(folder: string): Promise<string[]> {
  try {
    const place = systemPath(folder);
    const found = await readdir(place, { withFileTypes: true });
    if (!found.some(({ name }) => name.includes("\uFFFD"))) {
      return found.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    }
    const bytes = await readdir(place, { withFileTypes: true, encoding: "buffer" });
    return bytes.filter((entry) => entry.isDirectory()).map(({ name }) => nameFromBytes(name));
  } catch {
    // It is deleted, or may not be read: scans report that.
    return [];
  }
}
