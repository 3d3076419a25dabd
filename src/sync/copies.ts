import type { Entry, FileEntry } from "./entry.js";
import { LEAST_COPIED_BYTES } from "./limits.js";
import type { Operation } from "./plan.js";

const WHOLE_HASH_DIGITS = 64;

/** Files at the mirror that may hold what is about to be sent, so that the mirror can copy instead. Pure. */
export class Copies {
  /** By size, the path of the only file that has it, or null where several have. */
  readonly #sizes = new Map<number, string | null>();
  readonly #byHash = new Map<string, string>();

  /** `entries` are what the mirror holds, `operations` what is to be done there. */
  constructor(entries: ReadonlyMap<string, Entry>, operations: readonly Operation[]) {
    const wanted = new Set<number>();
    for (const { do: what, entry } of operations) {
      if (what === "put" && entry.kind === "file" && entry.size >= LEAST_COPIED_BYTES) wanted.add(entry.size);
    }
    if (wanted.size === 0) return;
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
