// A clustered server: two processes listen on one UDP port, and the kernel gives each client to one of them.
import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { connect, createServer } from "confundo";

const WORKERS = 2;
const CLIENTS = 40;

if (cluster.isPrimary) await runPrimary();
else runWorker();

function runWorker(): void {
  const server = createServer((socket) => socket.end(`worker ${cluster.worker?.id}`));
  // SO_REUSEPORT; without it the second worker gets EADDRINUSE.
  server.listen({ port: Number(process.env.PORT), host: "127.0.0.1", reusePort: true });
  server.on("listening", () => process.send?.(server.address()?.port));
}

async function runPrimary(): Promise<void> {
  const workers: Worker[] = [];
  let port = 0;
  // The first worker picks a free port, which the others share.
  for (let i = 0; i < WORKERS; i++) {
    const worker = cluster.fork({ PORT: String(port) });
    [port] = await once(worker, "message");
    workers.push(worker);
  }
  const answers = await Promise.all(Array.from({ length: CLIENTS }, () => text(connect(port, "127.0.0.1"))));
  console.log(`${answers.length} clients were answered by ${new Set(answers).size} processes`);
  for (const worker of workers) worker.kill();
}
