import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../../src/sync/entry.js";
import { ancestorsOf } from "../../../src/sync/path.js";
import { type Operation, type PlanOptions, plan, summarize } from "../../../src/sync/plan.js";

type Tree = Map<string, Entry>;

function tree(...entries: Entry[]): Tree {
  return new Map(entries.map((entry) => [entry.path, entry]));
}
function file(path: string, size = 1, more: Partial<Entry & { kind: "file" }> = {}): Entry {
  return { kind: "file", path, size, mtimeNs: 1_000_000n, executable: false, ...more };
}
const folder = (path: string): Entry => ({ kind: "directory", path });
const link = (path: string, target = "x"): Entry => ({ kind: "symlink", path, target });

function steps(local: Tree, remote: Tree, options?: PlanOptions): string[] {
  return plan(local, remote, options).operations.map(({ do: what, entry }) => `${what} ${entry.path}`);
}

/** A destination that is as strict as a file system: parents must be folders, removed folders empty. */
function apply(base: Tree, operations: readonly Operation[]): Tree {
  const result = new Map(base);
  for (const { do: what, entry } of operations) {
    const { path } = entry;
    const there = result.get(path);
    for (const above of ancestorsOf(path)) expect(result.get(above)?.kind, `${what} ${path}`).toBe("directory");
    if (what === "remove") {
      expect(there?.kind).toBe(entry.kind);
      for (const other of result.keys()) expect(other.startsWith(`${path}/`), `${path} is empty`).toBe(false);
      result.delete(path);
    } else {
      if (what === "mkdir") expect(there).toBeUndefined();
      else expect(there?.kind).not.toBe("directory");
      if (what === "touch") expect(there).toMatchObject({ kind: "file" });
      result.set(path, entry);
    }
  }
  return result;
}

describe("plan", () => {
  test("a new tree: folders from the outside in, then what they hold", () => {
    const local = tree(file("a/b/f"), folder("a"), folder("a/b"), link("l"));
    expect(steps(local, tree())).toEqual(["mkdir a", "mkdir a/b", "put a/b/f", "link l"]);
  });

  test("what is gone is removed last and from the inside out", () => {
    const remote = tree(folder("old"), folder("old/deep"), file("old/deep/f"));
    expect(steps(tree(file("new")), remote)).toEqual(["put new", "remove old/deep/f", "remove old/deep", "remove old"]);
  });

  test("a file becomes a folder: it makes way first", () => {
    expect(steps(tree(folder("a"), file("a/f")), tree(file("a")))).toEqual(["remove a", "mkdir a", "put a/f"]);
  });

  test("a folder becomes a file: what it held makes way first", () => {
    const remote = tree(folder("a"), folder("a/b"), file("a/b/f"));
    expect(steps(tree(file("a")), remote)).toEqual(["remove a/b/f", "remove a/b", "remove a", "put a"]);
  });

  test("a link to a folder becomes a folder, and a file a link", () => {
    expect(steps(tree(folder("a"), file("a/f")), tree(link("a")))).toEqual(["remove a", "mkdir a", "put a/f"]);
    expect(steps(tree(link("a")), tree(file("a")))).toEqual(["link a"]);
  });

  test("size, time, target and executable bit are compared; times up to what Node can set", () => {
    const remote = tree(file("a"), file("b"), file("c"), file("d"), link("l", "old"));
    const local = tree(
      file("a", 2),
      file("b", 1, { mtimeNs: 1_000_999n }),
      file("c", 1, { mtimeNs: 1_001_001n }),
      file("d", 1, { executable: true }),
      link("l", "new"),
    );
    expect(steps(local, remote)).toEqual(["put a", "put c", "touch d", "link l"]);
    expect(steps(local, remote, { mtimeToleranceNs: 2000n, executable: false })).toEqual(["put a", "link l"]);
  });

  test("a rewrite that kept size and time is noticed by its version", () => {
    const local = tree(file("a", 1, { version: "2" }));
    expect(steps(local, tree(file("a", 1, { version: "1" })))).toEqual(["put a"]);
    expect(steps(local, tree(file("a")))).toEqual([]);
  });

  test("without delete nothing is removed but what is in the way", () => {
    const remote = tree(file("gone"), file("a"), folder("d"));
    expect(steps(tree(folder("a")), remote, { delete: false })).toEqual(["remove a", "mkdir a"]);
  });

  test("without delete a folder with something in it is not replaced by a file, and that is said", () => {
    const { operations, blocked } = plan(tree(file("d")), tree(folder("d"), file("d/f")), { delete: false });
    expect(operations).toEqual([]);
    expect(blocked).toMatchObject([{ path: "d", code: "ERR_NO_DELETE" }]);
  });

  test("what is protected stays, with the folders that hold it", () => {
    const remote = tree(folder("d"), folder("d/e"), file("d/e/keep.log"), file("d/e/go"));
    const protect = (path: string): boolean => path.endsWith(".log");
    expect(steps(tree(), remote, { protect })).toEqual(["remove d/e/go"]);
  });

  test("the sum of a plan", () => {
    const { operations } = plan(tree(file("a", 5), folder("d"), link("l")), tree(file("x"), file("y")));
    expect(summarize(operations)).toEqual({
      files: 1,
      directories: 1,
      links: 1,
      touched: 0,
      checked: 0,
      moved: 0,
      removed: 2,
      bytes: 5,
    });
  });
});

const name = fc.constantFrom("a", "b", "c", "a-b", "ä");
const anyTree: fc.Arbitrary<Tree> = fc
  .array(
    fc.record({
      path: fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/")),
      kind: fc.constantFrom("file", "directory", "symlink"),
      number: fc.nat(3),
    }),
    { maxLength: 14 },
  )
  .map((wanted) => {
    const made: Tree = new Map();
    for (const { path, kind, number } of wanted) {
      const above = ancestorsOf(path);
      if (made.has(path) || above.some((one) => made.has(one) && made.get(one)?.kind !== "directory")) continue;
      for (const one of above) made.set(one, folder(one));
      if (kind === "directory") made.set(path, folder(path));
      else if (kind === "symlink") made.set(path, link(path, `to ${number}`));
      else made.set(path, file(path, number, { executable: number === 3 }));
    }
    return made;
  });

describe("properties of plan", () => {
  test("apply(base, plan(base, target)) = target", () => {
    fc.assert(
      fc.property(anyTree, anyTree, (base, target) => {
        expect(apply(base, plan(target, base).operations)).toEqual(target);
      }),
      { numRuns: 500 },
    );
  });

  test("plan(x, x) is empty", () => {
    fc.assert(
      fc.property(anyTree, (same) => {
        expect(plan(same, new Map(same))).toEqual({ operations: [], blocked: [] });
      }),
    );
  });

  test("without delete everything local arrives that is not blocked, and every remote file is still there", () => {
    fc.assert(
      fc.property(anyTree, anyTree, (base, target) => {
        const { operations, blocked } = plan(target, base, { delete: false });
        const result = apply(base, operations);
        const lost = (path: string): boolean =>
          blocked.some((failure) => path === failure.path || path.startsWith(`${failure.path}/`));
        for (const [path, entry] of target) if (!lost(path)) expect(result.get(path)).toEqual(entry);
        for (const path of base.keys())
          if (!target.has(path) && !replaced(path, base, target)) expect(result.has(path)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});

/** Whether `path` itself, or a link above it, had to make way. */
function replaced(path: string, base: Tree, target: Tree): boolean {
  return [path, ...ancestorsOf(path)].some((one) => {
    const here = target.get(one);
    return here !== undefined && here.kind !== base.get(one)?.kind && base.get(one)?.kind !== "directory";
  });
}
