/**
 * What is known to be equal at a mirror, kept beside the user's state over restarts: by path the version (inode and
 * change time), size, modification time and hash of the file that the mirror has confirmed. It only ever saves work:
 * what it does not vouch for is compared by hash, so that it may be lost or damaged at any time.
 *
 * A file of records of one length, appended to; the last one for a path counts. Each carries a checksum, a damaged one
 * counts for nothing. Not flushed: what a crash takes is found out anew.
 *
 * The system writes size and change time of a file before its content, so that after a power failure a record can vouch for content
 * that is not there any more. The header therefore names the run of the machine (see {@link bootId}) and says when the index was
 * closed last. In another run the records of files that were changed shortly before that, or before the newest record, are dropped.
 */
import { createHash, hash } from "node:crypto";
import fs from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { makeFolder } from "../files/make-folder.js";
import { bootId } from "./boot-id.js";
import { type Comparison, DIFFERS, type Entry, type FileEntry, sameTime } from "./entry.js";
import {
  CLEAN_END_MS,
  EMPTY_AFTER_CRASH_MS,
  INDEX_FLUSH_MS,
  INDEX_FLUSH_RECORDS,
  INDEX_SPARE_RECORDS,
  UNCLEAN_END_MS,
} from "./limits.js";
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
/** In the header, behind the magic: the run of the machine, when the index was opened to write or closed last, whether it is closed, */
const BOOT_AT = 20;
const BOOT_BYTES = 11;
const CLEAN_AT = BOOT_AT + BOOT_BYTES;
const LAST_AT = CLEAN_AT + 1;
/** when it was found that the machine had ended, and since when what was changed before that may be lost. */
const FOUND_AT = LAST_AT + 8;
const SUSPECT_AT = FOUND_AT + 8;
const OWNER_AT: number = RECORD_BYTES - 32;
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
   * when it cannot be written; all goes on without. `boot` names this run of the machine.
   */
  constructor(path: string, owner: string, onProblem: (error: Error) => void = () => {}, boot: string = bootId()) {
    this.path = path;
    this.#header = Buffer.alloc(RECORD_BYTES);
    MAGIC.copy(this.#header);
    sha256(boot).copy(this.#header, BOOT_AT, 0, BOOT_BYTES);
    sha256(owner).copy(this.#header, OWNER_AT);
    this.#onProblem = onProblem;
    this.hadRecords = this.#load();
  }

  /**
   * Whether a file has become empty shortly before the machine ended, and has not rested for long enough since to count as an edit:
   * its content may never have been written.
   */
  isSuspect({ size, version }: FileEntry, nowMs: number = Date.now()): boolean {
    const found = this.#header.readDoubleBE(FOUND_AT);
    if (size > 0 || found === 0 || Math.abs(nowMs - found) >= EMPTY_AFTER_CRASH_MS) return false;
    const changed = changeTime(version ?? "");
    return changed >= this.#header.readDoubleBE(SUSPECT_AT) && changed <= found;
  }

  /** Whether an earlier run has recorded something. */
  #load(): boolean {
    try {
      const fd = fs.openSync(this.path, "r");
      try {
        const header = Buffer.alloc(RECORD_BYTES);
        fs.readSync(fd, header, 0, RECORD_BYTES, 0);
        const { size, mtimeMs } = fs.fstatSync(fd);
        if (!this.#isOurs(header)) return false;
        if (isOfBoot(header, this.#header)) header.copy(this.#header, FOUND_AT, FOUND_AT, OWNER_AT);
        else if (size > RECORD_BYTES) this.#afterBoot(header, mtimeMs);
        // All that there were may have been dropped.
        return size > RECORD_BYTES || this.#header.readDoubleBE(FOUND_AT) > 0;
      } finally {
        fs.closeSync(fd);
      }
    } catch {
      return false;
    }
  }

  #isOurs(header: Buffer): boolean {
    return (
      header.subarray(0, MAGIC.length).equals(MAGIC) &&
      header.subarray(OWNER_AT).equals(this.#header.subarray(OWNER_AT))
    );
  }

  /** Drops what may not be true any more since the machine has ended. */
  #afterBoot(header: Buffer, mtimeMs: number): void {
    const content = fs.readFileSync(this.path);
    const records: Buffer[] = [];
    for (let at = RECORD_BYTES; at + RECORD_BYTES <= content.length; at += RECORD_BYTES) {
      records.push(content.subarray(at, at + RECORD_BYTES));
    }
    const now = Date.now();
    const known = header.subarray(BOOT_AT, CLEAN_AT).some((byte) => byte !== 0);
    const last = known ? header.readDoubleBE(LAST_AT) : mtimeMs;
    const times = records.map((record) => (isSound(record) ? changeTime(versionOf(record)) : 0));
    // A time that is yet to come says nothing about when the machine ended.
    const end = times.reduce((newest, time) => (time <= now ? Math.max(newest, time) : newest), last);
    const clean = header[CLEAN_AT] === 1 && end === last;
    const suspect = end - (clean ? CLEAN_END_MS : UNCLEAN_END_MS);
    this.#header.writeDoubleBE(now, FOUND_AT);
    this.#header.writeDoubleBE(suspect, SUSPECT_AT);
    this.#stampHeader(true);
    this.#rewrite(records.filter((_, at) => (times[at] as number) < suspect));
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
    if (this.#fd === undefined) return;
    fs.closeSync(this.#fd);
    this.#fd = undefined;
    this.#note(true);
  }

  #stampHeader(closed: boolean): void {
    this.#header.writeDoubleBE(Date.now(), LAST_AT);
    this.#header[CLEAN_AT] = closed ? 1 : 0;
  }

  /** Writes down that it is open, or closed. */
  #note(closed: boolean): void {
    this.#stampHeader(closed);
    this.#trying(() => {
      const fd = fs.openSync(this.path, "r+");
      try {
        fs.writeSync(fd, this.#header, 0, RECORD_BYTES, 0);
      } finally {
        fs.closeSync(fd);
      }
    });
  }

  /** Ready for whole records; what is not ours, or was cut off in the middle, makes way. */
  #open(): number {
    makeFolder(dirname(this.path), 0o700);
    const fd = fs.openSync(this.path, "a+", 0o600);
    const header = Buffer.alloc(RECORD_BYTES);
    const { size } = fs.fstatSync(fd);
    const ours = fs.readSync(fd, header, 0, RECORD_BYTES, 0) === RECORD_BYTES && this.#isOurs(header);
    fs.ftruncateSync(fd, ours ? size - (size % RECORD_BYTES) : 0);
    this.#stampHeader(false);
    if (!ours) fs.writeSync(fd, this.#header);
    else this.#note(false);
    return fd;
  }

  /** The whole file where it is ours, else nothing. */
  async #read(): Promise<Buffer> {
    try {
      const content = await readFile(this.path);
      if (content.length >= RECORD_BYTES && this.#isOurs(content.subarray(0, RECORD_BYTES))) return content;
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
  const name = `${sha256(nameToBytes(owner)).toString("hex").slice(0, 32)}.index`;
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

function isOfBoot(header: Buffer, other: Buffer): boolean {
  return header.subarray(BOOT_AT, CLEAN_AT).equals(other.subarray(BOOT_AT, CLEAN_AT));
}

/** Milliseconds since 1970, of a version as {@link fileEntry} makes it: to within some microseconds. */
function changeTime(version: string): number {
  return Number.parseInt(version.slice(version.indexOf(".") + 1), 36) / 1e6;
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
