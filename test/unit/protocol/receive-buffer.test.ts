import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BLOCK_BYTES, MAX_RECEIVE_GAPS } from "../../../src/protocol/limits.js";
import { ReceiveBuffer } from "../../../src/protocol/receive-buffer.js";
import { Random } from "../../support/random.js";

function bytes(...values: number[]): Uint8Array {
  return new Uint8Array(values);
}

function readAll(buffer: ReceiveBuffer): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let part = buffer.read(); part !== null; part = buffer.read()) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}

describe("overlaps: the first bytes that arrived count", () => {
  test.each([
    [
      "the same again",
      [
        [2, 4],
        [2, 4],
      ],
      0,
    ],
    [
      "inside what is there",
      [
        [2, 8],
        [4, 2],
      ],
      0,
    ],
    [
      "around what is there",
      [
        [4, 2],
        [2, 8],
      ],
      0,
    ],
    [
      "across two ranges",
      [
        [2, 2],
        [6, 2],
        [3, 4],
      ],
      0,
    ],
    [
      "touching",
      [
        [2, 2],
        [4, 2],
      ],
      0,
    ],
    [
      "filling the gap",
      [
        [4, 4],
        [0, 4],
      ],
      8,
    ],
    [
      "filling the gap and over",
      [
        [4, 4],
        [8, 2],
        [0, 12],
      ],
      12,
    ],
    [
      "wholly old",
      [
        [0, 4],
        [1, 2],
      ],
      4,
    ],
    [
      "partly old",
      [
        [0, 4],
        [2, 6],
      ],
      8,
    ],
  ] as [string, [number, number][], number][])("%s", (_what, pieces, inOrder) => {
    const buffer = new ReceiveBuffer(1000);
    for (const [offset, length] of pieces) {
      expect(
        buffer.insert(
          offset,
          Uint8Array.from({ length }, (_, i) => offset + i),
        ),
      ).toBe(true);
    }
    expect(buffer.nextOffset).toBe(inOrder);
    expect(readAll(buffer)).toEqual(Uint8Array.from({ length: inOrder }, (_, i) => i));
  });

  test("a lent chunk that fills its memory is handed on; a borrowed one, and a small part of much memory, is copied", () => {
    const buffer = new ReceiveBuffer(1000);
    const whole = bytes(1, 2, 3);
    buffer.insert(0, whole, true);
    expect(buffer.read()).toBe(whole);
    const borrowed = bytes(4, 5, 6);
    buffer.insert(3, borrowed);
    const part = new Uint8Array(100).fill(7).subarray(10, 13);
    const read = buffer.read();
    borrowed.fill(0);
    expect(read).toEqual(bytes(4, 5, 6));
    buffer.insert(6, part, true);
    part.fill(0);
    expect(buffer.read()).toEqual(bytes(7, 7, 7));
  });

  test("a reader that keeps up leaves nothing allocated; small chunks that wait for it come together", () => {
    const buffer = new ReceiveBuffer(1000);
    for (let at = 0; at < 8; at += 2) {
      buffer.insert(at, bytes(at, at + 1));
      expect(buffer.read()).toEqual(bytes(at, at + 1));
      expect(buffer.allocatedBytes).toBe(0);
    }
    for (let at = 8; at < 16; at += 2) buffer.insert(at, bytes(at, at + 1));
    expect(buffer.read()).toEqual(bytes(8, 9, 10, 11, 12, 13, 14, 15));
  });

  test("long chunks that fill their memory wait as they are; what comes between them is copied", () => {
    const buffer = new ReceiveBuffer(1_000_000);
    const long = (length: number, fill: number) => new Uint8Array(length).fill(fill);
    const [first, second, third] = [long(8000, 1), long(8000, 2), long(8000, 3)];
    buffer.insert(0, first, true);
    buffer.insert(8000, second, true);
    expect(buffer.allocatedBytes).toBe(16_000);
    buffer.insert(16_000, bytes(9), true);
    buffer.insert(16_001, third, true);
    expect(buffer.read()).toBe(first);
    expect(buffer.read()).toEqual(second);
    third.fill(0);
    expect(readAll(buffer)).toEqual(new Uint8Array([9, ...long(8000, 3)]));
    // Of a block of 64 KiB it would keep seven eighths for nothing.
    buffer.insert(24_001, first, true);
    const part = new Uint8Array(65_536).fill(5).subarray(0, 8000);
    buffer.insert(32_001, part, true);
    part.fill(0);
    expect(buffer.read()).toEqual(long(8000, 1));
    expect(readAll(buffer)).toEqual(long(8000, 5));
    // What is not lent is its owner's.
    const borrowed = long(8000, 6);
    buffer.insert(40_001, long(8000, 4), true);
    buffer.insert(48_001, borrowed);
    borrowed.fill(0);
    expect(readAll(buffer)).toEqual(new Uint8Array([...long(8000, 4), ...long(8000, 6)]));
  });

  test("whatever is lent, lost, doubled or late, and however it is read", () => {
    const byteAt = (offset: number) => (offset * 7 + (offset >> 8)) & 255;
    const step = fc.record({
      from: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -9000, max: 9000 }) },
      ),
      length: fc.constantFrom(1, 100, 4095, 4096, 8000, 20_000),
      room: fc.constantFrom(1, 1, 1.1, 3),
      reads: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const buffer = new ReceiveBuffer(200_000, undefined, 16_384);
        let read = 0;
        for (const { from, length, room, reads } of steps) {
          const offset = Math.max(0, buffer.nextOffset + from);
          const memory = new Uint8Array(Math.ceil(length * room));
          const chunk = memory.subarray(memory.length - length).map((_, i) => byteAt(offset + i));
          memory.set(chunk, memory.length - length);
          buffer.insert(offset, memory, true, memory.length - length, memory.length);
          // What was not handed over is no longer ours.
          if (2 * length <= memory.length) memory.fill(0);
          for (let i = 0; i < reads; i++) {
            const got = buffer.read();
            if (got === null) break;
            expect(got.every((byte, at) => byte === byteAt(read + at))).toBe(true);
            read += got.length;
            expect(buffer.readOffset).toBe(read);
          }
        }
        const rest = readAll(buffer);
        expect(rest.every((byte, at) => byte === byteAt(read + at))).toBe(true);
        expect(read + rest.length).toBe(buffer.nextOffset);
      }),
    );
  });

  test("a peer that changes its mind about bytes already received is not believed", () => {
    const buffer = new ReceiveBuffer(1000);
    buffer.insert(0, bytes(1, 2));
    buffer.insert(4, bytes(5, 6));
    buffer.insert(1, bytes(9, 3, 4, 9, 9, 7));
    expect(readAll(buffer)).toEqual(bytes(1, 2, 3, 4, 5, 6, 7));
  });
});

describe("the bound", () => {
  test("counts from what the reader has taken", () => {
    const buffer = new ReceiveBuffer(10);
    expect(buffer.insert(0, new Uint8Array(10))).toBe(true);
    expect(buffer.insert(10, new Uint8Array(1))).toBe(false);
    buffer.read();
    expect(buffer.insert(10, new Uint8Array(10))).toBe(true);
  });

  test("holds out of order too, and what does not fit is not taken in part", () => {
    const buffer = new ReceiveBuffer(10);
    expect(buffer.insert(5, new Uint8Array(6))).toBe(false);
    expect(buffer.insert(5, new Uint8Array(5))).toBe(true);
    expect(buffer.nextOffset).toBe(0);
  });

  test("old bytes need no room", () => {
    const buffer = new ReceiveBuffer(4);
    buffer.insert(0, new Uint8Array(4));
    expect(buffer.insert(0, new Uint8Array(4))).toBe(true);
  });

  test("1-byte packets cost no more memory than full ones", () => {
    const buffer = new ReceiveBuffer(256 * 1024);
    for (let offset = 0; offset < 300_000; offset++) buffer.insert(offset, bytes(offset));
    expect(buffer.readableBytes).toBe(256 * 1024);
    expect(buffer.allocatedBytes).toBeLessThanOrEqual(256 * 1024 + BLOCK_BYTES);
  });

  test("every second byte: the gaps that are remembered have a limit", () => {
    const buffer = new ReceiveBuffer(256 * 1024);
    let kept = 0;
    for (let offset = 1; offset < 10_000; offset += 2) kept += buffer.insert(offset, bytes(1)) ? 1 : 0;
    expect(kept).toBe(MAX_RECEIVE_GAPS);
    expect(buffer.insert(0, bytes(1)), "the missing byte itself is always welcome").toBe(true);
    expect(buffer.nextOffset).toBe(2);
  });

  test("a random stream in random order, with a slow reader, stays within the bound and is whole", () => {
    const random = new Random(9);
    const all = random.bytes(500_000);
    const buffer = new ReceiveBuffer(64 * 1024);
    const read: Uint8Array[] = [];
    let most = 0;
    while (buffer.readOffset < all.length) {
      const offset = Math.max(0, buffer.nextOffset + random.integer(-1000, 4000));
      buffer.insert(offset, all.slice(offset, offset + random.integer(1, 1500)));
      most = Math.max(most, buffer.allocatedBytes);
      const part = random.chance(0.2) ? buffer.read() : null;
      if (part !== null) read.push(part.slice());
    }
    expect(most).toBeLessThanOrEqual(64 * 1024 + 2 * BLOCK_BYTES);
    expect(Buffer.concat(read).equals(all)).toBe(true);
  });
});

test("what a reader has taken is never written again", () => {
  const buffer = new ReceiveBuffer(1000);
  buffer.insert(0, bytes(1, 2, 3));
  const taken = buffer.read() as Uint8Array;
  buffer.insert(0, bytes(9, 9, 9, 4));
  buffer.insert(2, bytes(9, 9, 5));
  expect(taken).toEqual(bytes(1, 2, 3));
  expect(readAll(buffer)).toEqual(bytes(4, 5));
});

test("clear() lets everything go", () => {
  const buffer = new ReceiveBuffer(1000);
  buffer.insert(0, bytes(1));
  buffer.insert(5, bytes(1));
  buffer.clear();
  expect([buffer.read(), buffer.allocatedBytes]).toEqual([null, 0]);
});

test("nothing, ahead of what is in order, is no range", () => {
  const buffer = new ReceiveBuffer(1000);
  expect(buffer.insert(500, new Uint8Array(0))).toBe(true);
  expect(buffer.insert(500, new Uint8Array(10), false, 4, 4)).toBe(true);
  expect(buffer.ahead).toEqual([]);
});
