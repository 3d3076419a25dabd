/** What is in the folders now. */
import type { Kysely, Selectable } from "kysely";
import { applyChanges } from "./changes.js";
import { limitOf, setFact } from "./journal.js";
import { changed } from "./people.js";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { FileRecord, Files, Folder, Folders } from "./types.js";

/** Rows that are read at a time. */
const PAGE = 500;
const MAX_HOLDING = 20;

export function folders(store: Store): Folders {
  return {
    ensure: (name, quotaBytes) =>
      store.write(async (db) => {
        await ensureFolder(db, name, store.now());
        if (quotaBytes !== undefined)
          await db.updateTable("folders").set({ quotaBytes }).where("name", "=", name).execute();
        return toFolder(await db.selectFrom("folders").selectAll().where("name", "=", name).executeTakeFirstOrThrow());
      }),
    byName: (name) =>
      store.read(async (db) => {
        const named = db.selectFrom("folders").selectAll().where("name", "=", name);
        const row = await named.where("deletedAt", "is", null).executeTakeFirst();
        return row === undefined ? undefined : toFolder(row);
      }),
    list: () =>
      store.read(async (db) => {
        const all = db.selectFrom("folders").selectAll().where("deletedAt", "is", null);
        return (await all.orderBy("name").execute()).map(toFolder);
      }),
    deleted: () =>
      store.read(async (db) => {
        const all = db.selectFrom("folders").selectAll().where("deletedAt", "is not", null);
        return (await all.orderBy("name").execute()).map(toFolder);
      }),
    delete: (name, deletedAt, purgeAt) =>
      store.write(async (db) => {
        const deleting = db.updateTable("folders").set({ deletedAt, purgeAt }).where("name", "=", name);
        const done = changed(await deleting.where("deletedAt", "is", null).executeTakeFirst());
        if (done) await setFact(db, deletedFact(name), String(store.elapsed()));
        return done;
      }),
    overdue: (elapsed) =>
      store.read(async (db) => {
        const all = db.selectFrom("folders").selectAll().where("deletedAt", "is not", null);
        const names: string[] = [];
        for (const { name, deletedAt, purgeAt } of await all.orderBy("name").execute()) {
          const fact = db.selectFrom("facts").select("value").where("name", "=", deletedFact(name));
          const since = Number((await fact.executeTakeFirst())?.value ?? deletedAt);
          if (purgeAt !== null && elapsed - since >= purgeAt - (deletedAt ?? purgeAt)) names.push(name);
        }
        return names;
      }),
    undelete: (name) =>
      store.write(async (db) => {
        const undeleting = db.updateTable("folders").set({ deletedAt: null, purgeAt: null }).where("name", "=", name);
        return changed(await undeleting.where("deletedAt", "is not", null).executeTakeFirst());
      }),
    purge: (name, at) => purge(store, name, at),
    setLimits: (name, { quotaBytes, storageLimitBytes, maxEntries }) =>
      store.write(async (db) => {
        const given = Object.entries({ quotaBytes, storageLimitBytes, maxEntries }).filter(
          ([, of]) => of !== undefined,
        );
        if (given.length === 0) return;
        await db.updateTable("folders").set(Object.fromEntries(given)).where("name", "=", name).execute();
      }),
    hold: (name, at) =>
      store.write(async (db) => {
        await ensureFolder(db, name, store.now());
        await db.updateTable("folders").set({ heldAt: at }).where("name", "=", name).execute();
      }),
    settled: (name, rootHash, at) =>
      store.write(async (db) => {
        await ensureFolder(db, name, at);
        await db.updateTable("folders").set({ rootHash }).where("name", "=", name).execute();
      }),
  };
}

export function files(store: Store): Files {
  return {
    apply: async (changes, at) => {
      for (let rest = changes; rest.length > 0; ) {
        const some = rest;
        rest = some.slice(await store.write((db) => applyChanges(db, some, at, store.elapsed)));
      }
    },
    byPath: (folder, path) =>
      store.read(async (db) => {
        const found = db.selectFrom("files").selectAll().where("folder", "=", folder).where("path", "=", path);
        const row = await found.executeTakeFirst();
        return row === undefined ? undefined : toFile(row);
      }),
    list: (folder, directory, page) =>
      store.read(async (db) => {
        const inside = db.selectFrom("files").selectAll().where("folder", "=", folder).where("parent", "=", directory);
        const after = page.after === undefined ? inside : inside.where("path", ">", page.after);
        return (await after.orderBy("path").limit(limitOf(page)).execute()).map(toFile);
      }),
    holding: (sha256) =>
      store.read(async (db) => {
        const some = db.selectFrom("files").selectAll().where("sha256", "=", sha256).limit(MAX_HOLDING);
        return (await some.execute()).map(toFile);
      }),
    all: (folder) => everything(store, folder),
    unclean: () =>
      store.read(async (db) => {
        const rows = await db.selectFrom("folders").select("name").where("unclean", "=", 1).orderBy("name").execute();
        return rows.map(({ name }) => name);
      }),
    markUnclean: (folder) => mark(store, folder, 1),
    markClean: (folder) => mark(store, folder, 0),
  };
}

export async function ensureFolder(db: Kysely<Schema>, name: string, at: number): Promise<void> {
  const none = {
    createdAt: at,
    quotaBytes: null,
    storageLimitBytes: null,
    maxEntries: null,
    files: 0,
    bytes: 0,
    entries: 0,
    versions: 0,
    versionBytes: 0,
    changedAt: null,
    rootHash: null,
  };
  await db
    .insertInto("folders")
    .values({ name, ...none, unclean: 0 })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .execute();
}

/** Says when the folder was deleted, by {@link Store.elapsed}. */
function deletedFact(name: string): string {
  return `deleted.${name}`;
}

/** The folder itself last, so that an interrupted purge is done again. In slices, as there may be millions of rows. */
async function purge(store: Store, name: string, at: number): Promise<boolean> {
  const deleted = (db: Kysely<Schema>) =>
    db.selectFrom("folders").select("name").where("name", "=", name).where("deletedAt", "is not", null);
  if ((await store.read((db) => deleted(db).executeTakeFirst())) === undefined) return false;
  for (const purgeSome of [purgeFiles, purgeVersions, purgeTransfers]) {
    while ((await store.write((db) => purgeSome(db, name))) > 0);
  }
  for (let after: number | undefined = 0; after !== undefined; ) {
    const from: number = after;
    after = await store.write((db) => purgeEvents(db, name, from));
  }
  return store.write(async (db) => {
    if ((await deleted(db).executeTakeFirst()) === undefined) return false;
    await db.deleteFrom("grants").where("folder", "=", name).execute();
    const withdrawing = db.updateTable("invitations").set({ withdrawnAt: at }).where("folder", "=", name);
    await withdrawing.where("usedAt", "is", null).where("withdrawnAt", "is", null).execute();
    await db.deleteFrom("folders").where("name", "=", name).execute();
    await db.deleteFrom("facts").where("name", "=", deletedFact(name)).execute();
    return true;
  });
}

async function purgeFiles(db: Kysely<Schema>, folder: string): Promise<number> {
  const some = db.selectFrom("files").select("path").where("folder", "=", folder).orderBy("path").limit(PAGE);
  const paths = (await some.execute()).map(({ path }) => path);
  if (paths.length > 0) await db.deleteFrom("files").where("folder", "=", folder).where("path", "in", paths).execute();
  return paths.length;
}

async function purgeVersions(db: Kysely<Schema>, folder: string): Promise<number> {
  const some = db.selectFrom("versions").select("number").where("folder", "=", folder).orderBy("number").limit(PAGE);
  const numbers = (await some.execute()).map(({ number }) => number);
  const last = numbers.at(-1);
  if (last !== undefined)
    await db.deleteFrom("versions").where("folder", "=", folder).where("number", "<=", last).execute();
  return numbers.length;
}

async function purgeTransfers(db: Kysely<Schema>, folder: string): Promise<number> {
  const some = db.selectFrom("transfers").select("id").where("folder", "=", folder).orderBy("id").limit(PAGE);
  const ids = (await some.execute()).map(({ id }) => id);
  if (ids.length > 0) await db.deleteFrom("transfers").where("id", "in", ids).execute();
  return ids.length;
}

/** Returns after which number to go on; undefined at the end. */
async function purgeEvents(db: Kysely<Schema>, folder: string, after: number): Promise<number | undefined> {
  const next = db.selectFrom("events").select(["id", "folder"]).where("id", ">", after).orderBy("id").limit(PAGE);
  const rows = await next.execute();
  const ids = rows.filter((row) => row.folder === folder).map(({ id }) => id);
  if (ids.length > 0) await db.deleteFrom("events").where("id", "in", ids).execute();
  return rows.length < PAGE ? undefined : rows.at(-1)?.id;
}

async function mark(store: Store, folder: string, unclean: 0 | 1): Promise<void> {
  await store.write(async (db) => {
    await ensureFolder(db, folder, store.now());
    await db.updateTable("folders").set({ unclean }).where("name", "=", folder).execute();
  });
}

async function* everything(store: Store, folder: string): AsyncGenerator<FileRecord> {
  let after = "";
  for (;;) {
    const rows = await store.read((db) => {
      const later = db.selectFrom("files").selectAll().where("folder", "=", folder).where("path", ">", after);
      return later.orderBy("path").limit(PAGE).execute();
    });
    for (const row of rows) yield toFile(row);
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return;
    after = last.path;
  }
}

function toFolder({ unclean: _, ...folder }: Selectable<Schema["folders"]>): Folder {
  return folder;
}

function toFile({ parent: _, mtimeNs, ...row }: Selectable<Schema["files"]>): FileRecord {
  return { ...row, mtimeNs: BigInt(mtimeNs) };
}
