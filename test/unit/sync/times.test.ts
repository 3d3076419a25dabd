import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sameTime } from "../../../src/sync/entry.js";
import { clampTime, EARLIEST_NS, LATEST_NS, LATEST_OLD_NS, timeFromBits, timeToBits } from "../../../src/sync/times.js";

describe("times", () => {
  test("of the whole range are 64 bits, and those up to 2262 the number itself", () => {
    fc.assert(
      fc.property(fc.bigInt(EARLIEST_NS, LATEST_NS), (timeNs) => {
        const bits = timeToBits(timeNs);
        expect(timeFromBits(bits)).toBe(timeNs);
        expect(bits === timeNs).toBe(timeNs <= LATEST_OLD_NS);
        expect(clampTime(timeNs)).toBe(timeNs);
      }),
    );
  });

  test("beyond it are the closest one", () => {
    expect([clampTime(EARLIEST_NS - 1n), clampTime(LATEST_NS + 1n)]).toEqual([EARLIEST_NS, LATEST_NS]);
  });

  test("later than the other side knows are the latest one there", () => {
    const latest = { latestNs: LATEST_OLD_NS };
    expect(sameTime(LATEST_OLD_NS + 5_000_000_000n, LATEST_OLD_NS, latest)).toBe(true);
    expect(sameTime(LATEST_OLD_NS + 5_000_000_000n, LATEST_OLD_NS - 5_000_000_000n, latest)).toBe(false);
    expect(sameTime(LATEST_OLD_NS + 5_000_000_000n, LATEST_OLD_NS)).toBe(false);
  });
});
