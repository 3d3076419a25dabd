// A relay: two sockets piped into each other. Here it takes TCP connections and passes them on over Confundo.
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from "node:net";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { connect, createServer } from "confundo";

// Far away: a Confundo server that answers. Half-open, as the question's end is not the answer's.
const server = createServer({ allowHalfOpen: true }, async (socket) => {
  const question = await text(socket.iterator({ destroyOnReturn: false }));
  socket.end(`${question.length} letters, over ${socket.edition}`);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

// In between: the relay.
const relay = createTcpServer({ allowHalfOpen: true }, async (near) => {
  const far = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1", allowHalfOpen: true });
  await Promise.all([pipeline(near, far), pipeline(far, near)]);
  console.log(`relayed ${far.bytesWritten} bytes there and ${far.bytesRead} back`);
  relay.close();
  server.close();
});
relay.listen(0, "127.0.0.1");
await once(relay, "listening");

// Here: a program that knows TCP only.
const client = connectTcp({ port: (relay.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
client.end("How long is this question?");
console.log(await text(client));
