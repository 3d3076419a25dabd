// HTTP/1.1 over Confundo: an ordinary Node HTTP server and client that never see TCP. One connection, three requests.
import { once } from "node:events";
import http from "node:http";
import { text } from "node:stream/consumers";
import { type ConfundoSocket, connect, createServer } from "confundo";

const web = http.createServer((request, response) => {
  let length = 0;
  request.on("data", (chunk: Buffer) => {
    length += chunk.length;
  });
  request.on("end", () => response.end(`${request.method} ${request.url} with ${length} bytes`));
});

// An idle connection is given up after 10 s of silence, so whoever keeps connections open sets keepAlive.
const server = createServer({ keepAlive: true }, (socket) => web.emit("connection", socket));
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port = 0 } = server.address() ?? {};

const opened: ConfundoSocket[] = [];
class ConfundoAgent extends http.Agent {
  override createConnection() {
    const socket = connect({ port, host: "127.0.0.1" });
    opened.push(socket);
    return socket;
  }
}
const agent = new ConfundoAgent({ keepAlive: true, maxSockets: 1 });

for (const [path, body] of [
  ["/hello", ""],
  ["/upload", "x".repeat(1_500_000)],
  ["/bye", ""],
] as const) {
  const request = http.request({ agent, path, method: body === "" ? "GET" : "POST" });
  request.end(body);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  console.log(response.statusCode, await text(response));
}
console.log(`connections opened: ${opened.length}`);
agent.destroy();
server.close();
