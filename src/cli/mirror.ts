import { once } from "node:events";
import { opendir, readFile } from "node:fs/promises";
import { from, lastValueFrom, Subject, takeUntil, tap } from "rxjs";
import { type ConfundoSocket, connect } from "../index.js";
import { connectSecurely, isLoopback, SecureError } from "../secure/index.js";
import { deviceNameProblem } from "../server/auth/names.js";
import { endpointName } from "../stream/errors.js";
import {
  type Approval,
  defaultIndexPath,
  type MaxDelete,
  type MirrorEvent,
  mirror as mirrorFolder,
  realPath,
  SyncError,
  systemPath,
} from "../sync/index.js";
import { parseAddress } from "./address.js";
import { CONFIG_FILE, type MirrorConfig, parseConfig } from "./config.js";
import { Display } from "./display.js";
import { JsonLines } from "./json-lines.js";
import { LiveArea } from "./live.js";
import { isInteractive, Questions } from "./questions.js";
import { printError, printWarning, shownPath, UsageError } from "./report.js";
import { Interrupted, untilSignal } from "./signals.js";

export interface MirrorCommandOptions {
  readonly once?: boolean;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  /** False with --no-delete. */
  readonly delete: boolean;
  readonly allowMassDelete?: boolean;
  readonly maxDelete?: MaxDelete;
  /** Milliseconds. */
  readonly deleteWindow?: number;
  readonly replace?: boolean;
  readonly ignore?: readonly string[];
  readonly gitignore?: boolean;
  readonly perms?: boolean;
  readonly verify?: boolean;
  readonly checksum?: boolean;
  /** Milliseconds; 0: never. */
  readonly scrub?: number;
  /** Bytes a second. */
  readonly bandwidth?: number;
  readonly deleteIgnored?: boolean;
  /** Milliseconds. */
  readonly settle?: number;
  readonly deviceName?: string;
  /** Milliseconds. */
  readonly settleOpen?: number;
  readonly rewriteRate?: number;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly insecure?: boolean;
}

/** How long the server is given to hear that we take our leave. Without, it finds out by our silence. */
const LEAVE_MS = 1000;

/** Mirrors a folder and follows it, until a signal ends that; without one, the folders of the configuration file. */
export async function mirror(operands: readonly string[], options: MirrorCommandOptions): Promise<void> {
  if (operands.length === 0) return mirrorAll(await readConfig(), options);
  const { folder, address, patterns } = sortOperands(operands, options.ignore);
  if (address === "") throw new UsageError(`Where is ${shownPath(folder)} to be mirrored? Give an address, too.`);
  await mirrorOne(folder, address, { ...options, ignore: patterns }, shares());
}

async function readConfig(): Promise<MirrorConfig[]> {
  const text = await readFile(CONFIG_FILE, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    throw new UsageError(`Give a folder and an address, or write them into ${CONFIG_FILE} here.`);
  });
  return parseConfig(text, CONFIG_FILE);
}

/** Shared by all mirrors of one program. */
interface Shared {
  /** Tells the lines of several mirrors apart. */
  readonly label?: string;
  readonly area: LiveArea;
  /** One terminal, one question at a time. */
  readonly questions: Questions;
  readonly stopped: Promise<NodeJS.Signals>;
}

function shares(): Shared {
  const area = new LiveArea();
  return { area, questions: new Questions(area), stopped: untilSignal() };
}

/** Each goes on whatever becomes of the others. What the command line says holds for all of them. */
async function mirrorAll(configs: readonly MirrorConfig[], options: MirrorCommandOptions): Promise<void> {
  const several = configs.length > 1;
  const shared = shares();
  const running = configs.map(async (config) => {
    const { folder, address } = config;
    const ignore = [...(config.ignore ?? []), ...(options.ignore ?? [])];
    const both = { ...config, ...options, delete: options.delete && (config.delete ?? true), ignore };
    try {
      await mirrorOne(folder, address, both, { ...shared, ...(several ? { label: parseAddress(address).name } : {}) });
      return true;
    } catch (error) {
      if (!several || error instanceof Interrupted) throw error;
      shared.area.above(() => printError(error));
      return false;
    }
  });
  const ends = await Promise.allSettled(running);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  const failed = ends.filter((end) => end.status === "fulfilled" && !end.value).length;
  if (failed > 0) throw new Error(`${failed} of ${configs.length} mirrors failed.`);
}

async function mirrorOne(
  folder: string,
  address: string,
  options: MirrorCommandOptions,
  { label, area, questions, stopped }: Shared,
): Promise<void> {
  const { host, port, name, code } = parseAddress(address);
  const nameProblem = options.deviceName === undefined ? undefined : deviceNameProblem(options.deviceName);
  if (nameProblem !== undefined) {
    throw new UsageError(`--device-name ${shownPath(options.deviceName ?? "")}: ${nameProblem}.`);
  }
  await requireFolder(folder);
  if (options.insecure) warnOfInsecurity(host);
  const { once = false, dryRun = false } = options;
  const labelled = label === undefined ? {} : { label };
  const display = options.json ? new JsonLines(label) : new Display({ folder, once, dryRun, area, ...labelled });
  const answers = new Subject<Approval>();
  const asks = !options.json && !dryRun && isInteractive();
  const ask = asks ? asking(questions, answers, label) : () => {};
  let socket: ConfundoSocket | null = null;
  const events = mirrorFolder(folder, {
    connect: (signal) => {
      const onSocket = (opened: ConfundoSocket): void => {
        socket = opened;
      };
      const { deviceName } = options;
      if (!options.insecure)
        return connectSecurely({ host, port, retryRefused: true, code, signal, onSocket, deviceName });
      onSocket(connect({ host, port, signal, noDelay: true, retryRefused: true, extended: "required" }));
      return socket as unknown as ConfundoSocket;
    },
    name,
    index: indexPath(folder, host, port, name),
    once,
    dryRun,
    delete: options.delete,
    allowMassDelete: options.allowMassDelete ?? false,
    maxDelete: options.maxDelete,
    deleteWindowMs: options.deleteWindow,
    replace: options.replace ?? false,
    ...(once && asks ? { asks } : {}),
    approvals: answers,
    ignore: options.ignore ?? [],
    gitignore: options.gitignore ?? false,
    perms: options.perms ?? false,
    verify: options.verify ?? false,
    checksum: options.checksum ?? false,
    scrubMs: options.scrub,
    bandwidth: options.bandwidth,
    deleteIgnored: options.deleteIgnored ?? false,
    backoff: { timeoutMs: options.timeout },
    settleMs: options.settle,
    settleOpenMs: options.settleOpen,
    rewriteRate: options.rewriteRate,
  });
  let completed = false;
  const done = lastValueFrom(
    events.pipe(
      tap({
        next: (event) => {
          display.show(event);
          ask(event);
        },
        complete: () => {
          completed = true;
        },
        finalize: () => display.end(),
      }),
      takeUntil(from(stopped)),
    ),
    { defaultValue: null },
  );
  await done.catch((error) => {
    throw withPeer(error, endpointName(host, port));
  });
  await closed(socket);
  // A mirror that is followed is there to be stopped; one that was to end by itself has not done what it was asked for.
  if (completed || !(once || dryRun)) return;
  const what = dryRun ? "before the plan was made" : "before the mirror was in sync; what has arrived stays there";
  const signal = await stopped;
  throw new Interrupted(signal, `${signal} came ${what}.`);
}

/** Asks at the terminal about deletes that are held back, as they are now. */
function asking(
  questions: Questions,
  answers: Subject<Approval>,
  label: string | undefined,
): (event: MirrorEvent) => void {
  let withdraw = (): void => {};
  const mirror = label === undefined ? "" : `${shownPath(label)}: `;
  return (event) => {
    if (event.type !== "held" && event.type !== "released") return;
    withdraw();
    withdraw = () => {};
    if (event.type === "released") return;
    const { id, files } = event;
    withdraw = questions.ask(`${mirror}Delete ${files} files at the destination? [y/N] `, (approved) => {
      withdraw = () => {};
      answers.next({ id, approved });
    });
  };
}

/** Names the peer in the error of an attempt that was given up before the transport reported a reason. */
function withPeer(error: unknown, peer: string): unknown {
  if (!(error instanceof SyncError) || error.code !== "ERR_CONNECT" || error.message.includes(peer)) return error;
  const question = "Is a server running there, and its UDP port reachable?";
  return new SyncError(error.code, `${peer}: ${error.message}. ${question}`, { cause: error });
}

function warnOfInsecurity(host: string): void {
  if (!isLoopback(host)) {
    throw new SecureError(
      "ERR_INSECURE",
      `--insecure sends everything in the clear, and is for this machine only, not for ${host}.`,
    );
  }
  printWarning("--insecure: nothing is encrypted, and nobody knows who is at the other end. For tests only.");
}

/** One index for each folder and place that it is mirrored to. */
function indexPath(folder: string, host: string, port: number, name: string): string {
  return defaultIndexPath(`${realPath(folder)}\0${host}\0${port}\0${name}`);
}

/** `--ignore` takes several patterns, so some may stand before the folder or behind the address, which is known by its looks. */
function sortOperands(operands: readonly string[], ignore: readonly string[] | undefined) {
  const at = ignore === undefined ? -1 : operands.findIndex((operand) => operand.startsWith("confundo:"));
  const [folder = "", address = "", ...more] = operands.slice(Math.max(0, at - 1));
  if (more.length > 0 && ignore === undefined) {
    throw new UsageError(`${shownPath(more[0] ?? "")} is one argument too many: give a folder and an address.`);
  }
  return { folder, address, patterns: [...(ignore ?? []), ...operands.slice(0, Math.max(0, at - 1)), ...more] };
}

/** Fails at once, before anything is connected, with what the system says. */
async function requireFolder(folder: string): Promise<void> {
  try {
    await (await opendir(systemPath(folder))).close();
  } catch (error) {
    // Node puts it in the place of bytes that it cannot decode.
    if (!folder.includes("\ufffd") || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const help = "If its name is not UTF-8, make a link to it that has another name, and mirror that.";
    throw new UsageError(`${shownPath(folder)} does not exist. ${help}`);
  }
}

async function closed(socket: ConfundoSocket | null): Promise<void> {
  if (socket === null || socket.closed) return;
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), LEAVE_MS);
  // Whatever happens to it now, nobody waits for it any more.
  socket.on("error", () => {});
  await once(socket, "close", { signal: timeout.signal }).catch(() => {});
  clearTimeout(timer);
}
