import { describe, expect, test } from "vitest";
import { Tahoe } from "../../../src/protocol/congestion/tahoe.js";
import { EDITION_NAMES, EDITIONS } from "../../../src/protocol/index.js";
import { Bench, connectedClient } from "../../support/wire.js";

describe("the window's arithmetic", () => {
  test("congestion avoidance: 10240 + 512² / 10240 is 10265", () => {
    const tahoe = new Tahoe(EDITIONS["ucla-2019"]);
    for (let i = 0; i < 19; i++) tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(10_240);
    tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(10_265);
  });

  test("slow start adds a segment while cwnd is below ssthresh, also the one that passes it", () => {
    const tahoe = new Tahoe(EDITIONS["ucla-2019"]);
    const seen = [tahoe.cwnd];
    for (let i = 0; i < 4; i++) {
      tahoe.onAcknowledged();
      seen.push(tahoe.cwnd);
    }
    expect(seen).toEqual([512, 1024, 1536, 2048, 2560]);
  });

  test("at ssthresh itself congestion avoidance begins", () => {
    const tahoe = new Tahoe({ ...EDITIONS["ucla-2019"], initialSsthresh: 1024 });
    tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(1024);
    tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(1024 + 256);
  });

  test("fiu-2020 starts with 1024 and still adds 512", () => {
    const tahoe = new Tahoe(EDITIONS["fiu-2020"]);
    expect(tahoe.cwnd).toBe(1024);
    tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(1536);
    tahoe.onTimeout();
    expect(tahoe).toMatchObject({ cwnd: 1024, ssthresh: 768 });
  });

  test.each(EDITION_NAMES)("%s: never above half the sequence space", (name) => {
    const edition = EDITIONS[name];
    const tahoe = new Tahoe(edition);
    for (let i = 0; i < 100_000; i++) tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(edition.maxCwnd);
    expect(edition.maxCwnd).toBe((edition.modulus - 1) / 2);
  });

  test("a timeout halves into ssthresh, without a floor, and starts again", () => {
    const tahoe = new Tahoe(EDITIONS["ucla-2019"]);
    for (let i = 0; i < 20; i++) tahoe.onAcknowledged();
    tahoe.onTimeout();
    expect(tahoe).toMatchObject({ cwnd: 512, ssthresh: 5132 });
    tahoe.onTimeout();
    expect(tahoe).toMatchObject({ cwnd: 512, ssthresh: 256 });
    tahoe.onAcknowledged();
    expect(tahoe.cwnd).toBe(1024);
  });
});

describe("the editions, as the page's table has them", () => {
  test.each([
    ["ucla-2017", 512, 102_401, 12_345, 512, 10_000, 51_200],
    ["ucla-2019", 512, 102_401, 12_345, 512, 10_000, 51_200],
    ["uno-2020", 512, 102_401, 12_345, 512, 10_000, 51_200],
    ["fiu-2019", 512, 102_401, 12_345, 512, 10_000, 51_200],
    ["fiu-2020", 512, 204_801, 42, 1024, 15_000, 102_400],
    ["fiu-2021", 412, 40_001, 77, 412, 12_000, 20_000],
    ["fiu-2023", 412, 50_001, 50_000, 412, 12_000, 25_000],
  ] as const)("%s", (name, segmentBytes, modulus, clientIsn, initialCwnd, initialSsthresh, maxCwnd) => {
    const common = { serverIsn: 4321, retransmitTimeoutMs: 500, finWaitMs: 2000, silenceTimeoutMs: 10_000 };
    expect(EDITIONS[name]).toMatchObject({
      ...common,
      segmentBytes,
      modulus,
      clientIsn,
      initialCwnd,
      initialSsthresh,
      maxCwnd,
    });
  });
});

describe("the window at work", () => {
  test("ucla-2017's SYN|ACK grows cwnd: the first data line logs 1024", () => {
    const bench = new Bench("ucla-2017");
    const connection = bench.client();
    connection.write(new Uint8Array(2000), 0);
    bench.drain(connection);
    bench.receive("4321 12346 1 ACK SYN");
    expect(bench.trace).toEqual([
      "SEND 12345 0 0 512 10000 SYN",
      "RECV 4321 12346 1 512 10000 ACK SYN",
      "SEND 12346 4322 1 1024 10000 ACK",
      "SEND 12858 0 1 1024 10000",
    ]);
  });

  test("the others' does not", () => {
    const bench = new Bench("ucla-2019");
    const connection = bench.client();
    connection.write(new Uint8Array(2000), 0);
    bench.drain(connection);
    expect(bench.receive("4321 12346 1 ACK SYN")).toEqual(["12346 4322 1 ACK +512"]);
    expect(connection.cwnd).toBe(512);
  });

  test("an acknowledgement grows the window once, however much it covers; a duplicate never", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    bench.write(connection, 100_000);
    bench.receive("4322 1067 1 ACK");
    expect(connection.cwnd).toBe(1536);
    bench.receive("4322 1067 1 ACK");
    bench.receive("4322 1067 1 ACK");
    expect(connection).toMatchObject({ cwnd: 1536, bytesInFlight: 1536 });
  });

  test("0.5 s without a new acknowledgement: the first segment only, then on from the cumulative ACK", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    bench.write(connection, 100_000);
    expect(bench.receive("4322 555 1 ACK")).toEqual(["1067 0 1 +512", "1579 0 1 +512"]);
    expect(connection).toMatchObject({ cwnd: 1536, bytesInFlight: 1536 });
    expect(bench.wait(499)).toEqual([]);
    expect(bench.wait(1)).toEqual(["500: 555 0 1 +512"]);
    expect(connection).toMatchObject({ cwnd: 1024, ssthresh: 768 });
    // Only that one was missing: nothing else is sent a second time.
    expect(bench.receive("4322 2091 1 ACK")).toEqual(["2091 0 1 +512", "2603 0 1 +512"]);
    expect(connection).toMatchObject({ cwnd: 1280, bytesInFlight: 1024 });
    expect(connection.stats).toMatchObject({ timeouts: 1, retransmissions: 1 });
  });

  test("what was lost behind the first segment is sent again after its acknowledgement", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    bench.write(connection, 100_000);
    bench.wait(500);
    expect(bench.receive("4322 555 1 ACK")).toEqual(["555 0 1 +512", "1067 0 1 +512"]);
    expect(connection.stats.retransmissions).toBe(2);
  });

  test("every new acknowledgement restarts the 0.5 s, duplicates do not", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    bench.write(connection, 1024);
    bench.wait(400);
    bench.receive("4322 555 1 ACK");
    expect(bench.wait(300)).toEqual([]);
    bench.receive("4322 555 1 ACK");
    expect(bench.wait(200)).toEqual(["900: 555 0 1 +512"]);
  });

  test("a segment sent later does not postpone the timeout of the first", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    bench.write(connection, 512);
    bench.wait(300);
    expect(bench.write(connection, 512)).toEqual(["555 0 1 +512"]);
    expect(bench.wait(200)).toEqual(["500: 43 0 1 +512"]);
  });

  test("a timeout is no backoff: 0.5 s each time", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    expect(bench.wait(2100).map((line) => line.split(":")[0])).toEqual(["500", "1000", "1500", "2000"]);
    expect(connection).toMatchObject({ cwnd: 512, ssthresh: 256 });
  });

  test("never more than cwnd in flight: a segment that does not fit whole waits", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 50_000);
    let acknowledged = 12_346;
    for (let i = 0; i < 60; i++) {
      acknowledged += 512;
      bench.receive(`4322 ${acknowledged} 1 ACK`);
      expect(connection.bytesInFlight).toBeLessThanOrEqual(connection.cwnd);
      expect(connection.bytesInFlight % 512).toBe(0);
    }
  });
});
