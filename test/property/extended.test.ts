import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type SentSegment, SentSegments } from "../../src/protocol/extended/sent-segments.js";
import {
  ACK,
  DATA,
  decodePacket,
  emptyPacket,
  FIN,
  HELLO,
  PacketWriter,
  PING,
  PROBE,
  PROBE_ANSWER,
  RESET,
} from "../../src/protocol/extended/wire.js";
import { type Connection, DEFAULT_EDITION, Endpoint, editionNamed } from "../../src/protocol/index.js";
import { Random } from "../support/random.js";

describe("the scoreboard equals a naive one", () => {
  interface Naive {
    start: number;
    end: number;
    sacked: boolean;
    lost: boolean;
    /** Order of the last transmission. */
    order: number;
  }

  const steps = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("add" as const), a: fc.integer({ min: 1, max: 50 }) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("sack" as const), a: fc.nat(40), b: fc.nat(12) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("ack" as const), a: fc.nat(8), b: fc.nat(3) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("lose" as const), a: fc.nat(40) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("repeat" as const), a: fc.nat(40) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("fit" as const), a: fc.integer({ min: 5, max: 40 }) }) },
    ),
    { maxLength: 120 },
  );

  test("whatever is sent, lost, repeated, acknowledged and divided", () => {
    fc.assert(
      fc.property(steps, (script) => {
        const board = new SentSegments();
        let naive: Naive[] = [];
        let next = 1;
        let now = 0;
        let delivered = 0;
        let expected = 0;
        const listener = { onDelivered: (segment: SentSegment) => (delivered += segment.bytes) };
        const deliver = (one: Naive) => {
          if (!one.sacked) expected += one.end - one.start;
        };
        for (const { kind, a, ...rest } of script) {
          const b = "b" in rest ? rest.b : 0;
          now++;
          board.beginSteps(1);
          if (kind === "add") {
            board.add(next, next + a, now);
            naive.push({ start: next, end: next + a, sacked: false, lost: false, order: now });
            next += a;
          } else if (kind === "sack" && naive.length > 0) {
            const from = naive[a % naive.length] as Naive;
            const to = naive[Math.min(naive.length - 1, (a % naive.length) + b)] as Naive;
            // Sometimes a little more or less than whole segments.
            const [start, end] = [from.start - (b % 3 === 1 ? 1 : 0), to.end - (b % 4 === 1 ? 1 : 0)];
            board.sack(start, end, listener);
            for (const one of naive) {
              if (one.start < start || one.end > end || one.sacked) continue;
              deliver(one);
              one.sacked = true;
              one.lost = false;
            }
          } else if (kind === "ack" && naive.length > 0) {
            const position = Math.min((naive[a % naive.length] as Naive).start + b, next);
            board.acknowledge(position, listener);
            for (const one of naive) if (one.end <= position) deliver(one);
            naive = naive.filter((one) => one.end > position);
            for (const one of naive) one.start = Math.max(one.start, position);
          } else if (kind === "lose") {
            const flying = naive.filter((one) => !one.sacked && !one.lost);
            if (flying.length === 0) continue;
            const victim = flying[a % flying.length] as Naive;
            board.markLost(find(board, victim.start));
            victim.lost = true;
          } else if (kind === "repeat") {
            const segment = board.firstLost();
            const first = naive.find((one) => one.lost);
            expect(segment?.start).toBe(first?.start);
            if (segment === null || first === undefined) continue;
            board.transmitted(segment, now);
            first.lost = false;
            first.order = now;
          } else if (kind === "fit") {
            const any = naive[a % Math.max(1, naive.length)];
            const segment = any?.lost ? naive.find((one) => one.lost) : any;
            if (segment === undefined || segment.sacked) continue;
            board.fit(segment.lost ? (board.firstLost() as SentSegment) : find(board, segment.start), a);
            naive = naive.flatMap((one) => (one === segment ? divide(one, a) : [one]));
          }
          const flying = naive.filter((one) => !one.sacked && !one.lost);
          expect(board.inFlight).toBe(bytes(flying));
          expect(board.length).toBe(naive.length);
          expect(board.sackedCount).toBe(naive.filter((one) => one.sacked).length);
          expect(board.sackedBytes).toBe(bytes(naive.filter((one) => one.sacked)));
          expect(board.hasLost).toBe(naive.some((one) => one.lost));
          expect(board.firstLost()?.start).toBe(naive.find((one) => one.lost)?.start);
          expect(board.lastMissing()?.start).toBe(naive.findLast((one) => !one.sacked)?.start);
          const byTime = flying.toSorted((one, other) => one.order - other.order || one.start - other.start);
          expect(inOrder(board)).toEqual(byTime.map(({ start }) => start));
          expect(delivered).toBe(expected);
        }
      }),
      { numRuns: 500 },
    );
  });

  function divide(one: Naive, most: number): Naive[] {
    if (one.sacked) return [one];
    const parts: Naive[] = [];
    for (let at = one.start; at < one.end; at += most)
      parts.push({ ...one, start: at, end: Math.min(one.end, at + most) });
    return parts;
  }

  function bytes(segments: Naive[]): number {
    return segments.reduce((sum, one) => sum + one.end - one.start, 0);
  }

  function inOrder(board: SentSegments): number[] {
    const starts: number[] = [];
    for (let segment = board.earliest; segment !== null; segment = segment.later) starts.push(segment.start);
    return starts;
  }

  function find(board: SentSegments, start: number): SentSegment {
    for (let segment = board.earliest; segment !== null; segment = segment.later) {
      if (segment.start === start) return segment;
    }
    throw new Error(`no segment at ${start}`);
  }
});

const NONCE = 0x51525354;

describe("a peer that knows the tag and means ill", () => {
  const WINDOW_BYTES = 64 * 1024;
  const uint32 = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: -3000, max: 70_000 }));
  const steps = fc.array(
    fc.record({
      bits: fc.array(fc.constantFrom(ACK, ACK, DATA, DATA, FIN, PING, PROBE, PROBE_ANSWER, RESET, HELLO), {
        maxLength: 4,
      }),
      /** Numbers near those that would be right, or anywhere. */
      numbers: fc.array(uint32, { minLength: 16, maxLength: 16 }),
      blocks: fc.nat(7),
      duplicate: fc.boolean(),
      length: fc.oneof(fc.nat(1500), fc.nat(60_000)),
      elsewhere: fc.boolean(),
      waitMs: fc.oneof(fc.constant(0), fc.nat(50), fc.nat(4000)),
      writes: fc.nat(20_000),
      reads: fc.boolean(),
    }),
    { maxLength: 60 },
  );

  test("never makes it throw, hold more than its windows, answer without end or wake for nothing", () => {
    fc.assert(
      fc.property(steps, fc.nat(), (script, seed) => {
        const victim = new Victim(seed);
        for (const step of script) {
          if (victim.connection.closed) break;
          victim.take(step.elsewhere ? "elsewhere" : "peer", (out, sequenceBase, ackBase) => {
            const wild = (i: number, base: number) => ((step.numbers[i] as number) + (i % 2 === 0 ? base : 0)) >>> 0;
            const bits = step.bits.reduce((all, bit) => all | bit, 0);
            const writer = new PacketWriter();
            writer.begin(out, 0, wild(0, sequenceBase), victim.tag, victim.connection.connectionId, bits);
            if (bits & HELLO) {
              writer.uint32(step.duplicate ? victim.peerTag : wild(1, 0));
              writer.uint32(NONCE);
              writer.uint16(step.duplicate ? victim.proof : wild(3, 0));
            }
            if (bits & ACK) {
              const blocks = Uint32Array.from({ length: 14 }, (_, i) => wild(2 + i, ackBase));
              writer.ack(wild(2, ackBase), wild(3, 0), wild(5, 0), 0, blocks, step.blocks, step.duplicate);
            }
            if (bits & (PROBE | PROBE_ANSWER)) {
              writer.nonce(wild(7, 0), wild(9, 0));
              if (bits & PROBE) writer.pad(Math.max(writer.length, step.length));
              else writer.uint16(step.length);
            } else if (bits & RESET) writer.uint16(step.length);
            else if (bits & DATA) {
              writer.uint32(wild(11, 0));
              writer.skip(step.length);
            }
            return writer.end();
          });
          victim.act(step.writes, step.reads);
          victim.wait(step.waitMs);
        }
        // Left alone, it comes to an end by itself.
        for (let i = 0; i < 100 && !victim.connection.closed; i++) victim.wait(500);
        expect(victim.connection.closed).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  /** A server's connection, shaken hands with. */
  class Victim {
    readonly connection: Connection;
    readonly tag: number;
    readonly proof: number;
    readonly peerTag = 0x77777777;
    now = 1000;
    readonly #endpoint: Endpoint;
    readonly #out = new Uint8Array(70_000);
    #waits = false;

    constructor(seed: number) {
      const random = new Random(seed);
      const extended = { random: () => random.next(), windowBytes: WINDOW_BYTES, maxDatagramBytes: () => 9000 };
      this.#endpoint = new Endpoint({
        edition: editionNamed(DEFAULT_EDITION),
        accept: true,
        extended,
        trace: () => {},
      });
      const syn = Uint8Array.of(0, 0, 0xc3, 0x50, 0x51, 0x52, 0x53, 0x54, 0, 0, 0xa5, 0x92);
      this.connection = this.#endpoint.receive(syn, "peer", 1, this.now) as Connection;
      this.connection.transmit(this.#out, this.now);
      const synAck = new DataView(this.#out.buffer);
      this.tag = synAck.getUint32(0);
      this.proof = synAck.getUint16(10);
      const writer = new PacketWriter();
      const hello = new Uint8Array(100);
      writer.begin(hello, 0, this.peerTag + 1, this.tag, this.connection.connectionId, HELLO | PING);
      writer.uint32(this.peerTag);
      writer.uint32(NONCE);
      writer.uint16(this.proof);
      const length = writer.end();
      this.#endpoint.receive(hello.subarray(0, length), "peer", 1, this.now);
      expect(this.connection.connected).toBe(true);
      this.#drain();
    }

    take(from: string, write: (out: Uint8Array, sequenceBase: number, ackBase: number) => number): void {
      const datagram = new Uint8Array(70_000);
      const { bytesReceived, bytesAcknowledged } = this.connection.stats;
      const length = write(datagram, this.peerTag + 1 + bytesReceived, this.tag + 1 + bytesAcknowledged);
      const connection = this.#endpoint.receive(datagram.subarray(0, length), from, 1, this.now);
      if (connection !== null) this.#drain();
    }

    act(writes: number, reads: boolean): void {
      if (!this.#waits && !this.connection.closed)
        this.#waits = !this.connection.write(new Uint8Array(writes), this.now);
      while (reads && this.connection.read() !== null);
      this.#drain();
    }

    wait(ms: number): void {
      const until = this.now + ms;
      for (let wakes = 0; this.#endpoint.deadline() <= until; wakes++) {
        expect(wakes).toBeLessThan(5000);
        this.now = Math.max(this.now, this.#endpoint.deadline());
        while (this.#endpoint.expire(this.now) !== null) this.#drain();
        expect(this.#endpoint.deadline()).toBeGreaterThan(this.now);
      }
      this.now = until;
    }

    #drain(): void {
      const { connection } = this;
      let datagrams = 0;
      const packet = emptyPacket();
      for (let length = connection.transmit(this.#out, this.now); length > 0; ) {
        expect(datagrams++).toBeLessThan(20_000);
        if (connection.connected) expect(decodePacket(this.#out, 0, packet)).toBeGreaterThan(0);
        length = connection.transmit(this.#out, this.now);
      }
      if (connection.signals() & 4) this.#waits = false;
      this.#endpoint.settle(connection);
      expect(connection.readableBytes).toBeLessThanOrEqual(WINDOW_BYTES);
      expect(connection.cwnd).toBeLessThanOrEqual(64 * 1024 * 1024);
      expect(connection.bytesInFlight).toBeLessThanOrEqual(connection.bytesHeld + 1);
      expect(this.#endpoint.size).toBeLessThanOrEqual(1);
    }
  }
});
