import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChunkList, chunkRecord } from "../../../src/sync/chunk.js";
import { ChunkIndex } from "../../../src/sync/chunk-index.js";
import { ChunkSources } from "../../../src/sync/chunk-sources.js";
import { BUCKET_BYTES, ChunkTable } from "../../../src/sync/chunk-table.js";
import {
  LEAST_TABLE_BUCKETS,
  MAX_CHUNK_SOURCES,
  MAX_SOURCE_PATH_CHARS,
  MOST_TABLE_BUCKETS,
  SPARE_SOURCE_RECORDS,
} from "../../../src/sync/limits.js";
import { Random } from "../../support/random.js";
import { tempFolder } from "../../support/sync-rig.js";

const stamp = Buffer.from("a stamp.");
const always = (): boolean => true;

/** A hash of 48 bits. */
const hashes = (seed: number, count: number): number[] => {
  const bytes = Buffer.from(new Random(seed).bytes(count * 6));
  return Array.from({ length: count }, (_, i) => bytes.readUIntBE(i * 6, 6));
};

describe("a table of chunks", () => {
  test("gives back what was put in, the newest place of each, also when it is opened again", () => {
    const file = path.join(tempFolder(), "table");
    const table = ChunkTable.create(file, stamp);
    const all = hashes(1, 5000);
    for (const [i, hash] of all.entries()) table.put(hash, 20_000 + i, { source: 1, offset: i }, always);
    for (const [i, hash] of all.entries()) {
      if (i % 2 === 0) table.put(hash, 20_000 + i, { source: 2 ** 32 - 1, offset: 2 ** 36 }, always);
    }
    table.close();
    const again = ChunkTable.open(file, stamp) as ChunkTable;
    for (const [i, hash] of all.entries()) {
      const expected = i % 2 === 0 ? { source: 2 ** 32 - 1, offset: 2 ** 36 } : { source: 1, offset: i };
      expect(again.find(hash, 20_000 + i)).toEqual(expected);
      expect(again.find(hash, 20_001 + i)).toBeUndefined();
    }
    again.close();
    expect(ChunkTable.open(file, Buffer.from("another."))).toBeUndefined();
  });

  test("grows with what is put in, and loses nothing by that", () => {
    const file = path.join(tempFolder(), "table");
    const table = ChunkTable.create(file, stamp);
    const before = table.slots;
    const all = hashes(2, 3 * before);
    for (const [i, hash] of all.entries()) table.put(hash, 1 + (hash % 200_000), { source: 1, offset: i }, always);
    expect(table.slots).toBeGreaterThan(2 * before);
    for (const [i, hash] of all.entries()) expect(table.find(hash, 1 + (hash % 200_000))?.offset).toBe(i);
    expect(fs.statSync(file).size).toBe((table.slots / 16 + 1) * BUCKET_BYTES);
    table.close();
  });

  test("the places of sources that do not count any more are taken first", () => {
    const table = ChunkTable.create(path.join(tempFolder(), "table"), stamp);
    const before = table.slots;
    for (let source = 1; source <= 20; source++) {
      for (const hash of hashes(source, before / 4)) {
        table.put(hash, 20_000, { source, offset: 0 }, (one) => one === source);
      }
    }
    expect(table.slots).toBe(before);
    table.close();
  });

  test("as large as it may be, it forgets something for what comes", () => {
    const file = path.join(tempFolder(), "table");
    ChunkTable.create(file, stamp).close();
    fs.truncateSync(file, (MOST_TABLE_BUCKETS + 1) * BUCKET_BYTES);
    const table = ChunkTable.open(file, stamp) as ChunkTable;
    // All in one bucket: their hashes have the same lower bits.
    const hash = (i: number): number => (i * MOST_TABLE_BUCKETS + 5) * 2 ** 16;
    for (let i = 0; i < 100; i++) table.put(hash(i), 20_000, { source: 1, offset: i }, always);
    expect(table.find(hash(99), 20_000)?.offset).toBe(99);
    expect(Array.from({ length: 100 }, (_, i) => table.find(hash(i), 20_000)).filter(Boolean)).toHaveLength(16);
    expect(fs.statSync(file).size).toBe((MOST_TABLE_BUCKETS + 1) * BUCKET_BYTES);
    table.close();
  });

  test("whatever its bytes, it gives a place or none, and takes what is put in", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 4096 }), fc.nat(2 ** 18), (bytes, at) => {
        const folder = tempFolder();
        const file = path.join(folder, "table");
        ChunkTable.create(file, stamp).close();
        const fd = fs.openSync(file, "r+");
        fs.writeSync(fd, bytes, 0, bytes.length, at);
        fs.closeSync(fd);
        const table = ChunkTable.open(file, stamp);
        if (table === undefined) return;
        for (const hash of hashes(at, 50)) {
          table.find(hash, 20_000);
          table.put(hash, 20_000, { source: 1, offset: 7 }, always);
          expect(table.find(hash, 20_000)).toEqual({ source: 1, offset: 7 });
        }
        table.close();
      }),
      { numRuns: 50 },
    );
  });

  test.each([0, 100, BUCKET_BYTES, LEAST_TABLE_BUCKETS * BUCKET_BYTES, (LEAST_TABLE_BUCKETS + 2) * BUCKET_BYTES])(
    "of %d bytes, it is none",
    (bytes) => {
      const file = path.join(tempFolder(), "table");
      ChunkTable.create(file, stamp).close();
      fs.truncateSync(file, bytes);
      expect(ChunkTable.open(file, stamp)).toBeUndefined();
    },
  );
});

describe("the sources of chunks", () => {
  const source = (name: string, sha256 = "") => ({ path: name, size: 1, mtimeNs: 2n, sha256 });
  const added = (sources: ChunkSources, name: string, sha256 = ""): number => {
    const number = sources.number();
    sources.add(number, source(name, sha256));
    return number;
  };

  test("are found by number and path, moved, left and forgotten; also when they are opened again", () => {
    const file = path.join(tempFolder(), "sources");
    let sources = ChunkSources.create(file, stamp);
    const [a, b, c, d] = ["a", "f/b", "f/g/c", "fg"].map((name) => added(sources, name, "ab".repeat(32)));
    const e = added(sources, "e");
    sources.moved("f", "x/y");
    sources.moved("a", "z");
    sources.left(d as number);
    sources.left(e);
    const check = (): void => {
      expect(sources.get(a as number)).toEqual(source("z", "ab".repeat(32)));
      expect(sources.at("x/y/b")).toBe(b);
      expect(sources.at("x/y/g/c")).toBe(c);
      expect(sources.get(d as number)).toEqual(source("", "ab".repeat(32)));
      // Nothing is left by which it could be found.
      expect(sources.get(e)).toBeUndefined();
      expect([...sources.paths()].map(([name]) => name).sort()).toEqual(["x/y/b", "x/y/g/c", "z"]);
    };
    check();
    sources.close();
    sources = ChunkSources.open(file) as ChunkSources;
    expect(sources.stamp).toEqual(stamp);
    check();
    expect(sources.number()).toBeGreaterThan(e);
    sources.forget(a as number);
    expect(sources.at("z")).toBeUndefined();
    sources.close();
  });

  test("cut off anywhere, those before are there, and others can be added", () => {
    const file = path.join(tempFolder(), "sources");
    const sources = ChunkSources.create(file, stamp);
    const ends: number[] = [fs.statSync(file).size];
    for (let i = 0; i < 5; i++) {
      added(sources, `file ${i}`);
      ends.push(fs.statSync(file).size);
    }
    sources.close();
    const whole = fs.readFileSync(file);
    for (let bytes = whole.length; bytes >= (ends[0] ?? 0); bytes -= 7) {
      fs.writeFileSync(file, whole.subarray(0, bytes));
      const opened = ChunkSources.open(file) as ChunkSources;
      expect(opened.size).toBe(ends.filter((end) => end <= bytes).length - 1);
      added(opened, "another");
      opened.close();
      const again = ChunkSources.open(file) as ChunkSources;
      expect(again.at("another")).toBeDefined();
      again.close();
    }
    fs.writeFileSync(file, whole.subarray(0, 10));
    expect(ChunkSources.open(file)).toBeUndefined();
  });

  test("are bounded in number and in the length of their paths: the oldest go", () => {
    const file = path.join(tempFolder(), "sources");
    const sources = ChunkSources.create(file, stamp);
    for (let i = 0; i < MAX_CHUNK_SOURCES + 10; i++) added(sources, `${i}`);
    expect(sources.size).toBe(MAX_CHUNK_SOURCES);
    expect(sources.at("9")).toBeUndefined();
    expect(sources.at("10")).toBeDefined();
    const long = "x".repeat(4000);
    for (let i = 0; i < 3000; i++) added(sources, `${long}${i}`);
    let chars = 0;
    for (const [name] of sources.paths()) chars += name.length;
    expect(chars).toBeLessThanOrEqual(MAX_SOURCE_PATH_CHARS);
    expect(sources.at(`${long}2999`)).toBeDefined();
    sources.close();
  });

  test("their log is written anew when most of it is about nothing", () => {
    const file = path.join(tempFolder(), "sources");
    const sources = ChunkSources.create(file, stamp);
    const number = added(sources, "kept");
    for (let i = 0; i < 2 * SPARE_SOURCE_RECORDS; i++) sources.moved(i === 0 ? "kept" : `${i - 1}`, `${i}`);
    expect(fs.statSync(file).size).toBeLessThan(SPARE_SOURCE_RECORDS * 100);
    sources.close();
    const again = ChunkSources.open(file) as ChunkSources;
    expect(again.at(`${2 * SPARE_SOURCE_RECORDS - 1}`)).toBe(number);
    again.close();
  });
});

describe("an index of chunks", () => {
  const list = new ChunkList(Buffer.concat(hashes(1, 100).map((hash) => chunkRecord(20_000, hash))));
  const file = { path: "a", size: 2_000_000, mtimeNs: 5n, sha256: "" };

  test("knows which version it has, and where each chunk of it is", async () => {
    const index = new ChunkIndex(path.join(tempFolder(), "index"));
    expect(index.exists).toBe(false);
    expect(index.find(list.hash(0), 20_000)).toBeUndefined();
    await index.add(file, list);
    expect(index.exists).toBe(true);
    expect(index.knows("a", 2_000_000, 5n)).toBe(true);
    expect(index.knows("a", 2_000_000, 6n)).toBe(false);
    expect(index.find(list.hash(7), 20_000)).toMatchObject({ offset: 140_000, file });
    index.prune(() => false, false);
    expect(index.find(list.hash(7), 20_000)).toBeUndefined();
    index.close();
  });

  test("a file counts when all of it is written down", async () => {
    const directory = path.join(tempFolder(), "index");
    const index = new ChunkIndex(directory);
    const long = new ChunkList(Buffer.concat(hashes(3, 2000).map((hash) => chunkRecord(20_000, hash))));
    await index.add(file, list);
    const adding = index.add({ ...file, path: "b" }, long);
    // Another program would see this if we were killed now.
    const killed = new ChunkIndex(directory);
    expect(killed.knows("b", file.size, file.mtimeNs)).toBe(false);
    killed.close();
    await adding;
    expect(index.knows("b", file.size, file.mtimeNs)).toBe(true);
    index.close();
  });

  test("that cannot be written down is none, and nobody is told", async () => {
    const folder = tempFolder();
    fs.writeFileSync(path.join(folder, "taken"), "x");
    const index = new ChunkIndex(path.join(folder, "taken"));
    await index.add(file, list);
    expect(index.find(list.hash(0), 20_000)).toBeUndefined();
    expect(index.exists).toBe(false);
    index.close();
  });

  test("of damaged files is none, or gives what is to be compared", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("table", "sources"),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (name, at) => {
          const directory = path.join(tempFolder(), "index");
          const index = new ChunkIndex(directory);
          await index.add(file, list);
          index.close();
          const damaged = path.join(directory, name);
          const content = fs.readFileSync(damaged);
          randomBytes(8).copy(content, Math.floor(at * (content.length - 8)));
          fs.writeFileSync(damaged, content);
          const again = new ChunkIndex(directory);
          for (let i = 0; i < list.count; i++) again.find(list.hash(i), 20_000);
          await again.add({ ...file, path: "b" }, list);
          expect(again.find(list.hash(3), 20_000)).toMatchObject({ offset: 60_000, file: { path: "b" } });
          again.close();
        },
      ),
      { numRuns: 30 },
    );
  });
});
