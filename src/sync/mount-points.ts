/**
 * Remembers where disks are mounted below a folder, over the runs of a program: so that the empty folder that is left
 * when one is unmounted is not taken for a folder whose files were deleted.
 */
import fs from "node:fs";
import { replaceFile } from "../files/replace-file.js";
import { MAX_MOUNT_POINTS } from "./limits.js";
import { devicesBelow } from "./mounts.js";
import { systemPath } from "./names.js";
import { parentOf } from "./path.js";

/** By path inside the folder: what is mounted there, as the system numbers it now. */
export type Mounts = ReadonlyMap<string, string>;

export class MountPoints {
  readonly #folder: string;
  readonly #file: string | undefined;
  #known: Map<string, string>;
  #found = new Map<string, bigint>();

  /** `file` keeps what is known for the next run; without it, only this run knows. */
  constructor(folder: string, file?: string) {
    this.#folder = folder;
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
    const listed = devicesBelow(this.#folder);
    return [...this.#known].filter(([path, id]) => this.#idOf(path, listed) !== id).map(([path]) => path);
  }

  /** Remembers what the last scan has found, but keeps what is said of mount points with deletes that are held back. */
  learn(holds: (path: string) => boolean): void {
    const now = new Map<string, string>();
    for (const [path, id] of this.#known) if (holds(path)) now.set(path, id);
    for (const [path, id] of devicesBelow(this.#folder)) if (!now.has(path)) now.set(path, id);
    for (const [path, device] of this.#found) if (!now.has(path)) now.set(path, String(device));
    const same = now.size === this.#known.size && [...now].every(([path, id]) => this.#known.get(path) === id);
    if (same || now.size > MAX_MOUNT_POINTS) return;
    this.#known = now;
    if (this.#file !== undefined) write(this.#file, now);
  }

  /** What is mounted at a path; undefined where nothing is. */
  #idOf(path: string, listed: Mounts): string | undefined {
    const known = listed.get(path);
    if (known !== undefined) return known;
    const device = deviceOf(`${this.#folder}/${path}`);
    const above = parentOf(path);
    const outside = deviceOf(above === "" ? this.#folder : `${this.#folder}/${above}`);
    return device === undefined || device === outside ? undefined : String(device);
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

function write(file: string, mounts: Mounts): void {
  // Where it cannot be written, the next run begins without it.
  replaceFile(file, JSON.stringify([...mounts]));
}
