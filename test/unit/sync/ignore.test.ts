import { describe, expect, test } from "vitest";
import { ignorePatterns } from "../../../src/sync/ignore.js";

describe("ignore patterns", () => {
  test.each([
    ["*.log", ["a.log", "deep/down/b.log", ".log"], ["a.logs", "log", "a.log2/x"]],
    ["node_modules", ["node_modules", "a/node_modules", "a/node_modules/x/y"], ["node_modules2", "my_node_modules"]],
    ["/dist", ["dist", "dist/x"], ["a/dist"]],
    ["build/out", ["build/out", "build/out/x"], ["a/build/out", "build/outer"]],
    ["**/tmp/*.txt", ["tmp/a.txt", "a/b/tmp/c.txt"], ["tmp/a/b.txt", "a.txt"]],
    ["a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/zz", "z"]],
    ["docs/**", ["docs/a", "docs/a/b"], ["docs"]],
    ["?.c", ["a.c", "x/ä.c"], ["ab.c", ".c"]],
    ["[a-c]*", ["apple", "x/b"], ["dog"]],
    ["[!a-c]?", ["d1"], ["a1"]],
    ["a\\*b", ["a*b"], ["axb"]],
    ["(x+y)$.{1}", ["(x+y)$.{1}"], ["xxy"]],
  ])("%s", (pattern, ignored, kept) => {
    const ignore = ignorePatterns([pattern]);
    for (const path of ignored) expect(ignore(path, false), path).toBe(true);
    for (const path of kept) expect(ignore(path, false), path).toBe(false);
  });

  test("a slash at the end means folders, and what is in them", () => {
    const ignore = ignorePatterns(["cache/"]);
    expect(ignore("cache", true)).toBe(true);
    expect(ignore("cache", false)).toBe(false);
    expect(ignore("a/cache/file", false)).toBe(true);
  });

  test("several patterns, and none", () => {
    expect(ignorePatterns(["*.a", "*.b"])("x.b", false)).toBe(true);
    expect(ignorePatterns([])("x", false)).toBe(false);
    expect(ignorePatterns(["", "/"])("x", false)).toBe(false);
  });

  test("a pattern that makes no sense is told", () => {
    expect(() => ignorePatterns(["a[b"])).toThrow(expect.objectContaining({ code: "ERR_PATTERN" }));
  });
});
