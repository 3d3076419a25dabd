// A file, compressed on its way: pipeline() ends when the other side has acknowledged every byte.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { type ConfundoSocket, connect, createServer } from "confundo";

const file = new URL(import.meta.url);

const server = createServer(async (socket: ConfundoSocket) => {
  const content = await buffer(socket.pipe(createGunzip()));
  console.log(`received ${socket.bytesRead} bytes, which were ${content.length} before`);
  server.close();
});

server.listen(0, "127.0.0.1", async () => {
  const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1" });
  await pipeline(createReadStream(file), createGzip(), socket);
  console.log(`sent a file of ${(await stat(file)).size} bytes as ${socket.bytesWritten}`);
});
