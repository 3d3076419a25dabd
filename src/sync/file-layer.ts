/**
 * The system calls that make files durable and give them their names, in one place: a test can record their order, or have one
 * of them fail.
 */
import fs from "node:fs";
import { promisify } from "node:util";
import { canFlushFileSystem, flushFileSystem } from "./disk.js";

const fsync = promisify(fs.fsync);
const fdatasync = promisify(fs.fdatasync);

export interface FileLayer {
  /** Makes an open file or folder durable, with its attributes (fsync). */
  fsync(fd: number): Promise<void>;
  /** Makes the content of an open file durable (fdatasync). */
  fdatasync(fd: number): Promise<void>;
  /** As {@link fsync}; blocks. */
  fsyncNow(fd: number): void;
  /** Whether {@link syncfs} can be called. */
  canSyncfs(): boolean;
  /**
   * Makes everything durable that was written to the file system of an open file or folder. A failed write is reported once to each
   * descriptor that was open when it failed, whichever file it was of.
   */
  syncfs(fd: number): Promise<void>;
  /**
   * Makes a file at `path` that shares its content with an open file, of which it becomes independent when either is changed (FICLONE).
   * Resolves to whether the file system can.
   */
  clone(fd: number, path: string): Promise<boolean>;
  rename(from: string | Buffer, to: string | Buffer): void;
  link(from: string | Buffer, to: string | Buffer): void;
  /** Removes a file, which may be missing. */
  remove(path: string | Buffer): void;
}

async function clone(fd: number, path: string): Promise<boolean> {
  if (process.platform !== "linux") return false;
  try {
    await fs.promises.copyFile(
      `/proc/self/fd/${fd}`,
      path,
      fs.constants.COPYFILE_FICLONE_FORCE | fs.constants.COPYFILE_EXCL,
    );
    return true;
  } catch {
    return false;
  }
}

/** The system's. */
export const SYSTEM_FILES: FileLayer = {
  fsync,
  fdatasync,
  fsyncNow: fs.fsyncSync,
  canSyncfs: canFlushFileSystem,
  syncfs: flushFileSystem,
  clone,
  rename: fs.renameSync,
  link: fs.linkSync,
  remove: (path) => fs.rmSync(path, { force: true }),
};
