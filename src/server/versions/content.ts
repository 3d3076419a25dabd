/**
 * Where the content of old versions is kept: `versions/objects/`, each content once, under its SHA-256.
 *
 * What is deleted is renamed to, and what is replaced is first linked to (no copy) under `versions/incoming/RUN/`, with a line in
 * the journal there that says what it was; later, when its hash is known and the database has it, it becomes an object. Whatever a
 * crash leaves between the two is found by the next start: either it counts as a version, or it is an extra that nobody sees and
 * that is removed.
 *
 * Nothing here relies on the order in which a file system happens to write: a link to what is replaced is flushed before the rename
 * over it, and a link among the objects before the one under `incoming` is removed.
 */

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { makeFolder } from "../../files/make-folder.js";
import { linesOrNothing, listOrNothing } from "../../files/read-or-nothing.js";
import { copySparse, type FileLayer, FileSystemFlusher, Holes, nameFromBytes, SYSTEM_FILES } from "../../sync/index.js";
import { hashFile } from "./hash.js";
import { isRunning } from "./running.js";

const JOURNAL = /^journal(-\d+)?$/;
const ID = /^\d+$/;
const RUN = /^(\d+)-[0-9a-f]+$/;
const SHA256 = /^[0-9a-f]{64}$/;
/** A journal that is not needed any more and longer than this is emptied. */
const JOURNAL_BYTES = 1 << 20;
/** What the database has stays under `incoming` for so long, so that the links to many objects are flushed together. Milliseconds. */
const RELEASE_MS = 1000;
/** More folders than this are flushed together with their file system. */
const FEW_FOLDERS = 16;
/** Files removed before others have their turn. */
const FILES_IN_A_ROW = 50;

/** What was about to be replaced or deleted. Plain data, one a line in the journal. */
export interface Retired {
  /** The name of its content in the folder of its run; links have none. */
  readonly id: string;
  readonly run: string;
  readonly folder: string;
  readonly path: string;
  readonly why: "replaced" | "deleted";
  readonly at: number;
  readonly kind: "file" | "link";
  readonly size: number;
  readonly mode: number;
  /** Decimal. */
  readonly mtimeNs: string;
  readonly target: string | null;
}

/** What is about to be replaced, and linked to already. */
export interface Linked {
  readonly retired: Retired;
  readonly dev: bigint;
  readonly ino: bigint;
}

export interface ContentStoreOptions {
  /** Default: the system's. */
  readonly files?: FileLayer | undefined;
  readonly onError?: (error: unknown) => void;
}

export class ContentStore {
  readonly #onError: (error: unknown) => void;
  readonly #dir: string;
  readonly #objects: string;
  readonly #incoming: string;
  readonly #files: FileLayer;
  readonly #fileSystem: FileSystemFlusher;
  readonly #run = `${process.pid}-${randomBytes(4).toString("hex")}`;
  #journal: number | undefined;
  #journals = 0;
  #counter = 0;
  /** What the journal is still needed for, by its id. */
  readonly #open = new Map<string, Retired>();
  /** What was linked to, and is neither retired nor forgotten yet. */
  readonly #linked = new Set<Linked>();
  /** How much was retired, and how much of that is durable. */
  #retired = 0;
  #flushed = 0;
  #flushing: Promise<void> | undefined;
  /** Folders with names that are not flushed yet. */
  #unflushed = new Set<string>();
  /** What the database has, and is not removed yet. */
  #settled: Retired[] = [];
  #releasing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** Whether the names of the folders above the journal are flushed. */
  #isReachable = false;

  /** `dir` is made when something is kept. `onError` is told of flushes that nobody waits for. */
  constructor(dir: string, { files = SYSTEM_FILES, onError }: ContentStoreOptions = {}) {
    this.#onError = onError ?? (() => {});
    this.#dir = dir;
    this.#objects = `${dir}/objects`;
    this.#incoming = `${dir}/incoming`;
    this.#files = files;
    this.#fileSystem = new FileSystemFlusher(this.#objects, files);
  }

  /**
   * Links to what stands at `absolutePath` and is about to be replaced, so that {@link flush} makes that durable before. To be
   * followed by {@link retire} or {@link forget}.
   */
  link(absolutePath: string | Buffer, what: Pick<Retired, "folder" | "path" | "at">): Linked {
    const { dev, ino } = fs.lstatSync(absolutePath, { bigint: true });
    const linked = { retired: this.#retire(absolutePath, { ...what, why: "replaced" }), dev, ino };
    this.#linked.add(linked);
    return linked;
  }

  /** What was linked to is not replaced; nothing happens where it was {@link retire retired}. */
  forget(linked: Linked): void {
    if (!this.#linked.delete(linked)) return;
    const { retired } = linked;
    this.#open.delete(retired.id);
    this.#files.remove(this.#place(retired));
    this.#emptyJournal();
  }

  /**
   * Keeps what stands at `absolutePath`: a deleted file is renamed away, everything else stays where it is. Synchronous: nothing may
   * happen to it meanwhile. What was linked to before is used if it is still what stands there.
   */
  retire(
    absolutePath: string | Buffer,
    what: Pick<Retired, "folder" | "path" | "why" | "at">,
    linked?: Linked,
  ): Retired {
    if (linked !== undefined && isStill(absolutePath, linked) && this.#linked.delete(linked)) return linked.retired;
    if (linked !== undefined) this.forget(linked);
    return this.#retire(absolutePath, what);
  }

  #retire(absolutePath: string | Buffer, what: Pick<Retired, "folder" | "path" | "why" | "at">): Retired {
    const journal = this.#openJournal();
    const stats = fs.lstatSync(absolutePath, { bigint: true });
    const link = stats.isSymbolicLink();
    const retired: Retired = {
      id: String(this.#counter++),
      run: this.#run,
      ...what,
      kind: link ? "link" : "file",
      size: Number(stats.size),
      mode: Number(stats.mode & 0o7777n),
      mtimeNs: String(stats.mtimeNs),
      target: link ? nameFromBytes(fs.readlinkSync(absolutePath, { encoding: "buffer" })) : null,
    };
    // A line without content counts for nothing.
    fs.writeSync(journal, lineOf(retired));
    this.#retired++;
    if (!link && what.why === "deleted") this.#renameOrCopy(absolutePath, this.#place(retired));
    else if (!link) this.#linkOrCopy(absolutePath, this.#place(retired));
    this.#open.set(retired.id, retired);
    return retired;
  }

  /** Makes what was retired so far durable. */
  async flush(): Promise<void> {
    const wanted = this.#retired;
    while (this.#flushed < wanted) {
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = undefined;
      });
      await this.#flushing;
    }
  }

  hash(retired: Pick<Retired, "run" | "id">): Promise<string> {
    return hashFile(this.#place(retired));
  }

  /** Gives what was retired its place among the objects, where it may be already. It can be done again. */
  keep(retired: Pick<Retired, "run" | "id">, sha256: string): void {
    const object = this.#object(sha256);
    const folder = dirname(object);
    if (!fs.existsSync(folder)) {
      makeFolder(folder, 0o700);
      this.#unflushed.add(this.#objects).add(this.#dir).add(dirname(this.#dir));
    }
    this.#fileSystem.hold();
    this.#unflushed.add(folder);
    if (fs.existsSync(object)) return;
    try {
      this.#linkOrCopy(this.#place(retired), object);
    } catch (error) {
      if (!fs.existsSync(object)) throw error;
    }
  }

  /** It is in the database: as soon as its place among the objects is durable, the journal need not know it any more. */
  settle(retired: Retired): void {
    this.#settled.push(retired);
    this.#timer ??= setTimeout(() => void this.release().catch(this.#onError), RELEASE_MS).unref();
  }

  /**
   * Removes what is {@link settle settled} from `incoming`. Where the objects cannot be flushed it rejects, and all of that stays: the
   * next start looks whether the objects are there.
   */
  release(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const released = this.#releasing.then(() => this.#release());
    this.#releasing = released.catch(() => {});
    return released;
  }

  async #release(): Promise<void> {
    const settled = this.#settled.splice(0);
    if (settled.length === 0) return;
    const folders = [...this.#unflushed];
    this.#unflushed = new Set();
    if (folders.length > FEW_FOLDERS && this.#files.canSyncfs()) await this.#fileSystem.flush();
    else for (const folder of folders) await this.#flushFolder(folder);
    if (this.#unflushed.size === 0) this.#fileSystem.release();
    for (const [at, retired] of settled.entries()) {
      if (at % FILES_IN_A_ROW === FILES_IN_A_ROW - 1) await yieldToOthers();
      this.#files.remove(this.#place(retired));
      if (retired.run === this.#run) this.#open.delete(retired.id);
    }
    this.#emptyJournal();
  }

  /** What earlier runs, of programs that have ended, left unfinished; each is to be kept and settled. */
  *unfinished(): Generator<Retired> {
    for (const run of this.#earlierRuns()) {
      for (const retired of this.#journaled(run).values()) {
        // Content that is not there any more was settled; of links the database knows.
        if (retired.kind === "link" || fs.existsSync(this.#place(retired))) yield retired;
      }
    }
  }

  /**
   * Gives the content that earlier runs, of programs that have ended, have left without a line in their journals its place among the
   * objects: a power failure can keep the one and not the other. What nobody needs is found by the next sweep.
   */
  async adoptOrphans(): Promise<number> {
    let adopted = 0;
    for (const run of this.#earlierRuns()) {
      const journaled = this.#journaled(run);
      for (const id of listOrNothing(`${this.#incoming}/${run}`)) {
        if (!ID.test(id) || journaled.has(id)) continue;
        this.keep({ run, id }, await this.hash({ run, id }));
        this.#settled.push({ run, id } as Retired);
        adopted++;
      }
    }
    return adopted;
  }

  #journaled(run: string): Map<string, Retired> {
    const found = new Map<string, Retired>();
    for (const journal of listOrNothing(`${this.#incoming}/${run}`)) {
      if (!JOURNAL.test(journal)) continue;
      for (const line of linesOrNothing(`${this.#incoming}/${run}/${journal}`)) {
        const retired = parse(line);
        if (retired?.run === run) found.set(retired.id, retired);
      }
    }
    return found;
  }

  /** Whether what was about to be replaced or deleted still stands at `absolutePath`. Where links are copies, that is not known. */
  isThere(retired: Retired, absolutePath: string | Buffer): boolean {
    try {
      const there = fs.lstatSync(absolutePath, { bigint: true });
      if (retired.kind === "link") return there.isSymbolicLink() && String(there.mtimeNs) === retired.mtimeNs;
      const kept = fs.lstatSync(this.#place(retired), { bigint: true });
      return there.ino === kept.ino && there.dev === kept.dev;
    } catch {
      return false;
    }
  }

  /** When all that is unfinished is settled: what is left of earlier runs are extras. */
  async forgetEarlierRuns(): Promise<void> {
    for (const run of this.#earlierRuns()) await rm(`${this.#incoming}/${run}`, { recursive: true, force: true });
  }

  /** Where the content is; `undefined` where it is not kept. */
  find(sha256: string): string | undefined {
    const object = this.#object(sha256);
    return fs.existsSync(object) ? object : undefined;
  }

  /**
   * Removes content that is not needed. It is set aside first and asked for once more: what has become needed in
   * between comes back.
   */
  async remove(sha256: string, needed: () => Promise<boolean>): Promise<boolean> {
    const object = this.#object(sha256);
    const aside = `${object}.going`;
    try {
      fs.renameSync(object, aside);
    } catch {
      return false;
    }
    let back = true;
    try {
      back = await needed();
    } finally {
      if (back && !fs.existsSync(object)) fs.renameSync(aside, object);
      else fs.rmSync(aside, { force: true });
    }
    return !back;
  }

  /** The places that content is spread over, each with about a 256th of it. */
  places(): string[] {
    return listOrNothing(this.#objects);
  }

  /** The content that is kept at one of the {@link places}; what was set aside when a program ended is put back first. */
  keptAt(place: string): string[] {
    const found = new Set<string>();
    for (const name of listOrNothing(`${this.#objects}/${place}`)) {
      const sha256 = name.replace(/\.going$/, "");
      if (!SHA256.test(sha256)) continue;
      if (name !== sha256) {
        const object = this.#object(sha256);
        if (fs.existsSync(object)) fs.rmSync(`${object}.going`, { force: true });
        else fs.renameSync(`${object}.going`, object);
      }
      found.add(sha256);
    }
    return [...found];
  }

  /** Rejects where the objects cannot be flushed; then the next start finishes what is left. */
  async close(): Promise<void> {
    try {
      await this.release();
    } finally {
      this.#fileSystem.release();
      if (this.#journal !== undefined) fs.closeSync(this.#journal);
      this.#journal = undefined;
      if (this.#journals > 0 && this.#open.size === 0)
        fs.rmSync(`${this.#incoming}/${this.#run}`, { recursive: true, force: true });
    }
  }

  /** A journal that could not be flushed is not written to again: what the system still has of it, it takes for written. */
  async #flush(): Promise<void> {
    const journal = this.#openJournal();
    const retired = this.#retired;
    try {
      await this.#files.fdatasync(journal);
      await this.#flushFolder(`${this.#incoming}/${this.#run}`);
      if (!this.#isReachable) {
        for (const folder of [this.#incoming, this.#dir, dirname(this.#dir)]) await this.#flushFolder(folder);
      }
      this.#isReachable = true;
      this.#flushed = retired;
    } catch (error) {
      this.#journal = undefined;
      fs.closeSync(journal);
      throw error;
    }
  }

  async #flushFolder(folder: string): Promise<void> {
    const fd = fs.openSync(folder, "r");
    try {
      await this.#files.fsync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  #openJournal(): number {
    if (this.#journal !== undefined) return this.#journal;
    const folder = `${this.#incoming}/${this.#run}`;
    makeFolder(folder, 0o700);
    const name = this.#journals === 0 ? "journal" : `journal-${this.#journals}`;
    const journal = fs.openSync(`${folder}/${name}`, "a", 0o600);
    try {
      if (this.#open.size > 0) fs.writeFileSync(journal, [...this.#open.values()].map(lineOf).join(""));
    } catch (error) {
      fs.closeSync(journal);
      throw error;
    }
    this.#journals++;
    this.#journal = journal;
    return journal;
  }

  #emptyJournal(): void {
    if (this.#open.size > 0 || this.#journal === undefined) return;
    if (fs.fstatSync(this.#journal).size > JOURNAL_BYTES) fs.ftruncateSync(this.#journal, 0);
  }

  #earlierRuns(): string[] {
    return listOrNothing(this.#incoming).filter((run) => {
      const pid = RUN.exec(run)?.[1];
      return pid !== undefined && run !== this.#run && !isRunning(Number(pid));
    });
  }

  #renameOrCopy(from: string | Buffer, to: string): void {
    try {
      this.#files.rename(from, to);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
      this.#copy(from, to);
    }
  }

  /** A copy where the file system has no hard links, or it is another one. */
  #linkOrCopy(from: string | Buffer, to: string): void {
    try {
      this.#files.link(from, to);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST" || !fs.lstatSync(from).isFile()) throw error;
      this.#copy(from, to);
    }
  }

  /** Blocks, as nothing may happen to the file meanwhile. */
  #copy(from: string | Buffer, to: string): void {
    copyFile(from, `${to}.copy`);
    const fd = fs.openSync(`${to}.copy`, "r+");
    try {
      this.#files.fsyncNow(fd);
    } finally {
      fs.closeSync(fd);
    }
    this.#files.rename(`${to}.copy`, to);
  }

  #place({ run, id }: Pick<Retired, "run" | "id">): string {
    return `${this.#incoming}/${run}/${id}`;
  }

  #object(sha256: string): string {
    return `${this.#objects}/${sha256.slice(0, 2)}/${sha256}`;
  }
}

function isStill(absolutePath: string | Buffer, { retired, dev, ino }: Linked): boolean {
  const there = fs.lstatSync(absolutePath, { bigint: true });
  const same = there.dev === dev && there.ino === ino && String(there.mtimeNs) === retired.mtimeNs;
  return same && Number(there.mode & 0o7777n) === retired.mode && Number(there.size) === retired.size;
}

/** Half a line, of a disk that was full, must not spoil the next. */
function lineOf(retired: Retired): string {
  return `\n${JSON.stringify(retired)}\n`;
}

function copyFile(from: string | Buffer, to: string): void {
  const fd = fs.openSync(from, "r");
  try {
    if (!new Holes(fd, fs.fstatSync(fd).size).any) {
      fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE);
      return;
    }
    const into = fs.openSync(to, "w", 0o600);
    try {
      copySparse(fd, into);
    } finally {
      fs.closeSync(into);
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** What is read from a disk may be anything. */
export function isRetired(value: unknown): value is Retired {
  if (typeof value !== "object" || value === null) return false;
  const { id, run, folder, path, why, at, kind, size, mode, mtimeNs, target } = value as Record<string, unknown>;
  const texts = [run, folder, path].every((text) => typeof text === "string");
  const numbers = [at, size, mode].every((number) => Number.isSafeInteger(number));
  const known = (why === "replaced" || why === "deleted") && (kind === "file" || kind === "link");
  const named =
    typeof id === "string" && /^\d+$/.test(id) && typeof mtimeNs === "string" && /^-?\d{1,19}$/.test(mtimeNs);
  return texts && numbers && known && named && (target === null || typeof target === "string");
}

function parse(line: string): Retired | undefined {
  try {
    const retired = JSON.parse(line) as Retired;
    return isRetired(retired) ? retired : undefined;
  } catch {
    // The last line of a program that was killed may be half a one: then what it was for has not happened.
    return undefined;
  }
}
