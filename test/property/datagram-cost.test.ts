import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { steps } from "../../src/invariant/index.js";
import type { Arrival } from "../../src/protocol/arrival.js";
import { ExtendedConnection } from "../../src/protocol/extended/connection.js";
import {
  ACK,
  DATA,
  FIN,
  PARAMETERS,
  PacketWriter,
  PING,
  PROBE,
  PROBE_ANSWER,
} from "../../src/protocol/extended/wire.js";
import { MAX_DATAGRAM_BYTES, MAX_DATAGRAM_STEPS, MAX_SEARCH_STEPS } from "../../src/protocol/limits.js";
import { PORTABLE_MEMORY } from "../../src/protocol/memory.js";
import { ReceiveBudget } from "../../src/protocol/receive-budget.js";
import { type Timed, Timers } from "../../src/protocol/timers.js";

/**
 * What one datagram may cost, in turns of the loops that it can lengthen: what the sender is allowed, twice, as it visits again
 * what it has visited; the blocks of a datagram; and a receiver's ranges. All are a few ns each, so this is below a millisecond.
 */
const MOST_STEPS: number = 4 * MAX_DATAGRAM_STEPS;
/** A packet that is sent: the search for what is lost, and for where its bytes are. */
const MOST_STEPS_A_PACKET: number = 4 * MAX_SEARCH_STEPS;

const ROUND_TRIP_MS = 50;
const LOCAL_TAG = 0xffff_0000;
const REMOTE_TAG = 77;
/** More than a datagram's steps are enough for. */
const SEGMENTS: number = 1.5 * MAX_DATAGRAM_STEPS;

/** A connection with much in flight, and the datagrams of a peer that knows its tag. */
class Victim {
  readonly connection: ExtendedConnection;
  now = 0;
  /** The most steps that a datagram, a timer, and a packet that was sent, have taken. */
  worst = 0;
  worstTimer = 0;
  worstSent = 0;
  readonly #out = new Uint8Array(MAX_DATAGRAM_BYTES);
  readonly #writer = new PacketWriter();
  readonly #datagram = new Uint8Array(MAX_DATAGRAM_BYTES);
  #length = 0;
  #sndNxt = 1;

  constructor(segments: number, congestion: "cubic" | "bbr") {
    this.connection = new ExtendedConnection(
      {
        role: "client",
        remoteAddress: "192.0.2.1",
        remotePort: 1,
        localAddress: "",
        connectionId: 1,
        nonce: 0x51525354,
        proof: 0x1230,
        localTag: LOCAL_TAG,
        remoteTag: REMOTE_TAG,
        windowBytes: 16 * 1024 * 1024,
        silenceTimeoutMs: 30_000,
        resetToken: null,
        maxDatagramBytes: 1472,
        congestion,
        sendOnly: false,
        random: () => 0.5,
        memory: PORTABLE_MEMORY,
        receiveBudget: new ReceiveBudget(),
        requireAdmission: false,
        trace: null,
      },
      0,
    );
    this.connection.write(new Uint8Array(64 * 1024 * 1024), 0);
    // Each round trip is acknowledged as a whole, until enough is in flight.
    for (let acknowledged = 1; this.connection.bytesInFlight < 1182 * segments; ) {
      const before = this.#sndNxt;
      for (let ms = 0; ms < ROUND_TRIP_MS; ms++, this.now++) this.#transmit();
      if (this.connection.bytesInFlight >= 1182 * segments) break;
      this.ack(acknowledged, [], this.now - ROUND_TRIP_MS);
      this.deliver();
      acknowledged = before;
      if (this.now > 100 * ROUND_TRIP_MS) throw new Error(`${this.connection.bytesInFlight} bytes in flight`);
    }
  }

  /** The position at a share of what is in flight. */
  position(share: number): number {
    const from = 1 + this.connection.stats.bytesAcknowledged;
    return from + Math.floor((share * (this.#sndNxt - from)) / 1182) * 1182;
  }

  /** The time passes, with everything that is due. */
  wait(ms: number): void {
    const until = this.now + ms;
    for (let calls = 0; calls < 5000; calls++) {
      const at = this.connection.deadline();
      if (at > until) break;
      this.now = Math.max(this.now, at);
      const before = steps.taken;
      this.connection.expire(this.now);
      this.worstTimer = Math.max(this.worstTimer, steps.taken - before);
      this.#transmit();
    }
    this.now = Math.max(this.now, until);
  }

  // ---- a datagram, packet by packet -------------------------------------------------------------------------------

  ack(acknowledged: number, blocks: (readonly [number, number])[], echoedAt: number, duplicate = false): boolean {
    if (this.#length + 30 + 8 * blocks.length > MAX_DATAGRAM_BYTES) return false;
    this.#begin(ACK);
    const sequences = blocks.flat().map((position) => (LOCAL_TAG + position) % 2 ** 32);
    this.#writer.ack(
      (LOCAL_TAG + acknowledged) % 2 ** 32,
      2 ** 30,
      (echoedAt * 1000) % 2 ** 32,
      0,
      Uint32Array.from(sequences),
      blocks.length,
      duplicate,
    );
    this.#end();
    return true;
  }

  data(offset: number, bytes: number, fin: boolean): boolean {
    if (this.#length + 18 + bytes > MAX_DATAGRAM_BYTES) return false;
    this.#begin(DATA | (fin ? FIN : 0), REMOTE_TAG + 1 + offset);
    this.#writer.uint32(0);
    this.#writer.pad(this.#writer.length + bytes);
    this.#end();
    return true;
  }

  other(bits: number, bytes: number): boolean {
    if (this.#length + 24 + bytes > MAX_DATAGRAM_BYTES) return false;
    this.#begin(bits);
    if ((bits & (PROBE | PROBE_ANSWER)) !== 0) this.#writer.nonce(2 ** 31, 2 ** 31);
    if ((bits & PROBE_ANSWER) !== 0) this.#writer.uint16(1472);
    if (bytes > 0) this.#writer.pad(this.#writer.length + bytes);
    this.#end();
    return true;
  }

  deliver(segmentBytes = 0, port = 1): void {
    const datagram = this.#datagram.slice(0, this.#length);
    this.#length = 0;
    const arrival: Arrival = {
      datagram,
      segmentBytes,
      address: "192.0.2.1",
      port,
      localAddress: "",
      now: this.now,
      sequence: 0,
      acknowledgement: 0,
      connectionId: 1,
      flags: 0,
      bits: 0x8000,
    };
    const before = steps.taken;
    this.connection.receive(arrival);
    const datagrams = segmentBytes > 0 ? Math.ceil(datagram.length / segmentBytes) : 1;
    this.worst = Math.max(this.worst, (steps.taken - before) / datagrams);
    this.#transmit();
  }

  #begin(bits: number, sequence = REMOTE_TAG + 1): void {
    this.#writer.begin(this.#datagram, this.#length, sequence % 2 ** 32, LOCAL_TAG, 1, bits);
  }

  #end(): void {
    this.#length += this.#writer.end();
  }

  #transmit(): void {
    const sentBefore = this.connection.stats.datagramsSent;
    const before = steps.taken;
    while (this.connection.transmit(this.#out, this.now) > 0);
    const sent = this.connection.stats.datagramsSent - sentBefore;
    this.worstSent = Math.max(this.worstSent, (steps.taken - before) / (sent + 1));
    this.#sndNxt = 1 + this.connection.stats.bytesAcknowledged + heldFromStart(this.connection);
  }
}

/** What was sent and not cumulatively acknowledged, at least. */
function heldFromStart(connection: ExtendedConnection): number {
  return connection.bytesInFlight;
}

describe("whatever a datagram says, and whatever state the connection is in", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const blocks = fc.record({
    kind: fc.constantFrom("same end", "alternating", "descending", "random", "whole"),
    count: fc.integer({ min: 0, max: 255 }),
    from: share,
    to: share,
  });
  const packet = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("ack" as const),
        acknowledged: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, share),
        blocks,
        agoMs: fc.integer({ min: 0, max: 2000 }),
        duplicate: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("data" as const),
        from: fc.integer({ min: 0, max: 16_000_000 }),
        step: fc.integer({ min: 0, max: 8192 }),
        bytes: fc.integer({ min: 1, max: 1500 }),
        fin: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("other" as const),
        bits: fc.constantFrom(PING, PROBE, PROBE_ANSWER, PARAMETERS, PROBE | PARAMETERS),
        bytes: fc.integer({ min: 0, max: 60_000 }),
      }),
    },
  );
  const script = fc.array(
    fc.record({
      packets: fc.array(packet, { minLength: 1, maxLength: 4 }),
      repeats: fc.constantFrom(1, 10, 4000),
      segmentBytes: fc.constantFrom(0, 0, 0, 1472),
      port: fc.constantFrom(1, 1, 2),
      waitMs: fc.constantFrom(0, 1, 5, 60, 500),
    }),
    { minLength: 1, maxLength: 8 },
  );

  function fill(victim: Victim, one: Packet, turn: number): boolean {
    if (one.kind === "data") return victim.data(one.from + turn * (one.bytes + one.step), one.bytes, one.fin);
    if (one.kind === "other") return victim.other(one.bits, one.bytes);
    const { kind, count, from, to } = one.blocks;
    const ranges: [number, number][] = [];
    for (let i = 0; i < count; i++) {
      const shift = ((turn % 255) * count + i) / (255 * count);
      if (kind === "same end") ranges.push([victim.position(from + shift * (1 - from)), victim.position(1)]);
      else if (kind === "alternating") ranges.push([victim.position(shift), victim.position(shift) + 1182]);
      else if (kind === "descending") ranges.push([victim.position(1 - shift), victim.position(1 - shift / 2)]);
      else if (kind === "whole") ranges.push([victim.position(0) + 1182, victim.position(1)]);
      else ranges.push([victim.position((from * (i + 1) * 7919) % 1), victim.position((to * (i + 1) * 104_729) % 1)]);
    }
    return victim.ack(victim.position(one.acknowledged), ranges, victim.now - one.agoMs, one.duplicate);
  }

  // Each run needs a connection with tens of thousands of segments behind it.
  test("it takes a bounded number of steps, and so does each timer, and each packet that is sent", () => {
    fc.assert(
      fc.property(script, fc.constantFrom("cubic" as const, "bbr" as const), (datagrams, congestion) => {
        const victim = new Victim(SEGMENTS, congestion);
        for (const { packets, repeats, segmentBytes, port, waitMs } of datagrams) {
          let turn = 0;
          while (turn < repeats && packets.every((one) => fill(victim, one, turn))) turn++;
          victim.deliver(segmentBytes, port);
          victim.wait(waitMs);
          if (victim.connection.closed) break;
        }
        expect(victim.worst).toBeLessThan(MOST_STEPS);
        expect(victim.worstTimer).toBeLessThan(MOST_STEPS);
        expect(victim.worstSent).toBeLessThan(MOST_STEPS_A_PACKET);
      }),
      { numRuns: 8 },
    );
  });

  test("the acknowledgements that blocked a sender for a second: 255 blocks each that end together", () => {
    const victim = new Victim(SEGMENTS, "cubic");
    for (let round = 0; round < 3; round++) {
      for (let turn = 0; ; turn++) {
        const ranges = Array.from({ length: 255 }, (_, i): [number, number] => [
          victim.position((turn * 255 + i) / (31 * 255)) + 1182,
          victim.position(1),
        ]);
        if (!victim.ack(victim.position(0), ranges, victim.now)) break;
      }
      victim.deliver();
    }
    expect(victim.connection.bytesHeld).toBeLessThan(64 * 1024 * 1024);
    expect(victim.worst).toBeLessThan(MOST_STEPS);
  });

  test("an acknowledgement of everything is taken in parts, one after the other", () => {
    const victim = new Victim(SEGMENTS, "cubic");
    const { connection } = victim;
    const end = victim.position(1);
    victim.ack(end, [], victim.now);
    victim.deliver();
    expect(connection.stats.bytesAcknowledged).toBeGreaterThan(MAX_DATAGRAM_STEPS * 1000);
    expect(connection.stats.bytesAcknowledged).toBeLessThan(end - 1);
    victim.wait(10);
    expect(connection.stats.bytesAcknowledged).toBe(end - 1);
    expect(Math.max(victim.worst, victim.worstTimer)).toBeLessThan(MOST_STEPS);
    expect(connection.stats.timeouts).toBe(0);
  });

  test("a timeout takes everything in flight for lost in parts, and what follows shows to have been too early", () => {
    const victim = new Victim(SEGMENTS, "cubic");
    const { connection } = victim;
    const before = connection.bytesInFlight;
    victim.wait(2000);
    expect(connection.stats.timeouts).toBeGreaterThan(0);
    expect(connection.bytesInFlight).toBeLessThan(before / 100);
    // The first segment's original has arrived.
    victim.ack(victim.position(0) + 1182, [], 0);
    victim.deliver();
    expect(connection.bytesInFlight).toBeGreaterThan(before / 3);
    expect(Math.max(victim.worst, victim.worstTimer)).toBeLessThan(MOST_STEPS);
  });
});

test("the timers of 10,000 connections take steps in proportion to the logarithm of their number", () => {
  const timers = new Timers<Timed>();
  const items = Array.from({ length: 10_000 }, (_, i) => ({ at: 1000 + i, deadline: (): number => 0 }));
  for (const item of items) {
    item.deadline = () => item.at;
    timers.update(item);
  }
  let worst = 0;
  const cost = (act: () => void) => {
    const before = steps.taken;
    act();
    worst = Math.max(worst, steps.taken - before);
  };
  for (let round = 0; round < 20; round++) {
    for (const item of items) {
      item.at = (item.at * 7919) % 10_007;
      cost(() => timers.update(item));
      cost(() => timers.next());
    }
  }
  for (const item of items) cost(() => timers.remove(item));
  expect(timers.next()).toBe(Number.POSITIVE_INFINITY);
  expect(worst).toBeLessThan(40);
});

type Packet =
  | {
      readonly kind: "ack";
      readonly acknowledged: number;
      readonly blocks: { readonly kind: string; readonly count: number; readonly from: number; readonly to: number };
      readonly agoMs: number;
      readonly duplicate: boolean;
    }
  | {
      readonly kind: "data";
      readonly from: number;
      readonly step: number;
      readonly bytes: number;
      readonly fin: boolean;
    }
  | { readonly kind: "other"; readonly bits: number; readonly bytes: number };
