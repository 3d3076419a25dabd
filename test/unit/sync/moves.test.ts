import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../../src/sync/entry.js";
import { type MoveOptions, planWithMoves, soughtSources } from "../../../src/sync/moves.js";
import { ancestorsOf } from "../../../src/sync/path.js";
import type { Operation } from "../../../src/sync/plan.js";

type Tree = Map<string, Entry>;

const tree = (...entries: Entry[]): Tree => new Map(entries.map((entry) => [entry.path, entry]));
function file(path: string, version?: string, size = 5000, mtimeNs = 1_000_000n): Entry {
  return { kind: "file", path, size, mtimeNs, executable: false, ...(version === undefined ? {} : { version }) };
}
const folder = (path: string): Entry => ({ kind: "directory", path });
const link = (path: string): Entry => ({ kind: "symlink", path, target: "x" });

function steps(local: Tree, remote: Tree, options?: MoveOptions): string[] {
  return planWithMoves(local, remote, options).operations.map((operation) => {
    const { do: what, entry } = operation;
    const from = "from" in operation ? `${operation.from} > ` : "";
    return `${what} ${from}${entry.path}${what === "move" && "held" in operation && operation.held ? " (held)" : ""}`;
  });
}

/** A destination that is as strict as a file system. Files are told apart by size. */
function apply(base: Tree, operations: readonly Operation[]): Tree {
  const result = new Map(base);
  const held = new Map<string, Entry>();
  for (const operation of operations) {
    const { do: what, entry } = operation;
    const { path } = entry;
    const there = result.get(path);
    for (const above of ancestorsOf(path)) expect(result.get(above)?.kind, `${what} ${path}`).toBe("directory");
    if (what === "remove") {
      expect(there?.kind).toBe(entry.kind);
      for (const other of result.keys()) expect(other.startsWith(`${path}/`), `${path} is empty`).toBe(false);
      result.delete(path);
    } else if (what === "hold") {
      expect(there?.kind).toBe("file");
      held.set(path, there as Entry);
    } else if (operation.do === "rename") {
      const { from } = operation;
      expect(result.get(from)?.kind).toBe("directory");
      expect(there).toBeUndefined();
      for (const [old, moved] of [...result]) {
        if (old !== from && !old.startsWith(`${from}/`)) continue;
        result.delete(old);
        result.set(path + old.slice(from.length), { ...moved, path: path + old.slice(from.length) });
      }
    } else {
      if (what === "mkdir") expect(there).toBeUndefined();
      else expect(there?.kind).not.toBe("directory");
      if (operation.do === "move") {
        const source = operation.held ? held.get(operation.from) : result.get(operation.from);
        expect(source).toMatchObject({ kind: "file", size: operation.entry.size });
        if (!operation.held) result.delete(operation.from);
        held.delete(operation.from);
      }
      result.set(path, entry);
    }
  }
  return result;
}

describe("what was moved is not sent", () => {
  test("a renamed file, whose change time is new", () => {
    expect(steps(tree(file("b", "1.2")), tree(file("a", "1.1")))).toEqual(["move a > b"]);
  });

  test("a file renamed between two runs: found by size and name, or size and time", () => {
    expect(steps(tree(folder("d"), file("d/a", "1.1")), tree(file("a")))).toEqual(["mkdir d", "move a > d/a"]);
    expect(steps(tree(file("b", "1.1")), tree(file("a")))).toEqual(["move a > b"]);
    expect(steps(tree(file("b", "1.1", 5000, 9n ** 9n)), tree(file("a")))).toEqual(["put b", "remove a"]);
  });

  test("a folder with all it holds, however much", () => {
    const inside = (top: string): Entry[] => [
      folder(top),
      folder(`${top}/deep`),
      file(`${top}/f`, "1.1"),
      file(`${top}/deep/g`, "2.1"),
      link(`${top}/l`),
    ];
    expect(steps(tree(...inside("new")), tree(...inside("old")))).toEqual(["rename old > new"]);
    const above = [folder("x"), folder("x/y")];
    expect(steps(tree(...above, ...inside("x/y/new")), tree(...inside("old")))).toEqual([
      "mkdir x",
      "mkdir x/y",
      "rename old > x/y/new",
    ]);
  });

  test("a folder that was renamed and changed inside", () => {
    const remote = tree(folder("a"), file("a/1", "1.1"), file("a/2", "2.1"), file("a/3", "3.1"), file("a/4", "4.1"));
    const local = tree(
      folder("b"),
      file("b/1", "1.1"),
      file("b/2", "2.9", 7),
      file("b/new", "9.9", 8),
      file("b/4", "4.1"),
    );
    expect(steps(local, remote)).toEqual(["rename a > b", "put b/2", "put b/new", "remove b/3"]);
  });

  test("in a folder that was renamed, what is not known by its version is not trusted", () => {
    const remote = tree(folder("a"), file("a/1", "1.1"), file("a/2"));
    const local = tree(folder("b"), file("b/1", "1.1"), file("b/2", "2.1"));
    expect(steps(local, remote)).toEqual(["rename a > b", "put b/2"]);
  });

  test("swapped and rotated files are held first", () => {
    expect(steps(tree(file("a", "2.2"), file("b", "1.2")), tree(file("a", "1.1"), file("b", "2.1")))).toEqual([
      "hold b",
      "hold a",
      "move b > a (held)",
      "move a > b (held)",
    ]);
    const logs = tree(file("log", "1.1", 10), file("log.1", "2.1", 20));
    const rotated = tree(file("log", "3.1", 1), file("log.1", "1.2", 10), file("log.2", "2.2", 20));
    expect(steps(rotated, logs)).toEqual([
      "hold log",
      "hold log.1",
      "move log > log.1 (held)",
      "move log.1 > log.2 (held)",
      "put log",
    ]);
  });

  test("a file that moves into the folder that takes its name", () => {
    expect(steps(tree(folder("a"), file("a/a", "1.2")), tree(file("a", "1.1")))).toEqual([
      "hold a",
      "remove a",
      "mkdir a",
      "move a > a/a (held)",
    ]);
  });

  test("another spelling of the same name", () => {
    expect(steps(tree(file("Readme", "1.2")), tree(file("README", "1.1")))).toEqual(["move README > Readme"]);
  });

  test("nothing moves without deleting, from where it has failed, or where it is protected", () => {
    const [local, remote] = [tree(file("b", "1.2")), tree(file("a", "1.1"))];
    expect(steps(local, remote, { delete: false })).toEqual(["put b"]);
    expect(steps(local, remote, { unmovable: new Set(["a"]) })).toEqual(["put b", "remove a"]);
    expect(steps(local, remote, { protect: (path) => path === "a" })).toEqual(["put b"]);
    const there = tree(folder("a"), file("a/1", "1.1"), file("a/.keep"));
    const here = tree(folder("b"), file("b/1", "1.1"));
    expect(steps(here, there, { protect: (path) => path.endsWith(".keep") })).toEqual(["mkdir b", "move a/1 > b/1"]);
  });

  test("two files of one content are not made one file", () => {
    const local = tree(file("b", "1.2"), file("c", "1.2"));
    expect(steps(local, tree(file("a", "1.1")))).toEqual(["move a > b", "put c"]);
  });

  test("where else to look is asked for much that is new", () => {
    const remote = tree(file("old", "1.1", 300_000), file("other", "2.1"));
    expect(soughtSources(tree(file("new", "1.2", 300_000)), tree(), remote)).toEqual(["old"]);
    expect(soughtSources(tree(file("new", "1.2", 3000)), tree(), remote)).toEqual([]);
    expect(soughtSources(tree(file("new", "5.2", 300_000)), tree(), remote)).toEqual([]);
  });
});

const name = fc.constantFrom("a", "b", "c", "a-b");
const somePath = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));

function build(wanted: readonly { path: string; kind: string; inode: number; known: boolean }[]): Tree {
  const made: Tree = new Map();
  const inodes = new Set<number>();
  for (const { path, kind, inode, known } of wanted) {
    const above = ancestorsOf(path);
    if (made.has(path) || above.some((one) => made.has(one) && made.get(one)?.kind !== "directory")) continue;
    for (const one of above) made.set(one, folder(one));
    if (kind === "directory") made.set(path, folder(path));
    else if (kind === "symlink") made.set(path, link(path));
    else if (!inodes.has(inode)) {
      inodes.add(inode);
      made.set(path, file(path, known ? `${inode}.1` : undefined, 2000 + inode));
    }
  }
  return made;
}

const anyEntry = fc.record({
  path: somePath,
  kind: fc.constantFrom("file", "file", "file", "directory", "symlink"),
  inode: fc.nat(7),
  known: fc.boolean(),
});
const anyEntries = fc.array(anyEntry, { maxLength: 16 });

/** What there was, with some paths replaced by others: folders and files that moved. */
const history = fc
  .tuple(anyEntries, anyEntries, fc.array(fc.tuple(somePath, somePath), { maxLength: 3 }))
  .map(([before, more, moves]) => {
    const after = before.map((entry) => {
      let { path } = entry;
      for (const [from, to] of moves)
        if (path === from || path.startsWith(`${from}/`)) path = to + path.slice(from.length);
      return { ...entry, path };
    });
    return {
      base: build(before),
      target: build([...after, ...more.map((entry) => ({ ...entry, inode: entry.inode + 5 }))]),
    };
  });

function plain(some: Tree): Record<string, string> {
  const sorted = [...some].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([path, entry]) => [path, entry.kind === "file" ? `file ${entry.size}` : entry.kind]),
  );
}

describe("properties of planWithMoves", () => {
  test("apply(base, plan(base, target)) = target, each step one that a file system takes", () => {
    fc.assert(
      fc.property(history, ({ base, target }) => {
        expect(plain(apply(base, planWithMoves(target, base).operations))).toEqual(plain(target));
      }),
      { numRuns: 2000 },
    );
  });

  test("a tree that moved as a whole costs one rename, and the folders above", () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        const known = entries.map((entry) => ({ ...entry, known: true }));
        const at = (top: string) => build(known.map((entry) => ({ ...entry, path: `${top}/${entry.path}` })));
        fc.pre([...at("x").values()].some(({ kind }) => kind === "file"));
        expect(steps(at("y/z"), at("x"))).toEqual(["mkdir y", "rename x > y/z"]);
      }),
    );
  });

  test("plan(x, x) is empty", () => {
    fc.assert(
      fc.property(anyEntries.map(build), (same) => {
        expect(planWithMoves(same, new Map(same)).operations).toEqual([]);
      }),
    );
  });
});
