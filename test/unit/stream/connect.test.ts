import { createSocket } from "node:dgram";
import type { lookup as dnsLookup } from "node:dns";
import { once } from "node:events";
import type { LookupFunction } from "node:net";
import { constants } from "node:os";
import { describe, expect, it } from "vitest";
import { type ConfundoError, type ConfundoSocket, type ConnectOptions, connect } from "../../../src/stream/index.js";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** A resolver that gives these addresses. */
function resolvesTo(...addresses: string[]): typeof dnsLookup {
  const answers = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const lookup = (_host: string, _options: unknown, callback: (error: null, found: typeof answers) => void) => {
    process.nextTick(callback, null, answers);
  };
  return lookup as unknown as typeof dnsLookup;
}

async function errorOf(socket: ConfundoSocket, clock?: TestClock): Promise<ConfundoError> {
  const failing = new Promise<ConfundoError>((resolve) => socket.once("error", resolve));
  return clock === undefined ? failing : clock.run(failing);
}

/** A port of 127.0.0.1 where nothing listens. */
async function deadPort(): Promise<number> {
  const udp = createSocket("udp4").bind(0, "127.0.0.1");
  await once(udp, "listening");
  const { port } = udp.address();
  udp.close();
  await once(udp, "close");
  return port;
}

/** A UDP socket that hears everything and says nothing. */
async function mute(): Promise<{ port: number; heard: () => number; close: () => void }> {
  let heard = 0;
  const udp = createSocket("udp4").bind(0, "127.0.0.1");
  udp.on("message", () => heard++);
  await once(udp, "listening");
  return { port: udp.address().port, heard: () => heard, close: () => udp.close() };
}

describe("a host name", () => {
  it("with several addresses is tried at each until one answers", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock });
    const client = connect({ host: "several.test", port, clock, lookup: resolvesTo("127.0.0.2", "127.0.0.1") });
    const lookups: unknown[] = [];
    client.on("lookup", (...args) => lookups.push(args));
    const began = clock.now();
    await clock.run(once(client, "connect"));
    expect(lookups).toEqual([
      [null, "127.0.0.2", 4, "several.test"],
      [null, "127.0.0.1", 4, "several.test"],
    ]);
    expect(client.remoteAddress).toBe("127.0.0.1");
    expect(clock.now() - began).toBe(0);
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("with several addresses works with a local port, too", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock });
    const localPort = await deadPort();
    const client = connect({ host: "x.test", port, localPort, clock, lookup: resolvesTo("127.0.0.2", "127.0.0.1") });
    await clock.run(once(client, "connect"));
    expect(client).toMatchObject({ remoteAddress: "127.0.0.1", localPort });
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("with IPv6 and IPv4 addresses is tried at the IPv4 one first", async () => {
    const { server, port } = await listening();
    const client = connect({ host: "both.test", port, lookup: resolvesTo("::1", "127.0.0.1") });
    await once(client, "connect");
    expect(client.remoteFamily).toBe("IPv4");
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("that is unknown gives ENOTFOUND", async () => {
    const error = await errorOf(connect(5000, "no-such-host.invalid"));
    expect(error).toMatchObject({ name: "ConfundoError", code: "ENOTFOUND", syscall: "getaddrinfo", port: 5000 });
    expect(error).toMatchObject({ hostname: "no-such-host.invalid", errno: expect.any(Number) });
    expect(error.message).toMatch(/^getaddrinfo ENOTFOUND no-such-host\.invalid: /);
  });

  it("without any address gives ENOTFOUND", async () => {
    const error = await errorOf(connect({ port: 5000, host: "empty.test", lookup: resolvesTo() }));
    expect(error.code).toBe("ENOTFOUND");
  });
});

describe("bad arguments", () => {
  it.each([-1, 65_536, 1.5, Number.NaN, "http"])("port %s is thrown as a RangeError, ERR_SOCKET_BAD_PORT", (port) => {
    const wanted = { code: "ERR_SOCKET_BAD_PORT", message: expect.stringContaining(String(port)) };
    expect(() => connect({ port: port as number })).toThrow(expect.objectContaining(wanted));
    expect(() => connect({ port: port as number })).toThrow(RangeError);
  });

  it.each([
    [{}, "ERR_MISSING_ARGS"],
    [{ port: null }, "ERR_INVALID_ARG_TYPE"],
    [{ path: "/run/socket" }, "ERR_INVALID_ARG_VALUE"],
    [{ port: 1, host: ["127.0.0.1"] }, "ERR_INVALID_ARG_TYPE"],
    [{ port: 1, lookup: "dns" }, "ERR_INVALID_ARG_TYPE"],
    [{ port: 1, localAddress: "here" }, "ERR_INVALID_IP_ADDRESS"],
    [{ port: 1, localPort: "1" }, "ERR_INVALID_ARG_TYPE"],
    [{ port: 1, objectMode: true }, "ERR_INVALID_ARG_VALUE"],
    [{ port: 1, blockList: {} }, "ERR_INVALID_ARG_TYPE"],
    [{ port: 1, signal: "now" }, "ERR_INVALID_ARG_TYPE"],
    [{ port: 1, fd: 1 }, "ERR_INVALID_FD_TYPE"],
  ])("%j are thrown as a TypeError, %s", (options, code) => {
    const open = () => connect(options as unknown as ConnectOptions);
    expect(open).toThrow(expect.objectContaining({ code }));
    expect(open).toThrow(TypeError);
  });

  it("port 0, which nothing can listen on, gives ECONNREFUSED", async () => {
    const error = await errorOf(connect(0, "127.0.0.1"));
    expect(error).toMatchObject({ code: "ECONNREFUSED", syscall: "connect", address: "127.0.0.1", port: 0 });
    expect(error.errno).toBe(-constants.errno.ECONNREFUSED);
    expect(error.message).toMatch(/^connect ECONNREFUSED 127\.0\.0\.1:0: /);
  });

  it("an unknown edition is thrown, with the known ones", () => {
    expect(() => connect({ port: 5000, edition: "fiu-1999" as "fiu-2023" })).toThrow(
      expect.objectContaining({ code: "ERR_UNKNOWN_EDITION", message: expect.stringContaining("fiu-2023") }),
    );
  });

  it("a local port that is taken gives EADDRINUSE", async () => {
    const { port, close } = await mute();
    const error = await errorOf(connect({ port: 5000, host: "127.0.0.1", localPort: port, localAddress: "127.0.0.1" }));
    expect(error).toMatchObject({ code: "EADDRINUSE", syscall: "bind" });
    expect(error.message).toContain(`bind EADDRINUSE 127.0.0.1:${port}: `);
    close();
  });
});

describe("a handshake that is not answered", () => {
  it("fails after 10 s", async () => {
    const clock = new TestClock();
    const { port, heard, close } = await mute();
    const client = connect({ host: "127.0.0.1", port, clock });
    const began = clock.now();
    const error = await errorOf(client, clock);
    expect(clock.now() - began).toBe(10_000);
    expect(error).toMatchObject({
      name: "ConfundoError",
      code: "ETIMEDOUT",
      syscall: "connect",
      host: "127.0.0.1",
      port,
    });
    expect(error.message).toBe(
      `connect ETIMEDOUT 127.0.0.1:${port}: no answer within 10 s. Check that the server is running, that it speaks Confundo, and that no firewall drops UDP.`,
    );
    // After 0, 0.5, 1.5, 2.5 s and so on.
    expect(heard()).toBe(11);
    close();
  });

  it("is refused at once by this machine, as with node:net", async () => {
    const clock = new TestClock();
    const port = await deadPort();
    for (const extended of [true, false]) {
      const client = connect({ host: "127.0.0.1", port, clock, extended });
      const began = clock.now();
      const error = await errorOf(client, clock);
      expect(clock.now()).toBe(began);
      expect(error).toMatchObject({ code: "ECONNREFUSED", syscall: "connect", address: "127.0.0.1", port });
      expect(error.errno).toBe(-constants.errno.ECONNREFUSED);
      expect(error.message).toMatch(new RegExp(`^connect ECONNREFUSED 127\\.0\\.0\\.1:${port}`));
    }
  });

  it("is refused when the last of the host's addresses is", async () => {
    const clock = new TestClock();
    const port = await deadPort();
    const failed: string[] = [];
    const client = connect({ host: "two.test", port, clock, lookup: twoAddresses });
    client.on("connectionAttemptFailed", (address: string) => failed.push(address));
    expect(await errorOf(client, clock)).toMatchObject({ code: "ECONNREFUSED" });
    expect(failed).toEqual(["127.0.0.1", "127.0.0.2"]);
    const { server: elsewhere } = await listening({ clock });
    await elsewhere[Symbol.asyncDispose]();
    const server = elsewhere.listen(0, "127.0.0.2");
    await once(server, "listening");
    const began = clock.now();
    const second = connect({ host: "two.test", port: server.address()?.port ?? 0, clock, lookup: twoAddresses });
    await clock.run(once(second, "connect"));
    expect(clock.now()).toBe(began);
    expect(second.remoteAddress).toBe("127.0.0.2");
    second.destroy();
    server.close();
  });

  it("with retryRefused names ECONNREFUSED, which shortens nothing", async () => {
    const clock = new TestClock();
    const port = await deadPort();
    const client = connect({ host: "127.0.0.1", port, clock, retryRefused: true });
    const began = clock.now();
    const error = await errorOf(client, clock);
    expect(clock.now() - began).toBe(10_000);
    expect(error.code).toBe("ETIMEDOUT");
    expect(error.message).toContain("ECONNREFUSED: nothing listens on that port");
    expect(error.cause).toMatchObject({ code: "ECONNREFUSED" });
  });

  it("succeeds when the server is started within the 10 s", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock });
    await server[Symbol.asyncDispose]();
    const client = connect({ host: "127.0.0.1", port, clock, retryRefused: true });
    await clock.pass(3000);
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    await clock.run(once(client, "connect"));
    expect(client.readyState).toBe("open");
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("for want of a way to that address names what the kernel said", async () => {
    const clock = new TestClock();
    // To connect to the broadcast address takes a permission that nobody asks for here.
    const error = await errorOf(connect({ host: "255.255.255.255", port: 5000, clock }), clock);
    expect(error).toMatchObject({ code: "ETIMEDOUT", syscall: "connect", cause: { syscall: "connect" } });
    expect(error.message).toMatch(/The kernel reported E[A-Z]+: check the network and the address\.$/);
  });
});

const twoAddresses = ((_host: string, _options: object, callback: (error: null, addresses: object[]) => void) => {
  callback(null, [
    { address: "127.0.0.1", family: 4 },
    { address: "127.0.0.2", family: 4 },
  ]);
}) as NonNullable<ConnectOptions["lookup"]>;

describe("a peer that stops", () => {
  it("answering gives ETIMEDOUT after 30 s, in the middle of a transfer", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock }, (socket) => socket.on("error", () => {}).resume());
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ host: "127.0.0.1", port: proxy.port, clock });
    await clock.run(once(client, "connect"));
    client.write(pattern(100_000));
    await clock.settle();
    client.write(pattern(100_000));
    proxy.silent = true;
    const error = await errorOf(client, clock);
    expect(error).toMatchObject({ code: "ETIMEDOUT", syscall: "read" });
    expect(error.message).toContain("has been silent for 30 s");
    server.close();
    await clock.run(once(server, "close"));
  });

  it("because its program is gone gives ECONNRESET", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock }, (socket) => socket.on("error", () => {}));
    const proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ host: "127.0.0.1", port: proxy.port, clock });
    await clock.run(once(client, "connect"));
    // To the client, the proxy is the other program.
    await proxy.close();
    client.write("anybody?");
    const began = clock.now();
    const error = await errorOf(client, clock);
    expect(clock.now() - began).toBe(0);
    expect(error).toMatchObject({ code: "ECONNRESET", syscall: "read", cause: { code: "ECONNREFUSED" } });
    expect(error.message).toContain("the kernel reported ECONNREFUSED");
    await clock.run(server[Symbol.asyncDispose]());
  });
});

describe("a signal", () => {
  const abortError = { name: "AbortError", code: "ABORT_ERR", cause: "changed my mind" };

  it("that is aborted already", async () => {
    const client = connect({ port: 5000, host: "127.0.0.1", signal: AbortSignal.abort("changed my mind") });
    expect(await errorOf(client)).toMatchObject(abortError);
    expect(client.destroyed).toBe(true);
  });

  it("that is aborted while connecting", async () => {
    const { port, close } = await mute();
    const controller = new AbortController();
    const client = connect({ port, host: "127.0.0.1", signal: controller.signal });
    setImmediate(() => controller.abort("changed my mind"));
    const error = await errorOf(client);
    expect(error).toMatchObject(abortError);
    expect(error.message).toBe(`The connection to 127.0.0.1:${port} was aborted.`);
    close();
  });

  it("that is aborted while a name is being resolved", async () => {
    const controller = new AbortController();
    const lookup: LookupFunction = (_host, _options, callback) => {
      setImmediate(() => callback(null, "127.0.0.1", 4));
    };
    const client = connect({ port: 5000, host: "localhost", signal: controller.signal, lookup });
    controller.abort("changed my mind");
    expect(await errorOf(client)).toMatchObject(abortError);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(client).toMatchObject({ connecting: false, remoteAddress: undefined });
  });

  it("that is aborted in the middle of a transfer", async () => {
    const controller = new AbortController();
    await using pair = await connectedPair({ client: { signal: controller.signal } });
    pair.accepted.on("error", () => {});
    pair.client.write(pattern(1_000_000));
    controller.abort("changed my mind");
    expect(await errorOf(pair.client)).toMatchObject(abortError);
  });

  it("that is aborted after the end changes nothing", async () => {
    const controller = new AbortController();
    const { server, port } = await listening({}, (socket) => socket.end("bye"));
    const client = connect({ port, host: "127.0.0.1", signal: controller.signal });
    expect((await readAll(client)).toString()).toBe("bye");
    if (!client.closed) await once(client, "close");
    controller.abort();
    expect(client.errored).toBeNull();
    await server[Symbol.asyncDispose]();
  });
});
