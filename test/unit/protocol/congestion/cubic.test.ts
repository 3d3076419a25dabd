import { describe, expect, test } from "vitest";
import { ALPHA_CUBIC, Cubic, cubicK, wCubic } from "../../../../src/protocol/congestion/cubic.js";
import { Script, SEGMENT } from "./support.js";

describe("RFC 9438's formulas", () => {
  test("alpha_cubic is 3 (1 - 0.7) / (1 + 0.7), 9/17", () => {
    expect(ALPHA_CUBIC).toBeCloseTo(9 / 17, 12);
  });

  test.each([
    // wMax, cwnd at the epoch's begin, K: the cube root of (wMax - cwnd) / 0.4
    [100, 70, Math.cbrt(75)],
    [1000, 700, Math.cbrt(750)],
    [10, 7, Math.cbrt(7.5)],
    [100, 36, Math.cbrt(160)],
    [50, 50, 0],
  ])("K for wMax %d and cwnd %d", (wMax, cwnd, k) => {
    expect(cubicK(wMax, cwnd)).toBeCloseTo(k, 12);
    // At the epoch's begin the curve is at cwnd, K later at wMax.
    expect(wCubic(0, k, wMax)).toBeCloseTo(cwnd, 9);
    expect(wCubic(k, k, wMax)).toBeCloseTo(wMax, 9);
  });

  test.each([
    // t after the plateau: 0.4 t³ above wMax
    [1, 100.4],
    [2, 103.2],
    [5, 150],
    [-1, 99.6],
    [-5, 50],
  ])("W_cubic %d s from K is %d for wMax 100", (t, expected) => {
    expect(wCubic(3 + t, 3, 100)).toBeCloseTo(expected, 9);
  });
});

describe("Cubic", () => {
  /** In congestion avoidance after a loss at `segments`. */
  function avoiding(segments: number, rttMs = 100): { cubic: Cubic; script: Script } {
    const cubic = new Cubic(SEGMENT, segments * SEGMENT);
    const script = new Script(cubic, rttMs);
    cubic.onLoss(cubic.cwnd, 0);
    return { cubic, script };
  }

  test("a loss leaves 0.7 of the window", () => {
    expect(avoiding(1000).cubic).toMatchObject({ cwnd: 700 * SEGMENT, ssthresh: 700 * SEGMENT });
  });

  test("and never less than two segments", () => {
    expect(avoiding(2).cubic).toMatchObject({ cwnd: 2 * SEGMENT, ssthresh: 2 * SEGMENT });
  });

  test("it counts what was in flight, not a window that was not filled", () => {
    const cubic = new Cubic(SEGMENT, 100 * SEGMENT);
    cubic.onLoss(10 * SEGMENT, 0);
    expect(cubic.cwnd).toBe(7 * SEGMENT);
  });

  test("the window follows the curve: back at wMax after K, beyond it afterwards", () => {
    const { cubic, script } = avoiding(1000);
    const k = cubicK(1000, 700);
    script.round();
    const begin = script.now;
    for (const seconds of [1, 3, 5, k, 12]) {
      while (script.now - begin < seconds * 1000) script.round();
      const expected = wCubic((script.now - begin) / 1000 + 0.1, k, 1000);
      expect(cubic.cwnd / SEGMENT / expected).toBeCloseTo(1, 1);
      expect(Math.abs(cubic.cwnd / SEGMENT - expected)).toBeLessThan(12);
    }
  });

  test("Reno-friendly: where the curve is slower, alpha_cubic segments a round trip, one after cwnd_prior", () => {
    const { cubic, script } = avoiding(20, 10);
    script.round();
    const from = cubic.cwnd;
    for (let i = 0; i < 5; i++) script.round();
    expect((cubic.cwnd - from) / SEGMENT / 5).toBeCloseTo(ALPHA_CUBIC, 1);
    while (cubic.cwnd < 20.5 * SEGMENT) script.round();
    const later = cubic.cwnd;
    for (let i = 0; i < 5; i++) script.round();
    expect((cubic.cwnd - later) / SEGMENT / 5).toBeCloseTo(1, 1);
  });

  test("fast convergence: a loss below the last maximum aims at 0.85 of the window", () => {
    // Both lose at 70 segments; the one that had been at 100 aims at 59.5, the other one at 70, and goes up faster.
    const first = avoiding(100);
    first.cubic.onLoss(first.cubic.cwnd, 0);
    const second = avoiding(70);
    expect(first.cubic.cwnd).toBe(49 * SEGMENT);
    expect(second.cubic.cwnd).toBe(49 * SEGMENT);
    for (let i = 0; i < 10; i++) {
      first.script.round();
      second.script.round();
    }
    expect(cubicK(59.5, 49)).toBeLessThan(cubicK(70, 49));
    expect(first.cubic.cwnd).toBeLessThan(second.cubic.cwnd);
  });

  test("a timeout: one segment, 0.7 into ssthresh, slow start, then a new curve", () => {
    const { cubic, script } = avoiding(100);
    cubic.onTimeout(70 * SEGMENT, 0);
    expect(cubic).toMatchObject({ cwnd: SEGMENT, ssthresh: 49 * SEGMENT });
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      script.round();
      seen.push(Math.floor(cubic.cwnd / SEGMENT));
    }
    expect(seen).toEqual([2, 4, 8, 16, 32, 49]);
  });

  test("a loss that was none: everything as before, and the curve goes on", () => {
    const plain = avoiding(1000);
    const fooled = avoiding(1000);
    for (let i = 0; i < 100; i++) {
      plain.script.round();
      fooled.script.round();
      if (i === 50) {
        fooled.cubic.onLoss(fooled.cubic.cwnd, fooled.script.now);
        expect(fooled.cubic.cwnd).toBeLessThan(0.71 * plain.cubic.cwnd);
        fooled.cubic.onSpurious(fooled.script.now);
      }
    }
    expect(fooled.cubic.cwnd).toBe(plain.cubic.cwnd);
    expect(fooled.cubic.ssthresh).toBe(plain.cubic.ssthresh);
  });

  test("an unused window neither grows nor lets the curve run on", () => {
    const { cubic, script } = avoiding(1000);
    for (let i = 0; i < 10; i++) script.round();
    const before = cubic.cwnd;
    for (let i = 0; i < 200; i++) {
      cubic.onSent(SEGMENT, SEGMENT, script.now);
      script.now += 100;
      script.acknowledge(SEGMENT, { priorInFlight: SEGMENT, inFlight: 0 });
    }
    // The first of them still ends rounds that were full.
    expect(cubic.cwnd - before).toBeLessThan(SEGMENT);
    const idle = cubic.cwnd;
    script.round();
    script.round();
    expect(cubic.cwnd / idle).toBeLessThan(1.03);
  });

  test("paced at 2 windows a round trip in slow start, 1.25 afterwards, not before the first", () => {
    const cubic = new Cubic(SEGMENT, 10 * SEGMENT);
    const script = new Script(cubic);
    expect(cubic.pacingRate).toBe(Number.POSITIVE_INFINITY);
    script.round();
    expect(cubic.pacingRate).toBeCloseTo((2 * cubic.cwnd) / 100, 6);
    cubic.onLoss(cubic.cwnd, script.now);
    script.round();
    expect(cubic.pacingRate).toBeCloseTo((1.25 * cubic.cwnd) / 100, 6);
  });

  test("HyStart++: a growing round trip slows slow start down to a quarter and ends it five rounds later", () => {
    const cubic = new Cubic(SEGMENT, 16 * SEGMENT);
    const script = new Script(cubic);
    script.round();
    script.round();
    expect(cubic.cwnd).toBe(64 * SEGMENT);
    script.round({ rttMs: 120 });
    const begin = cubic.cwnd;
    expect(begin).toBeLessThan(128 * SEGMENT);
    for (let i = 0; i < 4; i++) script.round({ rttMs: 120 });
    expect(cubic.ssthresh).toBe(Number.POSITIVE_INFINITY);
    expect(cubic.cwnd / begin).toBeCloseTo(1.25 ** 4, 0);
    script.round({ rttMs: 120 });
    expect(cubic.ssthresh).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  test("HyStart++: a round trip that comes down again was no queue", () => {
    const cubic = new Cubic(SEGMENT, 16 * SEGMENT);
    const script = new Script(cubic);
    script.round();
    script.round();
    script.round({ rttMs: 120 });
    script.round({ rttMs: 100 });
    const before = cubic.cwnd;
    script.round({ rttMs: 100 });
    expect(cubic.cwnd).toBe(2 * before);
  });
});
