import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type ConfundoSocket, connect } from "../../src/stream/index.js";
import { LossyProxy } from "../support/lossy-proxy.js";
import { listening, pattern, readAll } from "../support/sockets.js";
import { temporaryFolder } from "../support/temp.js";

const hasPython = spawnSync("python3", ["--version"]).status === 0;

function python(program: string, ...args: string[]): ChildProcessWithoutNullStreams {
  return spawn("python3", [fileURLToPath(new URL(program, import.meta.url)), ...args]);
}

/** Runs a student's client through a proxy to our server and gives what arrived. */
async function clientSends(data: Buffer, loss: number): Promise<Buffer> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "sent");
  await writeFile(path, data);
  const { server, port } = await listening();
  await using proxy = await LossyProxy.start({ seed: 5, targetPort: port, toServer: { loss }, toClient: { loss } });
  const accepting = once(server, "connection");
  const client = python("client.py", "127.0.0.1", `${proxy.port}`, path);
  const exiting = once(client, "exit");
  const output = Promise.all([text(client.stdout), text(client.stderr)]);
  const [socket] = (await accepting) as [ConfundoSocket];
  const received = await readAll(socket);
  expect([await exiting, await output]).toEqual([
    [0, null],
    [`${data.length} bytes sent\n`, ""],
  ]);
  await server[Symbol.asyncDispose]();
  return received;
}

// A machine without Python has nothing to test here: the suite does not exist there.
if (hasPython) {
  describe("a student's Python client and our server", () => {
    it.each([
      ["an empty file", 0, 0],
      ["a file longer than the sequence space", 130_000, 0],
      ["a file through a lossy network", 20_000, 0.03],
    ])("%s", async (_name, length, loss) => {
      const data = pattern(length);
      expect((await clientSends(data, loss)).equals(data)).toBe(true);
    });
  });

  describe("our client and a student's Python server", () => {
    it("several files, one of them empty, one longer than the sequence space", async () => {
      await using folder = await temporaryFolder();
      const files = [pattern(130_000), Buffer.alloc(0), pattern(413)];
      const server = python("server.py", folder.path, `${files.length}`);
      const exiting = once(server, "exit");
      const errors = text(server.stderr);
      const port = Number(String((await once(server.stdout, "data"))[0]));
      for (const data of files) {
        const client = connect({ host: "127.0.0.1", port, readable: false });
        client.end(data);
        await once(client, "finish");
      }
      expect([await exiting, await errors]).toEqual([[0, null], ""]);
      for (const [i, data] of files.entries()) {
        expect((await readFile(join(folder.path, `${i + 1}.file`))).equals(data)).toBe(true);
      }
    });
  });
}
