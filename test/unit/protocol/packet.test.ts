import { describe, expect, test } from "vitest";
import {
  ACK,
  decodeHeader,
  EDITION_NAMES,
  EDITIONS,
  emptyHeader,
  encodeHeader,
  FIN,
  SYN,
  toPosition,
  toSequence,
} from "../../../src/protocol/index.js";

describe("the header", () => {
  test("is big-endian, with the flags in the lowest three bits", () => {
    const out = new Uint8Array(12);
    encodeHeader(out, 0x01020304, 0xfffefdfc, 0xabcd, ACK | FIN);
    expect(Buffer.from(out).toString("hex")).toBe("01020304fffefdfcabcd0005");
  });

  test("numbers up to the last of their bits", () => {
    const out = new Uint8Array(12);
    const header = emptyHeader();
    encodeHeader(out, 0xffffffff, 0x80000000, 0xffff, SYN);
    expect(decodeHeader(out, header)).toBe(true);
    expect(header).toMatchObject({
      sequence: 0xffffffff,
      acknowledgement: 0x80000000,
      connectionId: 0xffff,
      flags: SYN,
    });
  });

  test("ignores the 13 unused bits", () => {
    const header = emptyHeader();
    decodeHeader(new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), header);
    expect(header.flags).toBe(ACK | SYN | FIN);
  });

  test("a datagram that is too short decodes to nothing", () => {
    const header = { sequence: 1, acknowledgement: 1, connectionId: 1, flags: 1, bits: 1 };
    expect(decodeHeader(new Uint8Array(11), header)).toBe(false);
    expect(header).toEqual(emptyHeader());
  });
});

describe("sequence numbers", () => {
  test.each([
    [50_000, 1, 50_001, 0],
    [50_000, 0, 50_001, 50_000],
    [101_946, 512, 102_401, 57],
    [12_345, 1, 102_401, 12_346],
    [0, 40_000, 40_001, 40_000],
    [0, 40_001, 40_001, 0],
    // The last byte before 2^53 that a stream could have.
    [12_345, 2 ** 52, 102_401, Number((12_345n + 2n ** 52n) % 102_401n)],
  ])("isn %i, position %i, modulus %i: %i", (isn, position, modulus, sequence) => {
    expect(toSequence(position, isn, modulus)).toBe(sequence);
    expect(toPosition(sequence, isn, modulus, position)).toBe(position);
  });

  test.each(EDITION_NAMES)("%s: a whole window ahead and a whole window behind are told apart", (name) => {
    const { modulus, maxCwnd, clientIsn } = EDITIONS[name];
    for (const near of [maxCwnd, modulus - 1, modulus, 10 * modulus + 17]) {
      for (const position of [near - maxCwnd, near - 1, near, near + 1, near + maxCwnd]) {
        expect(toPosition(toSequence(position, clientIsn, modulus), clientIsn, modulus, near)).toBe(position);
      }
    }
  });
});
