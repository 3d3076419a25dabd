import { describe, expect, test } from "vitest";
import {
  type Connection,
  EDITION_NAMES,
  editionNamed,
  type ProtocolError,
  Signal,
} from "../../../src/protocol/index.js";
import { Bench, connectedClient, connectedServer, PEER, PORT } from "../../support/wire.js";

describe("IDs", () => {
  test("1, 2, 3, …", () => {
    const bench = new Bench("fiu-2023", { accept: true });
    const ids = Array.from({ length: 5 }, (_, i) => bench.route("50000 0 0 SYN", `client ${i}`)?.connectionId);
    expect(ids).toEqual([1, 2, 3, 4, 5]);
  });

  test("a finished connection's ID is not used again at once", () => {
    const bench = new Bench("fiu-2023", { accept: true });
    const first = bench.route("50000 0 0 SYN", "a") as Connection;
    first.abort(0);
    bench.drain(first);
    expect(bench.route("50000 0 0 SYN", "b")?.connectionId).toBe(2);
  });

  test("65535 is followed by 1, and IDs that are taken are skipped", () => {
    const bench = new Bench("fiu-2023", { accept: true });
    const kept = bench.route("50000 0 0 SYN", "kept") as Connection;
    for (let id = 2; id <= 65_535; id++) {
      const connection = bench.route("50000 0 0 SYN", `client ${id}`) as Connection;
      if (id > 65_533) expect(connection.connectionId).toBe(id);
      connection.abort(0);
      bench.endpoint.settle(connection);
    }
    expect(kept.connectionId).toBe(1);
    expect(bench.route("50000 0 0 SYN", "next")?.connectionId).toBe(2);
    expect(bench.endpoint.size).toBe(2);
  });
});

describe("maxConnections", () => {
  test("further SYNs are dropped until there is room; duplicates of known ones are answered", () => {
    const bench = new Bench("fiu-2023", { accept: true, maxConnections: 2 });
    const first = bench.route("50000 0 0 SYN", "a") as Connection;
    bench.route("50000 0 0 SYN", "b");
    expect(bench.receive("50000 0 0 SYN", "c")).toEqual([]);
    expect(bench.receive("50000 0 0 SYN", "b")).toEqual(["4321 0 2 ACK SYN"]);
    first.abort(0);
    bench.drain(first);
    expect(bench.receive("50000 0 0 SYN", "c")).toEqual(["4321 0 3 ACK SYN"]);
  });

  test("a connection that only waits for late FINs does not count", () => {
    const { bench, connection } = connectedServer("ucla-2019", { maxConnections: 1 });
    bench.end(connection);
    bench.receive("12346 4323 1 ACK");
    expect(bench.receive("12345 0 0 SYN", "another")).toEqual([]);
    bench.receive("12346 0 1 FIN");
    expect(connection.closed).toBe(false);
    expect(bench.receive("12345 0 0 SYN", "another")).toEqual(["4321 12346 2 ACK SYN"]);
    expect(bench.receive("12345 0 0 SYN", "one more")).toEqual([]);
  });

  test("clients do not count", () => {
    const bench = new Bench("fiu-2023", { accept: true, maxConnections: 1 });
    bench.drain(bench.client({ address: "server" }));
    expect(bench.receive("50000 0 0 SYN", "a")).toHaveLength(1);
  });
});

describe("dropped, never answered, never fatal", () => {
  test.each([
    ["an unknown ID", "12346 0 2 +10", PEER, PORT],
    ["ID 0", "12346 0 0 +10", PEER, PORT],
    ["another address", "12346 0 1 +10", "stranger", PORT],
    ["another port", "12346 0 1 +10", PEER, 1],
    ["an ACK|FIN of nobody", "12346 1 77 ACK FIN", PEER, PORT],
    ["every flag", "12345 0 0 ACK SYN FIN", PEER, PORT],
  ])("%s", (_what, text, address, port) => {
    const { bench, connection } = connectedServer();
    const before = bench.trace.length;
    expect(bench.receive(text, address, port)).toEqual([]);
    expect(bench.trace.slice(before)).toEqual([expect.stringMatching(/^DROP /)]);
    expect(connection.readableBytes).toBe(0);
  });

  test.each([0, 1, 11])("a packet of %i bytes", (length) => {
    const { bench } = connectedServer();
    expect(bench.receive(new Uint8Array(length))).toEqual([]);
    expect(bench.trace.at(-1)).toBe("DROP 0 0 0");
  });

  test("the 13 unused bits are ignored", () => {
    const { bench } = connectedServer();
    const datagram = Buffer.from("0000303a00000000000100004142", "hex");
    datagram[10] = 0xff;
    datagram[11] = 0xf8;
    expect(bench.receive(new Uint8Array(datagram))).toEqual(["4322 12348 1 ACK"]);
  });
});

describe("one endpoint as the client of several servers", () => {
  test("two servers that chose the same ID are kept apart by their address", () => {
    const bench = new Bench("ucla-2019");
    const left = bench.client({ address: "left" });
    const right = bench.client({ address: "right" });
    bench.drain(left);
    bench.drain(right);
    bench.receive("4321 12346 1 ACK SYN", "left");
    bench.receive("4321 12346 1 ACK SYN", "right");
    bench.receive("4322 0 1 +10", "left");
    bench.receive("4322 0 1 +20", "right");
    expect([left.readableBytes, right.readableBytes]).toEqual([10, 20]);
    left.abort(0);
    bench.drain(left);
    expect(bench.receive("4332 0 1 +10", "left")).toEqual([]);
    expect(bench.receive("4342 0 1 +20", "right")).toEqual(["12346 4362 1 ACK"]);
  });

  test("a second connection to one server can be opened once the first is connected", () => {
    const bench = new Bench("ucla-2019");
    const first = bench.client();
    bench.drain(first);
    expect(() => bench.endpoint.connect(PEER, PORT)).toThrow(
      expect.objectContaining({ code: "ERR_CONNECTION_EXISTS" }) as ProtocolError,
    );
    bench.receive("4321 12346 1 ACK SYN");
    const second = bench.client();
    bench.drain(second);
    bench.receive("4321 12346 2 ACK SYN");
    expect([first.connectionId, second.connectionId]).toEqual([1, 2]);
  });

  test("a server that has started anew gives an old ID again, while the old connection is in FIN-WAIT", () => {
    const { bench, connection: old } = connectedClient();
    bench.end(old);
    bench.receive("4322 12347 1 ACK FIN");
    old.signals();
    const fresh = bench.client();
    bench.drain(fresh);
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual(["12346 4322 1 ACK"]);
    expect(fresh.connected).toBe(true);
    expect(bench.receive("4322 0 1 +10")).toEqual(["12346 4332 1 ACK"]);
    expect(fresh.readableBytes).toBe(10);
    bench.wait(2000);
    expect([old.closed, fresh.closed]).toEqual([true, false]);
    expect(bench.receive("4332 0 1 +10")).toEqual(["12346 4342 1 ACK"]);
  });
});

test("a client that comes back from the same port after its end gets a new connection", () => {
  const { bench, connection } = connectedServer();
  bench.end(connection);
  bench.receive("12346 4323 1 ACK");
  bench.receive("12346 0 1 FIN");
  expect(connection.signals() & Signal.finished).toBe(Signal.finished);
  expect(bench.receive("12345 0 0 SYN"), "it may be one that the network has doubled").toEqual([]);
  bench.wait(399);
  expect(bench.receive("12345 0 0 SYN")).toEqual([]);
  bench.wait(101);
  expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 2 ACK SYN"]);
  expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 2 ACK SYN"]);
  expect(bench.receive("12346 0 1 FIN"), "the old one still answers FINs").toEqual(["4323 12347 1 ACK"]);
  bench.receive("12346 4322 2 ACK");
  bench.wait(2000);
  expect(connection).toMatchObject({ closed: true, failure: null });
  expect(bench.endpoint.size).toBe(1);
});

test("a SYN that comes once more right after the client's regular end is a late duplicate; 0.4 s later it is not", () => {
  const { bench, connection } = connectedServer();
  bench.receive("12346 0 1 FIN");
  bench.end(connection);
  bench.receive("12347 4323 1 ACK");
  expect(connection).toMatchObject({ closed: true, failure: null });
  expect(bench.receive("12345 0 0 SYN")).toEqual([]);
  expect(bench.endpoint.size).toBe(0);
  bench.wait(399);
  expect(bench.receive("12345 0 0 SYN")).toEqual([]);
  bench.wait(1);
  expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 2 ACK SYN"]);
});

test("where there is room for one connection only, once the old one has left FIN-WAIT", () => {
  const { bench, connection } = connectedServer("ucla-2019", { maxConnections: 1 });
  bench.end(connection);
  bench.receive("12346 4323 1 ACK");
  bench.receive("12346 0 1 FIN");
  expect(bench.receive("12345 0 0 SYN")).toEqual([]);
  bench.wait(2000);
  expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 2 ACK SYN"]);
});

test("an unknown edition's error lists the known ones", () => {
  expect(() => editionNamed("fiu-1999")).toThrow(EDITION_NAMES.join(", "));
  expect(() => editionNamed("toString")).toThrow(expect.objectContaining({ code: "ERR_UNKNOWN_EDITION" }) as Error);
  expect(editionNamed("fiu-2023").modulus).toBe(50_001);
});
