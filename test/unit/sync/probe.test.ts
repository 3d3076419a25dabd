import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { setTimeAt } from "../../../src/sync/disk.js";
import { probe } from "../../../src/sync/probe.js";
import { LATEST_NS } from "../../../src/sync/times.js";
import { tempFolder } from "../../support/sync-rig.js";

test("tells the latest time that a file system keeps, such as that of ext4 in 2446", () => {
  const place = path.join(tempFolder(), "probe");
  const { latestNs = LATEST_NS, mtimeToleranceNs } = probe(place);
  expect(fs.existsSync(place)).toBe(false);
  fs.writeFileSync(place, "");
  const kept = (timeNs: bigint): bigint => {
    setTimeAt(place, timeNs);
    const { mtimeNs } = fs.lstatSync(place, { bigint: true });
    return mtimeNs > timeNs ? mtimeNs - timeNs : timeNs - mtimeNs;
  };
  expect(kept(latestNs)).toBeLessThanOrEqual(mtimeToleranceNs);
  if (latestNs < LATEST_NS) expect(kept(latestNs + 10_000_000_000n)).toBeGreaterThanOrEqual(10_000_000_000n);
});
