/** Folders that are made with those above them. */
import fs from "node:fs";
import { dirname, normalize } from "node:path";

/**
 * Makes a folder, and those above it that are missing, as `mkdir -p` does. One that is there is left as it is.
 *
 * `fs.mkdirSync(path, { recursive: true })` of Node never returns, and lets no signal through, where the system refuses to make a
 * folder with ENOENT below one that exists, as in /proc.
 *
 * Throws what the system reports, with the `path` that it refused, relative where the one given is: ENOENT, EACCES, ENOTDIR, EEXIST (it is no folder), EROFS, ENOSPC.
 */
export function makeFolder(path: string, mode = 0o777): void {
  const missing: string[] = [];
  let at = normalize(path);
  while (fs.statSync(at, { throwIfNoEntry: false }) === undefined && dirname(at) !== at) {
    missing.push(at);
    at = dirname(at);
  }
  if (missing.length === 0 && !isFolder(at)) missing.push(at);
  for (const folder of missing.reverse()) {
    try {
      fs.mkdirSync(folder, { mode });
    } catch (error) {
      // Another program has made it meanwhile.
      if (!isFolder(folder)) throw error;
    }
  }
}

function isFolder(path: string): boolean {
  return fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
