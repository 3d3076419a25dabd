import { describe, expect, test } from "vitest";
import { RttEstimator } from "../../../../src/protocol/rtt.js";

describe("RFC 6298", () => {
  test("section 2.2: the first sample", () => {
    const rtt = new RttEstimator();
    expect(rtt.timeoutMs).toBe(1000);
    rtt.onSample(100, 0);
    expect([rtt.smoothedMs, rtt.variationMs, rtt.timeoutMs]).toEqual([100, 50, 300]);
  });

  test("section 2.3: later ones", () => {
    const rtt = new RttEstimator();
    rtt.onSample(100, 0);
    rtt.onSample(200, 1);
    expect([rtt.smoothedMs, rtt.variationMs, rtt.timeoutMs]).toEqual([112.5, 62.5, 362.5]);
    rtt.onSample(112.5, 2);
    expect([rtt.smoothedMs, rtt.variationMs, rtt.timeoutMs]).toEqual([112.5, 46.875, 300]);
  });

  test("section 2.4 and 2.5: bounds", () => {
    const near = new RttEstimator();
    near.onSample(0.1, 0);
    expect(near.timeoutMs).toBe(200);
    const far = new RttEstimator();
    far.onSample(6000, 0);
    expect(far.timeoutMs).toBe(18_000);
    far.onSample(120_000, 1);
    expect(far.timeoutMs).toBe(60_000);
  });

  test("section 5.5: backing off doubles it, up to an eighth of the silence timeout or the path's own; a sample ends it", () => {
    const rtt = new RttEstimator();
    rtt.silenceTimeoutMs = 30_000;
    rtt.onSample(20, 0);
    expect(rtt.timeoutMs).toBe(200);
    rtt.backOff();
    expect(rtt.timeoutMs).toBe(400);
    for (const doubled of [800, 1600, 3200, 3750, 3750]) {
      rtt.backOff();
      expect(rtt.timeoutMs).toBe(doubled);
    }
    rtt.onSample(20, 1);
    expect(rtt.timeoutMs).toBe(200);
    const slow = new RttEstimator();
    slow.silenceTimeoutMs = 30_000;
    slow.onSample(3000, 0);
    slow.backOff();
    expect(slow.timeoutMs).toBe(9000);
  });

  test("the silence timeout may become known later, and then bounds what is backed off already", () => {
    const rtt = new RttEstimator();
    rtt.silenceTimeoutMs = 10_000;
    rtt.onSample(20, 0);
    for (let i = 0; i < 6; i++) rtt.backOff();
    expect(rtt.timeoutMs).toBe(1250);
    rtt.silenceTimeoutMs = 30_000;
    expect(rtt.timeoutMs).toBe(3750);
    rtt.silenceTimeoutMs = 8000;
    expect(rtt.timeoutMs).toBe(1000);
  });

  test("a handshake with a SYN that was repeated bounds the first timeout, and is no sample", () => {
    const rtt = new RttEstimator();
    rtt.onUpperBound(2000);
    expect([rtt.smoothedMs, rtt.minMs, rtt.timeoutMs]).toEqual([0, Number.POSITIVE_INFINITY, 3000]);
    rtt.onSample(100, 0);
    expect(rtt.timeoutMs).toBe(300);
    rtt.onUpperBound(2000);
    expect(rtt.timeoutMs).toBe(300);
  });

  test("RFC 4015 section 3.3: after a timeout that came too early the next sample counts as the first", () => {
    const rtt = new RttEstimator();
    rtt.onSample(100, 0);
    rtt.onSpuriousTimeout(1000);
    expect([rtt.smoothedMs, rtt.variationMs, rtt.timeoutMs]).toEqual([1000, 500, 3000]);
    rtt.onSpuriousTimeout(500);
    expect(rtt.smoothedMs).toBe(1000);
  });

  test("the least round trip is forgotten after five minutes, all of it on another path", () => {
    const rtt = new RttEstimator();
    rtt.onSample(20, 0);
    rtt.onSample(30, 299_999);
    expect(rtt.minMs).toBe(20);
    rtt.onSample(30, 300_001);
    expect(rtt.minMs).toBe(30);
    rtt.reset();
    expect([rtt.smoothedMs, rtt.minMs, rtt.timeoutMs]).toEqual([0, Number.POSITIVE_INFINITY, 500]);
  });
});
