/** Carries out a list of operations at the other end: pipelined, several files at a time, within bounds. */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { Asking, Curiosity, type HoleSteps } from "./asking.js";
import type { Channel } from "./channel.js";
import { CHUNK_RECORD_BYTES, ChunkList, LEAST_CHUNK_BYTES, Matcher } from "./chunk.js";
import { Copies, type Gone } from "./copies.js";
import { type Deferred, deferred } from "./deferred.js";
import { descriptorBudget, explained } from "./descriptors.js";
import type { DirectoryEntry, Entry, FileEntry } from "./entry.js";
import { SyncError, toSyncError } from "./errors.js";
import {
  MAX_DATA_BYTES,
  MAX_DELTA_BYTES,
  MAX_HOLE_BYTES,
  MAX_INLINE_BYTES,
  MAX_LARGE_STREAMS,
  MAX_SMALL_READS,
  MAX_SPARE_FRAMES,
  MAX_UNANSWERED,
  READS_IN_A_ROW,
} from "./limits.js";
import { Slots } from "./order.js";
import type { Operation } from "./plan.js";
import { readAll, VersionReader, WholeReader } from "./read.js";
import type { Outcome } from "./remote.js";
import { DATA_FRAME_BYTES, dataFrame, type FileIdentity } from "./wire.js";

export interface SenderOptions {
  readonly channel: Channel;
  readonly folder: string;
  readonly nextId: () => number;
  /** Whether all permission bits are kept, not only the executable one. */
  readonly perms: boolean;
  /** The path of an older version at the other end that is worth building from. */
  readonly baseOf: (entry: FileEntry) => string | undefined;
  /** Paths for which building from an older version has failed; taken from and added to. */
  readonly suspect: Set<string>;
  /** What the other end holds. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** What the other end held and may keep; taken from. */
  readonly gone: Gone;
  /** Whether it is worth asking which chunks of a new file the other end has. */
  readonly offers: () => boolean;
  /** Files that are open for writing and have changed within this time are not read (`open`). Milliseconds. */
  readonly settleOpenMs: number;
  /** Large files that may be on their way at a time. */
  readonly largeSends: number;
  /** Whether the other end takes holes. */
  readonly holes: boolean;
  /** The latest time that the other end knows. */
  readonly latestNs: bigint | undefined;
  readonly report: (outcome: Outcome) => void;
}

type Put = Operation & { do: "put" };
type Check = Operation & { do: "check" };
type Move = Operation & { do: "move" };

/** An operation that was sent (or is being sent) and not yet answered. */
interface Asked {
  readonly operation: Operation;
  /** For a large file: the offset to go on from. Rejects when the server refuses it or the connection is lost. */
  readonly offset?: Deferred<number>;
  /** For a large file: resolves when the server has said what became of it, or never will. */
  readonly answered?: Deferred;
  /** For a file that is built from an older version: what that consists of. */
  readonly chunks?: Buffer[];
  /** For a large file of which the other end may have something. */
  asking?: Asking;
  /** Whether the other end is asked to copy what it has. */
  readonly clone?: boolean;
  failed: boolean;
  /** Of the whole content, once it is known. */
  sha256?: Uint8Array;
}

/** A part of a file, as the frame that it is sent in. */
interface Piece {
  readonly memory: Buffer;
  readonly frame: Buffer;
  readonly bytes: number;
}

/** Zeros that are not sent. */
interface Hole {
  readonly hole: number;
}

export class Sender {
  readonly #options: SenderOptions;
  readonly #asked = new Map<number, Asked>();
  readonly #window = new Slots(MAX_UNANSWERED);
  readonly #smallReads = new Slots(descriptorBudget(MAX_SMALL_READS, 1 / 4));
  readonly #whole = new WholeReader();
  readonly #largeSends: Slots;
  readonly #largeStreams = new Slots(MAX_LARGE_STREAMS);
  /** Under which id the content of a path was held. */
  readonly #held = new Map<string, number>();
  /** Memory of DATA frames that are sent. */
  readonly #frames: Buffer[] = [];
  readonly #stopping = new AbortController();
  readonly #finished = deferred();
  #left = 0;
  #offers = false;
  readonly #curiosity = new Curiosity();
  #copies = new Copies(new Map(), []);
  /** Files and moves begun and without an outcome yet, and who waits until there are none. */
  #filling = 0;
  #filled: Deferred | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#largeSends = new Slots(options.largeSends);
    this.#finished.promise.catch(() => {});
  }

  /** Resolves when every operation has its outcome. Rejects when the connection is lost. */
  async run(operations: readonly Operation[]): Promise<void> {
    this.#left = operations.length;
    this.#copies = new Copies(this.#options.entries, operations, this.#options.gone);
    if (this.#options.channel.closed) this.lost(new SyncError("ERR_CONNECTION_LOST", "the session is closed"));
    if (operations.length === 0) return;
    this.#offers = operations.some(isLarge) && this.#options.offers();
    let taken = 0;
    // Large files wait for their turn in a line of their own and hold nobody up.
    for (const operation of operations) {
      await this.#window.acquire();
      if (operation.do === "remove") await this.#whenFilled();
      await this.#options.channel.drained();
      if (++taken % READS_IN_A_ROW === 0) await yieldToOthers();
      if (this.#stopping.signal.aborted) break;
      if (isFilling(operation)) this.#filling++;
      if (operation.do === "move" || operation.do === "check") {
        void (operation.entry.size > MAX_INLINE_BYTES ? this.#largeStreams : this.#smallReads).run(() =>
          this.#sendMove(operation),
        );
      } else if (operation.do !== "put") this.#tryRequest(operation);
      else if (operation.entry.size > MAX_INLINE_BYTES) void this.#largeSends.run(() => this.#sendLarge(operation));
      else {
        await this.#smallReads.acquire();
        void this.#sendSmall(operation).finally(() => this.#smallReads.release());
      }
    }
    await this.#finished.promise;
  }

  /** Sends nothing more. What was sent may still be carried out. */
  stop(): void {
    this.lost(new SyncError("ERR_CONNECTION_LOST", "stopped"));
  }

  lost(error: SyncError): void {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort(error);
    for (const { offset, answered, asking } of this.#asked.values()) {
      offset?.reject(error);
      asking?.close();
      answered?.resolve();
    }
    this.#asked.clear();
    this.#window.release();
    this.#filled?.resolve();
    this.#finished.reject(error);
  }

  /** The answers; each says whether the id is one of this sender's. */

  done(id: number): boolean {
    const asked = this.#asked.get(id);
    if (asked === undefined) return false;
    this.#asked.delete(id);
    asked.answered?.resolve();
    const { operation, sha256 } = asked;
    this.#conclude({ type: "done", operation, ...(sha256 === undefined ? {} : { sha256 }) });
    return true;
  }

  fail(id: number, error: SyncError): boolean {
    const asked = this.#asked.get(id);
    if (asked === undefined) return false;
    this.#asked.delete(id);
    asked.failed = true;
    asked.offset?.reject(error);
    asked.answered?.resolve();
    asked.asking?.close();
    const { operation } = asked;
    const built = asked.chunks !== undefined || asked.asking !== undefined || asked.clone === true;
    if (error.code === "ERR_CHECKSUM" && built) this.#options.suspect.add(operation.entry.path);
    if (asked.clone && asked.sha256 !== undefined) this.#options.gone.forget(asked.sha256);
    this.#conclude(
      error.code === "ERR_CHECKSUM" ? { type: "changed", operation } : { type: "failed", operation, error },
    );
    return true;
  }

  chunks(id: number, records: Uint8Array): boolean {
    const asked = this.#asked.get(id);
    asked?.chunks?.push(Buffer.from(records));
    const most = (MAX_DELTA_BYTES / LEAST_CHUNK_BYTES) * CHUNK_RECORD_BYTES;
    const bytes = asked?.chunks?.reduce((sum, { length }) => sum + length, 0) ?? 0;
    if (bytes > most) throw new SyncError("ERR_PROTOCOL", "the server sent a chunk list that is too long");
    return asked !== undefined;
  }

  known(id: number, bits: Uint8Array): boolean {
    const asked = this.#asked.get(id);
    if (asked !== undefined && !asked.asking?.known(bits)) throw new SyncError("ERR_PROTOCOL", "nothing was offered");
    return asked !== undefined;
  }

  have(id: number, offset: number): boolean {
    const asked = this.#asked.get(id);
    asked?.offset?.resolve(offset);
    return asked !== undefined;
  }

  /** What no message can hold fails by itself. */
  #tryRequest(operation: Exclude<Operation, Put | Move | Check>): void {
    try {
      this.#request(operation);
    } catch (error) {
      for (const [id, asked] of this.#asked) if (asked.operation === operation) this.#asked.delete(id);
      this.#unreadable(operation, error);
    }
  }

  #request(operation: Exclude<Operation, Put | Move | Check>): void {
    const id = this.#ask(operation);
    const { entry } = operation;
    const { path } = entry;
    const { channel } = this.#options;
    if (operation.do === "hold") this.#held.set(path, id);
    if (operation.do === "hold") channel.send({ type: "hold", id, path });
    else if (operation.do === "rename") channel.send({ type: "rename", id, path, from: operation.from });
    else if (operation.do === "mkdir") channel.send({ type: "mkdir", id, path });
    else if (operation.do === "link") {
      const { target, mtimeNs = 0n } = operation.entry;
      channel.send({ type: "link", id, path, target, mtimeNs: this.#known(mtimeNs) });
    } else if (operation.do === "remove") channel.send({ type: "remove", id, path, kind: entry.kind });
    else channel.send({ type: "touch", id, kind: operation.entry.kind, ...this.#identity(operation.entry) });
  }

  async #sendSmall(operation: Put): Promise<void> {
    const { entry, copy } = operation;
    const { signal } = this.#stopping;
    try {
      const reading = copy
        ? readAll(VersionReader.of(copy))
        : this.#whole.read(this.#options.folder, entry, signal, this.#settleOpenMs(operation));
      const { content, sha256 } = await reading;
      if (this.#stopping.signal.aborted) return;
      if (this.#clone(operation, sha256)) return;
      const { size: _, ...identity } = this.#identity(entry);
      const id = this.#ask(operation, { sha256 });
      this.#options.channel.send({ type: "file", id, ...identity, sha256, content });
      this.#options.report({ type: "sent", operation, bytes: content.length });
    } catch (error) {
      this.#unreadable(operation, error);
    }
  }

  /** The other end has a file that seems to be this one, perhaps at its very path: it decides by the hash. */
  async #sendMove(operation: Move | Check): Promise<void> {
    const { signal } = this.#stopping;
    const { entry } = operation;
    const from = operation.do === "move" ? operation.from : entry.path;
    let reader: VersionReader | undefined;
    try {
      if (signal.aborted) return;
      reader = await VersionReader.open(this.#options.folder, entry, signal);
      await reader.skipTo(entry.size, signal);
      const sha256 = reader.finish();
      if (signal.aborted) return;
      const held = operation.do === "move" && operation.held ? (this.#held.get(from) ?? 0) : 0;
      const id = this.#ask(operation, { sha256 });
      this.#options.channel.send({ type: "move", id, ...this.#identity(entry), sha256, held, from });
    } catch (error) {
      this.#unreadable(operation, error);
    } finally {
      reader?.close();
    }
  }

  /** Has the other end copy what it holds under another name. False: it does not. */
  #clone(operation: Put, sha256: Buffer): boolean {
    const { entry } = operation;
    const from = this.#options.suspect.has(entry.path) ? undefined : this.#copies.of(sha256);
    // What is at the very path is another version, unless it is an old one that is wanted again.
    const there = this.#options.entries.get(entry.path);
    const isThere = there?.kind === "file" && there.sha256 === sha256.toString("hex");
    if (from === undefined || (from === entry.path && isThere)) return false;
    const id = this.#ask(operation, { sha256, clone: true });
    this.#options.channel.send({ type: "clone", id, ...this.#identity(entry), sha256, from });
    this.#options.report({ type: "reused", operation, bytes: entry.size });
    return true;
  }

  async #cloneLarge(operation: Put): Promise<boolean> {
    const { signal } = this.#stopping;
    const { entry, copy } = operation;
    if (copy !== undefined || signal.aborted) return false;
    const reader = await VersionReader.open(this.#options.folder, entry, signal, this.#settleOpenMs(operation));
    try {
      await reader.skipTo(entry.size, signal);
      return this.#clone(operation, reader.finish());
    } finally {
      reader.close();
    }
  }

  async #sendLarge(operation: Put): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    const { channel, folder } = this.#options;
    let reader: VersionReader | undefined;
    let id: number | undefined;
    try {
      const { copy, entry } = operation;
      if (this.#copies.has(entry) && (await this.#largeStreams.run(() => this.#cloneLarge(operation)))) return;
      reader = copy
        ? VersionReader.of(copy)
        : await VersionReader.open(folder, entry, signal, this.#settleOpenMs(operation));
      if (signal.aborted) return;
      const offset = deferred<number>();
      const answered = deferred();
      offset.promise.catch(() => {});
      const { path } = operation.entry;
      const whole = this.#options.suspect.delete(path);
      const base = whole ? undefined : this.#options.baseOf(operation.entry);
      const chunks: Buffer[] = [];
      id = this.#options.nextId();
      const sparse = this.#options.holes && reader.isSparse;
      const asks =
        !whole && !sparse && base === undefined && this.#offers && this.#curiosity.asks(operation.entry.size);
      const asking = asks ? this.#asking(reader, id, operation) : undefined;
      this.#asked.set(id, {
        operation,
        failed: false,
        offset,
        answered,
        ...(base === undefined ? {} : { chunks }),
        ...(asking === undefined ? {} : { asking }),
      });
      if (base === undefined) channel.send({ type: "put", id, ...this.#identity(operation.entry) });
      else channel.send({ type: "delta", id, base, ...this.#identity(operation.entry) });
      await asking?.sample();
      const start = await offset.promise;
      if (start > operation.entry.size) throw new SyncError("ERR_PROTOCOL", "the server has more than the file holds");
      if (start > 0) this.#options.report({ type: "resumed", operation, offset: start });
      const list = new ChunkList(Buffer.concat(chunks));
      const asked = this.#asked.get(id);
      if (asked !== undefined && list.count > 0) asked.asking = this.#asking(reader, id, operation, list);
      await this.#largeStreams.run(() => this.#stream(reader as VersionReader, id as number, start, operation));
      if (asking !== undefined) this.#curiosity.learn(asking.found);
      await answered.promise;
    } catch (error) {
      if (id !== undefined) channel.send({ type: "abort", id });
      // A server that refused has had its say; the operation is concluded.
      if (id === undefined || this.#asked.delete(id)) this.#unreadable(operation, error);
    } finally {
      reader?.close();
    }
  }

  async #stream(reader: VersionReader, id: number, start: number, operation: Put): Promise<void> {
    const asked = this.#asked.get(id);
    if (asked?.asking === undefined) {
      await reader.skipTo(start, this.#stopping.signal);
      await this.#pass(reader, id, operation.entry.size, operation);
    } else await asked.asking.run(start);
    const sha256 = reader.finish();
    if (asked !== undefined) asked.sha256 = sha256;
    this.#options.channel.send({ type: "end", id, sha256 });
  }

  /** Sends what comes next, up to an offset. While a piece is on its way, the next one is read and hashed. */
  async #pass(reader: VersionReader, id: number, to: number, operation: Put): Promise<void> {
    const { channel, report } = this.#options;
    const read = async (): Promise<Piece | Hole | undefined> => {
      const left = to - reader.offset;
      if (left <= 0) return undefined;
      const hole = this.#options.holes ? Math.min(left, MAX_HOLE_BYTES, reader.zeros) : 0;
      if (hole > 0) {
        await reader.skipHole(hole, this.#stopping.signal);
        return { hole };
      }
      const bytes = Math.min(MAX_DATA_BYTES, left, this.#options.holes ? reader.data : left);
      const memory = this.#frames.pop() ?? Buffer.allocUnsafeSlow(DATA_FRAME_BYTES);
      const { frame, content } = dataFrame(id, bytes, memory);
      await reader.fill(content);
      return { memory, frame, bytes };
    };
    let reading = read();
    for (let piece = await reading; piece !== undefined; piece = await reading) {
      this.#check(id);
      if ("hole" in piece) {
        channel.send({ type: "hole", id, bytes: piece.hole });
        report({ type: "hole", operation, bytes: piece.hole });
        reading = read();
        reading.catch(() => {});
        await channel.drained();
        continue;
      }
      const { memory, frame, bytes } = piece;
      channel.sendFrame(frame, () => this.#frames.length < MAX_SPARE_FRAMES && this.#frames.push(memory));
      reading = read();
      reading.catch(() => {});
      report({ type: "sent", operation, bytes });
      await channel.drained();
    }
  }

  #check(id: number): void {
    this.#stopping.signal.throwIfAborted();
    // A file that failed is answered.
    if (!this.#asked.has(id)) throw new SyncError("ERR_CHECKSUM", "the server refused the file");
  }

  /** With the chunks of an older version, or none. */
  #asking(reader: VersionReader, id: number, operation: Put, base?: ChunkList): Asking {
    const { channel, report, holes } = this.#options;
    return new Asking({
      size: operation.entry.size,
      matcher: base && new Matcher(base),
      offers: this.#offers,
      first: base?.count ?? 0,
      fill: (buffer) => reader.fill(buffer),
      holes: holes ? this.#holeSteps(reader, id, operation) : undefined,
      skip: (offset) => reader.skipTo(offset, this.#stopping.signal),
      pass: (offset) => this.#pass(reader, id, offset, operation),
      check: () => this.#check(id),
      offer: (records) => void channel.send({ type: "offer", id, records }),
      copy: (first, count, bytes) => {
        channel.send({ type: "copy", id, first, count });
        report({ type: "reused", operation, bytes });
      },
      send: (content) => {
        channel.send({ type: "data", id, content });
        report({ type: "sent", operation, bytes: content.length });
        return channel.drained();
      },
    });
  }

  #holeSteps(reader: VersionReader, id: number, operation: Put): HoleSteps {
    const { channel, report } = this.#options;
    return {
      zeros: () => Math.min(MAX_HOLE_BYTES, reader.zeros),
      data: () => reader.data,
      skip: (bytes) => reader.skipHole(bytes, this.#stopping.signal),
      send: (bytes) => {
        channel.send({ type: "hole", id, bytes });
        report({ type: "hole", operation, bytes });
        return channel.drained();
      },
    };
  }

  /** The time, or the latest that the other end knows. */
  #known(timeNs: bigint): bigint {
    const { latestNs } = this.#options;
    return latestNs !== undefined && timeNs > latestNs ? latestNs : timeNs;
  }

  #identity(entry: FileEntry | DirectoryEntry): FileIdentity {
    const { path, mode } = entry;
    const mtimeNs = this.#known(entry.mtimeNs ?? 0n);
    const { size, executable } = entry.kind === "file" ? entry : { size: 0, executable: false };
    const permissions = mode === undefined ? {} : this.#options.perms ? { mode } : { sourceMode: mode };
    return { path, size, mtimeNs, executable, ...permissions };
  }

  #ask(operation: Operation, more: Pick<Asked, "offset" | "answered" | "chunks" | "sha256" | "clone"> = {}): number {
    const id = this.#options.nextId();
    this.#asked.set(id, { operation, failed: false, ...more });
    return id;
  }

  #settleOpenMs({ evenOpen }: Put): number {
    return evenOpen ? 0 : this.#options.settleOpenMs;
  }

  #unreadable(operation: Operation, error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    const known = explained(toSyncError(error, "ERR_UNREADABLE", operation.entry.path), "client");
    if (known.code === "ERR_CHANGED") this.#conclude({ type: "changed", operation });
    else if (known.code === "ERR_OPEN") this.#conclude({ type: "open", operation });
    else this.#conclude({ type: "failed", operation, error: known });
  }

  /** What goes may be what comes elsewhere, and a folder goes after what moves out of it. */
  async #whenFilled(): Promise<void> {
    if (this.#filling === 0 || this.#stopping.signal.aborted) return;
    this.#filled = deferred();
    await this.#filled.promise;
  }

  #conclude(outcome: Outcome): void {
    if (this.#stopping.signal.aborted) return;
    this.#window.release();
    if (isFilling(outcome.operation) && --this.#filling === 0) this.#filled?.resolve();
    this.#options.report(outcome);
    if (--this.#left === 0) this.#finished.resolve();
  }
}

function isLarge(operation: Operation): boolean {
  return operation.do === "put" && operation.entry.size > MAX_INLINE_BYTES;
}

function isFilling({ do: what }: Operation): boolean {
  return what === "put" || what === "move";
}
