import { once } from "node:events";
import { realpathSync } from "node:fs";
import { opendir, readFile } from "node:fs/promises";
import { fromEvent, lastValueFrom, merge, Subject, takeUntil, tap } from "rxjs";
import { type ConfundoSocket, connect } from "../index.js";
import { connectSecurely, isLoopback, SecureError } from "../secure/index.js";
import { deviceNameProblem } from "../server/auth/names.js";
import {
  type Approval,
  defaultIndexPath,
  type MaxDelete,
  type MirrorEvent,
  mirror as mirrorFolder,
} from "../sync/index.js";
import { parseAddress } from "./address.js";
import { CONFIG_FILE, type MirrorConfig, parseConfig } from "./config.js";
import { Display } from "./display.js";
import { JsonLines } from "./json-lines.js";
import { LiveArea } from "./live.js";
import { isInteractive, Questions } from "./questions.js";
import { printError, printWarning, shownPath, UsageError } from "./report.js";

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
  readonly insecure?: boolean;
}

/** How long the server is given to hear that we take our leave. Without, it finds out by our silence. */
const LEAVE_MS = 1000;

/** Mirrors a folder and follows it, until a signal ends that; without one, the folders of the configuration file. */
export async function mirror(operands: readonly string[], options: MirrorCommandOptions): Promise<void> {
  if (operands.length === 0) return mirrorAll(await readConfig(), options);
  const { folder, address, patterns } = sortOperands(operands, options.ignore);
  if (address === "") throw new UsageError(`Where is ${shownPath(folder)} to be mirrored? Give an address, too.`);
  await mirrorOne(folder, address, { ...options, ignore: patterns }, {});
}

async function readConfig(): Promise<MirrorConfig[]> {
  const text = await readFile(CONFIG_FILE, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    throw new UsageError(`Give a folder and an address, or write them into ${CONFIG_FILE} here.`);
  });
  return parseConfig(text, CONFIG_FILE);
}

/** Each goes on whatever becomes of the others. What the command line says holds for all of them. */
async function mirrorAll(configs: readonly MirrorConfig[], options: MirrorCommandOptions): Promise<void> {
  const several = configs.length > 1;
  const area = new LiveArea();
  const running = configs.map(async (config) => {
    const { folder, address } = config;
    const ignore = [...(config.ignore ?? []), ...(options.ignore ?? [])];
    const both = { ...config, ...options, delete: options.delete && (config.delete ?? true), ignore };
    try {
      await mirrorOne(folder, address, both, several ? { label: parseAddress(address).name, area } : {});
      return true;
    } catch (error) {
      if (!several) throw error;
      printError(error);
      return false;
    }
  });
  const failed = (await Promise.all(running)).filter((done) => !done).length;
  if (failed > 0) throw new Error(`${failed} of ${configs.length} mirrors failed.`);
}

/** `label` tells the lines of several mirrors apart. */
async function mirrorOne(
  folder: string,
  address: string,
  options: MirrorCommandOptions,
  shared: { readonly label?: string; readonly area?: LiveArea },
): Promise<void> {
  const { host, port, name, code } = parseAddress(address);
  const nameProblem = options.deviceName === undefined ? undefined : deviceNameProblem(options.deviceName);
  if (nameProblem !== undefined) {
    throw new UsageError(`--device-name ${shownPath(options.deviceName ?? "")}: ${nameProblem}.`);
  }
  await requireFolder(folder);
  if (options.insecure) warnOfInsecurity(host);
  const { once = false, dryRun = false } = options;
  const display = options.json ? new JsonLines(shared.label) : new Display({ once, dryRun, ...shared });
  const answers = new Subject<Approval>();
  const asks = !options.json && !dryRun && isInteractive();
  const ask = asks ? asking(answers, shared.label) : () => {};
  let socket: ConfundoSocket | null = null;
  const stop = merge(...["SIGINT", "SIGTERM", "SIGQUIT"].map((signal) => fromEvent(process, signal)));
  const events = mirrorFolder(folder, {
    connect: (signal) => {
      const onSocket = (opened: ConfundoSocket): void => {
        socket = opened;
      };
      const { deviceName } = options;
      if (!options.insecure)
        return connectSecurely({ host, port, retryRefused: true, code, signal, onSocket, deviceName });
      onSocket(connect({ host, port, signal, noDelay: true, retryRefused: true }));
      return socket as unknown as ConfundoSocket;
    },
    name,
    index: indexPath(folder, host, port, name),
    once,
    dryRun,
    delete: options.delete,
    allowMassDelete: options.allowMassDelete ?? false,
    ...(options.maxDelete === undefined ? {} : { maxDelete: options.maxDelete }),
    ...(options.deleteWindow === undefined ? {} : { deleteWindowMs: options.deleteWindow }),
    replace: options.replace ?? false,
    ...(once && asks ? { asks } : {}),
    approvals: answers,
    ignore: options.ignore ?? [],
    gitignore: options.gitignore ?? false,
    perms: options.perms ?? false,
    verify: options.verify ?? false,
    checksum: options.checksum ?? false,
    ...(options.scrub === undefined ? {} : { scrubMs: options.scrub }),
    ...(options.bandwidth === undefined ? {} : { bandwidth: options.bandwidth }),
    deleteIgnored: options.deleteIgnored ?? false,
    ...(options.settle === undefined ? {} : { settleMs: options.settle }),
    ...(options.settleOpen === undefined ? {} : { settleOpenMs: options.settleOpen }),
  });
  await lastValueFrom(
    events.pipe(
      tap({
        next: (event) => {
          display.show(event);
          ask(event);
        },
        finalize: () => display.end(),
      }),
      takeUntil(stop),
    ),
    { defaultValue: null },
  );
  await closed(socket);
}

/** Serves all mirrors of this program: one terminal, one question at a time. */
const questions = new Questions();

/** Asks at the terminal about deletes that are held back, as they are now. */
function asking(answers: Subject<Approval>, label: string | undefined): (event: MirrorEvent) => void {
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
  return defaultIndexPath(`${realpathSync(folder)}\0${host}\0${port}\0${name}`);
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
  await (await opendir(folder)).close();
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
