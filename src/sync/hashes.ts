/**
 * What a mirror's files hold, as far as it is known: by file the hash of the version (inode, change time, size and time) that
 * was stored or read. Kept beside the mirror in an {@link IndexFile}; what is lost or damaged of it is read anew.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { promisify } from "node:util";
import type { Entry, FileEntry } from "./entry.js";
import { IndexFile } from "./index-file.js";
import { MAX_DATA_BYTES } from "./limits.js";
import type { Places } from "./places.js";
import { fileEntry } from "./scan.js";

const read = promisify(fs.read);
const { O_RDONLY } = fs.constants;
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0;

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

  /**
   * The entries with the hashes of their files, as far as they are known. Of the others so many bytes are read; with
   * `anew`, of all.
   */
  async complete(
    entries: ReadonlyMap<string, Entry>,
    budgetBytes: number,
    anew: boolean,
    isOver: () => boolean = () => false,
  ): Promise<Map<string, Entry>> {
    const files = [...entries.values()].filter((entry) => entry.kind === "file");
    const known = anew ? new Map<string, string>() : ((await this.#index?.hashes(files.map(keyed))) ?? new Map());
    const completed = new Map(entries);
    let left = budgetBytes;
    for (const entry of files) {
      let sha256 = known.get(keyed(entry).path);
      if (sha256 === undefined && (anew || entry.size <= left) && !isOver()) {
        left -= entry.size;
        sha256 = await this.hashOf(entry);
      }
      if (sha256 !== undefined) completed.set(entry.path, { ...entry, sha256 });
    }
    return completed;
  }

  /** Reads a file and remembers what it holds; `undefined` where it is not this version, or cannot be read. */
  async hashOf(entry: FileEntry): Promise<string | undefined> {
    let fd: number | undefined;
    try {
      fd = fs.openSync(this.#places.at(entry.path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      const hash = createHash("sha256");
      const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(entry.size, MAX_DATA_BYTES)));
      for (let at = 0; ; ) {
        const { bytesRead } = await read(fd, buffer, 0, buffer.length, at);
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        at += bytesRead;
      }
      const now = fileEntry(entry.path, fs.fstatSync(fd, { bigint: true }));
      if (now.version !== entry.version || now.size !== entry.size) return undefined;
      const sha256 = hash.digest("hex");
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
    this.#index?.record(keyed(entry), Buffer.from(sha256, "hex"));
  }
}

/** By its inode, which it keeps when it, or a folder above it, is renamed. */
function keyed(entry: FileEntry): FileEntry {
  return { ...entry, path: entry.version?.slice(0, entry.version.indexOf(".")) ?? "" };
}

function closeTo(a: bigint, b: bigint): boolean {
  const difference = a > b ? a - b : b - a;
  return difference < 2_000_000_000n;
}
