/** What could keep a folder from being mirrored well, found by looking at it. */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Entry } from "./entry.js";
import { toSyncError } from "./errors.js";
import { IgnoreRules } from "./ignore.js";
import { aliases, mountsBelow } from "./mounts.js";
import { systemPath } from "./names.js";
import { realPath } from "./real-path.js";
import { scanFolder } from "./scan.js";

/** One thing found out. `problem`: something will not be mirrored; `warning`: it may go wrong, or slower. */
export interface Finding {
  readonly level: "ok" | "warning" | "problem";
  readonly message: string;
  /** What it is about, at most {@link MOST_PATHS} of `count`. */
  readonly paths: readonly string[];
  readonly count: number;
}

const MOST_PATHS = 20;
/** A time so far ahead of our clock is one of another clock. */
const AHEAD_MS = 5000;

/** Rejects with `ERR_FOLDER` when the folder cannot be read. */
export async function examine(folder: string, nowMs: number = Date.now()): Promise<Finding[]> {
  const { entries, problems } = await scanFolder(folder);
  const unreadable = problems.filter((problem) => problem.unreadable).map(({ path }) => path);
  const special = problems.filter((problem) => !problem.unreadable).map(({ path, message }) => `${path} (${message})`);
  for (const { kind, path } of entries.values())
    if (kind === "file" && !readable(`${folder}/${path}`)) unreadable.push(path);
  const ahead = [...entries.values()].filter((entry) => entry.kind === "file" && aheadOf(entry.mtimeNs, nowMs));
  return [
    finding("problem", "all files and folders can be read", "cannot be read and will not be mirrored", unreadable),
    finding("warning", "there are only files, folders and links", "cannot be mirrored and will be left out", special),
    finding(
      "warning",
      "no two names differ in case or Unicode form alone",
      "would be one name where case or Unicode forms do not count (macOS, Windows)",
      collisions(entries.keys()),
    ),
    finding("warning", "no file is newer than the clock", "are newer than this machine's clock: is it right?", [
      ...ahead.map(({ path }) => path),
    ]),
    finding(
      "warning",
      "nothing is mounted below the folder",
      "paths are mounts; changes made through other paths may raise no events, and are found by scanning, up to 5 s later",
      mountsBelow(realPath(folder)),
    ),
    ...homes(realPath(folder), entries),
    ...watchLimit(entries, readLimit()),
  ];
}

/** Homes of servers that contain the folder, or are in it and not ignored: it cannot be mirrored to these. */
function homes(folder: string, entries: ReadonlyMap<string, Entry>): Finding[] {
  const { ignores } = new IgnoreRules(folder);
  const isHome = (path: string): boolean => existsSync(systemPath(`${path}/.confundo/staging`));
  const within = [...entries.values()].filter(
    ({ kind, path }) => kind === "directory" && isHome(`${folder}/${path}`) && !ignores(path, true),
  );
  const places = [folder, ...aliases(folder)];
  const around = places.flatMap((place) => [place, ...parents(place)]).filter(isHome);
  const found = [...within.map(({ path }) => `${path} (--ignore '/${path}' leaves it out)`), ...new Set(around)];
  const bad = "directories in or above the folder are where servers keep mirrors: to these it cannot be mirrored";
  return [finding("problem", "no server keeps its mirrors in the folder or above it", bad, found)];
}

function parents(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...parents(parent)];
}

/** Paths that a file system which folds case, or Unicode forms, takes for one: each with the others. Pure. */
export function collisions(paths: Iterable<string>): string[] {
  const groups = new Map<string, string[]>();
  for (const path of paths) {
    const key = path.normalize("NFC").toLowerCase();
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [path]);
    else group.push(path);
  }
  return [...groups.values()].filter(({ length }) => length > 1).map((group) => group.join(" = "));
}

/** Whether the system's watches suffice; `limit` is undefined where there is no such limit. Pure. */
export function watchLimit(entries: ReadonlyMap<string, Entry>, limit: number | undefined): Finding[] {
  if (limit === undefined) return [];
  // One for each folder; those for files with several names are few, and bounded.
  const folders = [...entries.values()].filter(({ kind }) => kind === "directory").length;
  const needed = folders + 1;
  const numbers = `following takes about ${needed} watches, and all programs of a user may have ${limit}`;
  if (needed * 2 <= limit) return [{ level: "ok", message: numbers, paths: [], count: 0 }];
  const more = 2 ** Math.ceil(Math.log2(needed * 4));
  const help = `sysctl fs.inotify.max_user_watches=${more} allows more; without, changes are found by walking, later`;
  return [{ level: "warning", message: `${numbers}: ${help}`, paths: [], count: 0 }];
}

function finding(level: "warning" | "problem", fine: string, bad: string, paths: readonly string[]): Finding {
  if (paths.length === 0) return { level: "ok", message: fine, paths, count: 0 };
  return { level, message: `${paths.length} ${bad}`, paths: paths.slice(0, MOST_PATHS), count: paths.length };
}

function aheadOf(timeNs: bigint, nowMs: number): boolean {
  return Number(timeNs / 1_000_000n) > nowMs + AHEAD_MS;
}

function readable(file: string): boolean {
  try {
    accessSync(systemPath(file), constants.R_OK);
    return true;
  } catch (error) {
    return toSyncError(error).code === "ENOENT";
  }
}

function readLimit(): number | undefined {
  try {
    const limit = Number(readFileSync("/proc/sys/fs/inotify/max_user_watches", "utf8"));
    return Number.isFinite(limit) && limit > 0 ? limit : undefined;
  } catch {
    return undefined;
  }
}
