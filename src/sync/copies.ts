import type { Entry } from "./entry.js";
import { LEAST_COPIED_BYTES } from "./limits.js";
import type { Operation } from "./plan.js";

const WHOLE_HASH_DIGITS = 64;

/** Files at the mirror that may hold what is about to be sent, so that the mirror can copy instead. Pure. */
export class Copies {
  readonly #sizes = new Set<number>();
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
      this.#sizes.add(entry.size);
      this.#byHash.set(entry.sha256, entry.path);
    }
  }

  /** Whether there are files of that size: then it is worth knowing the hash before anything is sent. */
  has(size: number): boolean {
    return this.#sizes.has(size);
  }

  /** The path of a file with that content. */
  of(sha256: Uint8Array): string | undefined {
    return this.#byHash.size === 0 ? undefined : this.#byHash.get(Buffer.from(sha256).toString("hex"));
  }
}
