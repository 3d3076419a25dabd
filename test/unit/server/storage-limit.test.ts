import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Database, openDatabase } from "../../../src/server/index.js";
import { Desk } from "../../../src/server/versions/desk.js";
import { Keeper, type KeeperOptions } from "../../../src/server/versions/keeper.js";
import { ENTRY_COST_BYTES } from "../../../src/server/versions/limits.js";
import { limitsOf } from "../../../src/server/versions/quota.js";
import type { Message } from "../../../src/sync/index.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { make, mirrorOnce, tempFolder, testHome, until } from "../../support/sync-rig.js";

const KIB = 1024;

async function rig(options: Partial<KeeperOptions> = {}) {
  const dir = tempFolder();
  const database = await openDatabase({ path: ":memory:" });
  const errors: Error[] = [];
  const keeper = new Keeper({ onError: (error) => errors.push(error), lookMs: 0, ...options, dir, database });
  await keeper.start();
  await keeper.recovered();
  const home = testHome({ dir, keeper });
  onTestFinished(async () => {
    await home.home.close();
    await keeper.close();
    await database.close();
    expect(errors).toEqual([]);
  });
  const folder = tempFolder();
  const mirrored = async (): Promise<void> => {
    await mirrorOnce(folder, () => home.connect());
    await keeper.settled();
  };
  /** A session that may say whatever it likes. */
  const session = async () => {
    const duplex = home.connect();
    const client = rawClient(duplex);
    client.say(hello());
    await client.hear("welcome");
    let id = 0;
    /** Resolves to the code of each step that failed, or "done". */
    const steps = async (...messages: Omit<Message, "id">[]): Promise<string[]> => {
      const ids = messages.map(() => ++id);
      client.say(...messages.map((message, i) => ({ ...message, id: ids[i] }) as Message));
      return Promise.all(ids.map((one) => answer(client, one)));
    };
    const leave = async (): Promise<void> => {
      duplex.destroy();
      await until(() => home.home.sessions === 0);
    };
    return { ...client, steps, leave, nextId: () => ++id };
  };
  return { ...home, database, keeper, folder, mirrored, session };
}

async function answer(client: ReturnType<typeof rawClient>, id: number): Promise<string> {
  const find = () =>
    client.heard.find((one) => (one.type === "fail" && one.id === id) || (one.type === "done" && one.ids.includes(id)));
  await until(() => find() !== undefined);
  const found = find();
  return found?.type === "fail" ? found.code : "done";
}

/** What all that is kept of the mirrors takes on the disk. */
function onDisk(dir: string): number {
  const files = fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const inodes = new Map(
    files
      .map((entry) => path.join(entry.parentPath, entry.name))
      .filter((file) => !/journal$|\/(hashes|chunks)\//.test(file))
      .map((file) => fs.statSync(file))
      .map((stats) => [stats.ino, stats.size]),
  );
  return [...inodes.values()].reduce((sum, size) => sum + size, 0);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

const usage = async (database: Database) => database.folders.byName("m");

const mkdir = (name: string) => ({ type: "mkdir", path: name }) as Omit<Message, "id">;

describe("the storage limit", () => {
  test("a folder's own limits count before the server's, and its quota before the server's storage limit", () => {
    const none = { quotaBytes: null, storageLimitBytes: null, maxEntries: null };
    const MIB = 1024 * KIB;
    expect(limitsOf(none, {})).toEqual({ quotaBytes: null, storageBytes: null, entries: null });
    expect(limitsOf(none, { quotaBytes: 10 * MIB })).toMatchObject({ storageBytes: 30 * MIB });
    expect(limitsOf(none, { quotaBytes: 10 })).toMatchObject({ storageBytes: MIB });
    const server = { quotaBytes: 10 * MIB, storageLimitBytes: 15 * MIB, maxEntries: 7 };
    expect(limitsOf(none, server)).toEqual({ quotaBytes: 10 * MIB, storageBytes: 15 * MIB, entries: 7 });
    expect(limitsOf({ ...none, quotaBytes: 20 * MIB }, server)).toMatchObject({ storageBytes: 60 * MIB });
    const own = { quotaBytes: 20 * MIB, storageLimitBytes: 21 * MIB, maxEntries: 1 };
    expect(limitsOf(own, server)).toEqual({ quotaBytes: 20 * MIB, storageBytes: 21 * MIB, entries: 1 });
  });

  test("whoever overwrites a file again and again pushes out the oldest versions, and nothing else", async () => {
    const limit = 2000 * KIB;
    const { folder, mirrored, database, keeper, dir } = await rig({ quotaBytes: 1000 * KIB, storageLimitBytes: limit });
    make(folder, { "kept.txt": "kept" });
    await mirrored();
    for (let i = 0; i < 12; i++) {
      make(folder, { large: randomBytes(400 * KIB), "kept.txt": `kept ${i}` });
      await mirrored();
      expect(onDisk(dir)).toBeLessThanOrEqual(limit);
      expect(keeper.storage((await usage(database)) as never).bytes).toBeLessThanOrEqual(limit);
    }
    const versions = await database.versions.list("m", "large", { limit: 100 });
    // 400 KiB now, and as many before that as there is room for.
    expect(versions.map(({ version }) => version)).toEqual([11, 10, 9]);
    expect(fs.readFileSync(path.join(dir, "m", "kept.txt"), "utf8")).toBe("kept 11");
    await keeper.close();
    const audit = await database.audit.list({ limit: 100 });
    const evictions = audit.filter(({ action }) => action === "versions.evict");
    expect(evictions.length).toBeGreaterThan(0);
    expect(evictions.at(-1)).toMatchObject({
      actor: "server",
      target: "m",
      outcome: "ok",
      detail: /^storage limit reached/,
    });
    const { evictedVersions, evictedBytes } = keeper.quotaFigures;
    expect(evictedVersions).toBeGreaterThanOrEqual(8);
    expect(evictedBytes).toBeGreaterThanOrEqual(8 * 400 * KIB);
  });

  test("also within one session, while its changes come as fast as they can", async () => {
    const limit = 1500 * KIB;
    const { session, database, dir, keeper } = await rig({ quotaBytes: 400 * KIB, storageLimitBytes: limit });
    const client = await session();
    const write = () => {
      const content = randomBytes(100 * KIB);
      const sha256 = new Uint8Array(createHash("sha256").update(content).digest());
      return { type: "file", path: "f", content, sha256, executable: false, mtimeNs: 1n } as Omit<Message, "id">;
    };
    expect(new Set(await client.steps(...Array.from({ length: 60 }, write)))).toEqual(new Set(["done"]));
    await keeper.settled();
    while (keeper.storage((await usage(database)) as never).bytes > limit) await pause();
    await until(() => onDisk(dir) <= limit);
  });

  test("unfinished uploads count, of all sessions together, and make way before versions do", async () => {
    const limit = 1200 * KIB;
    const { session, dir, keeper, database } = await rig({ quotaBytes: 1000 * KIB, storageLimitBytes: limit });
    for (let i = 0; i < 6; i++) {
      const client = await session();
      const id = client.nextId();
      const file = { path: `f${i}`, size: 700 * KIB, mtimeNs: 1n, executable: false };
      client.say({ type: "put", id, ...file } as Message);
      await client.hear("have", id);
      for (let sent = 0; sent < 3; sent++) client.say({ type: "data", id, content: randomBytes(200 * KIB) } as Message);
      await until(() => onDisk(dir) >= 600 * KIB);
      await client.leave();
      expect(onDisk(dir)).toBeLessThanOrEqual(limit);
    }
    const folder = (await usage(database)) as never;
    expect(keeper.storage(folder).unfinishedBytes).toBeGreaterThanOrEqual(600 * KIB);
    expect(keeper.storage(folder).unfinishedBytes).toBeLessThanOrEqual(limit);
    expect(keeper.quotaFigures.evictedUploads).toBeGreaterThanOrEqual(4);
  });

  test("an upload that is given up frees what was reserved for it", async () => {
    const { session } = await rig({ quotaBytes: 1000 * KIB });
    const client = await session();
    const put = (name: string): number => {
      const id = client.nextId();
      client.say({ type: "put", id, path: name, size: 900 * KIB, mtimeNs: 1n, executable: false } as Message);
      return id;
    };
    const first = put("a");
    await client.hear("have", first);
    expect(await client.hear("fail", put("b"))).toMatchObject({ code: "ERR_QUOTA" });
    client.say({ type: "abort", id: first } as Message);
    // What is freed is free when the place is.
    await client.hear("have", put("a"));
  });

  test("one id for two uploads ends the session: room is reserved by it", async () => {
    const { session, home } = await rig({ quotaBytes: 1000 * KIB });
    const client = await session();
    const put = (name: string) =>
      ({ type: "put", id: 7, path: name, size: 200 * KIB, mtimeNs: 1n, executable: false }) as Message;
    client.say(put("a"), { ...mkdir("b"), id: 7 } as Message);
    await until(() => home.sessions === 0);
  });

  test("empty folders are not free", async () => {
    const storageLimitBytes = 100 * ENTRY_COST_BYTES;
    const { session, database, keeper } = await rig({ storageLimitBytes });
    const client = await session();
    const codes = await client.steps(...Array.from({ length: 300 }, (_, i) => mkdir(`d${i}`)));
    expect(codes.filter((code) => code === "done")).toHaveLength(100);
    expect(codes.filter((code) => code === "ERR_QUOTA")).toHaveLength(200);
    await keeper.settled();
    expect(await usage(database)).toMatchObject({ entries: 100, versions: 0 });
    expect(keeper.quotaFigures.refused.storage).toBe(200);
    // What is removed is a version until its room is needed.
    const remove = (name: string) => ({ type: "remove", path: name, kind: "directory" }) as Omit<Message, "id">;
    await client.steps(...Array.from({ length: 10 }, (_, i) => remove(`d${i}`)));
    await keeper.settled();
    expect(await usage(database)).toMatchObject({ entries: 90, versions: 10 });
    expect(await client.steps(...Array.from({ length: 12 }, (_, i) => mkdir(`e${i}`)))).toEqual([
      ...Array(10).fill("done"),
      "ERR_QUOTA",
      "ERR_QUOTA",
    ]);
    await keeper.settled();
    expect(await usage(database)).toMatchObject({ entries: 100, versions: 0 });
  });

  test("removing what is not there earns nothing", async () => {
    const { session, database, keeper } = await rig({ maxEntries: 10 });
    const client = await session();
    await client.steps(...Array.from({ length: 10 }, (_, i) => mkdir(`d${i}`)));
    const remove = { type: "remove", path: "none", kind: "directory" } as Omit<Message, "id">;
    await client.steps(...Array(50).fill(remove));
    expect(await client.steps(mkdir("x"), mkdir("d1"))).toEqual(["ERR_QUOTA", "done"]);
    await keeper.settled();
    expect(await usage(database)).toMatchObject({ entries: 10 });
    expect(keeper.quotaFigures.refused.entries).toBe(1);
  });

  test("renaming a folder again and again keeps no more versions than there is room for", async () => {
    const storageLimitBytes = 200 * ENTRY_COST_BYTES;
    const { session, database, keeper } = await rig({ storageLimitBytes });
    const client = await session();
    await client.steps(mkdir("a"), ...Array.from({ length: 20 }, (_, i) => mkdir(`a/${i}`)));
    const rename = (from: string, to: string) => ({ type: "rename", from, path: to }) as Omit<Message, "id">;
    for (let i = 0; i < 30; i++) {
      expect(await client.steps(rename("a", "b"), rename("b", "a"))).toEqual(["done", "done"]);
    }
    await keeper.settled();
    while (((await usage(database))?.versions ?? 0) > 200 - 21) await pause();
  });

  test("a limit that is lowered counts at once, also for a session that is open", async () => {
    const { session, database, keeper } = await rig();
    const client = await session();
    expect(await client.steps(mkdir("a"), mkdir("b"))).toEqual(["done", "done"]);
    await keeper.setLimits("m", { maxEntries: 2 });
    const make = async (name: string): Promise<string | undefined> => {
      const remove = { type: "remove", path: name, kind: "directory" } as Omit<Message, "id">;
      return (await client.steps(mkdir(name), remove))[0];
    };
    while ((await make("c")) !== "ERR_QUOTA") await pause();
    await keeper.setLimits("m", { maxEntries: null, storageLimitBytes: 3 * ENTRY_COST_BYTES });
    while (((await usage(database))?.versions ?? 9) > 1) {
      await make("d");
      await keeper.settled();
    }
  });

  test("single files and the folders above them count the same", async () => {
    const { keeper } = await rig({ maxEntries: 4 });
    const desk = new Desk(keeper);
    const place = (name: string, size: number | null = 3) =>
      desk.place({
        folder: "m",
        path: name,
        content: Readable.from([Buffer.from("one")]),
        size,
        sha256: null,
        expected: "anything",
        modifiedAt: null,
        executable: false,
        actor: "user:ada",
      });
    await place("a/b/c");
    await expect(place("d/e", null)).rejects.toMatchObject({ code: "ERR_QUOTA" });
    await place("d", null);
    await place("d");
    await expect(place("e")).rejects.toMatchObject({ code: "ERR_QUOTA" });
    expect(fs.existsSync(path.join(keeper.rootOf("m"), "e"))).toBe(false);
  });

  test("at the same time, too", async () => {
    const { keeper, database } = await rig({ quotaBytes: 100 });
    const desk = new Desk(keeper);
    const place = (name: string) =>
      desk.place({
        folder: "m",
        path: name,
        content: Readable.from([Buffer.alloc(40)]),
        size: 40,
        sha256: null,
        expected: "anything",
        modifiedAt: null,
        executable: false,
        actor: "user:ada",
      });
    const placed = await Promise.allSettled(["a", "b", "c", "d", "e"].map(place));
    expect(placed.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    expect(await usage(database)).toMatchObject({ bytes: 80 });
  });
});
