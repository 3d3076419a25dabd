/**
 * Whoever forges a source address gets a server to send something to it. No server sends more bytes than came from there, whatever
 * comes first, until it is silent again.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ServerOptions } from "../../src/stream/index.js";
import { Random } from "../support/random.js";
import { listening } from "../support/sockets.js";
import { TestClock } from "../support/test-clock.js";

/** What a server says first, as one with TLS does, is longer than what came. */
const FLIGHT = Buffer.alloc(8000, "x");
const SYN = 2;
const ACK = 4;
const FIN = 1;
const [EXTENDED, HELLO, PROBE, RESET, PING, DATA] = [0x8000, 0x4000, 0x2000, 0x0800, 0x0400, 0x0200] as const;
const random = new Random(13);

function header(
  sequence: number,
  acknowledgement: number,
  id: number,
  bits: number,
  rest: Uint8Array = Buffer.alloc(0),
) {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(sequence, 0);
  bytes.writeUInt32BE(acknowledgement, 4);
  bytes.writeUInt16BE(id, 8);
  bytes.writeUInt16BE(bits, 10);
  return Buffer.concat([bytes, rest]);
}

/** A packet of the extended edition, `length` bytes long. */
function packet(bits: number, length: number, tag = 0x01020304, id = 7): Buffer {
  const rest = Buffer.from(random.bytes(length - 12));
  rest.writeUInt16BE(length, 0);
  return header(1, tag, id, EXTENDED | bits, rest);
}

/** Acknowledgements for every connection that may have been begun. */
function guesses(acknowledgement: number, sequence = 0, data = 0): Buffer[] {
  return Array.from({ length: 20 }, (_, i) => header(sequence, acknowledgement, 1 + i, ACK, Buffer.alloc(data)));
}

const OFFER = header(50_000, 0x51525354, 0, 0xa592);
const PLAIN = header(50_000, 0, 0, SYN);

/** What a stranger sends, in order. */
const KINDS: Readonly<Record<string, readonly Buffer[]>> = {
  "a plain SYN": [PLAIN],
  "a plain SYN, five times": Array<Buffer>(5).fill(PLAIN),
  "a plain SYN with a number of another edition": [header(12_345, 0, 0, SYN)],
  "a SYN with data": [Buffer.concat([PLAIN, Buffer.alloc(1)])],
  "an offer": [OFFER],
  "an offer, five times": Array<Buffer>(5).fill(OFFER),
  "an offer with data": [Buffer.concat([OFFER, Buffer.alloc(100)])],
  "an offer, then a plain SYN": [OFFER, PLAIN],
  "an offer of the first version": [header(50_000, 0, 0, 0xa58a)],
  "an offer of a version to come": [header(50_000, 7, 0, 0xa5fa)],
  "a SYN with every unused bit": [header(50_000, 7, 0, 0xfffa)],
  "a SYN|ACK": [header(4321, 0, 1, SYN | ACK)],
  "a SYN|FIN": [header(50_000, 0, 0, SYN | FIN)],
  "an ACK": [header(0, 4322, 1, ACK)],
  "a FIN": [header(0, 0, 1, FIN)],
  "an ACK|FIN": [header(0, 4322, 1, ACK | FIN)],
  "data for an unknown connection": [header(0, 0, 900, 0, Buffer.alloc(412))],
  nothing: [Buffer.alloc(0)],
  "less than a header": [Buffer.alloc(1), Buffer.alloc(11)],
  "a header of zeros": [Buffer.alloc(12)],
  "noise, short and long": [12, 14, 18, 33, 100, 1200, 9000].map((length) => Buffer.from(random.bytes(length))),
  "data of the extended edition, short": [packet(DATA, 18)],
  "data of the extended edition, long": [packet(DATA, 1200)],
  "packets joined": [Buffer.concat([packet(DATA, 40), packet(PING, 14), packet(DATA | FIN, 18)])],
  pings: [packet(PING, 14), packet(PING, 34)],
  "a probe": [packet(PROBE, 24)],
  "a long probe": [packet(PROBE, 1400)],
  "a RESET": [packet(RESET, 16)],
  "a stateless reset": [packet(RESET, 32)],
  "an introduction that is guessed": [packet(HELLO | PING, 24)],
  "an introduction of the first version": [packet(HELLO | PING, 18, 0, 0xffff)],
  "an introduction that is cut short": [packet(HELLO, 14), packet(HELLO, 18)],
  "a handshake that is guessed": [PLAIN, ...guesses(4322)],
  "a handshake that is guessed, with data": [PLAIN, ...guesses(4322, 0, 30)],
  "a handshake that is guessed, and acknowledgements": [
    PLAIN,
    ...guesses(4322),
    ...guesses(4322 + 412),
    ...guesses(4322 + 824),
  ],
  "data at once": [PLAIN, ...Array.from({ length: 20 }, (_, i) => header(0, 0, 1 + i, 0, Buffer.alloc(10)))],
  "a transfer that is guessed": [
    PLAIN,
    ...guesses(4322),
    header(0, 0, 1, FIN),
    header(0, 0, 2, FIN),
    header(0, 0, 3, FIN),
  ],
};

interface Stranger {
  readonly kind: string;
  readonly socket: Socket;
  sent: number;
  got: number;
}

/** Bytes that a server with these options got from each kind of stranger, and sent there until it was silent. */
async function provoke(options: ServerOptions, kinds: readonly string[]): Promise<Stranger[]> {
  const clock = new TestClock();
  const { server, port } = await listening({ ...options, clock }, (socket) => {
    socket.on("error", () => {}).resume();
    socket.write(FLIGHT);
  });
  onTestFinished(async () => void (await clock.run(server[Symbol.asyncDispose]())));
  const strangers: Stranger[] = [];
  for (const kind of kinds) {
    const socket = createSocket("udp4");
    onTestFinished(() => void socket.close());
    socket.connect(port, "127.0.0.1");
    await once(socket, "connect");
    const stranger = { kind, socket, sent: 0, got: 0 };
    socket.on("error", () => {});
    socket.on("message", ({ length }) => {
      stranger.got += length;
    });
    for (const datagram of KINDS[kind] as Buffer[]) {
      stranger.sent += datagram.length;
      await new Promise((resolve) => socket.send(datagram, resolve));
      await clock.settle();
    }
    strangers.push(stranger);
  }
  // The longest that anything of a server's waits for.
  await clock.pass(60_000);
  return strangers;
}

describe("no address gets more bytes than came from it", () => {
  test.each<[string, ServerOptions]>([
    ["both editions", {}],
    ["the extended edition only", { extended: "required" }],
    ["the classic edition only", { extended: false }],
    ["another course's edition", { extended: false, edition: "ucla-2017" }],
    ["both editions, with the courses' numbers", { classicNumbers: "edition" }],
    ["sockets at the SYN", { acceptAtSyn: true }],
    ["sockets at the SYN, the extended edition only", { acceptAtSyn: true, extended: "required" }],
    ["as `confundo receive`", { acceptAtSyn: true, extended: false, allowHalfOpen: true }],
    ["sockets at the SYN, with numbers that nobody can guess", { acceptAtSyn: true, classicNumbers: "random" }],
  ])("of a server that speaks %s", async (_, options) => {
    const strangers = await provoke(options, Object.keys(KINDS));
    expect(strangers).toHaveLength(Object.keys(KINDS).length);
    const tooMuch = strangers
      .filter(({ sent, got }) => got > sent)
      .map(({ kind, sent, got }) => `${kind}: ${got} for ${sent}`);
    expect(tooMuch).toEqual([]);
    expect(strangers.some(({ got }) => got > 0)).toBe(true);
  });

  test("unless `verifyAddresses: false` is said", async () => {
    const [syn, guessed] = await provoke({ verifyAddresses: false }, ["a plain SYN", "a handshake that is guessed"]);
    expect(syn?.got).toBeGreaterThan(10 * 12);
    expect(guessed?.got).toBeGreaterThan(guessed?.sent ?? 0);
  });
});
