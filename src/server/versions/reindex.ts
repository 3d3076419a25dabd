/** Makes the file tables what the folder is: after a crash, and for what somebody changed by hand. */
import { lstatSync } from "node:fs";
import { type Entry, readEntry, scanFolder, systemPath } from "../../sync/index.js";
import type { Database, FileChange, FileRecord } from "../database/types.js";
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
}

const BATCH = 500;
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
  const writer = new Writer(database, folder);
  await database.folders.ensure(folder);
  for await (const row of database.files.all(folder)) {
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
    await writer.add(row.path, now);
  }
  for (const path of unknown.keys()) {
    const now = await look(options, path);
    if (now === undefined) continue;
    counts.added++;
    await writer.add(path, now);
  }
  await writer.flush();
  return { files, bytes, ...counts };
}

class Writer {
  readonly #database: Database;
  readonly #folder: string;
  #changes: FileChange[] = [];

  constructor(database: Database, folder: string) {
    this.#database = database;
    this.#folder = folder;
  }

  async add(path: string, now: Found | undefined): Promise<void> {
    this.#changes.push(now === undefined ? { do: "remove", folder: this.#folder, path } : { do: "put", ...now });
    if (this.#changes.length >= BATCH) await this.flush();
  }

  async flush(): Promise<void> {
    const changes = this.#changes;
    if (changes.length === 0) return;
    this.#changes = [];
    const data = (change: FileChange) => ({ path: change.path, by: "hand" });
    const events = changes.map((change) => {
      const type = change.do === "put" ? "file.stored" : "file.deleted";
      return { type, folder: this.#folder, data: data(change) };
    });
    await Promise.all([this.#database.files.apply(changes, Date.now()), this.#database.events.append(events)]);
  }
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
