/**
 * Where the content of old versions is kept: `versions/objects/`, each content once, under its SHA-256.
 *
 * What goes is first linked to (no copy) under `versions/incoming/RUN/`, with a line in the journal there that says what
 * it was; later, when its hash is known and the database has it, it becomes an object. Whatever a crash leaves between
 * the two is found by the next start: either it counts as a version, or it is an extra that nobody sees and that is removed.
 */

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { makeFolder } from "../../files/make-folder.js";
import { linesOrNothing, listOrNothing } from "../../files/read-or-nothing.js";
import { nameFromBytes } from "../../sync/index.js";
import { hashFile } from "./hash.js";
import { isRunning } from "./running.js";

const fdatasync = promisify(fs.fdatasync);
const fsync = promisify(fs.fsync);
const JOURNAL = "journal";
const RUN = /^(\d+)-[0-9a-f]+$/;
const SHA256 = /^[0-9a-f]{64}$/;
/** A journal that is not needed any more and longer than this is emptied. */
const JOURNAL_BYTES = 1 << 20;

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

export class ContentStore {
  readonly #objects: string;
  readonly #incoming: string;
  readonly #run = `${process.pid}-${randomBytes(4).toString("hex")}`;
  #journal: number | undefined;
  #counter = 0;
  /** Lines in the journal that are still needed. */
  #open = 0;
  #dirty = false;
  #flushing: Promise<void> | undefined;

  /** `dir` is made when something is kept. */
  constructor(dir: string) {
    this.#objects = `${dir}/objects`;
    this.#incoming = `${dir}/incoming`;
  }

  /** Keeps what stands at `absolutePath`, which stays where it is. Synchronous: nothing may happen to it meanwhile. */
  retire(absolutePath: string | Buffer, what: Pick<Retired, "folder" | "path" | "why" | "at">): Retired {
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
    if (!link) linkOrCopy(absolutePath, this.#place(retired));
    // Half a line, of a disk that was full, must not spoil the next.
    fs.writeSync(journal, `\n${JSON.stringify(retired)}\n`);
    this.#open++;
    this.#dirty = true;
    return retired;
  }

  /** Makes what was retired so far durable. */
  async flush(): Promise<void> {
    while (this.#dirty) {
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = undefined;
      });
      await this.#flushing;
    }
  }

  hash(retired: Retired): Promise<string> {
    return hashFile(this.#place(retired));
  }

  /** Gives what was retired its place among the objects, where it may be already. It can be done again. */
  keep(retired: Retired, sha256: string): void {
    const object = this.#object(sha256);
    if (fs.existsSync(object)) return;
    makeFolder(dirname(object), 0o700);
    try {
      linkOrCopy(this.#place(retired), object);
    } catch (error) {
      if (!fs.existsSync(object)) throw error;
    }
  }

  /** It is in the database: the journal need not know it any more. */
  settle(retired: Retired): void {
    fs.rmSync(this.#place(retired), { force: true });
    if (retired.run !== this.#run) return;
    this.#open--;
    if (this.#open > 0 || this.#journal === undefined) return;
    if (fs.fstatSync(this.#journal).size > JOURNAL_BYTES) fs.ftruncateSync(this.#journal, 0);
  }

  /** What earlier runs, of programs that have ended, left unfinished; each is to be kept and settled. */
  *unfinished(): Generator<Retired> {
    for (const run of this.#earlierRuns()) {
      for (const line of linesOrNothing(`${this.#incoming}/${run}/${JOURNAL}`)) {
        const retired = parse(line);
        // Content that is not there any more was settled; of links the database knows.
        if (retired?.run === run && (retired.kind === "link" || fs.existsSync(this.#place(retired)))) yield retired;
      }
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

  close(): void {
    if (this.#journal === undefined) return;
    fs.closeSync(this.#journal);
    this.#journal = undefined;
    if (this.#open === 0) fs.rmSync(`${this.#incoming}/${this.#run}`, { recursive: true, force: true });
  }

  async #flush(): Promise<void> {
    this.#dirty = false;
    if (this.#journal === undefined) return;
    await fdatasync(this.#journal);
    const folder = fs.openSync(`${this.#incoming}/${this.#run}`, "r");
    try {
      await fsync(folder);
    } finally {
      fs.closeSync(folder);
    }
  }

  #openJournal(): number {
    if (this.#journal === undefined) {
      makeFolder(`${this.#incoming}/${this.#run}`, 0o700);
      this.#journal = fs.openSync(`${this.#incoming}/${this.#run}/${JOURNAL}`, "a", 0o600);
    }
    return this.#journal;
  }

  #earlierRuns(): string[] {
    return listOrNothing(this.#incoming).filter((run) => {
      const pid = RUN.exec(run)?.[1];
      return pid !== undefined && run !== this.#run && !isRunning(Number(pid));
    });
  }

  #place({ run, id }: Pick<Retired, "run" | "id">): string {
    return `${this.#incoming}/${run}/${id}`;
  }

  #object(sha256: string): string {
    return `${this.#objects}/${sha256.slice(0, 2)}/${sha256}`;
  }
}

/** A copy where the file system has no hard links, or it is another one: blocking, but nothing may happen meanwhile. */
function linkOrCopy(from: string | Buffer, to: string): void {
  try {
    fs.linkSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST" || !fs.lstatSync(from).isFile()) throw error;
    fs.copyFileSync(from, `${to}.copy`, fs.constants.COPYFILE_FICLONE);
    fs.renameSync(`${to}.copy`, to);
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
