import { once } from "node:events";
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import http from "node:http";
import { join } from "node:path";
import { Duplex, Readable, type Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { connect as connectTls, TLSSocket } from "node:tls";
import { createGunzip, createGzip } from "node:zlib";
import { extract, pack } from "tar-stream";
import { describe, expect, it } from "vitest";
import { type ConfundoSocket, connect } from "../../../src/stream/index.js";
import { selfSigned } from "../../support/certificate.js";
import { BOTH_EDITIONS, connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { temporaryFolder } from "../../support/temp.js";

const DATA = pattern(1_200_000);

describe.each(BOTH_EDITIONS)("a socket of the %s edition composes with", (_name, both) => {
  it("pipeline(), a file and gzip", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "file");
    await writeFile(path, DATA);
    await using pair = await connectedPair({ both });
    const received = buffer(pair.accepted.pipe(createGunzip()));
    await pipeline(createReadStream(path), createGzip({ level: 1 }), pair.client);
    expect(pair.client.stats.bytesAcknowledged).toBe(pair.client.bytesWritten);
    expect((await received).equals(DATA)).toBe(true);
  });

  it("pipeline() that is aborted: the socket is destroyed", async () => {
    await using pair = await connectedPair({ both });
    pair.accepted.on("error", () => {});
    const controller = new AbortController();
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(1000));
      },
    });
    const piping = pipeline(endless, pair.client, { signal: controller.signal });
    await once(pair.client, "drain");
    controller.abort();
    await expect(piping).rejects.toMatchObject({ name: "AbortError" });
    expect(pair.client.destroyed).toBe(true);
  });

  it("tar-stream", async () => {
    await using pair = await connectedPair({ both });
    const archive = pack();
    archive.entry({ name: "empty" }, "");
    archive.entry({ name: "large" }, DATA);
    archive.finalize();
    const sending = pipeline(archive as unknown as Readable, pair.client);
    const entries = new Map<string, Buffer>();
    for await (const entry of pair.accepted.pipe(extract() as unknown as Writable & ReturnType<typeof extract>)) {
      entries.set(entry.header.name, await buffer(entry as unknown as Readable));
    }
    await sending;
    expect([...entries.keys()]).toEqual(["empty", "large"]);
    expect(entries.get("large")?.equals(DATA)).toBe(true);
  });

  it("node:tls in both roles, with half a megabyte each way at once", async () => {
    const { key, cert } = selfSigned("confundo.test");
    // Each way ends when it is done: without this, whoever is told of the end stops sending.
    await using pair = await connectedPair({ both: { ...both, allowHalfOpen: true } });
    const served = new TLSSocket(pair.accepted, { isServer: true, key, cert });
    const secure = connectTls({ socket: pair.client, ca: cert, servername: "confundo.test" });
    await once(secure, "secureConnect");
    expect(secure).toMatchObject({ authorized: true, encrypted: true });
    const [up, down] = [DATA.subarray(0, 500_000), DATA.subarray(500_000)];
    served.end(down);
    secure.end(up);
    const reads = [served, secure].map((socket) => readAll(socket.iterator({ destroyOnReturn: false })));
    const [gotUp, gotDown] = await Promise.all(reads);
    expect(gotUp?.equals(up)).toBe(true);
    expect(gotDown?.equals(down)).toBe(true);
  });

  it("node:tls over default sockets, whose client ends right after secureConnect", async () => {
    const { key, cert } = selfSigned("confundo.test");
    for (let round = 0; round < 4; round++) {
      await using pair = await connectedPair({ both });
      const served = new TLSSocket(pair.accepted, { isServer: true, key, cert });
      const secure = connectTls({ socket: pair.client, ca: cert, servername: "confundo.test" });
      const errors: Error[] = [];
      for (const socket of [served, secure, pair.client, pair.accepted])
        socket.on("error", (error) => errors.push(error));
      const closing = Promise.all([once(served, "close"), once(secure, "close")]);
      secure.once("secureConnect", () => secure.end("all there is to say"));
      secure.resume();
      expect((await readAll(served.iterator({ destroyOnReturn: false }))).toString()).toBe("all there is to say");
      served.end();
      await closing;
      expect(errors).toEqual([]);
    }
  });

  it("node:tls, whose program reads after the peer's end", async () => {
    const { key, cert } = selfSigned("confundo.test");
    await using pair = await connectedPair({ both });
    const ended = once(pair.client, "end");
    const served = new TLSSocket(pair.accepted, { isServer: true, key, cert }).resume();
    const secure = connectTls({ socket: pair.client, ca: cert, servername: "confundo.test" });
    const closing = Promise.all([pair.client, pair.accepted, served].map((socket) => once(socket, "close")));
    served.end(DATA.subarray(0, 10_000));
    await ended;
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    expect(secure.destroyed).toBe(false);
    expect((await readAll(secure)).equals(DATA.subarray(0, 10_000))).toBe(true);
    await closing;
  });

  it("node:tls, whose refusal of a certificate ends the connection", async () => {
    const { key, cert } = selfSigned("somebody.else");
    await using pair = await connectedPair({ both });
    new TLSSocket(pair.accepted, { isServer: true, key, cert }).on("error", () => {});
    const secure = connectTls({ socket: pair.client, ca: cert, servername: "confundo.test" });
    const [error] = await new Promise<[Error]>((resolve) => secure.once("error", (reason) => resolve([reason])));
    expect(error).toMatchObject({ code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    expect(secure.destroyed).toBe(true);
  });

  it("HTTP/1.1 with keep-alive and large bodies both ways", async () => {
    const web = http.createServer((request, response) => {
      response.setHeader("x-method", request.method ?? "");
      request.pipe(response);
    });
    const { server, port } = await listening(both, (socket) => web.emit("connection", socket));
    const opened: ConfundoSocket[] = [];
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const createConnection = () => {
      const socket = connect({ ...both, port, host: "127.0.0.1" });
      opened.push(socket);
      return socket;
    };
    Object.assign(agent, { createConnection });
    for (const body of [DATA, Buffer.from("small"), Buffer.alloc(0)]) {
      const request = http.request({ agent, method: "POST", path: "/echo" });
      const responding = once(request, "response") as Promise<[http.IncomingMessage]>;
      const sending = pipeline(Readable.from([body]), request);
      const [response] = await responding;
      expect(response.headers["x-method"]).toBe("POST");
      expect((await buffer(response)).equals(body)).toBe(true);
      await sending;
    }
    expect(opened.length).toBe(1);
    const closing = once(opened[0] as ConfundoSocket, "close");
    agent.destroy();
    await closing;
    await server[Symbol.asyncDispose]();
  });

  it("HTTP/1.1, which remembers a window that has grown since and waits for `drain`", async () => {
    await using pair = await connectedPair({ both });
    const remembered = pair.client.writableHighWaterMark;
    pair.accepted.resume();
    while (pair.client.writableHighWaterMark < 2 * remembered) {
      pair.client.write(DATA.subarray(0, 100_000));
      await once(pair.client, "drain");
    }
    while (pair.client.writableLength > 0) await once(pair.client, "drain");
    expect(pair.client.write(DATA.subarray(0, remembered))).toBe(true);
    await once(pair.client, "drain");
    expect(pair.client.writableLength).toBe(0);
  });

  it("http.request({ createConnection }) without an agent", async () => {
    const web = http.createServer((_request, response) => response.end("hello"));
    const { server, port } = await listening(both, (socket) => web.emit("connection", socket));
    const request = http.get({ createConnection: () => connect({ ...both, port, host: "127.0.0.1" }), path: "/" });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect((await buffer(response)).toString()).toBe("hello");
    await server[Symbol.asyncDispose]();
  });

  it("Duplex.toWeb()", async () => {
    await using pair = await connectedPair({ both });
    const { readable, writable } = Duplex.toWeb(pair.client);
    const echoing = pipeline(
      pair.accepted,
      async function* (chunks) {
        yield* chunks;
      },
      pair.accepted,
    );
    const sending = new Blob([new Uint8Array(DATA)]).stream().pipeTo(writable);
    const got: Uint8Array[] = [];
    for await (const chunk of readable) got.push(chunk as Uint8Array);
    await Promise.all([sending, echoing]);
    expect(Buffer.concat(got).equals(DATA)).toBe(true);
  });

  it("a generator that echoes what came together with the end", async () => {
    const { server, port } = await listening(both, (socket) => {
      void pipeline(
        socket,
        async function* (chunks) {
          yield* chunks;
        },
        socket,
      );
    });
    const sizes = [1, 411, 1000, 10_000, 100_000, 300_000];
    const clients = sizes.map((size) =>
      connect({ ...both, port, host: "127.0.0.1", allowHalfOpen: true }).end(DATA.subarray(0, size)),
    );
    const echoes = await Promise.all(clients.map((client) => readAll(client)));
    expect(echoes.map(({ length }) => length)).toEqual(sizes);
    await server[Symbol.asyncDispose]();
  });

  it("for await, which may be left", async () => {
    await using pair = await connectedPair({ both });
    pair.accepted.on("error", () => {});
    pair.client.write(DATA);
    pair.client.on("error", () => {});
    let length = 0;
    for await (const chunk of pair.accepted) {
      length += chunk.length;
      if (length > 50_000) break;
    }
    expect(length).toBeGreaterThan(50_000);
    expect(pair.accepted.destroyed).toBe(true);
    pair.client.destroy(new Error("nobody reads"));
  });

  it("another socket: a relay of two piped into each other", async () => {
    const allowHalfOpen = true;
    const { server: far, port: farPort } = await listening({ ...both, allowHalfOpen }, (socket) => socket.pipe(socket));
    const { server: relay, port } = await listening({ ...both, edition: "ucla-2017", allowHalfOpen }, (near) => {
      const onward = connect({ ...both, port: farPort, host: "127.0.0.1", allowHalfOpen });
      near.pipe(onward).pipe(near);
    });
    const client = connect({ ...both, port, host: "127.0.0.1", edition: "ucla-2017", allowHalfOpen });
    client.end(DATA);
    expect((await readAll(client)).equals(DATA)).toBe(true);
    await Promise.all([relay[Symbol.asyncDispose](), far[Symbol.asyncDispose]()]);
  });
});
