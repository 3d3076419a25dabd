import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makeFolder } from "../../../src/files/make-folder.js";

function place(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "confundo-make-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

test("makes what is missing with the mode, and leaves what is there", () => {
  const root = place();
  makeFolder(path.join(root, "a/b/../c"), 0o700);
  expect(fs.readdirSync(root, { recursive: true }).sort()).toEqual(["a", "a/c"]);
  expect(fs.statSync(path.join(root, "a/c")).mode & 0o777).toBe(0o700);
  fs.chmodSync(path.join(root, "a"), 0o750);
  makeFolder(path.join(root, "a"), 0o700);
  expect(fs.statSync(path.join(root, "a")).mode & 0o777).toBe(0o750);
  fs.symlinkSync("a", path.join(root, "link"));
  makeFolder(path.join(root, "link/d"));
  expect(fs.existsSync(path.join(root, "a/d"))).toBe(true);
});

test("reports the path that the system refuses", () => {
  const root = place();
  fs.writeFileSync(path.join(root, "file"), "");
  expect(() => makeFolder(path.join(root, "file"))).toThrow(expect.objectContaining({ code: "EEXIST" }));
  expect(() => makeFolder(path.join(root, "file/a/b"))).toThrow(
    expect.objectContaining({ code: "ENOTDIR", path: path.join(root, "file/a") }),
  );
  const relative = path.relative(process.cwd(), path.join(root, "file"));
  expect(() => makeFolder(relative)).toThrow(expect.objectContaining({ code: "EEXIST", path: relative }));
  fs.symlinkSync("nowhere", path.join(root, "link"));
  expect(() => makeFolder(path.join(root, "link"))).toThrow(expect.objectContaining({ code: "EEXIST" }));
});

test.runIf(process.platform === "linux")("gives up in /proc, where Node's own recursive mkdir never returns", () => {
  expect(() => makeFolder("/proc/x/y")).toThrow(expect.objectContaining({ code: "ENOENT", path: "/proc/x" }));
});
