/**
 * Reaches what is inside a mirror's folder such that no link is followed on the way, whatever is swapped meanwhile.
 * On Linux through opened folders (what openat is for): each part of the path is opened without following, and the place
 * is named by its folder's descriptor. Elsewhere each part is looked at before.
 */
import fs from "node:fs";
import { descriptorBudget } from "./descriptors.js";
import { SyncError, systemCode } from "./errors.js";
import type { ExactNames } from "./exact-names.js";
import { systemPath } from "./names.js";
import { ancestorsOf, parentOf, unsafePath } from "./path.js";

/** Folders kept open at a time, for as long as nothing else of this process runs. */
const MAX_OPEN_FOLDERS = 64;
const { O_DIRECTORY = 0, O_NOFOLLOW = 0 } = fs.constants;
/** Names a place and opens nothing: no permission to read the folder is needed. Of Linux; Node does not name it. */
const O_PATH = 0x20_0000;
const FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW;
const DESCRIPTORS = "/proc/self/fd";

export class Places {
  readonly root: string;
  /** Undefined where folders cannot be reached by descriptor. */
  readonly #open: Map<string, number> | undefined;
  readonly #mostOpen = Math.max(2, descriptorBudget(MAX_OPEN_FOLDERS, 1 / 4));
  /** The folder asked for last: it stays open while the next one is opened, as renaming takes two. */
  #last = "";
  #closing = false;

  readonly #names: ExactNames | undefined;

  constructor(root: string, names?: ExactNames) {
    this.root = root;
    this.#names = names;
    this.#open = process.platform === "linux" && fs.existsSync(DESCRIPTORS) ? new Map() : undefined;
  }

  /**
   * Where `path` is, for calls that are made before anything else of this process runs. Throws `ERR_UNSAFE_PATH` for one
   * that is not inside the mirror, `ERR_NOT_A_FOLDER` where a folder on the way is missing, or none, and `ERR_NAME_TAKEN`
   * or `ERR_NAME` where the file system would take the path for another one.
   */
  at(path: string): string | Buffer {
    const reason = unsafePath(path);
    if (reason !== undefined) throw new SyncError("ERR_UNSAFE_PATH", reason);
    this.#names?.check(path, (folder) => this.folder(folder));
    if (this.#open !== undefined) {
      const fd = this.#folder(parentOf(path), this.#open);
      return systemPath(`${DESCRIPTORS}/${fd}/${nameOf(path)}`);
    }
    return this.#walkTo(path);
  }

  /** A folder itself, as {@link at}; "" is the mirror's own. */
  folder(path: string): string {
    if (this.#open !== undefined) return `${DESCRIPTORS}/${this.#folder(path, this.#open)}`;
    const place = path === "" ? this.root : this.#walkTo(path);
    if (!fs.lstatSync(place).isDirectory()) throw noFolder(path);
    return place;
  }

  /** Each folder on the way is looked at. */
  #walkTo(path: string): string {
    for (const ancestor of ancestorsOf(path)) {
      const stats = fs.lstatSync(`${this.root}/${ancestor}`, { throwIfNoEntry: false });
      if (stats === undefined) throw missing(ancestor);
      if (!stats.isDirectory()) throw noFolder(ancestor);
    }
    return `${this.root}/${path}`;
  }

  #folder(folder: string, open: Map<string, number>): number {
    const known = open.get(folder);
    if (known === undefined && open.size >= this.#mostOpen) this.#close(this.#last);
    const fd = known ?? this.#reach(folder, open);
    open.set(folder, fd);
    this.#last = folder;
    if (!this.#closing) {
      this.#closing = true;
      queueMicrotask(() => {
        this.#closing = false;
        this.#close();
      });
    }
    return fd;
  }

  /** Opens a folder, from the deepest one above it that is open. */
  #reach(folder: string, open: ReadonlyMap<string, number>): number {
    if (folder === "") return fs.openSync(this.root, FLAGS);
    const way = [...ancestorsOf(folder), folder];
    const above = way.findLastIndex((path) => open.has(path));
    let fd = open.get(way[above] ?? "") ?? this.#folder("", open as Map<string, number>);
    for (const [i, path] of way.slice(above + 1).entries()) {
      const before = fd;
      try {
        fd = fs.openSync(systemPath(`${DESCRIPTORS}/${before}/${nameOf(path)}`), FLAGS);
      } catch (error) {
        const code = systemCode(error);
        throw code === "ENOENT" ? missing(path) : code === "ENOTDIR" || code === "ELOOP" ? noFolder(path) : error;
      } finally {
        if (i > 0) fs.closeSync(before);
      }
    }
    return fd;
  }

  #close(but?: string): void {
    for (const [folder, fd] of this.#open ?? []) {
      if (folder === but) continue;
      fs.closeSync(fd);
      this.#open?.delete(folder);
    }
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function missing(folder: string): SyncError {
  return new SyncError("ERR_NOT_A_FOLDER", `there is no folder ${folder}`);
}

function noFolder(folder: string): SyncError {
  return new SyncError("ERR_NOT_A_FOLDER", `the mirror's ${folder} is not a folder`);
}
