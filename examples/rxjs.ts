// Sockets in RxJS pipelines: fromSocket() reads, toSocket() writes, writeTo() lets a reader wait for a writer.
import { once } from "node:events";
import { connect, createServer } from "confundo";
import { fromSocket, toSocket } from "confundo/sync";
import { filter, from, lastValueFrom, map, mergeMap, reduce, scan } from "rxjs";

interface Reading {
  sensor: string;
  celsius: number;
}

// The server keeps the warm ones and counts them.
const server = createServer(async (socket) => {
  const summary = fromSocket(socket).pipe(
    scan((state, chunk) => splitLines(state.rest + chunk.toString()), { lines: [] as string[], rest: "" }),
    mergeMap(({ lines }) => lines),
    map((line) => JSON.parse(line) as Reading),
    filter(({ celsius }) => celsius > 30),
    reduce((counts, { sensor }) => counts.set(sensor, (counts.get(sensor) ?? 0) + 1), new Map<string, number>()),
  );
  for (const [sensor, count] of await lastValueFrom(summary)) console.log(`${sensor}: ${count} warm readings`);
  server.close();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

const readings = Array.from({ length: 3000 }, (_, i): Reading => ({ sensor: `s${i % 2}`, celsius: (i * 7) % 40 }));
const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1" });
const bytes = await lastValueFrom(
  from(readings).pipe(
    map((reading) => `${JSON.stringify(reading)}\n`),
    toSocket(socket),
  ),
);
console.log(`all ${bytes} bytes acknowledged`);

function splitLines(text: string): { lines: string[]; rest: string } {
  const lines = text.split("\n");
  return { rest: lines.pop() ?? "", lines };
}
