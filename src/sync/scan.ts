/** What is in a folder: walked as a whole, or looked at path by path. Symbolic links are never followed. */
import { isUtf8 } from "node:buffer";
import { type BigIntStats, type Dirent, lstatSync, readlinkSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import type { Entry } from "./entry.js";
import { type Failure, SyncError, systemCode, toSyncError } from "./errors.js";
import { type Ignore, ignoreNothing } from "./ignore.js";
import { ancestorsOf, isWithin, unsafePath } from "./path.js";

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
  readonly ignore?: Ignore;
  readonly signal?: AbortSignal;
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
  for (const path of [...new Set(paths)].sort()) {
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
    const stats = await stat(folder, { bigint: true });
    if (stats.isDirectory()) return `${stats.dev.toString(36)}.${stats.ino.toString(36)}`;
  } catch (error) {
    throw new SyncError("ERR_FOLDER", `the folder ${folder} cannot be read: ${toSyncError(error).message}`, {
      cause: error,
    });
  }
  throw new SyncError("ERR_FOLDER", `${folder} is not a folder`);
}

async function walk(folder: string, start: string, into: Snapshot, options: ScanOptions): Promise<void> {
  const pending = [start];
  let calls = 0;
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const child of await list(folder, directory, into)) {
      const path = directory === "" ? child.name : `${directory}/${child.name}`;
      const entry = lookAt(folder, path, into, options, child);
      if (entry?.kind === "directory") pending.push(path);
      if (++calls % SLICE === 0) {
        await yieldToOthers();
        options.signal?.throwIfAborted();
      }
    }
  }
}

async function list(folder: string, directory: string, into: Snapshot): Promise<Dirent[]> {
  try {
    return await readdir(directory === "" ? folder : `${folder}/${directory}`, { withFileTypes: true });
  } catch (error) {
    if (directory === "") throw new SyncError("ERR_FOLDER", `the folder ${folder} cannot be read`, { cause: error });
    addProblem(into, directory, error);
    return [];
  }
}

/** Adds what stands at `path` to the snapshot and returns it; `undefined` for nothing, or nothing to mirror. */
function lookAt(folder: string, path: string, into: Snapshot, options: ScanOptions, known?: Dirent): Entry | undefined {
  const ignore = options.ignore ?? ignoreNothing;
  try {
    const directory = known?.isDirectory() ?? false;
    if (ignore(path, directory)) return undefined;
    const entry = directory ? ({ kind: "directory", path } as const) : readEntry(folder, path);
    if (entry === undefined || (entry.kind === "directory" && !directory && ignore(path, true))) return undefined;
    const unsafe = unsafePath(path);
    if (unsafe !== undefined) throw new SyncError("ERR_UNSAFE_PATH", unsafe);
    into.entries.set(path, entry);
    return entry;
  } catch (error) {
    if (known !== undefined && path.includes("\uFFFD") && systemCode(error) === "ENOENT") {
      addProblem(into, path, new SyncError("ERR_UNSUPPORTED", "the name is not valid UTF-8"));
    } else addProblem(into, path, error);
    return undefined;
  }
}

/** Nothing there (any more) is no problem; what is there and cannot be read is one. */
function addProblem(into: Snapshot, path: string, error: unknown): void {
  const { code, message } = toSyncError(error);
  if (code === "ENOENT" || code === "ENOTDIR") return;
  into.problems.push({ path, code, message, unreadable: !(error instanceof SyncError) });
}

/** What stands at `path`, the last part not followed. Throws what the system throws, `ENOENT` included. */
export function readEntry(folder: string, path: string): Entry {
  const full = `${folder}/${path}`;
  const stats = lstatSync(full, { bigint: true });
  if (stats.isFile()) return fileEntry(path, stats);
  if (stats.isDirectory()) return { kind: "directory", path };
  if (stats.isSymbolicLink()) return { kind: "symlink", path, target: readTarget(full, path) };
  throw new SyncError("ERR_UNSUPPORTED", "it is neither a file, a folder nor a symbolic link", { path });
}

function readTarget(full: string, path: string): string {
  const target = readlinkSync(full, { encoding: "buffer" });
  if (isUtf8(target)) return target.toString();
  throw new SyncError("ERR_UNSUPPORTED", "it is a link to a name that is not valid UTF-8", { path });
}

/** A file's entry from its stats; `version` tells its contents apart on this file system. */
export function fileEntry(path: string, stats: BigIntStats): Entry & { kind: "file" } {
  return {
    kind: "file",
    path,
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    executable: (stats.mode & 0o100n) !== 0n,
    version: `${stats.ino.toString(36)}.${stats.ctimeNs.toString(36)}`,
    ...(stats.nlink > 1n ? { linked: true } : {}),
  };
}
