import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  AVERAGE_CHUNK_BYTES,
  ChunkList,
  chunkHash,
  chunkLength,
  chunkRecord,
  LEAST_CHUNK_BYTES,
  Matcher,
  MOST_CHUNK_BYTES,
  throughWindow,
} from "../../../src/sync/chunk.js";

/** Bytes that look random and are the same in every run. */
function noise(bytes: number, seed = 1): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let x = seed;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return Buffer.from(words.buffer, 0, bytes);
}

function cut(data: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < data.length; ) {
    const chunk = data.subarray(at, at + chunkLength(data.subarray(at)));
    chunks.push(chunk);
    at += chunk.length;
  }
  return chunks;
}

const listOf = (data: Buffer): ChunkList =>
  new ChunkList(Buffer.concat(cut(data).map((chunk) => chunkRecord(chunk.length, chunkHash(chunk)))));

/** What an edited version sends, and what the other end makes of it. */
async function rebuild(old: Buffer, edited: Buffer) {
  const matcher = new Matcher(listOf(old));
  const offsets = listOf(old).offsets();
  const parts: Buffer[] = [];
  let [read, sent] = [0, 0];
  const fill = async (buffer: Buffer): Promise<void> => {
    read += edited.copy(buffer, 0, read, read + buffer.length);
  };
  await throughWindow(edited.length, fill, (view) => {
    const { length, index } = matcher.next(view);
    if (index === undefined) sent += length;
    parts.push(
      index === undefined ? Buffer.from(view.subarray(0, length)) : old.subarray(offsets[index], offsets[index + 1]),
    );
    return length;
  });
  return { result: Buffer.concat(parts), sent };
}

describe("chunks", () => {
  test("their sizes are within bounds and close to the average", () => {
    const chunks = cut(noise(32 * 1024 * 1024));
    const inner = chunks.slice(0, -1).map(({ length }) => length);
    expect(Math.min(...inner)).toBeGreaterThanOrEqual(LEAST_CHUNK_BYTES);
    expect(Math.max(...inner)).toBeLessThanOrEqual(MOST_CHUNK_BYTES);
    const average = inner.reduce((sum, length) => sum + length, 0) / inner.length;
    expect(average).toBeGreaterThan(AVERAGE_CHUNK_BYTES * 0.75);
    expect(average).toBeLessThan(AVERAGE_CHUNK_BYTES * 1.35);
  });

  test("an insert changes no cut but the nearest", () => {
    const data = noise(8 * 1024 * 1024);
    const before = new Set(cut(data).map(chunkHash));
    const after = cut(Buffer.concat([data.subarray(0, 4e6), Buffer.from("hello"), data.subarray(4e6)]));
    expect(after.filter((chunk) => !before.has(chunkHash(chunk))).length).toBeLessThanOrEqual(3);
  });

  test("where there is nothing to see, chunks are as large as they may be", () => {
    expect(cut(Buffer.alloc(600_000)).map(({ length }) => length)).toEqual([262_144, 262_144, 75_712]);
    expect(chunkLength(Buffer.alloc(0))).toBe(0);
  });

  test("the cuts are part of the protocol and stay where they are", () => {
    expect(cut(noise(700_000)).map(({ length }) => length)).toMatchInlineSnapshot(`
      [
        69981,
        96271,
        44794,
        86351,
        36066,
        76875,
        87690,
        145886,
        36868,
        19218,
      ]
    `);
  });

  test("they are where the definition says, one byte after the other", () => {
    const gears = Int32Array.from({ length: 256 }, (_, i) => {
      let z = Math.imul(i + 1, 0x9e37_79b9);
      z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
      return z ^ (z >>> 15);
    });
    const defined = (data: Buffer): number => {
      let gear = 0;
      for (let i = LEAST_CHUNK_BYTES; i < Math.min(data.length, MOST_CHUNK_BYTES); i++) {
        gear = ((gear << 1) + (gears[data[i] as number] as number)) | 0;
        if (gear >>> (i < AVERAGE_CHUNK_BYTES ? 14 : 18) === 0) return i + 1;
      }
      return Math.min(data.length, MOST_CHUNK_BYTES);
    };
    const data = noise(6_000_000, 7);
    for (let at = 0; at < data.length; at += chunkLength(data.subarray(at))) {
      expect(chunkLength(data.subarray(at))).toBe(defined(data.subarray(at)));
      expect(chunkLength(data.subarray(at, at + 70_000))).toBe(defined(data.subarray(at, at + 70_000)));
    }
  });

  test("a list says whether it can be one of a file", () => {
    const list = listOf(noise(500_000));
    expect(list.fits(500_000)).toBe(true);
    expect(list.fits(500_001)).toBe(false);
    expect(new ChunkList(list.records.subarray(1)).fits(500_000)).toBe(false);
    expect(new ChunkList(chunkRecord(0, 0)).fits(0)).toBe(false);
    expect(new ChunkList(chunkRecord(300_000, 0)).fits(300_000)).toBe(false);
  });
});

describe("a new version from an old one", () => {
  test("edits of any kind arrive, and send little more than what they changed", async () => {
    const old = noise(3_000_000);
    const edit = fc.record({ at: fc.nat(3_000_000), remove: fc.nat(200_000), insert: fc.nat(200_000) });
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 3 }), async (edits) => {
        let edited = old;
        let inserted = 0;
        for (const [i, { at, remove, insert }] of edits.entries()) {
          edited = Buffer.concat([edited.subarray(0, at), noise(insert, i + 2), edited.subarray(at + remove)]);
          inserted += insert;
        }
        const { result, sent } = await rebuild(old, edited);
        expect(result.equals(edited)).toBe(true);
        expect(sent).toBeLessThanOrEqual(inserted + edits.length * 3 * MOST_CHUNK_BYTES);
      }),
      { numRuns: 40 },
    );
  });

  test("many equal chunks, and files of another kind altogether", async () => {
    const zeros = Buffer.alloc(2_000_000);
    expect((await rebuild(zeros, Buffer.alloc(3_000_000))).sent).toBeLessThan(MOST_CHUNK_BYTES);
    const { result, sent } = await rebuild(zeros, noise(1_000_000));
    expect(result.equals(noise(1_000_000))).toBe(true);
    expect(sent).toBe(1_000_000);
    expect((await rebuild(zeros, Buffer.alloc(0))).result.length).toBe(0);
  });
});
