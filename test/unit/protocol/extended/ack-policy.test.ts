import { expect, test } from "vitest";
import { MAX_ACK_DELAY_MS, MOST_BYTES_PER_ACK } from "../../../../src/protocol/extended/ack-policy.js";
import { Receiver } from "../../../../src/protocol/extended/receiver.js";
import { ACK, DATA, EXTENDED, emptyPacket, PacketWriter } from "../../../../src/protocol/extended/wire.js";
import { PORTABLE_MEMORY } from "../../../../src/protocol/memory.js";
import { ScriptedSender, SEGMENT } from "./acks.js";

const QUICK_SEGMENTS = 64;
const MEBIBYTE = 1024 * 1024;
/** In which what a peer may gather fits twice. */
const WINDOW_WITHOUT_ASKS = 2 * MOST_BYTES_PER_ACK;

/** A receiver behind its quick start that has just acknowledged everything, at 0 ms. */
class Gatherer {
  readonly receiver = new Receiver(4 * MEBIBYTE, PORTABLE_MEMORY);
  #sequence = 1;

  constructor() {
    this.receiver.admit();
    for (let i = 0; i < QUICK_SEGMENTS; i++) this.take(SEGMENT, 0);
    this.acknowledge(0);
  }

  /** Whether it acknowledges at once. */
  take(bytes: number, now: number): boolean {
    const datagram = new Uint8Array(bytes);
    const packet = { ...emptyPacket(), bits: EXTENDED | DATA, sequence: this.#sequence, datagram, dataEnd: bytes };
    this.#sequence += bytes;
    this.receiver.receive(packet, 0, now);
    return this.receiver.ackDue;
  }

  acknowledge(now: number): void {
    const writer = new PacketWriter();
    writer.begin(new Uint8Array(400), 0, 1, 2, 3, ACK);
    this.receiver.writeAck(writer, 8, now);
  }

  /** How much of segments of so many bytes it takes until it acknowledges. */
  gathers(segmentBytes: number, now: number): number {
    const from = this.#sequence;
    while (!this.take(segmentBytes, now));
    return this.#sequence - from;
  }
}

test.each([
  ["of short segments 24 KiB", SEGMENT, 1, 25 * SEGMENT],
  ["of long ones four", 60_000, 1, 240_000],
  [
    "sooner than a millisecond after the last time 768 KiB",
    SEGMENT,
    0.9,
    Math.ceil(MOST_BYTES_PER_ACK / SEGMENT) * SEGMENT,
  ],
  ["of long ones too", 60_000, 0.9, Math.ceil(MOST_BYTES_PER_ACK / 60_000) * 60_000],
])("a receiver gathers %s", (_what, segmentBytes, now, bytes) => {
  expect(new Gatherer().gathers(segmentBytes, now)).toBe(bytes);
});

test("what is less waits for no longer than 25 ms", () => {
  const gatherer = new Gatherer();
  expect(gatherer.take(30_000, 0.5)).toBe(false);
  expect(gatherer.receiver.ackAt).toBe(0.5 + MAX_ACK_DELAY_MS);
  expect(gatherer.take(SEGMENT, 1.5), "what came in between counts").toBe(true);
});

/** Which segments of a full window ask, by how many are in it; round trips of `rttMs`. */
function asks(windowBytes: number, rttMs: number): { asked: number[]; inWindow: number } {
  const scripted = new ScriptedSender((8 * MEBIBYTE) / SEGMENT, { congestion: "tahoe", rttMs });
  const { sender } = scripted;
  let now = 0;
  for (let next = 0; sender.cwnd < windowBytes; ) {
    next += scripted.send(now).length;
    sender.takeAsk();
    now += rttMs;
    scripted.ack(now, next, now - rttMs);
  }
  const asked: number[] = [];
  let inWindow = 0;
  for (; sender.next(SEGMENT, now) !== null; inWindow++) if (sender.takeAsk()) asked.push(inWindow);
  return { asked, inWindow };
}

test("a sender whose window is small asks four times in each", () => {
  for (const rttMs of [0.5, 100]) {
    const { asked, inWindow } = asks(48_000, rttMs);
    expect(inWindow).toBe(48);
    expect(asked).toEqual([11, 23, 35, 47]);
  }
});

test("near by it asks as often while the peer might gather half of its window", () => {
  expect(asks(400_000, 0.5).asked.length).toBe(4);
  expect(asks(WINDOW_WITHOUT_ASKS, 0.5).asked).toEqual([]);
});

test("far away it asks with what fills a window", () => {
  const { asked, inWindow } = asks(400_000, 100);
  expect(asked).toEqual([inWindow - 1]);
  expect(asks(WINDOW_WITHOUT_ASKS, 100).asked).toEqual([]);
});
