import { once } from "node:events";
import { Readable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import { EDITION_NAMES } from "../../../src/protocol/index.js";
import { type ConfundoSocket, connect } from "../../../src/stream/index.js";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { BOTH_EDITIONS, connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** Waits for `close` and says whether it had an error. */
function closed(socket: ConfundoSocket): Promise<boolean> {
  return new Promise((resolve) => socket.once("close", resolve));
}

function isFin(datagram: Buffer): boolean {
  return ((datagram[11] ?? 0) & 1) === 1;
}

function eventsOf(socket: ConfundoSocket): string[] {
  const seen: string[] = [];
  for (const name of ["lookup", "connect", "ready", "end", "drain", "finish", "timeout", "error", "close"]) {
    socket.on(name, () => seen.push(name));
  }
  return seen;
}

describe("connect()", () => {
  it("takes options, or a port and a host, or a port alone, and a listener", async () => {
    const { server, port } = await listening({}, (socket) => socket.resume());
    const opened: string[] = [];
    const sockets = [
      connect({ port, host: "127.0.0.1" }, () => opened.push("options")),
      connect(port, "127.0.0.1", () => opened.push("port and host")),
      connect(port, () => opened.push("port")),
    ];
    expect(sockets.map((socket) => socket.readyState)).toEqual(["opening", "opening", "opening"]);
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    expect(opened.sort()).toEqual(["options", "port", "port and host"]);
    for (const socket of sockets) socket.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("emits its events in the order of node:net", async () => {
    const { server, port } = await listening({}, (socket) => socket.end("bye"));
    const client = connect(port, "localhost");
    const seen = eventsOf(client);
    client.resume();
    await once(client, "close");
    expect(seen).toEqual(["lookup", "connect", "ready", "end", "finish", "close"]);
    await server[Symbol.asyncDispose]();
  });

  it("has the properties of net.Socket and those of a connection", async () => {
    const { server, port } = await listening({ edition: "ucla-2019", extended: false, classicNumbers: "edition" });
    const client = connect({ port, host: "127.0.0.1", edition: "ucla-2019" });
    expect(client).toMatchObject({ connecting: true, pending: true, connectionId: 0, remoteAddress: undefined });
    const [accepted] = (await once(server, "connection")) as [ConfundoSocket];
    if (client.connecting) await once(client, "connect");
    expect(client).toMatchObject({
      connecting: false,
      pending: false,
      readyState: "open",
      remoteAddress: "127.0.0.1",
      remotePort: port,
      remoteFamily: "IPv4",
      localAddress: "127.0.0.1",
      localFamily: "IPv4",
      edition: "ucla-2019",
      connectionId: 1,
      cwnd: 512,
      ssthresh: 10_000,
      bytesInFlight: 0,
      bytesRead: 0,
      bytesWritten: 0,
      allowHalfOpen: false,
    });
    expect(client.timeout).toBeUndefined();
    expect(accepted).toMatchObject({
      connecting: false,
      remoteAddress: "127.0.0.1",
      remotePort: client.localPort,
      localPort: port,
      connectionId: 1,
    });
    expect(accepted.address()).toEqual({ address: "127.0.0.1", port, family: "IPv4" });

    client.end("hello");
    expect(client.bytesWritten).toBe(5);
    expect((await readAll(accepted)).toString()).toBe("hello");
    expect(accepted.bytesRead).toBe(5);
    await finished(client.resume());
    const { cwnd, ssthresh, edition } = client;
    expect(client.stats).toMatchObject({
      bytesAcknowledged: 5,
      retransmissions: 0,
      bytesInFlight: 0,
      cwnd,
      ssthresh,
      edition,
    });
    expect(client.readyState).toBe("closed");
    await server[Symbol.asyncDispose]();
    expect(accepted.address()).toBeTypeOf("object");
  });

  it.each(EDITION_NAMES)("speaks %s in both directions at once", async (edition) => {
    await using pair = await connectedPair({ both: { extended: false }, client: { edition }, server: { edition } });
    const up = pattern(70_000);
    const down = pattern(120_000).reverse();
    pair.client.end(up);
    pair.accepted.end(down);
    const [gotUp, gotDown] = await Promise.all([readAll(pair.accepted), readAll(pair.client)]);
    expect(gotUp.equals(up)).toBe(true);
    expect(gotDown.equals(down)).toBe(true);
  });

  it("takes writes before it is connected", async () => {
    const { server, port } = await listening();
    const client = connect(port, "127.0.0.1");
    client.write("one ");
    client.cork();
    client.write("two ");
    client.write("three");
    client.uncork();
    client.end();
    const [accepted] = (await once(server, "connection")) as [ConfundoSocket];
    expect((await readAll(accepted)).toString()).toBe("one two three");
    client.resume();
    await server[Symbol.asyncDispose]();
  });

  it("connects over IPv6", async () => {
    const { server, port } = await listening();
    await server[Symbol.asyncDispose]();
    server.listen(port, "::1");
    await once(server, "listening");
    const client = connect(port, "::1");
    await once(client, "connect");
    expect(client).toMatchObject({ remoteAddress: "::1", remoteFamily: "IPv6", localFamily: "IPv6" });
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("sends from the local port that was asked for", async () => {
    const { server, port } = await listening();
    const { server: other, port: free } = await listening();
    await other[Symbol.asyncDispose]();
    const client = connect({ port, host: "127.0.0.1", localPort: free, localAddress: "127.0.0.1" });
    const [accepted] = (await once(server, "connection")) as [ConfundoSocket];
    expect(accepted.remotePort).toBe(free);
    client.destroy();
    accepted.destroy();
    await server[Symbol.asyncDispose]();
  });
});

describe.each(BOTH_EDITIONS)("the end of a socket (%s)", (_name, both) => {
  it("ends itself when the peer has ended, unless half-open connections are allowed", async () => {
    await using pair = await connectedPair({ both });
    pair.accepted.end();
    pair.client.resume();
    await Promise.all([once(pair.client, "finish"), once(pair.client, "end")]);
    expect(pair.client.writableEnded).toBe(true);
  });

  it("goes on writing after the peer's end with allowHalfOpen", async () => {
    await using pair = await connectedPair({ both, client: { allowHalfOpen: true } });
    pair.accepted.end();
    pair.client.resume();
    await once(pair.client, "end");
    expect(pair.client.readyState).toBe("writeOnly");
    pair.client.end("still here");
    expect((await readAll(pair.accepted)).toString()).toBe("still here");
  });

  it("emits end and close even where nobody reads, if there is nothing to read", async () => {
    await using pair = await connectedPair({ both });
    pair.client.end();
    pair.accepted.end();
    await Promise.all([once(pair.client, "close"), once(pair.accepted, "close")]);
    expect(pair.client.readableEnded).toBe(true);
  });

  it("finishes when the peer has acknowledged every byte and the FIN, not before", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both, client: { clock }, server: { clock, allowHalfOpen: true } });
    const data = pattern(5000);
    pair.client.end(data);
    await clock.run(once(pair.client, "finish"));
    expect(pair.client.stats.bytesAcknowledged).toBe(data.length);
    expect(pair.client.bytesInFlight).toBe(0);
    expect(pair.accepted.bytesRead).toBe(0);
    expect((await readAll(pair.accepted)).equals(data)).toBe(true);
    pair.accepted.end();
    await clock.settle();
  });

  it("destroySoon() delivers what was written", async () => {
    await using pair = await connectedPair({ both });
    const data = pattern(20_000);
    pair.client.write(data);
    pair.client.destroySoon();
    const [got, hadError] = await Promise.all([readAll(pair.accepted), closed(pair.client)]);
    expect(got.equals(data)).toBe(true);
    expect(hadError).toBe(false);
  });

  it("destroy() delivers what the window took, as a kernel would", async () => {
    await using pair = await connectedPair({ both });
    pair.client.write("last words");
    pair.client.destroy();
    const [hadError] = await once(pair.client, "close");
    expect(hadError).toBe(false);
    expect((await readAll(pair.accepted)).toString()).toBe("last words");
  });

  it("calls back every write, with the error where it could not be delivered", async () => {
    await using pair = await connectedPair({ both });
    const outcomes: unknown[] = [];
    pair.client.on("error", () => {});
    pair.accepted.on("error", () => {});
    pair.client.write(pattern(2 * pair.client.writableHighWaterMark), (error) => outcomes.push(error));
    pair.client.write("behind it", (error) => outcomes.push(error));
    const failure = new Error("enough");
    pair.client.destroy(failure);
    await closed(pair.client);
    expect(outcomes).toEqual([failure, failure]);
    pair.accepted.write("kept", (error) => outcomes.push(error));
    pair.accepted.destroy();
    await closed(pair.accepted);
    expect(outcomes.slice(2)).toEqual([null]);
    const unconnected = connect({ ...both, port: pair.port, host: "127.0.0.1" });
    for (const length of [1, 1000]) unconnected.write(pattern(length), (error) => outcomes.push(error));
    unconnected.destroy();
    await closed(unconnected);
    const never = expect.objectContaining({ code: "ERR_SOCKET_CLOSED_BEFORE_CONNECTION" });
    expect(outcomes.slice(3)).toEqual([never, never]);
  });

  it("destroy(error) emits error, then close with hadError, and the peer takes it for no regular end", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock } });
    const seen = eventsOf(pair.client);
    pair.accepted.on("error", () => {});
    pair.client.destroy(new Error("enough"));
    expect(await closed(pair.client)).toBe(true);
    expect(seen).toEqual(["error", "close"]);
    expect(await clock.run(closed(pair.accepted))).toBe(true);
    expect(pair.accepted.readableEnded).toBe(false);
    expect(pair.accepted.errored).toMatchObject({ code: both.extended ? "ECONNRESET" : "ETIMEDOUT" });
  });

  it("ends regularly for the peer when a `for await` has read everything, although half open", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock }, server: { allowHalfOpen: true } });
    const aborting = new Promise<Error>((resolve) => pair.accepted.once("error", resolve));
    pair.client.end("a question");
    const echoing = (async () => {
      for await (const chunk of pair.accepted) pair.accepted.write(chunk);
    })();
    const began = clock.now();
    expect((await clock.run(readAll(pair.client))).toString()).toBe("a question");
    await clock.run(echoing);
    // As in node:net, the stream itself calls that aborted.
    expect(await aborting).toMatchObject({ name: "AbortError" });
    expect(clock.now() - began).toBeLessThan(1000);
    expect(pair.client.errored).toBeNull();
  });

  it("is no regular one for the peer when a signal aborts what is still being written", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock }, server: { allowHalfOpen: true } });
    const controller = new AbortController();
    pair.client.end("a question");
    await clock.run(once(pair.accepted.resume(), "end"));
    const answering = pipeline(Readable.from(["half an ", new Promise(() => {})]), pair.accepted, {
      signal: controller.signal,
    });
    await clock.settle();
    controller.abort();
    await expect(answering).rejects.toMatchObject({ name: "AbortError" });
    const failing = new Promise<Error>((resolve) => pair.client.once("error", resolve));
    expect(await clock.run(failing)).toMatchObject({ code: both.extended ? "ECONNRESET" : "ETIMEDOUT" });
    expect(pair.client.readableEnded).toBe(false);
  });

  it("is disposed with `await using`: what was written arrives, and nothing is thrown", async () => {
    const { server, port } = await listening(both);
    let disposed: ConfundoSocket;
    {
      await using client = connect({ ...both, port, host: "127.0.0.1" });
      disposed = client;
      client.write("kept");
      await once(client, "connect");
    }
    expect(disposed.closed).toBe(true);
    await disposed[Symbol.asyncDispose]();
    const [accepted] = (await once(server, "connection").catch(() => [])) as [ConfundoSocket];
    expect((await readAll(accepted)).toString()).toBe("kept");
    await server[Symbol.asyncDispose]();
  });
});

describe("FIN-WAIT", () => {
  it("does not delay close, and late FINs are answered in the background for 2 s", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ clock, extended: false }, (socket) => socket.resume());
    let finSeen = false;
    let answersLost = 0;
    await using proxy = await LossyProxy.start({
      seed: 1,
      targetPort: port,
      clock,
      filter: (datagram, direction) => {
        if (direction === "toClient" && isFin(datagram)) finSeen = true;
        const lost = direction === "toServer" && finSeen && answersLost < 3;
        if (lost) answersLost++;
        return !lost;
      },
    });
    const client = connect({ host: "127.0.0.1", port: proxy.port, clock, extended: false });
    client.resume().end("x");
    const accepting = once(server, "connection");
    const began = clock.now();
    await clock.run(once(client, "close"));
    expect(clock.now() - began).toBeLessThan(500);
    const [accepted] = (await accepting) as [ConfundoSocket];
    await clock.run(once(accepted, "close"));
    // Three of its FINs went unanswered, the fourth was answered by a socket that is closed.
    expect(answersLost).toBe(3);
    expect(accepted.stats.retransmissions).toBe(3);
    expect(accepted.writableFinished).toBe(true);
    await server[Symbol.asyncDispose]();
  });

  it.each(BOTH_EDITIONS)("is waited for with finWait: foreground (%s)", async (_name, both) => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both, client: { clock, finWait: "foreground" }, server: { clock } });
    pair.accepted.resume();
    pair.client.resume().end("x");
    await clock.run(once(pair.client, "finish"));
    const began = clock.now();
    await clock.run(once(pair.client, "close"));
    expect(clock.now() - began).toBe(both.extended ? 4000 : 2000);
  });
});

describe.each(BOTH_EDITIONS)("setTimeout() (%s)", (_name, both) => {
  it("emits timeout after inactivity, once, and leaves the socket open", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both, client: { clock, keepAlive: true }, server: { clock } });
    let timeouts = 0;
    pair.client.setTimeout(1000, () => timeouts++);
    expect(pair.client.timeout).toBe(1000);
    await clock.pass(999);
    expect(timeouts).toBe(0);
    await clock.pass(1);
    expect(timeouts).toBe(1);
    await clock.pass(3000);
    expect(timeouts).toBe(1);
    expect(pair.client.readyState).toBe("open");
  });

  it("begins anew with every activity, and 0 turns it off", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock } });
    const seen = eventsOf(pair.client);
    pair.accepted.resume();
    pair.client.setTimeout(1000);
    await clock.pass(900);
    pair.client.write("x");
    await clock.pass(900);
    expect(seen).toEqual([]);
    pair.client.setTimeout(0);
    await clock.pass(5000);
    expect(seen).toEqual([]);
  });

  it("counts from a write, not from its acknowledgement", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock } });
    pair.accepted.resume();
    pair.client.write("x");
    let timeouts = 0;
    pair.client.setTimeout(1000, () => timeouts++);
    await clock.pass(999);
    expect(pair.client.stats.bytesAcknowledged).toBe(1);
    expect(timeouts).toBe(0);
    await clock.pass(1);
    expect(timeouts).toBe(1);
  });
});

describe("keepAlive of the classic edition", () => {
  it("keeps an idle connection alive beyond the 10 s of silence", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({
      both: { extended: false },
      client: { clock, keepAlive: true },
      server: { clock },
    });
    await clock.pass(60_000);
    pair.client.end("still there");
    expect((await readAll(pair.accepted)).toString()).toBe("still there");
  });

  it("is on by itself while the peer has ended and this side has not", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({
      both: { extended: false },
      client: { clock },
      server: { clock, allowHalfOpen: true },
    });
    pair.client.end("a question");
    // A plain `for await` would destroy the socket after the last chunk.
    const question = readAll(pair.accepted.iterator({ destroyOnReturn: false }));
    expect((await clock.run(question)).toString()).toBe("a question");
    await clock.pass(60_000);
    pair.accepted.end("an answer");
    expect((await clock.run(readAll(pair.client))).toString()).toBe("an answer");
  });

  it("is off unless asked for: an idle connection is given up", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { extended: false }, client: { clock }, server: { clock } });
    const failed = Promise.all([once(pair.client, "error"), once(pair.accepted, "error")]);
    await clock.pass(10_000);
    const [[error]] = await failed;
    expect(error).toMatchObject({ name: "ConfundoError", code: "ETIMEDOUT", syscall: "read" });
    expect(error.message).toMatch(/silent for 10 s/);
  });
});
