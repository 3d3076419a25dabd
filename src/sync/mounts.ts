/** File systems and bind mounts below a folder, as Linux lists them (proc_pid_mountinfo(5)). */
import { readFileSync } from "node:fs";
import { nameFromBytes } from "./names.js";

/** One mount. */
export interface Mount {
  /** Its number and that of the mount it is on. */
  readonly id: number;
  readonly parent: number;
  /** Major and minor number of the device. */
  readonly device: string;
  /** The directory of the file system that is mounted. */
  readonly root: string;
  /** Where it is mounted. */
  readonly at: string;
}

/** Parses the text of `/proc/self/mountinfo`, as Latin-1: names may be any bytes. Pure. */
export function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line): Mount[] => {
    const [id, parent, device, root, at] = line.split(" ");
    if (device === undefined || root === undefined || at === undefined) return [];
    return [{ id: Number(id), parent: Number(parent), device, root: unescaped(root), at: unescaped(at) }];
  });
}

/** All mounts of this process, the visible ones last; none where the system does not say. */
export function mounts(): Mount[] {
  if (process.platform !== "linux") return [];
  try {
    return parseMounts(readFileSync("/proc/self/mountinfo", "latin1"));
  } catch {
    return [];
  }
}

/** Paths below `folder`, relative to it, where something is mounted, with the number of the device that is visible there. */
export function devicesBelow(folder: string, all: readonly Mount[] = mounts()): Map<string, string> {
  const start = folder.endsWith("/") ? folder : `${folder}/`;
  const below = all.filter(({ at }) => at.startsWith(start) && at !== start);
  return new Map(below.map(({ at, device }) => [at.slice(start.length), device]));
}

/** Paths below `folder`, relative to it, where something is mounted. */
export function mountsBelow(folder: string, all: readonly Mount[] = mounts()): string[] {
  return [...devicesBelow(folder, all).keys()];
}

/**
 * Other paths at which what stands at `path` can be reached, through bind mounts, besides the path itself. `path` is
 * resolved already.
 */
export function aliases(path: string, all: readonly Mount[] = mounts()): string[] {
  const own = all.findLast(({ at }) => isAtOrBelow(path, at) && all.every((other) => !isCloser(other.at, at, path)));
  if (own === undefined) return [];
  const inDevice = join(own.root, path.slice(own.at === "/" ? 0 : own.at.length));
  const found = all.flatMap(({ device, root, at }) =>
    device === own.device && isAtOrBelow(inDevice, root)
      ? [join(at, inDevice.slice(root === "/" ? 0 : root.length))]
      : [],
  );
  return [...new Set(found)].filter((alias) => alias !== path);
}

function isCloser(other: string, than: string, path: string): boolean {
  return other.length > than.length && isAtOrBelow(path, other);
}

function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function join(folder: string, below: string): string {
  if (below === "" || below === "/") return folder;
  const relative = below.startsWith("/") ? below : `/${below}`;
  return folder === "/" ? relative : `${folder}${relative}`;
}

/** Blanks, tabs, line feeds and backslashes are octal there. */
function unescaped(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return nameFromBytes(Buffer.from(bytes, "latin1"));
}
