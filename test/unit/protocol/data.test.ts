import { describe, expect, test } from "vitest";
import { Signal } from "../../../src/protocol/index.js";
import { Random } from "../../support/random.js";
import { connectedClient, connectedServer, packet } from "../../support/wire.js";

describe("the modulus is max + 1", () => {
  test("fiu-2023: with ISN 50000 the SYN|ACK acknowledges 0 and the first data is number 0", () => {
    const { bench, connection } = connectedClient("fiu-2023");
    expect(connection.connected).toBe(true);
    expect(bench.write(connection, 412)).toEqual(["0 0 1 +412"]);
  });

  test("max itself is a valid number, 0 follows it", () => {
    const { bench, connection } = connectedServer("ucla-2019");
    expect(connection.connected).toBe(true);
    // From 12346 on in steps of 512 until one segment ends exactly at the largest number.
    let sequence = 12_346;
    while (sequence + 512 <= 102_400) {
      expect(bench.receive(`${sequence} 0 1 +512`)).toEqual([`4322 ${sequence + 512} 1 ACK`]);
      sequence += 512;
      bench.read(connection);
    }
    expect(bench.receive(`${sequence} 0 1 +${102_400 - sequence}`)).toEqual(["4322 102400 1 ACK"]);
    expect(bench.receive("102400 0 1 +1")).toEqual(["4322 0 1 ACK"]);
    expect(bench.receive("0 0 1 +5")).toEqual(["4322 5 1 ACK"]);
  });

  test("with modulus 102401, 101946 + 512 is 57", () => {
    const { bench, connection } = connectedServer("ucla-2019");
    for (let sequence = 12_346; sequence < 101_946; sequence += 512) {
      bench.receive(`${sequence} 0 1 +512`);
      bench.read(connection);
    }
    expect(bench.receive("101946 0 1 +512")).toEqual(["4322 57 1 ACK"]);
  });

  test("a number outside the space is dropped and not answered", () => {
    const { bench } = connectedServer("ucla-2019");
    expect(bench.receive("102401 0 1 +512")).toEqual([]);
    expect(bench.receive("12346 102401 1 ACK +512")).toEqual([]);
    expect(bench.receive("4294967295 0 1 +512")).toEqual([]);
  });
});

describe("every valid packet except a bare ACK is answered", () => {
  test.each([
    ["data in order", "12346 0 1 +512", ["4322 12858 1 ACK"]],
    ["data ahead of a gap: a duplicate ACK", "12858 0 1 +512", ["4322 12346 1 ACK"]],
    ["data with an A", "12346 4322 1 ACK +512", ["4322 12858 1 ACK"]],
    ["one byte", "12346 0 1 +1", ["4322 12347 1 ACK"]],
    ["nothing at all, no flags and no data", "12346 0 1", ["4322 12346 1 ACK"]],
    ["a bare ACK: never", "12346 4322 1 ACK", []],
    ["a bare ACK of data never sent: never", "12346 9999 1 ACK", []],
    ["a SYN with an ID: makes no sense", "12345 0 1 SYN", []],
    ["SYN and FIN at once: makes no sense", "12346 0 1 SYN FIN", []],
  ])("%s", (_what, text, answer) => {
    const { bench } = connectedServer();
    expect(bench.receive(text)).toEqual(answer);
  });

  test("wholly old data is acknowledged again and dropped", () => {
    const { bench, connection } = connectedServer();
    bench.receive("12346 0 1 +512");
    expect(bench.receive("12346 0 1 +512")).toEqual(["4322 12858 1 ACK"]);
    expect(connection.readableBytes).toBe(512);
  });

  test("partly old data: what is new of it counts", () => {
    const { bench, connection } = connectedServer();
    const bytes = new Random(1).bytes(600);
    bench.receive(packet("12346 0 1", bytes.subarray(0, 300)));
    expect(bench.receive(packet("12446 0 1", bytes.subarray(100, 600)))).toEqual(["4322 12946 1 ACK"]);
    expect(bench.read(connection)).toEqual(Buffer.from(bytes));
  });

  test("data out of order is kept: filling the gap acknowledges all of it", () => {
    const { bench, connection } = connectedServer();
    const bytes = new Random(2).bytes(1500);
    expect(bench.receive(packet("13346 0 1", bytes.subarray(1000)))).toEqual(["4322 12346 1 ACK"]);
    expect(bench.receive(packet("12846 0 1", bytes.subarray(500, 1000)))).toEqual(["4322 12346 1 ACK"]);
    expect(connection.signals()).toBe(0);
    expect(bench.receive(packet("12346 0 1", bytes.subarray(0, 500)))).toEqual(["4322 13846 1 ACK"]);
    expect(connection.signals()).toBe(Signal.readable);
    expect(bench.read(connection)).toEqual(Buffer.from(bytes));
  });

  test("a datagram longer than the edition's largest is accepted as far as the rules allow", () => {
    const { bench, connection } = connectedServer();
    expect(bench.receive("12346 0 1 +60000")).toEqual([`4322 ${72_346} 1 ACK`]);
    expect(connection.readableBytes).toBe(60_000);
  });
});

describe("what the reader leaves no room for", () => {
  test("is not accepted and gets a duplicate ACK; the connection lives", () => {
    const { bench, connection } = connectedServer("ucla-2019", { receiveBufferBytes: 1024 });
    bench.receive("12346 0 1 +512");
    expect(bench.receive("12858 0 1 +512")).toEqual(["4322 13370 1 ACK"]);
    expect(bench.receive("13370 0 1 +512")).toEqual(["4322 13370 1 ACK"]);
    expect(connection.stats.overflows).toBe(1);
    bench.read(connection);
    expect(bench.receive("13370 0 1 +512")).toEqual(["4322 13882 1 ACK"]);
  });

  test("there is always room for one segment", () => {
    const { bench, connection } = connectedServer("ucla-2019", { receiveBufferBytes: 1 });
    expect(bench.receive("12346 0 1 +512")).toEqual(["4322 12858 1 ACK"]);
    bench.read(connection);
    expect(bench.receive("12858 0 1 +512")).toEqual(["4322 13370 1 ACK"]);
  });

  test("a writer whose peer is full goes on asking, once every 0.5 s", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    const sent: string[] = [];
    for (let i = 0; i < 60; i++) {
      sent.push(...bench.wait(500));
      bench.receive("4322 12346 1 ACK");
    }
    expect(sent).toHaveLength(60);
    expect(connection.closed).toBe(false);
  });
});

describe("acknowledgements", () => {
  test.each([
    ["of data never sent", "4322 14000 1 ACK"],
    ["of something before the beginning", "4322 12000 1 ACK"],
    ["outside the space", "4322 200000 1 ACK"],
    ["repeated", "4322 12346 1 ACK"],
  ])("one %s changes nothing", (_what, text) => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    expect(bench.receive(text)).toEqual([]);
    expect(connection).toMatchObject({ cwnd: 512, bytesInFlight: 512, bytesHeld: 512 });
  });

  test("the garbage behind a server's ACK is ignored, and not answered", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    expect(bench.receive("4322 12858 1 ACK +512")).toEqual([]);
    expect(connection).toMatchObject({ cwnd: 1024, bytesInFlight: 0, readableBytes: 0 });
    expect(connection.stats.bytesAcknowledged).toBe(512);
  });

  test("one may cover a part of a segment", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 512);
    bench.receive("4322 12446 1 ACK");
    expect(connection).toMatchObject({ bytesInFlight: 412, cwnd: 1024 });
    expect(bench.wait(500)).toEqual(["500: 12446 0 1 +412"]);
  });
});

describe("both directions at once", () => {
  test("a server's data carries no A either, and the client acknowledges it", () => {
    const { bench, connection } = connectedServer();
    expect(bench.write(connection, 100)).toEqual(["4322 0 1 +100"]);
    expect(bench.receive("12346 0 1 +50")).toEqual(["4422 12396 1 ACK"]);
    bench.receive("12396 4422 1 ACK");
    expect(connection).toMatchObject({ bytesInFlight: 0, cwnd: 1024 });

    const other = connectedClient();
    expect(other.bench.receive("4322 0 1 +100")).toEqual(["12346 4422 1 ACK"]);
    expect(other.bench.write(other.connection, 20)).toEqual(["12346 0 1 +20"]);
    expect(other.connection.readableBytes).toBe(100);
  });

  test("an acknowledgement that is owed goes before data", () => {
    const { bench, connection } = connectedClient();
    bench.write(connection, 10);
    connection.write(new Uint8Array(600), 0);
    bench.receive("4322 12356 1 ACK");
    connection.write(new Uint8Array(600), 0);
    expect(bench.receive("4322 0 1 +100")).toEqual(["12868 4422 1 ACK", "12868 0 1 +512"]);
  });
});

describe("short segments", () => {
  test("nagle: one at a time, the rest is gathered", () => {
    const { bench, connection } = connectedClient();
    expect(bench.write(connection, 10)).toEqual(["12346 0 1 +10"]);
    expect(bench.write(connection, 10)).toEqual([]);
    expect(bench.write(connection, 20)).toEqual([]);
    expect(bench.receive("4322 12356 1 ACK")).toEqual(["12356 0 1 +30"]);
  });

  test("immediate: each write at once, while the window has room", () => {
    const { bench, connection } = connectedClient();
    connection.shortSegments = "immediate";
    expect(bench.write(connection, 10)).toEqual(["12346 0 1 +10"]);
    expect(bench.write(connection, 10)).toEqual(["12356 0 1 +10"]);
    expect(bench.write(connection, 493)).toEqual([]);
    expect(bench.receive("4322 12366 1 ACK")).toEqual(["12366 0 1 +493"]);
  });

  test("never: only the last segment of a stream is short", () => {
    const { bench, connection } = connectedClient();
    connection.shortSegments = "never";
    expect(bench.write(connection, 500)).toEqual([]);
    expect(bench.write(connection, 11)).toEqual([]);
    expect(bench.write(connection, 100)).toEqual(["12346 0 1 +512"]);
    expect(bench.receive("4322 12858 1 ACK")).toEqual([]);
    expect(bench.end(connection)).toEqual(["12858 0 1 +99"]);
  });

  test("the last segment may be short while others are in flight", () => {
    const { bench, connection } = connectedClient("fiu-2020");
    connection.shortSegments = "never";
    connection.write(new Uint8Array(600), 0);
    expect(bench.end(connection)).toEqual(["43 0 1 +512", "555 0 1 +88"]);
  });
});

describe("backpressure is the congestion window", () => {
  test("write() is refused as soon as what is not acknowledged reaches cwnd, and is welcome again below it", () => {
    const { bench, connection } = connectedClient();
    expect(connection.write(new Uint8Array(511), 0)).toBe(true);
    expect(connection.write(new Uint8Array(1), 0)).toBe(false);
    bench.drain(connection);
    expect(connection.signals()).toBe(0);
    bench.receive("4322 12858 1 ACK");
    expect(connection.signals()).toBe(Signal.writable);
    expect(connection.bytesHeld).toBe(0);
  });

  test("a chunk much larger than the window is taken, and the writer called when its rest fits", () => {
    const { bench, connection } = connectedClient();
    expect(connection.write(new Uint8Array(512 * 4), 0)).toBe(false);
    expect(bench.drain(connection)).toEqual(["12346 0 1 +512"]);
    expect(bench.receive("4322 12858 1 ACK")).toHaveLength(2);
    expect(connection.signals()).toBe(0);
    expect(bench.receive("4322 13882 1 ACK")).toHaveLength(1);
    expect(connection.signals()).toBe(Signal.writable);
  });

  test("write() after end() is the caller's mistake", () => {
    const { bench, connection } = connectedClient();
    bench.end(connection);
    expect(() => connection.write(new Uint8Array(1), 0)).toThrow("write() after end()");
  });
});
