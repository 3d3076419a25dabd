/** The receiving end of a mirror: one session with one client, over any Duplex. */
import fs from "node:fs";
import type { Duplex } from "node:stream";
import { Channel } from "./channel.js";
import { CHUNK_RECORD_BYTES } from "./chunk.js";
import { deferred } from "./deferred.js";
import type { Entry } from "./entry.js";
import { clip, SyncError, toSyncError } from "./errors.js";
import {
  type Admission,
  type ReceiveEvent,
  type ReceiveOptions,
  type ReceiveSession,
  type StepEvent,
  storedFile,
} from "./hosting.js";
import {
  FEATURE_PACKED,
  FEATURES,
  HANDSHAKE_MS,
  MAX_CHUNKS,
  MAX_DONE_IDS,
  MAX_HELD,
  MAX_LISTING_BYTES,
  MAX_OPEN_FILES,
  MAX_PENDING_BYTES,
  MAX_PENDING_OPERATIONS,
  MAX_SMALL_WRITES,
  MAX_UNANSWERED,
  PROTOCOL_VERSION,
} from "./limits.js";
import { PathOrder, Slots, type Turn } from "./order.js";
import { parentOf, unsafePath } from "./path.js";
import { scanFolder } from "./scan.js";
import { type Announced, eventOf, foldersOf, isStep, pathsOf, type Step } from "./steps.js";
import type { Storage } from "./storage.js";
import { Upload } from "./upload.js";
import { entryBytes, type Hello, type Message, type MovedFile } from "./wire.js";

/** Serves one client. Takes the Duplex over: its errors are handled and it is destroyed at the end. Never throws. */
export function receive(duplex: Duplex, options: ReceiveOptions): ReceiveSession {
  return new Receiver(duplex, options);
}

/** A step that is done and not yet durable. */
interface Placed {
  readonly id: number;
  /** Whose names have changed. */
  readonly folders: readonly string[];
  readonly event: StepEvent | undefined;
}

class Receiver implements ReceiveSession {
  readonly #options: ReceiveOptions;
  readonly #channel: Channel;
  readonly #over = deferred();
  readonly #idle: (() => void)[] = [];
  readonly #order = new PathOrder();
  readonly #writes = new Slots(MAX_SMALL_WRITES);
  readonly #uploads = new Map<number, Upload>();
  /** By path, uploads that are being thrown away: their place is free when that is done. */
  readonly #discarding = new Map<string, Promise<void>>();
  /** Uploads that failed while their client was still sending. */
  readonly #refused = new Set<number>();
  readonly #handshake: NodeJS.Timeout;
  #admission: Admission | undefined;
  #greeted = false;
  #name = "";
  #pending = 0;
  #pendingBytes = 0;
  #full = false;
  #placed: Placed[] = [];
  /** Where what was held is, by the id of its HOLD. */
  readonly #held = new Map<number, string>();
  #committing = false;
  #settled = false;

  constructor(duplex: Duplex, options: ReceiveOptions) {
    this.#options = options;
    this.#handshake = setTimeout(
      () => this.end(new SyncError("ERR_PROTOCOL", "the client did not say what it wants")),
      options.handshakeMs ?? HANDSHAKE_MS,
    );
    this.#channel = new Channel(duplex, {
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      ...(options.silenceMs === undefined ? {} : { silenceMs: options.silenceMs }),
      onMessage: (message) => this.#receive(message),
      onClose: (error) => void this.#finish(error),
    });
  }

  get closed(): Promise<void> {
    return this.#over.promise;
  }

  end(reason: SyncError): void {
    this.#channel.fail(reason);
  }

  probe(ms: number): Promise<boolean> {
    return this.#channel.probe(ms);
  }

  #receive(message: Message): void {
    if (message.type === "hello" && !this.#greeted) void this.#greet(message);
    else if (this.#admission === undefined) throw unexpected(message);
    else if (message.type === "list") void this.#list(this.#admission.storage);
    else if (message.type === "settled") void this.#settle(this.#admission.storage, message.entries);
    else if (message.type === "bye") void this.#whenIdle().then(() => this.#channel.goodbye());
    else if (message.type === "data") this.#data(message.id, message.content);
    else if (message.type === "end") this.#end(message.id, message.sha256);
    else if (message.type === "abort") this.#abort(message.id);
    else if (message.type === "copy") this.#copy(message.id, message.first, message.count);
    else if (message.type === "put" || message.type === "delta") this.#put(message, this.#admission.storage);
    else if (isStep(message)) this.#step(message, this.#admission.storage);
    else throw unexpected(message);
  }

  async #greet(hello: Hello): Promise<void> {
    this.#greeted = true;
    clearTimeout(this.#handshake);
    this.#channel.hold();
    try {
      if (hello.version < 1) throw new SyncError("ERR_VERSION", `there is no version ${hello.version} of the protocol`);
      const admission = await this.#options.admit(hello, this);
      this.#admission = admission;
      this.#name = hello.name;
      if (this.#channel.closed) return admission.release();
      admission.storage.checkRoot();
      admission.storage.clean(false);
      admission.storage.chunks.clean();
      this.#channel.send({
        type: "welcome",
        version: Math.min(hello.version, PROTOCOL_VERSION),
        features: (hello.features ?? 0) & FEATURES,
        ...admission.storage.probe(),
      });
      if (((hello.features ?? 0) & FEATURES & FEATURE_PACKED) !== 0) this.#channel.compress();
      this.#emit({ type: "opened", name: hello.name, label: hello.label });
      this.#channel.release();
    } catch (error) {
      this.end(toSyncError(error));
    }
  }

  async #list(storage: Storage): Promise<void> {
    this.#channel.hold();
    this.#pending++;
    try {
      const entries = storage.checkRoot() ? (await scanFolder(storage.root)).entries : new Map<string, Entry>();
      let batch: Entry[] = [];
      let bytes = 0;
      for (const entry of entries.values()) {
        batch.push(entry);
        bytes += entryBytes(entry);
        if (bytes < MAX_LISTING_BYTES) continue;
        this.#channel.send({ type: "entries", entries: batch });
        await this.#channel.drained();
        batch = [];
        bytes = 0;
      }
      if (batch.length > 0) this.#channel.send({ type: "entries", entries: batch });
      this.#channel.send({ type: "listed", count: entries.size });
    } catch (error) {
      this.end(toSyncError(error));
    } finally {
      this.#channel.release();
      this.#leave(0);
    }
  }

  async #settle(storage: Storage, entries: number): Promise<void> {
    this.#pending++;
    try {
      await storage.prepare();
      for (const staged of this.#held.values()) storage.discard(staged);
      this.#held.clear();
      this.#settled = true;
      this.#emit({ type: "settled", name: this.#name, entries });
    } catch (error) {
      this.end(toSyncError(error));
    } finally {
      this.#leave(0);
    }
  }

  #step(request: Step, storage: Storage): void {
    const bytes = request.type === "file" ? request.content.length : 0;
    const turn = this.#enter(pathsOf(request), bytes);
    void this.#carryOut(request, storage, turn)
      .then(
        () => this.#place({ id: request.id, folders: foldersOf(request), event: eventOf(request) }),
        (error) => this.#fail(request.id, request.path, error),
      )
      .finally(() => this.#leave(bytes));
  }

  async #carryOut(request: Step, storage: Storage, turn: Turn): Promise<void> {
    let staged: string | undefined;
    try {
      this.#permit(request.path, request.type === "file" ? request.content.length : undefined);
      await storage.prepare();
      staged = request.type === "file" ? await this.#writes.run(() => storage.stageSmall(request)) : undefined;
      if (turn.ready !== undefined) await turn.ready;
      if (staged !== undefined) storage.place(staged, request.path);
      else if (request.type === "mkdir") storage.makeFolder(request.path);
      else if (request.type === "link") storage.makeLink(request.path, request.target);
      else if (request.type === "remove") storage.remove(request.path, request.kind);
      else if (request.type === "touch") await storage.touch(request);
      else if (request.type === "rename") storage.renameFolder(request.from, request.path);
      else if (request.type === "hold") await this.#hold(request.id, request.path, storage);
      else if (request.type === "move") await this.#move(request, storage);
    } catch (error) {
      if (staged !== undefined) storage.discard(staged);
      throw error;
    } finally {
      turn.leave();
    }
  }

  /** Throws where the host does not let the client do that. */
  #permit(path: string, bytes: number | undefined): void {
    if (this.#admission?.readOnly) throw new SyncError("ERR_FORBIDDEN", "this client may read the mirror only");
    if (bytes !== undefined) this.#admission?.admitBytes?.(path, bytes);
  }

  async #hold(id: number, path: string, storage: Storage): Promise<void> {
    if (this.#held.size >= MAX_HELD) throw new SyncError("ERR_LIMIT", "too much is held");
    const staged = await storage.hold(path);
    if (this.#held.has(id)) storage.discard(staged);
    else this.#held.set(id, staged);
  }

  async #move(request: MovedFile, storage: Storage): Promise<void> {
    const held = this.#held.get(request.held);
    if (request.held !== 0 && held === undefined) throw new SyncError("ERR_CHECKSUM", "nothing was held");
    this.#held.delete(request.held);
    try {
      await this.#writes.run(() => storage.move(request, request.sha256, request.from, held));
    } finally {
      if (held !== undefined) storage.discard(held);
    }
  }

  #put(request: Announced, storage: Storage): void {
    const busy = [...this.#uploads.values()].some((upload) => upload.file.path === request.path);
    if (this.#uploads.size >= MAX_OPEN_FILES || this.#uploads.has(request.id)) throw unexpected(request);
    this.#settled = false;
    this.#pending++;
    this.#channel.hold();
    void Promise.all([storage.prepare(), this.#discarding.get(request.path)])
      .then(() => {
        if (busy) throw new SyncError("ERR_PATH_BUSY", "this file is on its way already");
        this.#permit(request.path, request.size);
        const unsafe = unsafePath(request.path);
        if (unsafe !== undefined) throw new SyncError("ERR_UNSAFE_PATH", unsafe);
        const upload = new Upload(storage, request);
        this.#uploads.set(request.id, upload);
        return request.type === "delta" ? this.#offer(request, upload, storage) : upload;
      })
      .then((upload) => void this.#channel.send({ type: "have", id: request.id, offset: upload.have }))
      .catch((error) => this.#refuse(request, error))
      .finally(() => {
        this.#channel.release();
        this.#leave(0);
      });
  }

  /** Tells what the older version consists of; says nothing where there is none. */
  async #offer({ id, base }: Announced & { type: "delta" }, upload: Upload, storage: Storage): Promise<Upload> {
    const turn = this.#order.enter(base);
    await turn.ready;
    turn.leave();
    const fd = storage.openFile(base);
    const list = fd === undefined ? undefined : await storage.chunks.of(fd).catch(() => undefined);
    if (fd !== undefined && list === undefined) fs.closeSync(fd);
    if (fd === undefined || list === undefined) return upload;
    upload.buildFrom({ fd, list });
    const { records } = list;
    const most = MAX_CHUNKS * CHUNK_RECORD_BYTES;
    for (let at = 0; at < records.length; at += most) {
      this.#channel.send({ type: "chunks", id, records: records.subarray(at, at + most) });
      await this.#channel.drained();
    }
    return upload;
  }

  #refuse(request: Announced, error: unknown): void {
    this.#refused.add(request.id);
    this.#fail(request.id, request.path, error);
    if (this.#refused.size > MAX_UNANSWERED) this.end(unexpected(request));
  }

  #data(id: number, content: Uint8Array): void {
    this.#continue(id, content.length, (upload) => upload.write(content));
  }

  #copy(id: number, first: number, count: number): void {
    this.#continue(id, 0, (upload) => upload.copy(first, count));
  }

  #continue(id: number, bytes: number, step: (upload: Upload) => Promise<void>): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.has(id)) throw unexpected({ type: "data" });
      return;
    }
    this.#pending++;
    this.#pendingBytes += bytes;
    void step(upload)
      .catch((error) => this.#dropUpload(id, upload, error))
      .finally(() => this.#leave(bytes));
    this.#throttle();
  }

  /** One report and one clean-up for an upload, however many of its writes fail. */
  async #dropUpload(id: number, upload: Upload, error: unknown): Promise<void> {
    if (!this.#uploads.delete(id)) return;
    this.#refused.add(id);
    await this.#discard(upload);
    this.#fail(id, upload.file.path, error);
  }

  #end(id: number, sha256: Uint8Array): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.delete(id)) throw unexpected({ type: "end" });
      return;
    }
    const storage = this.#admission?.storage;
    const turn = this.#enter([upload.file.path], 0);
    const finish = async (): Promise<void> => {
      try {
        const staged = await upload.finish(sha256);
        if (turn.ready !== undefined) await turn.ready;
        storage?.place(staged, upload.file.path);
      } finally {
        turn.leave();
      }
      this.#uploads.delete(id);
    };
    void finish()
      .then(
        () => {
          const { path, size: bytes } = upload.file;
          const event = { type: "stored", path, bytes, entry: storedFile(upload.file, sha256) } as const;
          this.#place({ id, folders: [parentOf(path)], event });
          storage?.chunks.later(
            () => storage.openFile(upload.file.path),
            () => this.#whenIdle(),
          );
        },
        (error) => this.#dropUpload(id, upload, error).then(() => this.#refused.delete(id)),
      )
      .finally(() => this.#leave(0));
  }

  #abort(id: number): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.delete(id)) throw unexpected({ type: "abort" });
      return;
    }
    this.#pending++;
    this.#uploads.delete(id);
    void this.#discard(upload).finally(() => this.#leave(0));
  }

  #discard(upload: Upload): Promise<void> {
    const { path } = upload.file;
    const discarded = upload.abort().finally(() => this.#discarding.delete(path));
    this.#discarding.set(path, discarded);
    return discarded;
  }

  #enter(paths: string[], bytes: number): Turn {
    this.#settled = false;
    this.#pending++;
    this.#pendingBytes += bytes;
    this.#throttle();
    return this.#order.enter(...paths);
  }

  #leave(bytes: number): void {
    this.#pending--;
    this.#pendingBytes -= bytes;
    this.#throttle();
    if (this.#pending === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Reads no further than we can store, and than the client reads our answers. */
  #throttle(): void {
    const { length } = this.#placed;
    const most = this.#full ? 0.5 : 1;
    const full =
      this.#pending + length > MAX_PENDING_OPERATIONS * most || this.#pendingBytes > MAX_PENDING_BYTES * most;
    if (full === this.#full) return;
    this.#full = full;
    if (full) this.#channel.hold();
    else this.#channel.release();
  }

  #place(placed: Placed): void {
    this.#placed.push(placed);
    if (!this.#committing) void this.#commit();
  }

  /** Flushes the folders of what was placed, as one group while the group before was being flushed; then reports. */
  async #commit(): Promise<void> {
    this.#committing = true;
    this.#pending++;
    const storage = this.#admission?.storage;
    while (this.#placed.length > 0) {
      const group = this.#placed.splice(0, MAX_DONE_IDS);
      const folders = new Set(group.flatMap((placed) => placed.folders));
      try {
        await Promise.all([...folders].map((folder) => storage?.flushFolder(folder)));
        for (const { event } of group) if (event !== undefined) this.#emit({ ...event, name: this.#name });
        this.#channel.send({ type: "done", ids: group.map(({ id }) => id) });
      } catch (error) {
        for (const { id, folders } of group) this.#fail(id, folders[0] ?? "", error);
      }
      if (this.#channel.needsDrain) {
        this.#channel.hold();
        await this.#channel.drained();
        this.#channel.release();
      }
    }
    this.#committing = false;
    this.#leave(0);
  }

  #fail(id: number, path: string, error: unknown): void {
    const { code, message } = toSyncError(error);
    this.#channel.send({ type: "fail", id, code, message: clip(message) });
    this.#emit({ type: "failed", name: this.#name, path, code });
  }

  #whenIdle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  async #finish(error: SyncError | undefined): Promise<void> {
    clearTimeout(this.#handshake);
    await this.#whenIdle();
    await this.#admission?.storage.chunks.stop();
    await Promise.all([...this.#uploads.values()].map((upload) => upload.close()));
    try {
      this.#admission?.storage.clean(this.#settled);
    } catch {
      // Leftovers that cannot be removed now are removed when the next session begins.
    }
    this.#admission?.release();
    const why = error === undefined ? {} : { code: error.code, message: error.message };
    this.#emit({ type: "closed", name: this.#name, ...why });
    this.#over.resolve();
  }

  /** What a host's handler throws must not become the failure of a client's file. */
  #emit(event: ReceiveEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }
}

function unexpected({ type }: { type: string }): SyncError {
  return new SyncError("ERR_PROTOCOL", `a ${type} message at a time when none is expected`);
}
