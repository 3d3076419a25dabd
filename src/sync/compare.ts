/** Two trees compared a slice at a time, so that what {@link plan} is given is only what differs. Pure but for the turns. */
import { type Comparison, compareFiles, type Entry, sameEntry, withHash } from "./entry.js";
import { ancestorsOf, isWithin } from "./path.js";
import { differs, type Entries } from "./plan.js";
import type { PartialSnapshot } from "./scan.js";
import { Turns } from "./turns.js";

/** For a scan: what was found exactly as it is known is the known entry, so that an unchanged tree is in memory once. */
export function sharing(known: Entries): (found: Entry) => Entry {
  return (found) => {
    const same = known.get(found.path);
    return same !== undefined && sameEntry(found, same) ? same : found;
  };
}

/**
 * The parts of two trees that a plan depends on: what is not equal, and the folders above. A plan of them is a plan of the
 * trees.
 */
export async function differences(
  local: Entries,
  remote: Entries,
  comparison: Comparison,
): Promise<{ readonly local: Entries; readonly remote: Entries }> {
  const paths: string[] = [];
  const turns = new Turns();
  let met = 0;
  for (const entry of local.values()) {
    if (turns.isOver()) await turns.next();
    const there = remote.get(entry.path);
    if (there !== undefined) met++;
    if (there === undefined || (there !== entry && differs(entry, there, comparison))) paths.push(entry.path);
  }
  if (met < remote.size) {
    for (const path of remote.keys()) {
      if (turns.isOver()) await turns.next();
      if (!local.has(path)) paths.push(path);
    }
  }
  if (paths.length * 2 > local.size + remote.size) return { local, remote };
  return { local: await pick(local, paths, turns), remote: await pick(remote, paths, turns) };
}

/** Entries of those paths, and the folders above them. */
async function pick(entries: Entries, paths: readonly string[], turns: Turns): Promise<Entries> {
  const picked = new Map<string, Entry>();
  for (const path of paths) {
    if (turns.isOver()) await turns.next();
    for (const each of [...ancestorsOf(path), path]) {
      const entry = entries.get(each);
      if (entry !== undefined) picked.set(each, entry);
    }
  }
  return picked;
}

/** What the remote holds at and below the roots of a partial snapshot, and of the folders above them. */
export async function samePart(remote: Entries, part: PartialSnapshot): Promise<Entries> {
  const same = new Map<string, Entry>();
  for (const path of [...part.entries.keys(), ...part.roots]) {
    const entry = remote.get(path);
    if (entry !== undefined) same.set(path, entry);
  }
  const folders = part.roots.filter((root) => remote.get(root)?.kind === "directory");
  if (folders.length === 0) return same;
  const turns = new Turns();
  const isBelow = belowAny(folders);
  for (const entry of remote.values()) {
    if (turns.isOver()) await turns.next();
    if (isBelow(entry.path)) same.set(entry.path, entry);
  }
  return same;
}

function belowAny(folders: readonly string[]): (path: string) => boolean {
  if (folders.length <= 4) return (path) => folders.some((folder) => isWithin(path, folder));
  const known = new Set(folders);
  return (path) => ancestorsOf(path).some((ancestor) => known.has(ancestor));
}

/**
 * Files found equal are remembered as they are here: from now on a rewrite is noticed even when its size and time are
 * the old ones. It also leaves one entry in memory instead of two.
 */
export async function adopt(local: Entries, remote: Map<string, Entry>, comparison: Comparison): Promise<void> {
  const turns = new Turns();
  for (const entry of local.values()) {
    if (turns.isOver()) await turns.next();
    if (entry.kind !== "file") continue;
    const known = remote.get(entry.path);
    if (known?.kind !== "file" || known.version !== undefined) continue;
    if (compareFiles(entry, known, comparison) !== "nothing") continue;
    remote.set(entry.path, known.sha256 === undefined ? entry : withHash(entry, known.sha256));
  }
}
