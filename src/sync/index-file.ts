/**
 * What is known to be equal at a mirror, kept beside the user's state over restarts: by path the version (inode and
 * change time), size, modification time and hash of the file that the mirror has confirmed. It only ever saves work:
 * what it does not vouch for is compared by hash, so that it may be lost or damaged at any time.
 *
 * A file of records of one length, appended to; the last one for a path counts. Each carries a checksum, a damaged one
 * counts for nothing. Not flushed: what a crash takes is found out anew.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { type Comparison, DIFFERS, type Entry, type FileEntry, sameTime } from "./entry.js";
import { INDEX_FLUSH_MS, INDEX_FLUSH_RECORDS, INDEX_SPARE_RECORDS } from "./limits.js";
import { nameToBytes } from "./names.js";

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
/** Entries looked up in one go before others get their turn. */
const SLICE = 4096;
const NO_HASH = Buffer.alloc(32);

export class IndexFile {
  readonly path: string;
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
  }

  /**
   * Gives those of a mirror's files that are as they were confirmed the version that they have here. Returns how many.
   * Makes the index anew when most of it is about nothing that is there.
   */
  async vouch(entries: Map<string, Entry>, comparison: Comparison = {}): Promise<number> {
    this.flush();
    const records = this.#read();
    const live: Buffer[] = [];
    const vouched: Entry[] = [];
    let looked = 0;
    for (const entry of [...entries.values()]) {
      if (++looked % SLICE === 0) await yieldToOthers();
      if (entry.kind !== "file") continue;
      const record = records.find(keyOf(entry.path));
      if (record === undefined) continue;
      const mtimeNs = record.readBigInt64BE(TIME_AT);
      if (Number(record.readBigUInt64BE(SIZE_AT)) !== entry.size || !sameTime(mtimeNs, entry.mtimeNs, comparison))
        continue;
      live.push(record);
      // What the mirror itself does not know has changed there, or was never read: it is compared.
      if (comparison.hashes && entry.sha256 === undefined) continue;
      if (entry.version === undefined) vouched.push(vouchedFor(entry, record));
    }
    for (const entry of vouched) entries.set(entry.path, entry);
    if (records.count > 2 * live.length + INDEX_SPARE_RECORDS) this.#rewrite(live);
    return vouched.length;
  }

  /** Whether nothing is recorded yet. */
  get isEmpty(): boolean {
    this.flush();
    return (fs.statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) <= RECORD_BYTES;
  }

  /** By path the hashes of those files that are in the very version that was recorded. In hex. */
  async hashes(files: readonly FileEntry[]): Promise<Map<string, string>> {
    this.flush();
    const found = new Map<string, string>();
    const records = this.#read();
    if (records.count === 0) return found;
    let looked = 0;
    for (const { path, size, mtimeNs, version } of files) {
      if (++looked % SLICE === 0) await yieldToOthers();
      const record = records.find(keyOf(path));
      const same =
        record !== undefined &&
        versionOf(record) === version &&
        Number(record.readBigUInt64BE(SIZE_AT)) === size &&
        record.readBigInt64BE(TIME_AT) === mtimeNs;
      const sha256 = same ? hashIn(record) : undefined;
      if (sha256 !== undefined) found.set(path, sha256);
    }
    return found;
  }

  /** The mirror has confirmed to hold this very version. */
  record(entry: FileEntry, hash?: Uint8Array): void {
    const record = this.#gaveUp ? undefined : encode(entry, hash);
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
    fs.mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const fd = fs.openSync(this.path, "a+", 0o600);
    const header = Buffer.alloc(RECORD_BYTES);
    const { size } = fs.fstatSync(fd);
    const ours = fs.readSync(fd, header, 0, RECORD_BYTES, 0) === RECORD_BYTES && header.equals(this.#header);
    fs.ftruncateSync(fd, ours ? size - (size % RECORD_BYTES) : 0);
    if (!ours) fs.writeSync(fd, this.#header);
    return fd;
  }

  #read(): Records {
    try {
      const content = fs.readFileSync(this.path);
      if (content.subarray(0, RECORD_BYTES).equals(this.#header)) return new Records(content);
    } catch {
      // None yet, or none that can be read: then nothing is known.
    }
    return new Records(Buffer.alloc(0));
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

/** The records of an index, found by their keys: the file as it is, and a table of numbers over it. */
class Records {
  readonly #content: Buffer;
  readonly #table: Int32Array;

  constructor(content: Buffer) {
    this.#content = content;
    const count = this.count;
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(count * 2, 16))));
    for (let number = 1; number <= count; number++) {
      const record = this.#at(number);
      if (isSound(record)) this.#table[this.#slotOf(record)] = number;
    }
  }

  get count(): number {
    return Math.max(0, Math.floor(this.#content.length / RECORD_BYTES) - 1);
  }

  find(key: Buffer): Buffer | undefined {
    const number = this.#table[this.#slotOf(key)] ?? 0;
    return number === 0 ? undefined : this.#at(number);
  }

  /** Where the key is, or the free place where it would be. */
  #slotOf(key: Buffer): number {
    const mask = this.#table.length - 1;
    for (let slot = key.readUInt32BE(0) & mask; ; slot = (slot + 1) & mask) {
      const number = this.#table[slot] ?? 0;
      if (number === 0 || key.compare(this.#at(number), 0, KEY_BYTES, 0, KEY_BYTES) === 0) return slot;
    }
  }

  #at(number: number): Buffer {
    return this.#content.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES);
  }
}

function encode({ path, version, size, mtimeNs }: FileEntry, hash: Uint8Array = NO_HASH): Buffer | undefined {
  if (version === undefined || !version.includes(".") || version.length >= VERSION_BYTES) return undefined;
  const record = Buffer.alloc(RECORD_BYTES);
  keyOf(path).copy(record);
  record.write(version, VERSION_AT, "latin1");
  record.writeBigUInt64BE(BigInt(size), SIZE_AT);
  record.writeBigInt64BE(mtimeNs, TIME_AT);
  record.set(hash, HASH_AT);
  record.writeUInt32BE(crc32(record.subarray(0, SUM_AT)), SUM_AT);
  return record;
}

function hashIn(record: Buffer): string | undefined {
  const hash = record.subarray(HASH_AT, HASH_AT + NO_HASH.length);
  return hash.equals(NO_HASH) ? undefined : hash.toString("hex");
}

/** With the version here, unless the mirror says that it holds something else. */
function vouchedFor(entry: FileEntry, record: Buffer): FileEntry {
  const sha256 = hashIn(record);
  const there = entry.sha256;
  if (there !== undefined && sha256 !== undefined && !sha256.startsWith(there)) return { ...entry, version: DIFFERS };
  return { ...entry, version: versionOf(record), ...(sha256 === undefined ? {} : { sha256 }) };
}

function isSound(record: Buffer): boolean {
  return crc32(record.subarray(0, SUM_AT)) === record.readUInt32BE(SUM_AT);
}

function versionOf(record: Buffer): string {
  const field = record.subarray(VERSION_AT, VERSION_AT + VERSION_BYTES);
  return field.toString("latin1", 0, field.indexOf(0));
}

function keyOf(path: string): Buffer {
  return sha256(nameToBytes(path)).subarray(0, KEY_BYTES);
}

function sha256(text: string | Uint8Array): Buffer {
  return createHash("sha256").update(text).digest();
}
