import { expect, test } from "vitest";
import { BLOCK_BYTES } from "../../../src/protocol/limits.js";
import { SendBuffer } from "../../../src/protocol/send-buffer.js";
import { Random } from "../../support/random.js";

function copied(buffer: SendBuffer, offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  buffer.copy(offset, length, out, 0);
  return out;
}

test("a borrowed chunk is sent from where it is, and kept when its writer takes it back", () => {
  const buffer = new SendBuffer();
  const chunk = new Random(1).bytes(1000);
  const original = chunk.slice();
  buffer.append(chunk);
  expect(copied(buffer, 100, 50)).toEqual(original.subarray(100, 150));
  buffer.own();
  chunk.fill(0);
  expect(copied(buffer, 0, 1000)).toEqual(original);
});

test("only what is not acknowledged of a large chunk is ever copied", () => {
  const buffer = new SendBuffer();
  const chunk = new Random(2).bytes(200_000);
  const original = chunk.slice();
  buffer.append(chunk);
  buffer.release(199_000);
  buffer.own();
  chunk.fill(0);
  expect(buffer.length).toBe(1000);
  expect(copied(buffer, 199_000, 1000)).toEqual(original.subarray(199_000));
});

test("a segment may lie across chunks and blocks", () => {
  const buffer = new SendBuffer();
  const random = new Random(3);
  const all = random.bytes(3 * BLOCK_BYTES);
  for (let at = 0; at < all.length; ) {
    const length = Math.min(random.integer(1, 900), all.length - at);
    buffer.append(all.subarray(at, at + length));
    buffer.own();
    at += length;
  }
  for (let at = 0; at + 512 <= all.length; at += 511) {
    expect(copied(buffer, at, 512)).toEqual(all.subarray(at, at + 512));
  }
});

test("going back to the first byte after sending ahead", () => {
  const buffer = new SendBuffer();
  buffer.append(new Uint8Array([0, 1, 2, 3, 4]));
  buffer.own();
  buffer.append(new Uint8Array([5, 6, 7, 8, 9]));
  copied(buffer, 6, 4);
  buffer.release(3);
  expect(copied(buffer, 3, 4)).toEqual(new Uint8Array([3, 4, 5, 6]));
});

test("everything released: nothing is borrowed any more", () => {
  const buffer = new SendBuffer();
  buffer.append(new Uint8Array(10));
  buffer.release(10);
  buffer.append(new Uint8Array([7]));
  expect(buffer.length).toBe(1);
  expect(copied(buffer, 10, 1)).toEqual(new Uint8Array([7]));
});

test("an empty chunk is nothing", () => {
  const buffer = new SendBuffer();
  buffer.append(new Uint8Array(0));
  buffer.append(new Uint8Array(0));
  expect(buffer.length).toBe(0);
});

test("a second chunk while the first is lent is the caller's mistake", () => {
  const buffer = new SendBuffer();
  buffer.append(new Uint8Array(1));
  expect(() => buffer.append(new Uint8Array(1))).toThrow("append() before own()");
});
