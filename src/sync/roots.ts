/**
 * One hash for all that a mirror holds (docs/sync-protocol.md, "Root hash"), as both ends compute it: a Merkle tree over
 * its folders. Others get their turn while a large one is computed, and after a change only what it concerns is computed again.
 */
import { createHash, type Hash, hash } from "node:crypto";
import type { Comparison, Entry } from "./entry.js";
import { MAX_SEGMENT_BYTES } from "./limits.js";
import { hasEscapes, nameToBytes } from "./names.js";
import { isWithin, parentOf } from "./path.js";
import { Turns } from "./turns.js";

export const ROOT_BYTES = 32;
/** Of a root that is not known. */
export const NO_ROOT: Buffer = Buffer.alloc(ROOT_BYTES);

const KINDS = { file: 0, directory: 1, symlink: 2 };
/** Kind, mode, size, modification time, length of the name; name; hash. */
const HEAD_BYTES = 1 + 2 + 8 + 8 + 2;
const MAX_RECORD_BYTES = HEAD_BYTES + 4 * MAX_SEGMENT_BYTES + ROOT_BYTES;
/** Records that are hashed in one go. */
const SCRATCH_BYTES = 32 * 1024;
/** Entries sorted without letting others have their turn. */
const SORTED_AT_ONCE = 4096;
const NOT_ASCII = /[^\0-\x7f]/;

/** The root hash of entries in any order; `undefined` where the hash of a file is not known, or times are too coarse. */
export function rootOf(entries: Iterable<Entry>, comparison: Comparison): Promise<Buffer | undefined> {
  return new Roots(comparison).compute(entries);
}

/** The hashes of a tree's folders, kept for the next time. */
export class Roots {
  readonly #comparison: Comparison;
  readonly #unit: bigint | undefined;
  /** By folder, `""` for the root; those that have to be computed again are missing. */
  readonly #hashes = new Map<string, Buffer>();

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
    this.#unit = unitOf(comparison.mtimeToleranceNs ?? 1000n);
  }

  /** What stands at `path` is another one now. */
  touch(path: string): void {
    this.#hashes.delete(path);
    for (let folder = parentOf(path); ; folder = parentOf(folder)) {
      this.#hashes.delete(folder);
      if (folder === "") return;
    }
  }

  /** … and so is all that is below it. */
  touchTree(path: string): void {
    this.touch(path);
    for (const folder of this.#hashes.keys()) if (isWithin(folder, path)) this.#hashes.delete(folder);
  }

  /** A folder's hash, as it was computed last; `undefined` where something in it is not known. */
  hashOf(folder: string): Buffer | undefined {
    return this.#hashes.get(folder);
  }

  /**
   * The root hash of `entries`, which must not change meanwhile and differ from those of the last time only where
   * {@link touch} was told; `undefined` as for {@link rootOf}.
   */
  async compute(entries: Iterable<Entry>): Promise<Buffer | undefined> {
    if (this.#unit === undefined) return undefined;
    const known = this.#hashes.get("");
    if (known !== undefined) return known;
    const turns = new Turns();
    const children = await this.#childrenOfUnknown(entries, turns);
    // What is below has the longer path, so it comes first.
    const folders = [...children.keys()].sort((a, b) => b.length - a.length);
    for (const folder of folders) {
      const inside = children.get(folder) ?? [];
      if (inside.every((entry) => this.#isKnown(entry)))
        this.#hashes.set(folder, await this.#hashFolder(inside, turns));
    }
    return this.#hashes.get("");
  }

  #isKnown(entry: Entry): boolean {
    if (entry.kind === "directory") return this.#hashes.has(entry.path);
    return entry.kind === "symlink" || entry.sha256?.length === 2 * ROOT_BYTES;
  }

  /** What is in the folders whose hash has to be computed. */
  async #childrenOfUnknown(entries: Iterable<Entry>, turns: Turns): Promise<Map<string, Entry[]>> {
    const children = new Map<string, Entry[]>([["", []]]);
    let parent = "";
    let siblings = children.get("");
    for (const entry of entries) {
      if (turns.isOver()) await turns.next();
      const { path, kind } = entry;
      if (kind === "directory" && !this.#hashes.has(path)) childrenOf(children, path);
      // What was found by walking comes folder by folder.
      if (!isIn(path, parent)) {
        parent = parentOf(path);
        siblings = this.#hashes.has(parent) ? undefined : childrenOf(children, parent);
      }
      siblings?.push(entry);
    }
    return children;
  }

  async #hashFolder(entries: readonly Entry[], turns: Turns): Promise<Buffer> {
    let hashing: Hash | undefined;
    let length = 0;
    for (const entry of await inOrder(entries, turns)) {
      if (length > SCRATCH_BYTES || turns.isOver()) {
        hashing = (hashing ?? createHash("sha256")).update(scratch.subarray(0, length));
        length = 0;
        if (turns.isOver()) await turns.next();
      }
      length = this.#write(entry, length);
    }
    const records = scratch.subarray(0, length);
    return hashing === undefined ? hash("sha256", records, "buffer") : hashing.update(records).digest();
  }

  /** Writes the entry's record at `at`, and returns its end. */
  #write(entry: Entry, at: number): number {
    scratch[at] = KINDS[entry.kind];
    view.setUint16(at + 1, modeOf(entry, this.#comparison));
    const size = entry.kind === "file" ? entry.size : 0;
    view.setUint32(at + 3, Math.floor(size / 2 ** 32));
    view.setUint32(at + 7, size >>> 0);
    view.setBigInt64(at + 11, timeOf(entry, this.#comparison, this.#unit ?? 1n));
    const name = entry.path.slice(entry.path.lastIndexOf("/") + 1);
    const nameAt = at + HEAD_BYTES;
    const length = hasEscapes(name) ? nameToBytes(name).copy(scratch, nameAt) : scratch.write(name, nameAt);
    view.setUint16(at + 19, length);
    const hashAt = nameAt + length;
    if (entry.kind === "file") scratch.write(entry.sha256 ?? "", hashAt, "hex");
    else if (entry.kind === "symlink") hash("sha256", nameToBytes(entry.target), "buffer").copy(scratch, hashAt);
    else (this.#hashes.get(entry.path) ?? NO_ROOT).copy(scratch, hashAt);
    return hashAt + ROOT_BYTES;
  }
}

/** Used from one turn of the event loop to the next only. */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES + 2 * MAX_RECORD_BYTES);
const view = new DataView(scratch.buffer, scratch.byteOffset, scratch.length);

/** Times are compared to the nanosecond or microsecond. */
function unitOf(toleranceNs: bigint): bigint | undefined {
  return toleranceNs === 0n ? 1n : toleranceNs <= 1000n ? 1000n : undefined;
}

function childrenOf(children: Map<string, Entry[]>, folder: string): Entry[] {
  let list = children.get(folder);
  if (list === undefined) {
    list = [];
    children.set(folder, list);
  }
  return list;
}

function isIn(path: string, folder: string): boolean {
  const slash = path.lastIndexOf("/");
  return folder === "" ? slash < 0 : slash === folder.length && path.startsWith(folder);
}

/** By the bytes of their names; many are sorted a slice at a time, and then merged. */
async function inOrder(entries: readonly Entry[], turns: Turns): Promise<readonly Entry[]> {
  // Where all is ASCII, the order of the bytes is that of the characters.
  const compare = entries.some(({ path }) => NOT_ASCII.test(path)) ? byBytes : byCharacters;
  let runs: Entry[][] = [];
  for (let at = 0; at < entries.length; at += SORTED_AT_ONCE) {
    if (at > 0) await turns.next();
    runs.push(entries.slice(at, at + SORTED_AT_ONCE).sort(compare));
  }
  while (runs.length > 1) {
    const merged: Entry[][] = [];
    for (let i = 0; i < runs.length; i += 2) {
      merged.push(await merge(runs[i] as Entry[], runs[i + 1] ?? [], compare, turns));
    }
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge(
  left: readonly Entry[],
  right: readonly Entry[],
  compare: (a: Entry, b: Entry) => number,
  turns: Turns,
): Promise<Entry[]> {
  const merged: Entry[] = [];
  let [l, r] = [0, 0];
  while (l < left.length && r < right.length) {
    if (turns.isOver()) await turns.next();
    const [a, b] = [left[l] as Entry, right[r] as Entry];
    const first = compare(a, b) <= 0;
    merged.push(first ? a : b);
    if (first) l++;
    else r++;
  }
  // One by one: there may be more than a call takes arguments.
  for (; l < left.length; l++) merged.push(left[l] as Entry);
  for (; r < right.length; r++) merged.push(right[r] as Entry);
  return merged;
}

/** Of entries in one folder. */
function byCharacters(a: Entry, b: Entry): number {
  return a.path < b.path ? -1 : 1;
}

function byBytes(a: Entry, b: Entry): number {
  return Buffer.compare(nameToBytes(a.path), nameToBytes(b.path));
}

function modeOf(entry: Entry, { executable = true, perms = false }: Comparison): number {
  if (!executable || entry.kind === "symlink") return 0;
  if (perms) return entry.mode ?? 0;
  return entry.kind === "file" && entry.executable ? 0o100 : 0;
}

/** Rounded down. */
function timeOf(entry: Entry, comparison: Comparison, unit: bigint): bigint {
  const { folderTimes = false, linkTimes = false, latestNs } = comparison;
  const counts = entry.kind === "file" || (entry.kind === "directory" ? folderTimes : linkTimes);
  const own = counts ? (entry.mtimeNs ?? 0n) : 0n;
  const time = latestNs !== undefined && own > latestNs ? latestNs : own;
  return unit === 1n ? time : (time - (((time % unit) + unit) % unit)) / unit;
}
