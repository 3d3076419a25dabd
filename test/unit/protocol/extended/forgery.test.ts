/** Datagrams that others send to a client in its server's name, while it connects. */
import { describe, expect, test } from "vitest";
import {
  type ClientConnection,
  type Connection,
  DEFAULT_EDITION,
  Endpoint,
  editionNamed,
} from "../../../../src/protocol/index.js";
import { keyedHash } from "../../../support/extended-hosts.js";
import { Random } from "../../../support/random.js";

const PORT = 5000;
const CLIENT_ISN = 50_000;
/** As many as Linux has ports for clients. */
const FLOOD = 28_232;

interface Options {
  /** What the client asks for. Default: either edition. */
  readonly required?: boolean;
  readonly expectsExtended?: boolean;
  /** What the server speaks. Default: both editions, with cookies. */
  readonly server?: "cookies" | "sockets at the SYN" | "classic";
}

/** A client, its server, and somebody who sees nothing of what they send. */
class Attempt {
  now = 1000;
  readonly random = new Random(7);
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly connection: ClientConnection;
  readonly accepted = new Set<Connection>();
  /** What the client and the server have sent, and did not arrive yet. */
  readonly toServer: Uint8Array[] = [];
  readonly toClient: Uint8Array[] = [];
  readonly #out = new Uint8Array(65_536);

  constructor({ required = false, expectsExtended = false, server = "cookies" }: Options = {}) {
    const edition = editionNamed(DEFAULT_EDITION);
    const clientRandom = new Random(1);
    const serverRandom = new Random(2);
    const random = () => serverRandom.next();
    this.client = new Endpoint({ edition, extended: { random: () => clientRandom.next(), required } });
    this.server = new Endpoint({
      edition,
      accept: true,
      limitsAnswers: true,
      random,
      extended: server === "classic" ? null : { random, ...(server === "cookies" ? { mac: keyedHash(3) } : {}) },
    });
    this.connection = this.client.connect("server", PORT);
    this.connection.expectsExtended = expectsExtended;
    this.connection.open(this.now);
    this.#drain(this.client, this.connection);
  }

  get syn(): DataView {
    return new DataView((this.toServer[0] as Uint8Array).slice().buffer);
  }

  get nonce(): number {
    return this.syn.getUint32(4);
  }

  /** Gives the client a datagram in the server's name. */
  forge(sequence: number, acknowledgement: number, id: number, bits: number): void {
    const view = new DataView(new ArrayBuffer(12));
    view.setUint32(0, sequence);
    view.setUint32(4, acknowledgement);
    view.setUint16(8, id);
    view.setUint16(10, bits);
    this.#arrive(this.client, new Uint8Array(view.buffer));
  }

  /** Lets what was sent arrive, and its answers, until nothing is under way. */
  exchange(): void {
    while (this.toServer.length + this.toClient.length > 0) {
      for (const datagram of this.toServer.splice(0)) this.#arrive(this.server, datagram);
      for (const datagram of this.toClient.splice(0)) this.#arrive(this.client, datagram);
    }
  }

  /** Lets time pass. */
  wait(ms: number): void {
    for (const end = this.now + ms; ; ) {
      const at = Math.min(this.client.deadline(), this.server.deadline());
      this.now = Math.min(Math.max(this.now, at), end);
      for (const endpoint of [this.client, this.server]) {
        for (let due = endpoint.expire(this.now); due !== null; due = endpoint.expire(this.now))
          this.#drain(endpoint, due);
      }
      this.exchange();
      if (at > end) return;
    }
  }

  write(connection: Connection, bytes: number): void {
    connection.write(new Uint8Array(bytes), this.now);
    this.#drain(connection === this.connection ? this.client : this.server, connection);
  }

  /** Both sides know the same connection, and data arrives. */
  expectConnected(edition: string): void {
    expect(this.connection).toMatchObject({ connected: true, closed: false, failure: null, edition });
    const open = [...this.accepted].filter(({ connected, closed }) => connected && !closed);
    expect(open.map((one) => one.edition)).toEqual([edition]);
    const [accepted] = open as [Connection];
    expect(accepted.connectionId).toBe(this.connection.connectionId);
    const [uplink, downlink] = [accepted.readableBytes, this.connection.readableBytes];
    this.write(this.connection, 300);
    this.write(accepted, 200);
    this.wait(1000);
    expect(accepted.readableBytes).toBe(uplink + 300);
    expect(this.connection.readableBytes).toBe(downlink + 200);
  }

  #arrive(endpoint: Endpoint, datagram: Uint8Array): void {
    const from = endpoint === this.client ? "server" : "client";
    const connection = endpoint.receive(datagram, from, PORT, this.now);
    if (connection !== null) this.#drain(endpoint, connection);
    else if (endpoint.reply !== null) this.toClient.push(endpoint.reply);
  }

  #drain(endpoint: Endpoint, connection: Connection): void {
    const to = endpoint === this.client ? this.toServer : this.toClient;
    if (endpoint === this.server) this.accepted.add(connection);
    for (let length = 1; length > 0; ) {
      length = connection.transmit(this.#out, this.now);
      for (let at = 0; at < length; at += connection.datagramBytes) {
        to.push(this.#out.slice(at, Math.min(at + connection.datagramBytes, length)));
      }
    }
    endpoint.settle(connection);
  }
}

/** SYN|ACKs of all forms, without the nonce. */
function flood(attempt: Attempt, plain: boolean): void {
  const { random } = attempt;
  for (let i = 0; i < FLOOD; i++) {
    const id = random.integer(1, 65_535);
    const tag = random.integer(0, 0xffffffff);
    const kind = i % (plain ? 4 : 2);
    if (kind === 0) attempt.forge(tag, random.integer(1, 0xffffffff), id, 0xa596);
    else if (kind === 1) attempt.forge(0, random.integer(1, 0xffffffff), 0, 0xa594);
    else if (kind === 2) attempt.forge(4321, 0, id, 6);
    else attempt.forge(random.integer(0, CLIENT_ISN), 0, id, 0xa58e);
  }
}

describe("28,232 forged answers before the server's own", () => {
  test.each<[string, Options]>([
    ["a client that requires the extended edition", { required: true }],
    ["one whose server is known to speak it", { expectsExtended: true }],
    ["one whose server makes a socket at the SYN", { required: true, server: "sockets at the SYN" }],
  ])("do not concern %s", (_, options) => {
    const attempt = new Attempt(options);
    flood(attempt, true);
    expect(attempt.connection).toMatchObject({ connected: false, closed: false, failure: null, refusals: 0 });
    attempt.exchange();
    attempt.expectConnected("extended");
    flood(attempt, true);
    attempt.expectConnected("extended");
  });

  test("nor a client that knows nothing of its server, even where they accept the classic edition", () => {
    for (const plain of [false, true]) {
      const attempt = new Attempt();
      attempt.write(attempt.connection, 300);
      flood(attempt, plain);
      expect(attempt.connection.connected).toBe(plain);
      expect(attempt.connection.signals() & 1).toBe(Number(plain));
      attempt.exchange();
      expect(attempt.connection.signals() & 1, "connected is signalled once").toBe(Number(!plain));
      attempt.expectConnected("extended");
    }
  });

  test("one with the nonce, of somebody who sees the SYN: the server's own is kept beside it, and found", () => {
    for (const server of ["cookies", "sockets at the SYN"] as const) {
      const attempt = new Attempt({ required: true, server });
      const { nonce } = attempt;
      for (let id = 1; id <= 3; id++) attempt.forge(0x01020304, nonce, id, 0xa596);
      expect(attempt.connection.connected).toBe(true);
      attempt.write(attempt.connection, 300);
      attempt.exchange();
      expect([...attempt.accepted].filter(({ connected }) => connected)).toEqual([]);
      attempt.wait(5000);
      attempt.expectConnected("extended");
    }
  });
});

describe("a plain answer where the extended edition is expected", () => {
  test("fails a client that requires it after 3 s, and not before", () => {
    const attempt = new Attempt({ required: true, server: "classic" });
    attempt.exchange();
    attempt.wait(2900);
    expect(attempt.connection).toMatchObject({ connected: false, closed: false });
    attempt.wait(700);
    expect(attempt.connection).toMatchObject({ closed: true, failure: "not-extended" });
  });

  test("is taken after 3 s by a client whose server used to speak it", () => {
    const attempt = new Attempt({ expectsExtended: true, server: "classic" });
    attempt.exchange();
    attempt.wait(2900);
    expect(attempt.connection.connected).toBe(false);
    attempt.wait(700);
    attempt.expectConnected("fiu-2023");
  });

  test("is the reason where a handshake that requires it is given up", () => {
    const attempt = new Attempt({ required: true });
    attempt.toServer.length = 0;
    attempt.forge(4321, 0, 1, 6);
    while (!attempt.connection.closed) {
      attempt.now = attempt.client.deadline();
      const due = attempt.client.expire(attempt.now);
      if (due !== null) attempt.client.settle(due);
    }
    expect(attempt.connection.failure).toBe("not-extended");
  });
});

test("a server that has closed, and serves the connections it has, refuses at once; without the nonce nobody does", () => {
  const attempt = new Attempt({ required: true });
  attempt.server.accept = false;
  attempt.forge(0, attempt.nonce + 1, 0, 0xa594);
  expect(attempt.connection.refusals).toBe(0);
  attempt.exchange();
  expect(attempt.connection).toMatchObject({ refusals: 1, connected: false, closed: false });
});

test("every connection has a nonce of its own, and the same in each of its SYNs with the offer", () => {
  const nonces = new Set<number>();
  const random = new Random(9);
  const client = new Endpoint({ edition: editionNamed(DEFAULT_EDITION), extended: { random: () => random.next() } });
  const out = new Uint8Array(65_536);
  for (let i = 0; i < 100; i++) {
    const connection = client.connect(`server ${i}`, PORT);
    connection.open(0);
    const sent: [number, number][] = [];
    for (let now = 0; now < 3000; now += 500) {
      connection.expire(now);
      if (connection.transmit(out, now) > 0)
        sent.push([new DataView(out.buffer).getUint32(4), (out[10] as number) << 8]);
    }
    const [[nonce]] = sent as [[number, number]];
    expect(sent).toEqual([
      [nonce, 0xa500],
      [0, 0],
      [nonce, 0xa500],
      [0, 0],
    ]);
    nonces.add(nonce);
  }
  expect(nonces.size).toBe(100);
  expect(nonces.has(0)).toBe(false);
});
