import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ancestorsOf, isWithin, parentOf, unsafePath } from "../../../src/sync/path.js";

describe("paths", () => {
  test.each([
    "..",
    "../x",
    "a/../b",
    "a/..",
    ".",
    "a/./b",
    "",
    "/etc/passwd",
    "a//b",
    "a/",
    "a\0b",
    "\ud800",
    "x".repeat(256),
  ])("%j is refused everywhere", (bad) => {
    expect(unsafePath(bad, "linux")).toBeTypeOf("string");
    expect(unsafePath(bad, "win32")).toBeTypeOf("string");
  });

  test.each(["C:", "C:/x", "a\\..\\b", "con", "NUL.txt", "a/lpt1", "x.", "...", "x ", "a:b", "a\nb"])(
    "%j is refused on Windows only",
    (bad) => {
      expect(unsafePath(bad, "win32")).toBeTypeOf("string");
      expect(unsafePath(bad, "linux")).toBeUndefined();
    },
  );

  test.each(["a", "a/b", "..a", "a b/'c'", "😀", "e\u0301/é", "con1", ".x", "x".repeat(255)])("%j is fine", (good) => {
    expect(unsafePath(good, "linux")).toBeUndefined();
    expect(unsafePath(good, "win32")).toBeUndefined();
  });

  test("a path that passes resolves to somewhere below the folder", () => {
    const part = fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("..", ".", "", "a", "C:", "\\", "..\\.."));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
        const name = parts.join("/");
        if (unsafePath(name, "linux") === undefined) {
          expect(path.posix.resolve("/mirror", name).startsWith("/mirror/")).toBe(true);
        }
        if (unsafePath(name, "win32") === undefined) {
          expect(path.win32.resolve("C:\\mirror", name).startsWith("C:\\mirror\\")).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("what is above, and what is within", () => {
    expect(ancestorsOf("a/b/c")).toEqual(["a", "a/b"]);
    expect(parentOf("a/b/c")).toBe("a/b");
    expect(parentOf("a")).toBe("");
    expect(isWithin("a/b", "a")).toBe(true);
    expect(isWithin("a-b", "a")).toBe(false);
    expect(isWithin("anything", "")).toBe(true);
  });
});
