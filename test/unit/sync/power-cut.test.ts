/** What a client still believes after its machine has ended without writing everything. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Entry, FileEntry } from "../../../src/sync/entry.js";
import { IndexFile } from "../../../src/sync/index-file.js";
import { CLEAN_END_MS, EMPTY_AFTER_CRASH_MS, UNCLEAN_END_MS } from "../../../src/sync/limits.js";
import { fileEntry } from "../../../src/sync/scan.js";
import { contents, make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

/** A file that was changed so long ago. */
function file(name: string, agoMs: number, size = 5): FileEntry {
  const changedNs = BigInt(Math.round(Date.now() - agoMs)) * 1_000_000n;
  return { kind: "file", path: name, size, mtimeNs: 1n, executable: false, version: `1a.${changedNs.toString(36)}` };
}

const hash = Buffer.alloc(32, 1);
const opened = (at: string, boot: string): IndexFile => new IndexFile(at, "me", undefined, boot);

/** The paths that an index vouches for, as it is opened in a run of the machine. */
async function vouched(at: string, boot: string, ...names: string[]): Promise<string[]> {
  const entries = new Map<string, Entry>(
    names.map((name) => [name, { kind: "file", path: name, size: 5, mtimeNs: 1n, executable: false }]),
  );
  const index = opened(at, boot);
  await index.vouch(entries);
  index.close();
  return [...entries.values()]
    .filter((entry) => entry.kind === "file" && entry.version !== undefined)
    .map((e) => e.path);
}

const MINUTE = 60_000;

describe("the index after the machine has started again", () => {
  const record = (boot: string, close: boolean, ...files: FileEntry[]): string => {
    const at = path.join(tempFolder(), "x.index");
    const index = opened(at, boot);
    for (const one of files) index.record(one, hash);
    index.flush();
    if (close) index.close();
    return at;
  };

  test("does not vouch for what was changed within minutes before an end that it was not closed for", async () => {
    const at = record("one", false, file("old", UNCLEAN_END_MS + MINUTE), file("late", MINUTE), file("last", 0));
    expect(await vouched(at, "one", "old", "late", "last")).toEqual(["old", "late", "last"]);
    expect(await vouched(at, "two", "old", "late", "last")).toEqual(["old"]);
    // It stays so: they were hashed again, or not.
    expect(await vouched(at, "two", "old", "late", "last")).toEqual(["old"]);
  });

  test("vouches for more where it was closed, as that was written to the disk since", async () => {
    const at = record("one", true, file("old", CLEAN_END_MS + MINUTE), file("late", 0));
    expect(await vouched(at, "two", "old", "late")).toEqual(["old"]);
  });

  test("does so once: what nobody has changed since is not hashed at each start", async () => {
    const DAY = 24 * 60 * MINUTE;
    const at = record("one", true, file("a", DAY), file("b", DAY + 1000));
    for (const boot of ["two", "three", "four"]) expect(await vouched(at, boot, "a", "b")).toEqual(["a", "b"]);
    const index = opened(at, "five");
    index.record(file("c", DAY + 2000), hash);
    index.flush();
    expect(await vouched(at, "six", "a", "b", "c")).toEqual(["a", "b", "c"]);
  });

  test("of an earlier version, which named no run, goes by when it was written", async () => {
    const at = record("one", true, file("old", UNCLEAN_END_MS + MINUTE), file("late", 0));
    const fd = fs.openSync(at, "r+");
    fs.writeSync(fd, Buffer.alloc(44), 0, 44, 17);
    fs.closeSync(fd);
    expect(await vouched(at, "one", "old", "late")).toEqual(["old"]);
  });

  test("suspects files that have become empty just before, until they have rested", () => {
    const at = record("one", false, file("f", 0));
    const [before, after] = [file("f", MINUTE, 0), { ...file("f", -1000, 0) }];
    const index = opened(at, "two");
    expect([before, after, file("f", MINUTE), file("f", 60 * MINUTE, 0)].map((one) => index.isSuspect(one))).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(index.isSuspect(before, Date.now() + EMPTY_AFTER_CRASH_MS)).toBe(false);
    expect(opened(at, "two").isSuspect(before)).toBe(true);
    expect(opened(path.join(tempFolder(), "none"), "two").isSuspect(before)).toBe(false);
  });
});

/** Has an index written in this run of the machine be of an earlier one. */
function reboot(index: string): void {
  const fd = fs.openSync(index, "r+");
  fs.writeSync(fd, Buffer.from("another run"), 0, 11, 20);
  fs.closeSync(fd);
}

test("a mirror hashes again what a power cut may have taken, whatever size and times say", async () => {
  const { connect, at } = testHome();
  const folder = tempFolder();
  const index = path.join(tempFolder(), "x.index");
  make(folder, { f: "content", g: "others" });
  await mirrorOnce(folder, () => connect(), { index });
  const lost = path.join(folder, "f");
  const before = fs.statSync(lost);
  fs.writeFileSync(lost, "\0".repeat(7));
  fs.utimesSync(lost, before.atime, before.mtime);
  fs.utimesSync(path.join(at(), "f"), before.atime, before.mtime);
  // The journal had the times, and the index a record of them.
  const other = path.join(tempFolder(), "other.index");
  const claims = new IndexFile(other, "anybody");
  const entry = fileEntry("f", fs.lstatSync(lost, { bigint: true }));
  claims.record(entry, createHash("sha256").update("content").digest());
  claims.close();
  fs.appendFileSync(index, fs.readFileSync(other).subarray(-96));
  await mirrorOnce(folder, () => connect(), { index });
  expect(fs.readFileSync(path.join(at(), "f"), "utf8")).toBe("content");
  reboot(index);
  await mirrorOnce(folder, () => connect(), { index });
  expect(contents(at())).toEqual(contents(folder));
});

test("a file that a crash has emptied does not replace what the mirror holds, and one that was touched does", async () => {
  const { connect, at } = testHome();
  const folder = tempFolder();
  const index = path.join(tempFolder(), "x.index");
  make(folder, { f: "content", g: "others" });
  await mirrorOnce(folder, () => connect(), { index });
  make(folder, { f: "", new: "" });
  reboot(index);
  const failed = mirrorOnce(folder, () => connect(), { index, settleOpenMs: 0 });
  await expect(failed).rejects.toMatchObject({ code: "ERR_INCOMPLETE" });
  expect(fs.readFileSync(path.join(at(), "f"), "utf8")).toBe("content");
  expect(fs.existsSync(path.join(at(), "new"))).toBe(true);
  fs.utimesSync(path.join(folder, "f"), new Date(), new Date());
  await mirrorOnce(folder, () => connect(), { index, settleOpenMs: 0 });
  expect(contents(at())).toEqual(contents(folder));
});
