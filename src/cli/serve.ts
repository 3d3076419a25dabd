import { type Logger, pino } from "pino";
import {
  type HomeEvent,
  isNetwork,
  isWildcard,
  type Keep,
  mirrorNameProblem,
  parseKeep,
  parseThinning,
  reachableAddresses,
  type ServeOptions,
  type Serving,
  serve as startServing,
  type Thinning,
} from "../server/index.js";
import { endpointName } from "../stream/errors.js";
import { sentence } from "../text/sentence.js";
import { rememberHome } from "./home.js";
import { escaped, printError, printWarning, shownPath, UsageError } from "./report.js";
import { Interrupted, untilSignal } from "./signals.js";
import { formatTime } from "./time.js";

export interface ServeCommandOptions {
  readonly port: number;
  readonly host: string;
  readonly database?: string;
  readonly name?: string;
  readonly insecure?: boolean;
  readonly keep?: string;
  readonly thin?: string;
  readonly versionsSize?: number;
  readonly folderVersionsSize?: number;
  readonly minFree?: number;
  readonly quota?: number;
  readonly storageLimit?: number;
  readonly maxEntries?: number;
  readonly receiveBudget?: number;
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
  const {
    keep,
    thin,
    versionsSize,
    folderVersionsSize,
    minFree,
    quota,
    storageLimit,
    maxEntries,
    receiveBudget,
    http: _,
    ...others
  } = options;
  requireRoomForQuota(quota, storageLimit);
  const lines = new ServerLog();
  const starting = startServing({
    ...others,
    ...(keep === undefined ? {} : { keep: parseKeepOption(keep) }),
    ...(thin === undefined ? {} : { thin: parseThinOption(thin) }),
    ...(versionsSize === undefined ? {} : { versionsBytes: versionsSize }),
    ...(folderVersionsSize === undefined ? {} : { folderVersionsBytes: folderVersionsSize }),
    ...(minFree === undefined ? {} : { minFreeBytes: minFree }),
    ...(quota === undefined ? {} : { quotaBytes: quota }),
    ...(storageLimit === undefined ? {} : { storageLimitBytes: storageLimit }),
    ...(maxEntries === undefined ? {} : { maxEntries }),
    ...(receiveBudget === undefined ? {} : { receiveBudgetBytes: receiveBudget }),
    ...webOptions({ ...options, trustProxy }),
    dir: directory,
    onEvent: (event) => lines.report(event),
    onError: (error) => lines.error(error),
    onDatabase: (problem) => lines.database(problem),
    onRefused: (peer, error) => lines.refused(peer, error),
  });
  // A database that does not answer keeps nobody waiting who wants to stop.
  const serving = await Promise.race([starting, signalled]);
  if (typeof serving === "string") {
    starting.catch(() => {});
    throw new Interrupted(serving, `${serving} came before the server had started.`);
  }
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

function parseThinOption(value: string): Thinning {
  const thin = parseThinning(value);
  if (thin !== undefined) return thin;
  const form =
    "rules such as 1min:1h,1h:1d (one a minute of those older than an hour, one an hour of those older than a day)";
  throw new UsageError(`${shownPath(value)} is neither off nor ${form}; the units are s, min, h, d and w.`);
}

function greet({ address, home, first, http, httpProblem }: Serving, insecure: boolean): void {
  const [where = "", ...others] = reachableAddresses(address.address).map((each) => endpointName(each, address.port));
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  say(`listening on ${endpointName(address.address, address.port)}`);
  if (isWildcard(address.address)) say(`reached at ${[where, ...others].join(", ")}`);
  say(`mirrors are kept in ${shownPath(home.dir)}`);
  for (const url of http?.urls ?? []) say(`dashboard: ${url}/`);
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
  // Programs of this user on this machine are let in without pairing, by an address of loopback.
  const here = isWildcard(address.address) ? (others.find((each) => /^(127\.|\[::1\])/.test(each)) ?? where) : where;
  say(`try: confundo mirror FOLDER confundo://${here}/NAME${insecure ? " --insecure" : ""}`);
}

/** Limits the lines about those that get no further than the door, from each address: nobody fills the log. */
const REFUSED_A_MINUTE = 5;
/** Limits what is remembered of addresses and clients. */
const MOST_REMEMBERED = 200;
/** Codes after which a client tries again, with the same result until a person does something. */
const REPEATED: ReadonlySet<string> = new Set(["ERR_FOLDER_HELD", "ERR_FOLDER_DELETED"]);
/** Tells how clients are served while the database is unavailable. */
const OF_DATABASE: ReadonlySet<string> = new Set(["ERR_DATABASE_UNAVAILABLE", "ERR_UNAVAILABLE"]);

interface Trouble {
  readonly code: string;
  readonly message: string;
}

/** The lines that a running server prints, one for each session and each problem; a lasting state is printed once. */
class ServerLog {
  /** By address, in this minute. */
  readonly #refusals = new Map<string, number>();
  /** The last refusal that each client got since it was admitted. */
  readonly #told = new Map<string, Set<string>>();
  #isDatabaseAway = false;

  constructor() {
    setInterval(() => this.#refusals.clear(), 60_000).unref();
  }

  report(event: HomeEvent): void {
    const client = event.device ?? addressOf(event.peer);
    if (event.type === "opened") this.#told.delete(client);
    const { code, message = "" } = event.type === "closed" ? event : {};
    if (code !== undefined && this.#isSaid(client, { code, message })) return;
    const line = describe(event);
    if (line !== null) log(line);
  }

  refused(peer: string, { code, message }: Trouble): void {
    const address = addressOf(peer);
    if (this.#isSaid(address, { code, message })) return;
    const count = (this.#refusals.get(address) ?? 0) + 1;
    if (this.#refusals.size < MOST_REMEMBERED) this.#refusals.set(address, count);
    if (count > REFUSED_A_MINUTE || !this.#refusals.has(address)) return;
    log(`${peer} was turned away: ${sentence(message)} (${code})`);
  }

  database(problem: Error | undefined): void {
    this.#isDatabaseAway = problem !== undefined;
    if (problem === undefined) log("the database answers again");
    else printError(problem, stamp());
  }

  error(error: Error & { readonly code?: string }): void {
    if (!(this.#isDatabaseAway && OF_DATABASE.has(error.code ?? ""))) printError(error, stamp());
  }

  #isSaid(client: string, { code, message }: Trouble): boolean {
    if (OF_DATABASE.has(code) && this.#isDatabaseAway) return true;
    if (!REPEATED.has(code)) return false;
    // The message names the mirror, and a time to the millisecond.
    const reason = `${code} ${message.replace(/\d+/g, "")}`;
    const told = this.#told.get(client) ?? new Set();
    if (told.has(reason)) return true;
    if (this.#told.size >= MOST_REMEMBERED || told.size >= MOST_REMEMBERED) this.#told.clear();
    this.#told.set(client, told.add(reason));
    return false;
  }
}

function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, "");
}

function log(line: string): void {
  process.stdout.write(`${stamp()}${escaped(line)}\n`);
}

/** In the form that `restore --at` takes. */
function stamp(): string {
  return `${formatTime(Date.now())} `;
}

/** Not every file: a server's log is read by people. */
function describe(event: HomeEvent): string | null {
  switch (event.type) {
    case "opened":
      return `${event.name}: ${event.label} (${event.peer}) is mirroring`;
    case "settled":
      return `${event.name}: in sync, ${event.entries} entries`;
    case "failed":
      return `${event.name}: ${shownPath(event.path)} failed (${event.code})`;
    case "closed": {
      const who = event.name === "" ? event.peer : `${event.name}: ${event.peer}`;
      return event.code === undefined
        ? `${who} has disconnected`
        : `${who} was disconnected: ${sentence(event.message ?? "")} (${event.code})`;
    }
    default:
      return null;
  }
}
