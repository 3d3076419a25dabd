import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { connect } from "confundo";
import { Agent, request } from "undici";
import { close, HOST, listen } from "./support.ts";

const http = createHttpServer((message, response) => message.pipe(response));
const [server, port] = await listen((socket) => http.emit("connection", socket));
const dispatcher = new Agent({
  connect: (_options, callback) => {
    const socket = connect({ port, host: HOST });
    socket.once("connect", () => callback(null, socket));
    socket.once("error", (error) => callback(error, null));
  },
});
for (const size of [0, 5, 1_000_000]) {
  const body = Buffer.alloc(size, "hello");
  const answer = await request("http://anything.test/", { dispatcher, method: "POST", body });
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(Buffer.from(await answer.body.arrayBuffer()), body);
}
await dispatcher.close();
await close(server);
