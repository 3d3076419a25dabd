/** Endpoints and connections of all editions under datagrams and programs that the input makes up. */
import assert from "node:assert/strict";
import {
  type Connection,
  decodeHeader,
  EDITION_NAMES,
  Endpoint,
  editionNamed,
  emptyHeader,
  encodeHeader,
  MAX_DATAGRAM_BYTES,
} from "../../src/protocol/index.js";
import { keyedHash } from "../support/extended-hosts.js";
import { Random } from "../support/random.js";
import { Input } from "./input.js";
import type { Target } from "./targets.js";

const PORT = 5000;
const MOST_QUEUED = 300;
const MOST_DATAGRAMS_A_DRAIN = 3000;

interface Side {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly connections: Set<Connection>;
}

/** Two endpoints and what is on its way between them. */
class World {
  now = 0;
  readonly client: Side;
  readonly server: Side;
  /** Connections that `end()` was called of. */
  readonly ended = new WeakSet<Connection>();
  readonly queues: Record<string, Uint8Array[]> = { client: [], server: [] };
  readonly #out = new Uint8Array(MAX_DATAGRAM_BYTES + 1);

  /** `kind` chooses an edition and what both sides may do. */
  constructor(kind: number) {
    const edition = editionNamed(EDITION_NAMES[kind % EDITION_NAMES.length] as string);
    const make = (name: string, accept: boolean): Side => {
      const random = new Random(accept ? 1 : 2);
      const extended =
        (kind & (accept ? 0x10 : 0x20)) === 0
          ? {
              random: () => random.next(),
              required: (kind & 0x40) !== 0,
              windowBytes: 64 * 1024,
              ...(accept && (kind & 0x80) === 0 ? { mac: keyedHash(3) } : {}),
            }
          : null;
      return {
        name,
        endpoint: new Endpoint({ edition, accept, extended, receiveBufferBytes: 64 * 1024 }),
        connections: new Set(),
      };
    };
    this.client = make("client", false);
    this.server = make("server", true);
  }

  connect(): void {
    const connection = this.client.endpoint.connect("server", PORT);
    connection.open(this.now);
    this.drain(this.client, connection);
  }

  arrive(side: Side, datagram: Uint8Array, from: string, segmentBytes = 0): void {
    const { endpoint } = side;
    const connection = endpoint.receive(datagram, from, PORT, this.now, segmentBytes);
    if (connection === null) {
      const { reply } = endpoint;
      if (reply === null) return;
      assert.ok(reply.length <= datagram.length, "an unverified address is answered with more than came");
      this.#send(from, reply);
    } else this.drain(side, connection);
  }

  drain(side: Side, connection: Connection): void {
    side.connections.add(connection);
    for (let count = 0; ; count++) {
      assert.ok(count < MOST_DATAGRAMS_A_DRAIN, "a connection sends without end");
      const length = connection.transmit(this.#out, this.now);
      if (length === 0) break;
      const { datagramBytes } = connection;
      for (let at = 0; at < length; at += datagramBytes) {
        this.#send(connection.sendAddress, this.#out.slice(at, Math.min(length, at + datagramBytes)));
      }
    }
    connection.signals();
    side.endpoint.settle(connection);
    check(connection);
    if (connection.closed) side.connections.delete(connection);
    else
      assert.ok(connection.deadline() >= this.now, `a deadline in the past: ${connection.deadline()}, at ${this.now}`);
  }

  advance(ms: number): void {
    const until = this.now + ms;
    for (let turns = 0; turns < 200; turns++) {
      const sides = [this.client, this.server].filter(({ endpoint }) => endpoint.deadline() <= until);
      if (sides.length === 0) {
        this.now = until;
        return;
      }
      this.now = Math.max(this.now, Math.min(...sides.map(({ endpoint }) => endpoint.deadline())));
      for (const side of sides) {
        for (let one = side.endpoint.expire(this.now); one !== null; one = side.endpoint.expire(this.now))
          this.drain(side, one);
      }
    }
    // So many timers are enough: time goes no further than they did.
  }

  #send(to: string, datagram: Uint8Array): void {
    const queue = this.queues[to];
    if (queue !== undefined && queue.length < MOST_QUEUED) queue.push(datagram);
  }
}

function check(connection: Connection): void {
  const { bytesInFlight, bytesHeld, readableBytes, cwnd, stats } = connection;
  for (const value of [bytesInFlight, bytesHeld, readableBytes, cwnd, ...Object.values(stats)]) {
    assert.ok(Number.isFinite(value) && value >= 0, `a counter of ${value}`);
  }
  assert.ok(readableBytes <= 2 * 64 * 1024, `${readableBytes} bytes are buffered for the reader`);
}

/** What a program, the network or an attacker does, as the next bytes of the input say. */
function act(world: World, input: Input): void {
  const operation = input.byte();
  const side = (operation & 0x80) === 0 ? world.server : world.client;
  const other = side === world.server ? "client" : "server";
  const queue = world.queues[side.name] as Uint8Array[];
  const [connection] = [...side.connections].slice(-1);
  switch (operation & 0x0f) {
    case 0:
    case 1:
    case 2: {
      for (let count = 1 + (input.byte() & 15); count > 0 && queue.length > 0; count--) {
        world.arrive(side, queue.shift() as Uint8Array, other);
      }
      return;
    }
    case 3:
      queue.shift();
      return;
    case 4: {
      // Changed on the way.
      const datagram = queue.shift()?.slice();
      if (datagram === undefined) return;
      for (let count = 1 + (input.byte() & 7); count > 0; count--)
        datagram[input.number() % datagram.length] = input.byte();
      world.arrive(side, datagram, other);
      return;
    }
    case 5:
      world.arrive(side, input.take(input.byte() * 2), (operation & 0x40) === 0 ? other : "stranger");
      return;
    case 6: {
      // With the header of a true one, and other parts.
      const model = queue[input.byte() % Math.max(1, queue.length)];
      if (model === undefined) return;
      const header = emptyHeader();
      decodeHeader(model, header);
      const parts = input.take(input.byte());
      const forged = new Uint8Array(14 + parts.length);
      const bits = 0x8000 | (input.number() & 0x7fff);
      encodeHeader(
        forged,
        (header.sequence + input.number() - 0x8000) >>> 0,
        header.acknowledgement,
        header.connectionId,
        bits,
      );
      forged[12] = forged.length >> 8;
      forged[13] = forged.length;
      forged.set(parts, 14);
      world.arrive(side, forged, other, (operation & 0x40) === 0 ? 0 : input.number());
      return;
    }
    case 7:
    case 8:
      world.advance((operation & 0x40) === 0 ? input.byte() : input.number());
      return;
    case 9:
    case 10: {
      const bytes = 1 + input.number();
      // The contract of write(): not after end(), and after it has said wait only when there is room again.
      if (connection === undefined || world.ended.has(connection) || connection.bytesHeld >= connection.highWaterMark)
        return;
      connection.write(new Uint8Array(bytes), world.now);
      world.drain(side, connection);
      return;
    }
    case 11:
    case 12: {
      if (connection === undefined) return;
      for (let count = 1 + input.byte(); count > 0 && connection.read() !== null; count--);
      world.drain(side, connection);
      return;
    }
    case 13:
      if (connection === undefined || world.ended.has(connection)) return;
      world.ended.add(connection);
      connection.end(world.now);
      world.drain(side, connection);
      return;
    case 14:
      if (connection === undefined) return;
      if ((operation & 0x40) === 0) connection.discardInput(world.now);
      else connection.abort(world.now);
      world.ended.add(connection);
      world.drain(side, connection);
      return;
    default: {
      // The same datagram twice, or all of them the other way round.
      const [first] = queue;
      if ((operation & 0x40) !== 0) queue.reverse();
      else if (first !== undefined) queue.push(first);
    }
  }
}

export const connectionTarget: Target = {
  run(bytes) {
    const input = new Input(bytes);
    const world = new World(input.byte());
    world.connect();
    while (input.left > 0) act(world, input);
    // Whatever was done, all of it ends by itself.
    for (const side of [world.client, world.server]) {
      for (const connection of side.connections) connection.abort(world.now);
    }
    world.advance(60_000);
  },
  seeds() {
    const handshake = [0, 3, 0x80, 3, 0, 3, 0x80, 3];
    const talk = [0x89, 20, 0, 0, 15, 0x80, 15, 7, 20, 0, 15, 0x80, 15, 11, 200, 9, 0, 50, 0x80, 15, 0x8b, 9];
    const end = [13, 0x8d, 0, 15, 0x80, 15, 7, 50, 0, 15, 0x80, 15, 0x47, 1, 0];
    const seeds = [0, 0x50, 0x36, 0x80, 0x41, 2, 3, 4, 5].map((kind) => [kind, ...handshake, ...talk, ...end]);
    seeds.push([0, ...handshake, 0x89, 200, 0, 3, 3, 0, 15, 0x80, 15, 7, 30, 0, 15, 0x80, 15, ...end]);
    seeds.push([0, ...handshake, ...talk, 6, 0, 20, ...Array(20).fill(1), 0x80, 4, 0x80, 0, 0x80, 15]);
    return seeds.map((seed) => Uint8Array.from(seed));
  },
};

export const endpointTarget: Target = {
  run(bytes) {
    const input = new Input(bytes);
    const world = new World(input.byte());
    while (input.left > 0) {
      const from = ["client", "stranger", "other"][input.byte() % 3] as string;
      world.arrive(world.server, input.take(input.byte()), from);
      if ((input.byte() & 7) === 0) world.advance(input.number());
      assert.ok(world.server.endpoint.size <= 200);
    }
    world.advance(120_000);
  },
  seeds() {
    const syn = [0, 0, 0x10, 0xe1, 0, 0, 0, 0, 0, 0, 0, 2];
    const offer = [0, 0, 0x10, 0xe1, 1, 2, 3, 4, 0, 0, 0xa5, 0x92];
    const hello = [0, 0, 0, 1, 1, 2, 3, 4, 0, 1, 0xc0, 0, 0, 24, 0, 0, 0, 1, 1, 2, 3, 4, 0xff, 0xfe];
    const firstOffer = [0, 0, 0x10, 0xe1, 0, 0, 0, 0, 0, 0, 0xa5, 0x8a];
    const firstHello = [0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xc4, 0, 0, 18, 0, 0, 0, 1];
    const send = (datagram: number[]): number[] => [0, datagram.length, ...datagram, 1];
    return [
      [0, ...send(syn), ...send(syn), ...send(offer)],
      [0x10, ...send(syn)],
      [0, ...send(hello), ...send(offer), ...send(hello)],
      [0x40, ...send(firstOffer), ...send(firstHello), ...send(offer), ...send(syn)],
      [0x80, ...send(offer), ...send(syn), ...send(offer)],
    ].map((seed) => Uint8Array.from(seed));
  },
};
