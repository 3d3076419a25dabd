import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { differences, sharing } from "../../../src/sync/compare.js";
import { type Entry, withHash } from "../../../src/sync/entry.js";
import { planWithMoves } from "../../../src/sync/moves.js";
import { plan } from "../../../src/sync/plan.js";
import { scanFolder } from "../../../src/sync/scan.js";
import { Turns } from "../../../src/sync/turns.js";
import { make, tempFolder } from "../../support/sync-rig.js";

const names = fc.constantFrom("a", "b", "a/x", "a/y", "b/x", "b/y", "b/y/z", "c", "c/x/y", "c/x");
const entries = fc.array(
  fc.record({
    path: names,
    kind: fc.constantFrom<Entry["kind"]>("file", "file", "directory", "directory", "symlink"),
    size: fc.constantFrom(1, 2000),
    time: fc.constantFrom(1n, 5_000_000n),
    version: fc.constantFrom("1.1", "2.2", "3.3", undefined),
  }),
  { maxLength: 12 },
);

/** A tree: what is above an entry is a folder. */
function tree(made: (typeof entries extends fc.Arbitrary<infer T> ? T : never)[number][]): Map<string, Entry> {
  const found = new Map<string, Entry>();
  for (const { path, kind, size, time: mtimeNs, version } of made) {
    const above = path.split("/").slice(0, -1);
    for (let i = 1; i <= above.length; i++) {
      const folder = above.slice(0, i).join("/");
      found.set(folder, { kind: "directory", path: folder, mtimeNs, mode: 0o755 });
    }
    if ([...found.keys()].some((other) => other.startsWith(`${path}/`))) continue;
    if (kind === "directory") found.set(path, { kind, path, mtimeNs, mode: 0o755 });
    else if (kind === "symlink") found.set(path, { kind, path, target: `${size}`, mtimeNs });
    else
      found.set(path, { kind, path, size, mtimeNs, executable: false, ...(version === undefined ? {} : { version }) });
  }
  return found;
}

describe("what differs", () => {
  test.each([
    ["plan", plan],
    ["planWithMoves", planWithMoves],
  ])("is planned as the whole trees are: %s", async (_, planner) => {
    await fc.assert(
      fc.asyncProperty(entries, entries, fc.boolean(), fc.boolean(), async (here, there, folderTimes, deletes) => {
        const [local, remote] = [tree(here), tree(there)];
        const options = { folderTimes, delete: deletes, protect: (path: string) => path.startsWith("c/x") };
        // Something equal on both sides, so that the parts are parts.
        for (let i = 0; i < 40; i++) {
          const same: Entry = {
            kind: "file",
            path: `same ${i}`,
            size: i,
            mtimeNs: 1n,
            executable: true,
            version: "9.9",
          };
          local.set(same.path, same);
          remote.set(same.path, { ...same });
        }
        const parts = await differences(local, remote, options);
        expect(parts.local.has("same 1")).toBe(false);
        const ofParts = planner(parts.local, parts.remote, options);
        const ofAll = planner(local, remote, options);
        expect(ofParts.operations).toEqual(ofAll.operations);
        expect(new Set(ofParts.blocked)).toEqual(new Set(ofAll.blocked));
      }),
      { numRuns: 500 },
    );
  });

  test("in two equal trees is nothing", async () => {
    const local = tree([{ path: "a/x", kind: "file", size: 1, time: 1n, version: "1.1" }]);
    expect(await differences(local, new Map(local), {})).toEqual({ local: new Map(), remote: new Map() });
  });
});

test("an unchanged tree is in memory once: a walk keeps the entries that are known, with what is known of them", async () => {
  const folder = tempFolder();
  make(folder, Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`${i % 7}/${i}`, `${i}`])));
  make(folder, { link: { link: "x" }, changes: "1" });
  const first = await scanFolder(folder);
  for (const entry of first.entries.values())
    if (entry.kind === "file") first.entries.set(entry.path, withHash(entry, "ab"));
  make(folder, { changes: "22", new: "3" });
  const { entries } = await scanFolder(folder, { keep: sharing(first.entries) });
  const copies = [...entries.values()].filter((entry) => first.entries.get(entry.path) !== entry);
  expect(copies.map(({ path }) => path).sort()).toEqual(["changes", "new"]);
});

test("others get their turn after each slice of work", async () => {
  const turns = new Turns(10);
  const order: string[] = [];
  setImmediate(() => order.push("others"));
  for (let step = 1; step <= 20; step++) {
    if (turns.isOver()) await turns.next();
    if (step % 10 === 0) order.push(`${step}`);
  }
  expect(order).toEqual(["10", "others", "20"]);
});
