/** Limits whose numbers would take a test too long, at smaller ones. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ChunkLists } from "../../../src/sync/chunk-lists.js";
import { MAX_CHUNK_LISTS, MAX_DELTA_BYTES, MAX_HASHED_BYTES, MIN_DELTA_BYTES } from "../../../src/sync/limits.js";
import { Reuse } from "../../../src/sync/reuse.js";
import { scanFolder } from "../../../src/sync/scan.js";
import { Storage } from "../../../src/sync/storage.js";
import { contents, make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

vi.mock("../../../src/sync/limits.js", async (original) => ({
  ...(await original<typeof import("../../../src/sync/limits.js")>()),
  MAX_CHUNK_LISTS: 3,
  MAX_DELTA_BYTES: 600 * 1024,
  MAX_HASHED_BYTES: 5000,
  MAX_LISTED_ENTRIES: 20,
  MAX_MADE_FOLDERS: 2,
  MAX_OPEN_SOURCES: 2,
  MAX_WAITING_SOURCES: 2,
}));

test("MAX_LISTED_ENTRIES: a client refuses a mirror with more", async () => {
  const folder = tempFolder();
  make(folder, Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`f${i}`, "x"])));
  const { at, ...home } = testHome();
  const connect = () => home.connect();
  await mirrorOnce(folder, connect);
  await mirrorOnce(folder, connect);
  make(at(), { "one-more": "x" });
  await expect(mirrorOnce(folder, connect)).rejects.toMatchObject({ code: "ERR_LIMIT" });
});

test("MAX_MADE_FOLDERS: of more new folders the times and permissions are those of changed ones", () => {
  const dir = tempFolder();
  const storage = new Storage(path.join(dir, "m"), path.join(dir, "staging"));
  storage.prepare();
  for (const name of ["a", "b", "c"]) storage.makeFolder(name);
  const modes = ["a", "b", "c"].map((name) => {
    storage.touchFolder({ path: name, size: 0, mtimeNs: 1n, executable: true, sourceMode: 0o755 });
    return (fs.statSync(path.join(dir, "m", name)).mode & 0o777).toString(8);
  });
  expect(modes).toEqual(["755", "755", "700"]);
});

describe("chunks", () => {
  test("MAX_DELTA_BYTES: of a larger file no list is made", async () => {
    const file = path.join(tempFolder(), "f");
    const lists = new ChunkLists(undefined);
    const listed = async (bytes: number): Promise<boolean> => {
      fs.writeFileSync(file, Buffer.alloc(bytes));
      const fd = fs.openSync(file, "r");
      onTestFinished(() => fs.closeSync(fd));
      return (await lists.of(fd)) !== undefined;
    };
    expect(await listed(MIN_DELTA_BYTES)).toBe(true);
    expect(await listed(MAX_DELTA_BYTES)).toBe(true);
    expect(await listed(MAX_DELTA_BYTES + 1)).toBe(false);
  });

  test("MAX_CHUNK_LISTS: of more lists the oldest go", () => {
    const dir = tempFolder();
    const names = Array.from({ length: MAX_CHUNK_LISTS + 2 }, (_, i) => `1-2-${i}-4`);
    for (const [i, name] of names.entries()) {
      fs.writeFileSync(path.join(dir, name), "");
      fs.utimesSync(path.join(dir, name), 1e9 + i, 1e9 + i);
    }
    new ChunkLists(dir).clean();
    expect(fs.readdirSync(dir).sort()).toEqual(names.slice(2));
  });

  test("MAX_WAITING_SOURCES and MAX_OPEN_SOURCES: of more that wait the next look finds the others; two are open", async () => {
    const dir = tempFolder();
    const root = path.join(dir, "m");
    const names = ["a", "b", "c", "d", "e"];
    make(root, Object.fromEntries(names.map((name) => [name, Buffer.alloc(200 * 1024, name)])));
    const reuse = new Reuse({ root, directory: path.join(dir, "index"), lists: path.join(dir, "lists") });
    onTestFinished(() => reuse.close());
    const written = vi.spyOn(reuse.lists, "of");
    const look = async (): Promise<number> => {
      reuse.look(scanFolder(root).then(({ entries }) => entries));
      await reuse.idle();
      return written.mock.calls.length;
    };
    // One is being written down by the time that others come.
    expect(await look()).toBe(3);
    expect(await look()).toBe(5);

    // MAX_OPEN_SOURCES: what is about to go stays open for a while; of more, the first is closed.
    const [opened, closed] = [vi.spyOn(fs, "openSync"), vi.spyOn(fs, "closeSync")];
    onTestFinished(() => void vi.restoreAllMocks());
    for (const name of ["a", "b", "c"]) reuse.leaving(name, path.join(root, name));
    expect([opened.mock.calls.length, closed.mock.calls.length]).toEqual([3, 1]);
  });
});

test("MAX_HASHED_BYTES: what a mirror's files hold is read up to that, to answer with one hash for all", async () => {
  const folder = tempFolder();
  make(folder, Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`f${i}`, "x".repeat(1000)])));
  const dir = tempFolder();
  const storage = new Storage(folder, path.join(dir, "staging"));
  const { entries } = await scanFolder(folder);
  await storage.hashes.complete(entries, MAX_HASHED_BYTES, false, () => false);
  const known = [...entries.values()].filter((entry) => entry.kind === "file" && entry.sha256 !== undefined);
  expect(known).toHaveLength(5);
  expect(Object.keys(contents(folder))).toHaveLength(10);
});
