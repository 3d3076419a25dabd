import { describe, expect, test } from "vitest";
import { CONTROLLER_NAMES } from "../../../../src/protocol/index.js";
import { ScriptedSender } from "./acks.js";

describe("RFC 8985 section 3.4: RACK-TLP in action", () => {
  test.each(CONTROLLER_NAMES)("%s: a tail and a retransmission are lost", (congestion) => {
    const script = new ScriptedSender(4, { congestion });
    const { sender } = script;
    // 1. P0 to P3 leave; P1, P2 and P3 are lost. 2. P0 is acknowledged.
    expect(script.send(0)).toEqual([0, 1, 2, 3]);
    script.ack(100, 1, 0);
    // 3. Two round trips later, and what the peer may hold back, the probe repeats P3.
    expect(sender.timerAt).toBeCloseTo(100 + 2 * 100 + 25, 1);
    expect(script.send(324)).toEqual([]);
    sender.expire(326);
    expect(script.send(326)).toEqual([3]);
    // 4. and 5. P3 is selectively acknowledged: P1 and P2, sent long before it, are lost and sent again.
    script.ack(426, 1, 326, [3]);
    expect(script.send(426)).toEqual([1, 2]);
    // 6. and 7. P2 arrives and P1's repetition, sent before it, does not: it is lost as well.
    script.ack(526, 1, 426, [2, 3]);
    expect(script.send(526)).toEqual([1]);
    // 8. Everything has arrived.
    script.ack(626, 4, 526);
    expect(sender.bytesInFlight).toBe(0);
    expect(sender.timerAt).toBe(Number.POSITIVE_INFINITY);
    expect(script.stats).toMatchObject({ retransmissions: 4, timeouts: 0 });
  });

  test("nothing answers, not even the probe: each timeout sends one segment, and takes twice as long", () => {
    const script = new ScriptedSender(4);
    const { sender } = script;
    script.send(0);
    sender.expire(sender.timerAt);
    expect(script.send(225)).toEqual([3]);
    const timeoutAt = sender.timerAt;
    // RFC 6298 section 5.3, and section 2.2 for the first sample: 100 + 4 * 50.
    expect(timeoutAt).toBeCloseTo(225 + 300, 0);
    sender.expire(timeoutAt);
    expect(script.stats.timeouts).toBe(1);
    expect(script.send(timeoutAt)).toEqual([0]);
    // RFC 6298 sections 5.4 and 5.5.
    expect(sender.timerAt).toBeCloseTo(timeoutAt + 600, 0);
    sender.expire(timeoutAt + 600);
    expect(script.send(timeoutAt + 600)).toEqual([0]);
    expect(sender.timerAt).toBeCloseTo(timeoutAt + 600 + 1200, 0);
    // An answer to the repetition: the others are lost.
    script.ack(timeoutAt + 700, 1, timeoutAt + 600);
    expect(script.send(timeoutAt + 700)[0]).toBe(1);
  });

  test("RFC 3522: an answer to what was sent before the timeout takes it back", () => {
    const script = new ScriptedSender(4);
    const { sender } = script;
    script.send(0);
    const cwnd = sender.cwnd;
    sender.expire(sender.timerAt);
    script.send(225);
    sender.expire(525);
    expect(script.send(525)).toEqual([0]);
    script.ack(600, 1, 0);
    // Nothing but what has left is sent again; round trips take 600 ms now (RFC 4015).
    expect(script.send(600)).toEqual([]);
    expect(sender.cwnd).toBeGreaterThanOrEqual(cwnd);
    expect(sender.rtt.smoothedMs).toBeCloseTo(600, 2);
    script.ack(900, 4, 0);
    expect(sender.idle).toBe(true);
    expect(script.stats).toMatchObject({ retransmissions: 2, timeouts: 1 });
  });
});

describe("reordering (RFC 8985 section 6.2)", () => {
  test("before any was seen, three segments that overtook one are enough", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    script.ack(100, 0, 0, [1]);
    script.ack(101, 0, 0, [1, 2]);
    expect(script.send(101)).toEqual([]);
    script.ack(102, 0, 0, [1, 2, 3]);
    expect(script.send(102)).toEqual([0]);
  });

  test("before that, a quarter of the least round trip is waited", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    script.ack(100, 0, 0, [1]);
    const { sender } = script;
    expect(sender.timerAt).toBeCloseTo(125, 1);
    sender.expire(126);
    expect(script.send(126)).toEqual([0]);
  });

  test("once it was seen, that is waited always", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    script.ack(100, 0, 0, [1]);
    script.ack(101, 0, 0, [2]);
    script.ack(102, 3, 0);
    script.write(6);
    const sent = [104, 106, 108, 110].flatMap((now) => script.send(now));
    expect(sent).toEqual([8, 9, 10, 11, 12, 13]);
    script.ack(210, 8, 0);
    script.ack(211, 8, 110, [9, 10, 11, 12, 13]);
    expect(script.send(211)).toEqual([]);
    script.sender.expire(script.sender.timerAt);
    expect(script.sender.timerAt).toBeGreaterThan(230);
    expect(script.send(240)).toEqual([8]);
  });

  test("what one acknowledgement reports has no order in itself", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    // The newest range first, as the receiver does it: that is no reordering.
    script.ack(100, 0, 0, [5, 2, 3]);
    expect(script.send(104)).toEqual([0, 1, 4]);
  });
});

describe("what was taken for lost and was not (RFC 4015, RFC 3708)", () => {
  function lose(): ScriptedSender {
    const script = new ScriptedSender(8);
    script.send(0);
    script.ack(100, 0, 0, [1, 2, 3]);
    expect(script.sender.cwnd).toBeLessThan(before);
    script.ack(105, 0, 0, [1, 2, 3, 4, 5, 6]);
    expect(script.send(140)).toEqual([0]);
    return script;
  }
  const before = new ScriptedSender(0).sender.cwnd;

  test("the original is acknowledged: the reaction is taken back", () => {
    const script = lose();
    // It answers what was sent at 0, so it cannot be the repetition of 140.
    script.ack(150, 7, 0);
    expect(script.sender.cwnd).toBeGreaterThanOrEqual(before);
  });

  test("the repetition is acknowledged: it stands", () => {
    const script = lose();
    script.ack(240, 7, 140);
    expect(script.sender.cwnd).toBeLessThan(before);
  });

  test("the repetition is reported as a duplicate later: the reaction is taken back", () => {
    const script = lose();
    script.ack(240, 8, 140);
    script.ack(241, 8, 140, [], 0);
    expect(script.sender.cwnd).toBeGreaterThanOrEqual(before);
  });

  test("a duplicate that a tail loss probe made says nothing", () => {
    const script = new ScriptedSender(4);
    script.send(0);
    script.sender.expire(script.sender.timerAt);
    expect(script.send(225)).toEqual([3]);
    const { cwnd } = script.sender;
    script.ack(226, 4, 0);
    script.ack(325, 4, 225, [], 3);
    expect(script.sender.cwnd).toBeGreaterThanOrEqual(cwnd);
  });

  test("a tail loss probe that repaired a loss is a loss (section 7.4.2)", () => {
    const script = new ScriptedSender(4);
    script.send(0);
    script.ack(100, 3, 0);
    const { cwnd } = script.sender;
    script.sender.expire(script.sender.timerAt);
    expect(script.send(330)).toEqual([3]);
    script.ack(430, 4, 330);
    expect(script.sender.cwnd).toBeLessThan(cwnd);
  });
});

describe("the end of a stream", () => {
  /** What leaves while pacing lets it go. */
  const sendFor = (script: ScriptedSender, from: number, to: number): number[] => {
    const sent: number[] = [];
    for (let now = from; now < to; now++) sent.push(...script.send(now));
    return sent;
  };

  test("what is lost of it is repeated twice, and what comes of that is no sign of reordering", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    script.sender.ended = true;
    expect(script.send(1), "the FIN").toEqual([8]);
    script.ack(100, 0, 0, [1, 2, 4, 5, 6, 7]);
    expect(sendFor(script, 101, 180)).toEqual([0, 3, 0, 3]);
    expect(script.sender.bytesInFlight).toBe(2001);
    const { cwnd } = script.sender;
    script.ack(201, 3, 110, [4, 5, 6, 7]);
    script.ack(202, 3, 110, [4, 5, 6, 7], 0);
    script.ack(210, 8, 120);
    expect(script.sender.cwnd).toBeGreaterThanOrEqual(cwnd);
  });

  test("while more may come it is repeated once", () => {
    const script = new ScriptedSender(8, { congestion: "bbr" });
    script.send(0);
    script.ack(100, 0, 0, [1, 2, 4, 5, 6, 7]);
    expect(sendFor(script, 101, 180)).toEqual([0, 3]);
  });
});

describe("bounds", () => {
  test("an acknowledgement of what was never sent is refused", () => {
    const script = new ScriptedSender(2);
    script.send(0);
    script.ack(100, 3, 0);
    expect(script.sender.sndUna).toBe(1);
  });

  test("selective acknowledgements of what was never sent, backwards or empty, are passed over", () => {
    const script = new ScriptedSender(4);
    script.send(0);
    script.ack(100, 0, 0, [5, -3, 100_000]);
    expect(script.sender.bytesInFlight).toBe(4000);
  });
});
