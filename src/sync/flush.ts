/** Makes files and folders durable. */
import fs from "node:fs";
import { promisify } from "node:util";
import { flushFileSystem } from "./disk.js";
import { systemCode } from "./errors.js";

const fsync = promisify(fs.fsync);
const fdatasync = promisify(fs.fdatasync);
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
/** Makes everything on the file system of a folder durable. */
export async function flushAround(folder: string): Promise<void> {
  const fd = fs.openSync(folder, O_RDONLY);
  try {
    await flushFileSystem(fd);
  } finally {
    fs.closeSync(fd);
  }
}

export async function flushFile(file: StagedFile): Promise<void> {
  file.fd ??= fs.openSync(file.staged, O_RDONLY | O_NOFOLLOW);
  await fdatasync(file.fd);
  close(file);
}

export function close(file: StagedFile): void {
  if (file.fd !== undefined) fs.closeSync(file.fd);
  file.fd = undefined;
}

/** Makes the names in a folder durable, where the platform can. */
export async function flushFolder(open: () => number): Promise<void> {
  let fd: number | undefined;
  try {
    fd = open();
    await fsync(fd);
  } catch (error) {
    if (!needsNoFlush(error)) throw error;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

export function flushNow(folder: string): void {
  try {
    const fd = fs.openSync(folder, O_RDONLY);
    try {
      fs.fsyncSync(fd);
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
