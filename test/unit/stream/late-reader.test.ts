import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import { type ConfundoSocket, connect, createServer } from "../../../src/stream/index.js";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { BOTH_EDITIONS, connectedPair, listening, pattern, readAll } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

const SENT = pattern(200_000);

/** The rest of what is there, however late. */
async function readRest(socket: ConfundoSocket, clock: TestClock): Promise<Buffer> {
  return clock.run(readAll(socket.iterator({ destroyOnReturn: false })));
}

function errorsOf(socket: ConfundoSocket): Error[] {
  const errors: Error[] = [];
  socket.on("error", (error) => errors.push(error));
  return errors;
}

describe.each(BOTH_EDITIONS)("what has arrived up to the peer's FIN (%s)", (_name, both) => {
  it("is read after a pause of 15 s, although the server has finished, destroyed its socket and closed", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...both, clock }, (socket) => {
      socket.end(SENT, () => {
        socket.destroy();
        server.close();
      });
    });
    const client = connect({ ...both, clock, port, host: "127.0.0.1" });
    const errors = errorsOf(client);
    const closing = once(server, "close");
    await clock.run(once(client, "readable"));
    const first = client.read(1000) as Buffer;
    await clock.run(closing);
    await clock.pass(15_000);
    expect(client.destroyed).toBe(false);
    const closed = once(client, "close");
    const rest = await readRest(client, clock);
    expect(Buffer.concat([first, rest]).equals(SENT)).toBe(true);
    expect(client.readableEnded).toBe(true);
    await clock.run(closed);
    expect(errors).toEqual([]);
  });

  it("comes before the error where this side's output is not acknowledged", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock, allowHalfOpen: true } });
    const { client, accepted } = pair;
    accepted.on("error", () => {});
    const errors = errorsOf(client);
    const finished = once(accepted, "finish");
    accepted.end(SENT);
    await clock.run(finished);
    await clock.run(once(client, "readable"));
    client.write("nobody reads that");
    accepted.destroy();
    await clock.pass(60_000);
    expect(errors).toEqual([]);
    const failing = once(client, "error");
    expect((await readRest(client, clock)).equals(SENT)).toBe(true);
    const [error] = await clock.run(failing);
    expect(error).toMatchObject({ code: both.extended ? "ECONNRESET" : "ETIMEDOUT" });
    expect(client.readableEnded).toBe(true);
  });

  it("is no reason for an error at a server that only writes, when its client has closed", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { ...both, clock } });
    const { client, accepted } = pair;
    const errors = errorsOf(accepted);
    client.write("a request that nobody reads");
    accepted.write("an event");
    await clock.run(once(client, "data"));
    client.end();
    client.destroy();
    await clock.pass(120_000);
    expect(errors).toEqual([]);
    expect(accepted.destroyed).toBe(false);
    expect((await readRest(accepted, clock)).toString()).toBe("a request that nobody reads");
    expect(errors).toEqual([]);
  });

  it("a write to a peer that has gone since fails when the reader has had it", async () => {
    const clock = new TestClock();
    const { server, port } = await listening({ ...both, clock });
    const proxy = await LossyProxy.start({ seed: 1, targetPort: port, clock });
    const client = connect({ ...both, clock, port: proxy.port, host: "127.0.0.1", allowHalfOpen: true });
    const [accepted] = (await clock.run(once(server, "connection"))) as [ConfundoSocket];
    const errors = errorsOf(client);
    accepted.on("error", () => {});
    accepted.end("an answer");
    await clock.run(once(accepted, "finish"));
    proxy.silent = true;
    await clock.pass(60_000);
    client.write("too late");
    const failing = once(client, "error");
    await clock.pass(60_000);
    expect(errors).toEqual([]);
    expect((await readRest(client, clock)).toString()).toBe("an answer");
    expect((await clock.run(failing))[0]).toMatchObject({ code: "ETIMEDOUT" });
    server.close();
    await proxy.close();
  });
});

describe("what has arrived before a reset", () => {
  it("holds no error back from a program that only writes", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { extended: "required", clock } });
    const { client, accepted } = pair;
    accepted.on("error", () => {});
    const written = pipeline(Readable.from([SENT, SENT, SENT]), client).then(
      () => null,
      (error: unknown) => error,
    );
    await clock.settle();
    accepted.end("too long");
    accepted.destroy();
    expect(await clock.run(written)).toMatchObject({ code: "ECONNRESET" });
  });

  it("is read before the error, by a reader that is slow", async () => {
    const clock = new TestClock();
    await using pair = await connectedPair({ both: { extended: "required", clock } });
    const { client, accepted } = pair;
    accepted.on("error", () => {});
    const errors = errorsOf(client);
    client.once("data", (chunk: Buffer) => {
      client.pause();
      client.unshift(chunk);
    });
    accepted.write(SENT);
    await clock.settle();
    accepted.destroy(new Error("enough"));
    await clock.pass(15_000);
    expect(errors).toEqual([]);
    const chunks: Buffer[] = [];
    client.on("data", (chunk: Buffer) => chunks.push(chunk));
    const closed = new Promise((resolve) => client.once("close", resolve));
    client.resume();
    await clock.run(closed);
    expect(Buffer.concat(chunks).equals(SENT)).toBe(true);
    expect(client.readableEnded).toBe(false);
    expect(errors).toMatchObject([{ code: "ECONNRESET" }]);
  });
});

describe("node:http", () => {
  it.each(BOTH_EDITIONS)(
    "a response with Connection: close is read after a pause of 12 s (%s)",
    async (_name, both) => {
      const clock = new TestClock();
      const web = http.createServer((_request, response) => {
        response.setHeader("Connection", "close");
        response.end(SENT);
      });
      const server = createServer({ ...both, clock, allowHalfOpen: true }, (socket) => web.emit("connection", socket));
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      const request = http.get("http://127.0.0.1/", {
        createConnection: () => connect({ ...both, clock, port, host: "127.0.0.1" }) as never,
      });
      const [response] = (await clock.run(once(request, "response"))) as [http.IncomingMessage];
      server.close();
      await clock.pass(12_000);
      expect((await clock.run(readAll(response))).equals(SENT)).toBe(true);
    },
  );
});
