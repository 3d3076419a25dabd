import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ExactNames, folded, type NameSystem } from "../../../src/sync/exact-names.js";
import { receive, Storage } from "../../../src/sync/index.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { contents, event, follow, make, mirrorOnce, ofType, tempFolder } from "../../support/sync-rig.js";

const list = (folder: string): string[] => fs.readdirSync(folder);

/** As macOS and Windows: finds what differs in case or form alone, and keeps the spelling that came first. */
const FOLDING: NameSystem = {
  finds: (folder, name) => list(folder).some((other) => folded(other) === folded(name)),
  list,
};

/** A host for one mirror whose file system is said to be another one. */
function host(system: NameSystem) {
  const dir = tempFolder();
  const root = path.join(dir, "m");
  const connect = () => {
    const { client, server } = linkedPair();
    const storage = new Storage(root, path.join(dir, "staging"), { names: new ExactNames(system) });
    receive(server, { admit: async () => ({ storage, release: () => {} }) });
    return client;
  };
  return { root, connect };
}

describe("a destination that takes several spellings for one name", () => {
  test("keeps the first, refuses the second with both names, and takes the rest", async () => {
    const { root, connect } = host(FOLDING);
    const folder = tempFolder();
    make(folder, { Readme: "1", readme: "2", "\u00e9": "3", "e\u0301": "4", rest: "5", "D/x": "6", "d/y": "7" });
    const error = await mirrorOnce(folder, connect).catch((reason) => reason);
    expect(error.code).toBe("ERR_INCOMPLETE");
    const failures = Object.fromEntries(error.failures.map((failure: { path: string }) => [failure.path, failure]));
    expect(Object.keys(failures).sort()).toEqual(["d", "d/y", "readme", "\u00e9"].sort());
    expect(failures.readme).toMatchObject({
      code: "ERR_NAME_TAKEN",
      message: 'the destination\'s file system takes "readme" for "Readme", which stands there',
    });
    expect(failures["d/y"].message).toContain('takes "d" for "D"');
    expect(Object.keys(contents(root)).sort()).toEqual(["D", "D/x", "Readme", "e\u0301", "rest"].sort());
    expect(fs.readFileSync(path.join(root, "Readme"), "utf8")).toBe("1");
    expect(fs.readFileSync(path.join(root, "e\u0301"), "utf8")).toBe("4");
  });

  test("takes a file, a folder, and a large file whose spelling changes", async () => {
    const { root, connect } = host(FOLDING);
    const folder = tempFolder();
    make(folder, { a: "1", "d/x": "2", "d/y": "3", large: Buffer.alloc(400_000, 1), stays: "" });
    const { events, seen } = follow(folder, connect);
    await event(events, "synced");
    for (const name of ["a", "d", "large"]) {
      fs.renameSync(path.join(folder, name), path.join(folder, name.toUpperCase()));
    }
    // Each may come in a round of its own, and is at the destination before it is reported.
    const moved = (): string[] => ofType(seen, "moved").map(({ path }) => path);
    await expect.poll(moved).toEqual(expect.arrayContaining(["A", "D", "LARGE"]));
    await expect.poll(() => contents(root)).toEqual(contents(folder));
    expect(ofType(seen, "failed")).toEqual([]);
  });

  test("takes what was spelled anew while nobody looked", async () => {
    const { root, connect } = host(FOLDING);
    const folder = tempFolder();
    make(folder, { a: "1", "d/x": "2", "\u00e9": "3" });
    await mirrorOnce(folder, connect);
    const before = { a: "A", d: "D", "\u00e9": "e\u0301" };
    for (const [name, now] of Object.entries(before)) {
      fs.renameSync(path.join(folder, name), path.join(folder, now));
    }
    const events = await mirrorOnce(folder, connect);
    expect(ofType(events, "failed")).toEqual([]);
    expect(contents(root)).toEqual(contents(folder));
  });

  test("takes the second when the first has gone", async () => {
    const { root, connect } = host(FOLDING);
    const folder = tempFolder();
    make(folder, { Readme: "1", readme: "2", x: "3" });
    await mirrorOnce(folder, connect).catch(() => {});
    fs.rmSync(path.join(folder, "Readme"));
    await mirrorOnce(folder, connect);
    expect(contents(root)).toEqual(contents(folder));
  });
});

test("a destination that would keep a name as another one refuses it", async () => {
  // As HFS+, which knows only decomposed names.
  const { root, connect } = host({
    ...FOLDING,
    list: (folder) => list(folder).map((name) => name.normalize("NFD")),
  });
  const folder = tempFolder();
  make(folder, { "\u00e9": "1", "o\u0308": "2", plain: "3" });
  const error = await mirrorOnce(folder, connect).catch((reason) => reason);
  expect(error.failures).toMatchObject([{ path: "\u00e9", code: "ERR_NAME" }]);
  expect(Object.keys(contents(root)).sort()).toEqual(["o\u0308", "plain"]);
});

test("names are known of many folders, and what goes is forgotten", () => {
  const root = tempFolder();
  const names = new ExactNames(FOLDING);
  names.learn(root, "stamp");
  const check = (name: string): void => names.check(name, (folder) => path.join(root, folder));
  for (let i = 0; i < 600; i++) make(root, { [`d${i}/File`]: "" });
  for (let i = 0; i < 600; i++) {
    check(`d${i}/File`);
    expect(() => check(`d${i}/file`)).toThrow(expect.objectContaining({ code: "ERR_NAME_TAKEN", path: `d${i}/file` }));
  }
  fs.renameSync(path.join(root, "d599/File"), path.join(root, "d599/file"));
  names.removed("d599/File");
  names.added("d599/file");
  check("d599/file");
  expect(() => check("d599/File")).toThrow('takes "File" for "file"');
  expect(fs.readdirSync(root).filter((name) => name.includes("stamp"))).toEqual([]);
});

test("where every name is its own, nothing is asked", () => {
  const names = new ExactNames();
  const root = tempFolder();
  names.learn(root, "stamp");
  names.check("a/b", () => {
    throw new Error("asked");
  });
  expect(names.areOne("a", "A")).toBe(false);
  const error = Object.assign(new Error(), { code: "EINVAL" });
  expect(names.explained(error, "a:b")).toBe(error);
});
