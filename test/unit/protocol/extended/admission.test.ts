import { describe, expect, test } from "vitest";
import { Receiver } from "../../../../src/protocol/extended/receiver.js";
import {
  ACK,
  DATA,
  decodePacket,
  EXTENDED,
  emptyPacket,
  PacketWriter,
} from "../../../../src/protocol/extended/wire.js";
import {
  type Connection,
  DEFAULT_EDITION,
  Endpoint,
  editionNamed,
  ReceiveBudget,
} from "../../../../src/protocol/index.js";
import {
  ADMITTED_WINDOW_BYTES,
  EXTENDED_BLOCK_BYTES,
  MAX_EXTENDED_GAPS,
  MIN_RECEIVE_WINDOW_BYTES,
  SPARSE_BYTES,
  SPARSE_MULTIPLE,
} from "../../../../src/protocol/limits.js";
import { type Memory, PORTABLE_MEMORY } from "../../../../src/protocol/memory.js";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const CAPACITY = 16 * MEBIBYTE;

/** What every packet lies in: far more memory than it takes. */
const SLAB = new Uint8Array(128 * KIBIBYTE);
const packet = emptyPacket();

/** A receiver whose peer sends what it likes. */
class Scripted {
  readonly receiver: Receiver;

  constructor(budget: ReceiveBudget, memory: Memory = PORTABLE_MEMORY) {
    this.receiver = new Receiver(CAPACITY, memory, budget);
  }

  /** Whether it is kept. */
  take(offset: number, bytes: number): boolean {
    const sent = { ...packet, bits: EXTENDED | DATA, sequence: offset + 1, datagram: SLAB, dataAt: 0, dataEnd: bytes };
    const before = this.receiver.overflows;
    this.receiver.receive(sent, 0, 0);
    return this.receiver.overflows === before;
  }

  /** The window that the next acknowledgement offers, from the reader on. */
  offered(): number {
    const bytes = new Uint8Array(400);
    const writer = new PacketWriter();
    writer.begin(bytes, 0, 1, 2, 3, ACK);
    this.receiver.writeAck(writer, 8, 0);
    writer.end();
    decodePacket(bytes, 0, packet);
    return packet.windowBytes + this.receiver.buffer.readableBytes;
  }

  /** One-byte segments 4 KiB apart, but for the first byte. */
  attack(): void {
    for (let i = 1; i < MAX_EXTENDED_GAPS; i++) this.take(4 * KIBIBYTE * i, 1);
  }

  read(): void {
    while (this.receiver.buffer.read() !== null) this.receiver.afterRead();
  }
}

describe("what a peer can make a receiver hold", () => {
  test("before it is admitted, 80 KiB with single bytes far apart, and a window of 64 KiB", () => {
    const budget = new ReceiveBudget();
    const peers = Array.from({ length: 40 }, () => new Scripted(budget));
    for (const peer of peers) peer.attack();
    expect(peers[0]?.offered()).toBe(MIN_RECEIVE_WINDOW_BYTES);
    expect(peers[0]?.receiver.buffer.ahead).toHaveLength(15);
    expect(budget.usedBytes).toBeLessThanOrEqual(40 * 80 * KIBIBYTE);
    for (const peer of peers) peer.receiver.buffer.close();
    expect(budget.usedBytes).toBe(0);
  });

  test("admitted, with single bytes far apart, 256 KiB, another block and a multiple of the bytes", () => {
    const budget = new ReceiveBudget();
    const peer = new Scripted(budget);
    peer.receiver.admit();
    peer.attack();
    expect(peer.offered()).toBe(ADMITTED_WINDOW_BYTES);
    const bytes = peer.receiver.buffer.ahead.length;
    expect(budget.usedBytes).toBeGreaterThan(SPARSE_BYTES);
    expect(budget.usedBytes).toBeLessThanOrEqual(SPARSE_BYTES + EXTENDED_BLOCK_BYTES + SPARSE_MULTIPLE * bytes);
    // What is missing fills the gaps all the same, and all of it can be read.
    for (let offset = 0; offset < MEBIBYTE; offset += 1024) expect(peer.take(offset, 1024)).toBe(true);
    peer.read();
    expect(peer.receiver.buffer.readOffset).toBeGreaterThanOrEqual(MEBIBYTE);
  });

  test("every second segment of a long flight is kept", () => {
    const peer = new Scripted(new ReceiveBudget());
    peer.receiver.admit();
    for (let offset = 1200; offset < 3 * MEBIBYTE; offset += 2400) expect(peer.take(offset, 1200)).toBe(true);
  });

  test("what is dense behind a few bytes far apart is kept, wherever blocks begin", () => {
    for (let shift = 0; shift < 70_000; shift += 5000) {
      const peer = new Scripted(new ReceiveBudget());
      peer.receiver.admit();
      expect(peer.take(EXTENDED_BLOCK_BYTES - 10 + shift, 20)).toBe(true);
      expect(peer.take(3 * EXTENDED_BLOCK_BYTES - 10 + shift, 20)).toBe(true);
      for (let offset = 8 * EXTENDED_BLOCK_BYTES + shift; offset < 3 * MEBIBYTE; offset += 1200) {
        expect(peer.take(offset, 1200)).toBe(true);
      }
    }
  });

  test("a window grows to four times what was read, up to the capacity", () => {
    const peer = new Scripted(new ReceiveBudget());
    peer.receiver.admit();
    let offset = 0;
    const windows: number[] = [];
    for (const until of [1, 2, 8]) {
      for (; offset < until * MEBIBYTE; offset += 32 * KIBIBYTE) {
        peer.take(offset, 32 * KIBIBYTE);
        peer.read();
      }
      windows.push(peer.offered() / MEBIBYTE);
    }
    expect(windows).toEqual([4, 8, 16]);
  });

  test("together no more than the budget, and each 64 KiB in order: all go on", () => {
    const budget = new ReceiveBudget(8 * MEBIBYTE);
    const peers = Array.from({ length: 100 }, () => new Scripted(budget));
    for (const peer of peers) peer.receiver.admit();
    // All but the first bytes of a long flight.
    for (let offset = 1024; offset < MEBIBYTE; offset += 1024) for (const peer of peers) peer.take(offset, 1024);
    expect(budget.isSpent).toBe(true);
    expect(budget.usedBytes).toBeLessThanOrEqual(8 * MEBIBYTE + EXTENDED_BLOCK_BYTES);
    expect(budget.refusals).toBeGreaterThan(1000);
    // What was offered is not taken back, but no more is.
    for (const peer of peers) {
      expect(peer.take(0, 1024)).toBe(true);
      for (let offset = 1024; offset < MIN_RECEIVE_WINDOW_BYTES; offset += 1024)
        expect(peer.take(offset, 1024)).toBe(true);
    }
    for (const peer of peers) {
      peer.read();
      expect(peer.receiver.buffer.readOffset).toBeGreaterThanOrEqual(MIN_RECEIVE_WINDOW_BYTES);
      peer.receiver.buffer.clear();
    }
    expect(budget.usedBytes).toBe(0);
  });

  test("windows shrink while the budget is used up, and grow again", () => {
    const budget = new ReceiveBudget(64 * MEBIBYTE);
    const peer = new Scripted(budget);
    peer.receiver.admit();
    budget.usedBytes = 48 * MEBIBYTE;
    expect(peer.receiver.buffer.windowBytes).toBe(ADMITTED_WINDOW_BYTES);
    for (let offset = 0; offset < 4 * MEBIBYTE; offset += 32 * KIBIBYTE) {
      peer.take(offset, 32 * KIBIBYTE);
      peer.read();
    }
    expect(peer.offered()).toBe(2 * MEBIBYTE);
    budget.usedBytes = 0;
    expect(peer.offered()).toBe(8 * MEBIBYTE);
  });

  test("blocks that nobody has a part of are given back at once when the connection ends", () => {
    const released: Uint8Array[] = [];
    const budget = new ReceiveBudget();
    const peer = new Scripted(budget, { ...PORTABLE_MEMORY, release: (bytes) => released.push(bytes) });
    peer.receiver.admit();
    for (let offset = 1024; offset < MEBIBYTE; offset += 1024) peer.take(offset, 1024);
    peer.take(0, 512);
    peer.receiver.buffer.close();
    expect(released.length).toBe(MEBIBYTE / EXTENDED_BLOCK_BYTES - 1);
    expect(budget.usedBytes).toBe(0);
    // What is in order is still there.
    expect(peer.receiver.buffer.read()).toHaveLength(512);
    expect(budget.usedBytes).toBe(0);
  });
});

describe("a connection's peer is admitted", () => {
  const OUT = new Uint8Array(65_535);

  class Pair {
    readonly budget = new ReceiveBudget();
    readonly client: Connection;
    server: Connection | null = null;
    now = 0;
    /** Windows that the client was offered, from the beginning of the stream on. */
    readonly offers: number[] = [];
    readonly #clients: Endpoint;
    readonly #servers: Endpoint;

    constructor(requireAdmission: boolean) {
      const edition = editionNamed(DEFAULT_EDITION);
      const extended = { random: Math.random, required: true, maxDatagramBytes: () => 1472 };
      this.#clients = new Endpoint({ edition, extended });
      this.#servers = new Endpoint({
        edition,
        accept: true,
        extended: { ...extended, requireAdmission },
        receiveBudget: this.budget,
      });
      this.client = this.#clients.connect("server", 1);
      this.client.open(0);
      this.client.write(new Uint8Array(8 * MEBIBYTE), 0);
    }

    /** Everything under way arrives, and what answers it, a few times. */
    exchange(rounds: number): void {
      for (let round = 0; round < rounds; round++, this.now += 10) {
        while (this.#clients.expire(this.now) !== null);
        while (this.#servers.expire(this.now) !== null);
        this.#carry(this.client, this.#servers);
        if (this.server !== null) this.#carry(this.server, this.#clients);
      }
    }

    #carry(from: Connection, to: Endpoint): void {
      for (let length = from.transmit(OUT, this.now); length > 0; length = from.transmit(OUT, this.now)) {
        for (let at = 0; at < length; at += from.datagramBytes) {
          const datagram = OUT.slice(at, Math.min(length, at + from.datagramBytes));
          if (to === this.#clients) this.#note(datagram);
          const connection = to.receive(datagram, to === this.#servers ? "client" : "server", 1, this.now);
          if (to === this.#servers) this.server = connection;
        }
      }
    }

    #note(datagram: Uint8Array): void {
      if (decodePacket(datagram, 0, packet) === 0 || (packet.bits & ACK) === 0) return;
      const isn = (this.client as unknown as { localTag: number }).localTag;
      this.offers.push(((packet.acknowledgement - isn - 1 + packet.windowBytes) >>> 0) / KIBIBYTE);
    }
  }

  test("by the program's reading", () => {
    const pair = new Pair(false);
    pair.exchange(30);
    expect(new Set(pair.offers)).toEqual(new Set([64]));
    expect(pair.server?.readableBytes).toBe(MIN_RECEIVE_WINDOW_BYTES);
    pair.server?.read();
    pair.exchange(1);
    expect(pair.offers.at(-1)).toBeGreaterThanOrEqual(4 * KIBIBYTE);
  });

  test("by admit() where that is asked for, at once", () => {
    const pair = new Pair(true);
    pair.exchange(30);
    for (let bytes = pair.server?.read(); bytes != null; bytes = pair.server?.read());
    pair.exchange(10);
    expect(Math.max(...pair.offers)).toBeLessThanOrEqual(128);
    pair.server?.admit(pair.now);
    pair.exchange(1);
    expect(pair.offers.at(-1)).toBeGreaterThanOrEqual(4 * KIBIBYTE);
    pair.exchange(40);
    for (let bytes = pair.server?.read(); bytes != null; bytes = pair.server?.read());
    expect(pair.server?.stats.bytesReceived).toBeGreaterThan(MEBIBYTE / 2);
    pair.server?.abort(pair.now);
    expect(pair.budget.usedBytes).toBe(0);
  });
});
