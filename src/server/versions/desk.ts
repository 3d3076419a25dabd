/** Single files in and out of the mirrors, for those that come without a folder of their own: people, over HTTP. */
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import { type FileHandle, open as openHandle } from "node:fs/promises";
import {
  ancestorsOf,
  parentOf,
  type StepEvent,
  Storage,
  SyncError,
  systemPath,
  type Ticket,
  unsafePath,
} from "../../sync/index.js";
import type { FileRecord } from "../database/types.js";
import type { Expected, OpenFile, Upload } from "../http/mirrors.js";
import { mirrorNameProblem } from "../name.js";
import type { Keeper, Keeping } from "./keeper.js";
import { makeFoldersAbove } from "./restore.js";

const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = fs.constants;
/** Of an upload that did not say how much it is, the quota is asked anew every so many bytes. */
const QUOTA_STEP_BYTES = 1 << 20;

export class Desk {
  readonly #keeper: Keeper;
  /** For each mirror, the last of those who change it: they do so one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(keeper: Keeper) {
    this.#keeper = keeper;
  }

  /** The file as it is, or a kept version of it. Undefined where there is no such file (a folder or link is none). */
  async open(folder: string, path: string, version?: number): Promise<OpenFile | undefined> {
    if (mirrorNameProblem(folder) !== undefined || unsafePath(path) !== undefined) return undefined;
    const { database } = this.#keeper;
    const known = await database.files.byPath(folder, path);
    if (version === undefined || known?.version === version) {
      const handle = await openInside(this.#keeper.rootOf(folder), path);
      return handle === undefined ? undefined : describe(handle, known);
    }
    const found = await this.#keeper.contentOf(folder, path, version);
    if (found === undefined) return undefined;
    const handle = await openHandle(found.place, O_RDONLY | O_NOFOLLOW);
    const { size, mtimeNs, sha256 } = found.version;
    return { handle, size, modifiedAt: Number(mtimeNs / 1000n) / 1000, sha256: sha256 ?? "" };
  }

  /**
   * Puts a file in its place in one step, with the folders above it. What was there is kept as a version. Rejects with
   * `ERR_UNSAFE_PATH`, `ERR_NOT_A_FOLDER`, `ERR_QUOTA`, `ERR_CHECKSUM`, `ERR_PRECONDITION` or `ERR_MIRROR_BUSY`.
   */
  async place(upload: Upload): Promise<{ readonly record: FileRecord; readonly created: boolean }> {
    const { folder, path } = upload;
    this.#refuseUnsafe(folder, path);
    await this.#refuseUnexpected(folder, path, upload.expected);
    return this.#keeper.changing(folder, upload.actor, async (keeping) => {
      const staging = `${this.#keeper.dir}/.confundo/uploads/${randomUUID()}`;
      const storage = new Storage(this.#keeper.rootOf(folder), staging, { archive: keeping.archive });
      storage.prepare();
      const room = new Room(keeping);
      try {
        const staged = await receive(upload, storage, room);
        for (const above of ancestorsOf(path)) await room.reserve(above, 0, "directory");
        return await this.#inTurn(folder, async () => {
          // A client may have come while the content did.
          this.#keeper.refuseWhereBusy(folder);
          await this.#keeper.existing(folder);
          const created = await this.#refuseUnexpected(folder, path, upload.expected);
          await putInPlace(upload, staged, storage, keeping);
          await this.#keeper.settled();
          const record = await this.#keeper.database.files.byPath(folder, path);
          if (record === undefined)
            throw new SyncError("ERR_INTERNAL", "the file is in place, and not written down", { path });
          return { record, created };
        });
      } catch (error) {
        keeping.onEvent({
          type: "failed",
          name: folder,
          path,
          code: (error as { code?: string }).code ?? "ERR_INTERNAL",
        });
        throw error;
      } finally {
        room.release();
        fs.rmSync(staging, { recursive: true, force: true });
      }
    });
  }

  /** Removes a file, a link or an empty folder; what it was is kept as a version. */
  async remove(what: { folder: string; path: string; expected: Expected; actor: string }): Promise<void> {
    const { folder, path, expected, actor } = what;
    this.#refuseUnsafe(folder, path);
    await this.#keeper.changing(folder, actor, (keeping) =>
      this.#inTurn(folder, async () => {
        await this.#refuseUnexpected(folder, path, expected);
        const root = this.#keeper.rootOf(folder);
        const stats = fs.lstatSync(systemPath(`${root}/${path}`), { throwIfNoEntry: false });
        if (stats === undefined) throw new SyncError("ERR_NOT_FOUND", `there is no ${path}`, { path });
        const kind = stats.isDirectory() ? "directory" : stats.isSymbolicLink() ? "symlink" : "file";
        const storage = new Storage(root, `${this.#keeper.dir}/.confundo/uploads/none`, { archive: keeping.archive });
        storage.remove(path, kind);
        await storage.flush([], new Set([parentOf(path)]));
        keeping.onEvent({ type: "removed", name: folder, path, kind });
        await this.#keeper.settled();
      }),
    );
  }

  #refuseUnsafe(folder: string, path: string): void {
    const name = mirrorNameProblem(folder);
    if (name !== undefined) throw new SyncError("ERR_MIRROR_NAME", `"${folder}" cannot be a mirror's name: ${name}`);
    const reason = unsafePath(path);
    if (reason !== undefined) throw new SyncError("ERR_UNSAFE_PATH", reason, { path });
  }

  /** Whether nothing is there now. */
  async #refuseUnexpected(folder: string, path: string, expected: Expected): Promise<boolean> {
    const file = await this.open(folder, path);
    await file?.handle.close();
    const absent = isAbsent(this.#keeper.rootOf(folder), path);
    const fits =
      expected === "anything" ||
      (expected === "absent"
        ? absent
        : expected === "present"
          ? !absent
          : file !== undefined && expected.includes(file.sha256));
    if (!fits) throw new SyncError("ERR_PRECONDITION", `${path} is not what it was expected to be`, { path });
    return absent;
  }

  #inTurn<T>(folder: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(folder) ?? Promise.resolve()).then(work);
    const settled = turn.catch(() => {});
    this.#turns.set(folder, settled);
    void settled.then(() => this.#turns.get(folder) === settled && this.#turns.delete(folder));
    return turn;
  }
}

function isAbsent(root: string, path: string): boolean {
  try {
    return fs.lstatSync(systemPath(`${root}/${path}`), { throwIfNoEntry: false }) === undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTDIR") throw error;
    throw new SyncError("ERR_NOT_A_FOLDER", "what is above it is no folder", { path });
  }
}

interface Staged {
  readonly place: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly sha256: string;
}

/** What one upload has reserved. */
class Room {
  readonly #keeping: Keeping;
  readonly #tickets = new Map<string, Ticket>();

  constructor(keeping: Keeping) {
    this.#keeping = keeping;
  }

  /** Reserves room for a path, instead of what was reserved for it before. */
  async reserve(path: string, bytes: number, what: "file" | "directory" = "file"): Promise<void> {
    this.#tickets.get(path)?.release();
    this.#tickets.delete(path);
    const ticket = this.#keeping.admitBytes(path, bytes, what);
    if (ticket === undefined) return;
    this.#tickets.set(path, ticket);
    await ticket.ready;
  }

  release(): void {
    for (const ticket of this.#tickets.values()) ticket.release();
  }
}

/** Writes content beside the mirror, and looks whether it is what was announced. */
async function receive(upload: Upload, storage: Storage, room: Room): Promise<Staged> {
  const { path, content, size, executable } = upload;
  await room.reserve(path, size ?? 0);
  const mtimeNs = BigInt(Math.trunc(upload.modifiedAt ?? Date.now())) * 1_000_000n;
  const incoming = storage.openIncoming({ path, size: size ?? Number.MAX_SAFE_INTEGER, mtimeNs, executable });
  const hash = createHash("sha256");
  let arrived = 0;
  let admitted = size ?? 0;
  try {
    for await (const chunk of content) {
      hash.update(chunk);
      for (let done = 0; done < chunk.length; ) {
        done += await write(incoming.fd, chunk, done, chunk.length - done, arrived + done);
      }
      arrived += chunk.length;
      if (arrived <= admitted) continue;
      if (size !== null) throw new SyncError("ERR_CHECKSUM", `more arrived than the ${size} bytes announced`, { path });
      admitted = arrived + QUOTA_STEP_BYTES;
      await room.reserve(path, admitted);
    }
    if (admitted !== arrived) await room.reserve(path, arrived);
    const sha256 = hash.digest("hex");
    if ((size !== null && arrived !== size) || (upload.sha256 !== null && upload.sha256 !== sha256)) {
      throw new SyncError("ERR_CHECKSUM", "what arrived is not what was announced", { path });
    }
    await storage.sealIncoming(incoming, { path, size: arrived, mtimeNs, executable });
    return { place: incoming.staged, size: arrived, mtimeNs, sha256 };
  } finally {
    fs.closeSync(incoming.fd);
  }
}

async function putInPlace(upload: Upload, staged: Staged, storage: Storage, keeping: Keeping): Promise<void> {
  const { folder, path, executable } = upload;
  const { size, mtimeNs, sha256 } = staged;
  const changed = new Set([parentOf(path)]);
  const tell = (event: StepEvent): void => keeping.onEvent({ ...event, name: folder });
  for (const missing of makeFoldersAbove(path, storage, tell)) changed.add(parentOf(missing));
  storage.place(staged.place, path, await storage.keepAheadNow(path));
  await storage.flush([], changed);
  const entry = { kind: "file", path, size, executable, mtimeNs, sha256 } as const;
  keeping.onEvent({ type: "stored", name: folder, path, bytes: size, entry });
}

/** Opens a file, reached through no link: what was opened is what stands at the path, with all links followed, afterwards. */
async function openInside(root: string, path: string): Promise<FileHandle | undefined> {
  const place = `${root}/${path}`;
  let handle: FileHandle | undefined;
  try {
    handle = await openHandle(systemPath(place), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const opened = await handle.stat();
    const there = fs.statSync(systemPath(place));
    const same = opened.ino === there.ino && opened.dev === there.dev;
    if (opened.isFile() && same && leadsTo(place, `${fs.realpathSync(root)}/${path}`)) return handle;
  } catch {
    // Nothing there, or nothing that we would read.
  }
  await handle?.close();
  return undefined;
}

/** Whether a path, with all links followed, is another one. */
function leadsTo(path: string, real: string): boolean {
  const followed = fs.realpathSync(systemPath(path), { encoding: "buffer" });
  return followed.equals(Buffer.from(systemPath(real)));
}

async function describe(handle: FileHandle, known: FileRecord | undefined): Promise<OpenFile> {
  const stats = await handle.stat({ bigint: true });
  const size = Number(stats.size);
  const fits = known?.size === size && known.mtimeNs / 1000n === stats.mtimeNs / 1000n ? known.sha256 : null;
  return { handle, size, modifiedAt: Number(stats.mtimeNs / 1000n) / 1000, sha256: fits ?? (await hashHandle(handle)) };
}

async function hashHandle(handle: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1 << 18);
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

function write(fd: number, chunk: Uint8Array, from: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, chunk, from, length, position, (error, written) =>
      error === null ? resolve(written) : reject(error),
    );
  });
}
