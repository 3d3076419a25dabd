/** Small files of a program's own that are there whole or not at all. */
import fs from "node:fs";
import { dirname } from "node:path";
import { makeFolder } from "./make-folder.js";

/** Writes a file for its owner only, in place of one that is there, with the folders above it. False: the system refuses. */
export function replaceFile(path: string, content: string): boolean {
  const beside = `${path}.${process.pid}.new`;
  try {
    makeFolder(dirname(path), 0o700);
    fs.writeFileSync(beside, content, { mode: 0o600 });
    fs.renameSync(beside, path);
    return true;
  } catch {
    try {
      fs.unlinkSync(beside);
    } catch {
      // It was not made.
    }
    return false;
  }
}
