import type { Entry, FileEntry } from "./entry.js";
import { LEAST_COPIED_BYTES, MAX_GONE, MAX_INLINE_BYTES } from "./limits.js";
import type { Operation } from "./plan.js";

const WHOLE_HASH_DIGITS = 64;

/**
 * Small files that a mirror held and may keep as old versions, by their sha256: those that went last. Of larger ones the
 * chunks are asked for, which needs no memory, and no second reading of what has only been edited.
 */
export class Gone {
  readonly #files = new Map<string, FileEntry>();

  remember(file: FileEntry): void {
    if (file.size < LEAST_COPIED_BYTES || file.size > MAX_INLINE_BYTES) return;
    if (file.sha256?.length !== WHOLE_HASH_DIGITS) return;
    this.#files.delete(file.sha256);
    this.#files.set(file.sha256, file);
    const [oldest] = this.#files.keys();
    if (this.#files.size > MAX_GONE && oldest !== undefined) this.#files.delete(oldest);
  }

  /** It is not kept. */
  forget(sha256: Uint8Array): void {
    this.#files.delete(Buffer.from(sha256).toString("hex"));
  }

  files(): Iterable<FileEntry> {
    return this.#files.values();
  }
}

/** Files at the mirror that may hold what is about to be sent, so that the mirror can copy instead. Pure. */
export class Copies {
  /** By size, the path of the only file that has it, or null where several have. */
  readonly #sizes = new Map<number, string | null>();
  readonly #byHash = new Map<string, string>();

  /** `entries` are what the mirror holds, `operations` what is to be done there, `gone` what it held. */
  constructor(entries: ReadonlyMap<string, Entry>, operations: readonly Operation[], gone = new Gone()) {
    const wanted = new Set<number>();
    for (const { do: what, entry } of operations) {
      if (what === "put" && entry.kind === "file" && entry.size >= LEAST_COPIED_BYTES) wanted.add(entry.size);
    }
    if (wanted.size === 0) return;
    for (const { size, sha256 = "", path } of gone.files()) if (wanted.has(size)) this.#byHash.set(sha256, path);
    for (const entry of entries.values()) {
      if (entry.kind !== "file" || !wanted.has(entry.size) || entry.sha256?.length !== WHOLE_HASH_DIGITS) continue;
      this.#sizes.set(entry.size, this.#sizes.has(entry.size) ? null : entry.path);
      this.#byHash.set(entry.sha256, entry.path);
    }
  }

  /** Whether files elsewhere have the size of this one: then it is worth knowing its hash before anything is sent. */
  has({ size, path }: FileEntry): boolean {
    const there = this.#sizes.get(size);
    return there !== undefined && there !== path;
  }

  /** The path of a file with that content. */
  of(sha256: Uint8Array): string | undefined {
    return this.#byHash.size === 0 ? undefined : this.#byHash.get(Buffer.from(sha256).toString("hex"));
  }
}
