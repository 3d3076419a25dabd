import { describe, expect, test } from "vitest";
import { emptyAckSample } from "../../../../src/protocol/congestion/controller.js";
import { DeliveryRate } from "../../../../src/protocol/extended/delivery-rate.js";
import { SentSegment } from "../../../../src/protocol/extended/sent-segments.js";

/** draft-ietf-ccwg-bbr section 4.1, with segments of 1,000 bytes. */
class Script {
  readonly rate = new DeliveryRate();
  readonly #inFlight = new Set<SentSegment>();

  send(now: number): SentSegment {
    const segment = new SentSegment();
    segment.end = 1000;
    segment.sentAt = now;
    this.#inFlight.add(segment);
    this.rate.onSent(segment, 1000 * this.#inFlight.size, now);
    return segment;
  }

  ack(now: number, ...segments: SentSegment[]): { deliveryRate: number; appLimited: boolean; priorDelivered: number } {
    const ack = emptyAckSample();
    this.rate.beginAck();
    for (const segment of segments) {
      this.#inFlight.delete(segment);
      this.rate.onDelivered(segment, now);
    }
    this.rate.report(ack, 10);
    return ack;
  }

  get inFlight(): number {
    return 1000 * this.#inFlight.size;
  }
}

describe("delivery rate", () => {
  test("what is acknowledged over a round trip", () => {
    const script = new Script();
    const segments = [0, 1, 2, 3].map((ms) => script.send(ms));
    for (const [i, segment] of segments.slice(0, 3).entries()) script.ack(100 + i, segment);
    // All four since nothing was delivered, in the 103 ms from then.
    expect(script.ack(103, segments[3] as SentSegment).deliveryRate).toBeCloseTo(4000 / 103);
  });

  test("acknowledgements that come all at once say no more than was sent in that time", () => {
    const script = new Script();
    const first = script.send(0);
    script.ack(50, first);
    const segments = [50, 60, 70, 80, 90, 100].map((ms) => script.send(ms));
    expect(script.ack(105, ...segments).deliveryRate).toBeCloseTo(6000 / 55);
  });

  test("an acknowledgement sooner than anything can travel gives no sample", () => {
    const script = new Script();
    expect(script.ack(9, script.send(0)).deliveryRate).toBe(0);
    expect(script.ack(21, script.send(10)).deliveryRate).toBeCloseTo(1000 / 11);
  });

  test("the newest segment of several is what counts", () => {
    const script = new Script();
    const old = script.send(0);
    const middle = script.send(1);
    script.ack(50, middle);
    const young = script.send(51);
    const { priorDelivered, deliveryRate } = script.ack(101, young, old);
    expect(priorDelivered).toBe(1000);
    expect(deliveryRate).toBeCloseTo(2000 / 51);
  });

  test("a sender with too little to send says so until that is delivered", () => {
    const script = new Script();
    const first = script.send(0);
    script.rate.onAppLimited(script.inFlight);
    const second = script.send(1);
    expect(script.ack(50, first).appLimited).toBe(false);
    expect(script.ack(51, second).appLimited).toBe(true);
    expect(script.ack(101, script.send(52)).appLimited).toBe(false);
  });

  test("from idle on the time that nothing was under way does not count", () => {
    const script = new Script();
    script.ack(20, script.send(0));
    expect(script.ack(10_020, script.send(10_000)).deliveryRate).toBeCloseTo(1000 / 20);
  });
});
