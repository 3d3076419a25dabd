import { describe, expect, test } from "vitest";
import { Pacer, quantumMs } from "../../../../src/protocol/pacer.js";

const SEGMENT = 1460;

function pacer(rate: number, now = 0): Pacer {
  const made = new Pacer();
  made.setRate(rate, SEGMENT, now);
  return made;
}

describe("Pacer", () => {
  test("an infinite rate never blocks", () => {
    const paced = new Pacer();
    expect(paced.budget(0)).toBe(Number.POSITIVE_INFINITY);
    paced.onSent(1e9, 0);
    expect(paced.budget(0)).toBe(Number.POSITIVE_INFINITY);
    expect(paced.nextReleaseAt(5, 1e9)).toBe(5);
  });

  test.each([
    // rate, idle for, what may leave: 2 ms, at least two segments, at most 256 KiB
    [10_000, 1, 10_000],
    [10_000, 2, 20_000],
    [10_000, 1000, 20_000],
    [10, 10_000, 2 * SEGMENT],
    [1_000_000, 1000, 256 * 1024],
  ])("at %d bytes/ms, %d ms idle: %d bytes", (rate, idleMs, expected) => {
    expect(pacer(rate).budget(idleMs)).toBe(expected);
  });

  test.each([
    // rate, wanted, released after: a quantum of 1 ms, less if less is wanted, a segment at least
    [10_000, 1e6, 1],
    [10_000, 5000, 0.5],
    [146, 1e6, 10],
    [1_000_000, 1e9, 0.262_144],
  ])("at %d bytes/ms, %d wanted: after %d ms", (rate, wanted, expected) => {
    const paced = pacer(rate);
    expect(paced.nextReleaseAt(0, wanted)).toBeCloseTo(expected, 9);
    expect(paced.budget(paced.nextReleaseAt(0, wanted))).toBeGreaterThanOrEqual(Math.min(wanted, SEGMENT));
  });

  test.each([
    // least round trip, quantum: a twelfth, between 1 and 8 ms
    [Number.POSITIVE_INFINITY, 1],
    [0.1, 1],
    [18, 1.5],
    [36, 3],
    [100, 8],
  ])("a round trip of %d ms makes a quantum of %d ms", (minRttMs, expected) => {
    expect(quantumMs(minRttMs)).toBe(expected);
    const paced = pacer(10_000);
    paced.setMinRtt(minRttMs);
    expect(paced.nextReleaseAt(0, 1e6)).toBeCloseTo(expected, 9);
    expect(paced.budget(1000)).toBeGreaterThanOrEqual(20_000 * expected);
  });

  test("timers that fire in whole milliseconds, or three late, lose nothing", () => {
    for (const everyMs of [1, 3, 5]) {
      for (const rate of [100, 12_500, 1_000_000]) {
        const paced = pacer(rate);
        let sent = 0;
        for (let now = 0; now < 1000; now += everyMs) {
          while (paced.budget(now) >= SEGMENT) {
            paced.onSent(SEGMENT, now);
            sent += SEGMENT;
          }
          paced.nextReleaseAt(now, 1e9);
        }
        expect(sent / (1000 * rate)).toBeGreaterThan(0.95);
        expect(sent).toBeLessThanOrEqual(1000 * rate + 2 * SEGMENT);
      }
    }
  });

  test("a timer that is 100 ms late makes up for 5 of them", () => {
    const paced = pacer(10_000);
    expect(paced.nextReleaseAt(0, 1e6)).toBe(1);
    expect(paced.budget(101)).toBe(20_000 + 50_000);
  });

  test("the old rate counts until it changes", () => {
    const paced = pacer(1000);
    paced.setRate(5000, SEGMENT, 2);
    expect(paced.budget(2)).toBe(2000);
    expect(paced.budget(3)).toBe(7000);
  });

  test("what was sent beyond the budget is waited for", () => {
    const paced = pacer(1460);
    paced.onSent(2 * SEGMENT, 0);
    expect(paced.budget(0)).toBe(0);
    expect(paced.nextReleaseAt(0, SEGMENT)).toBeCloseTo(3, 9);
  });
});
