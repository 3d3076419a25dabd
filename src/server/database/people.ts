/** Who is known, and what they may do. */
import { randomBytes } from "node:crypto";
import type { Kysely, Selectable } from "kysely";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { Devices, Grants, Invitations, Token, Tokens, Users } from "./types.js";

/** A statement takes so many ids. */
const MAX_IDS = 1000;

/** Short enough to type, and never equal: 64 random bits among at most some thousands. */
function newId(): string {
  return randomBytes(8).toString("hex");
}

export function users(store: Store): Users {
  return {
    create: (user) =>
      store.write((db) => {
        const row = { id: newId(), ...user, createdAt: store.now() };
        return db.insertInto("users").values(row).returningAll().executeTakeFirstOrThrow();
      }),
    byName: (name) =>
      store.read((db) => db.selectFrom("users").selectAll().where("name", "=", name).executeTakeFirst()),
    byId: (id) => store.read((db) => db.selectFrom("users").selectAll().where("id", "=", id).executeTakeFirst()),
    list: () => store.read((db) => db.selectFrom("users").selectAll().orderBy("name").execute()),
    setPassword: (id, passwordHash) =>
      store.write(async (db) => {
        await db.updateTable("users").set({ passwordHash }).where("id", "=", id).execute();
      }),
    remove: (id) =>
      store.write(async (db) => {
        await db.deleteFrom("tokens").where("userId", "=", id).execute();
        await db.deleteFrom("grants").where("subject", "=", "user").where("subjectId", "=", id).execute();
        await db.deleteFrom("users").where("id", "=", id).execute();
      }),
  };
}

export function devices(store: Store): Devices {
  return {
    create: (device) =>
      store.write((db) => {
        const row = { id: newId(), ...device, createdAt: store.now(), lastSeenAt: null, revokedAt: null };
        return db.insertInto("devices").values(row).returningAll().executeTakeFirstOrThrow();
      }),
    byPin: (pin) => store.read((db) => db.selectFrom("devices").selectAll().where("pin", "=", pin).executeTakeFirst()),
    byId: (id) => store.read((db) => db.selectFrom("devices").selectAll().where("id", "=", id).executeTakeFirst()),
    list: () => store.read((db) => db.selectFrom("devices").selectAll().orderBy("createdAt").orderBy("id").execute()),
    seen: (id, at) =>
      store.write(async (db) => {
        await db.updateTable("devices").set({ lastSeenAt: at }).where("id", "=", id).execute();
      }),
    setRole: (id, role) =>
      store.write(async (db) => {
        await db.updateTable("devices").set({ role }).where("id", "=", id).execute();
      }),
    rename: (id, name) =>
      store.write(async (db) => {
        await db.updateTable("devices").set({ name }).where("id", "=", id).execute();
      }),
    revoke: (id, at) =>
      store.write(async (db) => {
        const revoking = db.updateTable("devices").set({ revokedAt: at }).where("id", "=", id);
        return changed(await revoking.where("revokedAt", "is", null).executeTakeFirst());
      }),
  };
}

export function grants(store: Store): Grants {
  return {
    set: (grant) =>
      store.write(async (db) => {
        const columns = ["subject", "subjectId", "folder"] as const;
        await db
          .insertInto("grants")
          .values(grant)
          .onConflict((conflict) => conflict.columns(columns).doUpdateSet({ access: grant.access }))
          .execute();
      }),
    remove: ({ subject, subjectId, folder }) =>
      store.write(async (db) => {
        const removing = db.deleteFrom("grants").where("subject", "=", subject).where("subjectId", "=", subjectId);
        await removing.where("folder", "=", folder).execute();
      }),
    of: (subject, subjectId) =>
      store.read((db) => {
        const all = db.selectFrom("grants").selectAll().where("subject", "=", subject);
        return all.where("subjectId", "=", subjectId).orderBy("folder").execute();
      }),
  };
}

export function invitations(store: Store): Invitations {
  return {
    create: (invitation) =>
      store.write((db) => {
        const row = { id: newId(), ...invitation, usedAt: null, usedBy: null, withdrawnAt: null };
        return db.insertInto("invitations").values(row).returningAll().executeTakeFirstOrThrow();
      }),
    list: () =>
      store.read((db) => db.selectFrom("invitations").selectAll().orderBy("createdAt").orderBy("id").execute()),
    take: (codeHash, at) =>
      store.write((db) => {
        const taking = db.updateTable("invitations").set({ usedAt: at }).where("codeHash", "=", codeHash);
        const unused = taking.where("usedAt", "is", null).where("withdrawnAt", "is", null);
        return unused.where("expiresAt", ">", at).returningAll().executeTakeFirst();
      }),
    usedBy: (id, deviceId) =>
      store.write(async (db) => {
        await db.updateTable("invitations").set({ usedBy: deviceId }).where("id", "=", id).execute();
      }),
    withdraw: (id, at) =>
      store.write(async (db) => {
        const withdrawing = db.updateTable("invitations").set({ withdrawnAt: at }).where("id", "=", id);
        const unused = withdrawing.where("usedAt", "is", null).where("withdrawnAt", "is", null);
        return changed(await unused.executeTakeFirst());
      }),
    remove: (id) =>
      store.write(async (db) => {
        await db.deleteFrom("invitations").where("id", "=", id).execute();
      }),
  };
}

export function tokens(store: Store): Tokens {
  return {
    create: (token) =>
      store.write(async (db) => {
        const row = { id: newId(), ...token, scopes: JSON.stringify(token.scopes), revokedAt: null, lastUsedAt: null };
        return toToken(await db.insertInto("tokens").values(row).returningAll().executeTakeFirstOrThrow());
      }),
    byHash: (hash) =>
      store.read(async (db) => {
        const row = await db.selectFrom("tokens").selectAll().where("hash", "=", hash).executeTakeFirst();
        return row === undefined ? undefined : toToken(row);
      }),
    list: (userId) =>
      store.read(async (db) => {
        const all = db.selectFrom("tokens").selectAll().orderBy("createdAt").orderBy("id");
        const rows = await (userId === undefined ? all : all.where("userId", "=", userId)).execute();
        return rows.map(toToken);
      }),
    used: (id, at) =>
      store.write(async (db) => {
        await db.updateTable("tokens").set({ lastUsedAt: at }).where("id", "=", id).execute();
      }),
    revoke: (id, at) =>
      store.write(async (db) => {
        const revoking = db.updateTable("tokens").set({ revokedAt: at }).where("id", "=", id);
        return changed(await revoking.where("revokedAt", "is", null).executeTakeFirst());
      }),
    trim: (userId, kind, now, keep) => store.write((db) => trimTokens(db, userId, kind, now, keep)),
  };
}

async function trimTokens(
  db: Kysely<Schema>,
  userId: string,
  kind: Token["kind"],
  now: number,
  keep: number,
): Promise<number> {
  const all = db.selectFrom("tokens").select("id").where("userId", "=", userId).where("kind", "=", kind);
  const ended = all.where((of) => of.or([of("revokedAt", "is not", null), of("expiresAt", "<=", now)]));
  const rows = await ended.orderBy("createdAt", "desc").orderBy("id").execute();
  const ids = rows.slice(keep).map(({ id }) => id);
  for (let from = 0; from < ids.length; from += MAX_IDS) {
    await db
      .deleteFrom("tokens")
      .where("id", "in", ids.slice(from, from + MAX_IDS))
      .execute();
  }
  return ids.length;
}

function toToken({ scopes, ...row }: Selectable<Schema["tokens"]>): Token {
  return { ...row, scopes: JSON.parse(scopes) as Token["scopes"] };
}

export function changed(result: { readonly numUpdatedRows: bigint } | undefined): boolean {
  return (result?.numUpdatedRows ?? 0n) > 0n;
}
