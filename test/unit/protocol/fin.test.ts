import { describe, expect, test } from "vitest";
import { Signal } from "../../../src/protocol/index.js";
import { Bench, connectedClient, connectedServer } from "../../support/wire.js";

/** A client of which everything is acknowledged and whose FIN (12346) is on its way. */
function finishingClient(options: { sendOnly?: boolean } = {}) {
  const { bench, connection } = connectedClientOf(options);
  bench.end(connection);
  return { bench, connection };
}

function connectedClientOf(options: { sendOnly?: boolean }) {
  if (!options.sendOnly) return connectedClient();
  const { bench } = connectedClient();
  const connection = bench.client({ sendOnly: true, address: "server" });
  bench.drain(connection);
  bench.receive("4321 12346 1 ACK SYN", "server");
  connection.signals();
  return { bench, connection };
}

describe("a client's end", () => {
  test("FIN only after everything is acknowledged; it takes the number behind the last byte", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 100);
    expect(bench.end(connection)).toEqual([]);
    expect(bench.receive("4322 12446 1 ACK")).toEqual(["12446 0 1 FIN"]);
  });

  test("an empty file: the FIN right after the handshake's ACK", () => {
    const { bench, connection } = connectedClient();
    expect(bench.end(connection)).toEqual(["12346 0 1 FIN"]);
  });

  test("a stream that is ended before it is connected: the handshake's ACK goes first, as the FIN carries none", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    connection.end(0);
    bench.drain(connection);
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual(["12346 4322 1 ACK", "12346 0 1 FIN"]);
  });

  test("FIN is sent again every 0.5 s", () => {
    const { bench } = finishingClient();
    expect(bench.wait(1000)).toEqual(["500: 12346 0 1 FIN", "1000: 12346 0 1 FIN"]);
  });

  test("the FIN's ACK grows cwnd", () => {
    const { bench, connection } = finishingClient();
    bench.receive("4322 12347 1 ACK");
    expect(connection.cwnd).toBe(1024);
  });

  test.each([
    ["ACK|FIN in one packet", ["4322 12347 1 ACK FIN"], [["12347 4323 1 ACK"]]],
    ["ACK, then FIN", ["4322 12347 1 ACK", "4322 0 1 FIN"], [[], ["12347 4323 1 ACK"]]],
    ["ACK, then ACK|FIN", ["4322 12347 1 ACK", "4322 12347 1 ACK FIN"], [[], ["12347 4323 1 ACK"]]],
  ])("%s", (_what, packets, answers) => {
    const { bench, connection } = finishingClient();
    expect(packets.map((text) => bench.receive(text))).toEqual(answers);
    expect(connection.signals()).toBe(Signal.finished | Signal.readable);
    expect(connection.ended).toBe(true);
    expect(bench.wait(1999)).toEqual([]);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(bench.endpoint.size).toBe(0);
  });

  test("ACK only, from a server that never sends a FIN: a client that only sends waits 2 s and is done", () => {
    const { bench, connection } = finishingClient({ sendOnly: true });
    bench.receive("4322 12347 1 ACK", "server");
    expect(connection.signals()).toBe(Signal.finished);
    bench.wait(1999);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: null });
  });

  test("ACK only, of a stream that could still bring data: the silence of 10 s is its end", () => {
    const { bench, connection } = finishingClient();
    bench.receive("4322 12347 1 ACK");
    expect(connection.signals()).toBe(Signal.finished);
    bench.wait(9999);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: null, ended: true });
    expect(connection.signals()).toBe(Signal.readable | Signal.closed);
  });

  test("FIN-WAIT: 2 s in which every FIN is answered and anything else dropped", () => {
    const { bench, connection } = finishingClient();
    bench.receive("4322 12347 1 ACK FIN");
    connection.signals();
    const dropped = bench.trace.length;
    for (let i = 0; i < 3; i++) {
      bench.wait(500);
      expect(bench.receive("4322 12347 1 ACK FIN")).toEqual(["12347 4323 1 ACK"]);
      expect(bench.receive("4322 0 1 FIN")).toEqual(["12347 4323 1 ACK"]);
      expect(bench.receive("4322 0 1 +100")).toEqual([]);
      expect(bench.receive("4322 12347 1 ACK")).toEqual([]);
      expect(bench.receive("4321 12346 1 ACK SYN")).toEqual([]);
    }
    expect(bench.trace.slice(dropped).filter((line) => line.startsWith("DROP"))).toHaveLength(9);
    bench.wait(500);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(connection.signals()).toBe(Signal.closed);
    expect(bench.receive("4322 12347 1 ACK FIN")).toEqual([]);
  });

  test("a FIN that comes while ours is not acknowledged is answered, and ours goes on being sent", () => {
    const { bench, connection } = finishingClient();
    expect(bench.receive("4322 0 1 FIN")).toEqual(["12347 4323 1 ACK"]);
    expect(bench.wait(500)).toEqual(["500: 12346 4323 1 ACK FIN"]);
    bench.receive("4323 12347 1 ACK");
    bench.wait(2000);
    expect(connection).toMatchObject({ closed: true, failure: null });
  });
});

describe("a server's end", () => {
  test("one ACK|FIN, sent again every 0.5 s until it is acknowledged", () => {
    const { bench, connection } = connectedServer();
    expect(bench.receive("12346 0 1 FIN")).toEqual([]);
    expect(connection.signals()).toBe(Signal.readable);
    expect(connection.ended).toBe(true);
    expect(bench.end(connection)).toEqual(["4322 12347 1 ACK FIN"]);
    expect(bench.wait(1000)).toEqual(["500: 4322 12347 1 ACK FIN", "1000: 4322 12347 1 ACK FIN"]);
    expect(bench.receive("12347 4323 1 ACK")).toEqual([]);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(connection.signals()).toBe(Signal.finished | Signal.closed);
    expect(bench.endpoint.size).toBe(0);
  });

  test("a client that acknowledges it with the FIN's own number has acknowledged it", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 +3");
    bench.receive("12349 0 1 FIN");
    bench.end(connection);
    expect(bench.receive("12349 4322 1 ACK")).toEqual([]); // Late, of the data: its number is not behind the FIN.
    expect(connection.closed).toBe(false);
    expect(bench.receive("12350 4322 1 ACK")).toEqual([]);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(connection.signals() & Signal.finished).toBe(Signal.finished);
  });

  test("behind data of this server's that may be a late acknowledgement, until the FIN has been repeated", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    expect(bench.write(connection, 10)).toEqual(["4322 0 1 +10"]);
    bench.receive("12347 4332 1 ACK");
    expect(bench.end(connection)).toEqual(["4332 12347 1 ACK FIN"]);
    bench.receive("12347 4332 1 ACK");
    expect(connection.closed).toBe(false);
    bench.wait(500);
    bench.receive("12347 4332 1 ACK");
    expect(connection).toMatchObject({ closed: true, failure: null });
  });

  test("it is not repeated for longer than 10 s, whatever comes instead of its acknowledgement", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    bench.end(connection);
    for (let at = 500; at < 10_000; at += 500) {
      expect(bench.wait(500)).toEqual([`${at}: 4322 12347 1 ACK FIN`]);
      bench.receive("12346 4322 1 ACK");
    }
    expect(bench.wait(500)).toEqual([]);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(bench.endpoint.size).toBe(0);
  });

  test("nor is one that the peer's does not precede: then the silence decides", () => {
    const { bench, connection } = connectedServer();
    bench.end(connection);
    for (let at = 500; at < 10_000; at += 500) {
      expect(bench.wait(500)).toEqual([`${at}: 4322 0 1 FIN`]);
      bench.receive("12346 4322 1 ACK");
    }
    expect(bench.wait(9999)).toEqual([]);
    expect(connection.closed).toBe(false);
    expect(bench.wait(500)).toEqual([]);
    expect(connection).toMatchObject({ closed: true, failure: "fin-unanswered" });
  });

  test("no keep-alive follows it", () => {
    const { bench, connection } = connectedServer();
    connection.keepAliveMs = 3000;
    bench.receive("12346 0 1 FIN");
    bench.end(connection);
    expect(new Set(bench.wait(20_000).map((line) => line.split(": ")[1]))).toEqual(new Set(["4322 12347 1 ACK FIN"]));
  });

  test("before it a peer that has ended is asked for a sign of life for 10 s, and then left in peace", () => {
    const { bench, connection } = connectedServer();
    connection.keepAliveMs = 3000;
    bench.receive("12346 0 1 FIN");
    expect(bench.wait(60_000)).toEqual(["200: 4322 12347 1 ACK", "3000: 4322 0 1", "6000: 4322 0 1", "9000: 4322 0 1"]);
    expect(bench.endpoint.deadline()).toBe(Number.POSITIVE_INFINITY);
  });

  test("a repeated FIN gets the ACK|FIN again", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    bench.end(connection);
    expect(bench.receive("12346 0 1 FIN")).toEqual(["4322 12347 1 ACK FIN"]);
  });

  test("the FIN's acknowledgement waits 200 ms for this side's own FIN, no longer", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    expect(bench.wait(300)).toEqual(["200: 4322 12347 1 ACK"]);
    expect(bench.receive("12346 0 1 FIN")).toEqual(["4322 12347 1 ACK"]);
    expect(bench.end(connection)).toEqual(["4322 12347 1 ACK FIN"]);
  });

  test("a repeated FIN does not shorten that wait, and another acknowledgement includes it", () => {
    const { bench } = connectedServer();
    bench.receive("12346 0 1 +100");
    bench.receive("12446 0 1 FIN");
    bench.wait(100);
    expect(bench.receive("12446 0 1 FIN")).toEqual([]);
    expect(bench.receive("12346 0 1 +100")).toEqual(["4322 12447 1 ACK"]);
    expect(bench.wait(300)).toEqual([]);
  });

  test("data that this side still has to send goes first", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    connection.write(new Uint8Array(100), 0);
    expect(bench.end(connection)).toEqual(["4322 0 1 +100"]);
    expect(bench.wait(200)).toEqual(["200: 4422 12347 1 ACK"]);
    expect(bench.receive("12347 4422 1 ACK")).toEqual(["4422 12347 1 ACK FIN"]);
  });

  test("after 10 s without an acknowledgement of the ACK|FIN it is done all the same", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    bench.end(connection);
    expect(bench.wait(10_000)).toHaveLength(19);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(connection.signals()).toBe(Signal.readable | Signal.finished | Signal.closed);
  });

  test("a FIN ahead of missing data is not acknowledged: a duplicate ACK", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 +100");
    expect(bench.receive("12958 0 1 FIN")).toEqual(["4322 12446 1 ACK"]);
    expect(connection.ended).toBe(false);
    bench.receive("12446 0 1 +512");
    expect(bench.receive("12958 0 1 FIN")).toEqual([]);
    expect(connection.ended).toBe(true);
  });

  test("data behind a FIN is acknowledged as far as it counts, and dropped", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    bench.wait(200);
    expect(bench.receive("12347 0 1 +100")).toEqual(["4322 12347 1 ACK"]);
    expect(bench.receive("12346 0 1 +100")).toEqual(["4322 12347 1 ACK"]);
    expect(connection.readableBytes).toBe(0);
  });

  test("a server may end first; the client's FIN then ends it after 2 s", () => {
    const { bench, connection } = connectedServer();
    expect(bench.end(connection)).toEqual(["4322 0 1 FIN"]);
    bench.receive("12346 4323 1 ACK");
    expect(bench.receive("12346 0 1 +100")).toEqual(["4323 12446 1 ACK"]);
    expect(bench.receive("12446 4323 1 ACK FIN")).toEqual(["4323 12447 1 ACK"]);
    bench.wait(2000);
    expect(connection).toMatchObject({ closed: true, failure: null });
  });
});

test("both ends at once: each acknowledges the other's FIN, both wait 2 s", () => {
  const { bench, connection } = finishingClient();
  expect(bench.receive("4322 0 1 FIN")).toEqual(["12347 4323 1 ACK"]);
  bench.receive("4323 12347 1 ACK");
  expect(connection.closed).toBe(false);
  bench.wait(2000);
  expect(connection).toMatchObject({ closed: true, failure: null });
});
