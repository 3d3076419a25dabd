import fs from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { useAddon } from "../../../src/native/addon.js";
import { canFlushFileSystem, setTime } from "../../../src/sync/disk.js";
import { contents, make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

afterEach(() => useAddon(true));

describe.each([
  ["with one flush for a group", true],
  ["with a flush for each", false],
])("many small files, %s", (_, native) => {
  test("arrive, in whatever groups, and replace what was there", async () => {
    useAddon(native);
    const rig = testHome();
    const folder = tempFolder();
    const names = Array.from({ length: 400 }, (_, i) => `${i % 7}/${i}`);
    make(folder, Object.fromEntries(names.map((name) => [name, name])));
    await mirrorOnce(folder, () => rig.connect());
    make(folder, Object.fromEntries(names.map((name) => [name, `${name} again`])));
    await mirrorOnce(folder, () => rig.connect());
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(rig.staged()).toEqual([]);
  });
});

describe("times", () => {
  test.each([
    ["now", 1_764_110_388_123_456_789n],
    ["before 1970", -1_234_567_890_123_456_789n],
    ["after 2038", 4_102_444_800_000_000_001n],
    ["1970", 0n],
  ])("are set to the nanosecond: %s", (_, time) => {
    const file = path.join(tempFolder(), "f");
    const fd = fs.openSync(file, "w");
    setTime(fd, time);
    fs.closeSync(fd);
    const kept = canFlushFileSystem() ? time : (time / 1_000_000n) * 1_000_000n;
    expect(fs.statSync(file, { bigint: true }).mtimeNs - kept).toBeLessThan(canFlushFileSystem() ? 1n : 1_000_000n);
    expect(fs.statSync(file, { bigint: true }).mtimeNs - kept).toBeGreaterThanOrEqual(0n);
  });
});
