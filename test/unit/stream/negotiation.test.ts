import { once } from "node:events";
import { describe, expect, it } from "vitest";
import {
  type ConfundoError,
  type ConfundoSocket,
  connect,
  createServer,
  type SocketOptions,
} from "../../../src/stream/index.js";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** The bits of a header's last word that the classic edition leaves unused. */
function unknownBits(datagram: Buffer): number {
  return datagram.readUInt16BE(10) & ~7;
}

function isSyn(datagram: Buffer): boolean {
  return datagram.length === 12 && (datagram.readUInt16BE(10) & 7) === 2;
}

/** Sends 100 kB each way between two sockets. */
async function exchange(clock: TestClock, client: ConfundoSocket, accepted: ConfundoSocket): Promise<boolean> {
  const up = pattern(100_000);
  const down = pattern(100_000).reverse();
  client.end(up);
  accepted.end(down);
  const [gotUp, gotDown] = await clock.run(Promise.all([readAll(accepted), readAll(client)]));
  return gotUp.equals(up) && gotDown.equals(down);
}

describe("which edition is spoken", () => {
  it.each<[string, SocketOptions, SocketOptions, string]>([
    ["both by default", {}, {}, "extended"],
    ["required by both", { extended: "required" }, { extended: "required" }, "extended"],
    ["an extended client and a classic server", {}, { extended: false }, "fiu-2023"],
    ["a classic client and an extended server", { extended: false }, {}, "fiu-2023"],
    ["classic by both", { extended: false }, { extended: false }, "fiu-2023"],
  ])("%s", async (_name, forClient, forServer, edition) => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...forServer, clock });
    const began = clock.now();
    const accepting = once(server, "connection");
    const client = connect({ ...forClient, host: "127.0.0.1", port, clock });
    await clock.run(once(client, "connect"));
    expect(clock.now()).toBe(began);
    const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
    expect([client.edition, accepted.edition]).toEqual([edition, edition]);
    expect(await exchange(clock, client, accepted)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("falls back to the edition that was named", async () => {
    const { server, port } = await listening({ extended: false, edition: "ucla-2017" });
    const client = connect({ host: "127.0.0.1", port, edition: "ucla-2017" });
    await once(client, "connect");
    expect(client.edition).toBe("ucla-2017");
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("a server that drops SYNs with bits it does not know costs one retransmission", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ extended: false, clock });
    const offers: boolean[] = [];
    await using proxy = await LossyProxy.start({
      seed: 1,
      targetPort: port,
      clock,
      filter: (datagram, direction) => {
        if (direction === "toClient" || !isSyn(datagram)) return true;
        offers.push(unknownBits(datagram) !== 0);
        return unknownBits(datagram) === 0;
      },
    });
    const began = clock.now();
    const accepting = once(server, "connection");
    const client = connect({ host: "127.0.0.1", port: proxy.port, clock });
    await clock.run(once(client, "connect"));
    expect(offers).toEqual([true, false]);
    expect(clock.now() - began).toBe(500);
    expect(client.edition).toBe("fiu-2023");
    const [accepted] = (await clock.run(accepting)) as [ConfundoSocket];
    expect(await exchange(clock, client, accepted)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("`required` fails at a classic server after 3 s, and says why", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ extended: false, clock });
    const client = connect({ host: "127.0.0.1", port, extended: "required", clock });
    client.write("never sent");
    const failing = new Promise<ConfundoError>((resolve) => client.once("error", resolve));
    const began = clock.now();
    expect(await clock.run(failing)).toMatchObject({
      name: "ConfundoError",
      code: "EPROTONOSUPPORT",
      syscall: "connect",
      host: "127.0.0.1",
      port,
      message: `connect EPROTONOSUPPORT 127.0.0.1:${port}: the server speaks only the classic protocol, or another version of the extended edition, and extended: "required" was asked for. Update the program there, or allow the fallback with extended: true.`,
    });
    // SYNs leave after 0, 0.5, 1.5, 2.5 and 3.5 s, and each has its answer.
    expect(clock.now() - began).toBe(3500);
    expect(client.destroyed).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("`required` at a server that drops offers never speaks classic", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock });
    const seen: number[] = [];
    await using proxy = await LossyProxy.start({
      seed: 1,
      targetPort: port,
      clock,
      filter: (datagram) => {
        seen.push(unknownBits(datagram));
        return false;
      },
    });
    const client = connect({ host: "127.0.0.1", port: proxy.port, extended: "required", clock });
    const failing = new Promise<ConfundoError>((resolve) => client.once("error", resolve));
    expect((await clock.run(failing)).code).toBe("ETIMEDOUT");
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.every((bits) => bits !== 0)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("a server that requires it does not answer classic clients", async () => {
    const clock = new TestClock();
    const announced: ConfundoSocket[] = [];
    const { server, port } = await listening({ extended: "required", clock }, (socket) => announced.push(socket));
    const client = connect({ host: "127.0.0.1", port, extended: false, clock });
    const failing = new Promise<ConfundoError>((resolve) => client.once("error", resolve));
    expect((await clock.run(failing)).code).toBe("ETIMEDOUT");
    expect(announced).toEqual([]);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("a server that was seen to speak it is not taken for a classic one before 3 s", async () => {
    const clock = new TestClock();
    const extended = await listening({ clock }, (socket) => socket.resume());
    const { port } = extended;
    await clock.run(once(connect({ host: "127.0.0.1", port, clock }).resume().end(), "close"));
    await clock.run(extended.server[Symbol.asyncDispose]());
    const classic = createServer({ extended: false, clock }, (socket) => socket.resume()).listen(port, "127.0.0.1");
    await once(classic, "listening");
    for (const waitMs of [3500, 0]) {
      const began = clock.now();
      const client = connect({ host: "127.0.0.1", port, clock }).resume().end();
      const closing = once(client, "close");
      await clock.run(once(client, "connect"));
      expect(client.edition).toBe("fiu-2023");
      expect(clock.now() - began).toBe(waitMs);
      await clock.run(closing);
    }
    await clock.run(classic[Symbol.asyncDispose]());
  });

  it("a server that is closing refuses at once, while it still serves the connections that it has", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock }, (socket) => socket.pipe(socket));
    const old = connect({ host: "127.0.0.1", port, clock, allowHalfOpen: true });
    await clock.run(once(old, "connect"));
    server.close();
    const began = clock.now();
    for (const extended of [true, "required"] as const) {
      const client = connect({ host: "127.0.0.1", port, extended, clock });
      const failing = new Promise<ConfundoError>((resolve) => client.once("error", resolve));
      expect(await clock.run(failing)).toMatchObject({ code: "ECONNREFUSED", syscall: "connect", port });
    }
    expect(clock.now()).toBe(began);
    const patient = connect({ host: "127.0.0.1", port, retryRefused: true, clock });
    const failing = new Promise<ConfundoError>((resolve) => patient.once("error", resolve));
    expect((await clock.run(failing)).code).toBe("ETIMEDOUT");
    old.end("still here");
    expect(String(await clock.run(readAll(old)))).toBe("still here");
  });

  it("one server speaks both at once", async () => {
    const { server, port } = await listening({}, (socket) => socket.pipe(socket));
    const data = pattern(200_000);
    const clients = Array.from({ length: 12 }, (_, i) =>
      connect({ host: "127.0.0.1", port, extended: i % 2 === 0, allowHalfOpen: true }),
    );
    const echoes = await Promise.all(
      clients.map((client) => {
        client.end(data);
        return readAll(client);
      }),
    );
    expect(echoes.every((echo) => echo.equals(data))).toBe(true);
    const editions = clients.map(({ edition }) => edition);
    expect(editions).toEqual(clients.map((_, i) => (i % 2 === 0 ? "extended" : "fiu-2023")));
    await server[Symbol.asyncDispose]();
  });
});
