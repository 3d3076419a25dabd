/** `log`, `restore`, `resume` and `reindex`: beside the data, whether the server runs or not. */
import { resolve } from "node:path";
import {
  type Database,
  type FileRecord,
  type Folder,
  Keeper,
  MAX_PAGE,
  type Version,
  VersionError,
  versionCursor,
} from "../server/index.js";
import { type HomeOption, type OpenHome, withHome } from "./home.js";
import { formatBytes } from "./progress.js";
import { escaped, shownPath, UsageError } from "./report.js";
import { formatTime, parseTime } from "./time.js";

export interface LogOptions extends HomeOption {
  readonly json?: boolean;
  readonly limit: number;
}

/** What is kept of a folder, or of one of its files; without a name, the folders. */
export function log(name: string | undefined, path: string | undefined, options: LogOptions): Promise<void> {
  return withHome(options, async ({ database }) => {
    if (name === undefined) {
      for (const folder of await database.folders.list()) {
        say(options.json ? toJson(folder) : `${shownPath(folder.name)}: ${folderLine(folder)}`);
      }
      return;
    }
    await requireFolder(database, name);
    const wanted = inside(path ?? "");
    const present = wanted === "" ? undefined : await database.files.byPath(name, wanted);
    if (present !== undefined && present.kind !== "directory")
      say(options.json ? toJson(present) : presentLine(present));
    const exact = wanted === "" ? [] : await database.versions.list(name, wanted, { limit: MAX_PAGE });
    const isFile = [present, ...exact].some((one) => one !== undefined && one.kind !== "directory");
    let shown = 0;
    const show = (version: Version): void => {
      shown++;
      say(options.json ? toJson(version) : versionLine(version));
    };
    const prefix = isFile || wanted === "" ? wanted : `${wanted}/`;
    for await (const version of newest(database, name, prefix, options.limit)) show(version);
    if (isFile) for (const version of await earlierNames(database, name, wanted, options.limit - shown)) show(version);
    if (present === undefined && shown === 0 && wanted !== "") {
      throw new VersionError("ERR_NO_VERSION", `nothing is known of ${shownPath(wanted)} in ${shownPath(name)}`);
    }
  });
}

/** At most so many versions of a file, or below a folder ("a/"; "" for all), newest first, whatever the database gives at a time. */
async function* newest(database: Database, folder: string, path: string, limit: number): AsyncGenerator<Version> {
  for (let left = limit, after: string | undefined; left > 0; ) {
    const page = await database.versions.list(folder, path, {
      limit: Math.min(left, MAX_PAGE),
      ...(after === undefined ? {} : { after }),
    });
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    left -= page.length;
    after = versionCursor(last);
  }
}

/** What a file was under the names that it had before, newest first. */
async function earlierNames(database: Database, folder: string, path: string, limit: number): Promise<Version[]> {
  const versions: Version[] = [];
  const seen = new Set<string>();
  let until = Number.MAX_SAFE_INTEGER;
  for (let name = path; versions.length < limit && !seen.has(`${name}/${until}`); ) {
    seen.add(`${name}/${until}`);
    const moved = await database.versions.movedTo(folder, name, until);
    if (moved === undefined) break;
    for await (const version of newest(database, folder, moved.path, limit)) {
      if (version.version <= moved.version) versions.push(version);
    }
    name = moved.path;
    until = moved.storedAt;
  }
  return versions.slice(0, Math.max(0, limit));
}

export interface RestoreOptions extends HomeOption {
  readonly at?: string;
  readonly version?: number;
  readonly to?: string;
}

/** Brings a file, a part of a folder or all of it back. */
export function restore(name: string, path: string | undefined, options: RestoreOptions): Promise<void> {
  const now = Date.now();
  const at = options.at === undefined ? undefined : parseTime(options.at, now);
  if (options.at !== undefined && at === undefined) {
    const forms = "2h, 3d, 2026-11-25, '2026-11-25 10:00' or 10:00";
    throw new UsageError(`${shownPath(options.at)} is no time: say ${forms}.`);
  }
  if (at !== undefined && at > now) throw new UsageError(`${shownPath(options.at ?? "")} is in the future.`);
  if (at !== undefined && options.version !== undefined) throw new UsageError("Say either --at or --version.");
  const wanted = inside(path ?? "");
  if (options.version !== undefined && wanted === "") throw new UsageError("--version is of a file: say which.");
  return withKeeper(options, async ({ database }, keeper) => {
    const to = options.to === undefined ? undefined : resolve(options.to);
    const { version } = options;
    const restored = await keeper.restore({
      folder: name,
      path: wanted,
      ...(at === undefined ? {} : { at }),
      ...(version === undefined ? {} : { version }),
      ...(to === undefined ? {} : { to }),
    });
    const { files, bytes, removed, unchanged } = restored;
    const target = wanted === "" ? name : `${name}/${wanted}`;
    const detail = at === undefined ? null : `as of ${new Date(at).toISOString()}`;
    const entry = { actor: "local", action: "restore", target, outcome: "ok", address: null, detail } as const;
    await database.audit.add(entry);
    const when = at === undefined ? "" : ` as it was at ${formatTime(at)}`;
    const sum = `${files} put in place (${formatBytes(bytes)}), ${removed} removed, ${unchanged} unchanged`;
    say(`restored ${shownPath(target)}${when}${to === undefined ? "" : ` into ${shownPath(to)}`}: ${sum}`);
    if (to !== undefined) return;
    say(`${shownPath(name)} is on hold: no client changes it until you say: confundo resume ${shownPath(name)}`);
    say("(a client makes the mirror equal to its own folder again: put that one right first)");
  });
}

/** Lets clients change a folder again that was restored. */
export function resume(name: string, options: HomeOption): Promise<void> {
  return withKeeper(options, async (_, keeper) => {
    const was = await keeper.resume(name);
    say(was ? `${shownPath(name)} is not on hold any more` : `${shownPath(name)} was not on hold`);
  });
}

/** Makes the file tables of one or all folders equal to what is on the disk. */
export function reindex(name: string | undefined, options: HomeOption): Promise<void> {
  return withKeeper(options, async ({ database }, keeper) => {
    const names = name === undefined ? await keeper.names() : [name];
    if (name !== undefined && !(await keeper.names()).includes(name)) await requireFolder(database, name);
    for (const one of names) {
      const { files, bytes, added, changed, removed } = await keeper.reindex(one, true);
      const sum = `${files} files (${formatBytes(bytes)}); ${added} added, ${changed} changed, ${removed} removed`;
      say(`${shownPath(one)}: ${sum}`);
    }
  });
}

/** Opens the home for `work` with what keeps its versions, as a server does. */
export async function withKeeper(
  options: HomeOption,
  work: (home: OpenHome, keeper: Keeper) => Promise<void>,
): Promise<void> {
  await withHome(options, async (home) => {
    const keeper = new Keeper({ dir: home.dir, database: home.database });
    try {
      await work(home, keeper);
    } finally {
      await keeper.close();
    }
  });
}

export async function requireFolder(database: Database, name: string): Promise<void> {
  if ((await database.folders.byName(name)) !== undefined) return;
  const known = (await database.folders.list()).map((folder) => shownPath(folder.name));
  const there = known.length === 0 ? "there is none yet" : `there are ${known.join(", ")}`;
  throw new VersionError("ERR_NO_FOLDER", `there is no mirror ${shownPath(name)} here: ${there}`);
}

/** A path as people type it: `.`, `./x`, `x/`. */
function inside(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new UsageError(`${shownPath(path)} leads out of the mirror.`);
  return parts.join("/");
}

function folderLine({ files, bytes, versionBytes, quotaBytes, changedAt, heldAt }: Folder): string {
  const quota = quotaBytes === null ? "" : ` of ${formatBytes(quotaBytes)}`;
  const changed = changedAt === null ? "" : `, changed ${formatTime(changedAt)}`;
  const held = heldAt === null ? "" : `, ON HOLD since ${formatTime(heldAt)}`;
  return `${files} files, ${formatBytes(bytes)}${quota}, versions ${formatBytes(versionBytes)}${changed}${held}`;
}

function presentLine({ path, version, storedAt, size }: FileRecord): string {
  return line(storedAt, "present", version, size, path);
}

function versionLine({ path, version, endedAt, why, size, kind }: Version): string {
  return line(endedAt, why, version, size, kind === "directory" ? `${path}/` : path);
}

function line(at: number, what: string, version: number, size: number, path: string): string {
  return `${formatTime(at)}  ${what.padEnd(8)}  ${`v${version}`.padEnd(4)}  ${formatBytes(size).padStart(9)}  ${shownPath(path)}`;
}

function toJson(value: object): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner));
}

function say(text: string): void {
  process.stdout.write(`${escaped(text)}\n`);
}
