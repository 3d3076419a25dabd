/** One large file on its way into a mirror. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { promisify } from "node:util";
import { invariant } from "../invariant/index.js";
import { ChunkList, chunkHash, chunkRecord } from "./chunk.js";
import { uncache } from "./disk.js";
import { SyncError } from "./errors.js";
import { Holes, hashZeros, isZero, zeroRecords } from "./holes.js";
import { FLUSH_EVERY_BYTES, LEAST_CLONED_BYTES, LEAST_UNCACHED_BYTES, MAX_DATA_BYTES } from "./limits.js";
import { Offered, stretches } from "./offered.js";
import type { Incoming, Storage } from "./storage.js";
import type { FileIdentity } from "./wire.js";

const { O_RDWR, O_NOFOLLOW = 0 } = fs.constants;
const read = promisify(fs.read);
const write = promisify(fs.write);

/** An older version, open, and what it consists of. */
export interface Base {
  readonly fd: number;
  readonly list: ChunkList;
  /** Whether it is on its way out: its place is where the file goes. */
  readonly replaced: boolean;
}

const COPY_BYTES = 512 * 1024;
/** Behind the name of a staged file that began as a clone: what a program that is killed leaves of it is not gone on from. */
const CLONE = ".clone";

/**
 * Writes and hashes in the order of the calls, each waiting for the one before. After an error every later step
 * fails with it. {@link close} keeps what has arrived, for the client to go on from there, unless it could not be flushed: the
 * system has dropped what it could not write then, or keeps it in memory only, and would not say so again.
 */
export class Upload {
  readonly file: FileIdentity;
  readonly startedAt: number = Date.now();
  readonly #storage: Storage;
  #incoming: Incoming;
  /** Whether it began as a clone of the base, and whether what is behind that which has arrived is still the base's. */
  #cloned = false;
  #shares = false;
  readonly #hash = createHash("sha256");
  #announced: number;
  #written = 0;
  #flushed = 0;
  #flushing: Promise<void> | undefined;
  #tail: Promise<unknown>;
  #open = true;
  /** Whether a flush of it has failed; then it is deleted. */
  #unflushed = false;
  #endsInHole = false;
  #base: Base | undefined;
  #offsets: Float64Array | undefined;
  #offered: Offered | undefined;
  #blocks: [Buffer, Buffer] | undefined;
  /** The chunks that have come, while all of the file came in chunks. */
  #chunks: Buffer[] | undefined;

  constructor(storage: Storage, file: FileIdentity) {
    this.file = file;
    this.#storage = storage;
    this.#incoming = storage.openIncoming(file);
    this.#announced = this.#incoming.have;
    this.#tail = this.#rehash();
    this.#tail.catch(() => {});
  }

  /** Bytes that were there already. */
  get have(): number {
    return this.#incoming.have;
  }

  /** Bytes that are written. */
  get written(): number {
    return this.#written;
  }

  /** From here on the file comes in chunks, some of them from `base`, which is closed at the end. */
  buildFrom(base: Base): void {
    this.#base = base;
    this.#offsets = base.list.offsets();
    if (this.have > 0) return;
    this.#chunks = [];
    if (base.replaced && this.file.size >= LEAST_CLONED_BYTES) void this.#then(() => this.#clone(base.fd));
  }

  /** Where the file system can: then what stays where it was is not written, and the version before costs what has changed. */
  async #clone(base: number): Promise<void> {
    const { fd, staged } = this.#incoming;
    const clone = `${staged}${CLONE}`;
    const { files } = this.#storage;
    files.remove(clone);
    if (!(await files.clone(base, clone))) return;
    fs.chmodSync(clone, 0o600);
    this.#incoming = { fd: fs.openSync(clone, O_RDWR | O_NOFOLLOW), staged: clone, have: 0 };
    this.#cloned = true;
    this.#shares = true;
    fs.closeSync(fd);
    files.remove(staged);
  }

  /** Looks for chunks in what the mirror has, see {@link Offered}. */
  async offer(records: Uint8Array): Promise<Buffer> {
    const { reuse } = this.#storage;
    if (reuse === undefined) throw new SyncError("ERR_PROTOCOL", "an offer that was not agreed on");
    this.#offered ??= new Offered(reuse, this.#base?.list.count ?? 0);
    return this.#offered.offer(records);
  }

  /** Resolves when so many chunks of the base, or of those that were offered, are written. */
  copy(first: number, count: number): Promise<void> {
    if (this.#offered !== undefined && first >= (this.#base?.list.count ?? 0)) {
      return this.#copyOffered(this.#offered, first, count);
    }
    const { fd, list, replaced } = this.#base ?? {};
    const [start, end] = [this.#offsets?.[first] ?? 0, this.#offsets?.[first + count] ?? -1];
    this.#announced += end - start;
    if (fd === undefined || list === undefined || end < start || this.#announced > this.file.size) {
      return this.#then(() => Promise.reject(new SyncError("ERR_CHECKSUM", "there are no such chunks")));
    }
    return this.#then(async () => {
      if (this.#shares && start === this.#written) await this.#keepBytes(end);
      else await this.#copyBytes(fd, start, end);
      // The memory that what was read has taken is enough for what was written.
      if (replaced) uncache(fd, start, end - start);
      for (let i = first; i < first + count; i++) this.#chunks?.push(chunkRecord(list.length(i), list.hash(i)));
    });
  }

  #copyOffered(offered: Offered, first: number, count: number): Promise<void> {
    return this.#then(async () => {
      const chunks = offered.take(first, count);
      try {
        for (const { fd, start, end } of stretches(chunks)) {
          this.#announced += end - start;
          if (this.#announced > this.file.size) throw tooMuch();
          await this.#copyBytes(fd, start, end);
        }
        for (const { length, hash } of chunks) this.#chunks?.push(chunkRecord(length, hash));
      } finally {
        for (const chunk of chunks) offered.release(chunk);
      }
    });
  }

  /** Resolves when `content` is written. */
  write(content: Uint8Array): Promise<void> {
    this.#announced += content.length;
    if (this.#announced > this.file.size) {
      return this.#then(() => Promise.reject(tooMuch()));
    }
    return this.#then(async () => {
      await this.#append(content);
      this.#chunks?.push(chunkRecord(content.length, chunkHash(content)));
    });
  }

  /** Resolves when so many zeros are hashed; they are not written. */
  hole(bytes: number): Promise<void> {
    this.#announced += bytes;
    if (this.#announced > this.file.size) return this.#then(() => Promise.reject(tooMuch()));
    return this.#then(async () => {
      this.#unshare();
      await hashZeros(this.#hash, bytes, () => !this.#open);
      this.#written += bytes;
      this.#endsInHole = true;
      this.#chunks?.push(zeroRecords(bytes));
    });
  }

  /** Checks and flushes the whole. Resolves to where it is staged. Rejects with `ERR_CHECKSUM`, then it is gone. */
  finish(sha256: Uint8Array): Promise<string> {
    return this.#then(async () => {
      await this.#flushing;
      const complete = this.#written === this.file.size && this.#hash.digest().equals(sha256);
      if (!complete) {
        if (this.#base !== undefined) this.#storage.chunks.forget(this.#base.fd);
        this.#discard();
        throw new SyncError("ERR_CHECKSUM", "what arrived is not what was sent");
      }
      if (this.#endsInHole || this.#shares) fs.ftruncateSync(this.#incoming.fd, this.file.size);
      await this.#storage.sealIncoming(this.#incoming, this.file).catch((error) => {
        this.#distrust();
        throw error;
      });
      if (this.#chunks !== undefined) {
        const stats = fs.fstatSync(this.#incoming.fd, { bigint: true });
        this.#storage.chunks.keep(stats, new ChunkList(Buffer.concat(this.#chunks)));
      }
      this.#close();
      return this.#incoming.staged;
    });
  }

  /** Throws away what has arrived. */
  async abort(): Promise<void> {
    await this.#atRest();
    this.#discard();
  }

  /** Stops, and keeps what has arrived, as far as it could be flushed. */
  async close(): Promise<void> {
    await this.#atRest();
    if (this.#cloned && this.#open && !this.#unflushed) {
      this.#unshare();
      const { staged } = this.#incoming;
      this.#storage.files.rename(staged, staged.slice(0, -CLONE.length));
    }
    this.#close();
  }

  /** Nothing is left of the base behind that which has arrived. */
  #unshare(): void {
    if (this.#shares) fs.ftruncateSync(this.#incoming.fd, this.#written);
    this.#shares = false;
  }

  /** Resolves when nothing uses the file any more. */
  async #atRest(): Promise<void> {
    await this.#then(async () => {}).catch(() => {});
    await this.#flushing?.catch(() => {});
  }

  #then<T>(step: () => Promise<T>): Promise<T> {
    const next = this.#tail.then(step);
    this.#tail = next;
    next.catch(() => {});
    return next;
  }

  /** What is there up to `end` stays, and is hashed as it is there. */
  async #keepBytes(end: number): Promise<void> {
    this.#blocks ??= [Buffer.allocUnsafe(COPY_BYTES), Buffer.allocUnsafe(COPY_BYTES)];
    const [block] = this.#blocks;
    while (this.#written < end) {
      const bytes = Math.min(COPY_BYTES, end - this.#written);
      const { bytesRead } = await read(this.#incoming.fd, block, 0, bytes, this.#written);
      if (bytesRead === 0) throw new SyncError("ERR_CHECKSUM", "the older version has become shorter");
      this.#hash.update(block.subarray(0, bytesRead));
      this.#written += bytesRead;
    }
    this.#endsInHole = false;
  }

  /** While one block is being hashed and written, the next one is read. */
  async #copyBytes(fd: number, start: number, end: number): Promise<void> {
    this.#blocks ??= [Buffer.allocUnsafe(COPY_BYTES), Buffer.allocUnsafe(COPY_BYTES)];
    let [block, other] = this.#blocks;
    const fill = async (into: Buffer, at: number): Promise<Buffer> => {
      const bytes = Math.min(COPY_BYTES, end - at);
      const { bytesRead } = bytes > 0 ? await read(fd, into, 0, bytes, at) : { bytesRead: 0 };
      return into.subarray(0, bytesRead);
    };
    let ready = await fill(block, start);
    for (let at = start; at < end; [block, other] = [other, block]) {
      if (ready.length === 0) throw new SyncError("ERR_CHECKSUM", "the older version has become shorter");
      at += ready.length;
      [ready] = await Promise.all([fill(other, at), this.#append(ready)]);
    }
  }

  async #append(content: Uint8Array): Promise<void> {
    if (!this.#shares && isZero(content)) {
      // What is not written is a hole, and reads as zeros.
      this.#hash.update(content);
      this.#written += content.length;
      this.#endsInHole = true;
      return;
    }
    this.#endsInHole = false;
    for (let done = 0; done < content.length; ) {
      const writing = write(this.#incoming.fd, content, done, content.length - done, this.#written);
      // The system writes while we hash.
      if (done === 0) this.#hash.update(content);
      const { bytesWritten } = await writing;
      done += bytesWritten;
      this.#written += bytesWritten;
    }
    if (CONFUNDO_ASSERTIONS) {
      invariant(
        this.#written <= this.#announced && this.#announced <= this.file.size,
        "more is written than announced",
      );
    }
    await this.#flushNowAndThen();
  }

  async #rehash(): Promise<void> {
    const buffer = Buffer.allocUnsafe(this.have > 0 ? MAX_DATA_BYTES : 0);
    const holes = new Holes(this.#incoming.fd, this.have);
    while (this.#written < this.have) {
      const zeros = holes.zeros(this.#written);
      await hashZeros(this.#hash, zeros, () => !this.#open);
      this.#written += zeros;
      if (zeros > 0) continue;
      const bytes = Math.min(buffer.length, holes.data(this.#written));
      const { bytesRead } = await read(this.#incoming.fd, buffer, 0, bytes, this.#written);
      if (bytesRead === 0) throw new SyncError("ERR_CHECKSUM", "what had arrived before is gone");
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#written += bytesRead;
    }
  }

  async #flushNowAndThen(): Promise<void> {
    if (this.#written - this.#flushed < FLUSH_EVERY_BYTES) return;
    await this.#flushing;
    const { fd } = this.#incoming;
    const [from, to] = [this.#flushed, this.#written];
    this.#flushed = to;
    const large = this.#base === undefined && this.file.size >= LEAST_UNCACHED_BYTES;
    const flushed = this.#storage.files.fdatasync(fd);
    this.#flushing = flushed.then(() => (large ? uncache(fd, from, to - from) : undefined));
    this.#flushing.catch(() => this.#distrust());
  }

  /** No later attempt may go on from what is there. */
  #distrust(): void {
    if (this.#unflushed) return;
    this.#unflushed = true;
    this.#storage.files.remove(this.#incoming.staged);
  }

  #discard(): void {
    this.#close();
    if (!this.#unflushed) this.#storage.files.remove(this.#incoming.staged);
  }

  #close(): void {
    this.#offered?.close();
    if (this.#open) fs.closeSync(this.#incoming.fd);
    if (this.#open && this.#base !== undefined) fs.closeSync(this.#base.fd);
    this.#open = false;
  }
}

function tooMuch(): SyncError {
  return new SyncError("ERR_CHECKSUM", "more arrived than was announced");
}
