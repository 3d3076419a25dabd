/** Opening files to read them, and writing open ones. */
import fs from "node:fs";

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

export function writeAll(fd: number, content: Uint8Array): void {
  for (let done = 0; done < content.length; ) done += fs.writeSync(fd, content, done, content.length - done);
}
