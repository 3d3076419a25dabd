import { isIP } from "node:net";
import { type HomeEvent, serve as startServing } from "../server/index.js";
import { endpointName } from "../stream/errors.js";
import { escaped, printError, printWarning, sentence, shownPath } from "./report.js";
import { untilSignal } from "./signals.js";

export interface ServeCommandOptions {
  readonly port: number;
  readonly host: string;
}

/** Keeps mirrors under `directory` until a signal ends it. */
export async function serve(directory: string, options: ServeCommandOptions): Promise<void> {
  // From here on, as a signal may come as soon as somebody has read that we listen.
  const signalled = untilSignal();
  const serving = await startServing({
    dir: directory,
    port: options.port,
    host: options.host,
    onEvent: report,
    onError: printError,
  });
  const { address, port } = serving.address;
  const where = endpointName(address, port);
  process.stdout.write(`listening on ${where}\n`);
  process.stdout.write(`mirrors are kept in ${shownPath(serving.home.dir)}\n`);
  process.stdout.write(`try: confundo mirror FOLDER confundo://${where}/NAME\n`);
  if (!isLoopback(address)) {
    printWarning(
      `${where} can be reached from other machines, and there is neither authentication nor encryption yet: ` +
        "anybody who reaches it can read, replace and delete what is mirrored. Use it in a network that you trust.",
    );
  }
  await signalled;
  await serving.close();
}

function isLoopback(address: string): boolean {
  return isIP(address) === 4 ? address.startsWith("127.") : address === "::1" || address.startsWith("::ffff:127.");
}

function report(event: HomeEvent): void {
  const line = describe(event);
  if (line !== null) process.stdout.write(`${escaped(line)}\n`);
}

/** Sessions and trouble, not every file: a server's log is read by people. */
function describe(event: HomeEvent): string | null {
  switch (event.type) {
    case "opened":
      return `${event.name}: ${event.label} (${event.peer}) is mirroring`;
    case "settled":
      return `${event.name}: in step, ${event.entries} entries`;
    case "failed":
      return `${event.name}: ${shownPath(event.path)} failed (${event.code})`;
    case "closed": {
      const who = event.name === "" ? event.peer : `${event.name}: ${event.peer}`;
      return event.code === undefined
        ? `${who} took its leave`
        : `${who} is gone: ${sentence(event.message ?? "")} (${event.code})`;
    }
    default:
      return null;
  }
}
