/** Which disk is mounted where, with file systems that the test makes up: no disks are mounted. */
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { MountPoints } from "../../../src/sync/mount-points.js";
import { tempFolder } from "../../support/sync-rig.js";

const nothingHeld = (): boolean => false;

/** A folder with a mount point, of which `disk.id` says what is mounted there. */
function rig() {
  const file = path.join(tempFolder(), "mounts");
  const disk: { id: string | undefined } = { id: undefined };
  const systems = { below: () => new Set(["disk"]), at: () => disk.id };
  return { file, disk, open: () => new MountPoints("/folder", file, systems) };
}

test.each([
  ["77 2.1000 61267.4096.100 aaaa", "77 2.1000 61267.4096.100 aaaa", true],
  ["77 2.1000 61267.4096.100 -", "78 2.1000 61267.4096.100 -", true],
  ["77 2.1000 61267.4096.100 -", "77 2.2000 61267.4096.100 -", false],
  ["77 - 19780.4096.100 AB-12", "77 - 19780.4096.100 CD-34", false],
  ["77 - 19780.4096.100 AB-12", "91 - 19780.4096.100 AB-12", true],
  ["77 - 19780.4096.100 -", "77 - 19780.4096.200 -", false],
  ["77 - 19780.4096.100 -", "77 - 19780.4096.100 -", true],
  ["77 - 19780.4096.100 -", "78 - 19780.4096.100 -", false],
  ["77 2.1000 61267.4096.100 aaaa", undefined, false],
  ["8:17", "77 2.1000 61267.4096.100 aaaa", true],
])("with the file system %j known, %j is the same: %j", (known, now, same) => {
  const { disk, open, file } = rig();
  fs.writeFileSync(file, JSON.stringify([["disk", known]]));
  disk.id = now;
  const mounts = open();
  expect(mounts.away()).toEqual(same ? [] : ["disk"]);
  if (now === undefined) return;
  mounts.scanning();
  mounts.learn(nothingHeld);
  expect(mounts.away()).toEqual([]);
  // The next run knows it too.
  expect(open().away()).toEqual([]);
  disk.id = "99 2.5 1.1.1 other";
  expect(open().away()).toEqual(["disk"]);
});
