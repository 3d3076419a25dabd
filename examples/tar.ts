// A tar archive that is packed while it is sent and unpacked while it is received: nothing is stored in between.
import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { connect, createServer } from "confundo";
import { extract, pack } from "tar-stream";

const server = createServer(async (socket) => {
  for await (const entry of socket.pipe(extract())) {
    const content = await buffer(entry);
    console.log(`received ${entry.header.name}: ${content.length} bytes`);
  }
  server.close();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1" });
const archive = pack();
archive.pipe(socket);
archive.entry({ name: "hello.txt" }, "Hello from an archive!\n");
archive.entry({ name: "notes/big.bin" }, Buffer.alloc(300_000, "big "));
archive.finalize();
await once(socket, "finish");
console.log(`sent ${socket.bytesWritten} bytes of tar`);
