/** Whose a mirror is: how a folder is told from every other one, and what follows where a mirror holds another's files. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { type Comparison, sameTime } from "./entry.js";
import { SyncError } from "./errors.js";
import { systemPath } from "./names.js";
import type { Entries } from "./plan.js";
import type { Relation } from "./wire.js";

/**
 * Names a folder wherever it is moved to on its file system, and after this program was installed again: by its inode and
 * the time of its creation, or its device where the file system keeps no such time. Undefined where it cannot be read.
 */
export function sourceOf(folder: string): string | undefined {
  try {
    const { ino, dev, birthtimeNs } = fs.statSync(systemPath(folder), { bigint: true });
    const told = birthtimeNs > 0n ? `${ino}.${birthtimeNs}` : `${ino}@${dev}`;
    return createHash("sha256").update(told).digest("hex").slice(0, 32);
  } catch {
    return undefined;
  }
}

/** The folder that is mirrored, to the server. */
export interface Source {
  /** See {@link sourceOf}. */
  readonly id: string;
  /** The mirror's name. */
  readonly name: string;
  /** The folder, for people. */
  readonly label: string;
  /** Whether the mirror may be taken from another folder. */
  readonly replace: boolean;
  /** Whether an earlier run of this mirror has found both equal: then it is this folder's where the server does not know. */
  readonly known: boolean;
  /** Whether the link that names the folder leads to it only now: then it is what the mirror is to follow. */
  readonly retargeted: boolean;
}

/**
 * - `ours`: the mirror holds what this folder held, so that the usual limits of deletes apply.
 * - `unfamiliar`: nothing says that this folder ever held what the mirror holds: each file to be deleted counts.
 * - `another`: the mirror is of another folder.
 */
export type Standing = "ours" | "unfamiliar" | "another";

/**
 * Judges a mirror by what it knows of its source and by what both hold. A folder that was copied to another disk or
 * machine holds the same files with the same times; one that was made again at its place holds most of the names.
 */
export function standingOf(
  relation: Relation | undefined,
  local: Entries,
  remote: Entries,
  comparison: Comparison,
): Standing {
  if (relation === undefined || relation === "same") return "ours";
  const copied = { ...comparison, mtimeToleranceNs: max(comparison.mtimeToleranceNs ?? 0n, COPIED_TIME_NS) };
  let files = 0;
  let names = 0;
  let same = 0;
  for (const there of remote.values()) {
    if (there.kind === "directory") continue;
    files++;
    const here = local.get(there.path);
    if (here === undefined || here.kind === "directory") continue;
    names++;
    if (here.kind === "symlink") same += there.kind === "symlink" && here.target === there.target ? 1 : 0;
    else if (there.kind === "file" && here.size === there.size && sameTime(here.mtimeNs, there.mtimeNs, copied)) same++;
  }
  if (files === 0) return "ours";
  if (relation === "nobody") return "unfamiliar";
  if (relation === "place") return names * 2 >= files ? "ours" : "unfamiliar";
  return same * 2 >= files ? "unfamiliar" : "another";
}

/** Programs that copy files keep their times at least this exactly. */
const COPIED_TIME_NS = 1_000_000n;

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

export function ofAnother(name: string, folder: string, owner: string | undefined, files: number): SyncError {
  const whose = owner === undefined || owner === "" ? "another folder" : owner;
  return new SyncError(
    "ERR_MIRROR_OWNER",
    `the mirror "${name}" is of ${whose}, not of ${folder}: nothing of it was changed, and its ${files} files would be ` +
      "replaced or deleted; choose another name, or make it this folder's with --replace (replace: true)",
  );
}
