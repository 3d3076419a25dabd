import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import {
  type ConfundoError,
  type ConfundoServer,
  type ConfundoSocket,
  connect,
  createServer,
  type SocketOptions,
} from "../../../src/stream/index.js";
import { LossyProxy, type Weather } from "../../support/lossy-proxy.js";
import { connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";
import { TIERS } from "./datagram/station.js";

const MIB = 1024 * 1024;
const EXTENDED = { extended: "required" } as const;

/** A pair whose datagrams pass a proxy. */
async function proxiedPair(options: SocketOptions = {}, weather: Weather = {}, seed = 1) {
  const clock = new TestClock();
  const { server, port } = await listening({ ...EXTENDED, ...options, clock });
  const proxy = await LossyProxy.start({ seed, targetPort: port, toServer: weather, toClient: weather, clock });
  const accepting = once(server, "connection");
  const client = connect({ ...EXTENDED, ...options, host: "127.0.0.1", port: proxy.port, clock });
  const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
  const dispose = async () => {
    client.destroy();
    accepted.destroy();
    await clock.run(server[Symbol.asyncDispose]());
    await proxy.close();
  };
  return { clock, proxy, server, client, accepted, [Symbol.asyncDispose]: dispose };
}

function errorOf(socket: ConfundoSocket): Promise<ConfundoError> {
  return new Promise((resolve) => socket.once("error", resolve));
}

/** Sends both ways at once; true when the sha256 of what arrived is that of what was sent. */
async function bothWays(client: ConfundoSocket, accepted: ConfundoSocket, length: number): Promise<boolean> {
  const directions = [
    [client, accepted, pattern(length)],
    [accepted, client, pattern(length + 1).reverse()],
  ] as const;
  const equal = directions.map(async ([from, to, data]) => {
    const hash = createHash("sha256");
    const reading = (async () => {
      for await (const chunk of to.iterator({ destroyOnReturn: false })) hash.update(chunk);
    })();
    await Promise.all([pipeline(Readable.from(slices(data, 100_000)), from), reading]);
    return hash.digest("hex") === createHash("sha256").update(data).digest("hex");
  });
  return (await Promise.all(equal)).every(Boolean);
}

function* slices(data: Buffer, length: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += length) yield data.subarray(at, at + length);
}

/** How many UDP sockets are bound to a port; Linux tells. */
function socketsAt(port: number): number {
  const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const tables = ["udp", "udp6"].map((name) => readFileSync(`/proc/self/net/${name}`, "latin1"));
  const lines = tables.flatMap((table) => table.split("\n"));
  return lines.filter((line) => line.trim().split(/\s+/)[1]?.endsWith(end)).length;
}

describe("destroy(error) on an extended connection", () => {
  it("tells the peer at once: ECONNRESET", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...EXTENDED, clock } });
    const failing = errorOf(pair.accepted);
    pair.client.on("error", () => {});
    const began = clock.now();
    pair.client.destroy(new Error("enough"));
    const error = await clock.run(failing);
    expect(clock.now()).toBe(began);
    expect(error).toMatchObject({ name: "ConfundoError", code: "ECONNRESET", syscall: "read" });
    expect(error.message).toContain(
      `read ECONNRESET 127.0.0.1:${pair.accepted.remotePort}: the peer has given up the connection`,
    );
    expect(pair.accepted.readableEnded).toBe(false);
  });

  it("in the middle of a transfer, from the side that reads", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...EXTENDED, clock } });
    const failing = errorOf(pair.client);
    pair.accepted.on("error", () => {});
    pair.client.write(pattern(3 * MIB));
    await clock.run(once(pair.accepted, "data"));
    const began = clock.now();
    pair.accepted.destroy(new Error("enough"));
    expect((await clock.run(failing)).code).toBe("ECONNRESET");
    expect(clock.now() - began).toBeLessThan(100);
  });
});

describe("a peer that gives up for a reason", () => {
  it("as nobody there reads any more", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...EXTENDED, clock }, client: { allowHalfOpen: true } });
    pair.client.resume().on("drain", () => pair.client.write(pattern(100_000)));
    const failing = errorOf(pair.client);
    pair.client.write(pattern(1_000_000));
    pair.accepted.destroy();
    const error = await clock.run(failing);
    expect(error.code).toBe("ECONNRESET");
    expect(error.message).toMatch(/said so: its program reads nothing any more\.$/);
  });

  it("as it has not heard from here", async () => {
    await using pair = await proxiedPair();
    const { clock, proxy, client, accepted } = pair;
    const failing = Promise.all([errorOf(client), errorOf(accepted)]);
    // Only what the client sends is lost.
    proxy.deaf = true;
    const [error, silence] = await clock.run(failing);
    expect(silence.code).toBe("ETIMEDOUT");
    expect(error.code).toBe("ECONNRESET");
    expect(error.message).toMatch(/said so: it had not heard from here for 30 s\.$/);
  });
});

describe("an idle extended connection", () => {
  it("lives on without keepAlive, and with setKeepAlive(false)", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...EXTENDED, clock } });
    pair.client.setKeepAlive(false);
    pair.accepted.setKeepAlive(false);
    await clock.pass(3_600_000);
    pair.client.end("still there");
    expect((await clock.run(readAll(pair.accepted))).toString()).toBe("still there");
  });

  it("to a peer that vanishes is given up by both after 30 s", async () => {
    await using pair = await proxiedPair();
    const { clock, proxy, client, accepted } = pair;
    await clock.pass(20_000);
    expect(client.readyState).toBe("open");
    proxy.silent = true;
    const began = clock.now();
    const errors = await clock.run(Promise.all([errorOf(client), errorOf(accepted)]));
    expect(errors.map(({ code }) => code)).toEqual(["ETIMEDOUT", "ETIMEDOUT"]);
    expect(clock.now() - began).toBeLessThanOrEqual(30_000);
    expect(errors[0]?.message).toContain("has been silent for 30 s");
  });

  it("of which one end has ended lives on, too", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...EXTENDED, clock }, server: { allowHalfOpen: true } });
    pair.client.end("a question");
    const question = readAll(pair.accepted.iterator({ destroyOnReturn: false }));
    expect((await clock.run(question)).toString()).toBe("a question");
    await clock.pass(60_000);
    pair.accepted.end("an answer");
    expect((await clock.run(readAll(pair.client))).toString()).toBe("an answer");
  });
});

describe("a client behind a NAT that forgets it", () => {
  it.each(TIERS)("keeps its connection, and the server follows it (%s)", async (tier) => {
    await using pair = await proxiedPair({ tier, maxDatagramBytes: 1200 }, { delayMs: 10 });
    const { clock, proxy, client, accepted } = pair;
    const data = pattern(8 * MIB);
    const before = accepted.remotePort;
    const reading = readAll(accepted);
    client.end(data);
    while (accepted.bytesRead < MIB) await clock.pass(10);
    expect(accepted.bytesRead).toBeLessThan(data.length / 2);
    await proxy.rebind();
    expect((await clock.run(reading)).equals(data)).toBe(true);
    expect(accepted.remotePort).not.toBe(before);
    expect(accepted.errored).toBeNull();
  });

  it("while the server sends, is found again when it asks for more", async () => {
    await using pair = await proxiedPair({ maxDatagramBytes: 1200 }, { delayMs: 10 });
    const { clock, proxy, client, accepted } = pair;
    const data = pattern(2 * MIB);
    const before = accepted.remotePort;
    const reading = readAll(client);
    accepted.end(data);
    while (client.bytesRead < MIB) await clock.pass(10);
    await proxy.rebind();
    expect((await clock.run(reading)).equals(data)).toBe(true);
    expect(accepted.remotePort).not.toBe(before);
  });

  it("while idle, is followed by the next sign of life", async () => {
    await using pair = await proxiedPair();
    const { clock, proxy, client, accepted } = pair;
    const before = accepted.remotePort;
    await proxy.rebind();
    await clock.pass(30_000);
    expect(accepted.remotePort).not.toBe(before);
    accepted.end("found you");
    expect((await clock.run(readAll(client))).toString()).toBe("found you");
  });
});

describe.each(TIERS)("a client on the tier %s", (clientTier) => {
  it.each(TIERS)("and a server on the tier %s move data both ways at once", async (serverTier) => {
    await using pair = await connectedPair({
      both: { ...EXTENDED, allowHalfOpen: true },
      client: { tier: clientTier },
      server: { tier: serverTier },
    });
    expect(await bothWays(pair.client, pair.accepted, 3 * MIB)).toBe(true);
    // Also when their sockets are closed.
    expect(pair.client.stats.tier).toBe(clientTier);
    expect(pair.accepted.stats.tier).toBe(serverTier);
  });

  it("goes through a rough network, both ways at once", async () => {
    const weather = { loss: 0.05, duplication: 0.05, reordering: 0.1, reorderMs: 30, delayMs: 10, corruption: 0 };
    await using pair = await proxiedPair({ tier: clientTier, allowHalfOpen: true }, weather, 3);
    expect(await pair.clock.run(bothWays(pair.client, pair.accepted, MIB))).toBe(true);
    expect(pair.client.stats.retransmissions).toBeGreaterThan(0);
  });
});

// Elsewhere than on Linux there are no such sockets.
describe.runIf(process.platform === "linux")("a server's UDP sockets", () => {
  it.each(["127.0.0.1", "::1", "::"])("of its own for a peer come and go with what is moved (%s)", async (host) => {
    const clock = new TestClock();
    const server = createServer({ ...EXTENDED, clock }).listen(0, host);
    await once(server, "listening");
    const port = server.address()?.port ?? 0;
    const to = host === "::" ? "127.0.0.1" : host;
    const clients = Array.from({ length: 3 }, () => connect({ ...EXTENDED, clock, host: to, port }));
    const accepted: ConfundoSocket[] = [];
    server.on("connection", (socket) => accepted.push(socket.resume()));
    await clock.run(Promise.all(clients.map((client) => once(client, "connect"))));
    const tier = clients[0]?.stats.tier;
    expect(socketsAt(port)).toBe(1);
    for (const client of clients) client.resume().write(pattern(MIB));
    await clock.pass(1000);
    expect(accepted.map(({ stats }) => stats.bytesReceived)).toEqual([MIB, MIB, MIB]);
    // Where sockets of peers are faster, each has its own.
    expect(accepted.map(({ stats }) => stats.tier)).toEqual([tier, tier, tier]);
    expect(socketsAt(port)).toBe(tier === "dgram" ? 1 : 4);

    const closing = [...clients, ...accepted].map((socket) => once(socket, "close"));
    for (const client of clients) client.end();
    await clock.run(Promise.all(closing));
    await clock.pass(4000);
    expect(socketsAt(port)).toBe(1);
    await clock.run(server[Symbol.asyncDispose]());
    await clock.settle();
    expect(socketsAt(port)).toBe(0);
  });

  it("are closed with the server, and with connections that fail", async () => {
    const clock = new TestClock();
    const pair = await connectedPair({ both: { ...EXTENDED, clock } });
    pair.client.write(pattern(MIB));
    pair.accepted.resume().on("error", () => {});
    await clock.pass(1000);
    expect(pair.accepted.stats.bytesReceived).toBe(MIB);
    expect(socketsAt(pair.port)).toBe(pair.accepted.stats.tier === "dgram" ? 1 : 2);
    pair.client.on("error", () => {}).destroy(new Error("enough"));
    pair.server.close();
    await clock.run(once(pair.server, "close"));
    await clock.settle();
    expect(socketsAt(pair.port)).toBe(0);
  });
});

describe("many extended connections", () => {
  it("100 at once on one server, each with its own data both ways", async () => {
    const { server, port } = await listening({ ...EXTENDED, allowHalfOpen: true }, (socket) => socket.pipe(socket));
    const sent = Array.from({ length: 100 }, (_, i) => Buffer.alloc(3000 * i, `client ${i} `));
    const echoes = await Promise.all(
      sent.map((data) => {
        const client = connect({ ...EXTENDED, host: "127.0.0.1", port, allowHalfOpen: true });
        client.end(data);
        return readAll(client);
      }),
    );
    expect(echoes.every((echo, i) => echo.equals(sent[i] as Buffer))).toBe(true);
    await server[Symbol.asyncDispose]();
  });
});

describe("what a listener throws", () => {
  it.each<[string, (server: ConfundoServer, fail: () => void) => void]>([
    ["connection", (server, fail) => server.on("connection", (socket) => fail.call(void socket.pipe(socket)))],
    ["data", (server, fail) => server.on("connection", (socket) => socket.pipe(socket).once("data", fail))],
    ["readable end", (server, fail) => server.on("connection", (socket) => socket.pipe(socket).once("end", fail))],
  ])("in `%s` reaches the process, and harms no connection", async (_name, prepare) => {
    const thrown: unknown[] = [];
    const failure = new Error("a mistake in a program");
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => thrown.push(error));
    try {
      const { server, port } = await listening({ ...EXTENDED, allowHalfOpen: true });
      prepare(server, () => {
        throw failure;
      });
      const data = pattern(400_000);
      const clients = Array.from({ length: 3 }, () =>
        connect({ ...EXTENDED, host: "127.0.0.1", port, allowHalfOpen: true }),
      );
      for (const client of clients) client.end(data);
      const echoes = await Promise.all(clients.map((client) => readAll(client)));
      expect(echoes.every((echo) => echo.equals(data))).toBe(true);
      expect(thrown).toEqual([failure, failure, failure]);
      await server[Symbol.asyncDispose]();
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of others) process.on("uncaughtException", listener);
    }
  });
});

describe("options of the extended edition", () => {
  it("maxDatagramBytes is kept to", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...EXTENDED, clock, maxDatagramBytes: 4000 });
    let longest = 0;
    await using proxy = await LossyProxy.start({
      seed: 1,
      targetPort: port,
      clock,
      filter: (datagram) => {
        longest = Math.max(longest, datagram.length);
        return true;
      },
    });
    const accepting = once(server, "connection");
    const client = connect({ ...EXTENDED, host: "127.0.0.1", port: proxy.port, clock, maxDatagramBytes: 3000 });
    const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
    const data = pattern(300_000);
    client.end(data);
    expect((await clock.run(readAll(accepted))).equals(data)).toBe(true);
    expect(longest).toBeGreaterThan(1200);
    expect(longest).toBeLessThanOrEqual(4000);
    client.resume();
    await clock.run(server[Symbol.asyncDispose]());
  });

  it.each(["tahoe", "cubic", "bbr"] as const)("congestion: %s gets through a rough network", async (congestion) => {
    const weather = { loss: 0.02, delayMs: 10 };
    await using pair = await proxiedPair({ congestion, maxDatagramBytes: 1200 }, weather, 9);
    const data = pattern(500_000);
    pair.client.end(data);
    expect((await pair.clock.run(readAll(pair.accepted))).equals(data)).toBe(true);
  });
});
