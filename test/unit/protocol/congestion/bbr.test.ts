import { describe, expect, test } from "vitest";
import { Bbr, DRAIN_GAIN, STARTUP_GAIN, UP_GAIN } from "../../../../src/protocol/congestion/bbr.js";
import { WindowedMax } from "../../../../src/protocol/congestion/windowed-max.js";
import { Bottleneck, type Flow, megabits } from "./bottleneck.js";
import { Script, SEGMENT } from "./support.js";

const RATE = 100;
const RTT = 100;
const BDP = RATE * RTT;

/** Startup, drain, and a cruise at 100 bytes/ms and 100 ms. */
function cruising(random = () => 0): { bbr: Bbr; script: Script } {
  const bbr = new Bbr(SEGMENT, 10 * SEGMENT, random);
  const script = new Script(bbr, RTT);
  for (let i = 0; i < 5; i++) script.round({ deliveryRate: RATE, inFlight: 2 * BDP });
  script.round({ deliveryRate: RATE, inFlight: BDP });
  expect(bbr.state).toBe("cruise");
  return { bbr, script };
}

describe("Bbr", () => {
  test("startup: a plateau of three rounds ends it, and the queue is drained", () => {
    const bbr = new Bbr(SEGMENT, 10 * SEGMENT, () => 0);
    const script = new Script(bbr, RTT);
    const states: string[] = [];
    for (const rate of [10, 20, 40, 80, 100, 100, 100, 100]) {
      script.round({ deliveryRate: rate, inFlight: 2 * BDP });
      states.push(bbr.state);
      if (bbr.state === "startup") expect(bbr.pacingRate).toBeCloseTo(STARTUP_GAIN * RATE, 0);
    }
    expect(states).toEqual([...Array(7).fill("startup"), "drain"]);
    expect(bbr.pacingRate).toBeCloseTo(DRAIN_GAIN * RATE, 6);
    script.acknowledge(SEGMENT, { inFlight: BDP });
    expect(bbr.state).toBe("cruise");
    expect(bbr.pacingRate).toBeCloseTo(RATE, 6);
  });

  test.each([
    ["one noisy round", [10, 20, 21, 40, 80, 160, 320]],
    ["two of them", [10, 20, 21, 20, 40, 80, 160]],
  ])("startup: %s does not end it", (_, rates) => {
    const bbr = new Bbr(SEGMENT, 10 * SEGMENT, () => 0);
    const script = new Script(bbr, RTT);
    for (const rate of rates) script.round({ deliveryRate: rate });
    expect(bbr.state).toBe("startup");
  });

  test("startup: neither do losses, nor a sender with too little to send", () => {
    const bbr = new Bbr(SEGMENT, 10 * SEGMENT, () => 0);
    const script = new Script(bbr, RTT);
    for (const rate of [10, 20, 40]) script.round({ deliveryRate: rate, lostBytes: 300 });
    for (let i = 0; i < 10; i++) script.round({ deliveryRate: 10, appLimited: true });
    expect(bbr.state).toBe("startup");
    expect(bbr.bandwidth).toBe(40);
  });

  test("the cycle: cruise, up, down, cruise", () => {
    const { bbr, script } = cruising();
    const seen: string[] = [];
    for (let i = 0; i < 24; i++) {
      script.round({ deliveryRate: RATE, priorInFlight: UP_GAIN * BDP, inFlight: BDP });
      if (seen.at(-1) !== bbr.state) seen.push(bbr.state);
    }
    expect(seen.slice(0, 6)).toEqual(["cruise", "up", "down", "cruise", "up", "down"]);
  });

  test("loss without a queue changes neither bandwidth nor window", () => {
    const { bbr, script } = cruising();
    const before = bbr.cwnd;
    let probed = false;
    for (let i = 0; i < 30; i++) {
      bbr.onLoss(bbr.cwnd, script.now);
      // A probe for more bandwidth shows, as a short queue.
      const rttMs = probed || bbr.state === "up" ? 110 : 100;
      probed = bbr.state === "up";
      script.round({ deliveryRate: RATE, lostBytes: 250, inFlight: BDP, rttMs });
    }
    expect(bbr.bandwidth).toBe(RATE);
    expect(bbr.cwnd).toBeGreaterThanOrEqual(before);
    expect(bbr.inFlightHigh).toBe(Number.POSITIVE_INFINITY);
    expect(bbr.randomLoss).toBeCloseTo(0.2, 2);
  });

  test("much loss with a queue bounds what is in flight, not below what the path holds", () => {
    const { bbr, script } = cruising();
    const before = bbr.cwnd;
    for (let i = 0; i < 3; i++) script.round({ deliveryRate: RATE, lostBytes: 400, rttMs: 180, inFlight: 2 * BDP });
    expect(bbr.inFlightHigh).toBeLessThanOrEqual(0.85 * before);
    expect(bbr.inFlightHigh).toBeGreaterThanOrEqual(BDP * 0.99);
    expect(bbr.cwnd).toBeLessThanOrEqual(bbr.inFlightHigh);
  });

  test("a timeout: four segments, growing with what is delivered, and the old window a round later", () => {
    const { bbr, script } = cruising();
    const before = bbr.cwnd;
    bbr.onTimeout(before, script.now);
    expect(bbr.cwnd).toBe(4 * SEGMENT);
    script.round({ deliveryRate: RATE, inFlight: 3 * SEGMENT });
    expect(bbr.cwnd).toBeLessThan(before);
    script.round({ deliveryRate: RATE, inFlight: 8 * SEGMENT });
    script.round({ deliveryRate: RATE, inFlight: BDP });
    expect(bbr.cwnd).toBeGreaterThanOrEqual(before * 0.9);
  });

  test("a timeout that was none is taken back at once", () => {
    const { bbr, script } = cruising();
    const before = bbr.cwnd;
    bbr.onTimeout(before, script.now);
    bbr.onSpurious(script.now);
    expect(bbr.cwnd).toBe(before);
  });

  test("ProbeRTT: after 10 s without the least round trip, half the path for 200 ms, and everything as before", () => {
    const { bbr, script } = cruising();
    const begin = script.now;
    while (bbr.state !== "probe-rtt")
      script.round({ deliveryRate: RATE, rttMs: 120, inFlight: BDP, smoothedRttMs: 120 });
    expect(script.now - begin).toBeGreaterThanOrEqual(10_000 - RTT);
    expect(script.now - begin).toBeLessThanOrEqual(10_000 + 2 * RTT);
    expect(bbr.cwnd).toBe(BDP / 2);
    const entered = script.now;
    while (bbr.state === "probe-rtt") {
      script.round({ deliveryRate: RATE / 2, rttMs: 105, inFlight: BDP / 4, smoothedRttMs: 120 });
    }
    expect(script.now - entered).toBeLessThanOrEqual(200 + 2 * RTT);
    expect(bbr.minRttMs).toBe(105);
    expect(bbr.cwnd).toBeGreaterThanOrEqual(BDP);
  });

  test("ProbeRTT: ends with the round trip of something that was sent into the short queue", () => {
    const { bbr, script } = cruising();
    while (bbr.state !== "probe-rtt") script.round({ deliveryRate: RATE, rttMs: 120, inFlight: BDP });
    const slow = { deliveryRate: RATE, rttMs: 500 };
    // A round ends at the end of what is delivered now. While it lasts, what is in flight falls to what it should be.
    script.acknowledge(SEGMENT, { ...slow, inFlight: BDP });
    const roundEnd = script.delivered;
    script.acknowledge(5 * SEGMENT, { ...slow, inFlight: BDP / 2, priorDelivered: 0 });
    const fell = script.delivered;
    script.now += 300;
    script.acknowledge(SEGMENT, { ...slow, inFlight: BDP / 2, priorDelivered: roundEnd });
    expect(bbr.state).toBe("probe-rtt");
    script.acknowledge(SEGMENT, { rttMs: 105, inFlight: BDP / 2, priorDelivered: fell });
    expect(bbr.state).toBe("cruise");
    expect(bbr.minRttMs).toBe(105);
  });

  test("ProbeRTT: not while the least round trip is seen anew", () => {
    const { bbr, script } = cruising();
    for (let i = 0; i < 300; i++) {
      script.round({ deliveryRate: RATE, inFlight: BDP });
      expect(bbr.state).not.toBe("probe-rtt");
    }
  });

  test("a round trip of microseconds divides nothing by nothing", () => {
    const bbr = new Bbr(SEGMENT, 10 * SEGMENT, () => 0);
    const script = new Script(bbr, 0.001);
    for (let i = 0; i < 20; i++) script.round({ deliveryRate: 1e6 });
    expect(Number.isFinite(bbr.cwnd)).toBe(true);
    expect(Number.isFinite(bbr.pacingRate)).toBe(true);
    expect(bbr.cwnd).toBeGreaterThan(4 * SEGMENT);
  });

  test("a first flight that comes back spread says the rate: the second flight fills the path", () => {
    const windows: number[] = [];
    const rate = megabits(100);
    const net = new Bottleneck({ rate, rttMs: 40, queueBytes: rate * 40 }, [
      { name: "bbr", watch: (flow: Flow) => windows.push(flow.controller.cwnd) },
    ]);
    net.run(60);
    expect(windows.at(-1)).toBeGreaterThan(0.6 * rate * 40);
    expect(windows.at(-1)).toBeLessThan(1.1 * rate * 40);
  });
});

describe("WindowedMax", () => {
  test("the greatest of the last ten rounds", () => {
    const filter = new WindowedMax(10);
    filter.update(100, 0);
    for (let round = 1; round <= 10; round++) filter.update(50 + (round % 3), round);
    expect(filter.value).toBe(100);
    filter.update(50, 11);
    expect(filter.value).toBeLessThan(53);
    expect(filter.value).toBeGreaterThanOrEqual(50);
    filter.update(200, 12);
    expect(filter.value).toBe(200);
  });
});
