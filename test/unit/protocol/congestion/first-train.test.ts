import { describe, expect, test } from "vitest";
import { emptyAckSample } from "../../../../src/protocol/congestion/controller.js";
import { FirstTrain } from "../../../../src/protocol/congestion/first-train.js";

const FLIGHT = 48_000;
const BASE_MS = 40;
const HANDSHAKE_MS = 42;

/** A flight that leaves at 100, and acknowledgements `[ms later, bytes]`; with a handshake's round trip to go by, or without. */
function rateAfter(acks: [laterMs: number, bytes: number][], handshake = true): number {
  const train = new FirstTrain(FLIGHT);
  train.onSent(100);
  train.onSent(101);
  for (const [laterMs, ackedBytes] of acks) {
    const rttMs = laterMs;
    const smoothedRttMs = handshake ? (7 * HANDSHAKE_MS + laterMs) / 8 : rttMs;
    train.onAck({
      ...emptyAckSample(),
      now: 100 + laterMs,
      ackedBytes,
      rttMs,
      smoothedRttMs,
      minRttMs: handshake ? BASE_MS : rttMs,
    });
  }
  return train.rate;
}

describe("the rate that a first flight tells of", () => {
  test("is its spacing, where each part is acknowledged as it arrives", () => {
    expect(rateAfter([40, 42, 44, 46].map((at) => [at, 12_000]))).toBeCloseTo(8000, 6);
    // Before most of it is there, that is all there is to go by.
    expect(rateAfter([40, 42, 44].map((at) => [at, 6000]))).toBeCloseTo(3000, 6);
  });

  test("is what the path did at least, where a receiver gathers it", () => {
    expect(
      rateAfter([
        [46, 30_000],
        [50, 18_000],
      ]),
    ).toBeCloseTo(4800, 6);
    expect(rateAfter([[44, FLIGHT]])).toBeCloseTo(12_000, 6);
    // Clocks and timers count in milliseconds: less than one says nothing.
    expect(rateAfter([[40.1, FLIGHT]])).toBeCloseTo(FLIGHT, 6);
  });

  test("is unknown from a part of the flight, and without a round trip from before it", () => {
    expect(rateAfter([[44, 0.7 * FLIGHT]])).toBe(0);
    expect(rateAfter([[44, FLIGHT]], false)).toBe(0);
  });
});
