/**
 * Finds chunks in all that a mirror holds, or held, so that they are not sent again. What its {@link ChunkIndex} says is
 * read and compared before it counts. Files are written down in the background, after they came and after each look at
 * the mirror, also when no client is there. One for each mirror, for as long as it is used.
 */

import fs from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { type ChunkList, chunkHash, MOST_CHUNK_BYTES } from "./chunk.js";
import { ChunkIndex } from "./chunk-index.js";
import { ChunkLists } from "./chunk-lists.js";
import type { ChunkSource } from "./chunk-sources.js";
import { openToRead } from "./content.js";
import { descriptorBudget } from "./descriptors.js";
import type { Entry } from "./entry.js";
import { BUSY_PAUSE_MS, LEAST_SOURCE_BYTES, MAX_OPEN_SOURCES, MAX_WAITING_SOURCES } from "./limits.js";
import { Places } from "./places.js";

const read = promisify(fs.read);

export interface ReuseOptions {
  /** The mirror's folder. */
  readonly root: string;
  /** Where the index is kept. */
  readonly directory: string;
  /** Where lists of chunks are kept, see {@link ChunkLists}. */
  readonly lists: string;
  /** Where the content of an old version is kept, by its sha256 in hex. Default: nothing is. */
  readonly kept?: ((sha256: string) => string | undefined) | undefined;
  /** Whether somebody is being served, who is not to wait for what is done in the background. */
  readonly busy?: (() => boolean) | undefined;
}

/** A file that chunks were found in, open. */
interface OpenSource {
  readonly fd: number;
  /** Chunks of it that are still to be copied. */
  uses: number;
}

/** A chunk that the mirror has; to be {@link Reuse.release}d. */
export interface FoundChunk {
  readonly source: OpenSource;
  readonly offset: number;
  readonly length: number;
  readonly hash: number;
}

export class Reuse {
  /** The lists of what large files consist of. */
  readonly lists: ChunkLists;
  readonly #options: ReuseOptions;
  readonly #index: ChunkIndex;
  readonly #places: Places;
  /** By number; those used last at the end. */
  readonly #open = new Map<number, OpenSource>();
  readonly #mostOpen = descriptorBudget(MAX_OPEN_SOURCES, 1 / 6);
  /** By path, the sha256 of what waits to be written down, or nothing. */
  readonly #waiting = new Map<string, string>();
  /** Memory for chunks that are compared: as much as was needed at a time. */
  readonly #spare: Buffer[] = [];
  #working: Promise<void> | undefined;
  readonly #looking = new Set<Promise<void>>();
  #closed = false;

  constructor(options: ReuseOptions) {
    this.#options = options;
    this.lists = new ChunkLists(options.lists);
    this.#index = new ChunkIndex(options.directory);
    this.#places = new Places(options.root);
  }

  /** Whether anything is known, or about to be. */
  get any(): boolean {
    return this.#index.exists || this.#working !== undefined;
  }

  /** The chunk, if the mirror has it. */
  async find(hash: number, length: number): Promise<FoundChunk | undefined> {
    const place = this.#index.find(hash, length);
    if (place === undefined) return undefined;
    const { source: number, offset, file } = place;
    const ways = [() => this.#openFile(file.path), () => this.#openKept(file)];
    for (const open of [undefined, ...ways]) {
      const source = this.#opened(number, open);
      if (source === undefined) continue;
      const chunk = { source, offset, length, hash };
      source.uses++;
      if (await this.#holds(chunk)) return chunk;
      source.uses--;
      this.#close(number);
    }
    // It is another file by now, or none.
    if (!this.#open.has(number) && this.#hasRoom()) this.#index.forget(number);
    return undefined;
  }

  /** Nothing more is to be copied of that chunk. */
  release({ source }: FoundChunk): void {
    source.uses--;
  }

  /** A file came, in these chunks. */
  async arrived(file: ChunkSource, list: ChunkList): Promise<void> {
    if (!this.#closed && file.size > LEAST_SOURCE_BYTES) await this.#index.add(file, list);
  }

  /** The file at `path` is to be written down when there is time. */
  later(path: string, sha256: string): void {
    if (this.#closed || this.#waiting.size >= MAX_WAITING_SOURCES) return;
    this.#waiting.set(path, sha256);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** What the mirror holds now: what is not written down will be, and what is gone is let go of. */
  look(entries: Promise<ReadonlyMap<string, Entry>>): void {
    const looking = entries
      .then((found) => this.#compare(found))
      .catch(() => {})
      .finally(() => this.#looking.delete(looking));
    this.#looking.add(looking);
  }

  #compare(entries: ReadonlyMap<string, Entry>): void {
    this.#index.prune((path) => entries.get(path)?.kind === "file", this.#keeps);
    for (const entry of entries.values()) {
      if (entry.kind !== "file" || entry.size <= LEAST_SOURCE_BYTES) continue;
      const { path, size, mtimeNs, sha256 = "" } = entry;
      if (!this.#index.knows(path, size, mtimeNs)) this.later(path, sha256);
    }
  }

  /** The file at `path`, which is at `place` now, is about to go. It stays open for a while: it may come elsewhere. */
  leaving(path: string, place: string | Buffer): void {
    const number = this.#index.at(path);
    if (number === undefined) return;
    const source = this.#opened(number) ?? this.#opened(number, () => openToRead(place));
    this.#index.left(number, this.#keeps || source !== undefined);
  }

  /** A file, or a folder with all it holds, has another name. */
  moved(from: string, to: string): void {
    this.#index.moved(from, to);
  }

  /** Nothing is under way, so that nothing which went is about to come elsewhere. */
  settled(): void {
    for (const number of [...this.#open.keys()]) this.#close(number);
  }

  /** Resolves when nothing waits to be written down. */
  async idle(): Promise<void> {
    while (this.#working !== undefined || this.#looking.size > 0) await Promise.all([this.#working, ...this.#looking]);
  }

  /** Resolves when nothing is being written down any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.clear();
    this.lists.stop();
    await this.idle();
    this.settled();
    this.#index.close();
  }

  get #keeps(): boolean {
    return this.#options.kept !== undefined;
  }

  async #work(): Promise<void> {
    for (const [path, sha256] of this.#waiting) {
      this.#waiting.delete(path);
      const fd = this.#openFile(path);
      if (fd === undefined) continue;
      try {
        await this.#writeDown(path, sha256, fd);
      } catch {
        // It has changed meanwhile: the next look finds it.
      } finally {
        fs.closeSync(fd);
      }
    }
  }

  async #writeDown(path: string, sha256: string, fd: number): Promise<void> {
    const { size, mtimeNs } = fs.fstatSync(fd, { bigint: true });
    const file = { path, size: Number(size), mtimeNs, sha256 };
    if (file.size <= LEAST_SOURCE_BYTES || this.#index.knows(path, file.size, mtimeNs)) return;
    const list = await this.lists.of(fd, LEAST_SOURCE_BYTES, this.#pause);
    if (list !== undefined) await this.arrived(file, list);
  }

  readonly #pause = async (): Promise<void> => {
    if (this.#options.busy?.()) await delay(BUSY_PAUSE_MS);
  };

  /** A source that is open, or one that `open` opens, where there is room for one more. */
  #opened(number: number, open?: () => number | undefined): OpenSource | undefined {
    const known = this.#open.get(number);
    if (open === undefined || known !== undefined) return open === undefined ? known : undefined;
    if (!this.#hasRoom()) return undefined;
    const fd = open();
    if (fd === undefined) return undefined;
    const source = { fd, uses: 0 };
    this.#open.set(number, source);
    return source;
  }

  /** Those used longest ago make way. */
  #hasRoom(): boolean {
    for (const number of this.#open.keys()) {
      if (this.#open.size < this.#mostOpen) break;
      this.#close(number);
    }
    return this.#open.size < this.#mostOpen;
  }

  async #holds({ source, offset, length, hash }: FoundChunk): Promise<boolean> {
    const memory = this.#spare.pop() ?? Buffer.allocUnsafeSlow(MOST_CHUNK_BYTES);
    try {
      const { bytesRead } = await read(source.fd, memory, 0, length, offset);
      return bytesRead === length && chunkHash(memory.subarray(0, length)) === hash;
    } catch {
      return false;
    } finally {
      this.#spare.push(memory);
    }
  }

  /** Unless something of it is still to be copied. */
  #close(number: number): void {
    const source = this.#open.get(number);
    if (source === undefined || source.uses > 0) return;
    fs.closeSync(source.fd);
    this.#open.delete(number);
  }

  #openFile(path: string): number | undefined {
    try {
      return openToRead(this.#places.at(path));
    } catch {
      return undefined;
    }
  }

  #openKept({ sha256 }: ChunkSource): number | undefined {
    const place = sha256 === "" ? undefined : this.#options.kept?.(sha256);
    return place === undefined ? undefined : openToRead(place);
  }
}
