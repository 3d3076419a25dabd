import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { Server } from "node:net";
import { connect } from "confundo";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { close, HOST, listen } from "./support.ts";

const http = createHttpServer();
const webSockets = new WebSocketServer({ noServer: true });
http.on("upgrade", (request, socket, head) => {
  webSockets.handleUpgrade(request, socket, head, (peer) => {
    peer.on("message", (message: RawData, isBinary) => peer.send(message, { binary: isBinary }));
  });
});
const [server, port] = await listen((socket) => http.emit("connection", socket));
// A server of ours has the type of net.Server, too.
const asNet: Server = server;
assert.equal(asNet.listening, true);

const client = new WebSocket(`ws://${HOST}:${port}`, { createConnection: () => connect({ port, host: HOST }) });
await once(client, "open");
for (const size of [5, 1_000_000]) {
  const message = Buffer.alloc(size, "hello");
  client.send(message);
  const [echo] = (await once(client, "message")) as [Buffer];
  assert.deepEqual(echo, message);
}
client.close(4000, "enough");
const [code, reason] = (await once(client, "close")) as [number, Buffer];
assert.deepEqual([code, String(reason)], [4000, "enough"]);
await close(server);
