/**
 * Files with several names (hard links). A change made through another name, in the folder or outside of it, raises no
 * event where the folder is watched; so such files are watched themselves.
 */
import { type FSWatcher, watch } from "node:fs";
import { Subject } from "rxjs";
import type { Entry, FileEntry } from "./entry.js";
import { MAX_LINKED_WATCHES } from "./limits.js";
import { systemPath } from "./names.js";
import { isWithin } from "./path.js";
import type { Hint } from "./watch.js";

export class LinkedFiles {
  /** Paths whose content may have changed. */
  readonly hints: Subject<Hint> = new Subject<Hint>();
  readonly #folder: string;
  readonly #watched = new Map<string, { readonly version: string | undefined; readonly watcher: FSWatcher }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What stands at and below `roots` now. Beyond {@link MAX_LINKED_WATCHES} files, walks have to find what changed. */
  look(roots: readonly string[], entries: ReadonlyMap<string, Entry>): void {
    for (const path of [...this.#watched.keys()]) {
      if (roots.some((root) => isWithin(path, root)) && !isLinked(entries.get(path))) this.#forget(path);
    }
    for (const entry of entries.values()) if (isLinked(entry)) this.#watch(entry);
  }

  close(): void {
    for (const path of [...this.#watched.keys()]) this.#forget(path);
  }

  #watch({ path, version }: FileEntry): void {
    const inode = version?.split(".")[0];
    if (this.#watched.get(path)?.version === inode) return;
    this.#forget(path);
    if (this.#watched.size >= MAX_LINKED_WATCHES) return;
    try {
      const watcher = watch(systemPath(`${this.#folder}/${path}`), { persistent: false });
      watcher.on("change", () => this.hints.next({ folder: this.#folder, path, reason: "change" }));
      watcher.on("error", () => this.#forget(path));
      this.#watched.set(path, { version: inode, watcher });
    } catch {
      // Gone meanwhile, or no watches left: a walk finds it.
    }
  }

  #forget(path: string): void {
    this.#watched.get(path)?.watcher.close();
    this.#watched.delete(path);
  }
}

function isLinked(entry: Entry | undefined): entry is FileEntry {
  return entry?.kind === "file" && (entry.linked ?? false);
}
