import { describe, expect, test } from "vitest";
import { ExtendedTahoe } from "../../../../src/protocol/congestion/tahoe.js";
import { Script, SEGMENT } from "./support.js";

describe("ExtendedTahoe", () => {
  test("slow start doubles, a loss halves what is in flight and starts again, then one segment a round trip", () => {
    const tahoe = new ExtendedTahoe(SEGMENT, 4 * SEGMENT);
    const script = new Script(tahoe);
    const seen: number[] = [];
    const rounds = (count: number): void => {
      for (let i = 0; i < count; i++) {
        script.round();
        seen.push(Math.floor(tahoe.cwnd / SEGMENT));
      }
    };
    rounds(3);
    tahoe.onLoss(tahoe.cwnd, script.now);
    expect(tahoe).toMatchObject({ cwnd: SEGMENT, ssthresh: 16 * SEGMENT });
    rounds(6);
    expect(seen).toEqual([8, 16, 32, 2, 4, 8, 16, 16, 17]);
  });

  test.each([
    [100 * SEGMENT, 50 * SEGMENT],
    [5 * SEGMENT, 2500],
    [2 * SEGMENT, 2 * SEGMENT],
    [0, 2 * SEGMENT],
  ])("a timeout with %d in flight: ssthresh %d, cwnd one segment", (inFlight, ssthresh) => {
    const tahoe = new ExtendedTahoe(SEGMENT, 100 * SEGMENT);
    tahoe.onTimeout(inFlight, 0);
    expect(tahoe).toMatchObject({ cwnd: SEGMENT, ssthresh, pacingRate: Number.POSITIVE_INFINITY });
  });

  test("what was no loss is taken back, once", () => {
    const tahoe = new ExtendedTahoe(SEGMENT, 10 * SEGMENT);
    tahoe.onLoss(10 * SEGMENT, 0);
    tahoe.onSpurious(1);
    expect(tahoe).toMatchObject({ cwnd: 10 * SEGMENT, ssthresh: Number.POSITIVE_INFINITY });
    tahoe.cwnd = SEGMENT;
    tahoe.onSpurious(2);
    expect(tahoe.cwnd).toBe(SEGMENT);
  });

  test("a window that is not used does not grow", () => {
    const tahoe = new ExtendedTahoe(SEGMENT, 10 * SEGMENT);
    const script = new Script(tahoe);
    for (let i = 0; i < 20; i++) {
      tahoe.onSent(SEGMENT, SEGMENT, script.now);
      script.now += 100;
      script.acknowledge(SEGMENT, { priorInFlight: SEGMENT, inFlight: 0 });
    }
    expect(tahoe.cwnd).toBe(10 * SEGMENT);
  });
});
