import { afterEach, describe, expect, test } from "vitest";
import {
  type Addon,
  addon,
  IS_APART,
  LENGTH,
  SLOT_BYTES,
  SLOTS_AT,
  TABLE_FIELDS,
  type Udp,
} from "../../../src/native/addon.js";

const native = addon() as Addon;

describe.skipIf(native === null)("what is read", () => {
  const open: Udp[] = [];
  afterEach(() => {
    for (const udp of open.splice(0)) udp.close();
  });

  /** Sends datagrams of these lengths, each filled with its number, and reads them at once. */
  function pair(
    gather = true,
  ): (lengths: readonly number[]) => { length: number; apart: boolean; start: number; end: number }[] {
    const [reader, writer] = [new native.Udp(), new native.Udp()];
    open.push(reader, writer);
    for (const udp of [reader, writer]) expect(udp.bind("127.0.0.1", 0, 0)).toBe(0);
    if (gather) reader.gather(false);
    writer.connect(...(reader.address() as [string, number]));
    const room = new Uint8Array(native.room());
    const table = new Int32Array(native.room(), 0, SLOTS_AT / 4);
    return (lengths) => {
      for (const [i, length] of lengths.entries()) writer.send(new Uint8Array(length).fill(i + 1), length);
      return Array.from({ length: reader.read() }, (_, slot) => {
        const field = (number: number) => table[slot * TABLE_FIELDS + number] as number;
        const at = SLOTS_AT + slot * SLOT_BYTES;
        return {
          length: field(LENGTH),
          apart: field(IS_APART) !== 0,
          start: room[at] as number,
          end: room[at + field(LENGTH) - 1] as number,
        };
      });
    };
  }

  test("is in the room, until there is something large", () => {
    const exchange = pair();
    expect(exchange([60_000])).toEqual([{ length: 60_000, apart: false, start: 1, end: 1 }]);
    expect(exchange([60_000])).toMatchObject([{ length: 60_000, apart: true }]);
  });

  test("is always there for a reader that takes merged datagrams apart, of which it copies each", () => {
    const exchange = pair(false);
    for (let i = 0; i < 3; i++) expect(exchange([60_000])).toMatchObject([{ apart: false }]);
  });

  test("is handed over where it is large, and stays as it is", () => {
    const exchange = pair();
    exchange([60_000]);
    exchange([60_000]);
    const first = native.take(0) as Buffer;
    expect(first).toHaveLength(65_535);
    expect(first.buffer.byteLength).toBe(65_535);
    expect(first.subarray(0, 60_000).equals(Buffer.alloc(60_000, 1))).toBe(true);
    expect(native.take(0), "only once").toBeUndefined();
    expect(exchange([65_507])).toMatchObject([{ length: 65_507, apart: true }]);
    const second = native.take(0) as Buffer;
    expect(second.subarray(0, 65_507).equals(Buffer.alloc(65_507, 1))).toBe(true);
    second.fill(9);
    expect(first.subarray(0, 60_000).equals(Buffer.alloc(60_000, 1))).toBe(true);
  });

  test("is written over by the next where nobody took it", () => {
    const exchange = pair();
    exchange([60_000]);
    exchange([60_000]);
    exchange([50_000]);
    const taken = native.take(0) as Buffer;
    expect(taken.subarray(0, 50_000).equals(Buffer.alloc(50_000, 1))).toBe(true);
  });

  test("is in the room again where it is small, and the memory is kept for what is large", () => {
    const exchange = pair();
    exchange([60_000]);
    expect(exchange([100])).toEqual([{ length: 100, apart: false, start: 1, end: 1 }]);
    expect(exchange([100, 60_000])).toMatchObject([{ apart: false }, { apart: false }]);
    expect(exchange([60_000])).toMatchObject([{ apart: false }]);
    expect(exchange([60_000])).toMatchObject([{ apart: true }]);
  });

  test("may be taken from slots that there are only", () => {
    expect(native.take(31)).toBeUndefined();
    for (const slot of [-1, 32, 0.5, Number.NaN, "0"]) expect(() => native.take(slot as number)).toThrow(TypeError);
  });
});
