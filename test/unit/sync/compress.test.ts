import { randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Packer, unpack } from "../../../src/sync/compress.js";
import { MAX_PACKED_BYTES } from "../../../src/sync/limits.js";
import { Decoder, encode, type Message } from "../../../src/sync/wire.js";

const text = (bytes: number): Buffer => Buffer.alloc(bytes, "as the mirror says, so it is in the folder; ");

function decode(...frames: Buffer[]): Message[] {
  const decoder = new Decoder();
  for (const frame of frames) decoder.push(frame);
  const decoded: Message[] = [];
  for (let next = decoder.next(); next !== undefined; next = decoder.next()) decoded.push(next);
  return decoded;
}
const packed = (plain: Buffer, bytes = plain.length): Buffer =>
  encode({ type: "packed", bytes, content: zstdCompressSync(plain) });
const ping = (token: number): Message => ({ type: "ping", token });

describe("compression", () => {
  test("what shrinks is packed, whatever its size, and comes out as it was", () => {
    const packer = new Packer();
    for (const bytes of [600, 5000, 50_000, 300_000]) {
      const content = packer.pack(text(bytes));
      expect(content?.length).toBeLessThan(bytes / 2);
      expect(unpack(content as Buffer, bytes).equals(text(bytes))).toBe(true);
    }
    expect(packer.pack(text(100))).toBeUndefined();
    expect(packer.pack(text(MAX_PACKED_BYTES + 1))).toBeUndefined();
  });

  test("random data is tried less and less; what comes after it is found again", () => {
    const packer = new Packer();
    const random = randomBytes(100_000);
    for (let i = 0; i < 1000; i++) expect(packer.pack(random)).toBeUndefined();
    let tries = 1;
    while (packer.pack(text(100_000)) === undefined) tries++;
    expect(tries).toBeLessThanOrEqual(33);
    expect(packer.pack(text(100_000))).toBeDefined();
  });

  test("never more comes out than was announced, nor less, nor anything from rubbish", () => {
    const bomb = zstdCompressSync(Buffer.alloc(100_000_000));
    const before = process.memoryUsage().arrayBuffers;
    for (const bytes of [1, 1000, MAX_PACKED_BYTES]) expect(() => unpack(bomb, bytes)).toThrow(/compressed/);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20_000_000);
    expect(() => unpack(zstdCompressSync(text(100)), 101)).toThrow(/length/);
    expect(() => unpack(zstdCompressSync(text(100)), 0)).toThrow(/compressed/);
    expect(() => unpack(bomb, MAX_PACKED_BYTES + 1)).toThrow(/compressed/);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(1000), (bytes, length) => {
        try {
          expect(unpack(bytes, length).length).toBe(length);
        } catch (error) {
          expect(error).toMatchObject({ code: "ERR_PROTOCOL" });
        }
      }),
    );
  });

  test("frames come out of a compressed one in their order, between others", () => {
    const inner = Buffer.concat([ping(2), ping(3), { type: "bye" } as const].map(encode));
    expect(decode(encode(ping(1)), packed(inner), encode(ping(4)))).toEqual([
      ping(1),
      ping(2),
      ping(3),
      { type: "bye" },
      ping(4),
    ]);
  });

  test("compressed frames must be whole, and not compressed again", () => {
    const inner = encode(ping(1));
    expect(() => decode(packed(inner.subarray(0, 7)))).toThrow(/whole/);
    expect(() => decode(packed(inner.subarray(0, 3)))).toThrow(/whole/);
    expect(() => decode(packed(Buffer.concat([inner, inner.subarray(0, 5)])))).toThrow(/whole/);
    expect(() => decode(packed(packed(inner)))).toThrow(/compressed frames in/);
    expect(() => decode(packed(inner, 5))).toThrow(/compressed/);
  });
});
