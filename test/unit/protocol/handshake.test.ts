import { describe, expect, test } from "vitest";
import { type Connection, EDITION_NAMES, EDITIONS, Signal } from "../../../src/protocol/index.js";
import { Bench, connectedClient, connectedServer, PEER, packet } from "../../support/wire.js";

describe("a client's handshake", () => {
  test.each(EDITION_NAMES)("%s: SYN with the client's ISN, ack 0, ID 0", (name) => {
    const bench = new Bench(name);
    expect(bench.drain(bench.client())).toEqual([`${EDITIONS[name].clientIsn} 0 0 SYN`]);
  });

  test("nothing is sent before it is opened", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.endpoint.connect(PEER, 5000);
    expect(bench.drain(connection)).toEqual([]);
    expect(connection.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual([]);
  });

  test("the SYN is sent again every 0.5 s until it is answered", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    bench.drain(connection);
    expect(bench.wait(1600)).toEqual(["500: 12345 0 0 SYN", "1000: 12345 0 0 SYN", "1500: 12345 0 0 SYN"]);
    bench.receive("4321 12346 1 ACK SYN");
    expect(bench.wait(5000)).toEqual([]);
  });

  test("with nothing to send yet the SYN|ACK is answered with a bare ACK", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    bench.drain(connection);
    expect(bench.receive("4321 12346 7 ACK SYN")).toEqual(["12346 4322 7 ACK"]);
    expect(connection.connected).toBe(true);
    expect(connection.connectionId).toBe(7);
    expect(connection.signals()).toBe(Signal.connected);
  });

  test("the first data rides on the ACK; the rest carries no A and ack 0", () => {
    const bench = new Bench("fiu-2020");
    const connection = bench.client();
    connection.write(new Uint8Array(2000), 0);
    bench.drain(connection);
    expect(bench.receive("4321 43 1 ACK SYN")).toEqual(["43 4322 1 ACK +512", "555 0 1 +512"]);
  });

  test("the first segment's retransmission carries no A", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    connection.write(new Uint8Array(512), 0);
    bench.drain(connection);
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual(["12346 4322 1 ACK +512"]);
    expect(bench.wait(1000)).toEqual(["500: 12346 0 1 +512", "1000: 12346 0 1 +512"]);
  });

  test("a repeated SYN|ACK is acknowledged again, as its ACK was lost", () => {
    const { bench } = connectedClient();
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual(["12346 4322 1 ACK"]);
  });

  test("a SYN|ACK with another ISN, once connected, is dropped", () => {
    const { bench } = connectedClient();
    expect(bench.receive("4320 12346 1 ACK SYN")).toEqual([]);
    expect(bench.trace.at(-1)).toBe("DROP 4320 12346 1 ACK SYN");
  });

  test.each([
    ["acknowledges another number", "4321 12345 1 ACK SYN"],
    ["has a sequence number outside the space", "102401 12346 1 ACK SYN"],
    ["carries a FIN", "4321 12346 1 ACK SYN FIN"],
    ["is a bare ACK from a server that does not split", "4321 12346 1 ACK"],
    ["is a bare SYN from a server that does not split", "4321 0 1 SYN"],
    ["is data", "4322 0 1 +10"],
  ])("an answer that %s is dropped", (_what, answer) => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    bench.drain(connection);
    expect(bench.receive(answer)).toEqual([]);
    expect(connection.connected).toBe(false);
    expect(bench.trace.at(-1)).toMatch(/^DROP /);
  });

  test("an answer with the largest sequence number is in the space", () => {
    const bench = new Bench("ucla-2019");
    bench.drain(bench.client());
    expect(bench.receive("102400 12346 1 ACK SYN")).toEqual(["12346 0 1 ACK"]);
  });

  test.each(["fiu-2019", "fiu-2020", "fiu-2021", "fiu-2023"] as const)(
    "%s: a handshake split into ACK, then SYN",
    (name) => {
      const bench = new Bench(name);
      const connection = bench.client();
      bench.drain(connection);
      const next = (EDITIONS[name].clientIsn + 1) % EDITIONS[name].modulus;
      expect(bench.receive(`4321 ${next} 1 ACK`)).toEqual([]);
      expect(connection.connected).toBe(false);
      expect(bench.wait(2000)).toEqual([]);
      expect(bench.receive("4321 0 1 SYN")).toEqual([`${next} 4322 1 ACK`]);
      expect(connection.connected).toBe(true);
    },
  );

  test("a handshake split into SYN, then ACK", () => {
    const bench = new Bench("fiu-2023");
    const connection = bench.client();
    bench.drain(connection);
    expect(bench.receive("4321 0 1 SYN")).toEqual([]);
    expect(connection.connected).toBe(false);
    expect(bench.receive("4321 0 1 ACK")).toEqual(["0 4322 1 ACK"]);
    expect(connection.connected).toBe(true);
    expect(connection.connectionId).toBe(1);
  });

  test("a handshake split in two of which only the first tells the ID", () => {
    const bench = new Bench("fiu-2023");
    const connection = bench.client();
    bench.drain(connection);
    bench.receive("4321 0 3 ACK");
    expect(bench.receive("4321 0 0 SYN")).toEqual(["0 4322 3 ACK"]);
    expect(connection.connectionId).toBe(3);
  });
});

describe("a server's handshake", () => {
  test("SYN|ACK with the server's ISN, the client's ISN + 1 and a new ID", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 1 ACK SYN"]);
  });

  test("any ISN of the client will do; the largest is followed by 0", () => {
    const bench = new Bench("fiu-2023", { accept: true });
    expect(bench.receive("50000 0 0 SYN")).toEqual(["4321 0 1 ACK SYN"]);
    expect(bench.receive("0 0 0 SYN", "other")).toEqual(["4321 1 2 ACK SYN"]);
    expect(bench.receive("50001 0 0 SYN", "third")).toEqual([]);
  });

  test("SYN|ACK is sent again every 0.5 s until it is answered", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    bench.receive("12345 0 0 SYN");
    expect(bench.wait(1000)).toEqual(["500: 4321 12346 1 ACK SYN", "1000: 4321 12346 1 ACK SYN"]);
    bench.receive("12346 4322 1 ACK");
    expect(bench.wait(2000)).toEqual([]);
  });

  test("a duplicate SYN gets the same SYN|ACK with the same ID", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    const first = bench.receive("12345 0 0 SYN");
    expect(bench.receive("12345 0 0 SYN")).toEqual(first);
    expect(bench.endpoint.size).toBe(1);
  });

  test("a duplicate SYN that comes late, in the middle of the data, gets the same SYN|ACK and harms nothing", () => {
    const { bench, connection } = connectedServer();
    expect(bench.receive("12346 0 1 +512")).toEqual(["4322 12858 1 ACK"]);
    expect(bench.receive("12345 0 0 SYN")).toEqual(["4321 12346 1 ACK SYN"]);
    expect(bench.receive("12858 0 1 +10")).toEqual(["4322 12868 1 ACK"]);
    expect(connection.readableBytes).toBe(522);
  });

  test("a SYN from another address, port or ISN is another connection", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    bench.receive("12345 0 0 SYN", "a", 1);
    expect(bench.receive("12345 0 0 SYN", "b", 1)).toEqual(["4321 12346 2 ACK SYN"]);
    expect(bench.receive("12345 0 0 SYN", "a", 2)).toEqual(["4321 12346 3 ACK SYN"]);
    expect(bench.receive("100 0 0 SYN", "a", 1)).toEqual(["4321 101 4 ACK SYN"]);
  });

  test("data on a SYN is dropped; it starts at ISN + 1 when it is sent again", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    const connection = bench.route(packet("12345 0 0 SYN +100")) as Connection;
    expect(bench.drain(connection)).toEqual(["4321 12346 1 ACK SYN"]);
    expect(connection.readableBytes).toBe(0);
    expect(bench.receive("12346 0 1 +100")).toEqual(["4322 12446 1 ACK"]);
    expect(connection.readableBytes).toBe(100);
  });

  test.each([
    ["a bare ACK, then data", ["12346 4322 1 ACK", "12346 0 1 +512"], [[], ["4322 12858 1 ACK"]]],
    ["an ACK with data", ["12346 4322 1 ACK +512"], [["4322 12858 1 ACK"]]],
    ["data at once", ["12346 0 1 +512"], [["4322 12858 1 ACK"]]],
  ])("the client may answer with %s", (_what, packets, answers) => {
    const bench = new Bench("ucla-2019", { accept: true });
    const connection = bench.route("12345 0 0 SYN") as Connection;
    bench.drain(connection);
    connection.signals();
    expect(packets.map((text) => bench.receive(text))).toEqual(answers);
    expect(connection.signals()).toBe(Signal.connected | Signal.readable);
    expect(connection.readableBytes).toBe(512);
    expect(bench.wait(3000)).toEqual([]);
  });

  test("an ACK of something else than the SYN|ACK is no answer", () => {
    const bench = new Bench("ucla-2019", { accept: true });
    const connection = bench.route("12345 0 0 SYN") as Connection;
    bench.drain(connection);
    expect(bench.receive("12346 4323 1 ACK")).toEqual([]);
    expect(bench.receive("12346 4321 1 ACK")).toEqual([]);
    expect(connection.connected).toBe(false);
  });

  test("an endpoint that does not accept drops SYNs", () => {
    const bench = new Bench("ucla-2019");
    expect(bench.receive("12345 0 0 SYN")).toEqual([]);
    expect(bench.trace).toEqual(["DROP 12345 0 0 SYN"]);
  });
});
