/**
 * Brings back what was. First everything is gathered beside the folder, and only then put in place, file by file, each by
 * a rename: so what cannot be found is known before anything changes, and what is replaced becomes a version itself.
 */
import fs from "node:fs";
import {
  ancestorsOf,
  hashOf,
  parentOf,
  type StepEvent,
  type Storage,
  type StoredEntry,
  systemPath,
} from "../../sync/index.js";
import type { Database, FileRecord, Version } from "../database/types.js";
import { versionCursor } from "../database/versions.js";
import type { ContentStore } from "./content.js";
import { VersionError } from "./errors.js";

export interface RestoreRequest {
  readonly folder: string;
  /** A file, or a folder with all that was in it; "" for everything. */
  readonly path: string;
  /** Milliseconds since 1970: what was there then. */
  readonly at?: number;
  /** Of a file: its number. Without this and a time: the version before the present one, or the last if it is deleted. */
  readonly version?: number;
  /** Restore into this folder on the server's machine, where nothing is replaced, instead of in place. */
  readonly to?: string;
  /** For the events, such as `user:NAME`. Default `local`. */
  readonly actor?: string;
}

export interface Restored {
  /** Files and links that were put in place, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Entries that were not there then, and are removed (and kept as versions). */
  readonly removed: number;
  /** Files that are what they were. */
  readonly unchanged: number;
}

/** What a path was, or is. */
export type Wanted = Version | FileRecord;

/** What is to be done. */
export interface Plan {
  readonly wanted: readonly Wanted[];
  /** Present entries that hold the same and had another modification time or other permissions. */
  readonly attributes: readonly Wanted[];
  /** Present entries that were not there, deepest first. */
  readonly superfluous: readonly FileRecord[];
  readonly unchanged: number;
}

/** Works out what a request means. Rejects with `ERR_NO_VERSION` where there was no such thing. Changes nothing. */
export async function planRestore(database: Database, request: RestoreRequest): Promise<Plan> {
  const { folder, path, at, version, to } = request;
  if (at === undefined && (version !== undefined || path !== "")) {
    const wanted = await (version === undefined
      ? before(database, folder, path)
      : numbered(database, folder, path, version));
    const above = to === undefined ? await missingAbove(database, folder, path) : [];
    return { wanted: [...above, wanted], attributes: [], superfluous: [], unchanged: 0 };
  }
  if (at === undefined) throw new VersionError("ERR_TIME", "to restore a whole folder, say to what time (--at)");
  const within = (entry: { readonly path: string }): boolean =>
    path === "" || entry.path === path || entry.path.startsWith(`${path}/`);
  const wanted = new Map<string, Wanted>();
  const above = new Map<string, Wanted>();
  const ancestors = new Set(to === undefined ? ancestorsOf(path) : []);
  for await (const entry of database.versions.treeAt(folder, at)) {
    if (within(entry)) wanted.set(entry.path, entry);
    else if (ancestors.has(entry.path) && entry.kind === "directory") above.set(entry.path, entry);
  }
  for (const there of above.keys()) if (await database.files.byPath(folder, there)) above.delete(there);
  if (wanted.size === 0 && path !== "")
    throw new VersionError("ERR_NO_VERSION", `nothing is known of ${path} at that time`);
  const superfluous: FileRecord[] = [];
  let unchanged = 0;
  const attributes: Wanted[] = [];
  if (to === undefined) {
    for await (const present of database.files.all(folder)) {
      const then = wanted.get(present.path);
      if (then !== undefined && isSame(present, then)) {
        wanted.delete(present.path);
        if (!hasAttributes(present, then)) attributes.push(then);
        else if (present.kind !== "directory") unchanged++;
      } else if (then === undefined ? within(present) : present.kind !== then.kind) superfluous.push(present);
    }
  }
  const all = [...above.values(), ...wanted.values()];
  return { wanted: all, attributes, superfluous: superfluous.reverse(), unchanged };
}

/**
 * The folders above a path that are not there any more, the outermost first, as they were last: they get the permissions and times
 * that they had. Those that are there stay as they are.
 */
async function missingAbove(database: Database, folder: string, path: string): Promise<Wanted[]> {
  const missing: Wanted[] = [];
  for (const above of ancestorsOf(path)) {
    if ((await database.files.byPath(folder, above)) !== undefined) continue;
    const [last] = await database.versions.list(folder, above, { limit: 1 });
    if (last?.kind === "directory") missing.push(last);
  }
  return missing;
}

/** Opens content that a version or a present file has. Rejects with `ERR_NO_VERSION` where it is not kept any more. */
export async function findContent(
  database: Database,
  content: ContentStore,
  dir: string,
  wanted: Wanted,
): Promise<string> {
  const { sha256 } = wanted;
  if (sha256 !== null) {
    const kept = content.find(sha256);
    if (kept !== undefined) return kept;
    for (const { folder, path, size } of await database.files.holding(sha256)) {
      const place = `${dir}/${folder}/${path}`;
      if (fs.lstatSync(systemPath(place), { throwIfNoEntry: false })?.size === size) return place;
    }
  }
  throw new VersionError(
    "ERR_NO_VERSION",
    `the content of ${wanted.path} (version ${wanted.version}) is not kept any more`,
  );
}

/** Where things are put, and what is told of it. */
export interface Target {
  readonly storage: Storage;
  readonly onEvent: (event: StepEvent) => void;
}

/** Carries a plan out. Rejects before anything has changed where content is missing or damaged. */
export async function carryOut(
  plan: Plan,
  { storage, onEvent }: Target,
  find: (wanted: Wanted) => Promise<string>,
): Promise<Restored> {
  storage.prepare();
  const staged = new Map<string, string>();
  try {
    for (const wanted of plan.wanted) {
      if (wanted.kind === "file") staged.set(wanted.path, await stage(storage, await find(wanted), wanted));
    }
    const folders = new Set<string>();
    for (const { path, kind } of plan.superfluous) {
      const there = kind === "link" ? "symlink" : kind;
      storage.remove(path, there);
      folders.add(parentOf(path));
      onEvent({ type: "removed", path, kind: there });
    }
    // Storage keeps folders open until others have had their turn: none that is gone may be among them.
    await Promise.resolve();
    let bytes = 0;
    for (const wanted of plan.wanted) {
      for (const missing of makeFoldersAbove(wanted.path, storage, onEvent)) folders.add(parentOf(missing));
      const event = await place(wanted, storage, staged.get(wanted.path));
      folders.add(parentOf(wanted.path));
      bytes += event.bytes;
      onEvent(event);
    }
    for (const wanted of plan.attributes) {
      if (wanted.kind === "file") onEvent(await changeAttributes(wanted, storage));
      else if (wanted.kind === "link") onEvent(await place(wanted, storage, undefined));
    }
    await storage.flush([], folders);
    // When nothing in them changes any more, the innermost first.
    const made = [...plan.wanted, ...plan.attributes].filter(({ kind }) => kind === "directory");
    for (const wanted of made.sort((a, b) => (a.path < b.path ? 1 : -1)))
      onEvent(await changeAttributes(wanted, storage));
    await storage.flush([], new Set(made.map(({ path }) => path)));
    const files = [...plan.wanted, ...plan.attributes].filter(({ kind }) => kind !== "directory").length;
    const removed = plan.superfluous.filter(({ kind }) => kind !== "directory").length;
    return { files, bytes, removed, unchanged: plan.unchanged };
  } finally {
    for (const file of staged.values()) storage.discard(file);
    fs.rmSync(storage.staging, { recursive: true, force: true });
  }
}

/** Gives an entry that holds what it should the modification time and permissions that it had. */
async function changeAttributes(
  { path, kind, size, mode, mtimeNs, sha256 }: Wanted,
  storage: Storage,
): Promise<StepEvent & { type: "changed" }> {
  const executable = kind === "file" && (mode & 0o100) !== 0;
  const attributes = { path, size, mtimeNs, executable, mode };
  if (kind === "directory") {
    storage.touchFolder({ ...attributes, size: 0 });
    return { type: "changed", path, entry: { ...attributes, kind, size: 0 } };
  }
  await storage.touch(attributes);
  return { type: "changed", path, entry: { ...attributes, kind: "file", ...(sha256 === null ? {} : { sha256 }) } };
}

async function place(
  wanted: Wanted,
  storage: Storage,
  staged: string | undefined,
): Promise<StepEvent & { type: "stored" }> {
  const { path, kind, size, mode, mtimeNs, sha256, target } = wanted;
  const ahead = kind === "directory" ? undefined : await storage.keepAheadNow(path);
  if (kind === "directory") storage.makeFolder(path, mode & 0o777);
  else if (kind === "link") storage.makeLink({ path, target: target ?? "", mtimeNs }, ahead);
  else if (staged !== undefined) storage.place(staged, path, ahead);
  const common = { path, size, executable: kind === "file" && (mode & 0o100) !== 0 };
  const entry: StoredEntry =
    kind === "file"
      ? { ...common, kind, mtimeNs, mode, ...(sha256 === null ? {} : { sha256 }) }
      : kind === "link"
        ? { ...common, kind: "symlink", mtimeNs, ...(target === null ? {} : { target }) }
        : { ...common, kind, mode };
  return { type: "stored", path, bytes: kind === "directory" ? 0 : size, entry };
}

/** Makes the folders above a path that are missing; which they were. */
export function makeFoldersAbove(path: string, storage: Storage, onEvent: Target["onEvent"]): string[] {
  const missing = ancestorsOf(path).filter(
    (above) => fs.lstatSync(systemPath(`${storage.root}/${above}`), { throwIfNoEntry: false }) === undefined,
  );
  for (const above of missing) {
    storage.makeFolder(above);
    const entry = { kind: "directory", path: above, size: 0, executable: false } as const;
    onEvent({ type: "stored", path: above, bytes: 0, entry });
  }
  return missing;
}

/** Copies content beside the folder, and checks it on the way. */
async function stage(storage: Storage, from: string, wanted: Wanted): Promise<string> {
  const { path, size, mtimeNs, mode } = wanted;
  const file = { path, size, mtimeNs, executable: (mode & 0o100) !== 0, mode };
  const incoming = storage.openIncoming(file);
  try {
    const source = fs.openSync(systemPath(from), "r");
    let sha256: string;
    try {
      sha256 = (await hashOf(source, size, incoming.fd)).toString("hex");
    } finally {
      fs.closeSync(source);
    }
    if (sha256 !== wanted.sha256) {
      storage.discard(incoming.staged);
      throw new VersionError("ERR_VERSION_DAMAGED", `what is kept of ${path} is not what it was; nothing was changed`);
    }
    await storage.sealIncoming(incoming, file);
    return incoming.staged;
  } finally {
    fs.closeSync(incoming.fd);
  }
}

/** Where nothing may be replaced. */
export function refuseExisting(plan: Plan, to: string): void {
  const taken = plan.wanted.find(({ path, kind }) => {
    const stats = fs.lstatSync(systemPath(`${to}/${path}`), { throwIfNoEntry: false });
    return stats !== undefined && !(kind === "directory" && stats.isDirectory());
  });
  if (taken === undefined) return;
  throw new VersionError("ERR_RESTORE_EXISTS", `${to}/${taken.path} is there already; nothing was changed`);
}

/** For a restore elsewhere: without the folders above what was asked for. */
export function relocated(plan: Plan, path: string): Plan {
  const above = parentOf(path);
  if (above === "") return plan;
  const wanted = plan.wanted.map((entry) => ({ ...entry, path: entry.path.slice(above.length + 1) }));
  return { ...plan, wanted };
}

async function numbered(database: Database, folder: string, path: string, version: number): Promise<Wanted> {
  const present = await database.files.byPath(folder, path);
  if (present?.version === version) return present;
  for (let after: string | undefined; ; ) {
    const page = await database.versions.list(folder, path, { limit: 1000, ...(after === undefined ? {} : { after }) });
    const found = page.find((one) => one.version === version);
    if (found !== undefined) return found;
    const last = page.at(-1);
    if (last === undefined) throw new VersionError("ERR_NO_VERSION", `there is no version ${version} of ${path}`);
    after = versionCursor(last);
  }
}

async function before(database: Database, folder: string, path: string): Promise<Wanted> {
  const [last] = await database.versions.list(folder, path, { limit: 1 });
  const below = await database.versions.list(folder, `${path}/`, { limit: 1 });
  if (last?.kind === "directory" || (last === undefined && below.length > 0)) {
    throw new VersionError("ERR_TIME", `${path} is, or was, a folder: say to what time to restore it (--at)`);
  }
  if (last === undefined) throw new VersionError("ERR_NO_VERSION", `no version of ${path} is kept`);
  return last;
}

/** To the microsecond: where times are set by Node they are no more exact. */
function hasAttributes(present: FileRecord, then: Wanted): boolean {
  if (present.mtimeNs / 1000n !== then.mtimeNs / 1000n) return false;
  return present.kind === "link" || present.mode === then.mode;
}

function isSame(present: FileRecord, then: Wanted): boolean {
  if (present.kind !== then.kind || present.target !== then.target) return false;
  return present.kind !== "file" || (present.sha256 !== null && present.sha256 === then.sha256);
}
