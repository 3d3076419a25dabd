/**
 * Which chunks a mirror has, and where: {@link ChunkTable} by hash, {@link ChunkSources} by number, beside the mirror. Both
 * carry one stamp; where one of them is missing or another's, both begin anew. What it says is a hint: it may be behind,
 * lost or damaged at any time, and what is found by it is read and compared.
 */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { makeFolder } from "../files/make-folder.js";
import type { ChunkList } from "./chunk.js";
import { type ChunkSource, ChunkSources } from "./chunk-sources.js";
import { type ChunkPlace, ChunkTable } from "./chunk-table.js";
import { isZeroChunk } from "./holes.js";
import { STAMP_BYTES } from "./stamped.js";

/** Chunks written down before others get their turn. */
const SLICE = 256;

interface Files {
  readonly table: ChunkTable;
  readonly sources: ChunkSources;
}

export class ChunkIndex {
  readonly #directory: string;
  #files: Files | undefined;
  /** `none`: nothing was written down yet. `broken`: it cannot be, and all goes on without. */
  #state: "unread" | "none" | "open" | "broken" = "unread";

  /** The directory is made when there is something to write down. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Whether anything may be known. Opens nothing. */
  get exists(): boolean {
    return this.#state === "unread" ? fs.existsSync(`${this.#directory}/sources`) : this.#state === "open";
  }

  /** Whether the chunks of that very version are written down. */
  knows(path: string, size: number, mtimeNs: bigint): boolean {
    return (
      this.#trying(({ sources }) => {
        const known = sources.get(sources.at(path) ?? 0);
        return known?.size === size && known.mtimeNs === mtimeNs;
      }) ?? false
    );
  }

  /** Writes down what a file of the mirror consists of; it counts when all of that is. */
  async add(file: ChunkSource, list: ChunkList): Promise<void> {
    const number = this.#trying(({ sources }) => sources.number(), true);
    if (number === undefined) return;
    let offset = 0;
    for (let i = 0; i < list.count; i++) {
      const length = list.length(i);
      const place = { source: number, offset };
      if (isZeroChunk(list.hash(i), length)) {
        offset += length;
        continue;
      }
      this.#trying(({ table, sources }) =>
        table.put(list.hash(i), length, place, (one) => one === number || sources.get(one) !== undefined),
      );
      offset += length;
      if (i % SLICE === SLICE - 1) await yieldToOthers();
    }
    this.#trying(({ sources }) => {
      const before = sources.at(file.path);
      if (before !== undefined) sources.left(before);
      sources.add(number, file);
    });
  }

  /** Where such a chunk may be. */
  find(hash: number, length: number): (ChunkPlace & { readonly file: ChunkSource }) | undefined {
    return this.#trying(({ table, sources }) => {
      const place = table.find(hash, length);
      const file = sources.get(place?.source ?? 0);
      return place === undefined || file === undefined ? undefined : { ...place, file };
    });
  }

  /** The number of the file at a path. */
  at(path: string): number | undefined {
    return this.#trying(({ sources }) => sources.at(path));
  }

  /** A file, or a folder with all it holds, has another name. */
  moved(from: string, to: string): void {
    this.#trying(({ sources }) => {
      const replaced = sources.at(to);
      if (replaced !== undefined) sources.left(replaced);
      sources.moved(from, to);
    });
  }

  /** That file is in the mirror no more; it may still be `kept` as an old version. */
  left(number: number, kept: boolean): void {
    this.#trying(({ sources }) => (kept ? sources.left(number) : sources.forget(number)));
  }

  forget(number: number): void {
    this.#trying(({ sources }) => sources.forget(number));
  }

  /** Lets go of those files of the mirror that are not there. */
  prune(isThere: (path: string) => boolean, kept: boolean): void {
    const gone = this.#trying(({ sources }) => [...sources.paths()].filter(([path]) => !isThere(path))) ?? [];
    for (const [, number] of gone) this.left(number, kept);
  }

  close(): void {
    this.#close();
    this.#state = "unread";
  }

  #close(): void {
    this.#files?.table.close();
    this.#files?.sources.close();
    this.#files = undefined;
  }

  /** Does something with what there is; with `create`, also where there is nothing yet. Where it fails, nothing is known. */
  #trying<T>(work: (files: Files) => T, create = false): T | undefined {
    if (this.#state === "broken" || (this.#state === "none" && !create)) return undefined;
    try {
      this.#files ??= this.#open(create);
      this.#state = this.#files === undefined ? "none" : "open";
      return this.#files === undefined ? undefined : work(this.#files);
    } catch {
      // A disk that is full, or fails: the mirror needs none of this.
      this.#close();
      this.#state = "broken";
      return undefined;
    }
  }

  #open(create: boolean): Files | undefined {
    const [tablePath, sourcesPath] = [`${this.#directory}/table`, `${this.#directory}/sources`];
    const sources = ChunkSources.open(sourcesPath);
    const table = sources === undefined ? undefined : ChunkTable.open(tablePath, sources.stamp);
    if (sources !== undefined && table !== undefined) return { sources, table };
    sources?.close();
    if (!create) return undefined;
    makeFolder(this.#directory, 0o700);
    const stamp = randomBytes(STAMP_BYTES);
    return { table: ChunkTable.create(tablePath, stamp), sources: ChunkSources.create(sourcesPath, stamp) };
  }
}
