import { describe, expect, test } from "vitest";
import {
  type Connection,
  DEFAULT_EDITION,
  Endpoint,
  type EndpointOptions,
  type ExtendedOptions,
  editionNamed,
  Signal,
} from "../../../../src/protocol/index.js";
import { STATELESS_RESETS_AT_ONCE } from "../../../../src/protocol/limits.js";
import { keyedHash } from "../../../support/extended-hosts.js";
import { Random } from "../../../support/random.js";

const PARAMETERS = 0x0100;
const HELLO = 0x4000;
const RESET = 0x0800;
const PING = 0x0400;
const SYN = 0x0002;

/** Stands for an HMAC: 16 bytes that depend on everything. */
function tokens(key: number): NonNullable<ExtendedOptions["resetToken"]> {
  const hash = keyedHash(key);
  return (tag, id) => {
    const words = new Uint32Array(8);
    hash(`${tag} ${id}`, words);
    return new Uint8Array(words.buffer, 0, 16);
  };
}

function endpoint(options: Partial<EndpointOptions>, extended: Partial<ExtendedOptions>, seed: number): Endpoint {
  const random = new Random(seed);
  return new Endpoint({
    edition: editionNamed(DEFAULT_EDITION),
    extended: { random: () => random.next(), required: true, maxDatagramBytes: () => 1472, ...extended },
    ...options,
  });
}

/** A client, a server, and a network between them that a test can look into. */
class Ends {
  now = 0;
  readonly client: Endpoint;
  server: Endpoint;
  readonly connection: Connection;
  accepted: Connection | null = null;
  /** What was sent to the server, and to the client. */
  readonly toServer: Uint8Array[] = [];
  readonly toClient: Uint8Array[] = [];
  /** Sees what is sent; false loses it. */
  passes: (datagram: Uint8Array, to: "client" | "server") => boolean = () => true;
  clientAddress = "client";
  /** What a datagram takes to travel. */
  readonly #travelMs: number;
  readonly #out = new Uint8Array(65_536);

  constructor(
    options: {
      client?: Partial<EndpointOptions>;
      server?: Partial<EndpointOptions>;
      key?: number;
      travelMs?: number;
    } = {},
  ) {
    this.#travelMs = options.travelMs ?? 0;
    this.client = endpoint(options.client ?? {}, {}, 1);
    this.server = Ends.newServer(options.server, options.key);
    this.connection = this.client.connect("server", 5000);
    this.connection.open(this.now);
    this.flush();
  }

  static newServer(options: Partial<EndpointOptions> = {}, key = 7, seed = 2): Endpoint {
    return endpoint({ accept: true, ...options }, { mac: keyedHash(seed), resetToken: tokens(key) }, seed);
  }

  /** Lets everything travel that is sent at this moment. */
  flush(): void {
    for (let more = true; more; ) {
      more = this.#drain(this.client, this.connection, "server");
      if (this.accepted !== null) more = this.#drain(this.server, this.accepted, "client") || more;
    }
  }

  /** Lets time pass, and what is sent travel. */
  wait(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const at = Math.min(this.client.deadline(), this.server.deadline());
      if (at > end) break;
      this.now = Math.max(this.now, at);
      for (const one of [this.client, this.server]) {
        for (let due = one.expire(this.now); due !== null; due = one.expire(this.now)) {
          this.#drain(one, due, one === this.client ? "server" : "client");
        }
      }
      this.flush();
    }
    this.now = end;
  }

  deliver(datagram: Uint8Array, to: "client" | "server", from = to === "server" ? this.clientAddress : "server"): void {
    const receiver = to === "server" ? this.server : this.client;
    const connection = receiver.receive(datagram, from, 5000, this.now);
    if (to === "server" && connection !== null && this.accepted === null) this.accepted = connection;
    const { reply } = receiver;
    if (connection !== null) this.#drain(receiver, connection, to === "server" ? "client" : "server");
    else if (reply !== null && to === "server") this.#send(reply, "client");
  }

  #drain(from: Endpoint, connection: Connection, to: "client" | "server"): boolean {
    const sent: Uint8Array[] = [];
    for (let length = 1; length > 0; ) {
      length = connection.transmit(this.#out, this.now);
      for (let at = 0; at < length; at += connection.datagramBytes) {
        sent.push(this.#out.slice(at, Math.min(at + connection.datagramBytes, length)));
      }
    }
    from.settle(connection);
    for (const datagram of sent) this.#send(datagram, to);
    return sent.length > 0;
  }

  #send(datagram: Uint8Array, to: "client" | "server"): void {
    (to === "server" ? this.toServer : this.toClient).push(datagram);
    this.now += this.#travelMs;
    if (this.passes(datagram, to)) this.deliver(datagram, to);
  }
}

/** Which parts a packet has; a SYN or SYN|ACK has none. */
function bits(datagram: Uint8Array | undefined): number {
  if (datagram?.length === 12) return (datagram[11] as number) & 7;
  return datagram === undefined ? 0 : ((datagram[10] as number) << 8) | (datagram[11] as number);
}

function connected(options: ConstructorParameters<typeof Ends>[0] = {}): Ends {
  const ends = new Ends(options);
  expect(ends.connection).toMatchObject({ connected: true, edition: "extended" });
  expect(ends.accepted?.connected).toBe(true);
  ends.connection.signals();
  ends.accepted?.signals();
  return ends;
}

describe("parameters", () => {
  test("travel with the first datagrams of each side, and no more once they have arrived", () => {
    const ends = connected();
    const told = (datagrams: readonly Uint8Array[]) =>
      datagrams.filter((datagram) => {
        const first = ((datagram[12] as number) << 8) | (datagram[13] as number);
        if ((bits(datagram) & SYN) !== 0) return false;
        const tells = (bits(datagram) & (PARAMETERS | PING)) === PARAMETERS;
        return tells || (bits(datagram.subarray(first)) & PARAMETERS) !== 0;
      });
    const introductions = ends.toServer.filter((datagram) => (bits(datagram) & HELLO) !== 0);
    expect(introductions.length).toBeGreaterThan(0);
    expect(told(ends.toServer).length).toBe(introductions.length);
    const before = told(ends.toClient).length;
    expect(before).toBeGreaterThan(0);
    ends.connection.write(new Uint8Array(5000), ends.now);
    ends.accepted?.write(new Uint8Array(5000), ends.now);
    ends.flush();
    ends.wait(100);
    expect(told(ends.toServer).length).toBe(introductions.length);
    expect(told(ends.toClient).length).toBe(before);
  });

  test.each([
    [undefined, undefined, 30_000],
    [5000, undefined, 5000],
    [undefined, 5000, 5000],
    [60_000, 45_000, 45_000],
  ])("silence timeouts of %s and %s ms: the lower counts at both ends", (client, server, expected) => {
    const ends = connected({ client: { silenceTimeoutMs: client }, server: { silenceTimeoutMs: server } });
    expect(ends.connection.silenceTimeoutMs).toBe(expected);
    expect(ends.accepted?.silenceTimeoutMs).toBe(expected);
    ends.passes = () => false;
    const began = ends.now;
    while (!ends.connection.closed) ends.wait(100);
    expect(ends.connection.failure).toBe("peer-silent");
    expect(ends.now - began).toBeLessThanOrEqual(expected + 100);
    expect(ends.now - began).toBeGreaterThan(expected / 2);
  });

  test("a peer that tells none is one of the first versions, which give up after 10 s", () => {
    const ends = new Ends({ server: { silenceTimeoutMs: 60_000 } });
    const [introduction] = ends.toServer.filter((datagram) => (bits(datagram) & HELLO) !== 0);
    const length = (((introduction?.[12] as number) ?? 0) << 8) | (introduction?.[13] as number);
    const old = Ends.newServer({ silenceTimeoutMs: 60_000 });
    const syn = ends.toServer[0] as Uint8Array;
    old.receive(syn, "client", 5000, 0);
    const synAck = old.reply as Uint8Array;
    const hello = introduction?.slice(0, length) as Uint8Array;
    hello.set(synAck.subarray(0, 4), 4);
    hello.set(synAck.subarray(8, 10), 8);
    hello.set(synAck.subarray(10, 12), 22);
    hello[10] = (hello[10] as number) & ~(PARAMETERS >> 8);
    expect(old.receive(hello, "client", 5000, 0)?.silenceTimeoutMs).toBe(10_000);
  });

  test("an idle connection with a short timeout lives on", () => {
    const ends = connected({ client: { silenceTimeoutMs: 600 } });
    ends.wait(60_000);
    expect(ends.connection.closed).toBe(false);
    expect(ends.accepted?.closed).toBe(false);
  });
});

describe("a stateless reset", () => {
  test("tells a client of a server that was restarted with its key: a keep-alive later at most", () => {
    const ends = connected();
    ends.server = Ends.newServer({}, 7, 99);
    ends.accepted = null;
    ends.wait(3000);
    expect(ends.connection).toMatchObject({ closed: true, failure: "reset", resetReason: "restarted" });
    expect(ends.server.statelessResets).toEqual({ sent: 1, suppressed: 0 });
    const asked = ends.toServer.at(-1) as Uint8Array;
    expect(ends.toClient.at(-1)?.length).toBeLessThan(asked.length);
  });

  test("at once where the client has something to send", () => {
    const ends = connected();
    ends.server = Ends.newServer({}, 7, 99);
    ends.accepted = null;
    ends.connection.write(new Uint8Array(1000), ends.now);
    ends.flush();
    expect(ends.connection).toMatchObject({ closed: true, failure: "reset", resetReason: "restarted" });
  });

  test("is a regular end where everything had arrived", () => {
    const ends = connected();
    ends.accepted?.write(new Uint8Array(100), ends.now);
    ends.accepted?.end(ends.now);
    ends.flush();
    expect(ends.connection.idle).toBe(true);
    ends.server = Ends.newServer({}, 7, 99);
    ends.accepted = null;
    ends.wait(3000);
    expect(ends.connection).toMatchObject({ closed: true, failure: null, readableBytes: 100 });
    expect(ends.connection.read()).toHaveLength(100);
  });

  test("of a server with another key, and one with a bit changed, says nothing", () => {
    const ends = connected();
    ends.server = Ends.newServer({}, 8, 99);
    ends.accepted = null;
    const sent = ends.toClient.length;
    ends.wait(4000);
    expect(ends.connection.closed).toBe(false);
    expect(ends.toClient.length).toBeGreaterThan(sent);
    ends.server = Ends.newServer({}, 7, 99);
    ends.passes = (_datagram, to) => to === "server";
    ends.wait(3000);
    const reset = ends.toClient.at(-1) as Uint8Array;
    expect(bits(reset) & RESET).toBe(RESET);
    for (let bit = 0; bit < 128; bit++) {
      const forged = reset.slice();
      const at = 16 + (bit >> 3);
      forged[at] = (forged[at] as number) ^ (1 << (bit & 7));
      ends.deliver(forged, "client");
    }
    expect(ends.connection.closed).toBe(false);
    ends.deliver(reset, "client", "somewhere else");
    expect(ends.connection.closed).toBe(true);
  });

  test("never answers what is not longer than it, another reset, a SYN, a classic packet, or a connection that is there", () => {
    const ends = connected();
    const quiet = Ends.newServer({}, 7, 5);
    const stray = new Uint8Array(33);
    stray.set([0, 0, 0, 1, 1, 2, 3, 4, 0, 9, 0x84, 0, 0, 14]);
    const answers = (datagram: Uint8Array) => {
      quiet.receive(datagram, "anybody", 1, 0);
      return quiet.reply?.length ?? 0;
    };
    const changed = (at: number, value: number) =>
      Uint8Array.from(stray, (byte, index) => (index === at ? value : byte));
    expect(answers(stray)).toBe(32);
    expect(answers(stray.subarray(0, 32))).toBe(0);
    expect(answers(changed(10, 0x88))).toBe(0);
    expect(answers(changed(10, 0x04))).toBe(0);
    expect(answers(changed(11, 2))).toBe(0);
    expect(answers(changed(9, 0))).toBe(0);
    // Its own connection, in a packet that makes no sense.
    const known = (ends.toServer.at(-1) as Uint8Array).slice(0, 12);
    const nonsense = new Uint8Array(40);
    nonsense.set(known);
    nonsense.set([0xff, 0xff], 12);
    expect(ends.server.receive(nonsense, "client", 5000, ends.now)).toBeNull();
    expect(ends.server.reply).toBeNull();
  });

  test("is sent so often and no more", () => {
    const server = Ends.newServer({}, 7, 5);
    const stray = new Uint8Array(33);
    stray.set([0, 0, 0, 1, 1, 2, 3, 4, 0, 9, 0x84, 0, 0, 14]);
    for (let i = 0; i < STATELESS_RESETS_AT_ONCE + 10; i++) server.receive(stray, `host ${i}`, 1, 0);
    expect(server.statelessResets).toEqual({ sent: STATELESS_RESETS_AT_ONCE, suppressed: 10 });
    server.receive(stray, "later", 1, 1000);
    expect(server.reply).not.toBeNull();
  });
});

describe("a RESET", () => {
  test("that was lost is repeated when the peer goes on sending", () => {
    const ends = connected();
    ends.passes = (datagram) => (bits(datagram) & RESET) === 0;
    ends.connection.abort(ends.now);
    ends.flush();
    expect(ends.connection.signals()).toBe(Signal.closed);
    ends.passes = () => true;
    ends.wait(3000);
    expect(ends.accepted).toMatchObject({ closed: true, failure: "reset", resetReason: "aborted" });
    ends.wait(4000);
    expect(ends.client.size).toBe(0);
  });

  test("by the server as well, and by a stateless one when that has forgotten the connection", () => {
    for (const silentMs of [1000, 10_000]) {
      const ends = connected();
      ends.passes = () => false;
      ends.accepted?.abort(ends.now);
      ends.flush();
      ends.wait(silentMs);
      ends.passes = () => true;
      ends.wait(3000);
      const resetReason = silentMs < 4000 ? "aborted" : "restarted";
      expect(ends.connection).toMatchObject({ closed: true, failure: "reset", resetReason });
    }
  });

  test("is answered by none", () => {
    const ends = connected();
    ends.connection.abort(ends.now);
    ends.accepted?.abort(ends.now);
    ends.flush();
    const resets = [...ends.toServer, ...ends.toClient].filter((datagram) => (bits(datagram) & RESET) !== 0);
    expect(resets).toHaveLength(2);
  });

  test("counts only from the peer's address, which is the one that was verified", () => {
    const ends = connected();
    ends.passes = (datagram) => (bits(datagram) & RESET) === 0;
    ends.connection.abort(ends.now);
    ends.flush();
    const reset = ends.toServer.at(-1) as Uint8Array;
    expect(bits(reset) & RESET).toBe(RESET);
    ends.deliver(reset, "server", "whoever has overheard it");
    expect(ends.accepted?.closed).toBe(false);
    ends.deliver(reset, "server");
    expect(ends.accepted).toMatchObject({ closed: true, failure: "reset" });
  });
});

describe("a client that reads", () => {
  test("tells of its new address with one datagram, though what would follow it is lost", () => {
    const ends = connected({ travelMs: 10 });
    ends.accepted?.write(new Uint8Array(100_000), ends.now);
    ends.flush();
    ends.wait(100);
    for (let bytes = ends.connection.read(); bytes !== null; ) bytes = ends.connection.read();
    expect(ends.connection.stats.bytesReceived).toBe(100_000);
    ends.flush();
    ends.wait(100);
    ends.clientAddress = "elsewhere";
    ends.connection.changeLocalAddress(ends.now);
    const out = new Uint8Array(65_536);
    const first = out.slice(0, ends.connection.transmit(out, ends.now));
    // The others leave while the new socket is opened.
    while (ends.connection.transmit(out, ends.now) > 0);
    expect(bits(first) & PING).toBe(PING);
    ends.deliver(first, "server");
    ends.flush();
    expect(ends.accepted?.remoteAddress).toBe("elsewhere");
  });
});
