import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import type { Entry } from "../../../src/sync/entry.js";
import { collisions, examine, watchLimit } from "../../../src/sync/examine.js";
import { make, tempFolder } from "../../support/sync-rig.js";

test("names that some file systems take for one", () => {
  expect(collisions(["a", "b", "A", "d/é", "d/e\u0301", "d/É", "x"])).toEqual(["a = A", "d/é = d/e\u0301 = d/É"]);
});

test("watches that run out, with what helps", () => {
  const entries = new Map(
    Array.from({ length: 100 }, (_, i): [string, Entry] => [`${i}`, { kind: "directory", path: `${i}` }]),
  );
  expect(watchLimit(entries, 1000)).toMatchObject([{ level: "ok" }]);
  // Files take none of their own.
  const file: Entry = { kind: "file", path: "0/a", size: 1, mtimeNs: 0n, executable: false };
  const many = new Map([...entries, ...Array.from({ length: 1000 }, (_, i): [string, Entry] => [`0/${i}`, file])]);
  expect(watchLimit(many, 1000)).toEqual(watchLimit(entries, 1000));
  expect(watchLimit(entries, 150)[0]?.message).toContain("sysctl fs.inotify.max_user_watches=512");
  expect(watchLimit(entries, undefined)).toEqual([]);
});

test("a folder without trouble", async () => {
  const folder = tempFolder();
  make(folder, { a: "1", "d/b": "2", l: { link: "nowhere" } });
  expect((await examine(folder)).map(({ level }) => level)).not.toContain("problem");
  await expect(examine(path.join(folder, "missing"))).rejects.toMatchObject({ code: "ERR_FOLDER" });
});

test.skipIf(process.platform === "win32")(
  "special files, times of another clock, and what cannot be read",
  async () => {
    const folder = tempFolder();
    make(folder, { a: "1", secret: "2" });
    execFileSync("mkfifo", [path.join(folder, "pipe")]);
    fs.utimesSync(path.join(folder, "a"), new Date(4e12), new Date(4e12));
    fs.chmodSync(path.join(folder, "secret"), 0);
    const found = await examine(folder);
    const told = found
      .filter(({ level }) => level !== "ok")
      .flatMap(({ level, paths }) => paths.map((one) => `${level} ${one}`));
    expect(told).toContain("warning a");
    expect(told.some((line) => line.startsWith("warning pipe"))).toBe(true);
    if (process.getuid?.() !== 0) expect(told).toContain("problem secret");
  },
);
