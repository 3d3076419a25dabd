/** Versions that go before their time: for their number, their size, or space on the disk. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../../src/server/index.js";
import { Keeper, type KeeperOptions } from "../../../src/server/versions/keeper.js";
import { DEFAULT_THINNING, parseThinning } from "../../../src/server/versions/thin.js";
import { make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

const KIB = 1024;

async function rig(options: Partial<KeeperOptions>) {
  const dir = tempFolder();
  const database = await openDatabase({ path: ":memory:" });
  const errors: Error[] = [];
  const keeper = new Keeper({ dir, database, lookMs: 0, onError: (error) => errors.push(error), ...options });
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
  const mirrored = async (name = "m"): Promise<void> => {
    await mirrorOnce(folder, () => home.connect(), { name });
    await keeper.settled();
  };
  const numbers = async (name = "m", of = "f"): Promise<number[]> =>
    (await database.versions.list(name, of, { limit: 1000 })).map(({ version }) => version);
  const events = async () =>
    (await database.events.since(0, 1000)).events.filter(({ type }) => type === "versions.trimmed");
  return { dir, keeper, database, folder, mirrored, numbers, events };
}

describe("--thin", () => {
  test.each([
    ["off", []],
    ["1min:1h,1h:1d,1d:1w", DEFAULT_THINNING],
    ["30s:1.5min", [{ everyMs: 30_000, olderMs: 90_000 }]],
    ["", undefined],
    ["1m:1h", undefined],
    ["1h", undefined],
    ["0s:1h", undefined],
    ["1s:1h:1d", undefined],
  ])("%j is %j", (text, expected) => {
    expect(parseThinning(text)).toEqual(expected);
  });

  test("leaves the last of each interval, and its content", async () => {
    const { folder, mirrored, numbers, keeper, dir } = await rig({
      thin: [{ everyMs: 2 ** 50, olderMs: 1 }],
    });
    for (let i = 0; i < 6; i++) {
      make(folder, { f: `content ${i}` });
      await mirrored();
    }
    expect(await numbers()).toEqual([5, 4, 3, 2, 1]);
    await keeper.prune();
    expect(await numbers()).toEqual([5]);
    const objects = fs.readdirSync(path.join(dir, ".confundo/versions/objects"), { recursive: true, encoding: "utf8" });
    expect(objects.filter((name) => name.length > 60)).toHaveLength(1);
  });

  test("is nothing for a number of versions, unless it is asked for", async () => {
    const { folder, mirrored, numbers, keeper } = await rig({ keep: { versions: 3 } });
    for (let i = 0; i < 6; i++) {
      make(folder, { f: `content ${i}` });
      await mirrored();
    }
    await keeper.prune();
    expect(await numbers()).toEqual([5, 4, 3]);
  });
});

describe("what versions may take", () => {
  const grow = async (folder: string, mirrored: (name?: string) => Promise<void>, name?: string, times = 6) => {
    for (let i = 0; i < times; i++) {
      make(folder, { f: randomBytes(100 * KIB) });
      await mirrored(name);
    }
  };

  test("of the home: the oldest of all folders go, with an event", async () => {
    const { folder, mirrored, numbers, keeper, events, database } = await rig({ versionsBytes: 450 * KIB });
    await grow(folder, mirrored, "a");
    await grow(folder, mirrored, "b");
    await keeper.prune();
    expect([await numbers("a"), await numbers("b")]).toEqual([[], [5, 4, 3, 2]]);
    const trimmed = (await events()).filter((event) => event.folder === "a");
    expect(trimmed.length).toBeGreaterThan(0);
    expect(trimmed[0]).toMatchObject({
      data: { reason: "size", versions: expect.any(Number), bytes: expect.any(Number) },
    });
    const audit = await database.audit.list({ limit: 10 });
    expect(audit.at(-1)).toMatchObject({ action: "versions.evict", detail: /^size of the versions reached/ });
    expect(keeper.trimFigures).toEqual({ trimmedVersions: 6, trimmedBytes: 6 * 100 * KIB });
  });

  test("of a folder: others keep theirs", async () => {
    const { folder, mirrored, numbers, keeper } = await rig({ folderVersionsBytes: 250 * KIB });
    await grow(folder, mirrored, "a", 2);
    await grow(folder, mirrored, "b");
    await keeper.prune();
    expect([await numbers("a"), await numbers("b")]).toEqual([[1], [5, 4]]);
  });

  test("is looked at by itself when versions have come", async () => {
    const { folder, mirrored, numbers } = await rig({ versionsBytes: 250 * KIB });
    await grow(folder, mirrored);
    await expect.poll(() => numbers(), { timeout: 60_000 }).toEqual([5, 4]);
  });

  test("makes way where the disk is nearly full, and no more than is missing", async () => {
    let free = 1000 * KIB;
    const { folder, mirrored, numbers, keeper, events } = await rig({
      minFreeBytes: 500 * KIB,
      free: async () => free,
    });
    await grow(folder, mirrored);
    await keeper.prune();
    expect(await numbers()).toEqual([5, 4, 3, 2, 1]);
    free = 350 * KIB;
    await keeper.prune();
    // What others fill is not made up for by all that there is.
    expect(await numbers()).toEqual([5, 4, 3]);
    expect(await events()).toMatchObject([{ folder: "m", data: { reason: "space", versions: 2 } }]);
  });
});
