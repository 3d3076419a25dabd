/**
 * Permissions of what a mirror stores. Group and others never get more than the source grants them: without `--perms` a new file or
 * folder has its owner's read and write, and of the source's other permissions what the umask leaves, as with rsync.
 */
import { FILE_MODE, FOLDER_MODE } from "./limits.js";

const GROUP_AND_OTHERS = 0o077;
const OWNER_FILE = 0o600;
const OWNER_FOLDER = 0o700;
export const OWNER_EXECUTES = 0o100;
/** The process's file creation mask (umask(2)); read once, as Node has no other way to read it than the one that can set it. */
const UMASK = process.umask();

export interface Permissions {
  readonly executable: boolean;
  /** All permission bits, where they are to be kept. */
  readonly mode?: number;
  /** The permission bits of the source otherwise; unknown of clients before 0.2. */
  readonly sourceMode?: number;
}

/** The permissions of a new file. */
export function fileMode({ executable, mode, sourceMode = 0 }: Permissions): number {
  if (mode !== undefined) return mode & FILE_MODE;
  const possible = executable ? GROUP_AND_OTHERS : GROUP_AND_OTHERS & 0o666;
  return OWNER_FILE | (executable ? OWNER_EXECUTES : 0) | (sourceMode & possible & ~UMASK);
}

/** The permissions of a new folder. */
export function folderMode({ mode, sourceMode = 0 }: Omit<Permissions, "executable">): number {
  if (mode !== undefined) return mode & FOLDER_MODE;
  return OWNER_FOLDER | (sourceMode & GROUP_AND_OTHERS & ~UMASK);
}

/** The permissions that a file which is there should have: who may read or write it is not extended. */
export function changedFileMode(present: number, { executable, mode, sourceMode }: Permissions): number {
  if (mode !== undefined) return mode & FILE_MODE;
  const granted = OWNER_FILE | (sourceMode ?? present);
  const kept = present & 0o666 & granted;
  return executable ? kept | OWNER_EXECUTES | (((kept & 0o044) >> 2) & granted) : kept;
}

/** The permissions that a folder which is there should have: as they are, but for what its source does not grant any more. */
export function changedFolderMode(present: number, { mode, sourceMode }: Omit<Permissions, "executable">): number {
  if (mode !== undefined) return mode & FOLDER_MODE;
  return sourceMode === undefined ? present : present & (~GROUP_AND_OTHERS | sourceMode);
}

/** Whether group or others may do more with what is there than with its source. */
export function grantsMore(there: number, source: number): boolean {
  return (there & GROUP_AND_OTHERS & ~source) !== 0;
}
