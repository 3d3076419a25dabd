/** Files that belong together, as they carry one stamp behind what says what they are; and files made anew as a whole. */
import fs from "node:fs";

export const STAMP_BYTES = 8;
/** Where the stamp is. */
const STAMP_AT = 24;
/** The shortest header. */
export const STAMPED_BYTES: number = STAMP_AT + STAMP_BYTES;

export function stampedHeader(magic: Uint8Array, stamp: Uint8Array, length: number = STAMPED_BYTES): Buffer {
  const header = Buffer.alloc(length);
  header.set(magic);
  header.set(stamp, STAMP_AT);
  return header;
}

export function stampIn(header: Buffer): Buffer {
  return Buffer.from(header.subarray(STAMP_AT, STAMPED_BYTES));
}

/** Puts what `write` writes in the place of the file at `path`, whole or not at all. Returns the new file, open. */
export function replaceFile(path: string, write: (fd: number) => void): number {
  const beside = `${path}.new`;
  const fd = fs.openSync(beside, "w+", 0o600);
  try {
    write(fd);
    fs.renameSync(beside, path);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    fs.rmSync(beside, { force: true });
    throw error;
  }
}
