/**
 * Folders of a mirror keep the modification times and permissions that the client has given them, though names in them
 * change: what they were is remembered before a change, and set again before that is made durable.
 */
import fs from "node:fs";
import { setTimeOf } from "./disk.js";
import { SyncError, systemCode } from "./errors.js";
import type { Places } from "./places.js";

const DENIED: ReadonlySet<string> = new Set(["EACCES", "EPERM"]);
const OWNER_MAY = 0o700;

interface Kept {
  readonly mtimeNs: bigint;
  /** Where it was made writable for us. */
  mode?: number;
}

export class FolderTimes {
  readonly #places: Places;
  readonly #kept = new Map<string, Kept>();

  constructor(places: Places) {
    this.#places = places;
  }

  /** Remembers a folder as it is, unless that was done since the last {@link restore}. The mirror's own is left out. */
  keep(folder: string): void {
    if (folder === "" || this.#kept.has(folder)) return;
    this.#kept.set(folder, { mtimeNs: fs.statSync(this.#places.folder(folder), { bigint: true }).mtimeNs });
  }

  /** Makes a folder writable for a while, where that may be why something was denied. */
  unlock(folder: string, error: unknown): boolean {
    const kept = this.#kept.get(folder);
    if (kept === undefined || kept.mode !== undefined || !DENIED.has(systemCode(error) ?? "")) return false;
    const place = this.#places.folder(folder);
    const mode = fs.statSync(place).mode & 0o7777;
    if ((mode & OWNER_MAY) === OWNER_MAY) return false;
    try {
      fs.chmodSync(place, mode | OWNER_MAY);
    } catch {
      return false;
    }
    kept.mode = mode;
    return true;
  }

  /** It is about to be given a time and permissions: returns those that it had, where it was made writable since. */
  take(folder: string): number | undefined {
    const kept = this.#kept.get(folder);
    this.#kept.delete(folder);
    return kept?.mode;
  }

  restore(): void {
    for (const [folder, { mtimeNs, mode }] of this.#kept) {
      try {
        const place = this.#places.folder(folder);
        if (mode !== undefined) fs.chmodSync(place, mode);
        setTimeOf(place, mtimeNs);
      } catch (error) {
        // It is gone, or another one by now.
        if (!(error instanceof SyncError) && systemCode(error) !== "ENOENT") throw error;
      }
    }
    this.#kept.clear();
  }
}
