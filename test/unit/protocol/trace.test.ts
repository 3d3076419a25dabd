import { describe, expect, test } from "vitest";
import {
  ACK,
  emptyHeader,
  encodeHeader,
  FIN,
  SYN,
  traceDropped,
  traceReceived,
  traceSent,
} from "../../../src/protocol/index.js";
import { Bench, connectedServer } from "../../support/wire.js";

const header = { sequence: 1, acknowledgement: 2, connectionId: 3, flags: ACK | SYN | FIN };

test("flags come in the order ACK SYN FIN DUP, one space between", () => {
  expect(traceReceived(header, 512, 10_000)).toBe("RECV 1 2 3 512 10000 ACK SYN FIN");
  expect(traceSent(header, 512, 10_000, true)).toBe("SEND 1 2 3 512 10000 ACK SYN FIN DUP");
  expect(traceSent({ ...header, flags: 0 }, 512, 10_000, false)).toBe("SEND 1 2 3 512 10000");
  expect(traceDropped(header)).toBe("DROP 1 2 3 ACK SYN FIN");
  expect(traceDropped(emptyHeader())).toBe("DROP 0 0 0");
});

test("a client's whole log: RECV shows cwnd before the packet changed it, DUP marks a retransmission", () => {
  const bench = new Bench("fiu-2023");
  const connection = bench.client();
  connection.write(new Uint8Array(500), 0);
  connection.end(0);
  bench.drain(connection);
  bench.wait(500);
  bench.receive("4321 0 1 ACK SYN");
  bench.wait(500);
  bench.receive("4322 412 1 ACK");
  bench.receive("4322 500 1 ACK");
  bench.receive("4322 501 1 ACK FIN");
  bench.receive("4322 0 9 ACK FIN");
  expect(bench.trace).toEqual([
    "SEND 50000 0 0 412 12000 SYN",
    "SEND 50000 0 0 412 12000 SYN DUP",
    "RECV 4321 0 1 412 12000 ACK SYN",
    "SEND 0 4322 1 412 12000 ACK",
    "SEND 0 0 1 412 206 DUP",
    "RECV 4322 412 1 412 206 ACK",
    "SEND 412 0 1 824 206",
    "RECV 4322 500 1 824 206 ACK",
    "SEND 500 0 1 1030 206 FIN",
    "RECV 4322 501 1 1030 206 ACK FIN",
    "SEND 501 4323 1 1194 206 ACK",
    "DROP 4322 0 9 ACK FIN",
  ]);
});

test("a server's log", () => {
  const { bench, connection } = connectedServer();
  bench.receive("12346 0 1 +100");
  bench.receive("12446 0 1 FIN");
  bench.end(connection);
  bench.wait(500);
  bench.receive("12447 4323 1 ACK");
  bench.receive(new Uint8Array(11));
  expect(bench.trace).toEqual([
    "RECV 12345 0 0 512 10000 SYN",
    "SEND 4321 12346 1 512 10000 ACK SYN",
    "RECV 12346 4322 1 512 10000 ACK",
    "RECV 12346 0 1 512 10000",
    "SEND 4322 12446 1 512 10000 ACK",
    "RECV 12446 0 1 512 10000 FIN",
    "SEND 4322 12447 1 512 10000 ACK FIN",
    "SEND 4322 12447 1 512 10000 ACK FIN DUP",
    "RECV 12447 4323 1 512 10000 ACK",
    "DROP 0 0 0",
  ]);
});

describe("the golden trace, byte for byte", () => {
  test.each([
    ["C>S", 12_345, 0, 0, SYN, "000030390000000000000002"],
    ["S>C", 4321, 12_346, 1, ACK | SYN, "000010e10000303a00010006"],
    ["C>S", 12_346, 4322, 1, ACK, "0000303a000010e200010004"],
    ["C>S", 12_858, 0, 1, 0, "0000323a0000000000010000"],
    ["C>S", 13_370, 0, 1, 0, "0000343a0000000000010000"],
    ["C>S", 13_882, 0, 1, 0, "0000363a0000000000010000"],
  ])("%s %i %i %i", (_direction, sequence, acknowledgement, connectionId, flags, hex) => {
    const out = new Uint8Array(12).fill(0xff);
    encodeHeader(out, sequence, acknowledgement, connectionId, flags);
    expect(Buffer.from(out).toString("hex")).toBe(hex);
  });

  test("a client with the same file sends these headers, in as many windows as the rules ask for", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    connection.write(new Uint8Array(3 * 512 + 196), 0);
    connection.end(0);
    const sent = bench.drain(connection);
    sent.push(...bench.receive("4321 12346 1 ACK SYN"));
    sent.push(...bench.receive("4322 12858 1 ACK"));
    sent.push(...bench.receive("4322 13882 1 ACK"));
    expect(sent).toEqual([
      "12345 0 0 SYN",
      "12346 4322 1 ACK +512",
      "12858 0 1 +512",
      "13370 0 1 +512",
      "13882 0 1 +196",
    ]);
  });
});
