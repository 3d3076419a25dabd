/** What was in the folders before. */
import { type Kysely, type Selectable, sql } from "kysely";
import { addVersion } from "./changes.js";
import { limitOf, setFact } from "./journal.js";
import type { FileRow, Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { FileRecord, Page, Version, Versions } from "./types.js";

const PAGE = 1000;
/** Versions that are sorted, or looked through, at a time. */
const MAX_SORTED = 2000;
/** Versions looked at in one transaction by {@link beyond}. */
const BEYOND_SLICE = 500;
/** The same by {@link thin}. */
const THIN_SLICE = 200;
const MOST_VERSIONS = 2 ** 52;

type Row = Selectable<Schema["versions"]>;

export function versions(store: Store): Versions {
  return {
    add: (version) => store.write((db) => addVersion(db, version, store.elapsed)),
    movedTo: (folder, path, until) =>
      store.read(async (db) => {
        const moved = db.selectFrom("versions").selectAll().where("folder", "=", folder).where("movedTo", "=", path);
        const row = await moved.where("endedAt", "<=", until).orderBy("number", "desc").limit(1).executeTakeFirst();
        return row === undefined ? undefined : toVersion(row);
      }),
    list: async (folder, path = "", page) => {
      const rows = path.endsWith("/")
        ? await listBelow(store, folder, path, page)
        : await store.read((db) => list(db, folder, path, page));
      return rows.map(toVersion);
    },
    at: (folder, path, time) => store.read((db) => at(db, folder, path, time)),
    treeAt: (folder, time) => treeAt(store, folder, time),
    oldest: (folder, limit, before = Number.POSITIVE_INFINITY) =>
      store.read(async (db) => {
        const all = db.selectFrom("versions").selectAll().where("folder", "=", folder);
        const rows = await all.orderBy("number").limit(limitOf({ limit })).execute();
        const young = rows.findIndex(({ endedSeen }) => endedSeen >= before);
        return (young < 0 ? rows : rows.slice(0, young)).map(toVersion);
      }),
    beyond: (folder, keep) => store.write((db) => beyond(db, folder, keep)),
    thin: (folder, rule) => store.write((db) => thin(db, folder, rule, store.elapsed())),
    remove: (folder, versions) => store.write((db) => remove(db, folder, versions)),
    needed: (sha256s) => store.read((db) => needed(db, sha256s)),
  };
}

/** Of one path, or of all (""). */
async function list(db: Kysely<Schema>, folder: string, path: string, page: Page): Promise<Row[]> {
  const [number, version] = cursorOf(page);
  const found = listed(db, folder);
  if (path !== "") {
    // Those of one path are numbered in the same order.
    const ofPath = found.where("path", "=", path).where("version", "<", version);
    return ofPath.orderBy("version", "desc").limit(limitOf(page)).execute();
  }
  return found.where("number", "<", number).orderBy("number", "desc").limit(limitOf(page)).execute();
}

/**
 * What is below a folder (`prefix` ends in "/"). Few are found by their paths and sorted; where there are many, the versions of the
 * whole mirror are looked through in slices, until there are as many as wanted.
 */
async function listBelow(store: Store, folder: string, prefix: string, page: Page): Promise<Row[]> {
  const end = `${prefix.slice(0, -1)}0`;
  const below = (db: Kysely<Schema>) => listed(db, folder).where("path", ">=", prefix).where("path", "<", end);
  let [before] = cursorOf(page);
  const limit = limitOf(page);
  const few = await store.read((db) =>
    below(db)
      .limit(MAX_SORTED + 1)
      .execute(),
  );
  if (few.length <= MAX_SORTED) {
    const later = few.filter(({ number }) => number < before).sort((a, b) => b.number - a.number);
    return later.slice(0, limit);
  }
  const found: Row[] = [];
  for (;;) {
    const [slice, from] = await store.read(async (db) => {
      const numbers = listed(db, folder).clearSelect().select("number").where("number", "<", before);
      const last = await numbers.orderBy("number", "desc").offset(MAX_SORTED).limit(1).executeTakeFirst();
      const first = last?.number ?? 0;
      const inSlice = listed(db, folder).where("number", ">=", first).where("number", "<", before);
      const rows = await inSlice.orderBy("number", "desc").execute();
      return [rows.filter(({ path }) => path >= prefix && path < end), last?.number] as const;
    });
    found.push(...slice);
    if (found.length >= limit || from === undefined) return found.slice(0, limit);
    before = from;
  }
}

function listed(db: Kysely<Schema>, folder: string) {
  const all = db.selectFrom("versions").selectAll().where("folder", "=", folder);
  return all.where(sql<boolean>`not (kind = 'directory' and why = 'changed')`);
}

/** `after` is where the page before ended, see {@link versionCursor}. */
function cursorOf({ after }: Page): [number: number, version: number] {
  const [, number, version] = /^(\d+)\/(\d+)$/.exec(after ?? "") ?? [];
  return number === undefined ? [Number.MAX_SAFE_INTEGER, MOST_VERSIONS] : [Number(number), Number(version)];
}

/** What `after` of a list of versions says. */
export function versionCursor({ number, version }: Version): string {
  return `${number}/${version}`;
}

async function beyond(
  db: Kysely<Schema>,
  folder: string,
  keep: number,
): Promise<{ versions: Version[]; done: boolean }> {
  const fact = `beyond.${keep}.${folder}`;
  const seen = await db.selectFrom("facts").select("value").where("name", "=", fact).executeTakeFirst();
  const all = db.selectFrom("versions").where("folder", "=", folder);
  const next = all.select(["path", "number"]).where("number", ">", Number(seen?.value ?? 0));
  const slice = await next.orderBy("number").limit(BEYOND_SLICE).execute();
  const found: Row[] = [];
  for (const path of new Set(slice.map((row) => row.path))) {
    const ofPath = all.selectAll().where("path", "=", path).orderBy("version", "desc");
    found.push(...(await ofPath.offset(keep).limit(PAGE).execute()));
    if (found.length >= PAGE) break;
  }
  if (found.length > 0) return { versions: found.map(toVersion), done: false };
  const last = slice.at(-1);
  if (last !== undefined) await setFact(db, fact, String(last.number));
  return { versions: [], done: slice.length < BEYOND_SLICE };
}

async function thin(
  db: Kysely<Schema>,
  folder: string,
  { everyMs, olderMs }: { readonly everyMs: number; readonly olderMs: number },
  elapsed: number,
): Promise<{ versions: Version[]; done: boolean }> {
  const fact = `thin.${everyMs}.${olderMs}.${folder}`;
  const seen = await db.selectFrom("facts").select("value").where("name", "=", fact).executeTakeFirst();
  const next = (
    column: "version" | "stored_at" | "ended_seen",
  ) => sql`(select ${sql.ref(`next.${column}`)} from versions as next
    where next.folder = versions.folder and next.path = versions.path and next.version > versions.version
    order by next.version limit 1)`;
  const all = db
    .selectFrom("versions")
    .selectAll()
    .select([
      sql<number | null>`${next("version")}`.as("nextVersion"),
      sql<number | null>`${next("stored_at")}`.as("nextStoredAt"),
      sql<number | null>`${next("ended_seen")}`.as("nextEndedSeen"),
    ]);
  const since = all.where("folder", "=", folder).where("number", ">", Number(seen?.value ?? 0));
  const slice = await since.orderBy("number").limit(THIN_SLICE).execute();
  const young = slice.findIndex(({ endedSeen }) => endedSeen > elapsed - olderMs);
  const old = young < 0 ? slice : slice.slice(0, young);
  const found = new Map<string, Version>();
  /** By path and version, since when it was the state. */
  const extended = new Map<string, { path: string; version: number; storedAt: number }>();
  for (const { nextVersion, nextStoredAt, nextEndedSeen, ...row } of old) {
    if (row.why === "moved" || nextVersion === null || nextEndedSeen === null) continue;
    if (Math.floor(row.endedSeen / everyMs) !== Math.floor(nextEndedSeen / everyMs)) continue;
    const { path, version } = row;
    found.set(`${version} ${path}`, toVersion(row));
    if (nextStoredAt !== row.endedAt) continue;
    const storedAt = extended.get(`${version} ${path}`)?.storedAt ?? row.storedAt;
    extended.set(`${nextVersion} ${path}`, { path, version: nextVersion, storedAt });
  }
  for (const [key, { path, version, storedAt }] of extended) {
    if (found.has(key)) continue;
    const one = db.updateTable("versions").set({ storedAt }).where("folder", "=", folder).where("path", "=", path);
    await one.where("version", "=", version).execute();
  }
  if (found.size > 0) return { versions: [...found.values()], done: false };
  const last = old.at(-1);
  if (last !== undefined) await setFact(db, fact, String(last.number));
  return { versions: [], done: old.length < THIN_SLICE };
}

async function needed(db: Kysely<Schema>, sha256s: readonly string[]): Promise<ReadonlySet<string>> {
  if (sha256s.length === 0) return new Set();
  const asked = await sql<{ sha256: string; found: number | null }>`
    with wanted (sha256) as (values ${sql.join(sha256s.map((one) => sql`(${one})`))})
    select sha256, (select 1 from versions where versions.sha256 = wanted.sha256 limit 1) as found
    from wanted`.execute(db);
  return new Set(asked.rows.filter(({ found }) => found !== null).map(({ sha256 }) => sha256));
}

async function at(
  db: Kysely<Schema>,
  folder: string,
  path: string,
  time: number,
): Promise<Version | FileRecord | undefined> {
  const now = db.selectFrom("files").selectAll().where("folder", "=", folder).where("path", "=", path);
  const present = await now.where("storedAt", "<=", time).executeTakeFirst();
  if (present !== undefined) return toFile(present);
  const before = db.selectFrom("versions").selectAll().where("folder", "=", folder).where("path", "=", path);
  const then = before.where("storedAt", "<=", time).where("endedAt", ">", time).orderBy("version", "desc");
  const row = await then.limit(1).executeTakeFirst();
  return row === undefined ? undefined : toVersion(row);
}

async function* treeAt(store: Store, folder: string, time: number): AsyncGenerator<Version | FileRecord> {
  for (let after: string | undefined = ""; after !== undefined; ) {
    const from: string = after;
    const [rows, until] = await store.read(async (db) => {
      const bound = await sliceEnd(db, folder, from);
      return [await treeSlice(db, folder, time, from, bound), bound] as const;
    });
    // Clocks are set back at times: of two that claim one path the later version counts.
    for (const [place, row] of rows.entries()) {
      if (rows[place - 1]?.path === row.path) continue;
      const { endedAt, why, number, ...file } = row;
      yield endedAt === null || why === null
        ? toFile(file)
        : toVersion({ ...file, endedAt, why, movedTo: null, number });
    }
    after = until;
  }
}

/** The path up to which there are about {@link PAGE} rows; undefined where there are fewer. */
async function sliceEnd(db: Kysely<Schema>, folder: string, after: string): Promise<string | undefined> {
  const ends: string[] = [];
  for (const table of ["files", "versions"] as const) {
    const paths = db
      .selectFrom(table as "files")
      .select("path")
      .where("folder", "=", folder)
      .where("path", ">", after);
    const row = await paths
      .orderBy("path")
      .offset(PAGE - 1)
      .limit(1)
      .executeTakeFirst();
    if (row !== undefined) ends.push(row.path);
  }
  const [first, second = first] = ends;
  // In the order of the database, which is that of the bytes.
  return first === undefined || Buffer.compare(Buffer.from(first), Buffer.from(second as string)) <= 0 ? first : second;
}

function treeSlice(db: Kysely<Schema>, folder: string, time: number, after: string, until: string | undefined) {
  const columns = [
    "folder",
    "path",
    "kind",
    "size",
    "mode",
    "mtimeNs",
    "sha256",
    "target",
    "version",
    "storedAt",
  ] as const;
  const present = db
    .selectFrom("files")
    .select(columns)
    .select([
      sql<number | null>`cast(null as bigint)`.as("endedAt"),
      sql<Version["why"] | null>`cast(null as text)`.as("why"),
      sql<number>`cast(0 as bigint)`.as("number"),
    ])
    .where("folder", "=", folder)
    .where("storedAt", "<=", time)
    .where("path", ">", after)
    .$if(until !== undefined, (all) => all.where("path", "<=", until as string));
  const past = db
    .selectFrom("versions")
    .select(columns)
    .select(["endedAt", "why", "number"])
    .where("folder", "=", folder)
    .where("storedAt", "<=", time)
    .where("endedAt", ">", time)
    .where("path", ">", after)
    .$if(until !== undefined, (all) => all.where("path", "<=", until as string));
  return present
    .unionAll(past as never)
    .orderBy("path")
    .orderBy("version", "desc")
    .execute();
}

async function remove(
  db: Kysely<Schema>,
  folder: string,
  gone: readonly { path: string; version: number }[],
): Promise<void> {
  const candidates = new Map<string, number>();
  let removed = 0;
  for (const { path, version } of gone) {
    const one = db.deleteFrom("versions").where("folder", "=", folder).where("path", "=", path);
    const row = await one.where("version", "=", version).returning(["sha256", "size", "why"]).executeTakeFirst();
    if (row !== undefined) removed++;
    if (row !== undefined && row.sha256 !== null && row.why !== "changed") candidates.set(row.sha256, row.size);
  }
  let freed = 0;
  for (const [sha256, size] of candidates) {
    const same = db.selectFrom("versions").select("folder").where("sha256", "=", sha256).where("folder", "=", folder);
    const other = same.where("why", "in", ["replaced", "deleted", "moved"]);
    if ((await other.limit(1).executeTakeFirst()) === undefined) freed += size;
  }
  await db
    .updateTable("folders")
    .set((all) => ({ versionBytes: all("versionBytes", "-", freed), versions: all("versions", "-", removed) }))
    .where("name", "=", folder)
    .execute();
}

function toVersion({ mtimeNs, endedSeen: _, ...row }: Omit<Row, "endedSeen"> & { endedSeen?: number }): Version {
  return { ...row, mtimeNs: BigInt(mtimeNs) };
}

function toFile({ mtimeNs, ...row }: FileRow & { parent?: string }): FileRecord {
  const { parent: _, ...file } = row;
  return { ...file, mtimeNs: BigInt(mtimeNs) };
}
