import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { type ConfundoSocket, connect, createServer } from "../../../src/stream/index.js";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { BOTH_EDITIONS, connectedPair, listening, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

const ignoring = (socket: ConfundoSocket) => socket.on("error", () => {});

function errorOf(socket: ConfundoSocket): Promise<NodeJS.ErrnoException> {
  return new Promise((resolve) => socket.once("error", resolve));
}

describe.each(BOTH_EDITIONS)("silenceTimeoutMs (%s)", (_name, both) => {
  it("is how long a peer may be silent, and no longer", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...both, clock }, ignoring);
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ ...both, clock, host: "127.0.0.1", port: proxy.port, silenceTimeoutMs: 2500 });
    await clock.run(once(client, "connect"));
    await clock.settle();
    proxy.silent = true;
    const failing = errorOf(client);
    client.write("anybody?");
    const began = clock.now();
    const error = await clock.run(failing);
    expect(error).toMatchObject({ code: "ETIMEDOUT" });
    expect(error.message).toContain("has been silent for 2.5 s");
    expect(clock.now() - began).toBeLessThanOrEqual(2500);
    server.close();
  });

  it("must be a number of milliseconds", () => {
    expect(() => connect({ port: 5000, host: "127.0.0.1", silenceTimeoutMs: 99 })).toThrow(RangeError);
    expect(() => createServer({ silenceTimeoutMs: 1.5 }).listen(0, "127.0.0.1")).toThrow(RangeError);
  });
});

describe.each(BOTH_EDITIONS)("a process that stood still (%s)", (_name, both) => {
  it("reads what has arrived before it gives its peer up", async () => {
    const clock = new TestClock();
    const peerClock = new TestClock();
    await using pair = await connectedPair({
      both: { ...both, keepAlive: true },
      client: { clock },
      server: { clock: peerClock },
    });
    await clock.settle();
    // The peer asks for signs of life meanwhile, and nobody reads that.
    peerClock.advance(both.extended ? 29_000 : 9000);
    clock.stall(60_000);
    await clock.settle();
    await peerClock.settle();
    expect(pair.client.destroyed).toBe(false);
    expect(pair.accepted.destroyed).toBe(false);
    pair.client.end("still there");
    expect((await peerClock.run(readAll(pair.accepted))).toString()).toBe("still there");
  });

  it("gives up a peer that has sent nothing meanwhile", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({
      both: { ...both, keepAlive: true },
      client: { clock },
      server: { clock: new TestClock() },
    });
    pair.accepted.on("error", () => {});
    const failing = errorOf(pair.client);
    await clock.settle();
    clock.stall(60_000);
    expect(await failing).toMatchObject({ code: "ETIMEDOUT" });
  });
});

describe("a process that stands still for 20 s, with default settings", () => {
  it.each([
    ["client", "idle"],
    ["client", "receiving"],
    ["client", "sending"],
    ["server", "idle"],
    ["server", "receiving"],
    ["server", "sending"],
  ])("does not end the connection: the %s, %s", async (side, activity) => {
    const clocks = { client: new TestClock(), server: new TestClock() };
    await using pair = await connectedPair({ client: { clock: clocks.client }, server: { clock: clocks.server } });
    const [stopped, other] = side === "client" ? [pair.client, pair.accepted] : [pair.accepted, pair.client];
    const [stoppedClock, otherClock] =
      side === "client" ? [clocks.client, clocks.server] : [clocks.server, clocks.client];
    const [from, to] = activity === "sending" ? [stopped, other] : [other, stopped];
    expect(from.edition).toBe("extended");
    if (activity !== "idle") from.write(Buffer.alloc(300_000));
    await otherClock.settle();
    otherClock.advance(20_000);
    stoppedClock.stall(20_000);
    await otherClock.pass(100);
    expect([stopped.destroyed, other.destroyed]).toEqual([false, false]);
    // Not by iterating: that destroys a stream which has ended, with what it has not sent yet.
    const both = Promise.all([readAll(to), once(from.resume(), "end")]);
    from.end("still there");
    to.end();
    const passing = setInterval(() => {
      stoppedClock.advance(50);
      otherClock.advance(50);
    }, 1);
    const [received] = await both.finally(() => clearInterval(passing));
    expect(received).toHaveLength(activity === "idle" ? 11 : 300_011);
  });
});

describe("a server that was killed and started again", () => {
  it("with the same key tells its clients within a keep-alive", async () => {
    const clock = new TestClock();
    const statelessResetKey = "a secret of at least 16 bytes";
    const first = await listening({ extended: "required", clock, statelessResetKey }, ignoring);
    const second = await listening({ extended: "required", clock, statelessResetKey }, ignoring);
    // The first is cut off, as if it had been killed: what the client sends goes to the second.
    await using proxy: LossyProxy = await LossyProxy.start({
      seed: 1,
      targetPort: first.port,
      clock,
      filter: (datagram, to) => to === "toServer" || proxy.targetPort === first.port || datagram.length === 32,
    });
    const client = connect({ extended: "required", clock, host: "127.0.0.1", port: proxy.port });
    await clock.run(once(client, "connect"));
    await clock.pass(1000);
    proxy.targetPort = second.port;
    const failing = errorOf(client);
    const began = clock.now();
    const error = await clock.run(failing);
    expect(error).toMatchObject({ code: "ECONNRESET", syscall: "read" });
    expect(error.message).toContain("its program was restarted");
    expect(clock.now() - began).toBeLessThanOrEqual(3000);
    const { statelessResets, drops } = second.server.stats;
    expect(statelessResets).toEqual({ sent: drops.unknownConnection, suppressed: 0 });
    expect(statelessResets.sent).toBeGreaterThan(0);
    first.server.close();
    second.server.close();
  });

  it("needs a key that cannot be guessed", () => {
    expect(() => createServer({ statelessResetKey: "short" }).listen(0, "127.0.0.1")).toThrow(RangeError);
  });
});

describe("a server that closes between a client's SYN and its accept", () => {
  it.each([1, 2])("tells that client, after %s datagrams of the handshake", async (passed) => {
    const clock = new TestClock();
    const { server, port } = await listening({ extended: "required", clock });
    let seen = 0;
    await using proxy = await LossyProxy.start({
      seed: 1,
      targetPort: port,
      clock,
      filter: () => {
        if (++seen === passed) server.close();
        return true;
      },
    });
    const client = connect({ extended: "required", clock, host: "127.0.0.1", port: proxy.port });
    const began = clock.now();
    const outcome = await clock.run(errorOf(client));
    if (passed === 1) {
      // Its SYN came too late: nobody has promised anything.
      expect(outcome.code).toBe("ETIMEDOUT");
      return;
    }
    expect(outcome).toMatchObject({ code: "ECONNRESET" });
    expect(outcome.message).toContain("it is closed, or has as many connections as it takes");
    expect(clock.now() - began).toBeLessThan(1000);
  });

  it("ends the connection of a classic client at once", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ extended: false, clock }, () => expect.unreachable());
    const client = connect({ extended: false, clock, host: "127.0.0.1", port });
    client.on("connect", () => server.close());
    const began = clock.now();
    expect(await clock.run(readAll(client))).toHaveLength(0);
    expect(clock.now() - began).toBeLessThan(1000);
  });
});
