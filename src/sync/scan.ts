/** What is in a folder: walked as a whole, or looked at path by path. Symbolic links are never followed. */
import { type BigIntStats, lstatSync, readlinkSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { explained } from "./descriptors.js";
import type { Entry } from "./entry.js";
import { type Failure, SyncError, toSyncError } from "./errors.js";
import { type Ignore, ignoreNothing } from "./ignore.js";
import { FILE_MODE, FOLDER_MODE } from "./limits.js";
import { nameFromBytes, systemPath } from "./names.js";
import { ancestorsOf, isWithin, unsafePath } from "./path.js";
import { clampTime, EARLIEST_NS, LATEST_NS } from "./times.js";
import { Turns } from "./turns.js";

/** Something in the folder that cannot be mirrored. */
export interface Problem extends Failure {
  /** Whether something is there that could not be read: then nothing at or below the path may be deleted elsewhere. */
  readonly unreadable: boolean;
}

export interface Snapshot {
  /** By path. */
  readonly entries: Map<string, Entry>;
  readonly problems: Problem[];
  /** Tells the folder from another one at the same place. */
  readonly folderId: string;
}

/** A snapshot of parts of a folder: complete at and below each of `roots`, with the folders above them. */
export interface PartialSnapshot extends Snapshot {
  /** The paths that were looked at, with all that is below; none is below another. */
  readonly roots: readonly string[];
}

export interface ScanOptions {
  readonly ignore?: Ignore | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Is shown each entry that was found, and says what to keep of it: one that is known already and equal, so that there are
   * not two of them, or one that knows more.
   */
  readonly keep?: ((found: Entry) => Entry) | undefined;
  /** Is told the device of each folder that was found. */
  readonly onFolder?: ((path: string, device: bigint) => void) | undefined;
}

/** System calls made in one go before others get their turn. */
const SLICE = 256;

/**
 * Walks the whole folder. Files that come and go meanwhile may or may not be in it.
 * Rejects with a {@link SyncError} `ERR_FOLDER` when the folder itself is missing or cannot be read.
 */
export async function scanFolder(folder: string, options: ScanOptions = {}): Promise<Snapshot> {
  const snapshot: Snapshot = { entries: new Map(), problems: [], folderId: await requireFolder(folder) };
  await walk(folder, "", snapshot, options);
  return snapshot;
}

/**
 * Looks at the given paths, and below those that are folders. A path whose parent is no folder any more is looked at
 * through that parent. Rejects as {@link scanFolder} does.
 */
export async function scanPaths(
  folder: string,
  paths: Iterable<string>,
  options: ScanOptions = {},
): Promise<PartialSnapshot> {
  const snapshot: Snapshot = { entries: new Map(), problems: [], folderId: await requireFolder(folder) };
  const roots: string[] = [];
  const turns = new Turns(SLICE);
  for (const path of [...new Set(paths)].sort()) {
    if (turns.isOver()) {
      await turns.next();
      options.signal?.throwIfAborted();
    }
    const root = firstNonFolder(folder, path, snapshot, options) ?? path;
    const last = roots.at(-1);
    if (last !== undefined && isWithin(root, last)) continue;
    roots.push(root);
    const entry = snapshot.entries.get(root) ?? lookAt(folder, root, snapshot, options);
    if (entry?.kind === "directory") await walk(folder, root, snapshot, options);
  }
  return { ...snapshot, roots };
}

/** The outermost part of `path` above it that is not a folder; the folders passed on the way are added. */
function firstNonFolder(folder: string, path: string, snapshot: Snapshot, options: ScanOptions): string | undefined {
  return ancestorsOf(path).find((ancestor) => {
    const entry = snapshot.entries.get(ancestor) ?? lookAt(folder, ancestor, snapshot, options);
    return entry?.kind !== "directory";
  });
}

async function requireFolder(folder: string): Promise<string> {
  try {
    const stats = await stat(systemPath(folder), { bigint: true });
    if (stats.isDirectory()) return `${stats.dev.toString(36)}.${stats.ino.toString(36)}`;
  } catch (error) {
    throw unreadable(folder, error);
  }
  throw new SyncError("ERR_FOLDER", `${folder} is not a folder`);
}

/** The error for a folder that cannot be read, with the reason. */
export function unreadable(folder: string, error: unknown): SyncError {
  const reason = explained(toSyncError(error), "client");
  return new SyncError("ERR_FOLDER", `the folder ${folder} cannot be read: ${reason.message}`, { cause: error });
}

async function walk(folder: string, start: string, into: Snapshot, options: ScanOptions): Promise<void> {
  const pending = [start];
  const turns = new Turns(SLICE);
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const child of await list(folder, directory, into)) {
      const path = directory === "" ? child.name : `${directory}/${child.name}`;
      const entry = lookAt(folder, path, into, options, child);
      if (entry?.kind === "directory") pending.push(path);
      if (turns.isOver()) {
        await turns.next();
        options.signal?.throwIfAborted();
      }
    }
  }
}

interface Listed {
  readonly name: string;
  isDirectory(): boolean;
}

async function list(folder: string, directory: string, into: Snapshot): Promise<readonly Listed[]> {
  try {
    const full = systemPath(directory === "" ? folder : `${folder}/${directory}`);
    const found = await readdir(full, { withFileTypes: true });
    // Rarely: names that are not UTF-8, of which Node makes others.
    return found.some(({ name }) => name.includes("\uFFFD")) ? await listBytes(full) : found;
  } catch (error) {
    if (directory === "") throw unreadable(folder, error);
    addProblem(into, directory, error);
    return [];
  }
}

async function listBytes(folder: string | Buffer): Promise<Listed[]> {
  const found = await readdir(folder, { withFileTypes: true, encoding: "buffer" });
  return found.map((entry) => ({ name: nameFromBytes(entry.name), isDirectory: () => entry.isDirectory() }));
}

/** Adds what stands at `path` to the snapshot and returns it; `undefined` for nothing, or nothing to mirror. */
function lookAt(folder: string, path: string, into: Snapshot, options: ScanOptions, known?: Listed): Entry | undefined {
  const ignore = options.ignore ?? ignoreNothing;
  try {
    const directory = known?.isDirectory() ?? false;
    if (ignore(path, directory)) return undefined;
    const found = readEntry(folder, path, options.onFolder);
    if (found.kind === "directory" && !directory && ignore(path, true)) return undefined;
    const unsafe = unsafePath(path);
    if (unsafe !== undefined) throw new SyncError("ERR_UNSAFE_PATH", unsafe);
    const { mtimeNs } = found;
    // ext4 itself keeps an earlier time as exactly the earliest.
    if ((mtimeNs === EARLIEST_NS || mtimeNs === LATEST_NS) && statTime(folder, path) !== mtimeNs)
      addProblem(into, path, beyondRange(mtimeNs));
    const entry = options.keep?.(found) ?? found;
    into.entries.set(entry.path, entry);
    return entry;
  } catch (error) {
    addProblem(into, path, error);
    return undefined;
  }
}

/** The modification time on disk, in nanoseconds since 1970. */
function statTime(folder: string, path: string): bigint {
  return lstatSync(systemPath(`${folder}/${path}`), { bigint: true }).mtimeNs;
}

function beyondRange(timeNs: bigint): SyncError {
  const year = timeNs === LATEST_NS ? "later than 2486" : "earlier than 1901";
  return new SyncError(
    "ERR_TIME",
    `its modification time is ${year}, which is mirrored as the closest time that can be kept`,
  );
}

/** Nothing there (any more) is no problem; what is there and cannot be read is one. */
function addProblem(into: Snapshot, path: string, error: unknown): void {
  const { code, message } = toSyncError(error);
  if (code === "ENOENT" || code === "ENOTDIR") return;
  into.problems.push({ path, code, message, unreadable: !(error instanceof SyncError) });
}

/** When a folder was changed last, in nanoseconds since 1970; undefined where it cannot be read. */
export function modificationTime(folder: string): bigint | undefined {
  try {
    return lstatSync(systemPath(folder), { bigint: true }).mtimeNs;
  } catch {
    return undefined;
  }
}

/** What stands at `path`, the last part not followed. Throws what the system throws, `ENOENT` included. */
export function readEntry(folder: string, path: string, onFolder?: ScanOptions["onFolder"]): Entry {
  const full = systemPath(`${folder}/${path}`);
  const stats = lstatSync(full, { bigint: true });
  const mtimeNs = clampTime(stats.mtimeNs);
  if (stats.isFile()) return fileEntry(path, stats);
  if (stats.isDirectory()) {
    onFolder?.(path, stats.dev);
    return { kind: "directory", path, mtimeNs, mode: Number(stats.mode) & FOLDER_MODE };
  }
  if (stats.isSymbolicLink()) {
    return { kind: "symlink", path, target: nameFromBytes(readlinkSync(full, { encoding: "buffer" })), mtimeNs };
  }
  throw new SyncError("ERR_UNSUPPORTED", "it is neither a file, a folder nor a symbolic link", { path });
}

/** A file's entry from its stats; `version` tells its contents apart on this file system. */
export function fileEntry(path: string, stats: BigIntStats): Entry & { kind: "file" } {
  return {
    kind: "file",
    path,
    size: Number(stats.size),
    mtimeNs: clampTime(stats.mtimeNs),
    executable: (stats.mode & 0o100n) !== 0n,
    mode: Number(stats.mode) & FILE_MODE,
    version: `${stats.ino.toString(36)}.${stats.ctimeNs.toString(36)}`,
    ...(stats.nlink > 1n ? { linked: true } : {}),
  };
}
