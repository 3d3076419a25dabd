import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Receiver } from "../../../../src/protocol/extended/receiver.js";
import {
  ACK,
  DATA,
  EXTENDED,
  emptyPacket,
  JOINED,
  joinedPackets,
  type Packet,
  PacketWriter,
} from "../../../../src/protocol/extended/wire.js";
import { PORTABLE_MEMORY } from "../../../../src/protocol/memory.js";

const SEGMENT = 100;
const HEADER = 18;
const WINDOW = 64 * 1024;
/** So many are acknowledged more often. */
const QUICK_SEGMENTS = 64;
/** So that numbers wrap around. */
const ISN = 2 ** 32 - 1500;

interface Train {
  /** Where in the stream. */
  readonly from: number;
  readonly count: number;
  readonly lastBytes: number;
}

/** Consecutive packets as one, or a part of them. */
function packetOf({ from, count, lastBytes }: Train, first = 0, packets = count): Packet {
  const start = from + first * SEGMENT;
  const end = first + packets === count ? from + (count - 1) * SEGMENT + lastBytes : start + packets * SEGMENT;
  return {
    ...emptyPacket(),
    bits: EXTENDED | DATA | (packets > 1 ? JOINED : 0),
    sequence: (ISN + 1 + start) % 2 ** 32,
    time: 1234,
    datagram: Uint8Array.from({ length: HEADER + end - start }, (_, i) => ((start + i - HEADER) * 7) % 251),
    dataAt: HEADER,
    dataEnd: HEADER + end - start,
  };
}

function receiver(): Receiver {
  const made = new Receiver(WINDOW, PORTABLE_MEMORY);
  made.isn = ISN;
  return made;
}

function ackOf(from: Receiver, now: number): string {
  const out = new Uint8Array(400);
  const writer = new PacketWriter();
  writer.begin(out, 0, 1, 2, 3, ACK);
  from.writeAck(writer, 8, now);
  return Buffer.from(out.subarray(0, writer.end())).toString("hex");
}

function takeAll(from: Receiver): string {
  const parts: Uint8Array[] = [];
  for (let part = from.buffer.read(); part !== null; part = from.buffer.read()) parts.push(part);
  return Buffer.concat(parts).toString("hex");
}

describe("packets that were joined", () => {
  test("are as many as they were", () => {
    const joined = packetOf({ from: 0, count: 4, lastBytes: 30 });
    expect(joinedPackets(joined, HEADER + SEGMENT)).toBe(4);
    expect([0, HEADER, HEADER + 330, HEADER + 400].map((bytes) => joinedPackets(joined, bytes))).toEqual([1, 1, 1, 1]);
    const count = (bits: number) => joinedPackets({ ...joined, bits }, HEADER + SEGMENT);
    expect(count(EXTENDED | DATA | JOINED | ACK), "only data is joined").toBe(1);
    expect(count(EXTENDED | DATA), "a long one beside those that were joined").toBe(1);
  });

  test("are acknowledged at once where they make a gap smaller, at either of its ends", () => {
    for (const count of [1, 3]) {
      for (const [from, atOnce] of [
        [0, true],
        [80 - count, true],
        [90, false],
      ] as const) {
        const made = receiver();
        // Behind the quick start, with a range ahead, from segment 80 to 90.
        for (let i = 0; i < QUICK_SEGMENTS; i++)
          made.receive(packetOf({ from: i * SEGMENT, count: 1, lastBytes: SEGMENT }), 0, 0);
        const behind = QUICK_SEGMENTS * SEGMENT;
        made.receive(packetOf({ from: behind + 80 * SEGMENT, count: 10, lastBytes: SEGMENT }), HEADER + SEGMENT, 0);
        ackOf(made, 1);
        made.receive(packetOf({ from: behind + from * SEGMENT, count, lastBytes: SEGMENT }), HEADER + SEGMENT, 2);
        expect(made.ackDue, `${count} at ${from}`).toBe(atOnce);
      }
    }
  });

  test("lead to what they would have led to one by one, whatever is lost, doubled or late", () => {
    const train = fc.record({
      from: fc.option(
        fc.nat(60).map((segments) => segments * SEGMENT),
        { freq: 3 },
      ),
      count: fc.integer({ min: 1, max: 12 }),
      lastBytes: fc.constantFrom(SEGMENT, SEGMENT, SEGMENT, 1, 60),
      reads: fc.boolean(),
      acknowledges: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(train, { maxLength: 40 }), (trains) => {
        const whole = receiver();
        const apart = receiver();
        let segments = 0;
        for (const [now, { from, reads, acknowledges, ...rest }] of trains.entries()) {
          const one = { ...rest, from: from ?? whole.buffer.nextOffset };
          const readable = whole.receive(packetOf(one), HEADER + SEGMENT, now);
          let anything = false;
          for (let i = 0; i < one.count; i++) {
            if (apart.receive(packetOf(one, i, 1), 0, now)) anything = true;
          }
          expect(readable).toBe(anything);
          // A train during which the quick start ends may be judged as a whole.
          const turns = segments < QUICK_SEGMENTS && segments + one.count >= QUICK_SEGMENTS;
          segments += one.count;
          if (!turns) expect(whole.ackDue).toBe(apart.ackDue);
          if (!whole.ackDue) expect(whole.ackAt).toBe(apart.ackAt);
          expect([whole.next, whole.bytesReceived, whole.overflows]).toEqual([
            apart.next,
            apart.bytesReceived,
            apart.overflows,
          ]);
          expect(whole.buffer.ahead).toEqual(apart.buffer.ahead);
          if (reads) expect(takeAll(whole)).toBe(takeAll(apart));
          if (acknowledges || turns) expect(ackOf(whole, now + 1)).toBe(ackOf(apart, now + 1));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
