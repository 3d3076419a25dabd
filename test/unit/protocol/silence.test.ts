import { describe, expect, test } from "vitest";
import { type Connection, Signal } from "../../../src/protocol/index.js";
import { Bench, connectedClient, connectedServer } from "../../support/wire.js";

describe("10 s of silence", () => {
  test("a client that nobody answers", () => {
    const bench = new Bench("fiu-2023");
    const connection = bench.client();
    bench.drain(connection);
    expect(bench.wait(9_999)).toHaveLength(19);
    expect(connection.closed).toBe(false);
    expect(bench.wait(1)).toEqual([]);
    expect(connection).toMatchObject({ closed: true, failure: "handshake-timeout" });
    expect(connection.signals()).toBe(Signal.closed);
    expect(bench.endpoint.size).toBe(0);
    expect(bench.endpoint.deadline()).toBe(Number.POSITIVE_INFINITY);
  });

  test("a server of which only the SYN came", () => {
    const bench = new Bench("fiu-2023", { accept: true });
    const connection = bench.route("50000 0 0 SYN") as Connection;
    bench.drain(connection);
    bench.wait(10_000);
    expect(connection).toMatchObject({ closed: true, failure: "handshake-timeout" });
  });

  test("a client in the middle of its data: it goes on sending until then", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    expect(bench.wait(9_999)).toHaveLength(19);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: "peer-silent" });
  });

  test("a server in the middle of a file", () => {
    const { bench, connection } = connectedServer();
    bench.wait(3000);
    bench.receive("12346 0 1 +512");
    bench.wait(9999);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: "peer-silent" });
    expect(bench.read(connection)).toHaveLength(512);
  });

  test("a client whose FIN is never answered", () => {
    const { bench, connection } = connectedClient();
    bench.end(connection);
    bench.wait(10_000);
    expect(connection).toMatchObject({ closed: true, failure: "fin-unanswered" });
  });

  test("a client whose server sent data, acknowledged the FIN, and never ended its side: data may be missing", () => {
    const { bench, connection } = connectedClient();
    bench.receive("4322 0 1 +10");
    bench.end(connection);
    bench.receive("4332 12347 1 ACK");
    bench.wait(10_000);
    expect(connection).toMatchObject({ closed: true, failure: "peer-silent", ended: false });
  });

  test("none after the peer's end, until there is something that it has to acknowledge", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 +3");
    bench.receive("12349 0 1 FIN");
    bench.wait(100_000);
    expect(connection).toMatchObject({ closed: false, ended: true, idle: true });
    bench.write(connection, 10);
    expect(connection.idle).toBe(false);
    bench.wait(9999);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: "peer-silent" });
    expect(bench.read(connection)).toHaveLength(3);
  });

  test("a FIN that answers the peer's and is not acknowledged: a regular end", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 FIN");
    bench.wait(100_000);
    bench.end(connection);
    bench.wait(9999);
    expect(connection.closed).toBe(false);
    bench.wait(1);
    expect(connection).toMatchObject({ closed: true, failure: null });
    expect(connection.signals()).toBe(Signal.readable | Signal.finished | Signal.closed);
  });

  test("after a handshake that timed out the same server can be tried again", () => {
    const bench = new Bench("fiu-2023");
    bench.drain(bench.client());
    bench.wait(10_000);
    const again = bench.client();
    bench.drain(again);
    bench.receive("4321 0 1 ACK SYN");
    expect(again.connected).toBe(true);
  });

  test("a split handshake that stops half way", () => {
    const bench = new Bench("fiu-2023");
    const connection = bench.client();
    bench.drain(connection);
    bench.receive("4321 0 1 ACK");
    bench.wait(10_000);
    expect(connection).toMatchObject({ closed: true, failure: "handshake-timeout" });
    expect(bench.endpoint.size).toBe(0);
  });

  test.each([
    ["a duplicate ACK", "4322 12346 1 ACK"],
    ["data", "4322 0 1 +1"],
    ["a repeated SYN|ACK", "4321 12346 1 ACK SYN"],
  ])("any valid packet breaks it: %s", (_what, text) => {
    const { bench, connection } = connectedClient();
    bench.wait(9_000);
    bench.receive(text);
    bench.wait(9_000);
    expect(connection.closed).toBe(false);
    bench.wait(1_000);
    expect(connection.failure).toBe("peer-silent");
  });

  test("what is dropped does not break it", () => {
    const { bench, connection } = connectedClient();
    bench.wait(9_000);
    bench.receive("999999 0 1 +1");
    bench.receive("4322 0 2 +1");
    bench.receive("4322 0 1 +1", "stranger");
    bench.wait(1_000);
    expect(connection.failure).toBe("peer-silent");
  });
});

describe("keepAliveMs", () => {
  test("asks a silent peer for a sign of life, with a packet that every implementation answers", () => {
    const { bench, connection } = connectedClient();
    connection.keepAliveMs = 3000;
    bench.endpoint.settle(connection);
    expect(bench.wait(9_500)).toEqual(["3000: 12346 0 1", "6000: 12346 0 1", "9000: 12346 0 1"]);
    bench.wait(500);
    expect(connection.failure).toBe("peer-silent");
  });

  test("keeps both sides of an idle connection for as long as it takes", () => {
    const { bench: client, connection } = connectedClient();
    const { bench: server, connection: accepted } = connectedServer();
    connection.keepAliveMs = 3000;
    client.endpoint.settle(connection);
    for (let second = 0; second < 100; second++) {
      server.wait(1000);
      for (const text of client.wait(1000)) {
        for (const answer of server.receive(text.slice(text.indexOf(":") + 2))) client.receive(answer);
      }
    }
    expect([connection.closed, accepted.closed]).toEqual([false, false]);
  });

  test("is still while the peer talks", () => {
    const { bench, connection } = connectedClient();
    connection.keepAliveMs = 3000;
    bench.endpoint.settle(connection);
    for (let i = 0; i < 10; i++) {
      expect(bench.wait(2000)).toEqual([]);
      bench.receive("4322 12346 1 ACK");
    }
  });
});

test("abort() ends a connection at once, without a word", () => {
  const { bench, connection } = connectedClient();
  bench.write(connection, 512);
  connection.abort(bench.now);
  expect(bench.drain(connection)).toEqual([]);
  expect(connection).toMatchObject({ closed: true, failure: "aborted" });
  expect(connection.signals()).toBe(Signal.closed);
  expect(bench.wait(20_000)).toEqual([]);
  expect(bench.endpoint.size).toBe(0);
});
