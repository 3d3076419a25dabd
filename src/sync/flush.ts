/** Makes files and folders durable. */
import fs from "node:fs";
import { systemCode } from "./errors.js";
import type { FileLayer } from "./file-layer.js";

const { O_RDONLY } = fs.constants;
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
/** A small file that was written beside. It is open while it is to be flushed on its own. */
export interface StagedFile {
  readonly staged: string;
  fd: number | undefined;
}

const FOLDER_IS_GONE: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ERR_NOT_A_FOLDER"]);
/** A folder cannot be flushed there; the rename is as durable as the system makes it. */
const CANNOT_FLUSH_FOLDERS: ReadonlySet<string> = new Set(["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP", "EBADF"]);

/**
 * Makes everything on the file system of a folder durable, by a descriptor that is held while something there is written and not
 * durable: a failed write is reported once, to the descriptors that were open when it failed. Where no flush of ours is under way,
 * a descriptor that is opened afterwards knows nothing of it.
 */
export class FileSystemFlusher {
  readonly #folder: string;
  readonly #files: FileLayer;
  #fd: number | undefined;

  constructor(folder: string, files: FileLayer) {
    this.#folder = folder;
    this.#files = files;
  }

  /** To be called before something is written that is to be flushed. */
  hold(): void {
    if (this.#files.canSyncfs()) this.#fd ??= fs.openSync(this.#folder, O_RDONLY);
  }

  /** To be called when nothing is written and not durable. */
  release(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  async flush(): Promise<void> {
    const held = this.#fd;
    const fd = held ?? fs.openSync(this.#folder, O_RDONLY);
    try {
      await this.#files.syncfs(fd);
    } finally {
      if (held === undefined) fs.closeSync(fd);
    }
  }
}

export async function flushFile(file: StagedFile, files: FileLayer): Promise<void> {
  file.fd ??= fs.openSync(file.staged, O_RDONLY | O_NOFOLLOW);
  await files.fdatasync(file.fd);
  close(file);
}

export function close(file: StagedFile): void {
  if (file.fd !== undefined) fs.closeSync(file.fd);
  file.fd = undefined;
}

/** Makes the names in a folder durable, where the platform can. */
export async function flushFolder(open: () => number, files: FileLayer): Promise<void> {
  let fd: number | undefined;
  try {
    fd = open();
    await files.fsync(fd);
  } catch (error) {
    if (!needsNoFlush(error)) throw error;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

export function flushNow(folder: string, files: FileLayer): void {
  try {
    const fd = fs.openSync(folder, O_RDONLY);
    try {
      files.fsyncNow(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    if (!needsNoFlush(error)) throw error;
  }
}

/** A folder that is gone (or replaced) needs no flushing: its removal is flushed with its parent. */
function needsNoFlush(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  return FOLDER_IS_GONE.has(code) || CANNOT_FLUSH_FOLDERS.has(code);
}
