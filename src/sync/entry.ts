/** What a mirrored folder holds: files, folders and symbolic links. */
import { grantsMore } from "./modes.js";

export interface FileEntry {
  readonly kind: "file";
  /** Relative to the mirrored folder, `/` between the parts. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Modification time in nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** Whether its owner may execute it. */
  readonly executable: boolean;
  /** Permission bits, where they are known. */
  readonly mode?: number;
  /**
   * The version of the content as the file system that was scanned tells it apart (inode and change time). Never
   * travels; it catches a rewrite whose size and modification time are the old ones.
   */
  readonly version?: string;
  /** Of its content, in hex, where it is known; of a mirror's listing the first 16 digits. */
  readonly sha256?: string;
  /** Whether it has more names, so that it may change through another one. Never travels. */
  readonly linked?: boolean;
}

export interface DirectoryEntry {
  readonly kind: "directory";
  readonly path: string;
  /** Modification time and permission bits, where they are known. */
  readonly mtimeNs?: bigint;
  readonly mode?: number;
}

export interface SymlinkEntry {
  readonly kind: "symlink";
  readonly path: string;
  /** What it points to, word for word; never followed. */
  readonly target: string;
  /** The link's own modification time, where it is known. */
  readonly mtimeNs?: bigint;
}

export type Entry = FileEntry | DirectoryEntry | SymlinkEntry;
export type Kind = Entry["kind"];

/** The same file, of which it is known what it holds. */
export function withHash(file: FileEntry, sha256: string): FileEntry {
  const { kind, path, size, mtimeNs, executable, mode, version, linked } = file;
  // Written out, so that all of them are objects of one shape and no larger than need be.
  if (mode !== undefined && version !== undefined && linked === undefined)
    return { kind, path, size, mtimeNs, executable, mode, version, sha256 };
  return { ...file, sha256 };
}

/** Whether two entries say the same of what stands at a path, but for hashes, which are not known of what was just found. */
export function sameEntry(found: Entry, known: Entry): boolean {
  if (found.kind !== known.kind || found.mtimeNs !== known.mtimeNs) return false;
  if (found.kind === "symlink") return found.target === (known as SymlinkEntry).target;
  if (found.mode !== (known as FileEntry | DirectoryEntry).mode) return false;
  if (found.kind === "directory") return true;
  const { size, executable, version, linked } = known as FileEntry;
  return found.version === version && found.size === size && found.executable === executable && found.linked === linked;
}

/** How two sides are compared, given what their file systems can keep. */
export interface Comparison {
  /** Modification times this close are the same. Default 1000: Node sets times as float seconds, about 240 ns. */
  readonly mtimeToleranceNs?: bigint;
  /** The latest time that the other side knows: later ones are this one there. */
  readonly latestNs?: bigint;
  /** Whether both sides keep the executable bit. Default true. */
  readonly executable?: boolean;
  /** Whether all permission bits are to be the same, not only the executable one. Default false. */
  readonly perms?: boolean;
  /** Whether both sides keep the modification times of folders, and of links themselves. Default false. */
  readonly folderTimes?: boolean;
  readonly linkTimes?: boolean;
  /** Whether the other side's listing says what files hold, where it knows. Default false. */
  readonly hashes?: boolean;
  /** Whether the other side compares by hash where size and time are the same and the version is not. Default false. */
  readonly checks?: boolean;
}

/** The version of a file at the other side that is known to hold something else than the one here. */
export const DIFFERS = "differs";

const DEFAULT_TOLERANCE_NS = 1000n;
/** Where times are not kept exactly, they are set by Node, before 1970 only to the millisecond. */
const BEFORE_1970_TOLERANCE_NS = 1_000_000n;

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** Whether two modification times are the same for this comparison. */
export function sameTime(a: bigint, b: bigint, comparison: Comparison = {}): boolean {
  const { latestNs } = comparison;
  if (latestNs !== undefined && (a > latestNs || b > latestNs)) return sameTime(min(a, latestNs), min(b, latestNs));
  const difference = a > b ? a - b : b - a;
  const tolerance = comparison.mtimeToleranceNs ?? DEFAULT_TOLERANCE_NS;
  return difference <= tolerance || (a < 0n && tolerance > 0n && difference <= BEFORE_1970_TOLERANCE_NS);
}

/**
 * What differs between a file here and the file there: nothing, only its attributes, or (maybe) its content. `unsure`:
 * only a comparison by hash can tell.
 */
export function compareFiles(local: FileEntry, remote: FileEntry, comparison: Comparison = {}): FileDifference {
  if (local.size !== remote.size || !sameTime(local.mtimeNs, remote.mtimeNs, comparison)) return "content";
  if (comparison.checks && local.version !== undefined && local.version !== remote.version) {
    return remote.version === DIFFERS ? "content" : "unsure";
  }
  if (!sameMode(local, remote, comparison)) return "attributes";
  const known = local.version !== undefined && remote.version !== undefined;
  return known && local.version !== remote.version ? "content" : "nothing";
}

/** Whether all permissions are the same, or only those that group and others may not have. */
function sameBits({ mode }: { mode?: number }, there: { mode?: number }, { perms = false }: Comparison): boolean {
  if (mode === undefined) return true;
  if (perms) return mode === there.mode;
  return there.mode === undefined || !grantsMore(there.mode, mode);
}

/** Whether two files have the same permissions, as far as these count. */
export function sameMode(local: FileEntry, remote: FileEntry, comparison: Comparison): boolean {
  if (!(comparison.executable ?? true)) return true;
  if (local.executable !== remote.executable) return false;
  return sameBits(local, remote, comparison);
}

/** Whether a folder has the attributes it should have, as far as these are known and count. */
export function sameFolder(local: DirectoryEntry, remote: DirectoryEntry, comparison: Comparison): boolean {
  const timed = (comparison.folderTimes ?? false) && local.mtimeNs !== undefined;
  if (timed && (remote.mtimeNs === undefined || !sameTime(local.mtimeNs, remote.mtimeNs, comparison))) return false;
  return !(comparison.executable ?? true) || sameBits(local, remote, comparison);
}

/** Whether a link points where it should, and has its time as far as that is known and counts. */
export function sameLink(local: SymlinkEntry, remote: SymlinkEntry, comparison: Comparison): boolean {
  if (local.target !== remote.target) return false;
  if (!comparison.linkTimes || local.mtimeNs === undefined) return true;
  return remote.mtimeNs !== undefined && sameTime(local.mtimeNs, remote.mtimeNs, comparison);
}

export type FileDifference = "nothing" | "attributes" | "content" | "unsure";
