import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Entry, FileEntry } from "../../../src/sync/entry.js";
import { defaultIndexPath, IndexFile } from "../../../src/sync/index-file.js";
import { tempFolder } from "../../support/sync-rig.js";

function file(name: string, version = "1a.2b", size = 5, mtimeNs = -7n): FileEntry {
  return { kind: "file", path: name, size, mtimeNs, executable: false, version };
}

/** What a mirror lists: no versions. */
function listing(...files: FileEntry[]): Map<string, Entry> {
  return new Map(files.map(({ version: _, ...entry }) => [entry.path, entry]));
}

function versions(entries: Map<string, Entry>): (string | undefined)[] {
  return [...entries.values()].map((entry) => (entry.kind === "file" ? entry.version : undefined));
}

async function reopened(at: string, entries: Map<string, Entry>, owner = "me"): Promise<(string | undefined)[]> {
  await new IndexFile(at, owner).vouch(entries);
  return versions(entries);
}

function written(files: FileEntry[]): string {
  const at = path.join(tempFolder(), "deep", "x.index");
  const index = new IndexFile(at, "me");
  for (const entry of files) index.record(entry, randomBytes(32));
  index.close();
  return at;
}

describe("the index", async () => {
  test("vouches in a later run for what was confirmed, the last version of it", async () => {
    const at = written([file("a", "1.1"), file("ä/\n", "1.2"), file("a", "1.3")]);
    expect(await reopened(at, listing(file("a"), file("ä/\n"), file("new")))).toEqual(["1.3", "1.2", undefined]);
  });

  test("vouches for nothing that is another size or time at the mirror", async () => {
    const at = written([file("a"), file("b"), file("c", "1.1", 2 ** 50, 2n ** 62n)]);
    const entries = listing(file("a", "", 6), file("b", "", 5, 5_000_000n), file("c", "", 2 ** 50, 2n ** 62n));
    expect(await reopened(at, entries)).toEqual([undefined, undefined, "1.1"]);
  });

  test("of another folder or mirror counts for nothing, and makes way", async () => {
    const at = written([file("a")]);
    expect(await reopened(at, listing(file("a")), "somebody else")).toEqual([undefined]);
    const other = new IndexFile(at, "somebody else");
    other.record(file("b"));
    other.close();
    expect(await reopened(at, listing(file("a"), file("b")), "somebody else")).toEqual([undefined, "1a.2b"]);
    expect(await reopened(at, listing(file("a"), file("b")))).toEqual([undefined, undefined]);
  });

  test("wherever it is damaged or cut off, it vouches for less and never for what was not", async () => {
    const files = Array.from({ length: 20 }, (_, i) => file(`f${i}`, `1.${i}`));
    const at = written(files);
    const whole = fs.readFileSync(at);
    for (let i = 0; i < 200; i++) {
      const damaged = Buffer.from(whole);
      const where = Math.floor((i / 200) * whole.length);
      damaged[where] = (damaged[where] as number) ^ 0x11;
      fs.writeFileSync(at, i % 3 === 0 ? whole.subarray(0, where) : damaged);
      const found = await reopened(at, listing(...files));
      for (const [number, version] of found.entries()) expect([undefined, `1.${number}`]).toContain(version);
      const index = new IndexFile(at, "me");
      index.record(file("later", "9.9"));
      index.close();
      expect(await reopened(at, listing(file("later")))).toEqual(["9.9"]);
    }
  });

  test("is made anew when most of it is about nothing", async () => {
    const at = written(Array.from({ length: 9000 }, (_, i) => file(`f${i % 3000}`, `1.${i}`)));
    const before = fs.statSync(at).size;
    const entries = listing(...Array.from({ length: 10 }, (_, i) => file(`f${i}`)));
    expect((await reopened(at, entries))[9]).toBe("1.6009");
    expect(fs.statSync(at).size).toBeLessThan(before / 100);
    expect(await reopened(at, listing(file("f9")))).toEqual(["1.6009"]);
    expect(fs.readdirSync(path.dirname(at))).toHaveLength(1);
  });

  test("that cannot be written is told once, and all goes on", async () => {
    const folder = tempFolder();
    fs.writeFileSync(path.join(folder, "file"), "");
    const told: Error[] = [];
    const index = new IndexFile(path.join(folder, "file", "x.index"), "me", (error) => told.push(error));
    for (let i = 0; i < 2000; i++) index.record(file(`f${i}`));
    index.close();
    expect(await index.vouch(listing(file("f1")))).toBe(0);
    expect(told).toHaveLength(1);
  });

  test.skipIf(process.platform === "win32")("is kept with the user's state", async () => {
    expect(defaultIndexPath("x", { XDG_STATE_HOME: "/state" })).toMatch(
      /^\/state\/confundo\/index\/[0-9a-f]{32}\.index$/,
    );
    expect(defaultIndexPath("x", {})).toContain(path.join(".local", "state", "confundo"));
    expect(defaultIndexPath("x")).not.toBe(defaultIndexPath("y"));
  });
});
