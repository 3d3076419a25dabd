/**
 * Remembers which disks are mounted below a folder, over the runs of a program: so that the empty folder that is left when
 * one is unmounted, or an empty disk that is mounted in its place, is not taken for a folder whose files were deleted.
 */
import fs from "node:fs";
import { listOrNothing } from "../files/read-or-nothing.js";
import { replaceFile } from "../files/replace-file.js";
import { MAX_MOUNT_POINTS } from "./limits.js";
import { mountsBelow } from "./mounts.js";
import { systemPath } from "./names.js";
import { parentOf } from "./path.js";

/** The major number in Linux's device numbers; 0: no device. */
const MAJOR = 0xfffn << 8n;
const BY_UUID = "/dev/disk/by-uuid";

/** What the system says of mounted file systems. */
export interface FileSystems {
  /** Paths below a folder, relative to it, where something is mounted; none where the system does not list them. */
  readonly below: (folder: string) => ReadonlySet<string>;
  /** Tells the file system at a path from others, see {@link isSame}; undefined where the path cannot be read. */
  readonly at: (path: string) => string | undefined;
}

const LOCAL: FileSystems = { below: (folder) => new Set(mountsBelow(folder)), at: fileSystemAt };

export class MountPoints {
  readonly #folder: string;
  readonly #file: string | undefined;
  readonly #systems: FileSystems;
  /** By path inside the folder: what is mounted there. */
  #known: Map<string, string>;
  #found = new Map<string, bigint>();

  /** `file` keeps what is known for the next run; without it, only this run knows. */
  constructor(folder: string, file?: string, systems: FileSystems = LOCAL) {
    this.#folder = folder;
    this.#systems = systems;
    this.#file = file;
    this.#known = file === undefined ? new Map() : read(file);
  }

  /** Begins a scan of the whole folder; the callback is to be told each folder's device. */
  scanning(): (path: string, device: bigint) => void {
    this.#found = new Map();
    const outside = deviceOf(this.#folder);
    return (path, device) => {
      if (device === outside && this.#found.size === 0) return;
      if (device !== (this.#deviceAbove(path) ?? outside)) this.#found.set(path, device);
    };
  }

  /** Mount points of which the disk is not there now, or is another one. */
  away(): string[] {
    if (this.#known.size === 0) return [];
    const listed = this.#systems.below(this.#folder);
    return [...this.#known].filter(([path, id]) => !isSame(id, this.#idOf(path, listed))).map(([path]) => path);
  }

  /** Remembers what the last scan has found, but keeps what is said of mount points with deletes that are held back. */
  learn(holds: (path: string) => boolean): void {
    const now = new Map<string, string>();
    for (const [path, id] of this.#known) if (holds(path)) now.set(path, id);
    for (const path of [...this.#systems.below(this.#folder), ...this.#found.keys()]) {
      const id = now.has(path) ? undefined : this.#systems.at(`${this.#folder}/${path}`);
      if (id !== undefined) now.set(path, id);
    }
    const same = now.size === this.#known.size && [...now].every(([path, id]) => this.#known.get(path) === id);
    if (same || now.size > MAX_MOUNT_POINTS) return;
    this.#known = now;
    if (this.#file !== undefined) write(this.#file, now);
  }

  /** What is mounted at a path; undefined where nothing is. */
  #idOf(path: string, listed: ReadonlySet<string>): string | undefined {
    const at = `${this.#folder}/${path}`;
    if (!listed.has(path)) {
      const device = deviceOf(at);
      const above = parentOf(path);
      const outside = deviceOf(above === "" ? this.#folder : `${this.#folder}/${above}`);
      if (device === undefined || device === outside) return undefined;
    }
    return this.#systems.at(at);
  }

  #deviceAbove(path: string): bigint | undefined {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      const device = this.#found.get(above);
      if (device !== undefined) return device;
    }
    return undefined;
  }
}

function deviceOf(path: string): bigint | undefined {
  try {
    return fs.lstatSync(systemPath(path), { bigint: true }).dev;
  } catch {
    return undefined;
  }
}

/**
 * Device number, root folder (inode, and when it was made: when the file system was), size, and UUID where the system lists it,
 * of the file system at a path, separated by blanks.
 */
function fileSystemAt(path: string): string | undefined {
  try {
    const at = systemPath(path);
    const { dev, ino, birthtimeNs } = fs.lstatSync(at, { bigint: true });
    const { type, bsize, blocks } = fs.statfsSync(at);
    const born = birthtimeNs > 0n ? `${ino}.${birthtimeNs}` : "-";
    // Of a file system without a device of its own, as on a network, the size may change at any time.
    const size = (dev & MAJOR) === 0n ? `${type}` : `${type}.${bsize}.${blocks}`;
    return `${dev} ${born} ${size} ${uuidOf(dev) ?? "-"}`;
  } catch {
    return undefined;
  }
}

/** The UUID, or serial number, of the file system on a block device, where udev(7) has made a link for it. */
function uuidOf(device: bigint): string | undefined {
  return listOrNothing(BY_UUID).find((uuid) => {
    try {
      return fs.statSync(`${BY_UUID}/${uuid}`, { bigint: true }).rdev === device;
    } catch {
      return false;
    }
  });
}

/**
 * Whether a file system is the one that is known. The UUID tells, which a disk keeps under another device number, or else the
 * root folder; where a file system has neither, number and size.
 */
function isSame(known: string, now: string | undefined): boolean {
  if (now === undefined) return false;
  const [device, born = "-", size = "-", uuid = "-"] = known.split(" ");
  const [deviceNow, bornNow = "-", sizeNow = "-", uuidNow = "-"] = now.split(" ");
  if (uuid !== "-" && uuidNow !== "-" && uuid !== uuidNow) return false;
  if (born !== "-" && bornNow !== "-") return born === bornNow;
  if (uuid !== "-" && uuidNow !== "-") return true;
  // What an earlier version has written down says no more than a device, in one of two spellings.
  if (size === "-") return true;
  return device === deviceNow && size === sizeNow;
}

function read(file: string): Map<string, string> {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file, "utf8"));
    if (!Array.isArray(value)) return new Map();
    const pairs = value.filter(
      (pair): pair is [string, string] => Array.isArray(pair) && pair.every((part) => typeof part === "string"),
    );
    return new Map(pairs.slice(0, MAX_MOUNT_POINTS));
  } catch {
    return new Map();
  }
}

function write(file: string, mounts: ReadonlyMap<string, string>): void {
  // Where it cannot be written, the next run begins without it.
  replaceFile(file, JSON.stringify([...mounts]));
}
