import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import type { EditionName } from "../../../src/protocol/index.js";
import { type ConfundoSocket, connect, type SocketOptions } from "../../../src/stream/index.js";
import { LossyProxy, type Weather } from "../../support/lossy-proxy.js";
import { Random } from "../../support/random.js";
import { BOTH_EDITIONS, connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** The most that a socket gives its reader at once. */
const CHUNK_BYTES = 16 * 1024;

const WEATHER: Weather = { loss: 0.04, duplication: 0.03, reordering: 0.05, reorderMs: 40, delayMs: 5 };

/** Small datagrams, so that there are enough of them to lose. */
const SMALL = { maxDatagramBytes: 1200 };

/** A client whose datagrams go through a lossy proxy, and its server's socket. */
async function lossyPair(options: SocketOptions & { edition?: EditionName }, seed: number) {
  const clock = new TestClock();
  const { server, port } = await listening({ ...options, clock, receiveBufferBytes: 64 * 1024 });
  const proxy = await LossyProxy.start({ seed, targetPort: port, toServer: WEATHER, toClient: WEATHER, clock });
  const client = connect({ host: "127.0.0.1", port: proxy.port, ...options, clock });
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
  it.each<[string, SocketOptions & { edition?: EditionName }, number]>([
    ["fiu-2023", { extended: false, edition: "fiu-2023" }, 1],
    ["ucla-2017", { extended: false, edition: "ucla-2017" }, 2],
    ["fiu-2020", { extended: false, edition: "fiu-2020" }, 3],
    ["extended, bbr", { extended: "required", ...SMALL }, 4],
    ["extended, cubic", { extended: "required", congestion: "cubic", ...SMALL }, 5],
    ["extended, tahoe", { extended: "required", congestion: "tahoe", ...SMALL }, 6],
  ])("over a whole transfer with loss (%s)", async (_name, options, seed) => {
    await using pair = await lossyPair(options, seed);
    const { clock, client, accepted } = pair;
    const windows = options.extended === false ? 1 : 2;
    const data = pattern(400_000);
    const random = new Random(seed);
    const seen = { full: 0, room: 0, drains: 0 };
    const firstCwnd = client.cwnd;
    let largestCwnd = firstCwnd;
    let sent = 0;

    const check = () => {
      expect(client.writableHighWaterMark).toBe(windows * client.cwnd);
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
        expect(room).toBe(client.writableLength < client.writableHighWaterMark);
        expect(client.writableNeedDrain).toBe(!room);
        // Nothing was written over the mark but the chunk in hand.
        expect(client.writableLength).toBeLessThanOrEqual(Math.max(before, windows * largestCwnd) + chunk.length);
        expect(client.writableLength).toBeLessThan(windows * largestCwnd + 3000);
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
      expect(client.writableLength).toBeLessThan(client.writableHighWaterMark);
      expect(client.writableNeedDrain).toBe(false);
      fill();
    });
    const finished = once(client, "finish");
    fill();
    const [got] = await clock.run(Promise.all([readAll(accepted), finished]));

    expect(got.equals(data)).toBe(true);
    expect(client.writableLength).toBe(0);
    expect(seen.drains).toBeGreaterThan(0);
    expect(seen.drains).toBeGreaterThanOrEqual(seen.full - 1);
    expect(seen.room).toBeGreaterThan(10);
    expect(client.stats.retransmissions).toBeGreaterThan(0);
    expect(largestCwnd).toBeGreaterThan(firstCwnd);
  });

  it.each<[string, SocketOptions]>([
    ["classic", { extended: false }],
    ["extended", { extended: "required", ...SMALL }],
  ])("holds under pipeline(): never more than the mark and the chunk in hand (%s)", async (_name, options) => {
    await using pair = await lossyPair(options, 7);
    const { clock, client, accepted } = pair;
    const data = pattern(300_000);
    let highest = 0;
    let largestHeld = 0;
    const source = new Readable({
      highWaterMark: 1,
      read() {
        highest = Math.max(highest, client.writableHighWaterMark);
        largestHeld = Math.max(largestHeld, client.writableLength);
        const from = client.bytesWritten + this.readableLength;
        this.push(from < data.length ? data.subarray(from, from + 1000) : null);
      },
    });
    const reading = readAll(accepted);
    await clock.run(pipeline(source, client));
    expect((await clock.run(reading)).equals(data)).toBe(true);
    expect(largestHeld).toBeGreaterThan(0);
    expect(largestHeld).toBeLessThanOrEqual(highest + 2 * 1000);
  });

  it.each<[string, SocketOptions]>([
    ["classic", { extended: false }],
    ["extended, with a controller whose window collapses", { extended: "required", congestion: "tahoe", ...SMALL }],
  ])("tells of room after the window has shrunk under what is held (%s)", async (_name, options) => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...options, clock }, (socket) => socket.resume());
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ host: "127.0.0.1", port: proxy.port, ...options, clock });
    await clock.run(once(client, "connect"));
    client.resume().write(pattern(20_000));
    await clock.pass(1000);
    expect(client.writableLength).toBe(0);
    proxy.silent = true;
    const held = client.writableHighWaterMark - 1;
    expect(client.write(pattern(held))).toBe(true);
    expect(client.writableNeedDrain).toBe(false);
    await clock.pass(4000);
    expect(client.writableHighWaterMark).toBeLessThan(held);
    expect(client.writableNeedDrain).toBe(true);
    proxy.silent = false;
    await clock.run(once(client, "drain"));
    expect(client.writableNeedDrain).toBe(false);
    client.end();
    await clock.run(server[Symbol.asyncDispose]());
  });

  it.each(BOTH_EDITIONS)(
    "says drain when there is room, and when everything is acknowledged (%s)",
    async (_name, both) => {
      const clock = new TestClock();
      await using pair = await connectedPair({ both: { ...both, clock } });
      pair.accepted.resume();
      const lengths: number[] = [];
      pair.client.on("drain", () => lengths.push(pair.client.writableLength));
      expect(pair.client.write(pattern(10 * pair.client.writableHighWaterMark))).toBe(false);
      await clock.pass(5000);
      expect(lengths.at(-1)).toBe(0);
      // Once of room, unless everything was acknowledged with that, and once of that.
      expect(lengths.length).toBe(lengths[0] === 0 ? 1 : 2);
      const told = lengths.length;
      expect(pair.client.write("little")).toBe(true);
      await clock.pass(1000);
      expect(lengths.length).toBe(told);
    },
  );

  it.each(BOTH_EDITIONS)("counts what is corked (%s)", async (_name, both) => {
    await using pair = await connectedPair({ both });
    const mark = pair.client.writableHighWaterMark;
    pair.client.cork();
    expect(pair.client.write(Buffer.alloc(mark - 1))).toBe(true);
    expect(pair.client.write("x")).toBe(false);
    expect(pair.client.writableLength).toBe(mark);
    pair.client.uncork();
    await once(pair.client, "drain");
    expect(pair.client.writableLength).toBeLessThan(pair.client.writableHighWaterMark);
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
  it("stops accepting, holds no more than its buffers, and lives on (classic)", async () => {
    const clock = new TestClock();
    const receiveBufferBytes = 32 * 1024;
    await using pair = await connectedPair({ both: { extended: false, clock }, server: { receiveBufferBytes } });
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

  it("closes its window, which costs no loss, and is asked now and then (extended)", async () => {
    const clock = new TestClock();
    const receiveBufferBytes = 64 * 1024;
    await using pair = await connectedPair({
      both: { extended: "required", clock, ...SMALL },
      server: { receiveBufferBytes },
    });
    const { client, accepted } = pair;
    const data = pattern(500_000);
    client.end(data);
    accepted.read(0);
    await clock.pass(1000);
    const full = accepted.stats.bytesReceived;
    // The window does not shrink by what the stream has taken.
    const limit = receiveBufferBytes + accepted.readableHighWaterMark + receiveBufferBytes;
    expect(full).toBeGreaterThanOrEqual(receiveBufferBytes);
    expect(full).toBeLessThanOrEqual(limit);
    await clock.pass(60_000);
    expect(accepted.stats.bytesReceived).toBe(full);
    expect(accepted.stats.overflows).toBe(0);
    expect(client.stats.retransmissions).toBe(0);
    expect(client.readyState).not.toBe("closed");

    // The room that reading makes is told at once: no time passes for want of that.
    const began = clock.now();
    expect((await clock.run(readAll(accepted))).equals(data)).toBe(true);
    expect(clock.now() - began).toBeLessThan(3000);
    expect(client.stats.retransmissions).toBe(0);
  });

  it("learns of room whose news was lost, by asking (extended)", async () => {
    const clock = new TestClock();
    const both: SocketOptions = { extended: "required", ...SMALL };
    const { server, port } = await listening({ ...both, clock, receiveBufferBytes: 64 * 1024 });
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const accepting = once(server, "connection");
    const client = connect({ ...both, host: "127.0.0.1", port: proxy.port, clock });
    const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
    const data = pattern(300_000);
    client.end(data);
    await clock.pass(1000);
    proxy.silent = true;
    const reading = readAll(accepted);
    await clock.settle();
    proxy.silent = false;
    expect(accepted.stats.bytesReceived).toBeLessThan(data.length);
    expect((await clock.run(reading)).equals(data)).toBe(true);
    client.resume();
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("ends for who writes as long as there is room, when the peer gives the connection up", async () => {
    await using pair = await connectedPair({ both: { extended: "required" } });
    const { client, accepted } = pair;
    let writes = 0;
    const more = (): void => {
      while (!client.destroyed && writes < 100_000 && client.write(pattern(16_384))) writes++;
    };
    const failed = once(client, "error");
    accepted.on("error", () => {}).once("data", () => accepted.destroy(new Error("enough")));
    client.on("drain", more);
    more();
    expect((await failed)[0]).toMatchObject({ code: "ECONNRESET" });
    expect(writes).toBeLessThan(1000);
  });

  it.each<[string, SocketOptions, number]>([
    ["classic", { extended: false }, 8192],
    ["extended", { extended: "required", ...SMALL }, 64 * 1024],
  ])("is read from at the reader's pace (%s)", async (_name, options, receiveBufferBytes) => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...options, clock }, server: { receiveBufferBytes } });
    const data = pattern(10 * receiveBufferBytes);
    pair.client.end(data);
    const limit = receiveBufferBytes + pair.accepted.readableHighWaterMark + 4 * CHUNK_BYTES;
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
