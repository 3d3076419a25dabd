import { describe, expect, test } from "vitest";
import { HELLO, PacketWriter, PING } from "../../../../src/protocol/extended/wire.js";
import { type Connection, DEFAULT_EDITION, Endpoint, editionNamed } from "../../../../src/protocol/index.js";
import { keyedHash } from "../../../support/extended-hosts.js";
import { Random } from "../../../support/random.js";

const NONCE = 0x51525354;
const OFFERING_SYN = offeringSyn(NONCE);
const CLASSIC_SYN = Uint8Array.of(0, 0, 0xc3, 0x50, 0, 0, 0, 0, 0, 0, 0, 2);
const CLIENT_TAG = 0x77777777;
const PORT = 1234;

interface Ticket {
  readonly tag: number;
  readonly id: number;
  readonly proof: number;
  readonly nonce: number;
}

function offeringSyn(nonce: number): Uint8Array {
  const bytes = Uint8Array.of(0, 0, 0xc3, 0x50, 0, 0, 0, 0, 0, 0, 0xa5, 0x92);
  new DataView(bytes.buffer).setUint32(4, nonce);
  return bytes;
}

class Server {
  readonly endpoint: Endpoint;
  now = 100_000;

  constructor(options: { required?: boolean; maxConnections?: number } = {}) {
    const { required = true, maxConnections = 65_535 } = options;
    const random = new Random(5);
    this.endpoint = new Endpoint({
      edition: editionNamed(DEFAULT_EDITION),
      accept: true,
      maxConnections,
      extended: { random: () => random.next(), required, mac: keyedHash(77) },
    });
  }

  /** What a SYN is answered with, without any connection. */
  syn(address: string, port = PORT, nonce = NONCE): Ticket | null {
    expect(this.endpoint.receive(offeringSyn(nonce), address, port, this.now)).toBeNull();
    const { reply } = this.endpoint;
    if (reply === null) return null;
    expect(reply).toHaveLength(OFFERING_SYN.length);
    const view = new DataView(reply.buffer);
    expect(view.getUint16(10) & 7).toBe(6);
    expect(view.getUint32(4)).toBe(nonce);
    return { tag: view.getUint32(0), id: view.getUint16(8), proof: view.getUint16(10), nonce };
  }

  hello({ tag, id, proof, nonce }: Ticket, address: string, port = PORT, bits = HELLO | PING): Connection | null {
    const bytes = new Uint8Array(100);
    const writer = new PacketWriter();
    writer.begin(bytes, 0, CLIENT_TAG + 1, tag, id, bits);
    if (bits & HELLO) {
      writer.uint32(CLIENT_TAG);
      writer.uint32(nonce);
      writer.uint16(proof);
    }
    return this.endpoint.receive(bytes.subarray(0, writer.end()), address, port, this.now);
  }

  open(address: string): Connection {
    return this.hello(this.syn(address) as Ticket, address) as Connection;
  }
}

describe("a tag that must be sent back", () => {
  test("begins a connection, the first time and from where it was sent to", () => {
    const server = new Server();
    const ticket = server.syn("a") as Ticket;
    expect(server.endpoint.size).toBe(0);
    expect(server.endpoint.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(server.hello(ticket, "b")).toBeNull();
    expect(server.hello(ticket, "a", PORT + 1)).toBeNull();
    expect(server.hello({ ...ticket, id: ticket.id + 1 }, "a")).toBeNull();
    for (let bit = 0; bit < 32; bit++) {
      expect(server.hello({ ...ticket, tag: (ticket.tag ^ (1 << bit)) >>> 0 }, "a")).toBeNull();
      expect(server.hello({ ...ticket, nonce: (ticket.nonce ^ (1 << bit)) >>> 0 }, "a")).toBeNull();
    }
    for (let bit = 0; bit < 16; bit++) expect(server.hello({ ...ticket, id: ticket.id ^ (1 << bit) }, "a")).toBeNull();
    for (let bit = 3; bit < 16; bit++) {
      expect(server.hello({ ...ticket, proof: ticket.proof ^ (1 << bit) }, "a")).toBeNull();
    }
    expect(server.hello(ticket, "a", PORT, PING), "without an introduction").toBeNull();
    expect(server.endpoint.size).toBe(0);
    const connection = server.hello(ticket, "a");
    expect(connection).toMatchObject({ connected: true, role: "server", connectionId: ticket.id, remoteAddress: "a" });
    expect(server.hello(ticket, "a"), "again").toBe(connection);
    expect(server.endpoint.size).toBe(1);
  });

  test.each([
    [0, 11_900, true],
    [0, 27_900, true],
    [0, 28_000, false],
    [15_900, 12_000, true],
    [15_900, 12_200, false],
    [0, 32_000, false],
  ])("given %i ms after the slot began, it is good for 12 s: after %i ms %s", (givenAt, waitMs, good) => {
    const server = new Server();
    server.now = 160_000 + givenAt;
    const ticket = server.syn("a") as Ticket;
    server.now += waitMs;
    expect(server.hello(ticket, "a") !== null).toBe(good);
  });

  test("is spent when its connection has ended; another SYN gets another", () => {
    const server = new Server();
    const ticket = server.syn("a") as Ticket;
    const connection = server.hello(ticket, "a") as Connection;
    connection.abort(server.now);
    server.endpoint.settle(connection);
    for (let waited = 0; waited < 30_000; waited += 1000, server.now += 1000) {
      const begun = server.hello(ticket, "a");
      server.endpoint.expire(server.now);
      server.endpoint.settle(connection);
      // The one that is over may repeat its RESET.
      expect(begun === null || begun === connection, `${waited} ms later`).toBe(true);
    }
    expect(server.hello(server.syn("a", PORT, 7) as Ticket, "a")?.connected).toBe(true);
  });

  test("has 61 bits that nobody can guess, and another for each nonce, address and port", () => {
    const server = new Server();
    const ones = new Array<number>(61).fill(0);
    const seen = new Set<string>();
    for (let i = 0; i < 4000; i++) {
      const { tag, id, proof } = server.syn(`h${i % 7}`, 1 + (i % 11), 1 + i) as Ticket;
      const text =
        tag.toString(2).padStart(32, "0") +
        id.toString(2).padStart(16, "0") +
        (proof >>> 3).toString(2).padStart(13, "0");
      for (let bit = 0; bit < 61; bit++) ones[bit] = (ones[bit] as number) + Number(text[bit]);
      seen.add(text);
    }
    expect(seen.size).toBe(4000);
    for (const count of ones) expect(Math.abs(count - 2000)).toBeLessThan(200);
    expect(server.syn("a"), "a SYN that comes again").toEqual(server.syn("a"));
  });

  test("is given to a plain SYN too that repeats one with the offer, as its SYN|ACK may have been lost", () => {
    const server = new Server({ required: false });
    server.syn("a");
    server.now += 500;
    expect(server.endpoint.receive(CLASSIC_SYN, "a", PORT, server.now)).toBeNull();
    expect(server.endpoint.reply?.subarray(4, 8)).toEqual(OFFERING_SYN.subarray(4, 8));
    server.now += 2000;
    expect(server.endpoint.receive(CLASSIC_SYN, "a", PORT, server.now)?.edition).toBe(DEFAULT_EDITION);
    expect(server.endpoint.receive(CLASSIC_SYN, "b", PORT, server.now)?.edition).toBe(DEFAULT_EDITION);
  });

  test("tells two connections of one client apart that have the same ID", () => {
    const server = new Server();
    const first = server.syn("a") as Ticket;
    const one = server.hello(first, "a") as Connection;
    let nonce = NONCE;
    for (let id = 0; id !== first.id; ) {
      server.now += 0.5;
      server.endpoint.receive(offeringSyn(++nonce), "a", PORT, server.now);
      const { reply } = server.endpoint;
      id = reply === null ? 0 : ((reply[8] as number) << 8) | (reply[9] as number);
    }
    const second = server.syn("a", PORT, nonce) as Ticket;
    expect(second.id).toBe(first.id);
    expect(second.tag).not.toBe(first.tag);
    const other = server.hello(second, "a") as Connection;
    expect(other).not.toBe(one);
    expect(server.hello(first, "a", PORT, PING)).toBe(one);
    expect(server.hello(second, "a", PORT, PING)).toBe(other);
    expect(server.endpoint.size).toBe(2);
  });
});

describe("floods", () => {
  test("SYNs of 100,000 addresses: none gets more bytes than it sent, nothing is kept, a client beside them gets in", () => {
    const server = new Server();
    let answered = 0;
    let got = 0;
    for (let i = 0; i < 100_000; i++) {
      server.now += 0.005;
      server.endpoint.receive(OFFERING_SYN, `10.${i >>> 16}.${(i >>> 8) & 255}.${i & 255}`, PORT, server.now);
      got += OFFERING_SYN.length;
      answered += server.endpoint.reply?.length ?? 0;
    }
    expect(answered).toBeGreaterThan(0);
    expect(answered).toBeLessThanOrEqual(got);
    expect(server.endpoint.size).toBe(0);
    expect(server.endpoint.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(server.open("192.0.2.1").connected).toBe(true);
  });

  test("one address gets 8,192 answers at once and 2,048 a second that it does not follow up; its whole /64 counts as one, others are not concerned", () => {
    const server = new Server();
    const { endpoint } = server;
    const count = (address: (i: number) => string) => {
      let answers = 0;
      for (let i = 0; i < 10_000; i++) {
        endpoint.receive(OFFERING_SYN, address(i), PORT, server.now);
        if (endpoint.reply !== null) answers++;
      }
      return answers;
    };
    expect(count(() => "192.0.2.1")).toBe(8192);
    expect(count((i) => `2001:db8::${i.toString(16)}`)).toBe(8192);
    expect(count((i) => `2001:db8:0:1:2:3:4:${i.toString(16)}`)).toBe(8192);
    expect(server.syn("192.0.2.2")).not.toBeNull();
    expect(server.syn("::ffff:192.0.2.3")).not.toBeNull();
    server.now += 1000;
    expect(count(() => "192.0.2.1")).toBe(2048);
    expect(endpoint.drops.handshakeLimit).toBe(3 * (10_000 - 8192) + 10_000 - 2048);
  });

  test("handshakes that are finished do not count: one address opens as many connections as it likes", () => {
    const server = new Server();
    for (let i = 0; i < 20_000; i++) server.hello(server.syn("192.0.2.1", 1 + i) as Ticket, "192.0.2.1", 1 + i);
    expect(server.endpoint.size).toBe(20_000);
    expect(Object.values(server.endpoint.drops).every((count) => count === 0)).toBe(true);
  });

  test("what is dropped is counted by its reason", () => {
    const server = new Server({ maxConnections: 1 });
    const { endpoint } = server;
    const ticket = server.syn("a") as Ticket;
    endpoint.receive(Uint8Array.of(1, 2, 3), "b", PORT, server.now);
    endpoint.receive(CLASSIC_SYN, "b", PORT, server.now);
    server.hello({ ...ticket, tag: ticket.tag ^ 4 }, "a");
    server.hello(ticket, "a", PORT, PING);
    server.hello(ticket, "a");
    expect(endpoint.drops).toMatchObject({ malformed: 1, notExtended: 1, invalidTag: 1, unknownConnection: 1 });
    server.hello(server.syn("c") as Ticket, "c");
    expect(endpoint.drops.connectionLimit).toBe(1);
  });

  test("classic SYNs, which cannot be verified, hold no more than 4,096 connections; clients of this edition get in", () => {
    const server = new Server({ required: false });
    for (let i = 0; i < 6000; i++) {
      const connection = server.endpoint.receive(CLASSIC_SYN, `10.0.${i >>> 8}.${i & 255}`, PORT, server.now);
      if (connection !== null) server.endpoint.settle(connection);
    }
    expect(server.endpoint.size).toBe(4096);
    expect(server.endpoint.drops.halfOpenLimit).toBe(6000 - 4096);
    expect(server.open("192.0.2.1").connected).toBe(true);
    // Who goes on makes room for the next.
    const ack = Uint8Array.of(0, 0, 0, 0, 0, 0, 0x10, 0xe2, 0, 1, 0, 4);
    const first = server.endpoint.receive(ack, "10.0.0.0", PORT, server.now) as Connection;
    expect(first.connected).toBe(true);
    server.endpoint.settle(first);
    expect(server.endpoint.receive(CLASSIC_SYN, "192.0.2.7", PORT, server.now)).not.toBeNull();
  });

  test("malformed packets by the million: nothing is answered or kept, and a connection beside them goes on", () => {
    const server = new Server();
    const connection = server.open("honest");
    const random = new Random(1);
    const packets = Array.from({ length: 4096 }, () => {
      const bytes = random.bytes(random.integer(0, 64));
      // Half of them look like this edition's, some name the honest connection's ID.
      if (bytes.length > 11 && random.next() < 0.5) bytes[10] = (bytes[10] as number) | 0xc0;
      if (bytes.length > 11 && random.next() < 0.2)
        bytes.set([connection.connectionId >>> 8, connection.connectionId & 255], 8);
      return bytes;
    });
    let understood = 0;
    for (let i = 0; i < 1_000_000; i++) {
      const from = i % 3 === 0 ? "honest" : "stranger";
      if (server.endpoint.receive(packets[i % 4096] as Uint8Array, from, PORT, server.now) !== null) understood++;
      if (server.endpoint.reply !== null) understood++;
    }
    expect(understood).toBe(0);
    expect(server.endpoint.size).toBe(1);
    expect(connection).toMatchObject({ closed: false, connected: true });
  });

  test("a full server, and one that has closed, refuses a client when that is verified, with fewer bytes than came", () => {
    const server = new Server({ maxConnections: 1 });
    const late = server.syn("late") as Ticket;
    const connection = server.open("a");
    const refusals = () => {
      expect(server.hello(late, "late")).toBeNull();
      const { reply } = server.endpoint;
      expect(reply).toHaveLength(16);
      const view = new DataView((reply as Uint8Array).buffer);
      expect([view.getUint32(4), view.getUint16(10), view.getUint16(14)]).toEqual([CLIENT_TAG, 0x8800, 6]);
    };
    refusals();
    connection.abort(server.now);
    server.endpoint.settle(connection);
    server.endpoint.accept = false;
    refusals();
    expect(server.hello({ ...late, tag: late.tag ^ 4 }, "late")).toBeNull();
    expect(server.endpoint.reply).toBeNull();
    expect(server.endpoint.drops).toMatchObject({ connectionLimit: 1, serverClosed: 1 });
    server.endpoint.accept = true;
    expect(server.hello(late, "late")?.connected).toBe(true);
  });

  test("a SYN to a server that has closed is refused at once, with its nonce and no more bytes than it has", () => {
    const server = new Server();
    server.open("a");
    server.endpoint.accept = false;
    expect(server.endpoint.receive(OFFERING_SYN, "b", PORT, server.now)).toBeNull();
    expect(server.endpoint.reply).toEqual(Uint8Array.of(0, 0, 0, 0, 0x51, 0x52, 0x53, 0x54, 0, 0, 0xa5, 0x94));
    server.endpoint.receive(CLASSIC_SYN, "b", PORT, server.now);
    expect(server.endpoint.reply).toBeNull();
    expect(server.endpoint.drops).toMatchObject({ connectionLimit: 0, serverClosed: 2 });
    const client = new Endpoint({ edition: editionNamed(DEFAULT_EDITION), extended: { random: () => 0.5 } });
    client.receive(OFFERING_SYN, "b", PORT, server.now);
    expect(client.reply, "an endpoint that never was a server").toBeNull();
  });

  test("a client of the first version is told so, by a server that speaks nothing else", () => {
    const server = new Server();
    const syn = Uint8Array.of(0, 0, 0xc3, 0x50, 0, 0, 0, 0, 0, 0, 0xa5, 0x8a);
    expect(server.endpoint.receive(syn, "old", PORT, server.now)).toBeNull();
    expect(server.endpoint.reply).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xa5, 0x8e));
    const hello = Uint8Array.of(1, 2, 3, 5, 0, 0, 0, 0, 0xff, 0xff, 0xc4, 0, 0, 18, 1, 2, 3, 4);
    expect(server.endpoint.receive(hello, "old", PORT, server.now)).toBeNull();
    expect(server.endpoint.reply).toEqual(Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4, 0xff, 0xff, 0x88, 0, 0, 16, 0, 7));
    expect(server.endpoint.drops.otherVersion).toBe(2);
    const both = new Server({ required: false });
    expect(both.endpoint.receive(syn, "old", PORT, both.now)?.edition).toBe(DEFAULT_EDITION);
  });
});
