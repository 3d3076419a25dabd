// Reading with `for await`: the loop is the backpressure. While its body waits, the sender is held back.
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, createServer } from "confundo";

const server = createServer(async (socket) => {
  let lines = 0;
  for await (const line of createInterface({ input: socket })) {
    if (lines++ === 0) console.log(`first line: ${line}`);
    if (lines % 5000 === 0) await sleep(10);
  }
  console.log(`lines received: ${lines}`);
  server.close();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

function* numbers() {
  for (let i = 1; i <= 20_000; i++) yield `line ${i}\n`;
}
const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1" });
Readable.from(numbers()).pipe(socket);
await once(socket, "finish");
console.log(`every byte acknowledged: ${socket.stats.bytesAcknowledged === socket.bytesWritten}`);

// Reading can stop in the middle: leaving the loop destroys the socket, and the other side is told at once.
const endless = createServer((peer) => {
  Readable.from(numbers()).pipe(peer);
  peer.on("error", (error: NodeJS.ErrnoException) => console.log(`told: ${error.code}`));
});
endless.listen(0, "127.0.0.1");
await once(endless, "listening");
const reader = connect({ port: endless.address()?.port ?? 0, host: "127.0.0.1" });
for await (const chunk of reader) {
  console.log(`enough after ${chunk.length > 0 ? "the first chunk" : "nothing"}`);
  break;
}
console.log(`destroyed: ${reader.destroyed}`);
endless.close();
