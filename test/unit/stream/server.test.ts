import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import {
  type ConfundoServer,
  type ConfundoSocket,
  connect,
  createServer,
  type ListenOptions,
  type ServerOptions,
} from "../../../src/stream/index.js";
import { connectedPair, listening, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

describe("listen()", () => {
  it("takes a port, a host and a listener, or options, or nothing", async () => {
    const server = createServer();
    for (const listen of [
      () => server.listen(0, "127.0.0.1"),
      () => server.listen({ port: 0, host: "::1" }),
      () => server.listen({ port: 0, host: "localhost" }),
      () => server.listen(),
    ]) {
      expect(listen()).toBe(server);
      await once(server, "listening");
      expect(server.listening).toBe(true);
      expect(server.address()?.port).toBeGreaterThan(0);
      await server[Symbol.asyncDispose]();
      expect(server.listening).toBe(false);
      expect(server.address()).toBeNull();
    }
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    expect(server.address()).toMatchObject({ address: "127.0.0.1", family: "IPv4" });
    await server[Symbol.asyncDispose]();
  });

  it("says which address is in use and what to do, and may be tried again", async () => {
    const { server: first, port } = await listening();
    const second = createServer();
    const failing = once(second, "error");
    second.listen(port, "127.0.0.1");
    const [error] = await failing;
    expect(error).toMatchObject({
      name: "ConfundoError",
      code: "EADDRINUSE",
      syscall: "listen",
      host: "127.0.0.1",
      port,
    });
    expect(error.message).toBe(
      `listen EADDRINUSE 127.0.0.1:${port}: the UDP address is already in use. End the program that uses it, or choose another port (0 picks a free one).`,
    );
    expect(second.listening).toBe(false);
    await first[Symbol.asyncDispose]();
    second.listen(port, "127.0.0.1");
    await once(second, "listening");
    await second[Symbol.asyncDispose]();
  });

  it("names an address in use that is IPv6 with brackets", async () => {
    const server = createServer().listen(0, "::1");
    await once(server, "listening");
    const other = createServer();
    const failing = once(other, "error");
    other.listen(server.address()?.port, "::1");
    const [error] = await failing;
    expect(error.message).toContain(`listen EADDRINUSE [::1]:${server.address()?.port}: `);
    await server[Symbol.asyncDispose]();
  });

  it("says what is wrong with a host", async () => {
    for (const [host, code] of [
      ["203.0.113.7", "EADDRNOTAVAIL"],
      ["no-such-host.invalid", "ENOTFOUND"],
    ] as const) {
      const server = createServer();
      const failing = once(server, "error");
      server.listen(0, host);
      const [error] = await failing;
      expect(error).toMatchObject({ code, host });
      expect(error.message).toContain(host);
    }
  });

  it.each([-1, 65_536, 1.5, Number.NaN, "x"])("refuses the port %s with a RangeError", (port) => {
    const listen = () => createServer().listen({ port: port as number });
    expect(listen).toThrow(expect.objectContaining({ code: "ERR_SOCKET_BAD_PORT" }));
    expect(listen).toThrow(RangeError);
  });

  it.each([{}, { host: "localhost" }, { path: "/run/socket" }, true, "x"])("refuses %j with a TypeError", (target) => {
    const listen = () => createServer().listen(target as ListenOptions);
    expect(listen).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE" }));
    expect(listen).toThrow(TypeError);
  });

  it("takes what node:net takes, and is bound when it returns", async () => {
    const listen = [
      (server: ConfundoServer) => server.listen(0, "127.0.0.1", 128, () => {}),
      (server: ConfundoServer) => server.listen(0, 128, () => {}),
      (server: ConfundoServer) => server.listen(() => {}),
      (server: ConfundoServer) => server.listen(null as unknown as number),
      (server: ConfundoServer) => server.listen({ port: "0" as unknown as number, backlog: 128, exclusive: true }),
    ];
    for (const start of listen) {
      const server = start(createServer());
      expect(server.address()?.port).toBeGreaterThan(0);
      expect(server.listening).toBe(true);
      await once(server, "listening");
      server.close("not a function" as unknown as () => void);
      await once(server, "close");
    }
  });

  it("throws when it listens already, and for an unknown edition", async () => {
    const { server } = await listening();
    expect(() => server.listen(0)).toThrow(expect.objectContaining({ code: "ERR_SERVER_ALREADY_LISTEN" }));
    await server[Symbol.asyncDispose]();
    expect(() => createServer({ edition: "mit-1999" as "fiu-2023" })).toThrow(
      expect.objectContaining({ code: "ERR_UNKNOWN_EDITION", message: expect.stringContaining("ucla-2017") }),
    );
  });

  it("closes when its signal is aborted, before and after it listens", async () => {
    for (const abortAtOnce of [true, false]) {
      const controller = new AbortController();
      const server = createServer();
      if (abortAtOnce) controller.abort();
      const closing = once(server, "close");
      server.listen({ port: 0, host: "127.0.0.1", signal: controller.signal });
      if (!abortAtOnce) {
        await once(server, "listening");
        controller.abort();
      }
      await closing;
      expect(server.listening).toBe(false);
    }
  });

  it("forgets the signal of a listening that has ended", async () => {
    const controller = new AbortController();
    const server = createServer().listen({ port: 0, host: "127.0.0.1", signal: controller.signal });
    await once(server, "listening");
    await server[Symbol.asyncDispose]();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    controller.abort();
    expect(server.listening).toBe(true);
    await server[Symbol.asyncDispose]();
  });
});

describe("connections of a server", () => {
  it("are counted, and limited by maxConnections", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ maxConnections: 2, clock });
    const count = () =>
      new Promise<number>((resolve, reject) => {
        server.getConnections((error, connections) => (error === null ? resolve(connections) : reject(error)));
      });
    const accepted: ConfundoSocket[] = [];
    server.on("connection", (socket) => accepted.push(socket.resume()));
    const open = () => connect({ port, host: "127.0.0.1", clock }).resume();
    const [first, second] = [open(), open()];
    await Promise.all([once(first, "connect"), once(second, "connect")]);
    await clock.settle();
    expect(await count()).toBe(2);

    // One more is told at once, as with node:net: it is connected, and ended.
    const dropping = once(server, "drop");
    const dropped = open();
    const began = clock.now();
    const ending = Promise.all([once(dropped, "end"), once(dropped, "close")]);
    await clock.run(once(dropped, "connect"));
    const [drop] = await dropping;
    expect(drop).toMatchObject({ remoteAddress: "127.0.0.1", remotePort: expect.any(Number), localPort: port });
    await clock.run(ending);
    expect(clock.now() - began).toBeLessThan(100);
    expect(await count()).toBe(2);
    expect(accepted.length).toBe(2);
    expect(server.stats.drops.connectionLimit).toBe(1);

    server.maxConnections = 3;
    expect(server.maxConnections).toBe(3);
    const third = open();
    await clock.run(once(third, "connect"));
    await clock.settle();
    expect(accepted.length).toBe(3);
    const closed = Promise.all([first, second, third].map((client) => once(client, "close")));
    for (const client of [first, second, third]) client.end();
    await clock.run(closed);
    server.close();
    await clock.run(once(server, "close"));
    expect(await count()).toBe(0);
  });

  it.each<[string, Omit<ServerOptions, "clock">, boolean]>([
    ["1, 2, 3, … with the courses' numbers", { extended: false, classicNumbers: "edition" }, true],
    ["1, 2, 3, … with sockets at the SYN", { extended: false, acceptAtSyn: true }, true],
    ["1, 2, 3, … where addresses are not verified", { extended: false, verifyAddresses: false }, true],
    ["that nobody can guess in the classic edition", { extended: false }, false],
    ["that nobody can guess in the extended edition", { extended: "required" }, false],
    ["that nobody can guess in the extended edition, at the SYN", { extended: "required", acceptAtSyn: true }, false],
  ])("have the IDs %s", async (_, options, areCounted) => {
    const { server, port } = await listening(options, (socket) => socket.resume());
    const ids: number[] = [];
    for (let i = 0; i < 3; i++) {
      const client = connect(port, "127.0.0.1").resume();
      await once(client, "connect");
      ids.push(client.connectionId);
      client.end();
      await once(client, "close");
    }
    // A random one of three is below 10 once in 2,000 times, all three never.
    if (areCounted) expect(ids).toEqual([1, 2, 3]);
    else expect(Math.max(...ids)).toBeGreaterThan(9);
    await server[Symbol.asyncDispose]();
  });

  it("are announced when the handshake is done, or at the SYN with acceptAtSyn", async () => {
    for (const acceptAtSyn of [false, true]) {
      const { server, port } = await listening({ acceptAtSyn });
      const accepting = once(server, "connection");
      const client = connect(port, "127.0.0.1");
      const [accepted] = (await accepting) as [ConfundoSocket];
      expect(accepted.connecting).toBe(acceptAtSyn);
      if (acceptAtSyn) await once(accepted, "connect");
      expect(accepted.readyState).toBe("open");
      client.end("x");
      expect((await readAll(accepted)).toString()).toBe("x");
      client.resume();
      await server[Symbol.asyncDispose]();
    }
  });

  it("are given up after 10 s when only the SYN came, with an error where it was announced", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ acceptAtSyn: true, clock });
    const stranger = createSocket("udp4");
    const accepting = once(server, "connection");
    const syn = Buffer.alloc(12);
    syn.writeUInt32BE(50_000, 0);
    syn[11] = 2;
    stranger.send(syn, port, "127.0.0.1");
    const [accepted] = (await accepting) as [ConfundoSocket];
    const failing = once(accepted, "error");
    const began = clock.now();
    const [error] = await clock.run(failing);
    expect(error.code).toBe("ETIMEDOUT");
    expect(clock.now() - began).toBe(10_000);
    stranger.close();
    await server[Symbol.asyncDispose]();
  });

  it("do not flow before they are resumed with pauseOnConnect", async () => {
    await using pair = await connectedPair({ server: { pauseOnConnect: true } });
    expect(pair.accepted.isPaused()).toBe(true);
  });
});

describe("close()", () => {
  it("takes no new connections and waits for those there are", async () => {
    const clock = new TestClock();
    const pair = await connectedPair({ server: { clock }, client: { clock } });
    let closed = false;
    pair.server.close(() => {
      closed = true;
    });
    expect(pair.server.listening).toBe(false);
    const late = connect({ port: pair.port, host: "127.0.0.1", retryRefused: true, clock });
    late.on("error", () => {});
    await clock.pass(2000);
    expect(late.connecting).toBe(true);
    expect(closed).toBe(false);

    pair.client.end("to the end");
    expect((await readAll(pair.accepted)).toString()).toBe("to the end");
    const closing = once(pair.server, "close");
    pair.client.resume();
    await clock.run(closing);
    expect(closed).toBe(true);
    late.destroy();
  });

  it("lets the port be used again at once, even while late FINs could still come", async () => {
    const { server, port } = await listening({}, (socket) => socket.end("bye"));
    const client = connect(port, "127.0.0.1");
    expect((await readAll(client)).toString()).toBe("bye");
    await server[Symbol.asyncDispose]();
    const again = createServer().listen(port, "127.0.0.1");
    await once(again, "listening");
    await again[Symbol.asyncDispose]();
  });

  it("drops a handshake that is not done yet", async () => {
    const { server, port } = await listening();
    const announced: unknown[] = [];
    server.on("connection", (socket) => announced.push(socket));
    const stranger = createSocket("udp4");
    const syn = Buffer.alloc(12);
    syn.writeUInt32BE(50_000, 0);
    syn[11] = 2;
    const answered = once(stranger, "message");
    stranger.send(syn, port, "127.0.0.1");
    await answered;
    await server[Symbol.asyncDispose]();
    const data = Buffer.alloc(13);
    data[9] = 1;
    stranger.send(data, port, "127.0.0.1");
    await new TestClock().settle();
    expect(announced).toEqual([]);
    stranger.close();
  });

  it("gives ERR_SERVER_NOT_RUNNING to the callback when it does not listen", async () => {
    const error = await new Promise((resolve) => createServer().close(resolve));
    expect(error).toMatchObject({ code: "ERR_SERVER_NOT_RUNNING" });
  });

  it("may come before listening is done", async () => {
    const server = createServer();
    const events: string[] = [];
    server.on("listening", () => events.push("listening"));
    server.on("close", () => events.push("close"));
    server.listen(0, "127.0.0.1");
    await server[Symbol.asyncDispose]();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    expect(events).toEqual(["close", "listening"]);
    await server[Symbol.asyncDispose]();
  });
});
