import { EventEmitter, once } from "node:events";
import { BlockList, type LookupFunction, type Server, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import {
  type ConfundoError,
  type ConfundoServer,
  ConfundoSocket,
  connect,
  createConnection,
  createServer,
} from "../../../src/index.js";
import { BOTH_EDITIONS, connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

/** The surface of node:net beyond what sockets did from the beginning. Node's own suites are run by scripts/node-suites.js. */

describe.each(BOTH_EDITIONS)("new ConfundoSocket() (%s)", (_name, both) => {
  it("is a socket without a connection until connect()", async () => {
    const { server, port } = await listening(both, (socket) => socket.pipe(socket));
    const socket = new ConfundoSocket(both);
    expect(socket).toMatchObject({ pending: true, connecting: false, readyState: "open", _handle: null });
    expect(socket).toMatchObject({ readable: true, writable: true, bufferSize: 0, remoteAddress: undefined });
    expect(socket.address()).toEqual({});
    expect(socket.connect(port, "127.0.0.1")).toBe(socket);
    expect(socket).toMatchObject({ pending: true, connecting: true, _connecting: true, readyState: "opening" });
    await once(socket, "connect");
    expect(socket).toMatchObject({ pending: false, connecting: false, readyState: "open", remotePort: port });
    socket.end("there and back");
    expect((await readAll(socket)).toString()).toBe("there and back");
    await server[Symbol.asyncDispose]();
  });

  it("connects again after close, with counters that begin again", async () => {
    const { server, port } = await listening(both, (socket) => socket.pipe(socket));
    const socket = new ConfundoSocket(both);
    const received: string[] = [];
    socket.on("data", (bytes) => received.push(String(bytes)));
    for (const text of ["one", "two", "three"]) {
      socket.connect({ port, host: "127.0.0.1" });
      await once(socket, "connect");
      socket.end(text);
      await once(socket, "close");
      expect(socket).toMatchObject({ bytesRead: text.length, bytesWritten: text.length, destroyed: true });
    }
    expect(received).toEqual(["one", "two", "three"]);
    await server[Symbol.asyncDispose]();
  });

  it("connects again after an error", async () => {
    const { server, port } = await listening(both, (socket) => socket.end("hello"));
    const socket = connect({ ...both, port: 0, host: "127.0.0.1" });
    const [error] = await once(socket, "error");
    expect(error.code).toBe("ECONNREFUSED");
    socket.connect(port, "127.0.0.1");
    expect((await readAll(socket)).toString()).toBe("hello");
    await server[Symbol.asyncDispose]();
  });

  it("calls back early writes when it is connected, or with an error", async () => {
    const { server, port } = await listening(both, (socket) => socket.resume());
    const socket = createConnection({ ...both, port, host: "127.0.0.1" });
    const outcomes: unknown[] = [];
    for (let i = 0; i < 20; i++) {
      socket.write("early", (error) => outcomes.push(error ?? socket.connecting));
    }
    await once(socket, "connect");
    await new Promise(setImmediate);
    expect(outcomes).toEqual(new Array(20).fill(false));
    socket.destroy();
    await server[Symbol.asyncDispose]();
  });
});

describe("a socket without a connection", () => {
  it("fails a write with ERR_SOCKET_CLOSED", async () => {
    const socket = new ConfundoSocket();
    socket.write("to nobody");
    const [error] = await once(socket, "error");
    expect(error).toMatchObject({ code: "ERR_SOCKET_CLOSED", message: "Socket is closed" });
  });

  it("ends, is destroyed and reset like any other", async () => {
    const ended = new ConfundoSocket();
    ended.end();
    await once(ended, "finish");
    const destroyed = new ConfundoSocket();
    destroyed.destroy();
    await once(destroyed, "close");
    const reset = new ConfundoSocket();
    reset.resetAndDestroy();
    const [error] = await once(reset, "error");
    expect(error.code).toBe("ERR_SOCKET_CLOSED");
  });
});

describe("resetAndDestroy()", () => {
  it("gives the peer ECONNRESET, and no error here", async () => {
    await using pair = await connectedPair();
    const failing = once(pair.accepted, "error");
    pair.client.resetAndDestroy();
    const [error] = await failing;
    expect(error).toMatchObject({ code: "ECONNRESET", syscall: "read", errno: expect.any(Number) });
    expect(pair.client.errored).toBeNull();
  });

  it("waits for a connection that is being opened", async () => {
    const { server, port } = await listening();
    const failing = new Promise<ConfundoError>((resolve) => {
      server.on("connection", (accepted) => accepted.on("error", resolve as () => void));
    });
    const socket = connect(port, "127.0.0.1").resetAndDestroy();
    expect(socket.destroyed).toBe(false);
    expect((await failing).code).toBe("ECONNRESET");
    await server[Symbol.asyncDispose]();
  });
});

describe("destroy(error)", () => {
  it.each(["connect", "data", "end"])("in a client's listener for %s reaches the peer at once", async (event) => {
    const { server, port } = await listening({ allowHalfOpen: true }, (accepted) => {
      if (event === "data") accepted.write("something");
      if (event === "end") accepted.end();
    });
    const failing = new Promise<ConfundoError>((resolve) => {
      server.on("connection", (accepted) => accepted.on("error", resolve as () => void));
    });
    const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    client.on("error", () => {});
    client.on(event, () => client.destroy(new Error("enough")));
    if (event === "end") client.resume();
    // Without the reset the silence timeout would report ETIMEDOUT, after 10 s and more.
    expect((await failing).code).toBe("ECONNRESET");
    await server[Symbol.asyncDispose]();
  });

  it.each([10, 3_000_000])("behind a write of %d bytes comes after them", async (length) => {
    await using pair = await connectedPair();
    const received: Buffer[] = [];
    pair.accepted.on("data", (bytes: Buffer) => received.push(bytes));
    const failing = once(pair.accepted, "error");
    pair.client.on("error", () => {});
    pair.client.write(pattern(length));
    pair.client.destroy(new Error("enough"));
    const [error] = await failing;
    expect(error.code).toBe("ECONNRESET");
    expect(Buffer.concat(received).equals(pattern(length))).toBe(true);
  });
});

describe("an answer, and then destroy(error) in the listener that read the question", () => {
  it("arrives, and then the end, as from a kernel; a reset follows what is sent after it", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { clock }, client: { allowHalfOpen: true } });
    const seen: string[] = [];
    for (const event of ["end", "error"]) pair.client.on(event, () => seen.push(event));
    pair.accepted.on("error", () => {});
    pair.accepted.on("data", () => {
      pair.accepted.write("400 Bad Request");
      pair.accepted.destroy(new Error("a parser's"));
    });
    const received: Buffer[] = [];
    pair.client.on("data", (bytes: Buffer) => received.push(bytes));
    const ending = once(pair.client, "end");
    pair.client.write("nonsense");
    await clock.run(ending);
    expect(Buffer.concat(received).toString()).toBe("400 Bad Request");
    expect(seen).toEqual(["end"]);
    const failing = new Promise<ConfundoError>((resolve) => pair.client.once("error", resolve));
    pair.client.write("more of it");
    expect((await clock.run(failing)).code).toBe("ECONNRESET");
  });

  it("is reset behind what arrives where an earlier write is under way", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { clock } });
    pair.accepted.on("error", () => {});
    pair.accepted.write(pattern(3_000_000));
    pair.accepted.on("data", () => {
      pair.accepted.write("the end of a file that could not be read");
      pair.accepted.destroy(new Error("EIO"));
    });
    const failing = new Promise<ConfundoError>((resolve) => pair.client.once("error", resolve));
    pair.client.write("a question");
    pair.client.resume();
    expect((await clock.run(failing)).code).toBe("ECONNRESET");
    expect(pair.client.readableEnded).toBe(false);
  });
});

describe("half an answer, and later destroy(error)", () => {
  it("is no regular end for the peer", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { clock } });
    pair.accepted.on("error", () => {});
    pair.accepted.on("data", () => {
      pair.accepted.write("half an ");
      setImmediate(() => pair.accepted.destroy(new Error("EIO")));
    });
    const failing = new Promise<ConfundoError>((resolve) => pair.client.once("error", resolve));
    pair.client.resume().write("a question");
    expect((await clock.run(failing)).code).toBe("ECONNRESET");
    expect(pair.client.readableEnded).toBe(false);
  });
});

describe("an answer to the peer's end that its program reads no more", () => {
  it("closes the socket without an error, and without finish", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { clock }, client: { allowHalfOpen: true } });
    const seen: string[] = [];
    for (const event of ["finish", "error", "close"]) pair.client.on(event, () => seen.push(event));
    const ending = once(pair.client.resume(), "end");
    pair.accepted.write("the last of it");
    pair.accepted.destroy();
    await clock.run(ending);
    const closing = once(pair.client, "close");
    pair.client.end("goodbye");
    expect(await clock.run(closing)).toEqual([false]);
    expect(seen).toEqual(["close"]);
  });

  it("is an error where it is more than an answer: bytes written before were not read either", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { clock }, client: { allowHalfOpen: true } });
    const failing = new Promise<ConfundoError>((resolve) => pair.client.once("error", resolve));
    pair.client.resume();
    pair.client.end("a question that nobody reads");
    pair.accepted.destroy();
    expect((await clock.run(failing)).code).toBe("ECONNRESET");
  });
});

describe("a write behind the peer's end", () => {
  it("is EPIPE where that ended this side, too", async () => {
    await using pair = await connectedPair();
    pair.accepted.end();
    pair.client.resume();
    await once(pair.client, "end");
    await new Promise(setImmediate);
    const outcome = await new Promise((resolve) => pair.client.on("error", () => {}).write("too late", resolve));
    expect(outcome).toMatchObject({ code: "EPIPE", message: "This socket has been ended by the other party" });
  });
});

describe("options of connect", () => {
  it("onread hands over what arrives in the program's buffers, and pauses", async () => {
    const { server, port } = await listening({}, (socket) => socket.end(pattern(100)));
    const parts: Buffer[] = [];
    const buffer = Buffer.alloc(16);
    const socket: ConfundoSocket = connect({
      port,
      host: "127.0.0.1",
      onread: {
        buffer,
        callback(this: ConfundoSocket, length: number, given: Uint8Array) {
          expect(this).toBe(socket);
          expect(given).toBe(buffer);
          parts.push(Buffer.from(given.subarray(0, length)));
          setImmediate(() => socket.resume());
          return parts.length % 2 === 0;
        },
      },
    });
    socket.on("data", () => expect.unreachable());
    await once(socket, "end");
    expect(parts.map(({ length }) => length)).toEqual([16, 16, 16, 16, 16, 16, 4]);
    expect(Buffer.concat(parts).equals(pattern(100))).toBe(true);
    await server[Symbol.asyncDispose]();
  });

  it("timeout is as setTimeout()", async () => {
    const { server, port } = await listening();
    const client = connect({ port, host: "127.0.0.1", timeout: 20 });
    expect(client.timeout).toBe(20);
    await once(client, "timeout");
    client.destroy();
    await server[Symbol.asyncDispose]();
  });

  it("blockList refuses addresses on both sides", async () => {
    const blockList = new BlockList();
    blockList.addAddress("127.0.0.1");
    const [error] = await once(connect({ port: 9, host: "127.0.0.1", blockList }), "error");
    expect(error).toMatchObject({ code: "ERR_IP_BLOCKED", message: "IP(127.0.0.1) is blocked by net.BlockList" });
    const { server, port } = await listening({ blockList }, () => expect.unreachable());
    const refused = connect(port, "127.0.0.1");
    const dropping = once(server, "drop");
    expect(await readAll(refused)).toEqual(Buffer.alloc(0));
    expect((await dropping)[0]).toMatchObject({ remoteAddress: "127.0.0.1", remoteFamily: "IPv4", localPort: port });
    expect(server.stats.drops).toMatchObject({ blockedAddress: 1, connectionLimit: 0 });
    await server[Symbol.asyncDispose]();
  });

  it.each<[string, LookupFunction]>([
    ["one address", (_host, _options, callback) => callback(null, "127.0.0.1", 4)],
    ["an array", (_host, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }])],
  ])("lookup may answer with %s", async (_what, lookup) => {
    const { server, port } = await listening({}, (socket) => socket.end("found"));
    const socket = connect({ port, host: "a.test", lookup });
    expect((await readAll(socket)).toString()).toBe("found");
    await server[Symbol.asyncDispose]();
  });

  it.each<[string, LookupFunction]>([
    ["ERR_INVALID_IP_ADDRESS", (_host, _options, callback) => callback(null, "here", 4)],
    ["ERR_INVALID_ADDRESS_FAMILY", (_host, _options, callback) => callback(null, "127.0.0.1", 100)],
  ])("a lookup without a usable address gives %s", async (code, lookup) => {
    const [error] = await once(connect({ port: 9, host: "a.test", lookup }), "error");
    expect(error.code).toBe(code);
  });

  it("a lookup's own error is handed on as it is", async () => {
    const failure = new Error("not today");
    const socket = connect({ port: 9, host: "a.test", lookup: (_host, _options, callback) => callback(failure, "") });
    expect(await once(socket, "error")).toEqual([failure]);
  });
});

describe("a server", () => {
  it("destroys the socket of a listener that rejects, with captureRejections", async () => {
    const { server, port } = await listening();
    const failure = new Error("no");
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      server[EventEmitter.captureRejectionSymbol](failure, "connection", socket);
      expect(socket.errored).toBe(failure);
    });
    const client = connect(port, "127.0.0.1");
    const [error] = await once(client, "error");
    expect(error.code).toBe("ECONNRESET");
    await server[Symbol.asyncDispose]();
  });

  it("is the `server` of the sockets it has accepted", async () => {
    await using pair = await connectedPair();
    expect(pair.accepted.server).toBe(pair.server);
    expect(pair.client.server).toBeNull();
    expect(pair.server.connections).toBe(1);
  });
});

describe("types", () => {
  it("pass where node:net's are asked for", async () => {
    const takesSocket = (socket: Socket): Socket => socket;
    const takesServer = (server: Server): Server => server;
    const server: ConfundoServer = createServer();
    expect(takesServer(server)).toBe(server);
    const socket = new ConfundoSocket();
    expect(takesSocket(socket)).toBe(socket);
  });
});
