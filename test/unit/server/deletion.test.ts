import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../../src/server/index.js";
import { FOLDER_GRACE_MS, MAX_FOLDER_GRACE_MS } from "../../../src/server/limits.js";
import { Keeper } from "../../../src/server/versions/keeper.js";
import { make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

const HOUR = 3_600_000;

/** A home with the mirror `m`, which has a file and a version of it. */
async function rig() {
  const dir = tempFolder();
  const database = await openDatabase({ path: ":memory:" });
  const keeper = new Keeper({ dir, database, lookMs: 0 });
  await keeper.start();
  await keeper.recovered();
  const home = testHome({ dir, keeper });
  keeper.guard((name, reason) => home.home.endSession(name, reason));
  onTestFinished(async () => {
    await home.home.close();
    await keeper.close();
    await database.close();
  });
  const folder = tempFolder();
  const mirror = () => mirrorOnce(folder, () => home.connect());
  make(folder, { a: "first" });
  await mirror();
  make(folder, { a: "second" });
  await mirror();
  await keeper.settled();
  const objects = () => {
    const at = path.join(dir, ".confundo", "versions", "objects");
    const all = fs.existsSync(at) ? fs.readdirSync(at, { recursive: true, withFileTypes: true }) : [];
    return all.filter((entry) => entry.isFile()).length;
  };
  return { dir, database, keeper, mirror, objects };
}

describe("a deleted folder", () => {
  test("is refused to clients and to who changes files, and stays as it was until its time is over", async () => {
    const { dir, database, keeper, mirror, objects } = await rig();
    const before = await database.folders.byName("m");
    const { deletedAt, purgeAt } = await keeper.deletion.delete("m", HOUR);
    expect(purgeAt).toBe((deletedAt ?? 0) + HOUR);
    await expect(mirror()).rejects.toMatchObject({ code: "ERR_FOLDER_DELETED" });
    await expect(keeper.changing("m", "user:a", async () => {})).rejects.toMatchObject({ code: "ERR_FOLDER_DELETED" });
    await expect(keeper.restore({ folder: "m", path: "", at: 0 })).rejects.toMatchObject({ code: "ERR_NO_FOLDER" });
    await expect(keeper.deletion.refuse("m")).rejects.toMatchObject({ code: "ERR_FOLDER_DELETED" });
    await expect(keeper.deletion.delete("m", HOUR)).rejects.toMatchObject({ code: "ERR_NO_FOLDER" });
    expect(await keeper.names()).toEqual([]);
    await keeper.prune();
    expect(fs.readFileSync(path.join(dir, "m", "a"), "utf8")).toBe("second");
    expect(objects()).toBe(1);
    expect(await keeper.deletion.undelete("m")).toEqual(before);
    await mirror();
  });

  test("is removed with its versions when its time is over, also where an earlier try was interrupted", async () => {
    const { dir, database, keeper, mirror, objects } = await rig();
    await keeper.deletion.delete("m", HOUR);
    await keeper.deletion.purge(database.elapsed() + HOUR - 60_000, () => false);
    expect(await database.folders.deleted()).toHaveLength(1);
    // As a crash leaves it: the content has gone, and the database knows the folder.
    fs.rmSync(path.join(dir, "m"), { recursive: true });
    fs.mkdirSync(path.join(dir, ".confundo", "trash", "left"), { recursive: true });
    await keeper.deletion.purge(database.elapsed() + HOUR, () => false);
    expect(await database.folders.deleted()).toEqual([]);
    expect(fs.existsSync(path.join(dir, ".confundo", "trash"))).toBe(false);
    await keeper.prune();
    expect(objects()).toBe(0);
    expect(await database.versions.list("m", undefined, { limit: 9 })).toEqual([]);
    await mirror();
    await keeper.settled();
    expect(await database.folders.byName("m")).toMatchObject({ files: 1, versions: 0 });
  });

  test("follows no link when it is removed", async () => {
    const { dir, keeper } = await rig();
    const outside = tempFolder();
    fs.writeFileSync(path.join(outside, "precious"), "x");
    fs.symlinkSync(outside, path.join(dir, "m", "link"));
    await keeper.deletion.delete("m", 0);
    expect(fs.existsSync(path.join(dir, "m"))).toBe(false);
    expect(fs.readFileSync(path.join(outside, "precious"), "utf8")).toBe("x");
  });

  test.each([-1, Number.NaN, MAX_FOLDER_GRACE_MS + 1])("cannot be kept for %d ms", async (graceMs) => {
    const { keeper, database } = await rig();
    await expect(keeper.deletion.delete("m", graceMs)).rejects.toMatchObject({ code: "ERR_INVALID" });
    expect(await database.folders.byName("m")).toBeDefined();
    expect(FOLDER_GRACE_MS).toBeLessThan(MAX_FOLDER_GRACE_MS);
  });
});
