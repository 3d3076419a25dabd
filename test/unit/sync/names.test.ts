import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hasEscapes, isBroken, nameFromBytes, nameToBytes, systemPath } from "../../../src/sync/names.js";
import { unsafePath } from "../../../src/sync/path.js";

describe("names", () => {
  test("any bytes are a name, and the name is these bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (array) => {
        const name = nameFromBytes(array);
        expect([...nameToBytes(name)]).toEqual([...array]);
        expect(isBroken(name)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  test("what is valid UTF-8 stays what it says", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(nameFromBytes(Buffer.from(text))).toBe(text);
        expect(hasEscapes(text)).toBe(false);
        expect(systemPath(text)).toBe(text);
      }),
    );
  });

  test.each([
    ["a byte that begins nothing", [0x66, 0xff, 0x6f], "f\udcffo"],
    ["a character that is cut off", [0xe2, 0x82], "\udce2\udc82"],
    ["too long a form", [0xc0, 0xaf], "\udcc0\udcaf"],
    ["a surrogate", [0xed, 0xb2, 0x80], "\udced\udcb2\udc80"],
    ["Latin-1 beside UTF-8", [0xe9, 0x20, 0xc3, 0xa9], "\udce9 é"],
  ])("%s", (_, bytes, name) => {
    expect(nameFromBytes(Buffer.from(bytes))).toBe(name);
    expect(systemPath(name)).toEqual(Buffer.from(bytes));
  });

  test("a path may have them where the system's names are bytes", () => {
    expect(unsafePath("a/\udcff", "linux")).toBeUndefined();
    expect(unsafePath("a/\udcff", "darwin")).toMatch(/not valid UTF-8/);
    expect(unsafePath("a/\ud800", "linux")).toMatch(/not valid Unicode/);
    expect(unsafePath(`a/${"\udcff".repeat(255)}`, "linux")).toBeUndefined();
    expect(unsafePath(`a/${"\udcff".repeat(256)}`, "linux")).toMatch(/longer than 255 bytes/);
  });
});
