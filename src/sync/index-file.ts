/**
 * What is known to be equal at a mirror, kept beside the user's state over restarts: by path the version (inode and
 * change time), size, modification time and hash of the file that the mirror has confirmed. It only ever saves work:
 * what it does not vouch for is compared by hash, so that it may be lost or damaged at any time.
 *
 * A file of records of one length, appended to; the last one for a path counts. Each carries a checksum, a damaged one
 * counts for nothing. Not flushed: what a crash takes is found out anew.
 */
import { createHash, hash } from "node:crypto";
import fs from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { makeFolder } from "../files/make-folder.js";
import { type Comparison, DIFFERS, type Entry, type FileEntry, sameTime } from "./entry.js";
import { INDEX_FLUSH_MS, INDEX_FLUSH_RECORDS, INDEX_SPARE_RECORDS } from "./limits.js";
import { hasEscapes, nameToBytes } from "./names.js";
import { timeFromBits, timeToBits } from "./times.js";
import { Turns } from "./turns.js";

const MAGIC = Buffer.from("confundo index 1\n");
const KEY_BYTES = 16;
const VERSION_AT = KEY_BYTES;
const VERSION_BYTES = 28;
const SIZE_AT = VERSION_AT + VERSION_BYTES;
const TIME_AT = SIZE_AT + 8;
const HASH_AT = TIME_AT + 8;
const SUM_AT = HASH_AT + 32;
/** The header takes the place of one record. */
const RECORD_BYTES: number = SUM_AT + 4;
const RECORD_WORDS = RECORD_BYTES / 4;
const KEY_WORDS = KEY_BYTES / 4;
const NO_HASH = Buffer.alloc(32);
const NO_HASH_HEX = NO_HASH.toString("hex");

export class IndexFile {
  readonly path: string;
  /** Whether an earlier run has recorded something. */
  readonly hadRecords: boolean;
  readonly #header: Buffer;
  readonly #onProblem: (error: Error) => void;
  #fd: number | undefined;
  #pending: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #gaveUp = false;

  /**
   * `owner` says whose index this is: an index of another folder or mirror counts for nothing. `onProblem` is told once
   * when it cannot be written; all goes on without.
   */
  constructor(path: string, owner: string, onProblem: (error: Error) => void = () => {}) {
    this.path = path;
    this.#header = Buffer.alloc(RECORD_BYTES);
    MAGIC.copy(this.#header);
    sha256(owner).copy(this.#header, RECORD_BYTES - 32);
    this.#onProblem = onProblem;
    this.hadRecords = this.#hasRecords();
  }

  #hasRecords(): boolean {
    try {
      const fd = fs.openSync(this.path, "r");
      try {
        const header = Buffer.alloc(RECORD_BYTES);
        fs.readSync(fd, header, 0, RECORD_BYTES, 0);
        return header.equals(this.#header) && fs.fstatSync(fd).size > RECORD_BYTES;
      } finally {
        fs.closeSync(fd);
      }
    } catch {
      return false;
    }
  }

  /** What is recorded by now, to look things up in. */
  async open(): Promise<Recorded> {
    this.flush();
    return new Recorded(await Records.of(await this.#read()));
  }

  /**
   * Gives those of a mirror's files that are as they were confirmed the version that they have here. Returns how many.
   * Makes the index anew when most of it is about nothing that is there.
   */
  async vouch(entries: Map<string, Entry>, comparison: Comparison = {}): Promise<number> {
    this.flush();
    if (!this.#hasMuchToSpare(entries.size) && areVouchedFor(entries)) return 0;
    const records = await Records.of(await this.#read());
    const live: Buffer[] = [];
    let vouched = 0;
    const turns = new Turns();
    for (const entry of entries.values()) {
      if (turns.isOver()) await turns.next();
      if (entry.kind !== "file") continue;
      const record = records.find(entry.path);
      if (record === undefined) continue;
      const mtimeNs = timeIn(record);
      if (sizeIn(record) !== entry.size || !sameTime(mtimeNs, entry.mtimeNs, comparison)) continue;
      live.push(record);
      // What the mirror itself does not know has changed there, or was never read: it is compared.
      if (entry.version !== undefined || (comparison.hashes && entry.sha256 === undefined)) continue;
      entries.set(entry.path, vouchedFor(entry, record));
      vouched++;
    }
    if (this.#hasMuchToSpare(live.length)) this.#rewrite(live);
    return vouched;
  }

  /** Whether most of it is about nothing, if so many records are needed. */
  #hasMuchToSpare(needed: number): boolean {
    const { size = 0 } = fs.statSync(this.path, { throwIfNoEntry: false }) ?? {};
    return size / RECORD_BYTES > 2 * needed + INDEX_SPARE_RECORDS;
  }

  /** The mirror has confirmed to hold this very version. */
  record(entry: FileEntry, sha256?: Uint8Array): void {
    const record = this.#gaveUp ? undefined : encode(entry, sha256);
    if (record === undefined) return;
    this.#pending.push(record);
    if (this.#pending.length >= INDEX_FLUSH_RECORDS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), INDEX_FLUSH_MS).unref();
  }

  /** Writes what was recorded. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.length === 0 || this.#gaveUp) return;
    const records = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#trying(() => {
      this.#fd ??= this.#open();
      fs.writeSync(this.#fd, records);
    });
  }

  close(): void {
    this.flush();
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Ready for whole records; what is not ours, or was cut off in the middle, makes way. */
  #open(): number {
    makeFolder(dirname(this.path), 0o700);
    const fd = fs.openSync(this.path, "a+", 0o600);
    const header = Buffer.alloc(RECORD_BYTES);
    const { size } = fs.fstatSync(fd);
    const ours = fs.readSync(fd, header, 0, RECORD_BYTES, 0) === RECORD_BYTES && header.equals(this.#header);
    fs.ftruncateSync(fd, ours ? size - (size % RECORD_BYTES) : 0);
    if (!ours) fs.writeSync(fd, this.#header);
    return fd;
  }

  /** The whole file where it is ours, else nothing. */
  async #read(): Promise<Buffer> {
    try {
      const content = await readFile(this.path);
      if (content.subarray(0, RECORD_BYTES).equals(this.#header)) return content;
    } catch {
      // None yet, or none that can be read: then nothing is known.
    }
    return Buffer.alloc(0);
  }

  #rewrite(records: readonly Buffer[]): void {
    this.close();
    const beside = `${this.path}.${process.pid}.new`;
    this.#trying(() => {
      const fd = fs.openSync(beside, "w", 0o600);
      try {
        fs.writeFileSync(fd, Buffer.concat([this.#header, ...records]));
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
      fs.renameSync(beside, this.path);
    });
  }

  #trying(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#gaveUp = true;
      this.#pending = [];
      this.#onProblem(error as Error);
    }
  }
}

/** Where the index of a folder's mirror is kept unless told otherwise; `owner` as for {@link IndexFile}. */
export function defaultIndexPath(owner: string, env: NodeJS.ProcessEnv = process.env): string {
  const name = `${sha256(owner).toString("hex").slice(0, 32)}.index`;
  if (process.platform === "win32") {
    return join(env.LOCALAPPDATA || join(homedir(), "AppData", "Local"), "confundo", "index", name);
  }
  return join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "confundo", "index", name);
}

/** What was recorded when it was opened. */
export class Recorded {
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
  }

  get isEmpty(): boolean {
    return this.#records.count === 0;
  }

  /** In hex, what a file holds, if it is in the very version that was recorded; `key`: by what it was, if not by its path. */
  hashOf({ path, size, mtimeNs, version }: FileEntry, key: string = path): string | undefined {
    const record = this.#records.find(key);
    const same =
      record !== undefined && versionOf(record) === version && sizeIn(record) === size && timeIn(record) === mtimeNs;
    return same ? hashIn(record) : undefined;
  }
}

/** The records of an index, found by their keys: the file as it is, and a table of numbers over it. */
class Records {
  readonly #content: Buffer;
  /** The content as numbers, in which keys are compared. */
  readonly #words: Int32Array;
  readonly #table: Int32Array;

  private constructor(content: Buffer) {
    this.#content = content;
    this.#words = new Int32Array(content.buffer, content.byteOffset, content.length >> 2);
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(this.count * 2, 16))));
  }

  static async of(content: Buffer): Promise<Records> {
    const records = new Records(content.byteOffset % 4 === 0 ? content : Buffer.from(new Uint8Array(content).buffer));
    const turns = new Turns();
    for (let number = 1; number <= records.count; number++) {
      if (turns.isOver()) await turns.next();
      const at = number * RECORD_WORDS;
      records.#table[records.#slotOf(records.#words, at)] = number;
    }
    return records;
  }

  get count(): number {
    return Math.max(0, Math.floor(this.#content.length / RECORD_BYTES) - 1);
  }

  /** The last record for a path; nothing where it is damaged. */
  find(path: string): Buffer | undefined {
    const number = this.#table[this.#slotOf(keyOf(path), 0)] ?? 0;
    if (number === 0) return undefined;
    const record = this.#content.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES);
    return isSound(record) ? record : undefined;
  }

  /** Where the key that stands in `words` at `at` is, or the free place where it would be. */
  #slotOf(words: Int32Array, at: number): number {
    const mask = this.#table.length - 1;
    for (let slot = (words[at] as number) & mask; ; slot = (slot + 1) & mask) {
      const number = this.#table[slot] as number;
      if (number === 0) return slot;
      const other = number * RECORD_WORDS;
      let word = 0;
      while (word < KEY_WORDS && this.#words[other + word] === words[at + word]) word++;
      if (word === KEY_WORDS) return slot;
    }
  }
}

function encode({ path, version, size, mtimeNs }: FileEntry, content: Uint8Array = NO_HASH): Buffer | undefined {
  if (version === undefined || !version.includes(".") || version.length >= VERSION_BYTES) return undefined;
  const record = Buffer.alloc(RECORD_BYTES);
  record.set(new Uint8Array(keyOf(path).buffer), 0);
  record.write(version, VERSION_AT, "latin1");
  record.writeBigUInt64BE(BigInt(size), SIZE_AT);
  record.writeBigInt64BE(timeToBits(mtimeNs), TIME_AT);
  record.set(content, HASH_AT);
  record.writeUInt32BE(crc32(record.subarray(0, SUM_AT)), SUM_AT);
  return record;
}

function timeIn(record: Buffer): bigint {
  return timeFromBits(record.readBigInt64BE(TIME_AT));
}

function hashIn(record: Buffer): string | undefined {
  const sha256 = record.toString("hex", HASH_AT, HASH_AT + NO_HASH.length);
  return sha256 === NO_HASH_HEX ? undefined : sha256;
}

/** With the version here, unless the mirror says that it holds something else. */
function vouchedFor(entry: FileEntry, record: Buffer): FileEntry {
  const sha256 = hashIn(record);
  const there = entry.sha256;
  if (there !== undefined && sha256 !== undefined && !sha256.startsWith(there)) return { ...entry, version: DIFFERS };
  return { ...entry, version: versionOf(record), ...(sha256 === undefined ? {} : { sha256 }) };
}

function areVouchedFor(entries: ReadonlyMap<string, Entry>): boolean {
  for (const entry of entries.values()) if (entry.kind === "file" && entry.version === undefined) return false;
  return true;
}

function isSound(record: Buffer): boolean {
  return crc32(record.subarray(0, SUM_AT)) === record.readUInt32BE(SUM_AT);
}

function versionOf(record: Buffer): string {
  const field = record.subarray(VERSION_AT, VERSION_AT + VERSION_BYTES);
  return field.toString("latin1", 0, field.indexOf(0));
}

/** The first bytes of the path's sha256, as numbers; good until the next call. */
function keyOf(path: string): Int32Array {
  // As a string, which takes a third of the time that a Buffer does.
  const digest = hash("sha256", hasEscapes(path) ? nameToBytes(path) : path, "latin1");
  for (let i = 0; i < KEY_BYTES; i++) keyBytes[i] = digest.charCodeAt(i);
  return key;
}

const keyBytes = new Uint8Array(KEY_BYTES);
const key = new Int32Array(keyBytes.buffer);

function sizeIn(record: Buffer): number {
  return record.readUInt32BE(SIZE_AT) * 2 ** 32 + record.readUInt32BE(SIZE_AT + 4);
}

function sha256(text: string | Uint8Array): Buffer {
  return createHash("sha256").update(text).digest();
}
