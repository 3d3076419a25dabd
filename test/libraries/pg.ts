import assert from "node:assert/strict";
import { ConfundoSocket } from "confundo";
import pg from "pg";
import { close, HOST, listen } from "./support.ts";

/** A message of PostgreSQL's protocol 3: its type, and the parts of its body. */
function message(type: string, ...parts: (string | number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  const head = Buffer.alloc(5, type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

const READY = message("Z", "I");
const ANSWERS: Record<string, Buffer[]> = {
  "": [message("R", [0, 0, 0, 0]), READY],
  Q: [
    // One column of type text, and one row.
    message("T", [0, 1], "greeting\0", [0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]),
    message("D", [0, 1, 0, 0, 0, 5], "hello"),
    message("C", "SELECT 1\0"),
    READY,
  ],
};

// The least of a server that a client of PostgreSQL believes in. The first message has no type.
const [server, port] = await listen((socket) => {
  let isStarted = false;
  socket.on("data", (bytes) => {
    const type = isStarted ? String.fromCharCode(bytes[0] as number) : "";
    isStarted = true;
    if (type === "X") socket.end();
    else socket.write(Buffer.concat(ANSWERS[type] ?? []));
  });
});
const client = new pg.Client({ host: HOST, port, user: "anybody", stream: () => new ConfundoSocket() });
await client.connect();
const { rows } = await client.query("select 'hello' as greeting");
assert.deepEqual(rows, [{ greeting: "hello" }]);
await client.end();
await close(server);
