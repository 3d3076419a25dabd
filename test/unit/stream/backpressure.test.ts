import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import { EDITIONS, type EditionName } from "../../../src/protocol/index.js";
import { type ConfundoSocket, connect } from "../../../src/stream/index.js";
import { LossyProxy, type Weather } from "../../support/lossy-proxy.js";
import { Random } from "../../support/random.js";
import { connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** The most that a socket gives its reader at once. */
const CHUNK_BYTES = 16 * 1024;

const WEATHER: Weather = { loss: 0.04, duplication: 0.03, reordering: 0.05, reorderMs: 40, delayMs: 5 };

/** A client whose datagrams go through a lossy proxy, and its server's socket. */
async function lossyPair(edition: EditionName, seed: number) {
  const clock = new TestClock();
  const { server, port } = await listening({ edition, clock, receiveBufferBytes: 64 * 1024 });
  const proxy = await LossyProxy.start({ seed, targetPort: port, toServer: WEATHER, toClient: WEATHER, clock });
  const client = connect({ host: "127.0.0.1", port: proxy.port, edition, clock });
  const accepting = once(server, "connection");
  await clock.run(once(client, "connect"));
  const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
  const dispose = async () => {
    client.destroy();
    accepted.destroy();
    await clock.run(server[Symbol.asyncDispose]());
    await proxy.close();
  };
  return { clock, client, accepted, [Symbol.asyncDispose]: dispose };
}

describe("the congestion window is the backpressure", () => {
  it.each([
    ["fiu-2023", 1],
    ["ucla-2017", 2],
    ["fiu-2020", 3],
  ] as const)("over a whole transfer with loss (%s, seed %i)", async (edition, seed) => {
    await using pair = await lossyPair(edition, seed);
    const { clock, client, accepted } = pair;
    const data = pattern(400_000);
    const random = new Random(seed);
    const seen = { full: 0, room: 0, drains: 0, shrunk: 0 };
    let largestCwnd = client.cwnd;
    let sent = 0;

    const check = () => {
      expect(client.writableHighWaterMark).toBe(client.cwnd);
      largestCwnd = Math.max(largestCwnd, client.cwnd);
      expect(client.bytesInFlight).toBeLessThanOrEqual(largestCwnd);
    };
    const fill = () => {
      for (;;) {
        if (sent === data.length) {
          client.end();
          return;
        }
        const chunk = data.subarray(sent, sent + random.integer(1, 3000));
        sent += chunk.length;
        const before = client.writableLength;
        const room = client.write(chunk);
        check();
        expect(room).toBe(client.writableLength < client.cwnd);
        expect(client.writableNeedDrain).toBe(!room);
        // Nothing was written over the window but the chunk in hand.
        expect(client.writableLength).toBeLessThanOrEqual(Math.max(before, largestCwnd) + chunk.length);
        expect(client.writableLength).toBeLessThan(largestCwnd + 3000);
        if (!room) {
          seen.full++;
          return;
        }
        seen.room++;
      }
    };
    client.on("drain", () => {
      seen.drains++;
      check();
      expect(client.writableLength).toBeLessThan(client.cwnd);
      expect(client.writableNeedDrain).toBe(false);
      fill();
    });
    const finished = once(client, "finish");
    fill();
    const [got] = await clock.run(Promise.all([readAll(accepted), finished]));
    seen.shrunk = client.stats.timeouts;

    expect(got.equals(data)).toBe(true);
    expect(client.writableLength).toBe(0);
    expect(seen.drains).toBeGreaterThan(0);
    expect(seen.drains).toBeGreaterThanOrEqual(seen.full - 1);
    expect(seen.room).toBeGreaterThan(10);
    expect(seen.shrunk).toBeGreaterThan(0);
    expect(largestCwnd).toBeGreaterThan(EDITIONS[edition].initialCwnd);
  });

  it("holds under pipeline(): never more than the largest window and the chunk in hand", async () => {
    await using pair = await lossyPair("fiu-2023", 7);
    const { clock, client, accepted } = pair;
    const data = pattern(300_000);
    let largestCwnd = 0;
    let largestHeld = 0;
    const source = new Readable({
      highWaterMark: 1,
      read() {
        largestCwnd = Math.max(largestCwnd, client.cwnd);
        largestHeld = Math.max(largestHeld, client.writableLength);
        const from = client.bytesWritten + this.readableLength;
        this.push(from < data.length ? data.subarray(from, from + 1000) : null);
      },
    });
    const reading = readAll(accepted);
    await clock.run(pipeline(source, client));
    expect((await clock.run(reading)).equals(data)).toBe(true);
    expect(largestHeld).toBeGreaterThan(0);
    expect(largestHeld).toBeLessThanOrEqual(largestCwnd + 2 * 1000);
  });

  it("tells of room after the window has shrunk under what is held", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock }, (socket) => socket.resume());
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ host: "127.0.0.1", port: proxy.port, clock });
    client.resume().write(pattern(20_000));
    await clock.run(once(client, "drain"));
    await clock.settle();
    expect(client.cwnd).toBeGreaterThan(12_000);
    proxy.silent = true;
    expect(client.write(pattern(5000))).toBe(true);
    expect(client.writableNeedDrain).toBe(false);
    await clock.pass(500);
    expect(client.cwnd).toBe(412);
    expect(client.writableNeedDrain).toBe(true);
    proxy.silent = false;
    await clock.run(once(client, "drain"));
    expect(client.writableNeedDrain).toBe(false);
    client.end();
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("says drain when there is room, and once more when everything is acknowledged", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ client: { clock }, server: { clock } });
    pair.accepted.resume();
    const lengths: number[] = [];
    pair.client.on("drain", () => lengths.push(pair.client.writableLength));
    expect(pair.client.write(pattern(10_000))).toBe(false);
    await clock.settle();
    expect(lengths.length).toBe(2);
    expect(lengths[0]).toBeGreaterThan(0);
    expect(lengths[1]).toBe(0);
    expect(pair.client.write("little")).toBe(true);
    await clock.settle();
    expect(lengths.length).toBe(2);
  });

  it("counts what is corked", async () => {
    await using pair = await connectedPair();
    pair.client.cork();
    expect(pair.client.write(Buffer.alloc(pair.client.cwnd - 1))).toBe(true);
    expect(pair.client.write("x")).toBe(false);
    expect(pair.client.writableLength).toBe(pair.client.cwnd);
    pair.client.uncork();
    await once(pair.client, "drain");
    expect(pair.client.writableLength).toBeLessThan(pair.client.cwnd);
  });

  it("keeps what is written over the mark in order, with each callback in its turn", async () => {
    await using pair = await connectedPair();
    const called: number[] = [];
    for (let i = 0; i < 50; i++) pair.client.write(`${i} `, () => called.push(i));
    pair.client.end();
    const text = (await readAll(pair.accepted)).toString();
    expect(text.trim().split(" ").map(Number)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(called).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });
});

describe("a socket that nobody reads", () => {
  it("stops accepting, holds no more than its buffers, and lives on", async () => {
    const clock = new TestClock();
    const receiveBufferBytes = 32 * 1024;
    await using pair = await connectedPair({ client: { clock }, server: { clock, receiveBufferBytes } });
    const { client, accepted } = pair;
    const data = pattern(500_000);
    client.end(data);
    // Begins to read, so that the stream's own buffer is filled too, and stops.
    accepted.read(0);
    await clock.pass(60_000);
    const limit = receiveBufferBytes + accepted.readableHighWaterMark + CHUNK_BYTES;
    expect(accepted.stats.bytesReceived).toBeGreaterThanOrEqual(receiveBufferBytes - 412);
    expect(accepted.stats.bytesReceived).toBeLessThanOrEqual(limit);
    expect(accepted.readableLength).toBeGreaterThan(0);
    expect(accepted.stats.overflows).toBeGreaterThan(0);
    expect(client.writableLength).toBeGreaterThan(0);
    expect(client.readyState).not.toBe("closed");

    expect((await clock.run(readAll(accepted))).equals(data)).toBe(true);
  });

  it("is read from at the reader's pace", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ client: { clock }, server: { clock, receiveBufferBytes: 8192 } });
    const data = pattern(100_000);
    pair.client.end(data);
    const limit = 8192 + pair.accepted.readableHighWaterMark + CHUNK_BYTES;
    const chunks: Buffer[] = [];
    const reading = (async () => {
      for await (const chunk of pair.accepted) {
        chunks.push(chunk);
        await new Promise<void>((resolve) => void clock.setTimer(resolve, 100));
        expect(pair.accepted.stats.bytesReceived - Buffer.concat(chunks).length).toBeLessThanOrEqual(limit);
      }
    })();
    await clock.run(reading);
    expect(Buffer.concat(chunks).equals(data)).toBe(true);
  });
});
