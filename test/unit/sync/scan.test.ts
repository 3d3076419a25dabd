import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ignorePatterns } from "../../../src/sync/ignore.js";
import { scanFolder, scanPaths } from "../../../src/sync/scan.js";
import { EARLIEST_NS } from "../../../src/sync/times.js";
import { make, tempFolder } from "../../support/sync-rig.js";

const onUnix = process.platform !== "win32";

describe("scanFolder", () => {
  test("finds files, folders and links with what they are, and follows nothing", async () => {
    const folder = tempFolder();
    make(folder, {
      "a/b/file": "hello",
      empty: "",
      "an empty folder": null,
      "run.sh": { content: "#!", executable: true },
      "to nowhere": { link: "../nowhere" },
      "to folder": { link: "a" },
    });
    const { entries, problems } = await scanFolder(folder);
    expect(problems).toEqual([]);
    expect([...entries.keys()].sort()).toEqual(
      ["a", "a/b", "a/b/file", "an empty folder", "empty", "run.sh", "to folder", "to nowhere"].sort(),
    );
    const { mtimeNs } = fs.statSync(path.join(folder, "a/b/file"), { bigint: true });
    expect(entries.get("a/b/file")).toMatchObject({ kind: "file", size: 5, mtimeNs, executable: false });
    expect(entries.get("run.sh")).toMatchObject({ executable: onUnix });
    expect(entries.get("to folder")).toMatchObject({ kind: "symlink", path: "to folder", target: "a" });
  });

  test.runIf(onUnix)("names a time before 1901 where the file system has it: ext4 keeps none", async () => {
    const folder = tempFolder();
    make(folder, { old: "1" });
    execFileSync("touch", ["-d", "1801-02-03", path.join(folder, "old")]);
    const { mtimeNs } = fs.statSync(path.join(folder, "old"), { bigint: true });
    const { entries, problems } = await scanFolder(folder);
    expect(entries.get("old")).toMatchObject({ mtimeNs: EARLIEST_NS });
    expect(problems.map(({ code }) => code)).toEqual(mtimeNs < EARLIEST_NS ? ["ERR_TIME"] : []);
  });

  test("leaves ignored files and folders out", async () => {
    const folder = tempFolder();
    make(folder, { "keep/a": "1", "skip/b": "2", "keep/c.log": "3" });
    const { entries } = await scanFolder(folder, { ignore: ignorePatterns(["skip/", "*.log"]) });
    expect([...entries.keys()].sort()).toEqual(["keep", "keep/a"]);
  });

  test("a missing folder, and a file in its place", async () => {
    const folder = tempFolder();
    make(folder, { file: "x" });
    await expect(scanFolder(path.join(folder, "none"))).rejects.toMatchObject({ code: "ERR_FOLDER" });
    await expect(scanFolder(path.join(folder, "file"))).rejects.toMatchObject({ code: "ERR_FOLDER" });
  });

  test.runIf(onUnix)("a pipe is a problem that hides nothing; names are any bytes", async () => {
    const folder = tempFolder();
    execFileSync("mkfifo", [path.join(folder, "pipe")]);
    fs.writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x62, 0xff])]), "x");
    fs.symlinkSync(Buffer.from([0x62, 0xfe]), path.join(folder, "link"));
    const { entries, problems } = await scanFolder(folder);
    expect([...entries.keys()].sort()).toEqual(["b\udcff", "link"]);
    expect(entries.get("link")).toMatchObject({ target: "b\udcfe" });
    expect(problems.map(({ path, code, unreadable }) => [path, code, unreadable])).toEqual([
      ["pipe", "ERR_UNSUPPORTED", false],
    ]);
  });

  test("stops when it is told to", async () => {
    const folder = tempFolder();
    for (let i = 0; i < 600; i++) fs.writeFileSync(path.join(folder, `f${i}`), "");
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(scanFolder(folder, { signal })).rejects.toThrow("enough");
  });
});

describe("scanPaths", () => {
  test("looks at the paths, below folders, and names the folders above", async () => {
    const folder = tempFolder();
    make(folder, { "a/b/c": "1", "a/d": "2", e: "3" });
    const { entries, roots } = await scanPaths(folder, ["a/b", "e", "gone"]);
    expect(roots).toEqual(["a/b", "e", "gone"]);
    expect([...entries.keys()].sort()).toEqual(["a", "a/b", "a/b/c", "e"]);
  });

  test("a path whose parent is no folder any more is looked at through that parent", async () => {
    const folder = tempFolder();
    make(folder, { a: "now a file", "to-a": { link: "." } });
    const { entries, roots } = await scanPaths(folder, ["a/b/c", "gone/x/y", "to-a/a"]);
    expect(roots).toEqual(["a", "gone", "to-a"]);
    expect([...entries.values()].map(({ kind }) => kind)).toEqual(["file", "symlink"]);
  });

  test("a path below another is looked at once", async () => {
    const folder = tempFolder();
    make(folder, { "a/b/c": "1" });
    expect((await scanPaths(folder, ["a/b/c", "a", "a/b"])).roots).toEqual(["a"]);
  });
});
