/** Tells the files that a mirror would really lose from those that only get another name. Pure. */
import type { Comparison, Entry, FileEntry } from "./entry.js";
import type { Entries, Operation } from "./plan.js";

export interface NetLoss {
  /** Paths of files and links whose content would be nowhere under another name. */
  readonly lost: ReadonlySet<string>;
  /** How many of the operations bring a file or link to a path where none was. */
  readonly added: readonly Entry[];
}

export interface LossOptions {
  readonly operations: readonly Operation[];
  readonly local: Entries;
  readonly remote: Entries;
  readonly comparison?: Comparison | undefined;
  /** Whether `local` is the whole folder. */
  readonly whole: boolean;
}

/**
 * Compares what is removed with what arrives: a removed file is no loss where a file of the same size and modification
 * time arrives, a removed link where one with the same target does. In a whole folder a file with the inode, size and
 * time of the removed one is the same file under another name, or one of its hard links. Each arrival answers for one loss.
 */
export function netLoss({ operations, local, remote, comparison, whole }: LossOptions): NetLoss {
  const arriving = new Map<string, number>();
  const added: Entry[] = [];
  for (const { do: what, entry } of operations) {
    if (what !== "put" && what !== "link") continue;
    const there = remote.get(entry.path);
    if (there !== undefined && there.kind !== "directory") continue;
    added.push(entry);
    for (const key of likenesses(entry, comparison).slice(0, 1)) arriving.set(key, (arriving.get(key) ?? 0) + 1);
  }
  const lost = new Set<string>();
  const missing: FileEntry[] = [];
  for (const { do: what, entry } of operations) {
    if (what !== "remove" || entry.kind === "directory") continue;
    if (takeOne(arriving, likenesses(entry, comparison))) continue;
    lost.add(entry.path);
    if (entry.kind === "file" && inodeOf(entry) !== undefined) missing.push(entry);
  }
  if (whole && missing.length > 0) {
    const present = new Set<string>();
    for (const entry of local.values()) if (entry.kind === "file") present.add(identityOf(entry));
    for (const entry of missing) if (present.has(identityOf(entry))) lost.delete(entry.path);
  }
  return { lost, added };
}

/** What stays the same of a file or link that gets another name; the exact key first, then those within the tolerance. */
export function likenesses(entry: Entry, comparison: Comparison | undefined): string[] {
  if (entry.kind === "symlink") return [`link ${entry.target}`];
  if (entry.kind === "directory") return [];
  const tolerance = comparison?.mtimeToleranceNs ?? 0n;
  const unit = tolerance > 1000n ? tolerance : 1000n;
  const time = entry.mtimeNs / unit;
  return [time, time - 1n, time + 1n].map((near) => `${entry.size} ${near}`);
}

function takeOne(arriving: Map<string, number>, keys: readonly string[]): boolean {
  for (const key of keys) {
    const left = arriving.get(key) ?? 0;
    if (left === 0) continue;
    arriving.set(key, left - 1);
    return true;
  }
  return false;
}

function identityOf(entry: FileEntry): string {
  return `${inodeOf(entry) ?? ""} ${entry.size} ${entry.mtimeNs}`;
}

/** A version is `INODE.CHANGETIME`, where it is known. */
function inodeOf({ version }: FileEntry): string | undefined {
  const dot = version?.indexOf(".") ?? -1;
  return dot < 0 ? undefined : version?.slice(0, dot);
}
