import { describe, expect, test } from "vitest";
import { Dirty } from "../../../src/sync/dirty.js";
import { BURST_HINTS, GATHER_MS, MAX_WAITING_HINTS, MOST_REST_MS, NEVER_RESTS_MS } from "../../../src/sync/limits.js";

const SETTLE_MS = 10;
const change = (path: string, reason = "change") => ({ folder: "/f", path, reason });

/** Changes `path` every `everyMs` until `untilMs`; takes what is due as soon as it is. When it was taken. */
function write(dirty: Dirty, path: string, everyMs: number, fromMs: number, untilMs: number): number[] {
  const taken: number[] = [];
  for (let now = fromMs; now <= untilMs; now++) {
    if ((now - fromMs) % everyMs === 0) dirty.add(change(path), now);
    if (dirty.dueMs() <= now && dirty.take(now).paths.has(path)) taken.push(now);
  }
  return taken;
}

describe("a path", () => {
  test("is due when it has rested, and taken once", () => {
    const dirty = new Dirty(SETTLE_MS);
    expect(dirty.dueMs()).toBe(Number.POSITIVE_INFINITY);
    dirty.add(change("a"), 100);
    dirty.add(change("a"), 105);
    dirty.add(change("b"), 99);
    expect(dirty.dueMs()).toBe(109);
    expect([...dirty.take(109).paths]).toEqual(["b"]);
    expect([...dirty.take(115).paths]).toEqual(["a"]);
    expect(dirty.empty).toBe(true);
  });

  test("takes those along that are due nearly at the same time, as the other end of a rename is", () => {
    const dirty = new Dirty(SETTLE_MS);
    dirty.add(change("from", "rename"), 0);
    dirty.add(change("to", "rename"), 0.01);
    dirty.add(change("later"), 6);
    expect([...dirty.take(10).paths]).toEqual(["from", "to"]);
  });

  test("that is edited by a person is due at once each time", () => {
    const dirty = new Dirty(SETTLE_MS);
    expect(write(dirty, "a", 300, 0, 900)).toEqual([10, 310, 610, 910].slice(0, 3));
  });

  test("that is written to all the time is taken now and then, ever less often", () => {
    const dirty = new Dirty(SETTLE_MS);
    const taken = write(dirty, "a", 2, 0, 20_000);
    const gaps = taken.slice(1).map((now, i) => now - (taken[i] as number));
    expect(gaps[0]).toBeLessThanOrEqual(NEVER_RESTS_MS + 4 * SETTLE_MS);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(NEVER_RESTS_MS + MOST_REST_MS + 2);
    expect(taken.length).toBeLessThan(20);
    expect(taken.length).toBeGreaterThan(10);
  });

  test("that is written to every 30 ms is waited for, until it rests; and after a long rest is due at once again", () => {
    const dirty = new Dirty(SETTLE_MS);
    expect(write(dirty, "a", 30, 0, 3000).length).toBeLessThan(10);
    dirty.take(10_000);
    expect(write(dirty, "a", 1000, 20_000, 20_900)).toEqual([20_010]);
  });

  test("that was moved away is looked at with the one that it was moved to", () => {
    const dirty = new Dirty(SETTLE_MS);
    dirty.add(change("from", "rename"), 100);
    dirty.add(change("to", "rename"), 101);
    dirty.add(change("to", "a new folder"), 108);
    expect(dirty.dueMs()).toBe(118);
    expect([...dirty.take(118).paths]).toEqual(["from", "to"]);
    dirty.add(change("from", "rename"), 200);
    dirty.add(change("to", "rename"), 201);
    dirty.add(change("more", "rename"), 202);
    dirty.add(change("more"), 207);
    expect([...dirty.take(211).paths]).toEqual(["from", "to"]);
    expect([...dirty.take(217).paths]).toEqual(["more"]);
    dirty.add(change("from", "rename"), 200);
    dirty.add(change("to", "rename"), 200);
    for (let now = 200; now < 200 + NEVER_RESTS_MS + SETTLE_MS; now += 5) dirty.add(change("to"), now);
    expect([...dirty.take(200 + NEVER_RESTS_MS + SETTLE_MS).paths]).toContain("from");
  });

  test("that was renamed is due at once, with where it came from", () => {
    const dirty = new Dirty(SETTLE_MS);
    write(dirty, "log", 20, 0, 1000);
    dirty.add(change("log", "rename"), 1000);
    dirty.add(change("log.1", "rename"), 1000);
    expect([...dirty.take(1010).paths].sort()).toEqual(["log", "log.1"]);
  });

  test("that changed while it was read waits twice as long each time", () => {
    const dirty = new Dirty(SETTLE_MS);
    dirty.again("/f", "a", 0);
    expect(dirty.dueMs()).toBe(20);
    dirty.take(20);
    dirty.again("/f", "a", 25);
    expect(dirty.dueMs()).toBe(65);
  });
});

describe("everything", () => {
  test("is due at once and takes along what waits", () => {
    const dirty = new Dirty(SETTLE_MS);
    dirty.add(change("a"), 0);
    dirty.add(change("", "a reason"), 1);
    dirty.add(change("", "another"), 1);
    expect(dirty.dueMs()).toBeLessThanOrEqual(1);
    expect(dirty.take(1)).toEqual({ folder: "/f", everything: "a reason", paths: new Set(["a"]) });
    expect(dirty.empty).toBe(true);
  });

  test("is to be looked at after so many changes at a time, when each of them was", () => {
    const dirty = new Dirty(SETTLE_MS);
    for (let i = 0; i <= BURST_HINTS; i++) dirty.add(change(`f${i}`), 0);
    expect(dirty.waitMs(0)).toBe(SETTLE_MS);
    const { everything, paths } = dirty.take(SETTLE_MS);
    expect([everything, paths.size]).toEqual([undefined, BURST_HINTS + 1]);
    expect([dirty.empty, dirty.walks, dirty.waitMs(SETTLE_MS)]).toEqual([false, true, 0]);
    expect(dirty.rush(SETTLE_MS).size).toBe(0);
    dirty.add(change("late"), SETTLE_MS);
    expect(dirty.waitMs(SETTLE_MS)).toBe(SETTLE_MS);
    expect(dirty.take(2 * SETTLE_MS)).toMatchObject({ everything: undefined, paths: new Set(["late"]) });
    expect(dirty.take(2 * SETTLE_MS)).toMatchObject({ everything: "many changes at once", paths: new Set() });
    expect([dirty.empty, dirty.waitMs(2 * SETTLE_MS)]).toEqual([true, Number.POSITIVE_INFINITY]);
  });

  test.each([
    ["is over", 60, [[59 + SETTLE_MS, 1200]]],
    [
      "has taken a while",
      300,
      [
        [GATHER_MS, 3920],
        [299 + SETTLE_MS, 2080],
      ],
    ],
  ])("a flood is looked at when it %s", (_, floodMs, expected) => {
    const dirty = new Dirty(SETTLE_MS);
    const taken: number[][] = [];
    for (let now = 0; now <= 2 * floodMs; now++) {
      for (let i = 0; i < 20 && now < floodMs; i++) dirty.add(change(`${now} ${i}`), now);
      if (dirty.waitMs(now) > 0) continue;
      expect(dirty.dueMs()).toBeLessThanOrEqual(now);
      const { size } = dirty.take(now).paths;
      if (size > 0) taken.push([now, size]);
    }
    expect(taken).toEqual(expected);
  });

  test("is to be looked at instead of more paths than are remembered", () => {
    const dirty = new Dirty(SETTLE_MS);
    for (let i = 0; i <= MAX_WAITING_HINTS; i++) dirty.add(change(`f${i}`), 0);
    expect(dirty.waitMs(0)).toBe(0);
    expect(dirty.take(0)).toMatchObject({ everything: "many changes at once", paths: { size: MAX_WAITING_HINTS } });
    expect(dirty.empty).toBe(true);
  });

  test("is known to be due whenever it is, without looking at all that waits", () => {
    const dirty = new Dirty(SETTLE_MS);
    for (let now = 0; now < 200; now++) {
      if (now % 3 === 0) dirty.add(change(`f${now % 7}`, now % 4 === 0 ? "rename" : "change"), now);
      if (dirty.waitMs(now) === 0) expect(dirty.dueMs()).toBeLessThanOrEqual(now);
      else expect(dirty.dueMs()).toBeGreaterThan(now);
      if (now % 20 === 19) dirty.take(now);
    }
  });
});
