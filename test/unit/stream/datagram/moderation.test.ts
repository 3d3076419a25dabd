import { describe, expect, test } from "vitest";
import { Moderation, patienceMs } from "../../../../src/stream/datagram/moderation.js";

/** Wakes one after the other until looking is cheaper; how many it took, and at most `most`. */
function wakesUntilLooking(moderation: Moderation, patience: number, gapMs: number, most: number): number {
  for (let wake = 1; wake <= most; wake++) {
    if (moderation.onWake(patience, wake * gapMs)) return wake;
  }
  return most;
}

/** How many looks there are until being woken is better. */
function looksUntilWaking(moderation: Moderation, found: (look: number) => number, most: number): number {
  for (let look = 1; look <= most; look++) {
    if (!moderation.onLook(found(look))) return look;
  }
  return most;
}

test.each([
  // least round trip, patience: a twelfth in whole ms, 8 at most; nothing is known of a path at first
  [0, 0],
  [0.1, 0],
  [11.9, 0],
  [20, 1],
  [40, 3],
  [101, 8],
])("a path of %d ms makes for a patience of %d ms", (minRttMs, expected) => {
  expect(patienceMs(minRttMs)).toBe(expected);
});

describe("Moderation", () => {
  test.each([
    // patience, ms between datagrams: looking begins when a look would find two
    [4, 0.6, 17],
    [4, 2, 17],
    [4, 2.1, 1000],
    [1, 0.1, 17],
    [1, 0.6, 1000],
  ])("patience %d ms, a datagram every %d ms: looks after %d wake-ups", (patience, gapMs, expected) => {
    expect(wakesUntilLooking(new Moderation(), patience, gapMs, 1000)).toBe(expected);
  });

  test("goes on while there is a datagram a look, whatever their distances", () => {
    expect(looksUntilWaking(new Moderation(), () => 7, 1000)).toBe(1000);
    expect(looksUntilWaking(new Moderation(), (look) => (look % 3 === 0 ? 4 : 0), 1000)).toBe(1000);
  });

  test("ends when a few looks in a row find nothing, and when most do", () => {
    expect(looksUntilWaking(new Moderation(), (look) => (look <= 20 ? 7 : 0), 1000)).toBe(23);
    expect(looksUntilWaking(new Moderation(), (look) => look % 2, 1000)).toBe(16);
  });

  test("begins anew after an end", () => {
    const moderation = new Moderation();
    expect(looksUntilWaking(moderation, () => 0, 10)).toBe(3);
    expect(wakesUntilLooking(moderation, 4, 1, 100)).toBe(17);
    expect(looksUntilWaking(moderation, (look) => (look === 1 ? 1 : 0), 10)).toBe(4);
  });
});
