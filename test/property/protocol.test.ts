import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ACK,
  type Connection,
  decodeHeader,
  EDITION_NAMES,
  EDITIONS,
  Endpoint,
  emptyHeader,
  encodeHeader,
  FIN,
  SYN,
  toPosition,
  toSequence,
} from "../../src/protocol/index.js";
import { BLOCK_BYTES } from "../../src/protocol/limits.js";
import { ReceiveBuffer } from "../../src/protocol/receive-buffer.js";
import { SendBuffer } from "../../src/protocol/send-buffer.js";

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const uint16 = fc.integer({ min: 0, max: 0xffff });
const edition = fc.constantFrom(...EDITION_NAMES).map((name) => EDITIONS[name]);

describe("the wire", () => {
  test("decode(encode(header)) = header", () => {
    const header = fc.record({
      sequence: uint32,
      acknowledgement: uint32,
      connectionId: uint16,
      flags: fc.integer({ min: 0, max: 7 }),
    });
    fc.assert(
      fc.property(header, (expected) => {
        const out = new Uint8Array(12).fill(0xff);
        encodeHeader(out, expected.sequence, expected.acknowledgement, expected.connectionId, expected.flags);
        const decoded = emptyHeader();
        expect(decodeHeader(out, decoded)).toBe(true);
        expect(decoded).toMatchObject(expected);
      }),
    );
  });

  test("toPosition(toSequence(position)) = position, within half the space", () => {
    fc.assert(
      fc.property(edition, fc.maxSafeNat(), fc.double({ min: -0.5, max: 0.5, noNaN: true }), (one, near, part) => {
        fc.pre(near < 2 ** 50);
        const { modulus, clientIsn } = one;
        const position = near + Math.trunc(part * (modulus - 1));
        const sequence = toSequence(Math.max(0, position), clientIsn, modulus);
        expect(sequence).toBeLessThan(modulus);
        expect(toPosition(sequence, clientIsn, modulus, near)).toBe(Math.max(0, position));
      }),
    );
  });
});

/** What a hostile peer may send in one step, or what else may happen meanwhile. */
interface Step {
  sequence: number;
  acknowledgement: number;
  connectionId: number;
  flags: number;
  length: number;
  waitMs: number;
  writeBytes: number;
  end: boolean;
  read: boolean;
}

const near = (center: number) => fc.integer({ min: -600, max: 600 }).map((distance) => Math.max(0, center + distance));
const numbers = fc.oneof(uint32, near(4321), near(12_345), near(0), near(50_000), near(102_401));
const steps = fc.array(
  fc.record<Step>({
    sequence: numbers,
    acknowledgement: numbers,
    connectionId: fc.oneof({ weight: 8, arbitrary: fc.constantFrom(0, 1, 2) }, { weight: 1, arbitrary: uint16 }),
    flags: fc.integer({ min: 0, max: 7 }),
    length: fc.oneof(fc.constantFrom(0, 0, 1, 412, 512, 1400), fc.integer({ min: 0, max: 65_000 })),
    waitMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3000 })),
    writeBytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2000 })),
    end: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
    read: fc.boolean(),
  }),
  { maxLength: 60 },
);

const RECEIVE_BUFFER_BYTES = 8192;

/** An endpoint whose owner does what an owner does, and checks the contract while doing so. */
class Victim {
  now = 0;
  readonly endpoint: Endpoint;
  readonly connections = new Set<Connection>();
  readonly #out = new Uint8Array(1500);
  readonly #ended = new Set<Connection>();
  readonly #waiting = new Set<Connection>();

  constructor(one: (typeof EDITIONS)["fiu-2023"]) {
    const receiveBufferBytes = RECEIVE_BUFFER_BYTES;
    this.endpoint = new Endpoint({
      edition: one,
      accept: true,
      maxConnections: 3,
      receiveBufferBytes,
      trace: () => {},
    });
    const client = this.endpoint.connect("peer", 1);
    client.open(0);
    this.#drain(client);
  }

  receive(datagram: Uint8Array): void {
    const connection = this.endpoint.receive(datagram, "peer", 1, this.now);
    if (connection !== null) this.#drain(connection);
  }

  act(step: Step): void {
    for (const connection of [...this.connections]) {
      if (step.read) connection.read();
      if (!this.#ended.has(connection) && !this.#waiting.has(connection)) {
        const more = connection.write(new Uint8Array(step.writeBytes), this.now);
        if (!more) this.#waiting.add(connection);
        if (step.end && more) {
          connection.end(this.now);
          this.#ended.add(connection);
        }
      }
      this.#drain(connection);
    }
    this.now += step.waitMs;
    for (let due = this.endpoint.expire(this.now); due !== null; due = this.endpoint.expire(this.now)) this.#drain(due);
    expect(this.endpoint.deadline()).toBeGreaterThan(this.now);
  }

  #drain(connection: Connection): void {
    this.connections.add(connection);
    let sent = 0;
    while (connection.transmit(this.#out, this.now) > 0) expect(sent++).toBeLessThan(1000);
    if (connection.signals() & 4) this.#waiting.delete(connection);
    this.endpoint.settle(connection);
    expect(connection.readableBytes).toBeLessThanOrEqual(RECEIVE_BUFFER_BYTES);
    expect(connection.bytesInFlight).toBeLessThanOrEqual(connection.bytesHeld);
    if (connection.closed) {
      this.connections.delete(connection);
      expect(connection.deadline()).toBe(Number.POSITIVE_INFINITY);
    }
    expect(this.endpoint.size).toBeLessThanOrEqual(4);
  }
}

describe("whatever a peer sends", () => {
  test("arbitrary bytes never throw", () => {
    fc.assert(
      fc.property(edition, fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 30 }), (one, datagrams) => {
        const victim = new Victim(one);
        for (const datagram of datagrams) victim.receive(datagram);
      }),
    );
  });

  test("wild numbers and flags, with a valid ID and address, never throw in any state, and memory keeps its bound", () => {
    fc.assert(
      fc.property(edition, fc.boolean(), fc.boolean(), steps, (one, shake, accepted, hostile) => {
        const victim = new Victim(one);
        const send = (sequence: number, acknowledgement: number, connectionId: number, flags: number, length = 0) => {
          const datagram = new Uint8Array(12 + length);
          encodeHeader(datagram, sequence, acknowledgement, connectionId, flags);
          victim.receive(datagram);
        };
        // Half of the runs begin behind a client's handshake, half behind a server's.
        if (shake) send(one.serverIsn, (one.clientIsn + 1) % one.modulus, 2, ACK | SYN);
        if (accepted) send(one.clientIsn, 0, 0, SYN);
        for (const step of hostile) {
          send(step.sequence, step.acknowledgement, step.connectionId, step.flags, step.length);
          victim.act(step);
        }
        // Left alone, everything ends by itself.
        const rest: Step = { ...emptyStep, waitMs: 100 };
        for (let i = 0; i < 160; i++) victim.act(rest);
        expect(victim.endpoint.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});

const emptyStep: Step = {
  sequence: 0,
  acknowledgement: 0,
  connectionId: 0,
  flags: FIN,
  length: 0,
  waitMs: 0,
  writeBytes: 0,
  end: false,
  read: false,
};

describe("buffers", () => {
  test("ReceiveBuffer equals a naive byte map", () => {
    const piece = fc.record({
      offset: fc.integer({ min: 0, max: 60_000 }),
      length: fc.integer({ min: 0, max: 20_000 }),
      value: fc.integer({ min: 0, max: 255 }),
      read: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 40_000 }), fc.array(piece, { maxLength: 40 }), (capacity, pieces) => {
        const buffer = new ReceiveBuffer(capacity);
        const naive = new Map<number, number>();
        let next = 0;
        let read = 0;
        for (const { offset, length, value, read: reads } of pieces) {
          const accepted = buffer.insert(offset, new Uint8Array(length).fill(value));
          // A piece without bytes is taken wherever it is said to lie.
          expect(accepted).toBe(length === 0 || offset + length <= Math.max(next, read + capacity));
          if (accepted) {
            for (let at = Math.max(offset, next); at < offset + length; at++) if (!naive.has(at)) naive.set(at, value);
          }
          while (naive.has(next)) next++;
          expect(buffer.nextOffset).toBe(next);
          expect(buffer.allocatedBytes).toBeLessThanOrEqual(capacity + 2 * BLOCK_BYTES);
          if (!reads) continue;
          for (let part = buffer.read(); part !== null; part = buffer.read()) {
            if (part.some((byte, i) => byte !== naive.get(read + i))) throw new Error(`wrong bytes from ${read} on`);
            read += part.length;
          }
          expect(read).toBe(next);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("SendBuffer equals a naive buffer under append, own, release and copy", () => {
    const action = fc.record({
      what: fc.constantFrom("append", "append", "append", "own", "release", "copy", "copy"),
      // Small writes, writes around a block, and large ones.
      bytes: fc.oneof(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 0, max: 40_000 })),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
      value: fc.integer({ min: 0, max: 250 }),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const buffer = new SendBuffer();
        const naive: number[] = [];
        let lent: Uint8Array | null = null;
        const own = () => {
          buffer.own();
          lent?.fill(255);
          lent = null;
        };
        for (const { what, bytes, part, value } of actions) {
          const held = naive.length - buffer.start;
          if (what === "append") {
            own();
            lent = Uint8Array.from({ length: bytes }, (_, i) => (value + i) % 251);
            buffer.append(lent);
            for (const byte of lent) naive.push(byte);
          } else if (what === "own") own();
          else if (what === "release") buffer.release(buffer.start + Math.floor(part * held));
          else {
            const offset = buffer.start + Math.floor(part * held);
            const length = Math.min(bytes, naive.length - offset);
            const out = new Uint8Array(length + 5);
            buffer.copy(offset, length, out, 5);
            expect(Buffer.from(out.subarray(5)).equals(Buffer.from(naive.slice(offset, offset + length)))).toBe(true);
          }
          expect(buffer.end).toBe(naive.length);
          expect(buffer.length).toBe(naive.length - buffer.start);
        }
      }),
      { numRuns: 200 },
    );
  });
});
