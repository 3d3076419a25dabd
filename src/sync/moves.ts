/**
 * Finds what was moved, so that the remote side renames it instead of receiving it anew. Pure.
 *
 * A folder is renamed as a whole when its files are the very versions known from before (inode and change time). A
 * single file is paired by its inode, or by size and time where that is not known; whether both hold the same is left
 * to their hashes, when the move is carried out.
 */
import { type Entry, type FileEntry, sameTime } from "./entry.js";
import { LEAST_GUESSED_MOVE_BYTES, LEAST_SOUGHT_MOVE_BYTES } from "./limits.js";
import { ancestorsOf, isWithin, parentOf } from "./path.js";
import { type Entries, type Operation, type Plan, type PlanOptions, plan } from "./plan.js";

export interface MoveOptions extends PlanOptions {
  /** Remote paths from where a move has failed: not tried again. */
  readonly unmovable?: ReadonlySet<string> | undefined;
}

/**
 * As {@link plan}, with moves where they save sending. In order: folders that are renamed as a whole; holds; what is in
 * the way and new folders; moved files; the rest. `apply(remote, operations)` is still `local`.
 */
export function planWithMoves(local: Entries, remote: Entries, options: MoveOptions = {}): Plan {
  const plain = plan(local, remote, options);
  if (options.delete === false || !plain.operations.some(({ do: what }) => what === "put")) return plain;
  const trees = renameTrees(local, remote, plain.operations, options);
  const rest = trees.operations.length === 0 ? plain : plan(local, trees.remote, options);
  const files = moveFiles(trees.remote, rest.operations, options);
  return { operations: [...trees.operations, ...files], blocked: rest.blocked };
}

/** How an entry is remembered after a folder above it was renamed: one not known by its version is not trusted. */
export function relocated(entry: Entry, path: string): Entry {
  if (entry.kind !== "file") return { ...entry, path };
  return { ...entry, path, version: entry.version ?? "unknown" };
}

/**
 * Remote paths outside of what was looked at that hold what is new in it, judged by inodes. Looking there too shows
 * whether they were moved. Asked only where that much new content is worth going through all entries.
 */
export function soughtSources(local: Entries, remotePart: Entries, remote: Entries): string[] {
  const wanted = new Set<string>();
  let bytes = 0;
  for (const entry of local.values()) {
    const inode = inodeOf(entry);
    if (entry.kind !== "file" || inode === undefined || remotePart.has(entry.path)) continue;
    wanted.add(inode);
    bytes += entry.size;
  }
  if (bytes < LEAST_SOUGHT_MOVE_BYTES) return [];
  const found: string[] = [];
  for (const entry of remote.values()) {
    const inode = inodeOf(entry);
    if (inode !== undefined && wanted.has(inode) && !remotePart.has(entry.path)) found.push(entry.path);
  }
  return found;
}

interface Trees {
  readonly operations: readonly Operation[];
  /** What the remote side holds after them. */
  readonly remote: Entries;
}

/** Folders that are nowhere here any more, and whose files are below a folder that is not there yet. */
function renameTrees(local: Entries, remote: Entries, plain: readonly Operation[], options: MoveOptions): Trees {
  const { candidates, filesBelow } = findTrees(local, remote, plain);
  if (candidates.length === 0) return { operations: [], remote };
  const operations: Operation[] = [];
  const now = new Map(remote);
  const taken: Tree[] = [];
  const paths = [...remote.keys()].sort();
  for (const tree of candidates) {
    const { from, to, votes } = tree;
    if (votes * 2 < (filesBelow.get(from) ?? 0) || (options.unmovable?.has(from) ?? false)) continue;
    if (taken.some((other) => overlap(tree, other)) || now.get(from)?.kind !== "directory" || now.has(to)) continue;
    const above = ancestorsOf(to).map((path) => ({ kind: "directory", path }) as const);
    if (above.some(({ path }) => (now.get(path)?.kind ?? "directory") !== "directory")) continue;
    const inside = below(paths, from);
    if (isProtected(inside, remote, tree, options)) continue;
    taken.push(tree);
    for (const entry of above) {
      if (now.has(entry.path)) continue;
      operations.push({ do: "mkdir", entry });
      now.set(entry.path, entry);
    }
    operations.push({ do: "rename", entry: { kind: "directory", path: to }, from });
    for (const path of [from, ...inside]) {
      const entry = now.get(path) as Entry;
      now.delete(path);
      now.set(to + path.slice(from.length), relocated(entry, to + path.slice(from.length)));
    }
  }
  return { operations, remote: now };
}

interface Tree {
  readonly from: string;
  readonly to: string;
  /** Files that are the same version in both. */
  readonly votes: number;
}

/** Pairs of folders, the outermost first. Every file that is found again speaks for the folders above it. */
function findTrees(local: Entries, remote: Entries, plain: readonly Operation[]) {
  const filesBelow = new Map<string, number>();
  const gone = new Map<string, string>();
  for (const { do: what, entry } of plain) {
    if (what !== "remove" || entry.kind !== "file") continue;
    for (const above of ancestorsOf(entry.path)) filesBelow.set(above, (filesBelow.get(above) ?? 0) + 1);
    if (entry.version !== undefined) gone.set(entry.version, entry.path);
  }
  const votes = new Map<string, Tree>();
  for (const { do: what, entry } of plain) {
    if (what !== "put" || entry.version === undefined || remote.has(entry.path)) continue;
    let from = gone.get(entry.version) ?? "";
    let to = entry.path;
    while (nameOf(from) === nameOf(to)) {
      from = parentOf(from);
      to = parentOf(to);
      if (from === "" || to === "" || local.has(from) || remote.has(to)) break;
      const key = `${from}\0${to}`;
      votes.set(key, { from, to, votes: (votes.get(key)?.votes ?? 0) + 1 });
    }
  }
  const candidates = [...votes.values()].sort((a, b) => a.from.length - b.from.length || b.votes - a.votes);
  return { candidates, filesBelow };
}

function overlap(a: Tree, b: Tree): boolean {
  const related = (one: string, other: string): boolean => isWithin(one, other) || isWithin(other, one);
  return related(a.from, b.from) || related(a.to, b.to) || related(a.from, b.to) || related(a.to, b.from);
}

/** Nothing that is protected in its place is moved to another, nor anything to where it would be. */
function isProtected(inside: readonly string[], remote: Entries, { from, to }: Tree, options: MoveOptions): boolean {
  const { protect } = options;
  if (protect === undefined) return false;
  return [from, ...inside].some((path) => {
    const kind = remote.get(path)?.kind ?? "file";
    return protect(path, kind) || protect(to + path.slice(from.length), kind);
  });
}

/** Of sorted paths, those below `folder`. */
function below(sorted: readonly string[], folder: string): string[] {
  const start = lowerBound(sorted, `${folder}/`);
  return sorted.slice(start, lowerBound(sorted, `${folder}0`));
}

function lowerBound(sorted: readonly string[], value: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as string) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A remote file whose content is about to go, and whether its path stays free when it has gone. */
interface Source {
  readonly entry: FileEntry;
  readonly removed: boolean;
}

/** Turns puts into moves where a file with that content is about to be removed or replaced. */
function moveFiles(remote: Entries, operations: readonly Operation[], options: MoveOptions): Operation[] {
  const sources = new Sources(remote, operations, options);
  const holds: Operation[] = [];
  const head: Operation[] = [];
  const moves: Operation[] = [];
  const rest: Operation[] = [];
  const movedAway = new Set<string>();
  let filling = false;
  for (const operation of operations) {
    filling ||= isFilling(operation);
    const source = operation.do === "put" ? sources.take(operation.entry) : undefined;
    if (source === undefined) {
      (filling ? rest : head).push(operation);
      continue;
    }
    const { path: from } = source.entry;
    if (source.removed) movedAway.add(from);
    else holds.push({ do: "hold", entry: source.entry });
    moves.push({ do: "move", entry: operation.entry as FileEntry, from, held: !source.removed });
  }
  const left = rest.filter(({ do: what, entry }) => what !== "remove" || !movedAway.has(entry.path));
  return [...holds, ...head, ...moves, ...left];
}

function isFilling({ do: what, entry }: Operation): boolean {
  return what === "put" || what === "link" || (what === "touch" && entry.kind === "file");
}

/** More that look the same are not told apart by guessing. */
const MAX_ALIKE = 16;

class Sources {
  readonly #options: MoveOptions;
  readonly #byInode = new Map<string, Source>();
  readonly #likely = new Map<string, Source[]>();
  readonly #used = new Set<Source>();

  constructor(remote: Entries, operations: readonly Operation[], options: MoveOptions) {
    this.#options = options;
    let filling = false;
    for (const operation of operations) {
      filling ||= isFilling(operation);
      const { do: what, entry } = operation;
      const there = remote.get(entry.path);
      if (there?.kind !== "file" || (what !== "remove" && what !== "put" && what !== "link")) continue;
      if (!(options.unmovable?.has(there.path) ?? false))
        this.#add({ entry: there, removed: what === "remove" && filling });
    }
  }

  #add(source: Source): void {
    const { entry } = source;
    const inode = inodeOf(entry);
    if (inode !== undefined) this.#byInode.set(inode, source);
    if (entry.size < LEAST_GUESSED_MOVE_BYTES) return;
    for (const key of likeness(entry)) {
      const alike = this.#likely.get(key);
      if (alike === undefined) this.#likely.set(key, [source]);
      else if (alike.length < MAX_ALIKE) alike.push(source);
    }
  }

  /** Where the content of `entry` probably is. Each source is given once: two paths must not share one file. */
  take(entry: FileEntry): Source | undefined {
    const inode = inodeOf(entry);
    const known = inode === undefined ? undefined : this.#byInode.get(inode);
    const source = known !== undefined && this.#fits(known, entry) ? known : this.#guess(entry);
    if (source !== undefined) this.#used.add(source);
    return source;
  }

  #guess(entry: FileEntry): Source | undefined {
    if (entry.size < LEAST_GUESSED_MOVE_BYTES) return undefined;
    const alike = likeness(entry).flatMap((key) => this.#likely.get(key) ?? []);
    return alike.find(
      (source) => this.#fits(source, entry) && sameTime(source.entry.mtimeNs, entry.mtimeNs, this.#options),
    );
  }

  #fits(source: Source, { path, size }: FileEntry): boolean {
    return source.entry.size === size && source.entry.path !== path && !this.#used.has(source);
  }
}

/** What a moved file still has: its size, with its name or its time. */
function likeness({ path, size, mtimeNs }: FileEntry): string[] {
  return [`${size}/${nameOf(path)}`, `${size}:${mtimeNs / 1_000_000n}`];
}

function inodeOf(entry: Entry): string | undefined {
  const version = entry.kind === "file" ? entry.version : undefined;
  const dot = version?.indexOf(".") ?? -1;
  return dot < 0 ? undefined : version?.slice(0, dot);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
