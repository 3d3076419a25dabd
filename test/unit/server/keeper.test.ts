import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Upload } from "../../../src/server/http/mirrors.js";
import { type Database, DatabaseError, openDatabase } from "../../../src/server/index.js";
import { Desk } from "../../../src/server/versions/desk.js";
import { Keeper, type KeeperOptions } from "../../../src/server/versions/keeper.js";
import {
  contents,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

/** A home that keeps books, and a folder to mirror to it. */
async function rig(options: Partial<KeeperOptions> = {}) {
  const dir = options.dir ?? tempFolder();
  const database = options.database ?? (await openDatabase({ path: ":memory:" }));
  const errors: Error[] = [];
  const keeper = new Keeper({ onError: (error) => errors.push(error), lookMs: 0, ...options, dir, database });
  await keeper.start();
  await keeper.recovered();
  const home = testHome({ dir, keeper });
  keeper.guard((name, reason) => home.home.endSession(name, reason));
  onTestFinished(async () => {
    await home.home.close();
    await keeper.close();
    await database.close();
    expect(errors).toEqual([]);
  });
  const folder = tempFolder();
  const connect = () => home.connect();
  const mirrored = async (): Promise<void> => {
    await mirrorOnce(folder, connect);
    await keeper.settled();
  };
  return { ...home, connect, database, keeper, folder, mirrored, objects: () => objectsOf(dir) };
}

function objectsOf(dir: string): string[] {
  const objects = path.join(dir, ".confundo", "versions", "objects");
  if (!fs.existsSync(objects)) return [];
  return fs
    .readdirSync(objects, { recursive: true, encoding: "utf8" })
    .map((name) => path.join(objects, name))
    .filter((file) => fs.statSync(file).isFile())
    .map((file) => fs.readFileSync(file, "utf8").slice(0, 20))
    .sort();
}

async function rows(database: Database): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { path, kind, size, version } of database.files.all("m")) found[path] = `${kind} ${size} ${version}`;
  return found;
}

async function log(database: Database): Promise<string[]> {
  const versions = await database.versions.list("m", "", { limit: 100 });
  return versions.map(({ path, version, why, size }) => `${path} ${version} ${why} ${size}`).sort();
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("the books", () => {
  test("say what is in the folder, with hashes, transfers and events", async () => {
    const { folder, mirrored, database, at } = await rig();
    make(folder, { "d/f": { content: "12345", executable: true }, l: { link: "d/f" }, e: null });
    await mirrored();
    expect(await rows(database)).toEqual({ d: "directory 0 1", "d/f": "file 5 1", e: "directory 0 1", l: "link 3 1" });
    const file = await database.files.byPath("m", "d/f");
    const stats = fs.statSync(path.join(at(), "d/f"), { bigint: true });
    expect(file).toMatchObject({ mode: 0o755, mtimeNs: stats.mtimeNs, sha256: /^[0-9a-f]{64}$/ });
    expect(await database.folders.byName("m")).toMatchObject({ files: 2, bytes: 8 });
    expect(await database.transfers.list({ limit: 9 })).toMatchObject([{ path: "d/f", bytes: 5, outcome: "stored" }]);
    const types = new Set((await database.events.since(0, 100)).events.map(({ type }) => type));
    for (const type of ["session.opened", "file.stored", "folder.settled"]) expect(types).toContain(type);
  });

  test("say the root hash that both ends have agreed on last", async () => {
    const { folder, database, connect, keeper } = await rig();
    const rootHash = async (): Promise<string | null | undefined> => {
      await keeper.settled();
      return (await database.folders.byName("m"))?.rootHash;
    };
    make(folder, { f: "1" });
    const index = path.join(tempFolder(), "index");
    const { seen, subscription } = follow(folder, connect, { index });
    while (typeof (await rootHash()) !== "string") await pause();
    expect(await rootHash()).toBe(ofType(seen, "synced")[0]?.root);
    subscription.unsubscribe();
    make(folder, { f: "2" });
    await mirrorOnce(folder, connect, { index });
    // It is found equal at once, and nothing has to be looked at for that.
    const [again] = ofType(await mirrorOnce(folder, connect, { index }), "synced");
    expect(await rootHash()).toBe(again?.root);
    const { events } = await database.events.since(0, 100);
    expect(events.filter(({ type }) => type === "folder.agreed").at(-1)?.data).toMatchObject({ rootHash: again?.root });
  });

  test("a folder is unclean while it is written to", async () => {
    const { folder, database, connect, keeper } = await rig();
    make(folder, { f: "1" });
    const { events, subscription } = follow(folder, connect);
    await event(events, "synced");
    expect(await database.files.unclean()).toEqual(["m"]);
    subscription.unsubscribe();
    for (;;) {
      await keeper.settled();
      if ((await database.files.unclean()).length === 0) break;
      await pause();
    }
  });

  test("what goes is kept once, outside the folder", async () => {
    const { folder, mirrored, database, at, objects } = await rig();
    make(folder, { a: "first", b: "first", l: { link: "x" } });
    await mirrored();
    const inodes = ["a", "b"].map((name) => fs.statSync(path.join(at(), name)).ino);
    fs.rmSync(path.join(folder, "b"));
    fs.rmSync(path.join(folder, "l"));
    make(folder, { a: "second!", l: { link: "y" } });
    await mirrored();
    expect(await log(database)).toEqual(["a 1 replaced 5", "b 1 deleted 5", "l 1 replaced 1"]);
    expect(objects()).toEqual(["first"]);
    const [{ sha256 = "" } = {}] = await database.versions.list("m", "a", { limit: 1 });
    const kept = path.join(
      path.dirname(at()),
      ".confundo/versions/objects",
      String(sha256).slice(0, 2),
      String(sha256),
    );
    // No copy: it is one of the files themselves.
    expect(inodes).toContain(fs.statSync(kept).ino);
    expect(contents(at())).toEqual(contents(folder));
    expect(await database.folders.byName("m")).toMatchObject({ versionBytes: 5 });
  });

  test("a move keeps no content twice", async () => {
    const { folder, mirrored, database, objects } = await rig();
    const content = "moved ".repeat(500);
    make(folder, { "a/f": content });
    await mirrored();
    fs.renameSync(path.join(folder, "a"), path.join(folder, "b"));
    await mirrored();
    expect(objects()).toEqual([]);
    expect(Object.keys(await rows(database))).toEqual(["b", "b/f"]);
    expect(await log(database)).toContain("a/f 1 moved 3000");
  });
});

describe("restore", () => {
  test("undoes the encryption of a whole folder with one call, and holds it", async () => {
    const { folder, mirrored, database, keeper, at, connect } = await rig();
    make(folder, {
      "doc/a": "text a",
      "doc/b": { content: "text b", executable: true },
      c: "c",
      l: { link: "c" },
      e: null,
    });
    await mirrored();
    const before = contents(at());
    await pause();
    const then = Date.now();
    await pause();
    for (const name of ["doc/a", "doc/b", "c"]) {
      fs.writeFileSync(path.join(folder, `${name}.locked`), `encrypted ${name}`);
      fs.rmSync(path.join(folder, name));
    }
    fs.rmSync(path.join(folder, "l"));
    fs.rmdirSync(path.join(folder, "e"));
    make(folder, { README: "pay" });
    const { events, seen } = follow(folder, connect, { allowMassDelete: true });
    await event(events, "synced");
    expect(contents(at())).not.toEqual(before);

    const restored = await keeper.restore({ folder: "m", path: "", at: then });
    expect(restored).toMatchObject({ files: 4, removed: 4, unchanged: 0 });
    expect(contents(at())).toEqual(before);
    expect(await rows(database)).toMatchObject({ "doc/a": "file 6 2", c: "file 1 2" });
    expect(Object.keys(await rows(database)).sort()).toEqual(Object.keys(before).sort());

    // The client that did it is still there, and waits.
    await until(() => ofType(seen, "retrying").some(({ code }) => code === "ERR_FOLDER_HELD"));
    expect(contents(at())).toEqual(before);
    // What was undone can be brought back, too.
    expect(await log(database)).toContain("README 1 deleted 3");

    expect(await keeper.resume("m")).toBe(true);
    expect(await keeper.resume("m")).toBe(false);
    await until(() => fs.existsSync(path.join(at(), "README")));
  });

  test("of one file: the version before, a numbered one, or that of a time; each makes a version again", async () => {
    const { folder, mirrored, database, keeper, at } = await rig();
    const read = () => fs.readFileSync(path.join(at(), "f"), "utf8");
    for (const content of ["one", "two!", "three"]) {
      make(folder, { f: content });
      await mirrored();
      await pause();
    }
    await keeper.restore({ folder: "m", path: "f" });
    expect(read()).toBe("two!");
    await keeper.restore({ folder: "m", path: "f", version: 1 });
    expect(read()).toBe("one");
    const [, , second] = (await database.versions.list("m", "f", { limit: 9 })).reverse();
    await keeper.restore({ folder: "m", path: "f", at: second?.storedAt as number });
    expect(read()).toBe("three");
    expect(await log(database)).toEqual([
      "f 1 replaced 3",
      "f 2 replaced 4",
      "f 3 replaced 5",
      "f 4 replaced 4",
      "f 5 replaced 3",
    ]);
  });

  test("of a deleted file makes its folders, too", async () => {
    const { folder, mirrored, keeper, at } = await rig();
    make(folder, { "a/b/f": "deep", stays: "1" });
    await mirrored();
    fs.rmSync(path.join(folder, "a"), { recursive: true });
    await mirrored();
    await keeper.restore({ folder: "m", path: "a/b/f" });
    expect(fs.readFileSync(path.join(at(), "a/b/f"), "utf8")).toBe("deep");
  });

  test("elsewhere leaves the mirror alone and replaces nothing", async () => {
    const { folder, mirrored, keeper, at, database } = await rig();
    make(folder, { "d/f": "old", "d/g": "same" });
    await mirrored();
    const then = Date.now();
    await pause();
    make(folder, { "d/f": "new!" });
    await mirrored();
    const to = tempFolder();
    await keeper.restore({ folder: "m", path: "d", at: then, to });
    expect(fs.readFileSync(path.join(to, "d/f"), "utf8")).toBe("old");
    expect(fs.readFileSync(path.join(to, "d/g"), "utf8")).toBe("same");
    expect(fs.readdirSync(to)).toEqual(["d"]);
    expect(fs.readFileSync(path.join(at(), "d/f"), "utf8")).toBe("new!");
    expect(await database.folders.byName("m")).toMatchObject({ heldAt: null });
    await expect(keeper.restore({ folder: "m", path: "d/f", to })).resolves.toMatchObject({ files: 1 });
    await expect(keeper.restore({ folder: "m", path: "d/f", to })).rejects.toMatchObject({
      code: "ERR_RESTORE_EXISTS",
    });
  });

  test("swaps two files back, each of which has the other's content now", async () => {
    const { folder, mirrored, keeper, at } = await rig();
    make(folder, { a: "aaa", b: "bbbb" });
    await mirrored();
    const then = Date.now();
    await pause();
    make(folder, { a: "bbbb", b: "aaa" });
    await mirrored();
    await keeper.restore({ folder: "m", path: "", at: then });
    expect(fs.readFileSync(path.join(at(), "a"), "utf8")).toBe("aaa");
    expect(fs.readFileSync(path.join(at(), "b"), "utf8")).toBe("bbbb");
  });

  test("that cannot be done says why and changes nothing", async () => {
    const { folder, mirrored, keeper, database, at, dir } = await rig();
    make(folder, { f: "one", "d/g": "1" });
    await mirrored();
    make(folder, { f: "two" });
    await mirrored();
    const refused = (request: object, code: string) =>
      expect(keeper.restore({ folder: "m", path: "f", ...request })).rejects.toMatchObject({ code });
    await refused({ folder: "none" }, "ERR_NO_FOLDER");
    await refused({ version: 9 }, "ERR_NO_VERSION");
    await refused({ path: "never" }, "ERR_NO_VERSION");
    await refused({ path: "" }, "ERR_TIME");
    await refused({ at: 5 }, "ERR_NO_VERSION");
    // Somebody has written into what is kept.
    for (const name of fs.readdirSync(path.join(dir, ".confundo/versions/objects"), {
      recursive: true,
      encoding: "utf8",
    })) {
      const file = path.join(dir, ".confundo/versions/objects", name);
      if (fs.statSync(file).isFile()) fs.writeFileSync(file, "eno");
    }
    await refused({}, "ERR_VERSION_DAMAGED");
    expect(fs.readFileSync(path.join(at(), "f"), "utf8")).toBe("two");
    expect(await database.folders.byName("m")).toMatchObject({ heldAt: null });
  });
});

describe("pruning", () => {
  test("by number keeps the newest, and deletes content that none needs", async () => {
    const { folder, mirrored, keeper, database, objects } = await rig({ keep: { versions: 1 } });
    for (const content of ["one", "two!", "three"]) {
      make(folder, { f: content });
      await mirrored();
    }
    await keeper.prune();
    expect(await log(database)).toEqual(["f 2 replaced 4"]);
    expect(objects()).toEqual(["two!"]);
  });

  test("by age", async () => {
    const { folder, mirrored, keeper, database, objects } = await rig({ keep: { days: 0 } });
    make(folder, { f: "one" });
    await mirrored();
    make(folder, { f: "two!" });
    await mirrored();
    await pause();
    await keeper.prune();
    expect(await log(database)).toEqual([]);
    expect(objects()).toEqual([]);
    expect(await database.folders.byName("m")).toMatchObject({ versionBytes: 0 });
  });
});

test("what is restored grants no more than its source did", async () => {
  const { folder, mirrored, keeper, at, database } = await rig();
  const modes = { secret: 0o600, tool: 0o700, team: 0o640, shared: 0o644, large: 0o600 };
  for (const [name, mode] of Object.entries(modes)) {
    fs.writeFileSync(path.join(folder, name), name === "large" ? Buffer.alloc(300_000, 1) : name, { mode });
  }
  fs.mkdirSync(path.join(folder, "d"), { mode: 0o750 });
  fs.writeFileSync(path.join(folder, "d/f"), "f", { mode: 0o600 });
  await mirrored();
  const then = Date.now();
  await pause();
  for (const name of Object.keys(modes)) fs.writeFileSync(path.join(folder, name), "encrypted");
  fs.rmSync(path.join(folder, "d"), { recursive: true });
  await mirrored();
  const expected = { ...modes, d: 0o750, "d/f": 0o600 };
  const found = (root: string) =>
    Object.fromEntries(Object.keys(expected).map((name) => [name, fs.statSync(path.join(root, name)).mode & 0o777]));
  const to = path.join(tempFolder(), "rescued");
  await keeper.restore({ folder: "m", path: "", at: then, to });
  expect(found(to)).toEqual(expected);
  await keeper.restore({ folder: "m", path: "", at: then });
  expect(found(at())).toEqual(expected);
  for await (const { path: name, mode } of database.files.all("m")) {
    expect([name, mode]).toEqual([name, expected[name as keyof typeof expected]]);
  }
  await keeper.reindex("m", true);
  await keeper.restore({ folder: "m", path: "secret", to: tempFolder() });
});

describe("quotas", () => {
  test("what does not fit fails alone, and what was there stays; room that is made can be used", async () => {
    const { folder, mirrored, at, database } = await rig({ quotaBytes: 10 });
    make(folder, { a: "12345", b: "123" });
    await mirrored();
    make(folder, { a: "123456", c: "4", d: "x".repeat(20) });
    await expect(mirrored()).rejects.toMatchObject({ failures: [{ path: "d", code: "ERR_QUOTA" }] });
    expect(Object.keys(contents(at()))).not.toContain("d");
    fs.rmSync(path.join(folder, "b"));
    make(folder, { a: "1", d: "12345678" });
    await mirrored();
    expect(contents(at())).toEqual(contents(folder));
    expect(await database.folders.byName("m")).toMatchObject({ bytes: 10 });
    expect(await database.transfers.list({ limit: 99 })).toContainEqual(
      expect.objectContaining({ path: "d", outcome: "failed", code: "ERR_QUOTA" }),
    );
  });

  test("a folder's own counts before that of all", async () => {
    const { folder, mirrored, database } = await rig({ quotaBytes: 1 });
    await database.folders.ensure("m", 100);
    make(folder, { a: "12345" });
    await mirrored();
  });
});

describe("reindexing", () => {
  test("finds what was changed by hand, whatever its time says", async () => {
    const { folder, mirrored, keeper, database, at } = await rig();
    make(folder, { a: "12345", b: "1", c: "2", "d/e": "3" });
    await mirrored();
    const before = await database.files.byPath("m", "a");
    const { atime, mtime } = fs.statSync(path.join(at(), "a"));
    fs.writeFileSync(path.join(at(), "a"), "54321");
    fs.utimesSync(path.join(at(), "a"), atime, mtime);
    fs.rmSync(path.join(at(), "d"), { recursive: true });
    fs.writeFileSync(path.join(at(), "new"), "new");
    expect(await keeper.reindex("m", true)).toEqual({ files: 4, bytes: 10, added: 1, changed: 1, removed: 2 });
    expect(await rows(database)).toEqual({ a: "file 5 2", b: "file 1 1", c: "file 1 1", new: "file 3 1" });
    expect((await database.files.byPath("m", "a"))?.sha256).not.toBe(before?.sha256);
    expect(await keeper.reindex("m", true)).toMatchObject({ added: 0, changed: 0, removed: 0 });
    fs.appendFileSync(path.join(at(), "b"), "!");
    await keeper.look();
    expect(await database.files.byPath("m", "b")).toMatchObject({ size: 2 });
  });

  test("fills empty tables from the folder", async () => {
    const { folder, mirrored, keeper, database, dir } = await rig();
    make(folder, { a: "12345", "d/e": "3", l: { link: "a" } });
    await mirrored();
    const other = await openDatabase({ path: ":memory:" });
    const again = new Keeper({ dir, database: other });
    await again.reindex("m", false);
    const all = async (from: Database) => {
      const found = [];
      for await (const { storedAt: _, mtimeNs, ...row } of from.files.all("m")) {
        if (row.kind === "file") found.push({ ...row, time: mtimeNs / 1000n });
      }
      return found;
    };
    expect(await all(other)).toEqual(await all(database));
    await again.close();
    await other.close();
    await keeper.settled();
  });
});

describe("a crash", () => {
  /** The journal and incoming files as a killed program leaves them: of a process that is gone. */
  function orphan(dir: string): void {
    const incoming = path.join(dir, ".confundo/versions/incoming");
    const [run = ""] = fs.readdirSync(incoming);
    const dead = run.replace(/^\d+/, "999999999");
    const journal = path.join(incoming, run, "journal");
    fs.writeFileSync(journal, fs.readFileSync(journal, "utf8").replaceAll(run, dead));
    fs.appendFileSync(journal, '\n{"id":"77","run":');
    fs.renameSync(path.join(incoming, run), path.join(incoming, dead));
  }

  test("between what goes and the database loses no version, and leaves nothing behind", async () => {
    const first = await rig();
    make(first.folder, { f: "one", l: { link: "x" } });
    await first.mirrored();
    // A keeper that is killed: it never gets to write.
    const killed = new Keeper({ dir: first.dir, database: first.database });
    const retired = killed.content.retire(path.join(first.at(), "f"), {
      folder: "m",
      path: "f",
      why: "replaced",
      at: 5,
    });
    killed.content.retire(path.join(first.at(), "l"), { folder: "m", path: "l", why: "deleted", at: 6 });
    fs.rmSync(path.join(first.at(), "f"));
    fs.rmSync(path.join(first.at(), "l"));
    expect(retired.kind).toBe("file");
    const incoming = path.join(first.dir, ".confundo/versions/incoming");
    for (const run of fs.readdirSync(incoming)) {
      if (!fs.existsSync(path.join(incoming, run, "0"))) fs.rmSync(path.join(incoming, run), { recursive: true });
    }
    orphan(first.dir);
    const next = new Keeper({ dir: first.dir, database: first.database, lookMs: 0 });
    await next.start();
    await next.recovered();
    expect(await log(first.database)).toEqual(["f 1 replaced 3", "l 1 deleted 1"]);
    expect(first.objects()).toEqual(["one"]);
    expect(fs.readdirSync(incoming)).toEqual([]);
    await next.close();
  });

  test("in the middle of a session: the folder is looked through at the next start", async () => {
    const { dir, database, at, folder, mirrored } = await rig();
    make(folder, { f: "one" });
    await mirrored();
    await database.files.markUnclean("m");
    fs.writeFileSync(path.join(at(), "unknown"), "stored, and not written down");
    fs.renameSync(path.join(at(), "f"), path.join(at(), "moved"));
    const next = new Keeper({ dir, database, lookMs: 0 });
    await next.start();
    await next.recovered();
    expect(Object.keys(await rows(database))).toEqual(["moved", "unknown"]);
    // Its content is still to be had.
    expect(await log(database)).toEqual(["f 1 deleted 3"]);
    expect(await database.files.unclean()).toEqual([]);
    await next.close();
  });
});

describe("single files", () => {
  const upload = (content: string, more: Partial<Upload> = {}): Upload => ({
    folder: "m",
    path: "d/e/f",
    content: Readable.from([Buffer.from(content)]),
    size: content.length,
    sha256: null,
    expected: "anything",
    modifiedAt: 1_700_000_000_000,
    executable: false,
    actor: "user:ada",
    ...more,
  });

  async function read(desk: Desk, version?: number): Promise<string | undefined> {
    const file = await desk.open("m", "d/e/f", version);
    if (file === undefined) return undefined;
    const text = await file.handle.readFile("utf8");
    await file.handle.close();
    expect(file).toMatchObject({ size: text.length, sha256: createHash("sha256").update(text).digest("hex") });
    return text;
  }

  test("are put in place with their folders, replaced, read in any version, and removed", async () => {
    const { keeper, database, at, dir } = await rig();
    const desk = new Desk(keeper);
    const first = await desk.place(upload("one"));
    expect(first).toMatchObject({ created: true, record: { path: "d/e/f", size: 3, version: 1, mode: 0o600 } });
    expect(fs.statSync(path.join(at(), "d/e/f")).mtimeMs).toBe(1_700_000_000_000);
    expect(await desk.place(upload("two!", { size: null }))).toMatchObject({ created: false, record: { version: 2 } });
    expect([await read(desk), await read(desk, 1), await read(desk, 2)]).toEqual(["two!", "one", "two!"]);
    expect(await read(desk, 3)).toBeUndefined();
    await desk.remove({ folder: "m", path: "d/e/f", expected: "present", actor: "user:ada" });
    expect([await read(desk), await read(desk, 2)]).toEqual([undefined, "two!"]);
    expect(await rows(database)).toEqual({ d: "directory 0 1", "d/e": "directory 0 1" });
    expect(fs.readdirSync(path.join(dir, ".confundo/uploads"))).toEqual([]);
    const { events } = await database.events.since(0, 100);
    expect(events.at(-1)).toMatchObject({ type: "file.deleted", data: { path: "d/e/f", by: "user:ada" } });
  });

  test("are refused where they are not what was expected, and nothing has changed", async () => {
    const { keeper, folder, connect } = await rig({ quotaBytes: 10 });
    const desk = new Desk(keeper);
    const refused = (more: Partial<Upload>, code: string, content = "two!") =>
      expect(desk.place(upload(content, more))).rejects.toMatchObject({ code });
    await refused({ expected: "present" }, "ERR_PRECONDITION");
    const { record } = await desk.place(upload("one", { expected: "absent" }));
    await refused({ expected: "absent" }, "ERR_PRECONDITION");
    await refused({ expected: ["0".repeat(64)] }, "ERR_PRECONDITION");
    await refused({ path: "../out" }, "ERR_UNSAFE_PATH");
    await refused({ folder: ".confundo" }, "ERR_MIRROR_NAME");
    await refused({ path: "d/e/f/g" }, "ERR_NOT_A_FOLDER");
    await refused({ size: 3 }, "ERR_CHECKSUM");
    await refused({ size: 5 }, "ERR_CHECKSUM");
    await refused({ sha256: record.sha256 }, "ERR_CHECKSUM");
    await refused({}, "ERR_QUOTA", "more than it may hold");
    await refused({ size: null }, "ERR_QUOTA", "more than it may hold");
    expect(await read(desk)).toBe("one");
    await desk.place(upload("two!", { expected: [record.sha256 as string] }));

    make(folder, { f: "1" });
    const { events } = follow(folder, connect, { delete: false });
    await event(events, "synced");
    await refused({}, "ERR_MIRROR_BUSY");
  });

  test("are refused, too, where a client has come while the content did", async () => {
    const { keeper, folder, connect, at } = await rig();
    make(folder, { f: "1" });
    const content = async function* () {
      yield Buffer.from("two");
      const { events } = follow(folder, connect);
      await event(events, "synced");
      yield Buffer.from("!");
    };
    const placed = new Desk(keeper).place(upload("two!", { content: content() }));
    await expect(placed).rejects.toMatchObject({ code: "ERR_MIRROR_BUSY" });
    expect(Object.keys(contents(at()))).toEqual(["f"]);
  });

  test("are not read through links that lead out of the mirror", async () => {
    const { keeper, at } = await rig();
    const desk = new Desk(keeper);
    await desk.place(upload("one", { path: "f" }));
    const outside = tempFolder();
    make(outside, { secret: "secret" });
    fs.symlinkSync(outside, path.join(at(), "dir"));
    fs.symlinkSync(path.join(outside, "secret"), path.join(at(), "link"));
    for (const name of ["dir/secret", "link", "../m/f", "dir", ""]) expect(await desk.open("m", name)).toBeUndefined();
    await expect(desk.place(upload("x", { path: "dir/new" }))).rejects.toMatchObject({ code: "ERR_NOT_A_FOLDER" });
    expect(fs.readdirSync(outside)).toEqual(["secret"]);
  });
});

describe("a database that goes away", () => {
  /** Every call fails while it is away, as one of a PostgreSQL that was stopped does. */
  function fragile(database: Database) {
    const state = { away: false };
    const guard = <T extends object>(target: T): T =>
      new Proxy(target, {
        get: (inner, name) => {
          const value: unknown = Reflect.get(inner, name);
          // An iteration fails when it is begun.
          if (typeof value === "function" && name !== "all") {
            return async (...args: unknown[]) => {
              if (state.away) throw new DatabaseError("ERR_DATABASE_UNAVAILABLE", "it is away");
              return (value as (...args: unknown[]) => unknown).apply(inner, args);
            };
          }
          return value;
        },
      });
    const { folders, files, events, transfers } = database;
    const guarded = {
      folders: guard(folders),
      files: guard(files),
      events: guard(events),
      transfers: guard(transfers),
    };
    return { state, database: { ...database, ...guarded } };
  }

  test("stops nobody who is there already, lets newcomers wait, and has everything when it is back", async () => {
    const inner = await openDatabase({ path: ":memory:" });
    const { state, database } = fragile(inner);
    const { folder, connect, keeper, at } = await rig({ database });
    make(folder, { a: "one", b: "1" });
    const { events } = follow(folder, connect);
    await event(events, "synced");
    await keeper.settled();

    state.away = true;
    make(folder, { a: "two!", c: "new" });
    fs.rmSync(path.join(folder, "b"));
    await until(() => !fs.existsSync(path.join(at(), "b")) && fs.readFileSync(path.join(at(), "a"), "utf8") === "two!");
    await until(() => fs.existsSync(path.join(at(), "c")));
    const other = follow(tempFolder(), connect, { name: "other" });
    const retrying = await event(other.events, "retrying");
    expect(retrying.code).toBe("ERR_DATABASE_UNAVAILABLE");

    state.away = false;
    await event(other.events, "synced");
    await keeper.settled();
    expect(await rows(inner)).toEqual({ a: "file 4 2", c: "file 3 1" });
    expect(await log(inner)).toEqual(["a 1 replaced 3", "b 1 deleted 1"]);
  });
});
