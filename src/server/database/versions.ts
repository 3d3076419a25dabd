/** What was in the folders before. */
import { type Kysely, type Selectable, sql } from "kysely";
import { addVersion } from "./changes.js";
import { limitOf } from "./journal.js";
import type { FileRow, Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { FileRecord, Version, Versions } from "./types.js";

const PAGE = 1000;

export function versions(store: Store): Versions {
  return {
    add: (version) => store.write((db) => addVersion(db, version)),
    movedTo: (folder, path, until) =>
      store.read(async (db) => {
        const moved = db.selectFrom("versions").selectAll().where("folder", "=", folder).where("movedTo", "=", path);
        const row = await moved.where("endedAt", "<=", until).orderBy("endedAt", "desc").limit(1).executeTakeFirst();
        return row === undefined ? undefined : toVersion(row);
      }),
    list: (folder, path, page) => store.read((db) => list(db, folder, path ?? "", page)),
    at: (folder, path, time) => store.read((db) => at(db, folder, path, time)),
    treeAt: (folder, time) => treeAt(store, folder, time),
    endedBefore: (folder, before, limit) =>
      store.read(async (db) => {
        const ended = db.selectFrom("versions").selectAll().where("folder", "=", folder).where("endedAt", "<", before);
        return (await ended.orderBy("endedAt").orderBy("path").limit(limitOf({ limit })).execute()).map(toVersion);
      }),
    beyond: (folder, keep, limit) =>
      store.read(async (db) => {
        const numbered = db
          .selectFrom("versions")
          .selectAll()
          .select(sql<number>`row_number() over (partition by path order by version desc)`.as("place"))
          .where("folder", "=", folder);
        const beyond = db.selectFrom(numbered.as("numbered")).selectAll().where("place", ">", keep);
        const rows = await beyond.orderBy("endedAt").limit(limitOf({ limit })).execute();
        return rows.map(({ place: _, ...row }) => toVersion(row));
      }),
    remove: (folder, versions) => store.write((db) => remove(db, folder, versions)),
    needs: (sha256) =>
      store.read(async (db) => {
        const one = db.selectFrom("versions").select("folder").where("sha256", "=", sha256).limit(1);
        return (await one.executeTakeFirst()) !== undefined;
      }),
  };
}

/** `after` is the end of the page before: `ENDED/VERSION/PATH`, see {@link versionCursor}. */
async function list(
  db: Kysely<Schema>,
  folder: string,
  path: string,
  page: { limit: number; after?: string },
): Promise<Version[]> {
  let found = db.selectFrom("versions").selectAll().where("folder", "=", folder);
  found = found.where(sql<boolean>`not (kind = 'directory' and why = 'changed')`);
  if (path.endsWith("/")) found = found.where("path", ">=", path).where("path", "<", `${path.slice(0, -1)}0`);
  else if (path !== "") found = found.where("path", "=", path);
  const cursor = /^(\d+)\/(\d+)\/(.*)$/s.exec(page.after ?? "");
  if (cursor !== null) {
    const [, ended, version, last] = cursor;
    found = found.where(
      sql<boolean>`(ended_at, version, path) < (${Number(ended)}, ${Number(version)}, ${String(last)})`,
    );
  }
  const newest = found.orderBy("endedAt", "desc").orderBy("version", "desc").orderBy("path", "desc");
  return (await newest.limit(limitOf(page)).execute()).map(toVersion);
}

/** What `after` of a list of versions says. */
export function versionCursor({ endedAt, version, path }: Version): string {
  return `${endedAt}/${version}/${path}`;
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
  let after = "";
  for (;;) {
    const rows = await store.read((db) => treePage(db, folder, time, after));
    // Clocks are set back at times: of two that claim one path the later version counts.
    for (const [place, row] of rows.entries()) {
      if (rows[place - 1]?.path === row.path) continue;
      const { endedAt, why, ...file } = row;
      yield endedAt === null || why === null ? toFile(file) : toVersion({ ...file, endedAt, why, movedTo: null });
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return;
    after = last.path;
  }
}

function treePage(db: Kysely<Schema>, folder: string, time: number, after: string) {
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
    ])
    .where("folder", "=", folder)
    .where("storedAt", "<=", time)
    .where("path", ">", after);
  const past = db
    .selectFrom("versions")
    .select(columns)
    .select(["endedAt", "why"])
    .where("folder", "=", folder)
    .where("storedAt", "<=", time)
    .where("endedAt", ">", time)
    .where("path", ">", after);
  return present
    .unionAll(past as never)
    .orderBy("path")
    .orderBy("version", "desc")
    .limit(PAGE)
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
    const other = same.where("why", "<>", "changed");
    if ((await other.limit(1).executeTakeFirst()) === undefined) freed += size;
  }
  await db
    .updateTable("folders")
    .set((all) => ({ versionBytes: all("versionBytes", "-", freed), versions: all("versions", "-", removed) }))
    .where("name", "=", folder)
    .execute();
}

function toVersion({ mtimeNs, ...row }: Selectable<Schema["versions"]>): Version {
  return { ...row, mtimeNs: BigInt(mtimeNs) };
}

function toFile({ mtimeNs, ...row }: FileRow & { parent?: string }): FileRecord {
  const { parent: _, ...file } = row;
  return { ...file, mtimeNs: BigInt(mtimeNs) };
}
