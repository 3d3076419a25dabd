/**
 * A mirror's folder as the receiver changes it. What is visible is always complete: files and links are made in the
 * staging folder, on the same file system and outside the mirror, and renamed into place.
 *
 * The short system calls are synchronous on purpose: a small file costs a fraction of what a round of promises would.
 * The calls that wait for the disk (flushing) are asynchronous.
 */
import { hash, randomBytes } from "node:crypto";
import fs from "node:fs";
import { dirname } from "node:path";
import { makeFolder } from "../files/make-folder.js";
import { listOrNothing } from "../files/read-or-nothing.js";
import { ChunkLists } from "./chunk-lists.js";
import { openToRead, writeAll } from "./content.js";
import { descriptorBudget } from "./descriptors.js";
import { setTime, setTimeAt, setTimeOf } from "./disk.js";
import type { Kind } from "./entry.js";
import { SyncError, systemCode } from "./errors.js";
import { ExactNames } from "./exact-names.js";
import { type FileLayer, SYSTEM_FILES } from "./file-layer.js";
import { close, FileSystemFlusher, flushFile, flushFolder, flushNow, type StagedFile } from "./flush.js";
import { FolderTimes } from "./folder-times.js";
import { Hashes } from "./hashes.js";
import { hashOf } from "./holes.js";
import { FEW_FLUSHES, FILE_MODE, FOLDER_MODE, MAX_MADE_FOLDERS } from "./limits.js";
import { changedFileMode, changedFolderMode, fileMode, folderMode, grantsMore } from "./modes.js";
import { systemPath } from "./names.js";
import { Slots } from "./order.js";
import { listPartials, partialId, partialName, partialsToKeep } from "./partials.js";
import { parentOf } from "./path.js";
import { Places } from "./places.js";
import { type Keeps, probe } from "./probe.js";
import type { Reuse } from "./reuse.js";
import type { FileIdentity, SmallFile } from "./wire.js";

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;
/** Absent on Windows, where creating a link needs a privilege that this guards against elsewhere. */
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
/** A pipe that somebody has put there is not waited for. */
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0;
/** How systems say that they make no links, or none for us. */
const NO_LINKS: ReadonlySet<string> = new Set(["ENOSYS", "EPERM", "EOPNOTSUPP", "ENOTSUP"]);

/** A large file on its way in. */
export interface Incoming {
  readonly fd: number;
  readonly staged: string;
  /** Bytes that are there from an earlier attempt. */
  readonly have: number;
}

/** Keeps what a mirror replaces and deletes. */
export interface Archive {
  /**
   * Called right before the file or link at `absolutePath` (`path` in the mirror) is replaced or deleted; nothing else
   * happens until it returns, and only until then the absolute path is good (a Buffer where it is not UTF-8). A deleted
   * one may be renamed away or linked to; a replaced one is linked to or copied only, so that something is always there.
   * What it throws fails that step, and the entry stays. `ahead` is what {@link keepAhead} has returned for the path.
   */
  retire(absolutePath: string | Buffer, path: string, why: "replaced" | "deleted", ahead?: unknown): void;
  /**
   * Called for a file or link that is going to be replaced, before {@link flush}: what is kept of it is durable then before it is
   * replaced, if it is still there. Default: it is kept when it is replaced.
   */
  keepAhead?(absolutePath: string | Buffer, path: string): unknown;
  /** What {@link keepAhead} has returned is not needed, as nothing was replaced. */
  forgetAhead?(ahead: unknown): void;
  /** Where content that was retired is kept, by its sha256 in hex; `undefined` where it is not. */
  find?(sha256: string): string | undefined;
  /** Where what was at `path` is kept, if it had that sha256 in hex and was in this mirror. */
  held?(path: string, sha256: string): Promise<string | undefined>;
  /** Makes what was retired durable; the client is told that its step is done after that. */
  flush?(): Promise<void>;
}

export interface StorageOptions {
  /** Finds chunks in what the mirror has, and keeps the lists of them. Default: nothing is kept. */
  readonly reuse?: Reuse | undefined;
  /** The file in which the hashes of what is stored are kept. Default: none are. */
  readonly hashes?: string | undefined;
  /** Is given what is about to go. Default: it is gone. */
  readonly archive?: Archive | undefined;
  /** Keeps names apart that the file system takes for one. */
  readonly names?: ExactNames | undefined;
  /** Default: the system's. */
  readonly files?: FileLayer | undefined;
}

export class Storage {
  readonly root: string;
  readonly staging: string;
  readonly files: FileLayer;
  readonly chunks: ChunkLists;
  readonly hashes: Hashes;
  /** Where chunks of what the mirror has are found, if they are. */
  readonly reuse: Reuse | undefined;
  readonly #archive: Archive | undefined;
  readonly #names: ExactNames;
  readonly #places: Places;
  readonly #folderTimes: FolderTimes;
  readonly #fileSystem: FileSystemFlusher;
  /** The names of staged files: ours, and none that an earlier session has left. */
  readonly #stamp = randomBytes(8).toString("hex");
  readonly #fewFlushes = descriptorBudget(FEW_FLUSHES, 1 / 6);
  readonly #flushes = new Slots(this.#fewFlushes);
  /** Folders that were made, and were not given their attributes yet. */
  readonly #made = new Set<string>();
  #stagedCount = 0;
  #ready = false;

  /** `root` is the mirror's folder, `staging` one on the same file system outside of it. Both are made when needed. */
  constructor(root: string, staging: string, { reuse, hashes, archive, names, files }: StorageOptions = {}) {
    this.root = root;
    this.staging = staging;
    this.files = files ?? SYSTEM_FILES;
    this.#fileSystem = new FileSystemFlusher(root, this.files);
    this.reuse = reuse;
    this.chunks = reuse?.lists ?? new ChunkLists(undefined);
    this.#archive = archive;
    this.#names = names ?? new ExactNames();
    this.#places = new Places(root, this.#names);
    this.hashes = new Hashes(this.#places, hashes);
    this.#folderTimes = new FolderTimes(this.#places);
  }

  /** Whether what goes is kept, and can come back. */
  get keeps(): boolean {
    return this.#archive?.held !== undefined;
  }

  /** Makes both folders. Throws `ERR_MIRROR_ROOT` where the mirror's place is taken by something else. */
  prepare(): void {
    if (this.#ready) return;
    makeFolder(this.staging, 0o700);
    if (!this.checkRoot()) {
      fs.mkdirSync(this.root, { mode: 0o700 });
      flushNow(dirname(this.root), this.files);
    }
    this.#names.learn(this.staging, this.#stamp);
    this.#ready = true;
  }

  /** Whether the mirror exists. Throws `ERR_MIRROR_ROOT` when something else than a folder stands there. */
  checkRoot(): boolean {
    const stats = fs.lstatSync(this.root, { throwIfNoEntry: false });
    if (stats === undefined) return false;
    if (stats.isDirectory()) return true;
    throw new SyncError("ERR_MIRROR_ROOT", "the mirror's place at the server is taken by something that is no folder");
  }

  /**
   * Removes what interrupted writes left, and the interrupted large files nobody came back for; with `all`, every one
   * of them. The staging folder itself goes when it is empty.
   */
  clean(all: boolean): void {
    const kept = all ? new Set() : partialsToKeep(listPartials(this.staging));
    for (const name of listOrNothing(this.staging)) {
      const file = `${this.staging}/${name}`;
      if (!kept.has(file)) fs.rmSync(file, { recursive: true, force: true });
    }
    try {
      if (kept.size === 0) fs.rmdirSync(this.staging);
      this.#ready = false;
    } catch {
      // Not there, or not empty: both are fine.
    }
  }

  /** Writes a small file beside; {@link flush} makes it durable and {@link place} visible. Throws `ERR_CHECKSUM`. */
  stageSmall(file: SmallFile): StagedFile {
    if (!hash("sha256", file.content, "buffer").equals(file.sha256)) {
      throw new SyncError("ERR_CHECKSUM", "what arrived is not what was sent");
    }
    this.#fileSystem.hold();
    const staged = this.#newStaged();
    const fd = fs.openSync(staged, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, fileMode(file));
    try {
      writeAll(fd, file.content);
      if (file.mode !== undefined) fs.fchmodSync(fd, fileMode(file));
      setTime(fd, file.mtimeNs);
      return { staged, fd };
    } catch (error) {
      fs.closeSync(fd);
      fs.rmSync(staged, { force: true });
      throw error;
    }
  }

  /** Closes a staged file that is one of so many more: those are flushed together, or opened again for it. */
  keepOpen(file: StagedFile, others: number): void {
    if (others >= this.#fewFlushes) close(file);
  }

  /** Something is written from now on, or renamed, that is to be flushed; until {@link rest}. */
  begin(): void {
    this.#fileSystem.hold();
  }

  /** Nothing is written any more that is not durable. */
  rest(): void {
    this.#fileSystem.release();
  }

  /**
   * Makes staged files, which are closed, and the names in folders durable, where the platform can. Where it rejects, what was
   * written until then may not be durable, and a later call does not tell.
   */
  async flush(files: readonly StagedFile[], folders: ReadonlySet<string>): Promise<void> {
    try {
      this.#folderTimes.restore();
      await this.#archive?.flush?.();
      if (files.length + folders.size > FEW_FLUSHES && this.files.canSyncfs()) await this.#fileSystem.flush();
      else {
        // Each to its end: a descriptor is not closed below a flush.
        const flushed = await Promise.allSettled([
          ...files.map((file) => this.#flushes.run(() => flushFile(file, this.files))),
          ...[...folders].map((folder) =>
            this.#flushes.run(() => flushFolder(() => this.#openFolder(folder), this.files)),
          ),
        ]);
        const failed = flushed.find((one) => one.status === "rejected");
        if (failed !== undefined) throw failed.reason;
      }
    } finally {
      for (const file of files) close(file);
    }
  }

  /** Opens the file at `path` to read; `undefined` where there is none. */
  openFile(path: string): number | undefined {
    try {
      return openToRead(this.#places.at(path));
    } catch {
      return undefined;
    }
  }

  /** Opens the place for a large file: where an earlier attempt at this very version stopped, or empty. */
  openIncoming(file: FileIdentity): Incoming {
    const pathId = partialId(file.path);
    const name = partialName(file);
    for (const other of listOrNothing(this.staging)) {
      if (other.startsWith(pathId) && other !== name) fs.rmSync(`${this.staging}/${other}`, { force: true });
    }
    const staged = `${this.staging}/${name}`;
    const fd = fs.openSync(staged, O_CREAT | O_RDWR | O_NOFOLLOW, 0o600);
    const have = fs.fstatSync(fd).size;
    if (have <= file.size) return { fd, staged, have };
    fs.ftruncateSync(fd, 0);
    return { fd, staged, have: 0 };
  }

  /** Sets the attributes of a large file that is complete, and flushes it. */
  async sealIncoming(incoming: Incoming, file: FileIdentity): Promise<void> {
    fs.fchmodSync(incoming.fd, fileMode(file));
    setTime(incoming.fd, file.mtimeNs);
    await this.files.fsync(incoming.fd);
  }

  /**
   * Keeps what stands at `path` and is about to be replaced; {@link flush} makes that durable. What it returns is for the step that
   * replaces it, or for {@link forgetAhead}; `undefined` where nothing is kept.
   */
  keepAhead(path: string): unknown {
    if (this.#archive?.keepAhead === undefined) return undefined;
    let place: string | Buffer;
    try {
      place = this.#places.at(path);
    } catch {
      return undefined;
    }
    const stats = fs.lstatSync(place, { throwIfNoEntry: false });
    if (stats === undefined || stats.isDirectory()) return undefined;
    return this.#archive.keepAhead(place, path);
  }

  /** As {@link keepAhead}, and makes it durable. */
  async keepAheadNow(path: string): Promise<unknown> {
    const ahead = this.keepAhead(path);
    if (ahead === undefined) return undefined;
    try {
      await this.#archive?.flush?.();
      return ahead;
    } catch (error) {
      this.forgetAhead(ahead);
      throw error;
    }
  }

  forgetAhead(ahead: unknown): void {
    if (ahead !== undefined) this.#archive?.forgetAhead?.(ahead);
  }

  /** Renames what was staged to `path`, over a file or link that stands there, which was kept `ahead` if it could be. */
  place(staged: string, path: string, ahead?: unknown): void {
    this.#change(path, (place) => {
      this.#retire(place, path, "replaced", ahead);
      this.files.rename(staged, place);
    });
  }

  /** Keeps what the file at `path` holds now, without a copy where the file system can. Resolves to where. */
  async hold(path: string): Promise<string> {
    const place = this.#places.at(path);
    const stats = fs.lstatSync(place);
    if (!stats.isFile()) throw new SyncError("ERR_CHECKSUM", "there is no such file at the destination");
    const staged = this.#newStaged();
    try {
      fs.linkSync(place, staged);
    } catch {
      const fd = fs.openSync(this.#places.at(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      try {
        const into = fs.openSync(staged, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, stats.mode & FILE_MODE);
        try {
          await hashOf(fd, stats.size, into);
        } finally {
          fs.closeSync(into);
        }
      } finally {
        fs.closeSync(fd);
      }
    }
    return staged;
  }

  /**
   * Makes the file at `from` (or what was held of it, at `held`) the one at `file.path`, if it holds what `sha256`
   * says. Rejects with `ERR_CHECKSUM` if it does not; then nothing has changed. Where both are one path, it is compared.
   */
  async move(file: FileIdentity, sha256: Uint8Array, from: string, held: string | undefined): Promise<void> {
    const fd = fs.openSync(held ?? this.#places.at(from), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stats = fs.fstatSync(fd, { bigint: true });
      const same = stats.isFile() && Number(stats.size) === file.size && (await hashOf(fd, file.size)).equals(sha256);
      if (!same) throw new SyncError("ERR_CHECKSUM", "the file at the destination is another one");
      if (held === undefined && from === file.path) {
        if (hasAttributes(stats, file)) return;
        setAttributes(fd, stats, file);
        return await this.files.fsync(fd);
      }
      setAttributes(fd, stats, file);
      await this.files.fsync(fd);
      const ahead = await this.keepAheadNow(file.path);
      const now = fs.lstatSync(held ?? this.#places.at(from), { bigint: true });
      if (now.ino !== stats.ino || now.dev !== stats.dev) throw new SyncError("ERR_CHECKSUM", "the file was replaced");
      const rename = (place: string | Buffer, source: string | Buffer): void => {
        this.#retire(place, file.path, "replaced", ahead);
        this.files.rename(source, place);
        // Renaming one name of a file over another one of the same file does nothing.
        if (stats.nlink > 1n) fs.rmSync(source, { force: true });
      };
      if (held !== undefined) this.#change(file.path, (place) => rename(place, held));
      else if (this.#names.areOne(from, file.path)) this.#respell(from, file.path);
      else this.#moveAway(from, (source) => this.#change(file.path, (place) => rename(place, source)));
      if (held === undefined) this.reuse?.moved(from, file.path);
    } finally {
      fs.closeSync(fd);
    }
  }

  /**
   * Makes the file at `file.path` a copy of the one that is at `from`, or was and is kept, if that holds what `sha256` says:
   * else `ERR_CHECKSUM`.
   */
  async clone(file: FileIdentity, sha256: Uint8Array, from: string): Promise<void> {
    if (await this.#copy(this.openFile(from), file, sha256)) return;
    const kept = await this.#archive?.held?.(from, Buffer.from(sha256).toString("hex"));
    if (kept !== undefined && (await this.#copy(openToRead(kept), file, sha256))) return;
    throw new SyncError("ERR_CHECKSUM", "there is no such file at the destination");
  }

  /** Closes the source. Resolves to whether it was the right one. */
  async #copy(source: number | undefined, file: FileIdentity, sha256: Uint8Array): Promise<boolean> {
    if (source === undefined) return false;
    const staged = this.#newStaged();
    try {
      const fd = fs.openSync(staged, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
      try {
        if (!(await hashOf(source, file.size, fd)).equals(sha256)) return false;
        await this.sealIncoming({ fd, staged, have: 0 }, file);
      } finally {
        fs.closeSync(fd);
      }
      this.place(staged, file.path, await this.keepAheadNow(file.path));
      return true;
    } finally {
      fs.rmSync(staged, { force: true });
      fs.closeSync(source);
    }
  }

  /** Gives a folder with all it holds another name, where nothing may be. */
  renameFolder(from: string, to: string): void {
    if (this.#names.areOne(from, to)) {
      this.#respell(from, to);
      return;
    }
    this.#places.at(to);
    const source = fs.lstatSync(this.#places.at(from), { bigint: true });
    if (!source.isDirectory()) throw new SyncError("ERR_NOT_A_FOLDER", `the mirror's ${from} is not a folder`);
    const there = fs.lstatSync(this.#places.at(to), { bigint: true, throwIfNoEntry: false });
    if (there !== undefined && there.ino !== source.ino) {
      throw new SyncError("ERR_CHECKSUM", `something stands at ${to}`);
    }
    // What is kept of folders is kept by their paths.
    this.#folderTimes.restore();
    this.#moveAway(from, (old) => this.#change(to, (place) => this.files.rename(old, place)));
    this.reuse?.moved(from, to);
  }

  /** Where one name has two spellings, it is taken away between them. */
  #respell(from: string, to: string): void {
    this.#folderTimes.restore();
    const staged = this.#newStaged();
    this.#moveAway(from, (old) => fs.renameSync(old, staged));
    try {
      this.#change(to, (place) => fs.renameSync(staged, place));
    } catch (error) {
      fs.renameSync(staged, this.#places.at(from));
      throw error;
    }
  }

  #moveAway(path: string, rename: (place: string | Buffer) => void): void {
    this.#change(path, rename);
    this.#names.removed(path);
  }

  /** Removes what was staged and will not be placed. */
  discard(staged: string): void {
    fs.rmSync(staged, { force: true });
  }

  makeLink({ path, target, mtimeNs }: { path: string; target: string; mtimeNs: bigint }, ahead?: unknown): void {
    if (target === "" || target.includes("\0")) throw new SyncError("ERR_UNSAFE_PATH", "no link can point there");
    const staged = this.#newStaged();
    try {
      fs.symlinkSync(systemPath(target), staged);
    } catch (error) {
      const code = systemCode(error) ?? "";
      throw NO_LINKS.has(code) ? new SyncError(code, `the destination can hold no symbolic links (${code})`) : error;
    }
    try {
      setTimeAt(staged, mtimeNs);
      this.place(staged, path, ahead);
    } catch (error) {
      fs.rmSync(staged, { force: true });
      throw error;
    }
  }

  /** Makes a folder that is closed to group and others until it is {@link touchFolder touched}, unless `mode` says otherwise. */
  makeFolder(path: string, mode = 0o700): void {
    this.#change(path, (place) => {
      try {
        fs.mkdirSync(place, { mode });
        if (this.#made.size < MAX_MADE_FOLDERS) this.#made.add(path);
      } catch (error) {
        if (systemCode(error) !== "EEXIST" || !fs.lstatSync(place).isDirectory()) throw error;
      }
    });
  }

  /** Removes one entry; a folder only when it is empty. What is not there is fine. */
  remove(path: string, kind: Kind): void {
    this.#moveAway(path, (place) => {
      try {
        if (kind === "directory") fs.rmdirSync(place);
        else {
          this.#retire(place, path, "deleted");
          fs.unlinkSync(place);
        }
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw error;
      }
    });
  }

  /** Sets modification time and permissions of a folder. */
  touchFolder(wanted: FileIdentity): void {
    const { path, mtimeNs } = wanted;
    this.#places.at(path);
    const folder = this.#places.folder(path);
    const present = this.#folderTimes.take(path) ?? fs.statSync(folder).mode & FOLDER_MODE;
    const mode = this.#made.delete(path) ? folderMode(wanted) : changedFolderMode(present, wanted);
    fs.chmodSync(folder, mode);
    setTimeOf(folder, mtimeNs);
  }

  /** Sets modification time and permissions of a file whose content is right already. */
  async touch(file: FileIdentity): Promise<void> {
    const fd = fs.openSync(this.#places.at(file.path), O_RDONLY | O_NOFOLLOW);
    try {
      const stats = fs.fstatSync(fd, { bigint: true });
      if (!stats.isFile() || Number(stats.size) !== file.size) {
        throw new SyncError("ERR_CHECKSUM", "the file at the destination is another one");
      }
      setAttributes(fd, stats, file);
      await this.files.fsync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  #openFolder(path: string): number {
    return fs.openSync(path === "" ? this.root : this.#places.at(path), O_RDONLY | O_NOFOLLOW);
  }

  #newStaged(): string {
    return `${this.staging}/${this.#stamp}-${++this.#stagedCount}.new`;
  }

  /** Does something to a name: in a folder that may not be written to as well, and that keeps its time. */
  #change(path: string, change: (place: string | Buffer) => void): void {
    const place = this.#places.at(path);
    this.#folderTimes.keep(parentOf(path));
    try {
      change(place);
    } catch (error) {
      if (!this.#folderTimes.unlock(parentOf(path), error)) throw this.#names.explained(error, path);
      change(this.#places.at(path));
    }
    this.#names.added(path);
  }

  #retire(place: string | Buffer, path: string, why: "replaced" | "deleted", ahead?: unknown): void {
    this.reuse?.leaving(path, place);
    if (this.#archive === undefined) return;
    const stats = fs.lstatSync(place, { throwIfNoEntry: false });
    if (stats !== undefined && !stats.isDirectory()) this.#archive.retire(place, path, why, ahead);
    else this.forgetAhead(ahead);
  }

  /** What the mirror's file system keeps. */
  probe(): Keeps {
    makeFolder(this.staging, 0o700);
    return probe(this.#newStaged());
  }
}

function setAttributes(fd: number, stats: fs.BigIntStats, file: FileIdentity): void {
  const mode = Number(stats.mode) & FILE_MODE;
  const wanted = changedFileMode(mode, file);
  if (mode !== wanted) fs.fchmodSync(fd, wanted);
  setTime(fd, file.mtimeNs);
}

function hasAttributes(stats: fs.BigIntStats, file: FileIdentity): boolean {
  const mode = Number(stats.mode) & FILE_MODE;
  const { sourceMode = mode } = file;
  const fits = ((mode & 0o100) !== 0) === file.executable && !grantsMore(mode, sourceMode);
  const sameMode = file.mode === undefined ? fits : mode === file.mode;
  return sameMode && stats.mtimeNs === file.mtimeNs;
}
