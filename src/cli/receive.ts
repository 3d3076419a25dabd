import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { makeFolder } from "../files/make-folder.js";
import { type ConfundoSocket, createServer, type EditionName } from "../index.js";
import { endpointName } from "../stream/errors.js";
import { printError } from "./report.js";
import { untilSignal } from "./signals.js";
import { traceToStdout } from "./trace.js";

/** What the course server leaves in a file whose transfer was not completed. */
const INCOMPLETE = "ERROR";

export interface ReceiveOptions {
  readonly edition: EditionName;
  readonly host?: string;
  readonly extended?: boolean;
  readonly trace?: boolean;
}

/** The course server: saves each connection to `<DIR>/<id>.file` until a signal ends it. */
export async function receive(port: number, directory: string, options: ReceiveOptions): Promise<void> {
  // From here on, as a signal may come as soon as somebody has read that we listen.
  const signalled = untilSignal();
  makeFolder(directory);
  const unfinished = new Map<ConfundoSocket, Promise<void>>();
  const server = createServer(
    {
      edition: options.edition,
      extended: options.extended ?? false,
      // The file exists from the SYN on, and holds everything before the FIN is answered.
      acceptAtSyn: true,
      allowHalfOpen: true,
      trace: options.trace ? traceToStdout() : undefined,
    },
    (socket) => {
      const file = join(directory, `${socket.connectionId}.file`);
      const saving = save(socket, file, options.trace !== true)
        .catch(printError)
        .finally(() => unfinished.delete(socket));
      unfinished.set(socket, saving);
    },
  );
  server.listen({ port, host: options.host });
  await once(server, "listening");
  const { address, port: bound } = server.address() ?? { address: "", port };
  process.stderr.write(`listening on ${endpointName(address, bound)}\n`);

  await signalled;
  const ended = new Error("a signal ended the server");
  for (const socket of unfinished.keys()) socket.destroy(ended);
  await Promise.all(unfinished.values());
}

/** `reports`: says on stderr what has become of it, which a trace does in its own way. */
async function save(socket: ConfundoSocket, file: string, reports: boolean): Promise<void> {
  const report = (outcome: string) => {
    if (reports) process.stderr.write(`${outcome}\n`);
  };
  const peer = endpointName(socket.remoteAddress ?? "", socket.remotePort ?? 0);
  const output = createWriteStream(file);
  let saved = false;
  // A peer that goes away after its FIN has been received took nothing with it.
  socket.on("error", () => {});
  output.once("finish", () => {
    saved = true;
  });
  try {
    await pipeline(socket, output);
    socket.end();
    report(`saved ${basename(file)}, ${socket.bytesRead.toLocaleString("en")} bytes from ${peer}`);
  } catch (error) {
    if (saved) return;
    report(`gave up ${basename(file)} from ${peer}: ${(error as Error).message}`);
    // A write that is under way would land behind what is written now.
    if (!output.closed) await once(output, "close");
    await writeFile(file, INCOMPLETE);
    if (socket.errored !== error) throw error;
  }
}
