/** A mirror home on a Confundo port, with its database and its keys. */
import { randomBytes } from "node:crypto";
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Subscription } from "rxjs";
import { makeFolder } from "../files/make-folder.js";
import {
  announceLocally,
  createCode,
  formatPairingCode,
  isLoopback,
  SecureError,
  stateFolder,
  writeSecret,
} from "../secure/index.js";
import {
  type AddressInfo,
  type ConfundoServer,
  type ConfundoSocket,
  createServer,
  type ServerOptions,
  setReceiveBudget,
} from "../stream/index.js";
import { SyncError } from "../sync/index.js";
import { reachableAddresses } from "./addresses.js";
import { createAuth } from "./auth/auth.js";
import type { Auth } from "./auth/types.js";
import { openDatabase } from "./database/open.js";
import type { Database } from "./database/types.js";
import { Gate } from "./gate.js";
import { watchAnswers } from "./held-deletes.js";
import { MirrorHome, type MirrorHomeOptions } from "./home.js";
import type { HttpServing } from "./http/index.js";
import type { ConnectionCounts } from "./http/metrics.js";
import { CodeCounters, LimitCounters } from "./limits.js";
import { lockHome } from "./lock.js";
import { LoopDelay } from "./loop-delay.js";
import { HomeMirrors } from "./mirrors.js";
import { HomeState } from "./state.js";
import { deletedError } from "./versions/deletion.js";
import { Keeper } from "./versions/keeper.js";
import type { Keep } from "./versions/prune.js";
import type { Thinning } from "./versions/thin.js";
import { openWeb, type WebOptions } from "./web.js";

export interface ServeOptions extends MirrorHomeOptions {
  /** Default 5000; 0 takes a free one. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** `postgres://…`. Default: what the home had before, or an SQLite file under `dir/.confundo`. */
  readonly database?: string;
  /** The folder that the first pairing address names. Its device may have any. Default `mirror`. */
  readonly name?: string;
  /** Neither keys nor encryption; for tests, and on loopback addresses only. Default false. */
  readonly insecure?: boolean;
  /** How long, or how many, old versions are kept. Default 30 days. */
  readonly keep?: Keep;
  /** See `KeeperOptions`. */
  readonly thin?: Thinning;
  readonly versionsBytes?: number;
  readonly folderVersionsBytes?: number;
  readonly minFreeBytes?: number;
  /** What a folder without a quota of its own may hold. Default: as much as there is room for. */
  readonly quotaBytes?: number;
  /** What a folder may take with its old versions and unfinished uploads; see docs/server.md. Default: three times its quota. */
  readonly storageLimitBytes?: number;
  /** How many files, links and directories a folder may hold. Default: any number. */
  readonly maxEntries?: number;
  /**
   * Memory for what has arrived by UDP and was not read yet, of all connections of the process: see docs/security.md. Default 256 MiB,
   * least 1 MiB.
   */
  readonly receiveBudgetBytes?: number;
  /** Bytes of changes that may wait to be written to the database before clients wait. Default 64 MiB. */
  readonly writeBehindBytes?: number;
  /** REST, WebSocket and the dashboard. Default: none. */
  readonly http?: WebOptions & {
    /** Where its port is taken, the rest is served all the same, and {@link Serving.httpProblem} says why. Default false. */
    readonly optional?: boolean;
  };
  /** Passed on to the Confundo server (limits), which speaks the extended edition only. */
  readonly stream?: Omit<ServerOptions, "extended" | "edition">;
  /** Errors of the port after it has begun to listen. Default: a process warning. */
  readonly onError?: (error: Error) => void;
  /** Called once when the database goes away, with the reason, and once, with nothing, when it is back. */
  readonly onDatabase?: (problem: Error | undefined) => void;
  /** Connections that came to nothing, for a log. */
  readonly onRefused?: (peer: string, error: { readonly code: string; readonly message: string }) => void;
  /** Where programs of the same user look for servers to pair with. Default: the user's state folder. */
  readonly stateFolder?: string;
}

/** What a home that was just made tells once. */
export interface FirstStart {
  readonly user: string;
  readonly password: string;
  /** Good for one device, which may have any folder, for 24 hours. */
  readonly pairingAddress: string;
}

export interface Serving {
  readonly home: MirrorHome;
  /** How late the event loop is. */
  readonly loopDelay: LoopDelay;
  /** Resolves when what an earlier run left is finished, which goes on in the background after a crash. */
  readonly recovered: () => Promise<void>;
  /** Null where it was not asked for, or was optional and failed. */
  readonly http: HttpServing | null;
  readonly httpProblem: Error | null;
  readonly auth: Auth;
  readonly database: Database;
  readonly state: HomeState;
  readonly address: AddressInfo;
  /** What devices know the server by; null when insecure. */
  readonly pin: string | null;
  /** When there was no administrator before. */
  readonly first: FirstStart | null;
  /** `confundo://HOST:PORT/NAME#CODE`. */
  readonly pairingAddress: (folder: string | null, code: string) => string;
  /** Ends all sessions, telling the clients to come back later; resolves when nothing is being written any more. */
  close(): Promise<void>;
}

const FIRST_USER = "admin";
const FIRST_CODE_MS = 24 * 60 * 60 * 1000;

/**
 * Listens for mirrors. What is missing under `dir/.confundo` is made. Rejects with what the stream layer reports (`EADDRINUSE`,
 * …), the system (`EACCES` for the directory), a {@link SecureError} (ERR_STATE for keys that are damaged or another user's,
 * ERR_INSECURE), a `DatabaseError`, or a {@link SyncError} ERR_HOME_BUSY where another server keeps its mirrors in `dir`.
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { host = "127.0.0.1", port = 5000, insecure = false } = options;
  if (insecure && !isLoopback(host)) {
    throw new SecureError(
      "ERR_INSECURE",
      `Without encryption only this machine can be served: ${host} is not one of its own addresses.`,
    );
  }
  if (options.receiveBudgetBytes !== undefined) setReceiveBudget(options.receiveBudgetBytes);
  const undo: (() => unknown)[] = [];
  try {
    return await open({ ...options, host, port, insecure }, undo);
  } catch (error) {
    for (const step of undo.toReversed()) await step();
    throw error;
  }
}

type Settled = ServeOptions & { readonly host: string; readonly port: number; readonly insecure: boolean };

/** `undo`: what is to be done, last first, when a later step fails. */
async function open(options: Settled, undo: (() => unknown)[]): Promise<Serving> {
  const { host, insecure } = options;
  makeFolder(options.dir, 0o700);
  const state = new HomeState(realpathSync(resolve(options.dir)));
  state.prepare();
  const unlock = lockHome(state);
  undo.push(unlock);
  const settings = { ...state.settings(), ...(options.database === undefined ? {} : { database: options.database }) };
  const identity = insecure ? null : state.identity();
  const database = await openDatabase({
    ...(settings.database === undefined ? { path: state.database } : { url: settings.database }),
    ...(options.onDatabase === undefined ? {} : { onAvailability: options.onDatabase }),
  });
  undo.push(() => database.close());
  const limits = new LimitCounters();
  const loopDelay = new LoopDelay();
  undo.push(() => loopDelay.close());
  const auth = createAuth({ database, limits });
  const keeper = new Keeper({
    dir: state.dir,
    database,
    ...(options.keep === undefined ? {} : { keep: options.keep }),
    thin: options.thin,
    versionsBytes: options.versionsBytes,
    folderVersionsBytes: options.folderVersionsBytes,
    minFreeBytes: options.minFreeBytes,
    quotaBytes: options.quotaBytes ?? null,
    storageLimitBytes: options.storageLimitBytes ?? null,
    maxEntries: options.maxEntries ?? null,
    writeBehindBytes: options.writeBehindBytes,
    ...(options.onError === undefined ? {} : { onError: options.onError }),
  });
  undo.push(() => keeper.close());
  await keeper.start();
  const [refused, failed] = [new CodeCounters(), new CodeCounters()];
  const home = new MirrorHome({
    ...options,
    keeper,
    onEvent: (event) => {
      if (event.type === "closed" && event.code !== undefined) failed.add(event.code);
      options.onEvent?.(event);
    },
  });
  keeper.guard((name, reason) => home.endSession(name, reason));
  const localCode = createCode();
  const gate =
    identity === null
      ? null
      : new Gate({
          identity,
          auth,
          localCode,
          limits,
          delayMs: () => loopDelay.meanMs,
          admit: ({ stream }, visitor) => home.handle(stream, visitor),
          onRefused: (peer, error) => {
            refused.add(error.code);
            options.onRefused?.(peer, error);
          },
        });
  // Answers are small and awaited; and a client that has ended still gets them.
  const statelessResetKey = state.statelessResetKey();
  const requireAdmission = gate !== null;
  const ours = { noDelay: true, allowHalfOpen: true, statelessResetKey, requireAdmission };
  // A classic client's address cannot be verified, and TLS is long.
  const stream = { ...ours, ...options.stream, extended: "required" as const };
  const server = createServer(stream, (socket) => (gate === null ? handlePlain(home, socket) : gate.enter(socket)));
  const address = await listen(server, options.port, host);
  undo.push(() => server.close());
  server.on("error", options.onError ?? ((error) => process.emitWarning(error)));
  const reachable = { host: reachableAddresses(address.address)[0] ?? address.address, port: address.port };
  state.saveSettings({ ...settings, ...reachable });
  const withdraw = identity === null ? () => {} : announce(state, identity.pin, localCode, options.stateFolder);
  undo.push(withdraw);
  const watching = watchPermissions(database, home, gate, options.onError);
  watching.add(watchAnswers(database, (folder, id, approved) => void home.approve(folder, id, approved)));
  const pairingAddress = (folder: string | null, code: string): string =>
    formatAddress({ ...reachable, name: folder ?? options.name ?? "mirror", code, pin: identity?.pin });
  const mirrors = new HomeMirrors(home, keeper, limits);
  const connectionCounts: ConnectionCounts = {
    drops: () => server.stats.drops,
    statelessResets: () => server.stats.statelessResets,
    refused,
    failed,
    overflows: () => home.openSessions.reduce((all, { stats }) => all + (stats?.().overflows ?? 0), 0),
  };
  const figures = { limits, connectionCounts, loopDelay, writeBehind: () => keeper.writeBehind };
  const parts = { auth, database, mirrors, pairingAddress, ...figures, stateFolder: state.folder };
  const { http, httpProblem } = await openOrExplain(options.http, parts);
  undo.push(() => http?.close());
  return {
    home,
    loopDelay,
    recovered: () => keeper.recovered(),
    http,
    httpProblem,
    auth,
    database,
    state,
    address,
    pin: identity?.pin ?? null,
    first: await firstStart(auth, pairingAddress),
    pairingAddress,
    close: async () => {
      withdraw();
      watching.unsubscribe();
      const portClosed = new Promise<void>((resolve) => server.close(() => resolve()));
      gate?.close();
      await Promise.all([http?.close(), home.close(), portClosed]);
      await keeper.close();
      await database.close();
      loopDelay.close();
      unlock();
    },
  };
}

async function openOrExplain(
  options: ServeOptions["http"],
  parts: Parameters<typeof openWeb>[1],
): Promise<{ http: HttpServing | null; httpProblem: Error | null }> {
  if (options === undefined) return { http: null, httpProblem: null };
  try {
    return { http: await openWeb(options, parts), httpProblem: null };
  } catch (error) {
    if (options.optional !== true || (error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    return { http: null, httpProblem: error as Error };
  }
}

function handlePlain(home: MirrorHome, socket: ConfundoSocket): void {
  home.handle(socket, { peer: `${socket.remoteAddress}:${socket.remotePort}`, stats: () => socket.stats });
}

/** Leaves the code for programs of the same user where they look for it. Without it they pair as others do. */
function announce(state: HomeState, pin: string, code: string, folder: string = stateFolder()): () => void {
  writeSecret(state.localCode, `${code}\n`);
  try {
    return announceLocally(pin, state.localCode, folder);
  } catch (error) {
    process.emitWarning(`Programs on this machine have to be paired like others: ${(error as Error).message}`);
    return () => {};
  }
}

/** The administrator and the first code, where there is no user yet. */
async function firstStart(auth: Auth, pairingAddress: Serving["pairingAddress"]): Promise<FirstStart | null> {
  const local = { kind: "local" } as const;
  if ((await auth.users(local)).length > 0) return null;
  const password = randomBytes(15).toString("base64url");
  await auth.addUser(local, { name: FIRST_USER, password, role: "admin" });
  const { code } = await auth.invite(local, { folder: null, access: "write", expiresInMs: FIRST_CODE_MS });
  return { user: FIRST_USER, password, pairingAddress: pairingAddress(null, code) };
}

/** Sessions end as soon as their device is revoked, by whatever process, and are judged anew when its grants change. */
function watchPermissions(
  database: Database,
  home: MirrorHome,
  gate: Gate | null,
  onError?: (error: Error) => void,
): Subscription {
  return database.events.live$.subscribe({
    next: ({ type, folder, data }) => {
      const { id, subject } = (data ?? {}) as { readonly id?: unknown; readonly subject?: unknown };
      if (type === "device.revoked") {
        gate?.forget();
        home.end(({ device }) => device === id, new SyncError("ERR_FORBIDDEN", "this device was revoked"));
      } else if (type === "folder.deleted" && folder !== null) {
        const { deletedAt = 0, purgeAt = 0 } = data as { readonly deletedAt?: number; readonly purgeAt?: number };
        home.end((session) => session.folder === folder, deletedError({ name: folder, deletedAt, purgeAt }));
      } else if (type === "device.resumption-reused") {
        const reused = new SyncError("ERR_RESUMPTION_REUSED", "a secret of this device was used twice; show the key");
        home.end((session) => session.device !== null && session.device === id, reused);
      } else if (type === "grants.changed" && subject === "device") {
        const changed = new SyncError("ERR_UNAVAILABLE", "what this device may do has changed");
        home.end((session) => session.device === id && session.folder === folder, changed);
      }
    },
    error: (error) => onError?.(error as Error),
  });
}

/** The address of a mirror, or with a code the one that pairs. */
export function formatAddress(parts: {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  readonly code?: string;
  readonly pin?: string | undefined;
}): string {
  const { host, port, name, code, pin } = parts;
  const where = host.includes(":") ? `[${host}]` : host;
  const address = `confundo://${where}:${port}/${encodeURIComponent(name)}`;
  return code === undefined || pin === undefined ? address : `${address}#${formatPairingCode({ code, pin })}`;
}

function listen(server: ConfundoServer, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null) reject(new Error("the server closed while it began to listen"));
      else resolve(address);
    });
  });
}
