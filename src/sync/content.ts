/** Reading, comparing and writing the content of open files. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { promisify } from "node:util";
import { MAX_DATA_BYTES } from "./limits.js";

const read = promisify(fs.read);
/** A link is not followed, and a pipe that somebody has put there is not waited for. */
const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = fs.constants;

/** The file at `place`, open; `undefined` where there is none that can be read. */
export function openToRead(place: string | Buffer): number | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fs.fstatSync(fd).isFile()) return fd;
  } catch {
    // Nothing there, or nothing that we would read.
  }
  if (fd !== undefined) fs.closeSync(fd);
  return undefined;
}

/** The sha256 of its first `size` bytes, which are given to `copy` too. */
export async function hashOf(fd: number, size: number, copy?: (bytes: Buffer) => void): Promise<Buffer> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(Math.min(size, MAX_DATA_BYTES));
  for (let done = 0; done < size; ) {
    const { bytesRead } = await read(fd, buffer, 0, Math.min(buffer.length, size - done), done);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    copy?.(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return hash.digest();
}

export function writeAll(fd: number, content: Uint8Array): void {
  for (let done = 0; done < content.length; ) done += fs.writeSync(fd, content, done, content.length - done);
}
