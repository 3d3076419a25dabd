/**
 * Keeps names apart at a mirror whose file system does not: one that takes `Readme` and `README`, or both forms of an `é`,
 * for one name would otherwise merge two files without a word. What it does is found out by trying; which two names are
 * one is not guessed but asked: a name that is found and is not listed is found under another one.
 */
import fs from "node:fs";
import { SyncError, systemCode } from "./errors.js";
import { MAX_KNOWN_FOLDERS } from "./limits.js";
import { nameFromBytes, systemPath } from "./names.js";
import { ancestorsOf, isWithin, parentOf, unsafePath } from "./path.js";

/** What is asked of a file system. */
export interface NameSystem {
  /** Whether something is found in the folder under that name. */
  finds(folder: string, name: string): boolean;
  /** The names as they are kept. */
  list(folder: string): Iterable<string>;
}

const SYSTEM: NameSystem = {
  finds: (folder, name) => fs.lstatSync(systemPath(`${folder}/${name}`), { throwIfNoEntry: false }) !== undefined,
  list: (folder) => fs.readdirSync(folder, { encoding: "buffer" }).map(nameFromBytes),
};

/** Names that not every file system keeps as they are, and what to tell of those that are alike. */
const SAMPLES = [
  { sample: "\u00e9", alike: (name: string) => name !== name.normalize("NFD") },
  { sample: "e\u0301", alike: (name: string) => name !== name.normalize("NFC") },
  { sample: "x.", alike: (name: string) => name.endsWith(".") },
  { sample: "x ", alike: (name: string) => name.endsWith(" ") },
] as const;
/** Codes with which systems refuse a name, beside the meanings that they have otherwise. */
const REFUSALS: ReadonlySet<string> = new Set(["EINVAL", "EILSEQ", "ENOENT", "ENAMETOOLONG"]);

export class ExactNames {
  readonly #system: NameSystem;
  #folds = false;
  #changed: ((name: string) => boolean)[] = [];
  /** The names in a folder, as they were listed and have changed since. */
  readonly #known = new Map<string, Set<string>>();

  constructor(system: NameSystem = SYSTEM) {
    this.#system = system;
  }

  /** Tries in `folder`, which is on the mirror's file system and whose names nobody else uses. `stamp`: lower-case letters. */
  learn(folder: string, stamp: string): void {
    this.#known.clear();
    const sample = `${stamp}-\u00e9.new`;
    this.#folds = this.#with(folder, sample, () =>
      [sample.toUpperCase(), sample.normalize("NFD")].some((other) => this.#system.finds(folder, other)),
    );
    const kept = (name: string): boolean =>
      this.#with(folder, name, () => new Set(this.#system.list(folder)).has(name));
    const lost = this.#folds ? SAMPLES.filter(({ sample }) => !kept(`${stamp}${sample}`)) : [];
    this.#changed = lost.map(({ alike }) => alike);
  }

  /**
   * Throws `ERR_NAME_TAKEN` where a part of the path stands under another name, and `ERR_NAME` where one would be kept as
   * another. `place` says where a folder is.
   */
  check(path: string, place: (folder: string) => string): void {
    if (!this.#folds) return;
    for (const part of [...ancestorsOf(path), path]) {
      const folder = parentOf(part);
      const name = nameOf(part);
      if (this.#changed.some((changes) => changes(name))) throw cannotHold("it would keep it as another one", part);
      if (this.#known.get(folder)?.has(name)) continue;
      const where = place(folder);
      if (!this.#system.finds(where, name)) return;
      const names = new Set(this.#system.list(where));
      if (!names.has(name)) throw taken(part, names);
      if (this.#known.size >= MAX_KNOWN_FOLDERS) this.#known.clear();
      this.#known.set(folder, names);
    }
  }

  /** Something stands at `path` now. */
  added(path: string): void {
    this.#known.get(parentOf(path))?.add(nameOf(path));
  }

  /** Nothing stands there any more. */
  removed(path: string): void {
    this.#known.get(parentOf(path))?.delete(nameOf(path));
    if (this.#known.size === 0) return;
    for (const folder of [...this.#known.keys()]) if (isWithin(folder, path)) this.#known.delete(folder);
  }

  /** Whether both are one name, spelled anew. */
  areOne(a: string, b: string): boolean {
    return this.#folds && a !== b && parentOf(a) === parentOf(b) && folded(a) === folded(b);
  }

  /** What the system says when it is asked to make a name that it cannot hold means many other things as well. */
  explained(error: unknown, path: string): unknown {
    const code = systemCode(error) ?? "";
    const reason = this.#folds && REFUSALS.has(code) ? unsafePath(path, "win32") : undefined;
    return reason === undefined ? error : cannotHold(`${reason} (${code})`, path);
  }

  /** Makes an empty file for as long as `look` takes; false where that cannot be. */
  #with(folder: string, name: string, look: () => boolean): boolean {
    const file = `${folder}/${name}`;
    try {
      fs.closeSync(fs.openSync(file, "wx", 0o600));
      return look();
    } catch {
      return false;
    } finally {
      fs.rmSync(file, { force: true });
    }
  }
}

/** A key under which names that are often taken for one are one. */
export function folded(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

function taken(path: string, names: Iterable<string>): SyncError {
  const key = folded(nameOf(path));
  const other = [...names].find((name) => folded(name) === key);
  const what = other === undefined ? "another name" : JSON.stringify(other);
  const message = `the destination's file system takes ${JSON.stringify(nameOf(path))} for ${what}, which stands there`;
  return new SyncError("ERR_NAME_TAKEN", message, { path });
}

function cannotHold(why: string, path: string): SyncError {
  return new SyncError("ERR_NAME", `the destination's file system cannot hold this name: ${why}`, { path });
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
