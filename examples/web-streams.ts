// Sockets as web streams: Duplex.toWeb() gives what fetch(), TransformStream and friends work with.
import { once } from "node:events";
import { Duplex } from "node:stream";
import { connect, createServer } from "confundo";

// The server shouts back what it hears, also what it hears last.
const server = createServer({ allowHalfOpen: true }, (socket) => {
  const shout = new TransformStream<string, string>({
    transform: (text, controller) => controller.enqueue(text.toUpperCase()),
  });
  const { readable, writable } = Duplex.toWeb(socket);
  readable
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(shout)
    .pipeThrough(new TextEncoderStream())
    .pipeTo(writable)
    .then(() => server.close());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1", allowHalfOpen: true });
const { readable, writable } = Duplex.toWeb(socket);
const writer = writable.getWriter();
await writer.write(new TextEncoder().encode("web streams "));
await writer.write(new TextEncoder().encode("work too"));
await writer.close();

let answer = "";
for await (const text of readable.pipeThrough(new TextDecoderStream())) answer += text;
console.log(answer);
