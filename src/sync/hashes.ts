/**
 * What a mirror's files hold, as far as it is known: by file the hash of the version (inode, change time, size and time) that
 * was stored or read. Kept beside the mirror in an {@link IndexFile}; what is lost or damaged of it is read anew.
 */
import fs from "node:fs";
import { openToRead } from "./content.js";
import { type Entry, type FileEntry, withHash } from "./entry.js";
import { hashOf } from "./holes.js";
import { IndexFile } from "./index-file.js";
import type { Places } from "./places.js";
import { fileEntry } from "./scan.js";
import { Turns } from "./turns.js";

export class Hashes {
  readonly #index: IndexFile | undefined;
  readonly #places: Places;

  /** Without a path nothing is kept. */
  constructor(places: Places, path: string | undefined) {
    this.#places = places;
    this.#index = path === undefined ? undefined : new IndexFile(path, "hashes");
  }

  /** The file at `path` was stored just now, with this content, size and time. */
  remember(path: string, size: number, mtimeNs: bigint | undefined, sha256: string): void {
    if (this.#index === undefined) return;
    try {
      const entry = fileEntry(path, fs.lstatSync(this.#places.at(path), { bigint: true }));
      // Somebody else may have been there meanwhile.
      if (entry.size === size && (mtimeNs === undefined || closeTo(entry.mtimeNs, mtimeNs)))
        this.#record(entry, sha256);
    } catch {
      // It is gone again: nothing is known of it.
    }
  }

  /** What is known of the files by now: gives an entry its hash, where that is known. */
  async recall(): Promise<(found: Entry) => Entry> {
    const recorded = await this.#index?.open();
    return (found) => {
      const sha256 = found.kind === "file" ? recorded?.hashOf(found, keyOf(found)) : undefined;
      return sha256 === undefined ? found : withHash(found as FileEntry, sha256);
    };
  }

  /** Gives the other files their hashes by reading so many bytes of them; with `anew`, reads all files. */
  async complete(
    entries: Map<string, Entry>,
    budgetBytes: number,
    anew: boolean,
    isOver: () => boolean,
  ): Promise<void> {
    let left = budgetBytes;
    const turns = new Turns();
    for (const entry of entries.values()) {
      if (turns.isOver()) await turns.next();
      if (isOver()) return;
      if (entry.kind !== "file" || (!anew && (entry.sha256 !== undefined || entry.size > left))) continue;
      left -= entry.size;
      const sha256 = await this.hashOf(entry);
      if (sha256 !== undefined) entries.set(entry.path, withHash(entry, sha256));
    }
  }

  /** Reads a file and remembers what it holds; `undefined` where it is not this version, or cannot be read. */
  async hashOf(entry: FileEntry): Promise<string | undefined> {
    let fd: number | undefined;
    try {
      fd = openToRead(this.#places.at(entry.path));
      if (fd === undefined) return undefined;
      const sha256 = (await hashOf(fd, entry.size)).toString("hex");
      const now = fileEntry(entry.path, fs.fstatSync(fd, { bigint: true }));
      if (now.version !== entry.version || now.size !== entry.size) return undefined;
      this.#record(entry, sha256);
      return sha256;
    } catch {
      return undefined;
    } finally {
      if (fd !== undefined) fs.closeSync(fd);
    }
  }

  close(): void {
    this.#index?.close();
  }

  #record(entry: FileEntry, sha256: string): void {
    this.#index?.record({ ...entry, path: keyOf(entry) }, Buffer.from(sha256, "hex"));
  }
}

/** By its inode, which it keeps when it, or a folder above it, is renamed. */
function keyOf({ version }: FileEntry): string {
  return version?.slice(0, version.indexOf(".")) ?? "";
}

function closeTo(a: bigint, b: bigint): boolean {
  const difference = a > b ? a - b : b - a;
  return difference < 2_000_000_000n;
}
