/** Makes the file tables what the folder is: after a crash, and for what somebody changed by hand. */
import { lstatSync } from "node:fs";
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { type Entry, readEntry, scanFolder, systemPath } from "../../sync/index.js";
import type { Database, FileChange, FileRecord, LoggedEvent } from "../database/types.js";
import type { ContentStore } from "./content.js";
import { hashFile } from "./hash.js";

export interface Reindexed {
  /** Files and links that are there. */
  readonly files: number;
  readonly bytes: number;
  /** What the tables did not know, knew otherwise, and knew without it being there. */
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

export interface ReindexOptions {
  readonly database: Database;
  readonly root: string;
  readonly folder: string;
  /** Read every file, instead of those only whose size, times or mode are not what the tables say. */
  readonly verify: boolean;
  /** By path, the change times of files that were found to hold what the tables say. Is added to. */
  readonly known: Map<string, number>;
  readonly content: ContentStore;
}

const BATCH = 100;
/** Entries looked at before others have their turn. */
const STEPS_IN_A_ROW = 100;
/** Between the clock and the change time of what is stored at that moment. */
const SLACK_MS = 2000;
const TRIES = 5;

export async function reindex(options: ReindexOptions): Promise<Reindexed> {
  const { database, root, folder } = options;
  const there = lstatSync(root, { throwIfNoEntry: false })?.isDirectory() === true;
  const unknown = there ? (await scanFolder(root)).entries : new Map<string, Entry>();
  let files = 0;
  let bytes = 0;
  for (const entry of unknown.values()) {
    if (entry.kind !== "directory") files++;
    if (entry.kind === "file") bytes += entry.size;
  }
  const counts = { added: 0, changed: 0, removed: 0 };
  const differences: Difference[] = [];
  await database.folders.ensure(folder);
  let steps = 0;
  const turn = async (): Promise<void> => {
    if (++steps % STEPS_IN_A_ROW === 0) await yieldToOthers();
  };
  for await (const row of database.files.all(folder)) {
    await turn();
    const entry = unknown.get(row.path);
    unknown.delete(row.path);
    const fits = entry !== undefined && isSame(row, entry);
    const changedAt = row.kind === "file" && fits ? changeTime(root, row.path) : 0;
    // Size and modification time can be put back, or be those of the version before; the change time cannot.
    const later = changedAt > row.storedAt + SLACK_MS && options.known.get(row.path) !== changedAt;
    if (fits && !later && !(options.verify && row.kind === "file")) continue;
    const now = await look(options, row.path);
    if (later) options.known.set(row.path, changedAt);
    if (now === undefined) counts.removed++;
    else if (now.sha256 === row.sha256 && fits) continue;
    else counts.changed++;
    differences.push({ path: row.path, row, now });
  }
  for (const path of unknown.keys()) {
    await turn();
    const now = await look(options, path);
    if (now === undefined) continue;
    counts.added++;
    differences.push({ path, row: undefined, now });
  }
  await write(options, differences);
  return { files, bytes, ...counts };
}

/** What the tables say of a path, and what is there. */
interface Difference {
  readonly path: string;
  readonly row: FileRecord | undefined;
  readonly now: Found | undefined;
}

async function write(options: ReindexOptions, differences: readonly Difference[]): Promise<void> {
  const { database, folder } = options;
  const changing = new Set(differences.map(({ path }) => path));
  const arrived = new Set(differences.map(({ now }) => now?.sha256 ?? null));
  for (let from = 0; from < differences.length; from += BATCH) {
    const changes: FileChange[] = [];
    const events: Omit<LoggedEvent, "id" | "at">[] = [];
    await yieldToOthers();
    for (const { path, row, now } of differences.slice(from, from + BATCH)) {
      if (row !== undefined && row.sha256 !== now?.sha256 && (await canBeKept(options, row, arrived, changing))) {
        changes.push({ ...row, do: "retire", why: now === undefined ? "deleted" : "replaced" });
      }
      changes.push(now === undefined ? { do: "remove", folder, path } : { do: "put", ...now });
      const type = now === undefined ? "file.deleted" : "file.stored";
      events.push({ type, folder, data: { path, kind: (now ?? row)?.kind, bytes: now?.size ?? 0, by: "disk" } });
    }
    await Promise.all([database.files.apply(changes, Date.now()), database.events.append(events)]);
  }
}

/**
 * What is gone becomes a version where its content is still to be had: it moved, or a crash came before it was written down
 * what had become of it.
 */
async function canBeKept(
  { database, content }: ReindexOptions,
  row: FileRecord,
  arrived: ReadonlySet<string | null>,
  changing: ReadonlySet<string>,
): Promise<boolean> {
  const { folder, path, sha256 } = row;
  if (row.kind !== "file" || sha256 === null) return false;
  const [last] = await database.versions.list(folder, path, { limit: 1 });
  if (last !== undefined && last.version >= row.version) return false;
  if (arrived.has(sha256) || content.find(sha256) !== undefined) return true;
  const others = await database.files.holding(sha256);
  return others.some((one) => one.folder !== folder || !changing.has(one.path));
}

type Found = Omit<FileRecord, "version" | "storedAt">;

/** What stands at the path at this moment, whatever the walk saw; `undefined` for nothing that counts. */
async function look({ root, folder }: ReindexOptions, path: string): Promise<Found | undefined> {
  for (let attempt = 1; ; attempt++) {
    const before = readOrNothing(root, path);
    if (before === undefined) return undefined;
    const stats = lstatSync(systemPath(`${root}/${path}`), { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    const common = { folder, path, mode: Number(stats.mode & 0o7777n), mtimeNs: stats.mtimeNs, target: null };
    if (before.kind === "directory") return { ...common, kind: "directory", size: 0, sha256: null };
    if (before.kind === "symlink") {
      const size = Buffer.byteLength(before.target);
      return { ...common, kind: "link", size, sha256: null, target: before.target };
    }
    const sha256 = await hashFile(`${root}/${path}`).catch(() => null);
    const after = readOrNothing(root, path);
    // It was written to while it was read: once more.
    const calm = after?.kind === "file" && after.version === before.version;
    if (!calm && attempt < TRIES) continue;
    return { ...common, kind: "file", size: before.size, sha256: calm ? sha256 : null };
  }
}

function changeTime(root: string, path: string): number {
  return lstatSync(systemPath(`${root}/${path}`), { throwIfNoEntry: false })?.ctimeMs ?? 0;
}

function readOrNothing(root: string, path: string): Entry | undefined {
  try {
    return readEntry(root, path);
  } catch {
    return undefined;
  }
}

/** As far as can be told without reading it. */
function isSame(row: FileRecord, entry: Entry): boolean {
  if (entry.kind === "directory") return row.kind === "directory";
  if (entry.kind === "symlink") return row.kind === "link" && row.target === entry.target;
  return (
    row.kind === "file" &&
    row.sha256 !== null &&
    row.size === entry.size &&
    row.mtimeNs / 1000n === entry.mtimeNs / 1000n &&
    ((row.mode & 0o100) !== 0) === entry.executable
  );
}
