/**
 * The chunk lists of the large files in a mirror, kept beside it. A list is a hint: it says which file it was made of
 * (inode, size, modification time), is made anew when it is missing or does not fit, and what is built with it is
 * checked against the hash of the whole.
 */
import fs from "node:fs";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { promisify } from "node:util";
import { makeFolder } from "../files/make-folder.js";
import { ChunkList, chunkHash, chunkLength, chunkRecord, throughWindow } from "./chunk.js";
import { Holes, zeroRecords } from "./holes.js";
import { MAX_CHUNK_LISTS, MAX_DELTA_BYTES, MIN_DELTA_BYTES } from "./limits.js";

const read = promisify(fs.read);
const NAME = /^[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-?[0-9a-f]+$/;

interface Building {
  readonly list: Promise<ChunkList>;
  /** Called between pieces of the content, until somebody waits for the list. */
  pause: (() => Promise<void>) | undefined;
}

export class ChunkLists {
  readonly #directory: string | undefined;
  readonly #building = new Map<string, Building>();
  #stopped = false;

  /** Without a directory nothing is kept. */
  constructor(directory: string | undefined) {
    this.#directory = directory;
  }

  /**
   * The list of an open file, known or made; `undefined` for one that is too small, too large, or no file. With `pause` there
   * is time, and that is waited for now and then.
   */
  async of(
    fd: number,
    leastBytes: number = MIN_DELTA_BYTES,
    pause?: () => Promise<void>,
  ): Promise<ChunkList | undefined> {
    const stats = fs.fstatSync(fd, { bigint: true });
    const size = Number(stats.size);
    if (!stats.isFile() || size < leastBytes || size > MAX_DELTA_BYTES) return undefined;
    const name = nameOf(stats);
    const known = this.#load(name, size);
    if (known !== undefined) return known;
    const building = this.#building.get(name);
    if (building !== undefined) {
      if (pause === undefined) building.pause = undefined;
      return building.list;
    }
    const list = await this.#begin(name, fd, size, pause);
    if (size >= MIN_DELTA_BYTES) this.#save(name, list);
    return list;
  }

  /** Keeps the list of a file, which was made while it was written. */
  keep(stats: fs.BigIntStats, list: ChunkList): void {
    if (list.fits(Number(stats.size))) this.#save(nameOf(stats), list);
  }

  /** Forgets the list of a file that did not turn out right. */
  forget(fd: number): void {
    if (this.#directory === undefined) return;
    fs.rmSync(`${this.#directory}/${nameOf(fs.fstatSync(fd, { bigint: true }))}`, { force: true });
  }

  /** Makes no more lists, and breaks off those that are being made. */
  stop(): void {
    this.#stopped = true;
  }

  /** Removes all but the lists used last. */
  clean(): void {
    const directory = this.#directory;
    if (directory === undefined || !fs.existsSync(directory)) return;
    const names = fs.readdirSync(directory);
    const age = (name: string): number => fs.lstatSync(`${directory}/${name}`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const odd = names.filter((name) => !NAME.test(name));
    for (const name of odd) fs.rmSync(`${directory}/${name}`, { recursive: true, force: true });
    if (names.length <= MAX_CHUNK_LISTS) return;
    const aged = names.map((name) => ({ name, at: age(name) })).sort((a, b) => b.at - a.at);
    for (const { name } of aged.slice(MAX_CHUNK_LISTS)) fs.rmSync(`${directory}/${name}`, { force: true });
  }

  #begin(name: string, fd: number, size: number, pause: Building["pause"]): Promise<ChunkList> {
    const ask = async (): Promise<void> => this.#building.get(name)?.pause?.();
    const list = this.#build(fd, size, ask).finally(() => this.#building.delete(name));
    this.#building.set(name, { list, pause });
    return list;
  }

  #load(name: string, size: number): ChunkList | undefined {
    if (this.#directory === undefined) return undefined;
    try {
      const list = new ChunkList(fs.readFileSync(`${this.#directory}/${name}`));
      return list.fits(size) ? list : undefined;
    } catch {
      return undefined;
    }
  }

  #save(name: string, list: ChunkList): void {
    if (this.#directory === undefined) return;
    const file = `${this.#directory}/${name}`;
    try {
      makeFolder(this.#directory, 0o700);
      fs.writeFileSync(`${file}.new`, list.records, { mode: 0o600 });
      fs.renameSync(`${file}.new`, file);
    } catch {
      // A list that cannot be kept is made again.
      fs.rmSync(`${file}.new`, { force: true });
    }
  }

  async #build(fd: number, size: number, pause: () => Promise<void>): Promise<ChunkList> {
    const records: Buffer[] = [];
    let offset = 0;
    const fill = async (buffer: Buffer): Promise<void> => {
      if (this.#stopped) throw new Error("stopped");
      for (let done = 0; done < buffer.length; ) {
        const { bytesRead } = await read(fd, buffer, done, buffer.length - done, offset);
        if (bytesRead === 0) throw new Error("the file has become shorter");
        done += bytesRead;
        offset += bytesRead;
      }
      await yieldToOthers();
      await pause();
    };
    const holes = new Holes(fd, size);
    while (offset < size) {
      const zeros = holes.zeros(offset);
      if (zeros > 0) records.push(zeroRecords(zeros));
      offset += zeros;
      const end = await endOfData(holes, offset, size);
      // Cut at holes, as the client does.
      await throughWindow(end - offset, fill, (view) => {
        const length = chunkLength(view);
        records.push(chunkRecord(length, chunkHash(view.subarray(0, length))));
        return length;
      });
    }
    return new ChunkList(Buffer.concat(records));
  }
}

/** Where the next hole begins, or the file ends. */
async function endOfData(holes: Holes, from: number, size: number): Promise<number> {
  let end = from;
  while (end < size && holes.zeros(end) === 0) {
    end += holes.data(end);
    if (end < size) await yieldToOthers();
  }
  return end;
}

/** A renamed file keeps its list; a file that was written anew does not. */
function nameOf({ dev, ino, size, mtimeNs }: fs.BigIntStats): string {
  return `${dev.toString(16)}-${ino.toString(16)}-${size.toString(16)}-${mtimeNs.toString(16)}`;
}
