import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { closestSeconds } from "../../../src/sync/disk.js";
import { Storage } from "../../../src/sync/storage.js";
import { LATEST_NS } from "../../../src/sync/times.js";
import { make, tempFolder } from "../../support/sync-rig.js";

describe("Storage", () => {
  test("a time keeps its microsecond, from 1970 to the next century", () => {
    const file = path.join(tempFolder(), "f");
    fs.writeFileSync(file, "");
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 4_200_000_000_000_000_000n }), (timeNs) => {
        const seconds = closestSeconds(timeNs);
        fs.utimesSync(file, seconds, seconds);
        expect(fs.statSync(file, { bigint: true }).mtimeNs / 1000n).toBe(timeNs / 1000n);
      }),
      { numRuns: 500 },
    );
  });

  test("finds out what its file system keeps, and leaves nothing of that behind", () => {
    const folder = tempFolder();
    const storage = new Storage(path.join(folder, "m"), path.join(folder, "staging"));
    const { latestNs, ...kept } = storage.probe();
    expect(latestNs ?? LATEST_NS).toBeGreaterThan(1_700_000_001_000_000_000n);
    expect(kept).toEqual({
      executable: process.platform !== "win32",
      folderTimes: process.platform !== "win32",
      linkTimes: true,
      mtimeToleranceNs: expect.any(BigInt),
    });
    expect(fs.readdirSync(path.join(folder, "staging"))).toEqual([]);
  });

  test("cleaning keeps interrupted large files that are young, unless told otherwise", () => {
    const folder = tempFolder();
    const staging = path.join(folder, "staging");
    const id = "0123456789abcdef".repeat(2);
    const [young, old] = [`${id}-${id}.partial`, `${id.replace("0", "1")}-${id}.partial`];
    make(staging, { [young]: "x", [old]: "x", "torn.new": "x", "folder/in/it": "x" });
    fs.utimesSync(path.join(staging, old), 1e9, 1e9);
    const storage = new Storage(path.join(folder, "m"), staging);
    storage.clean(false);
    expect(fs.readdirSync(staging)).toEqual([young]);
    storage.clean(true);
    expect(fs.existsSync(staging)).toBe(false);
  });
});
