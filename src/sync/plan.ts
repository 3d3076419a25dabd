/**
 * The pure heart of a mirror: what to do so that the remote side becomes equal to the local one. Knows no file system
 * and no network.
 */
import type { FileCopy } from "./copy.js";
import {
  type Comparison,
  compareFiles,
  type DirectoryEntry,
  type Entry,
  type FileEntry,
  type Kind,
  sameFolder,
  sameLink,
  sameMode,
} from "./entry.js";
import type { Failure } from "./errors.js";
import { ancestorsOf } from "./path.js";

/** One step at the remote side. Steps are carried out as if in order. */
export type Operation =
  | { readonly do: "mkdir"; readonly entry: DirectoryEntry }
  /** `copy`: what to read instead of the file in the folder. `evenOpen`: whether or not it is open for writing. */
  | { readonly do: "put"; readonly entry: FileEntry; readonly copy?: FileCopy; readonly evenOpen?: boolean }
  | { readonly do: "link"; readonly entry: Entry & { kind: "symlink" } }
  /** Only the modification time and the permissions. */
  | { readonly do: "touch"; readonly entry: FileEntry | DirectoryEntry }
  /** The file is there with this size and time: compared by hash, and given its attributes, if they are others. */
  | { readonly do: "check"; readonly entry: FileEntry; readonly attributes: boolean }
  /** A folder with all it holds gets another name, where nothing is. */
  | { readonly do: "rename"; readonly entry: DirectoryEntry; readonly from: string }
  /** What a file holds now is kept for a later move, whatever becomes of its path. */
  | { readonly do: "hold"; readonly entry: FileEntry }
  /** The file at `from` (or what was held of it) is this file now, if it holds the same. Not held, it is gone there. */
  | { readonly do: "move"; readonly entry: FileEntry; readonly from: string; readonly held: boolean }
  /** A folder is removed only when it is empty: what is in it has operations of its own, before. */
  | { readonly do: "remove"; readonly entry: Entry };

export interface PlanOptions extends Comparison {
  /** Whether to remove what is not there locally. Default true. */
  readonly delete?: boolean | undefined;
  /** What is never removed at the remote side, e.g. because it is ignored or could not be read locally. */
  readonly protect?: ((path: string, kind: Kind) => boolean) | undefined;
}

export interface Plan {
  readonly operations: readonly Operation[];
  /** Local entries that cannot be mirrored because something protected stands in their way. */
  readonly blocked: readonly Failure[];
}

/** By path. Any iteration order. */
export type Entries = ReadonlyMap<string, Entry>;

/**
 * The operations that turn `remote` into `local`, in an order in which each can succeed:
 * what is in the way of another kind goes first (innermost first), then folders (outermost first), links and files,
 * and last what is no longer there, so that a moved file is never missing at the remote side.
 * `plan(x, x)` is empty.
 */
export function plan(local: Entries, remote: Entries, options: PlanOptions = {}): Plan {
  const kept = keptAtRemote(local, remote, options);
  const { blocked, blockedPaths } = findBlocked(local, remote, kept);
  const inTheWay: Operation[] = [];
  const extra: Operation[] = [];
  const make: Operation[] = [];
  const fill: Operation[] = [];
  const folders: Operation[] = [];

  for (const entry of remote.values()) {
    const here = local.get(entry.path);
    if (here?.kind === entry.kind || kept.has(entry.path) || isBlocked(entry.path, blockedPaths)) continue;
    // A file or link over a file or link needs no removal: renaming over it replaces it at once.
    if (here !== undefined && here.kind !== "directory" && entry.kind !== "directory") continue;
    const yields = here !== undefined || ancestorsOf(entry.path).some((path) => isNonFolder(local.get(path)));
    (yields ? inTheWay : extra).push({ do: "remove", entry });
  }
  for (const entry of local.values()) {
    if (isBlocked(entry.path, blockedPaths)) continue;
    const there = remote.get(entry.path);
    const operation = bring(entry, there, options);
    if (operation !== undefined) (operation.do === "mkdir" ? make : fill).push(operation);
    if (entry.kind !== "directory") continue;
    const now = there?.kind === "directory" ? there : ({ kind: "directory", path: entry.path } as const);
    if (!sameFolder(entry, now, options)) folders.push({ do: "touch", entry });
  }
  const operations = [
    ...inTheWay.sort(byPath).reverse(),
    ...make.sort(byPath),
    ...fill.sort(byPath),
    ...extra.sort(byPath).reverse(),
    // When nothing in them changes any more.
    ...folders.sort(byPath).reverse(),
  ];
  return { operations, blocked };
}

/** Whether there is anything to do about what stands at one path on both sides. */
export function differs(local: Entry, remote: Entry, comparison: Comparison): boolean {
  if (bring(local, remote, comparison) !== undefined) return true;
  return local.kind === "directory" && remote.kind === "directory" && !sameFolder(local, remote, comparison);
}

function bring(local: Entry, remote: Entry | undefined, options: Comparison): Operation | undefined {
  switch (local.kind) {
    case "directory":
      return remote?.kind === "directory" ? undefined : { do: "mkdir", entry: local };
    case "symlink":
      return remote?.kind === "symlink" && sameLink(local, remote, options) ? undefined : { do: "link", entry: local };
    case "file": {
      const difference = remote?.kind === "file" ? compareFiles(local, remote, options) : "content";
      if (difference === "nothing") return undefined;
      if (difference === "unsure") {
        const attributes = remote?.kind === "file" && !sameMode(local, remote, options);
        return { do: "check", entry: local, attributes };
      }
      return { do: difference === "attributes" ? "touch" : "put", entry: local };
    }
  }
}

/** Remote paths that stay although they are not there locally, and the folders that hold them. */
function keptAtRemote(local: Entries, remote: Entries, options: PlanOptions): ReadonlySet<string> {
  const kept = new Set<string>();
  const deletes = options.delete ?? true;
  const { protect } = options;
  if (deletes && protect === undefined) return kept;
  for (const { path, kind } of remote.values()) {
    const here = local.get(path);
    if (here?.kind === kind) continue;
    if (protect?.(path, kind) || (!deletes && here === undefined)) {
      kept.add(path);
      for (const ancestor of ancestorsOf(path)) kept.add(ancestor);
    }
  }
  return kept;
}

/** Where a kept folder, or a protected entry of another kind, stands in the way of what is there locally. */
function findBlocked(local: Entries, remote: Entries, kept: ReadonlySet<string>) {
  const blocked: Failure[] = [];
  const blockedPaths = new Set<string>();
  for (const path of kept) {
    const here = local.get(path);
    const there = remote.get(path);
    if (here === undefined || there === undefined || here.kind === there.kind) continue;
    blockedPaths.add(path);
    const message = `a ${there.kind} stands in its place at the destination, and may not be deleted`;
    blocked.push({ path, code: "ERR_NO_DELETE", message });
  }
  return { blocked, blockedPaths };
}

function isBlocked(path: string, blockedPaths: ReadonlySet<string>): boolean {
  if (blockedPaths.size === 0) return false;
  return blockedPaths.has(path) || ancestorsOf(path).some((ancestor) => blockedPaths.has(ancestor));
}

function isNonFolder(entry: Entry | undefined): boolean {
  return entry !== undefined && entry.kind !== "directory";
}

/** Parents before what they hold. */
function byPath(a: Operation, b: Operation): number {
  return a.entry.path < b.entry.path ? -1 : a.entry.path > b.entry.path ? 1 : 0;
}

/** What a list of operations amounts to. `bytes` is file content to send. */
export interface PlanSummary {
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  readonly touched: number;
  /** Files that are compared by hash, as nothing vouches for them. */
  readonly checked: number;
  /** Files and folders that were elsewhere. */
  readonly moved: number;
  readonly removed: number;
  readonly bytes: number;
}

export function summarize(operations: readonly Operation[]): PlanSummary {
  const sum = { files: 0, directories: 0, links: 0, touched: 0, checked: 0, moved: 0, removed: 0, bytes: 0 };
  for (const operation of operations) {
    if (operation.do === "put") {
      sum.files++;
      sum.bytes += operation.entry.size;
    } else if (operation.do === "mkdir") sum.directories++;
    else if (operation.do === "link") sum.links++;
    else if (operation.do === "touch") sum.touched += operation.entry.kind === "file" ? 1 : 0;
    else if (operation.do === "check") sum.checked++;
    else if (operation.do === "move" || operation.do === "rename") sum.moved++;
    else if (operation.do === "remove") sum.removed++;
  }
  return sum;
}
