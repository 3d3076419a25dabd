/**
 * Recognises a folder and the home of a server that contain one another: everything that is mirrored would be found again
 * in the folder, and mirrored again. The server names the directories that it writes to by device and inode, which are the
 * same through links and bind mounts.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import type { Entry } from "./entry.js";
import { SyncError } from "./errors.js";
import { aliases } from "./mounts.js";
import { systemPath } from "./names.js";

/** Where a server keeps mirrors. */
export interface Place {
  /** The machine that device and inode numbers are of. */
  readonly machine: string;
  /** Device and inode of each directory. */
  readonly ids: readonly string[];
}

/** The place of the mirror at `root`: its directory, and the home that it is in. */
export function placeOf(root: string): Place {
  const home = dirname(root);
  const directories = fs.existsSync(`${home}/.confundo`) ? [home, root] : [root];
  return { machine: machineId(), ids: directories.flatMap((directory) => idOf(directory) ?? []) };
}

/**
 * Throws `ERR_RECURSION` where `folder` is in a directory of `place`, or one of these is among the `entries` of the folder,
 * which are those that are not ignored.
 */
export function refuseRecursion(folder: string, entries: ReadonlyMap<string, Entry>, place: Place): void {
  if (place.machine !== machineId()) return;
  const ids = new Set(place.ids);
  for (const path of [folder, ...aliases(folder)]) {
    for (let at = path; ; at = dirname(at)) {
      const id = idOf(at);
      if (id !== undefined && ids.has(id)) throw inside(folder, at);
      if (dirname(at) === at) break;
    }
  }
  for (const { kind, path } of entries.values()) {
    const id = kind === "directory" ? idOf(`${folder}/${path}`) : undefined;
    if (id !== undefined && ids.has(id)) throw contains(folder, path);
  }
}

function contains(folder: string, path: string): SyncError {
  return new SyncError(
    "ERR_RECURSION",
    `${folder} contains the directory ${path}, where this server keeps its mirrors: whatever is mirrored would be found ` +
      `there, and mirrored again without end. Leave it out with --ignore '/${path}'.`,
    { path },
  );
}

function inside(folder: string, home: string): SyncError {
  const where = folder === home ? `${folder} is` : `${folder} is in ${home},`;
  return new SyncError(
    "ERR_RECURSION",
    `${where} a directory that this server keeps mirrors in: whatever is mirrored would be found there, and mirrored again ` +
      "without end. Mirror a folder that is elsewhere, or have the server keep its mirrors elsewhere.",
  );
}

function idOf(path: string): string | undefined {
  try {
    const { dev, ino } = fs.statSync(systemPath(path), { bigint: true });
    return `${dev.toString(36)}.${ino.toString(36)}`;
  } catch {
    return undefined;
  }
}

/** The same for all programs that see the same devices, until the machine starts again. */
function machineId(): string {
  let name = hostname();
  try {
    name = fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
  } catch {
    // Another system than Linux.
  }
  return createHash("sha256").update(name).digest("hex").slice(0, 32);
}
