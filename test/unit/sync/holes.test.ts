/** Sparse files: holes are neither read, sent, counted nor written, by either end, in a first sync, a later one and a restore. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ChunkLists } from "../../../src/sync/chunk-lists.js";
import { copySparse, Holes, hashOf } from "../../../src/sync/holes.js";
import { LEAST_HOLE_BYTES } from "../../../src/sync/limits.js";
import { Random } from "../../support/random.js";
import { counting, mirrorOnce, ofType, tempFolder, testHome } from "../../support/sync-rig.js";

const MIB = 1024 * 1024;
const SIZE = 128 * MIB;
/** Less than what is allocated and read around a few bytes, more than the file systems' blocks. */
const LITTLE = 2 * MIB;

function sparse(file: string, size: number, pieces: readonly (readonly [at: number, bytes: number])[]): void {
  const fd = fs.openSync(file, fs.existsSync(file) ? "r+" : "w");
  fs.ftruncateSync(fd, size);
  const random = new Random(size);
  for (const [at, bytes] of pieces) fs.writeSync(fd, random.bytes(bytes), 0, bytes, at);
  fs.closeSync(fd);
}

const allocated = (file: string): number => fs.statSync(file).blocks * 512;
const digest = (file: string): string => createHash("sha256").update(fs.readFileSync(file)).digest("hex");

/** Bytes that this process has read by system calls: both ends of a mirror in memory. */
function readBytes(): number {
  return Number(/rchar: (\d+)/.exec(fs.readFileSync("/proc/self/io", "latin1"))?.[1]);
}

describe.runIf(process.platform === "linux")("a sparse file", () => {
  test("costs its data at first and its changes later, and stays sparse", async () => {
    const rig = testHome();
    const folder = tempFolder();
    const file = path.join(folder, "image");
    const copy = path.join(rig.at(), "image");
    const { connect, count } = counting(() => rig.connect());
    const sync = async () => {
      const before = { read: readBytes(), sent: count.sent };
      const events = await mirrorOnce(folder, connect, { verify: true });
      const [synced] = ofType(events, "synced");
      return { synced, read: readBytes() - before.read, sent: count.sent - before.sent };
    };
    sparse(file, SIZE, [
      [0, 5],
      [30 * MIB, 3 * MIB],
      [50 * MIB + 4096 * 3, 5],
    ]);
    const first = await sync();
    expect(first.sent).toBeLessThan(3 * MIB + LITTLE);
    expect(first.read).toBeLessThan(4 * 3 * MIB + 2 * LITTLE);
    expect(first.synced?.bytesSent).toBeLessThan(3 * MIB + LITTLE);
    expect(first.synced?.bytesReused).toBe(0);
    expect(allocated(copy)).toBeLessThan(3 * MIB + LITTLE);

    sparse(file, SIZE, [[90 * MIB, 5]]);
    const second = await sync();
    expect(second.sent).toBeLessThan(LITTLE);
    expect(second.synced?.bytesSent).toBeLessThan(LITTLE);
    expect(second.synced?.bytesReused).toBeLessThan(3 * MIB + LITTLE);
    // The data is read to find what has changed in it: by the client, and by the server for its list and for the new file.
    expect(second.read).toBeLessThan(6 * 3 * MIB + 2 * LITTLE);
    expect(allocated(copy)).toBeLessThan(3 * MIB + LITTLE);
    expect(digest(copy)).toBe(digest(file));
  });

  test("is copied at the destination with its holes", async () => {
    const rig = testHome();
    const folder = tempFolder();
    sparse(path.join(folder, "image"), 64 * MIB, [
      [MIB, MIB],
      [40 * MIB, 5],
    ]);
    await mirrorOnce(folder, () => rig.connect());
    fs.cpSync(path.join(folder, "image"), path.join(folder, "other"), { preserveTimestamps: true });
    await mirrorOnce(folder, () => rig.connect());
    expect(digest(path.join(rig.at(), "other"))).toBe(digest(path.join(folder, "image")));
    expect(allocated(path.join(rig.at(), "other"))).toBeLessThan(MIB + LITTLE);
  });

  test("small holes are read, larger ones passed over, wherever they are", () => {
    const file = path.join(tempFolder(), "f");
    const page = 4096;
    sparse(file, 2 * MIB, [
      [2 * LEAST_HOLE_BYTES, page],
      [2 * LEAST_HOLE_BYTES + 2 * page, page],
      [MIB, page],
    ]);
    const fd = fs.openSync(file, "r");
    const holes = new Holes(fd, 2 * MIB);
    const found: string[] = [];
    for (let at = 0; at < 2 * MIB; ) {
      const zeros = holes.zeros(at);
      const bytes = zeros > 0 ? zeros : holes.data(at);
      found.push(`${zeros > 0 ? "hole" : "data"} ${bytes}`);
      at += bytes;
    }
    fs.closeSync(fd);
    const behind = MIB - 2 * LEAST_HOLE_BYTES - 3 * page;
    expect(found).toEqual([
      `hole ${2 * LEAST_HOLE_BYTES}`,
      `data ${3 * page}`,
      `hole ${behind}`,
      `data ${page}`,
      `hole ${MIB - page}`,
    ]);
  });

  test.each([
    ["nothing but a hole", 10 * MIB, []],
    ["a hole at the start", 10 * MIB + 5, [[5 * MIB, 5 * MIB + 5]]],
    ["a hole at the end", 10 * MIB + 5, [[0, MIB + 77]]],
    [
      "data around one",
      3 * MIB,
      [
        [0, MIB],
        [2 * MIB + 5, MIB - 5],
      ],
    ],
    ["no hole", 300_000, [[0, 300_000]]],
    ["nothing", 0, []],
  ] as const)("is hashed, copied and cut as a file without holes: %s", async (_, size, pieces) => {
    const folder = tempFolder();
    const [file, copy, other] = ["f", "copy", "other"].map((name) => path.join(folder, name)) as [
      string,
      string,
      string,
    ];
    sparse(file, size, pieces);
    const fd = fs.openSync(file, "r");
    const into = fs.openSync(copy, "w");
    const second = fs.openSync(other, "w");
    try {
      expect((await hashOf(fd, size, into)).toString("hex")).toBe(digest(file));
      copySparse(fd, second);
      const list = await new ChunkLists(undefined).of(fd, 0);
      expect(list?.fits(size)).toBe(true);
    } finally {
      for (const open of [fd, into, second]) fs.closeSync(open);
    }
    for (const made of [copy, other]) {
      expect(digest(made)).toBe(digest(file));
      expect(allocated(made)).toBeLessThan(allocated(file) + MIB / 2);
    }
  });
});
