import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { setTimeAt } from "../../../src/sync/disk.js";
import { type Entry, Storage } from "../../../src/sync/index.js";
import { Roots, rootOf } from "../../../src/sync/roots.js";
import { LATEST_NS } from "../../../src/sync/times.js";
import { contents, follow, make, mirrorOnce, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";

const sha = (text: string | Buffer): Buffer => createHash("sha256").update(text).digest();
const file = (name: string, more: Partial<Entry & { kind: "file" }> = {}): Entry => ({
  kind: "file",
  path: name,
  size: 5,
  mtimeNs: 1_700_000_000_123_456_789n,
  executable: false,
  sha256: sha("hello").toString("hex"),
  ...more,
});
const exact = { mtimeToleranceNs: 0n, folderTimes: true, linkTimes: true };

/** The record of {@link file}. */
function recordOf(name: string): Buffer {
  const head = Buffer.alloc(21);
  head.writeBigUInt64BE(5n, 3);
  head.writeBigInt64BE(1_700_000_000_123_456_789n, 11);
  head.writeUInt16BE(Buffer.byteLength(name), 19);
  return Buffer.concat([head, Buffer.from(name), sha("hello")]);
}

describe("the root hash", () => {
  test("of times that are later than the other side keeps is that of the latest one", async () => {
    const latestNs = 15_032_385_535n * 1_000_000_000n;
    const late = (mtimeNs: bigint): Entry[] => [
      file("x", { mtimeNs }),
      { kind: "directory", path: "d", mtimeNs, mode: 0o700 },
      { kind: "symlink", path: "l", target: "x", mtimeNs },
    ];
    const there = await rootOf(late(latestNs), exact);
    expect(await rootOf(late(LATEST_NS), { ...exact, latestNs })).toEqual(there);
    expect(await rootOf(late(LATEST_NS), exact)).not.toEqual(there);
    expect(await rootOf(late(latestNs - 1n), { ...exact, latestNs })).not.toEqual(there);
  });

  test("is what docs/sync-protocol.md says", async () => {
    const record = (kind: number, mode: number, size: number, time: bigint, name: string, hash: Buffer): Buffer => {
      const head = Buffer.alloc(21);
      head.writeUInt8(kind);
      head.writeUInt16BE(mode, 1);
      head.writeBigUInt64BE(BigInt(size), 3);
      head.writeBigInt64BE(time, 11);
      head.writeUInt16BE(Buffer.byteLength(name), 19);
      return Buffer.concat([head, Buffer.from(name), hash]);
    };
    const entries: Entry[] = [
      file("d/x", { executable: true, mode: 0o750 }),
      { kind: "symlink", path: "l", target: "d/x", mtimeNs: -1n },
      { kind: "directory", path: "d", mtimeNs: 7n, mode: 0o700 },
    ];
    const time = 1_700_000_000_123_456_789n;
    const plain = (d: Buffer): Buffer =>
      sha(Buffer.concat([record(1, 0, 0, 7n, "d", d), record(2, 0, 0, -1n, "l", sha("d/x"))]));
    expect(await rootOf(entries, exact)).toEqual(plain(sha(record(0, 0o100, 5, time, "x", sha("hello")))));
    expect(await rootOf(entries, { ...exact, perms: true })).toEqual(
      sha(
        Buffer.concat([
          record(1, 0o700, 0, 7n, "d", sha(record(0, 0o750, 5, time, "x", sha("hello")))),
          record(2, 0, 0, -1n, "l", sha("d/x")),
        ]),
      ),
    );
    const coarse = sha(record(0, 0o100, 5, time / 1000n, "x", sha("hello")));
    expect(await rootOf(entries, { mtimeToleranceNs: 1000n })).toEqual(
      sha(Buffer.concat([record(1, 0, 0, 0n, "d", coarse), record(2, 0, 0, 0n, "l", sha("d/x"))])),
    );
    expect(await rootOf([], exact)).toEqual(sha(""));
  });

  test("is not known where times are coarse or a hash is missing", async () => {
    expect(await rootOf([file("a")], { mtimeToleranceNs: 2_000_000_000n })).toBeUndefined();
    expect(await rootOf([file("a", { sha256: "0123456789abcdef" })], exact)).toBeUndefined();
  });

  test("is that of the sorted names also where a folder holds more than are sorted at once", async () => {
    const many = Array.from({ length: 20_000 }, (_, i) => file(`${(i * 7919) % 20_000}`));
    many.push(file("\u{1f600}"), file("\uffee"));
    const records = [...many].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
    const root = await rootOf(many, exact);
    expect(root).toEqual(await rootOf(records, exact));
    expect(root).toEqual(await rootOf(records.toReversed(), exact));
    const hashes = createHash("sha256");
    for (const { path: name } of records) hashes.update(recordOf(name));
    expect(root).toEqual(hashes.digest());
  });

  test("does not depend on the order, and changes with everything", async () => {
    const tree = [file("b"), file("a/é"), file("a/z"), file("a/\udcff"), file("a/\u{1f600}"), file("a/\uffee")];
    const folders: Entry[] = [{ kind: "directory", path: "a", mtimeNs: 1n }];
    const whole = [...tree, ...folders];
    const root = await rootOf(whole, exact);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(whole, { minLength: whole.length }), async (shuffled) => {
        expect(await rootOf(shuffled, exact)).toEqual(root);
      }),
    );
    for (const change of [
      { size: 6 },
      { mtimeNs: 1n },
      { executable: true },
      { sha256: "0".repeat(64) },
      { path: "c" },
    ]) {
      expect(await rootOf([file("b", change), ...tree.slice(1), ...folders], exact)).not.toEqual(root);
    }
  });
});

describe("the root hash after changes", () => {
  test("is what it is when all of it is computed anew", async () => {
    const paths = ["a", "b/x", "b/y", "b/c/x", "b/c/d/x", "e/f/x"];
    const folders = ["b", "b/c", "b/c/d", "e", "e/f"];
    const change = fc.record({ path: fc.constantFrom(...paths), size: fc.nat(3), gone: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(change), async (changes) => {
        const entries = new Map<string, Entry>(folders.map((path) => [path, { kind: "directory", path, mtimeNs: 1n }]));
        const roots = new Roots(exact);
        for (const { path, size, gone } of changes) {
          roots.touch(path);
          if (gone) entries.delete(path);
          else entries.set(path, file(path, { size }));
          expect(await roots.compute(entries.values())).toEqual(await rootOf(entries.values(), exact));
        }
      }),
    );
  });

  test("computes again only what is above them", async () => {
    const entries = ["a/x", "b/c/x"].map((name) => file(name));
    for (const path of ["a", "b", "b/c"]) entries.push({ kind: "directory", path, mtimeNs: 1n });
    const roots = new Roots(exact);
    await roots.compute(entries);
    const [a, c] = [roots.hashOf("a"), roots.hashOf("b/c")];
    roots.touch("b/new");
    expect([roots.hashOf(""), roots.hashOf("b")]).toEqual([undefined, undefined]);
    expect([roots.hashOf("a"), roots.hashOf("b/c")]).toEqual([a, c]);
    roots.touchTree("b");
    expect(roots.hashOf("b/c")).toBeUndefined();
    await roots.compute(entries);
    expect(roots.hashOf("a")).toBe(a);
  });
});

describe("both ends agree", () => {
  /** A home and a client with an index, whose bytes are counted. */
  const setUp = (scrubMs?: number) => {
    const rig = testHome(scrubMs === undefined ? {} : { scrubMs });
    const folder = tempFolder();
    const index = path.join(tempFolder(), "index");
    const count = { received: 0, sent: 0 };
    const connect = () => {
      const client = rig.connect();
      client.on("data", (chunk: Buffer) => (count.received += chunk.length));
      return client;
    };
    return { rig, folder, index, count, connect };
  };

  test("so that nothing is listed when nothing has changed", async () => {
    const { rig, folder, index, count, connect } = setUp();
    make(folder, Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`${i % 9}/${i}`, `${i}`])));
    make(folder, { l: { link: "x" }, large: Buffer.alloc(300_000, 1), run: { content: "x", executable: true } });
    const [first] = ofType(await mirrorOnce(folder, connect, { index }), "synced");
    expect(first?.root).toMatch(/^[0-9a-f]{64}$/);
    count.received = 0;
    const events = await mirrorOnce(folder, connect, { index });
    expect(count.received).toBeLessThan(200);
    expect(ofType(events, "connected")).toMatchObject([{ entries: 512 }]);
    expect(ofType(events, "synced")[0]?.root).toBe(first?.root);
    // One file there is another one now, with the size and time that it had.
    const victim = path.join(rig.at(), "3/3");
    const { atimeMs, mtimeMs } = fs.statSync(victim);
    fs.writeFileSync(victim, "X");
    fs.utimesSync(victim, atimeMs / 1000, mtimeMs / 1000);
    await mirrorOnce(folder, connect, { index });
    expect(contents(rig.at())).toEqual(contents(folder));
  });

  test("with verify, also on what has rotted in its place", async () => {
    const { rig, folder, index, connect } = setUp();
    make(folder, { a: "right", b: "right too", large: Buffer.alloc(300_000, 1) });
    await mirrorOnce(folder, connect, { index });
    await until(() => rig.events.some(({ type }) => type === "closed"));
    rot(rig, "a", "WRONG");
    expect(ofType(await mirrorOnce(folder, connect, { index }), "pushed")).toEqual([]);
    await mirrorOnce(folder, connect, { index, verify: true });
    expect(contents(rig.at())).toEqual(contents(folder));
  });

  test("while following: what is changed, deleted or rots there is repaired", async () => {
    const { rig, folder, index, connect } = setUp(50);
    make(folder, { a: "right", b: "stays", "d/c": "deep" });
    const { seen } = follow(folder, connect, { index, backoff: { firstMs: 1 } });
    await until(() => ofType(seen, "synced").length > 0);
    rot(rig, "a", "WRONG");
    fs.rmSync(path.join(rig.at(), "d"), { recursive: true });
    fs.writeFileSync(path.join(rig.at(), "b"), "tampered with");
    fs.writeFileSync(path.join(rig.at(), "extra"), "new");
    await until(() => JSON.stringify(contents(rig.at())) === JSON.stringify(contents(folder)));
    expect(ofType(seen, "retrying").map(({ code }) => code)).toContain("ERR_DIVERGED");
  });
});

/** Other content, of which the server does not know: that is what a bad disk leaves. */
function rot(rig: ReturnType<typeof testHome>, name: string, content: string): void {
  const full = path.join(rig.at(), name);
  const { mtimeNs } = fs.statSync(full, { bigint: true });
  const before = sha(fs.readFileSync(full)).toString("hex");
  fs.writeFileSync(full, content);
  setTimeAt(full, mtimeNs);
  const hashes = path.join(rig.dir, ".confundo", "hashes", "m");
  const storage = new Storage(rig.at(), path.join(rig.dir, ".confundo", "staging", "m"), { hashes });
  storage.hashes.remember(name, content.length, mtimeNs, before);
  storage.hashes.close();
}
