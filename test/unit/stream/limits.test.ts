/** Connections beyond a server's own limit, of which fewer than usual are accepted to be ended at once. */
import { expect, test, vi } from "vitest";
import { MAX_DROPPED_CONNECTIONS } from "../../../src/protocol/limits.js";
import { type ConfundoError, connect } from "../../../src/stream/index.js";
import { listening } from "../../support/sockets.js";
import { TestClock } from "../../support/test-clock.js";

vi.mock("../../../src/protocol/limits.js", async (original) => ({
  ...(await original<typeof import("../../../src/protocol/limits.js")>()),
  MAX_DROPPED_CONNECTIONS: 2,
}));

test("MAX_DROPPED_CONNECTIONS are ended at once, at a time; more are refused before they are accepted", async () => {
  const clock = new TestClock();
  const { server, port } = await listening({ maxConnections: 1, clock }, (socket) => socket.resume());
  let dropped = 0;
  server.on("drop", () => void dropped++);
  const clients = Array.from({ length: 6 }, () => connect({ port, host: "127.0.0.1", clock }).resume());
  const outcomes = clients.map(
    (client) =>
      new Promise<string>((resolve) => {
        client.on("error", (error: ConfundoError) => resolve(error.code));
        client.once("end", () => resolve("ended"));
      }),
  );
  await clock.settle();
  expect(dropped).toBe(MAX_DROPPED_CONNECTIONS);
  clients[0]?.end();
  expect((await clock.run(Promise.all(outcomes))).sort()).toEqual([
    ...Array<string>(3).fill("ECONNRESET"),
    ...Array<string>(3).fill("ended"),
  ]);
  expect(server.stats.drops.connectionLimit).toBe(5);
  await clock.run(server[Symbol.asyncDispose]());
});
