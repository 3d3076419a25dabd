import { type Logger, pino } from "pino";
import {
  type HomeEvent,
  isNetwork,
  type Keep,
  mirrorNameProblem,
  parseKeep,
  type ServeOptions,
  type Serving,
  serve as startServing,
} from "../server/index.js";
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
  readonly keep?: string;
  readonly quota?: number;
  readonly storageLimit?: number;
  readonly maxEntries?: number;
  readonly http?: false | { readonly host: string; readonly port: number };
  readonly httpCert?: string;
  readonly httpKey?: string;
  readonly trustProxy?: readonly string[];
}

/** Keeps mirrors under `directory` until a signal ends it. */
export async function serve(operands: readonly string[], options: ServeCommandOptions): Promise<void> {
  // From here on, as a signal may come as soon as somebody has read that we listen.
  const signalled = untilSignal();
  const problem = options.name === undefined ? undefined : mirrorNameProblem(options.name);
  if (problem !== undefined)
    throw new UsageError(`${shownPath(options.name ?? "")} cannot be a folder's name: ${problem}.`);
  const { directory, trustProxy } = sortOperands(operands, options.trustProxy);
  const { keep, quota, storageLimit, maxEntries, http: _, ...others } = options;
  requireRoomForQuota(quota, storageLimit);
  const serving = await startServing({
    ...others,
    ...(keep === undefined ? {} : { keep: parseKeepOption(keep) }),
    ...(quota === undefined ? {} : { quotaBytes: quota }),
    ...(storageLimit === undefined ? {} : { storageLimitBytes: storageLimit }),
    ...(maxEntries === undefined ? {} : { maxEntries }),
    ...webOptions({ ...options, trustProxy }),
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

/** `--trust-proxy` takes several, so that those behind the first come as operands: before the folder, or behind it. */
function sortOperands(operands: readonly string[], trustProxy: readonly string[] = []) {
  const isProxy = (operand: string): boolean => trustProxy.length > 0 && isNetwork(operand);
  const [directory = "", ...more] = operands.filter((operand) => !isProxy(operand));
  if (directory === "") throw new UsageError("Which folder is to be served? Give one.");
  if (more.length > 0) throw new UsageError(`${shownPath(more[0] ?? "")} is one argument too many: give one folder.`);
  const proxies = [...trustProxy, ...operands.filter(isProxy)];
  const wrong = proxies.find((proxy) => !isNetwork(proxy));
  if (wrong !== undefined) {
    const forms = "an IP address or a network, such as 127.0.0.1 or 10.0.0.0/8";
    throw new UsageError(`--trust-proxy ${shownPath(wrong)}: that takes ${forms}.`);
  }
  return { directory, trustProxy: proxies };
}

/** Where nothing was said of it, another program on its port is no reason not to serve mirrors. */
function webOptions(options: ServeCommandOptions): Pick<ServeOptions, "http"> {
  const { http, httpCert, httpKey, trustProxy = [] } = options;
  if (http === false) return {};
  const files = {
    trustProxy,
    ...(httpCert === undefined ? {} : { certFile: httpCert }),
    ...(httpKey === undefined ? {} : { keyFile: httpKey }),
  };
  return { http: { ...http, ...files, optional: http === undefined, ...logging() } };
}

/** What an operator wants to see beside the events: `CONFUNDO_LOG=debug` has every request, one JSON object a line on stderr. */
function logging(): { logger?: Logger } {
  const level = process.env.CONFUNDO_LOG;
  if (level === undefined || level === "") return {};
  if (!(level in pino.levels.values) && level !== "silent") {
    throw new UsageError(`CONFUNDO_LOG=${level}: the levels are ${Object.keys(pino.levels.values).join(", ")}.`);
  }
  return { logger: pino({ level, base: null, redact: REDACTED }, pino.destination(2)) };
}

const REDACTED = ["authorization", "cookie", "password", "token", "code"].flatMap((name) => [
  name,
  `*.${name}`,
  `*.*.${name}`,
]);

/** @throws UsageError where a folder could never hold as much as its quota says */
export function requireRoomForQuota(quota: number | null | undefined, storageLimit: number | null | undefined): void {
  if (typeof quota !== "number" || typeof storageLimit !== "number" || storageLimit >= quota) return;
  throw new UsageError(
    `--storage-limit is less than --quota, but the content counts towards both: it should be more (default: 3 times the quota).`,
  );
}

function parseKeepOption(value: string): Keep {
  const keep = parseKeep(value);
  if (keep !== undefined) return keep;
  throw new UsageError(`${shownPath(value)} says neither how long, such as 30d, nor how many versions, such as 10.`);
}

function greet({ address, home, first, http, httpProblem }: Serving, insecure: boolean): void {
  const where = endpointName(address.address, address.port);
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  say(`listening on ${where}`);
  say(`mirrors are kept in ${shownPath(home.dir)}`);
  if (http !== null) say(`dashboard: ${http.url}/`);
  if (httpProblem !== null) printWarning(`There is no dashboard. ${httpProblem.message}`);
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
