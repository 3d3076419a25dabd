/** The limits of the core that a peer or a stranger can reach, each at its number and one beyond. */
import { describe, expect, test } from "vitest";
import { emptyArrival } from "../../../src/protocol/arrival.js";
import { emptyStats } from "../../../src/protocol/connection.js";
import { type Candidate, Candidates } from "../../../src/protocol/extended/candidates.js";
import { ExtendedConnection } from "../../../src/protocol/extended/connection.js";
import { type Cookie, Cookies } from "../../../src/protocol/extended/cookies.js";
import { Sender } from "../../../src/protocol/extended/sender.js";
import {
  ACK,
  DATA,
  decodePacket,
  EXTENDED,
  emptyPacket,
  PARAMETERS,
  PacketWriter,
  readParameters,
} from "../../../src/protocol/extended/wire.js";
import type { Connection } from "../../../src/protocol/index.js";
import {
  MAX_CANDIDATES,
  MAX_DATAGRAM_PACKETS,
  MAX_ENDED_SYNS,
  MAX_PARAMETERS,
  MAX_PEER_WINDOW_BYTES,
  MAX_SENT_SEGMENTS,
  MAX_SPENT_COOKIES,
  MAX_WINDOW_BYTES,
} from "../../../src/protocol/limits.js";
import { PORTABLE_MEMORY } from "../../../src/protocol/memory.js";
import { ReceiveBudget } from "../../../src/protocol/receive-budget.js";
import { keyedHash } from "../../support/extended-hosts.js";
import { Bench, PEER, PORT } from "../../support/wire.js";

const REMOTE_TAG = 77;
const LOCAL_TAG = 1000;

describe("what an endpoint remembers", () => {
  test("MAX_ENDED_SYNS connections that are over: of more, the oldest SYN begins another one", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    const finish = (client: string): void => {
      const connection = bench.route("12345 0 0 SYN", client) as Connection;
      const id = connection.connectionId;
      bench.drain(connection);
      bench.receive(`12346 4322 ${id} ACK`, client);
      bench.receive(`12346 0 ${id} FIN`, client);
      bench.end(connection);
      bench.receive(`12347 4323 ${id} ACK`, client);
      expect(connection).toMatchObject({ closed: true, failure: null });
    };
    finish("first");
    for (let i = 1; i < MAX_ENDED_SYNS; i++) finish(`client ${i}`);
    expect(bench.route("12345 0 0 SYN", "first")).toBeNull();
    expect(bench.endpoint.drops.lateSyn).toBe(1);
    finish("one more");
    expect(bench.route("12345 0 0 SYN", "client 1")).toBeNull();
    expect(bench.route("12345 0 0 SYN", "first")).not.toBeNull();
  });

  test("MAX_SPENT_COOKIES cookies whose connection is over: of more, the oldest one is good again", () => {
    const cookies = new Cookies(keyedHash(5), 2048);
    const issue = (port: number): Cookie => ({ ...cookies.issue("192.0.2.1", port, 7, 0) });
    const isGood = (port: number): boolean => cookies.isGood(issue(port), "192.0.2.1", port, 7, 0);
    const spend = (port: number): void => {
      const { tag, connectionId } = issue(port);
      cookies.spend(tag, connectionId, 0);
    };
    for (let port = 1; port <= MAX_SPENT_COOKIES; port++) spend(port);
    expect(isGood(1)).toBe(false);
    spend(MAX_SPENT_COOKIES + 1);
    expect([isGood(1), isGood(2), isGood(MAX_SPENT_COOKIES + 1)]).toEqual([true, false, false]);
  });

  test("MAX_CANDIDATES servers among which a client looks for its own", () => {
    const candidates = new Candidates();
    const candidate = (connectionId: number): Candidate => ({ connectionId, remoteTag: connectionId, proof: 0 });
    for (let id = 1; id <= MAX_CANDIDATES; id++) expect(candidates.offer(candidate(id), false)).toBe("new");
    expect(candidates.offer(candidate(MAX_CANDIDATES + 1), false)).toBe("refused");
    expect(candidates.offer(candidate(1), false)).toBe("known");
  });
});

describe("what one datagram may make a connection do", () => {
  test("MAX_DATAGRAM_PACKETS packets are read", () => {
    const connection = new ExtendedConnection(
      {
        role: "client",
        remoteAddress: PEER,
        remotePort: PORT,
        localAddress: "",
        connectionId: 1,
        nonce: 1,
        proof: 1,
        localTag: LOCAL_TAG,
        remoteTag: REMOTE_TAG,
        windowBytes: 1024 * 1024,
        silenceTimeoutMs: 30_000,
        resetToken: null,
        maxDatagramBytes: 1472,
        congestion: "bbr",
        sendOnly: false,
        random: () => 0.5,
        memory: PORTABLE_MEMORY,
        receiveBudget: new ReceiveBudget(),
        requireAdmission: false,
        trace: null,
      },
      0,
    );
    const datagram = new Uint8Array(4096);
    const writer = new PacketWriter();
    let length = 0;
    for (let i = 0; i <= MAX_DATAGRAM_PACKETS; i++) {
      writer.begin(datagram, length, REMOTE_TAG + 1 + i, LOCAL_TAG, 1, DATA);
      writer.uint32(0);
      writer.pad(writer.length + 1);
      length += writer.end();
    }
    const at = { address: PEER, port: PORT, connectionId: 1, bits: EXTENDED, now: 1 };
    expect(connection.receive({ ...emptyArrival(), ...at, datagram: datagram.subarray(0, length) })).toBe(true);
    expect(connection.readableBytes).toBe(MAX_DATAGRAM_PACKETS);
  });

  test.each([
    [MAX_PARAMETERS - 1, 5000],
    [MAX_PARAMETERS, 0],
  ])("a parameter behind %i others: MAX_PARAMETERS are read", (others, silenceTimeoutMs) => {
    const datagram = new Uint8Array(1200);
    const writer = new PacketWriter();
    writer.begin(datagram, 0, 1, 2, 3, PARAMETERS);
    // Of a kind that does not exist, and without a value.
    for (let i = 0; i < others; i++) writer.uint16(200 << 8);
    writer.parameters(5000, null);
    const length = writer.end();
    const packet = emptyPacket();
    expect(decodePacket(datagram.subarray(0, length), 0, packet)).toBe(length);
    expect(readParameters(packet).silenceTimeoutMs).toBe(silenceTimeoutMs);
  });
});

describe("what a peer's window makes a sender hold in flight", () => {
  function sender(segmentBytes: number, bytes: number): Sender {
    const made = new Sender({
      isn: 0,
      segmentBytes,
      congestion: "bbr",
      random: () => 0.5,
      stats: emptyStats(),
      memory: PORTABLE_MEMORY,
    });
    made.buffer.append(new Uint8Array(bytes));
    const packet = emptyPacket();
    packet.bits = ACK;
    packet.acknowledgement = 1;
    packet.windowBytes = 0xffff_ffff;
    expect(made.receiveAck(packet, 1)).toBe(true);
    return made;
  }

  test("MAX_PEER_WINDOW_BYTES are believed, and MAX_WINDOW_BYTES used", () => {
    const all = sender(1200, 1);
    (all.controller as { cwnd: number }).cwnd = 2 ** 40;
    expect(all.cwnd).toBe(MAX_WINDOW_BYTES);
    expect(all.windowEnd).toBe(1 + MAX_PEER_WINDOW_BYTES);
  });

  test("in MAX_SENT_SEGMENTS segments at most", () => {
    const all = sender(1, MAX_SENT_SEGMENTS + 10);
    let sent = 0;
    for (let now = 2; ; now += 1000) {
      (all.controller as { cwnd: number }).cwnd = MAX_WINDOW_BYTES;
      const before = sent;
      while (all.next(1, now) !== null) sent++;
      if (sent === before) break;
    }
    expect(sent).toBe(MAX_SENT_SEGMENTS);
  });
});
