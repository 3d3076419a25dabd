/** The large files of one session at the receiving end: announced, arriving piece by piece, ended or given up. */
import fs from "node:fs";
import { CHUNK_RECORD_BYTES } from "./chunk.js";
import type { Desk } from "./desk.js";
import { SyncError } from "./errors.js";
import { type Arriving, storedFile } from "./hosting.js";
import { MAX_CHUNKS, MAX_OPEN_FILES, MAX_UNANSWERED } from "./limits.js";
import { areChunks } from "./offered.js";
import { parentOf, unsafePath } from "./path.js";
import { type Announced, unexpected } from "./steps.js";
import { Upload } from "./upload.js";

export class Uploads {
  readonly #desk: Desk;
  readonly #uploads = new Map<number, Upload>();
  /** By path, uploads that are being thrown away: their place is free when that is done. */
  readonly #discarding = new Map<string, Promise<void>>();
  /** Uploads that failed while their client was still sending. */
  readonly #refused = new Set<number>();

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** As far as they are now. */
  arriving(): Arriving[] {
    return [...this.#uploads.values()].map(({ file: { path, size }, written, startedAt }) => {
      return { path, bytes: written, size, startedAt };
    });
  }

  /** Answered by HAVE, or FAIL. */
  announce(request: Announced): void {
    const desk = this.#desk;
    const busy = [...this.#uploads.values()].some((upload) => upload.file.path === request.path);
    if (this.#uploads.size >= MAX_OPEN_FILES || this.#uploads.has(request.id)) throw unexpected(request);
    desk.settled = false;
    desk.begin();
    desk.channel.hold();
    void (this.#discarding.get(request.path) ?? Promise.resolve())
      .then(async () => {
        if (busy) throw new SyncError("ERR_PATH_BUSY", "this file is on its way already");
        desk.permit();
        const unsafe = unsafePath(request.path);
        if (unsafe !== undefined) throw new SyncError("ERR_UNSAFE_PATH", unsafe);
        const room = desk.reserve(request.id, request.path, request.size);
        if (room !== undefined) await room;
        desk.storage.prepare();
        const upload = new Upload(desk.storage, request);
        this.#uploads.set(request.id, upload);
        return request.type === "delta" ? this.#offer(request, upload) : upload;
      })
      .then((upload) => void desk.channel.send({ type: "have", id: request.id, offset: upload.have }))
      .catch((error) => this.#refuse(request, error))
      .finally(() => {
        desk.channel.release();
        desk.leave();
      });
  }

  data(id: number, content: Uint8Array): void {
    this.#continue(id, content.length, async (upload) => {
      await upload.write(content);
      this.#desk.channel.recycle(content);
    });
  }

  hole(id: number, bytes: number): void {
    this.#continue(id, bytes, (upload) => upload.hole(bytes));
  }

  copy(id: number, first: number, count: number): void {
    this.#continue(id, 0, (upload) => upload.copy(first, count));
  }

  /** Answered by KNOWN. */
  offer(id: number, records: Uint8Array): void {
    const { channel, storage } = this.#desk;
    if (storage.reuse === undefined || !areChunks(records)) throw unexpected({ type: "offer" });
    this.#continue(id, 0, async (upload) => {
      const bits = await upload.offer(records);
      channel.send({ type: "known", id, bits });
    });
  }

  /** Answered by DONE, or FAIL. */
  end(id: number, sha256: Uint8Array): void {
    const desk = this.#desk;
    const { storage } = desk;
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.delete(id)) throw unexpected({ type: "end" });
      return;
    }
    const { path, size: bytes } = upload.file;
    const turn = desk.enter([path]);
    const finish = async (): Promise<void> => {
      try {
        const staged = await upload.finish(sha256);
        if (turn.ready !== undefined) await turn.ready;
        storage.place(staged, path, await storage.keepAheadNow(path));
      } finally {
        turn.leave();
      }
      this.#uploads.delete(id);
      const event = { type: "stored", path, bytes, entry: storedFile(upload.file, sha256) } as const;
      desk.place({ id, folders: [parentOf(path)], event });
      storage.reuse?.later(path, Buffer.from(sha256).toString("hex"));
    };
    void finish()
      .catch((error) => this.#drop(id, upload, error).then(() => this.#refused.delete(id)))
      .finally(() => desk.leave());
  }

  abort(id: number): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.delete(id)) throw unexpected({ type: "abort" });
      return;
    }
    this.#desk.begin();
    this.#uploads.delete(id);
    void this.#discard(upload).finally(() => {
      this.#desk.release(id);
      this.#desk.leave();
    });
  }

  /** Stops, and keeps what has arrived. */
  async close(): Promise<void> {
    await Promise.all([...this.#uploads.values()].map((upload) => upload.close()));
  }

  /** Tells what the older version consists of; says nothing where there is none. */
  async #offer({ id, base }: Announced & { type: "delta" }, upload: Upload): Promise<Upload> {
    const { storage, channel } = this.#desk;
    const turn = this.#desk.enter([base]);
    await turn.ready;
    turn.leave();
    this.#desk.leave();
    const fd = storage.openFile(base);
    const list = fd === undefined ? undefined : await storage.chunks.of(fd).catch(() => undefined);
    if (fd !== undefined && list === undefined) fs.closeSync(fd);
    if (fd === undefined || list === undefined) return upload;
    upload.buildFrom({ fd, list, replaced: base === upload.file.path });
    const { records } = list;
    const most = MAX_CHUNKS * CHUNK_RECORD_BYTES;
    for (let at = 0; at < records.length; at += most) {
      channel.send({ type: "chunks", id, records: records.subarray(at, at + most) });
      await channel.drained();
    }
    return upload;
  }

  #refuse(request: Announced, error: unknown): void {
    this.#refused.add(request.id);
    this.#desk.fail(request.id, request.path, error);
    if (this.#refused.size > MAX_UNANSWERED) this.#desk.channel.fail(unexpected(request));
  }

  #continue(id: number, bytes: number, step: (upload: Upload) => Promise<void>): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) {
      if (!this.#refused.has(id)) throw unexpected({ type: "data" });
      return;
    }
    this.#desk.begin(bytes);
    void step(upload)
      .catch((error) => this.#drop(id, upload, error))
      .finally(() => this.#desk.leave(bytes));
  }

  /** One report and one clean-up for an upload, however many of its writes fail. */
  async #drop(id: number, upload: Upload, error: unknown): Promise<void> {
    if (!this.#uploads.delete(id)) return;
    this.#refused.add(id);
    await this.#discard(upload);
    this.#desk.fail(id, upload.file.path, error);
  }

  #discard(upload: Upload): Promise<void> {
    const { path } = upload.file;
    const discarded = upload.abort().finally(() => this.#discarding.delete(path));
    this.#discarding.set(path, discarded);
    return discarded;
  }
}
