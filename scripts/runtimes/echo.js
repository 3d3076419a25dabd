// Sends 5 MB to a server of the same process and back, ends in order, and prints a line that begins with "ok".
import { connect, createServer } from "confundo";

const BYTES = 5_000_000;
const sent = new Uint8Array(BYTES).map((_, i) => i % 251);

async function echo(host) {
  const began = performance.now();
  const server = createServer((socket) => socket.pipe(socket));
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, host, resolve));
  const { port } = server.address();
  const socket = connect({ port, host: host ?? "127.0.0.1" });
  const done = new Promise((resolve, reject) => socket.once("error", reject).once("close", resolve));
  let at = 0;
  socket.on("data", (bytes) => {
    for (const byte of bytes) {
      if (byte !== sent[at]) throw new Error(`byte ${at} is wrong`);
      at++;
    }
  });
  let tier = "";
  socket.on("end", () => (tier = socket.stats.tier));
  socket.end(sent);
  await done;
  if (at !== BYTES) throw new Error(`${at} of ${BYTES} bytes`);
  await new Promise((resolve) => server.close(resolve));
  return `${host ?? "all addresses"} tier ${tier} ${Math.round(performance.now() - began)} ms`;
}

/** A port that is taken is told by an event, and a server that is closed at once closes. */
async function edges() {
  const first = createServer();
  await new Promise((resolve) => first.listen(0, "127.0.0.1", resolve));
  const second = createServer();
  const error = await new Promise((resolve) => second.once("error", resolve).listen(first.address().port, "127.0.0.1"));
  if (error.code !== "EADDRINUSE") throw error;
  await new Promise((resolve) => first.close(resolve));
  const third = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => third.close(resolve));
}

const results = [await echo("127.0.0.1"), await echo("::1"), await echo(undefined)];
await edges();
console.log(`ok ${results.join(", ")}`);
