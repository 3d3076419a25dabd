/** What is in the folders now. */
import type { Kysely, Selectable } from "kysely";
import { applyChanges } from "./changes.js";
import { limitOf } from "./journal.js";
import { changed } from "./people.js";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { FileRecord, Files, Folder, Folders } from "./types.js";

const PAGE = 1000;
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
        return changed(await deleting.where("deletedAt", "is", null).executeTakeFirst());
      }),
    undelete: (name) =>
      store.write(async (db) => {
        const undeleting = db.updateTable("folders").set({ deletedAt: null, purgeAt: null }).where("name", "=", name);
        return changed(await undeleting.where("deletedAt", "is not", null).executeTakeFirst());
      }),
    purge: (name, at) => store.write((db) => purge(db, name, at)),
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
      if (changes.length > 0) await store.write((db) => applyChanges(db, changes, at));
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

async function purge(db: Kysely<Schema>, name: string, at: number): Promise<boolean> {
  const removing = db.deleteFrom("folders").where("name", "=", name).where("deletedAt", "is not", null);
  if ((await removing.executeTakeFirst()).numDeletedRows === 0n) return false;
  for (const table of ["files", "versions", "grants", "transfers", "events"] as const) {
    await db
      .deleteFrom(table as "files")
      .where("folder", "=", name)
      .execute();
  }
  const withdrawing = db.updateTable("invitations").set({ withdrawnAt: at }).where("folder", "=", name);
  await withdrawing.where("usedAt", "is", null).where("withdrawnAt", "is", null).execute();
  return true;
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
