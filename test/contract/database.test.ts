import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { CamelCasePlugin, Kysely } from "kysely";
import pg from "pg";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../../src/server/database/migrations.js";
import { openDatabase } from "../../src/server/database/open.js";
import { openSqlite } from "../../src/server/database/sqlite.js";
import { Store } from "../../src/server/database/store.js";
import { versionCursor } from "../../src/server/database/versions.js";
import type { Database, FileChange, LoggedEvent } from "../../src/server/index.js";
import { until } from "../support/patience.js";
import { hasPostgres, type Postgres, startPostgres } from "../support/postgres.js";

/** What every database has to do. */

interface Place {
  /** A database of its own; a second call opens the same one again. `now` is its time, and that of the machine since it started. */
  open(now?: () => number): Promise<Database>;
  /** Past the program, as somebody else would. */
  sql(statement: string): Promise<unknown[]>;
  close(): Promise<void>;
}

const databases: [string, () => Promise<Place>][] = [["SQLite", sqlite]];
if (hasPostgres()) databases.push(["PostgreSQL", postgres]);

describe.each(databases)("%s", (_, place) => {
  let here: Place;
  let db: Database;
  let time: number;
  const opened: Database[] = [];
  const open = async (): Promise<Database> => {
    const another = await here.open(() => time);
    opened.push(another);
    return another;
  };

  beforeEach(async () => {
    time = 1_700_000_000_000;
    here = await place();
    db = await open();
  });

  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
    await here.close();
  });

  describe("users", () => {
    test("are found by name and id, and their names are taken once", async () => {
      const ada = await db.users.create({ name: "ada", role: "admin", passwordHash: "$x" });
      expect(ada).toEqual({ id: ada.id, name: "ada", role: "admin", passwordHash: "$x", createdAt: time });
      expect(await db.users.byName("ada")).toEqual(ada);
      expect(await db.users.byId(ada.id)).toEqual(ada);
      expect(await db.users.byName("bob")).toBeUndefined();
      await expect(db.users.create({ name: "ada", role: "user", passwordHash: "" })).rejects.toMatchObject({
        name: "DatabaseError",
        code: "ERR_EXISTS",
      });
      await db.users.setPassword(ada.id, "$y");
      expect(await db.users.list()).toEqual([{ ...ada, passwordHash: "$y" }]);
    });

    test("are removed with their tokens and grants", async () => {
      const ada = await db.users.create({ name: "ada", role: "user", passwordHash: "" });
      await db.tokens.create(token({ userId: ada.id, hash: "h1" }));
      await db.grants.set({ subject: "user", subjectId: ada.id, folder: "notes", access: "read" });
      await db.users.remove(ada.id);
      expect(await db.users.list()).toEqual([]);
      expect(await db.tokens.byHash("h1")).toBeUndefined();
      expect(await db.grants.of("user", ada.id)).toEqual([]);
    });
  });

  test("devices are found by their pin, seen, and revoked once", async () => {
    const laptop = await db.devices.create({ name: "laptop", pin: "p1", role: "user" });
    expect(laptop).toMatchObject({ name: "laptop", pin: "p1", role: "user", lastSeenAt: null, revokedAt: null });
    await expect(db.devices.create({ name: "other", pin: "p1", role: "user" })).rejects.toMatchObject({
      code: "ERR_EXISTS",
    });
    await db.devices.seen(laptop.id, 5);
    expect(await db.devices.byPin("p1")).toEqual({ ...laptop, lastSeenAt: 5 });
    expect(await db.devices.revoke(laptop.id, 7)).toBe(true);
    expect(await db.devices.revoke(laptop.id, 8)).toBe(false);
    expect(await db.devices.revoke("nobody", 8)).toBe(false);
    await db.devices.rename(laptop.id, "tablet");
    expect(await db.devices.byId(laptop.id)).toMatchObject({ name: "tablet", revokedAt: 7 });
    expect(await db.devices.list()).toHaveLength(1);
  });

  test("grants are one for each folder, the last one counts", async () => {
    const grant = { subject: "device", subjectId: "d", folder: "notes" } as const;
    await db.grants.set({ ...grant, access: "read" });
    await db.grants.set({ ...grant, access: "write" });
    await db.grants.set({ ...grant, folder: "art", access: "read" });
    expect(await db.grants.of("device", "d")).toEqual([
      { ...grant, folder: "art", access: "read" },
      { ...grant, access: "write" },
    ]);
    await db.grants.remove(grant);
    expect(await db.grants.of("device", "d")).toHaveLength(1);
    expect(await db.grants.of("user", "d")).toEqual([]);
  });

  describe("invitations", () => {
    const invitation = { codeHash: "c", folder: null, access: "write", createdAt: 1, expiresAt: 100 } as const;

    test("of two that come at once, one gets it", async () => {
      const { id } = await db.invitations.create(invitation);
      const second = await open();
      const taken = await Promise.all([db.invitations.take("c", 50), second.invitations.take("c", 50)]);
      expect(taken.filter((one) => one !== undefined)).toEqual([
        { ...invitation, id, usedAt: 50, usedBy: null, withdrawnAt: null },
      ]);
      await db.invitations.usedBy(id, "d");
      expect(await db.invitations.list()).toEqual([{ ...invitation, id, usedAt: 50, usedBy: "d", withdrawnAt: null }]);
      expect(await db.invitations.withdraw(id, 60)).toBe(false);
      await db.invitations.remove(id);
      expect(await db.invitations.list()).toEqual([]);
    });

    test("that have expired are of no use, and none can be taken whose code is unknown", async () => {
      await db.invitations.create(invitation);
      expect(await db.invitations.take("c", 100)).toBeUndefined();
      expect(await db.invitations.take("x", 50)).toBeUndefined();
      expect(await db.invitations.take("c", 99)).toBeDefined();
    });

    test("that are withdrawn are of no use, and stay in the list", async () => {
      const { id } = await db.invitations.create(invitation);
      expect(await db.invitations.withdraw(id, 20)).toBe(true);
      expect(await db.invitations.withdraw(id, 21)).toBe(false);
      expect(await db.invitations.take("c", 50)).toBeUndefined();
      expect(await db.invitations.list()).toMatchObject([{ id, usedAt: null, withdrawnAt: 20 }]);
    });
  });

  test("tokens keep their scopes and are revoked once", async () => {
    const scopes = [{ folder: null, access: "read" }] as const;
    const made = await db.tokens.create(token({ hash: "h", scopes }));
    expect(made).toMatchObject({ scopes, revokedAt: null, lastUsedAt: null });
    await db.tokens.used(made.id, 9);
    expect(await db.tokens.revoke(made.id, 10)).toBe(true);
    expect(await db.tokens.revoke(made.id, 11)).toBe(false);
    expect(await db.tokens.byHash("h")).toEqual({ ...made, lastUsedAt: 9, revokedAt: 10 });
    expect(await db.tokens.list("somebody else")).toEqual([]);
    expect(await db.tokens.list()).toHaveLength(1);
  });

  test("tokens that have ended are forgotten, of that user and kind, but for the newest", async () => {
    const made = ({ hash, ...more }: { hash: string } & Partial<Parameters<Database["tokens"]["create"]>[0]>) =>
      db.tokens.create({ ...token({ hash }), ...more });
    for (let i = 0; i < 5; i++) {
      const { id } = await made({ hash: `revoked${i}`, createdAt: i });
      await db.tokens.revoke(id, 10);
    }
    await made({ hash: "expired", createdAt: 7, expiresAt: 20 });
    await made({ hash: "good", createdAt: 0, expiresAt: 21 });
    await made({ hash: "endless", createdAt: 0 });
    const other = await made({ hash: "other user", userId: "v" });
    await db.tokens.revoke(other.id, 10);
    const session = await made({ hash: "session", kind: "session" });
    await db.tokens.revoke(session.id, 10);
    const { userId } = session;
    await db.tokens.trim(userId, "api", 20, 2);
    const left = (await db.tokens.list()).map(({ hash }) => hash).sort();
    expect(left).toEqual(["endless", "expired", "good", "other user", "revoked4", "session"]);
    await db.tokens.trim(userId, "session", 20, 0);
    expect(await db.tokens.byHash("session")).toBeUndefined();
  });

  test("a deleted folder is not seen, comes back as it was, and is purged with all that is known of it", async () => {
    await db.folders.ensure("notes", 1000);
    await db.folders.ensure("art");
    const file = { kind: "file", size: 3, mode: 0o644, mtimeNs: 0n, target: null, sha256: "aa" } as const;
    await db.files.apply([{ do: "put", folder: "notes", path: "a", ...file }], 1);
    await db.files.apply([{ do: "retire", folder: "notes", path: "a", why: "replaced", ...file }], 2);
    await db.files.apply([{ do: "put", folder: "art", path: "b", ...file }], 3);
    await db.grants.set({ subject: "device", subjectId: "d", folder: "notes", access: "write" });
    await db.events.append([{ type: "file.stored", folder: "notes", data: {} }]);
    const transfer = {
      device: null,
      path: "a",
      bytes: 3,
      startedAt: 1,
      endedAt: 2,
      outcome: "stored",
      code: null,
    } as const;
    await db.transfers.add([{ folder: "notes", ...transfer }]);
    const open = { codeHash: "open", folder: "notes", access: "write", createdAt: 1, expiresAt: 100 } as const;
    await db.invitations.create(open);
    const before = await db.folders.byName("notes");

    expect(await db.folders.delete("missing", 5, 9)).toBe(false);
    expect(await db.folders.undelete("notes")).toBe(false);
    expect(await db.folders.purge("notes", 5)).toBe(false);
    expect(await db.folders.delete("notes", 5, 9)).toBe(true);
    expect(await db.folders.delete("notes", 6, 10)).toBe(false);
    expect(await db.folders.byName("notes")).toBeUndefined();
    expect((await db.folders.list()).map(({ name }) => name)).toEqual(["art"]);
    expect(await db.folders.deleted()).toEqual([{ ...before, deletedAt: 5, purgeAt: 9 }]);
    expect(await db.folders.ensure("notes")).toMatchObject({ deletedAt: 5 });
    expect(await db.folders.undelete("notes")).toBe(true);
    expect(await db.folders.byName("notes")).toEqual(before);

    await db.folders.delete("notes", 5, 9);
    expect(await db.folders.purge("notes", 9)).toBe(true);
    expect(await db.folders.deleted()).toEqual([]);
    expect(await db.files.byPath("notes", "a")).toBeUndefined();
    expect(await db.versions.list("notes", undefined, { limit: 10 })).toEqual([]);
    expect(await db.grants.of("device", "d")).toEqual([]);
    expect(await db.transfers.list({ limit: 10 })).toEqual([]);
    expect((await db.events.since(0, 10)).events).toEqual([]);
    expect(await db.invitations.take("open", 50)).toBeUndefined();
    expect(await db.files.byPath("art", "b")).toBeDefined();
    expect(await db.folders.ensure("notes")).toMatchObject({ files: 0, deletedAt: null });
  });

  test("the audit log shows what deceives", async () => {
    const entry = { action: "file.put", outcome: "ok", address: null } as const;
    await db.audit.add({ ...entry, actor: "user:ada", target: "art/evil\u202egpj.exe", detail: "a\nb" });
    await db.audit.add({ ...entry, actor: "device:\u200bada", target: "photos/Ω ü 日本.txt", detail: null });
    expect(await db.audit.list({ limit: 2 })).toMatchObject([
      { actor: '"device:\\u200bada"', target: "photos/Ω ü 日本.txt", detail: null },
      { actor: "user:ada", target: '"art/evil\\u202egpj.exe"', detail: '"a\\nb"' },
    ]);
  });

  test("folders are made once; a quota stays until it is changed", async () => {
    const made = await db.folders.ensure("notes", 1000);
    expect(made).toEqual({
      name: "notes",
      createdAt: time,
      quotaBytes: 1000,
      storageLimitBytes: null,
      maxEntries: null,
      entries: 0,
      versions: 0,
      files: 0,
      bytes: 0,
      versionBytes: 0,
      changedAt: null,
      rootHash: null,
      heldAt: null,
      deletedAt: null,
      purgeAt: null,
    });
    expect(await db.folders.ensure("notes")).toEqual(made);
    await db.folders.setLimits("notes", { quotaBytes: null, maxEntries: 9 });
    await db.folders.settled("notes", "abc", 5);
    await db.folders.hold("notes", 7);
    expect(await db.folders.byName("notes")).toMatchObject({
      quotaBytes: null,
      maxEntries: 9,
      rootHash: "abc",
      heldAt: 7,
    });
    await db.folders.hold("notes", null);
    expect(await db.folders.byName("notes")).toMatchObject({ heldAt: null });
    expect(await db.folders.byName("none")).toBeUndefined();
    expect((await db.folders.list()).map(({ name }) => name)).toEqual(["notes"]);
  });

  describe("files", () => {
    test("are put, replaced and removed, and the folder's sums follow", async () => {
      await db.files.apply([directory("docs"), file("docs/a", "one"), file("b", "two!")], 1);
      expect(await db.files.byPath("f", "docs/a")).toEqual(record("docs/a", "one", { version: 1, storedAt: 1 }));
      expect(await db.folders.byName("f")).toMatchObject({ files: 2, bytes: 7, changedAt: 1 });
      await db.files.apply([file("b", "three"), { do: "remove", folder: "f", path: "docs/a" }], 2);
      expect(await db.files.byPath("f", "docs/a")).toBeUndefined();
      expect(await db.files.byPath("f", "b")).toMatchObject({ size: 5, version: 2, storedAt: 2 });
      expect(await db.folders.byName("f")).toMatchObject({ files: 1, bytes: 5, changedAt: 2 });
    });

    test("of which only time or mode change become a version that takes no room", async () => {
      await db.files.apply([file("a", "one")], 1);
      await db.files.apply([{ ...file("a", "one"), mode: 0o755, mtimeNs: 99n }], 2);
      await db.files.apply([{ ...file("a", "one"), mode: 0o755, mtimeNs: 99n }], 3);
      expect(await db.files.byPath("f", "a")).toMatchObject({ mode: 0o755, mtimeNs: 99n, version: 2, storedAt: 2 });
      const versions = await db.versions.list("f", "a", { limit: 10 });
      expect(versions).toMatchObject([{ version: 1, why: "changed", mode: 0o644, storedAt: 1, endedAt: 2 }]);
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 0, versions: 1 });
      await db.versions.remove("f", versions);
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 0, versions: 0 });
    });

    test("that are moved are found by the name that they got", async () => {
      await db.files.apply([file("a", "one")], 1);
      await db.files.apply([{ do: "move", folder: "f", from: "a", path: "b" }], 2);
      await db.files.apply([{ do: "move", folder: "f", from: "b", path: "c" }], 3);
      expect(await db.versions.movedTo("f", "c", 9)).toMatchObject({
        path: "b",
        why: "moved",
        movedTo: "c",
        endedAt: 3,
      });
      expect(await db.versions.movedTo("f", "b", 9)).toMatchObject({ path: "a", why: "moved", endedAt: 2 });
      expect(await db.versions.movedTo("f", "b", 1)).toBeUndefined();
      expect(await db.versions.movedTo("f", "a", 9)).toBeUndefined();
    });

    test("of folders: their times and permissions then are known, and not listed", async () => {
      const folder = { ...directory("d"), mtimeNs: 7n, mode: 0o700 } as const;
      await db.files.apply([folder], 1);
      await db.files.apply([{ ...folder, mtimeNs: 8n, mode: 0o755 }], 2);
      expect(await db.versions.list("f", "", { limit: 10 })).toEqual([]);
      expect(await db.versions.at("f", "d", 1)).toMatchObject({ mtimeNs: 7n, mode: 0o700 });
      expect(await db.versions.at("f", "d", 2)).toMatchObject({ mtimeNs: 8n, mode: 0o755 });
    });

    test("keep nanoseconds, also before 1970", async () => {
      const times = [1_700_000_000_123_456_789n, -1n, 0n];
      await db.files.apply(
        times.map((mtimeNs, at) => ({ ...file(`t${at}`, "x"), mtimeNs })),
        1,
      );
      const found = [];
      for await (const { mtimeNs } of db.files.all("f")) found.push(mtimeNs);
      expect(found).toEqual(times);
    });

    test("are listed a folder at a time and a page at a time, in the order of their bytes", async () => {
      const names = ["Z", "a", "a b", "a-b", "ä", "ß", "\u{1f4c1}"];
      await db.files.apply(
        [directory("d"), ...names.map((name) => file(`d/${name}`, "x")), file("d2", "x"), file("d/a-b.x/y", "x")],
        1,
      );
      const first = await db.files.list("f", "d", { limit: 3 });
      const rest = await db.files.list("f", "d", { limit: 100, after: first.at(-1)?.path as string });
      const bytes = (path: string): string => Buffer.from(path).toString("hex");
      const sorted = names.map((name) => `d/${name}`).sort((a, b) => (bytes(a) < bytes(b) ? -1 : 1));
      expect([...first, ...rest].map(({ path }) => path)).toEqual(sorted);
      expect((await db.files.list("f", "", { limit: 100 })).map(({ path }) => path)).toEqual(["d", "d2"]);
      expect((await db.files.holding(hash("x"))).length).toBe(9);
    });

    test("have names of any bytes", async () => {
      const names = ["a\udcff", "a\udc80b", "\u{1f4c1}\udce4", "a\ufffd"];
      await db.files.apply([directory("\udc81"), ...names.map((name) => file(`\udc81/${name}`, "x"))], 1);
      const found = (await db.files.list("f", "\udc81", { limit: 9 })).map(({ path }) => path);
      expect(found.sort()).toEqual(names.map((name) => `\udc81/${name}`).sort());
      expect(await db.files.byPath("f", "\udc81/a\udcff")).toMatchObject({ path: "\udc81/a\udcff" });
    });

    test("by the thousand, in one call and in one list", async () => {
      const many = Array.from({ length: 2345 }, (_, at) => file(`n${String(at).padStart(5, "0")}`, "x"));
      await db.files.apply(many, 1);
      const found: string[] = [];
      for await (const { path } of db.files.all("f")) found.push(path);
      expect(found).toEqual(many.map(({ path }) => path));
      expect(await db.folders.byName("f")).toMatchObject({ files: 2345 });
    });

    test("that move leave versions, with whole trees", async () => {
      await db.files.apply([directory("old"), file("old/a", "one"), file("old/sub/b", "two"), file("old0", "x")], 1);
      await db.files.apply([{ do: "move", folder: "f", from: "old", path: "new" }], 2);
      const found: string[] = [];
      for await (const { path } of db.files.all("f")) found.push(path);
      expect(found).toEqual(["new", "new/a", "new/sub/b", "old0"]);
      expect(await db.files.list("f", "new/sub", { limit: 5 })).toHaveLength(1);
      expect(await db.folders.byName("f")).toMatchObject({ files: 3, bytes: 7 });
      expect(await pathsAt(db, 1)).toEqual(["old", "old/a", "old/sub/b", "old0"]);
      expect(await pathsAt(db, 2)).toEqual(["new", "new/a", "new/sub/b", "old0"]);
    });

    test("are marked while they are in the middle of something", async () => {
      await db.files.markUnclean("f");
      await db.files.markUnclean("g");
      await db.files.markClean("f");
      expect(await db.files.unclean()).toEqual(["g"]);
    });
  });

  describe("versions", () => {
    beforeEach(async () => {
      await db.files.apply([file("a", "one")], 10);
      await db.files.apply([retire("a", "one", "replaced"), file("a", "two!")], 20);
      await db.files.apply([retire("a", "two!", "deleted"), { do: "remove", folder: "f", path: "a" }], 30);
      await db.files.apply([file("a", "one")], 40);
    });

    test("are numbered and dated", async () => {
      expect(await db.versions.list("f", "a", { limit: 10 })).toEqual([
        { ...record("a", "two!", { version: 2, storedAt: 20 }), endedAt: 30, why: "deleted", movedTo: null, number: 2 },
        { ...record("a", "one", { version: 1, storedAt: 10 }), endedAt: 20, why: "replaced", movedTo: null, number: 1 },
      ]);
      expect(await db.files.byPath("f", "a")).toMatchObject({ version: 3, storedAt: 40 });
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 7 });
    });

    test("are thinned: of each path the last in each interval stands for those before it", async () => {
      // By the time that the home has seen, which is little yet.
      const elapsed = db.elapsed();
      const rule = { everyMs: 2 ** 50, olderMs: 0 };
      expect(await db.versions.thin("f", { ...rule, olderMs: elapsed + 1e9 })).toEqual({ versions: [], done: true });
      await db.files.apply([retire("a", "one", "replaced"), file("a", "four")], 50);
      await db.files.apply([retire("a", "four", "replaced"), file("a", "five")], 60);
      await db.files.apply([file("b", "x"), { do: "move", folder: "f", from: "b", path: "c" }, file("b", "y")], 70);
      await db.files.apply([retire("b", "y", "deleted"), { do: "remove", folder: "f", path: "b" }], 80);
      const first = await db.versions.thin("f", rule);
      expect([first.done, first.versions.map(({ path, version }) => `${path} ${version}`)]).toEqual([
        false,
        ["a 1", "a 2", "a 3"],
      ]);
      await db.versions.remove("f", first.versions);
      expect(await db.versions.thin("f", rule)).toEqual({ versions: [], done: true });
      const left = await db.versions.list("f", "a", { limit: 10 });
      // From 40 on it was there without a break; before that it was deleted for a while.
      expect(left).toMatchObject([{ version: 4, storedAt: 40, endedAt: 60 }]);
      expect(await db.versions.at("f", "a", 45)).toMatchObject({ version: 4 });
      expect(await db.versions.at("f", "a", 35)).toBeUndefined();
      expect((await db.versions.list("f", "b", { limit: 10 })).map(({ why }) => why)).toEqual(["deleted", "moved"]);
      const other = { everyMs: 1, olderMs: 0 };
      expect(await db.versions.thin("f", other)).toEqual({ versions: [], done: true });
    });

    test("say what was at a time", async () => {
      const at = async (time: number) => (await db.versions.at("f", "a", time))?.version;
      expect(await Promise.all([9, 10, 19, 20, 29, 30, 39, 40, 99].map(at))).toEqual([
        undefined,
        1,
        1,
        2,
        2,
        undefined,
        undefined,
        3,
        3,
      ]);
      expect(await pathsAt(db, 35)).toEqual([]);
      expect(await pathsAt(db, 25)).toEqual(["a"]);
    });

    test("are listed of a path, of what is below a folder, of all, newest first, a page at a time", async () => {
      await db.files.apply([file("d/x", "x"), file("d/y", "y"), file("d-z", "z")], 50);
      await db.files.apply(
        ["d/x", "d/y", "d-z"].flatMap((path): FileChange[] => [
          retire(path, path.slice(-1), "deleted"),
          { do: "remove", folder: "f", path },
        ]),
        60,
      );
      const paths = async (path: string | undefined) =>
        (await db.versions.list("f", path, { limit: 10 })).map((version) => version.path);
      expect(await paths("d/")).toEqual(["d/y", "d/x"]);
      expect(await paths(undefined)).toEqual(["d-z", "d/y", "d/x", "a", "a"]);
      const found: string[] = [];
      for (let after: string | undefined; ; ) {
        const page = await db.versions.list("f", "", { limit: 2, ...(after === undefined ? {} : { after }) });
        found.push(...page.map(({ path, version }) => `${path}:${version}`));
        const last = page.at(-1);
        if (last === undefined) break;
        after = versionCursor(last);
      }
      expect(found).toEqual(["d-z:1", "d/y:1", "d/x:1", "a:2", "a:1"]);
    });

    test("are pruned by age and by number; what content they needed is free then", async () => {
      expect(await db.versions.oldest("f", 10, time)).toEqual([]);
      expect((await db.versions.oldest("f", 10)).map(({ version }) => version)).toEqual([1, 2]);
      time += 50;
      expect((await db.versions.oldest("f", 1, time)).map(({ version }) => version)).toEqual([1]);
      expect(await db.versions.beyond("f", 1)).toMatchObject({ versions: [{ version: 1 }], done: false });
      expect(await db.versions.needed([hash("one"), hash("three")])).toEqual(new Set([hash("one")]));
      expect(await db.folders.byName("f")).toMatchObject({ versions: 2, entries: 1 });
      await db.versions.remove("f", [{ path: "a", version: 1 }]);
      expect(await db.versions.beyond("f", 1)).toEqual({ versions: [], done: true });
      expect(await db.versions.needed([hash("one"), hash("two!")])).toEqual(new Set([hash("two!")]));
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 4, versions: 1 });
      await db.versions.remove("f", [{ path: "a", version: 1 }]);
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 4, versions: 1, entries: 1 });
    });

    test("of one content count once", async () => {
      await db.files.apply([retire("a", "one", "replaced"), file("a", "two!")], 50);
      await db.files.apply([file("b", "one")], 50);
      await db.files.apply([retire("b", "one", "deleted"), { do: "remove", folder: "f", path: "b" }], 60);
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 7, bytes: 4 });
      await db.versions.remove("f", [{ path: "a", version: 1 }]);
      expect(await db.folders.byName("f")).toMatchObject({ versionBytes: 7 });
    });

    test("of a path that changes faster than it is told follow each other", async () => {
      await db.files.apply([file("q", "1")], 50);
      await db.files.apply([retire("q", "1", "replaced"), { ...retire("q", "22", "replaced"), at: 61 }], 60);
      await db.files.apply([file("q", "22"), file("q", "333")], 62);
      const times = (await db.versions.list("f", "q", { limit: 5 })).map(({ storedAt, endedAt }) => [
        storedAt,
        endedAt,
      ]);
      expect(times).toEqual([
        [60, 61],
        [50, 60],
      ]);
    });

    test("can be added by hand", async () => {
      const { version: _, ...entry } = record("h", "hi", { version: 1, storedAt: 3 });
      await db.versions.add({ ...entry, endedAt: 5, why: "deleted" });
      expect(await db.versions.list("f", "h", { limit: 1 })).toEqual([
        { ...entry, version: 1, endedAt: 5, why: "deleted", movedTo: null, number: 3 },
      ]);
    });
  });

  test("transfers and the audit log are listed newest first, a page at a time", async () => {
    const transfer = {
      device: "d",
      path: "a",
      bytes: 3,
      startedAt: 1,
      endedAt: 2,
      outcome: "stored",
      code: null,
    } as const;
    await db.transfers.add(["f", "g", "f"].map((folder) => ({ ...transfer, folder })));
    const [newest, ...older] = await db.transfers.list({ limit: 10, folder: "f" });
    expect(newest).toEqual({ ...transfer, folder: "f", id: newest?.id });
    expect(await db.transfers.list({ limit: 10, folder: "f", after: newest?.id as string })).toEqual(older);

    const entry = {
      actor: "local",
      action: "login",
      target: null,
      outcome: "ok",
      address: null,
      detail: null,
    } as const;
    await db.audit.add(entry);
    await db.audit.add({ ...entry, outcome: "refused" });
    const [last] = await db.audit.list({ limit: 1 });
    expect(last).toEqual({ ...entry, outcome: "refused", at: time, id: last?.id });
    expect(await db.audit.list({ limit: 5, after: String(last?.id) })).toMatchObject([{ outcome: "ok" }]);
  });

  describe("events", () => {
    const event = (type: string) => ({ type, folder: "f", data: { n: [1, null, "ü\0"] } });

    test("are numbered, and read from a number on", async () => {
      expect(await db.events.last()).toBe(0);
      await db.events.append([event("a"), event("b")]);
      await db.events.append([event("c")]);
      const { events, gone } = await db.events.since(0, 10);
      expect(gone).toBe(false);
      expect(events.map(({ type }) => type)).toEqual(["a", "b", "c"]);
      expect(events[0]).toEqual({ ...event("a"), id: events[0]?.id, at: time });
      expect(await db.events.last()).toBe(events[2]?.id);
      expect((await db.events.since(events[0]?.id as number, 1)).events).toEqual([events[1]]);
    });

    test("are heard from now on, each once and in order, also those of another process", async () => {
      const second = await open();
      await db.events.append([event("before")]);
      const heard: LoggedEvent[] = [];
      const subscription = db.events.live$.subscribe((one) => heard.push(one));
      await db.events.append([event("a")]);
      await second.events.append([event("b"), event("c")]);
      await until(() => heard.length >= 3);
      expect(heard.map(({ type }) => type)).toEqual(["a", "b", "c"]);
      const all = (await db.events.since(0, 10)).events;
      expect(heard).toEqual(all.slice(1));
      subscription.unsubscribe();
      await db.events.append([event("d")]);
      expect(heard).toHaveLength(3);
    });

    test("of many at once are seen in the order of their numbers by everybody", async () => {
      const second = await open();
      const heard: number[] = [];
      db.events.live$.subscribe(({ id }) => heard.push(id));
      // Of another process, all is heard that comes after what was heard.
      await db.events.append([event("first")]);
      await until(() => heard.length >= 1);
      await Promise.all(
        Array.from({ length: 60 }, (_, at) => (at % 2 === 0 ? db : second).events.append([event(String(at))])),
      );
      await until(() => heard.length >= 61);
      expect(heard).toEqual([...heard].sort((a, b) => a - b));
      expect(new Set(heard).size).toBe(61);
    });

    test("that are old are gone, and it is told", async () => {
      await db.events.append([event("a")]);
      const first = await db.events.last();
      const pruned = async () => {
        const later = await open();
        await later.prune();
        return later;
      };
      await pruned();
      time += 8 * 24 * 60 * 60 * 1000;
      await db.events.append([event("b")]);
      const later = await pruned();
      expect(await later.events.since(0, 10)).toMatchObject({ gone: true, events: [{ type: "b" }] });
      expect(await later.events.since(first, 10)).toMatchObject({ gone: false, events: [{ type: "b" }] });
      time += 8 * 24 * 60 * 60 * 1000;
      const last = await pruned();
      expect(await last.events.since(0, 10)).toEqual({ gone: true, events: [] });
      expect(await last.events.last()).toBe(await db.events.last());
    });
  });

  test("writes that fail leave nothing and disturb no other of the same transaction", async () => {
    const results = await Promise.allSettled(
      ["x", "y", "x", "z"].map((name) => db.users.create({ name, role: "user", passwordHash: "" })),
    );
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect((await db.users.list()).map(({ name }) => name)).toEqual(["x", "y", "z"]);
  });

  test("one of a newer version is refused, and left as it is", async () => {
    await db.close();
    const names = "select name from kysely_migration order by name";
    await here.sql("insert into kysely_migration (name, timestamp) values ('999-later', '2030-01-01T00:00:00.000Z')");
    const before = await here.sql(names);
    await expect(here.open()).rejects.toMatchObject({
      code: "ERR_DATABASE_NEWER",
      message: /999-later.*use that version/,
    });
    expect(await here.sql(names)).toEqual(before);
  });

  test("an interrupted change of the tables leaves the old state", async () => {
    const other = await place();
    await other.sql("create table events (mine integer)");
    await expect(other.open()).rejects.toMatchObject({ code: "ERR_DATABASE" });
    await expect(other.sql("select * from users")).rejects.toThrow(/users/);
    expect(await other.sql("select mine from events")).toEqual([]);
    await other.sql("drop table events");
    await (await other.open()).close();
    await other.close();
  });

  test("what was written is there when it is opened again", async () => {
    await db.files.apply([file("a", "one")], 1);
    await db.close();
    db = await open();
    expect(await db.files.byPath("f", "a")).toMatchObject({ size: 3 });
    await db.ping();
  });
});

/** One server for all tests, a database of its own for each. */
let server: Postgres | undefined;
let databasesMade = 0;
afterAll(() => server?.stop());

async function postgres(): Promise<Place> {
  server ??= await startPostgres();
  const url = await server.createDatabase(`test${databasesMade++}`);
  const sql = async (statement: string): Promise<unknown[]> => {
    const client = new pg.Client(url);
    await client.connect();
    return client
      .query(statement)
      .then(({ rows }) => rows)
      .finally(() => client.end());
  };
  return {
    open: (now = Date.now) => openDatabase({ url, now, uptime: { boot: "one", now } }),
    sql,
    close: async () => {},
  };
}

describe.runIf(hasPostgres())("PostgreSQL that goes away", () => {
  test("is reported at once and used again when it is back, and no event is missed", async () => {
    const own = await startPostgres();
    const said: (string | undefined)[] = [];
    const onAvailability = (problem: { readonly code: string } | undefined): unknown => said.push(problem?.code);
    const db = await openDatabase({ url: await own.createDatabase("gone"), onAvailability });
    try {
      const heard: string[] = [];
      db.events.live$.subscribe(({ type }) => heard.push(type));
      const event = (type: string) => [{ type, folder: null, data: null }];
      await db.events.append(event("before"));
      await until(() => heard.length === 1);
      await own.kill();
      // Without that anybody asks for anything.
      await until(() => said.length === 1);
      const away = expect.objectContaining({
        name: "DatabaseError",
        code: "ERR_DATABASE_UNAVAILABLE",
        retryable: true,
      });
      for (let round = 0; round < 3; round++) {
        await expect(db.ping()).rejects.toEqual(away);
        await expect(db.events.append(event("lost"))).rejects.toEqual(away);
        await expect(db.files.apply([file("a", "x")], 1)).rejects.toEqual(away);
      }
      await own.start();
      await db.ping();
      await db.files.apply([file("a", "x")], 1);
      await db.events.append(event("after"));
      await until(() => heard.length === 2);
      expect(heard).toEqual(["before", "after"]);
      expect(said).toEqual(["ERR_DATABASE_UNAVAILABLE", undefined]);
    } finally {
      await db.close();
      await own.stop();
    }
  });
});

test("SQLite: a full disk is told as what it is, by one write or by many, and there can be room again", async () => {
  const { database, dialect } = openSqlite(":memory:");
  const store = new Store(new Kysely({ dialect, plugins: [new CamelCasePlugin()] }), "sqlite", "here", Date.now);
  await migrate(store);
  const add = (value: string) =>
    store.write((db) =>
      db
        .insertInto("facts")
        .values({ name: value.slice(0, 9), value })
        .execute(),
    );
  const full = expect.objectContaining({ code: "ERR_DATABASE_UNAVAILABLE", message: expect.stringMatching(/full/) });
  const { page_count } = database.prepare("pragma page_count").get() as { page_count: number };
  database.exec(`pragma max_page_count = ${page_count + 2}`);
  await expect(add("1".repeat(100_000))).rejects.toEqual(full);
  await add("small");
  const results = await Promise.allSettled(["2", "3", "4"].map((digit) => add(digit.repeat(100_000))));
  expect(results).toEqual(results.map(() => ({ status: "rejected", reason: full })));
  database.exec(`pragma max_page_count = ${page_count + 1000}`);
  await add("1".repeat(100_000));
  const rows = await store.read((db) => db.selectFrom("facts").select("name").orderBy("name").execute());
  expect(rows).toEqual([{ name: "111111111" }, { name: "small" }]);
  await store.close();
});

test("SQLite: a new one is for its owner only; what is no database is refused", async () => {
  const dir = await mkdtemp(join(tmpdir(), "confundo-database-"));
  try {
    const path = join(dir, "letter.sqlite");
    await writeFile(path, "Dear database, ".repeat(100));
    await expect(openDatabase({ path })).rejects.toMatchObject({
      code: "ERR_DATABASE_DAMAGED",
      message: /letter.sqlite/,
    });
    await (await openDatabase({ path: join(dir, "new.sqlite") })).close();
    expect((await stat(join(dir, "new.sqlite"))).mode & 0o777).toBe(0o600);
    await expect(openDatabase({ path: dir })).rejects.toMatchObject({ code: "ERR_DATABASE_UNAVAILABLE" });
    await expect(openDatabase({ url: "mysql://x" })).rejects.toMatchObject({ code: "ERR_DATABASE" });
  } finally {
    await rm(dir, { recursive: true });
  }
});

async function sqlite(): Promise<Place> {
  const dir = await mkdtemp(join(tmpdir(), "confundo-database-"));
  return {
    sql: async (statement) => {
      const database = new DatabaseSync(join(dir, "database.sqlite"));
      try {
        return database.prepare(statement).all();
      } finally {
        database.close();
      }
    },
    open: (now = Date.now) => openDatabase({ path: join(dir, "database.sqlite"), now, uptime: { boot: "one", now } }),
    close: () => rm(dir, { recursive: true }),
  };
}

function hash(content: string): string {
  return Buffer.from(content.padEnd(32)).toString("hex");
}

function entry(path: string, content: string) {
  const kind = "file" as const;
  return {
    folder: "f",
    path,
    kind,
    size: content.length,
    mode: 0o644,
    mtimeNs: 5n,
    sha256: hash(content),
    target: null,
  };
}

function file(path: string, content: string): FileChange & { do: "put" } {
  return { do: "put", ...entry(path, content) };
}

function directory(path: string): FileChange & { do: "put" } {
  return { ...file(path, ""), kind: "directory", sha256: null };
}

function retire(path: string, content: string, why: "replaced" | "deleted"): FileChange {
  return { do: "retire", ...entry(path, content), why };
}

function record(path: string, content: string, more: { version: number; storedAt: number }) {
  return { ...entry(path, content), ...more };
}

function token(more: { hash: string; userId?: string; scopes?: readonly { folder: null; access: "read" }[] }) {
  return { kind: "api", name: "t", userId: "u", scopes: [], createdAt: 1, expiresAt: null, ...more } as const;
}

async function pathsAt(db: Database, time: number): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of db.versions.treeAt("f", time)) paths.push(path);
  return paths;
}
