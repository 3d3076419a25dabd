import { type HomeEvent, mirrorNameProblem, type Serving, serve as startServing } from "../server/index.js";
import { endpointName } from "../stream/errors.js";
import { rememberHome } from "./home.js";
import { escaped, printError, printWarning, sentence, shownPath, UsageError } from "./report.js";
import { untilSignal } from "./signals.js";

export interface ServeCommandOptions {
  readonly port: number;
  readonly host: string;
  readonly database?: string;
  readonly name?: string;
  readonly insecure?: boolean;
}

/** Keeps mirrors under `directory` until a signal ends it. */
export async function serve(directory: string, options: ServeCommandOptions): Promise<void> {
  // From here on, as a signal may come as soon as somebody has read that we listen.
  const signalled = untilSignal();
  const problem = options.name === undefined ? undefined : mirrorNameProblem(options.name);
  if (problem !== undefined)
    throw new UsageError(`${shownPath(options.name ?? "")} cannot be a folder's name: ${problem}.`);
  const serving = await startServing({
    ...options,
    dir: directory,
    onEvent: report,
    onError: printError,
    onRefused: refusals(),
  });
  rememberHome(serving.home.dir);
  greet(serving, options.insecure ?? false);
  await signalled;
  await serving.close();
}

function greet({ address, home, first }: Serving, insecure: boolean): void {
  const where = endpointName(address.address, address.port);
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  say(`listening on ${where}`);
  say(`mirrors are kept in ${shownPath(home.dir)}`);
  if (first !== null) {
    say(`administrator: ${first.user}`);
    say(`password: ${first.password}`);
    say("(told this once; `confundo user passwd admin` sets another one)");
  }
  if (insecure) {
    printWarning("--insecure: nothing is encrypted, and whoever reaches the port gets in. For tests only.");
  } else if (first !== null) {
    say(`pairing address: ${first.pairingAddress}`);
    say("(for one device on any machine, within 24 hours; `confundo invite NAME` prints more)");
  } else say("pair another device: confundo invite NAME");
  say(`try: confundo mirror FOLDER confundo://${where}/NAME${insecure ? " --insecure" : ""}`);
}

/** Of those that get no further than the door, some a minute from each address: nobody fills the log. */
function refusals(): (peer: string, error: { readonly code: string; readonly message: string }) => void {
  const told = new Map<string, number>();
  setInterval(() => told.clear(), 60_000).unref();
  return (peer, { code, message }) => {
    const address = peer.replace(/:\d+$/, "");
    const count = (told.get(address) ?? 0) + 1;
    if (told.size < MOST_TOLD) told.set(address, count);
    if (count <= TOLD_A_MINUTE && told.has(address)) {
      process.stdout.write(`${escaped(`${peer} is gone: ${sentence(message)} (${code})`)}\n`);
    }
  };
}

const TOLD_A_MINUTE = 5;
const MOST_TOLD = 200;

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
