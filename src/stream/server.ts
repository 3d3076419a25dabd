import { EventEmitter } from "node:events";
import type { DropArgument } from "node:net";
import { type Connection, DEFAULT_EDITION, editionNamed, MAX_CONNECTION_ID, noDrops } from "../protocol/index.js";
import { checkBlockList, checkNumber, checkPort, listenArguments, typeError } from "./arguments.js";
import type { Driver } from "./driver.js";
import { ConfundoError, throwLater } from "./errors.js";
import { PendingConnection, type Verdict } from "./pending-connection.js";
import type { ListenOptions, ServerOptions, ServerStats, StatelessResetCounts } from "./server-options.js";
import { ServerPort } from "./server-port.js";
import { ConfundoSocket } from "./socket.js";
import type { AddressInfo } from "./socket-options.js";

const NO_RESETS: StatelessResetCounts = { sent: 0, suppressed: 0 };

type ConnectionListener = (socket: ConfundoSocket) => void;

interface ServerEvents {
  connection: [socket: ConfundoSocket];
  listening: [];
  close: [];
  error: [error: Error];
  /** A connection that the server did not take. */
  drop: [data?: DropArgument];
}

/**
 * A server as in `node:net`. Listening may be tried again after an error.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ProtocolError ERR_UNKNOWN_EDITION
 */
export function createServer(onConnection?: ConnectionListener): ConfundoServer;
export function createServer(options: ServerOptions, onConnection?: ConnectionListener): ConfundoServer;
export function createServer(
  options: ServerOptions | ConnectionListener = {},
  onConnection?: ConnectionListener,
): ConfundoServer {
  return new ConfundoServer(options, onConnection);
}

/**
 * Accepts connections on one UDP port. Events: `listening`, `connection` ({@link ConfundoSocket}), `error`
 * ({@link ConfundoError}: EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOTFOUND), `close`.
 */
export class ConfundoServer extends EventEmitter<ServerEvents> {
  readonly #options: ServerOptions;
  readonly #sockets = new Set<ConfundoSocket>();
  #port: ServerPort | null = null;
  /** What the endpoint of the port counts. */
  #counts: Pick<ServerPort, "drops" | "statelessResets"> = { drops: noDrops(), statelessResets: NO_RESETS };
  /** Connections that were not taken, see `#verdict`. */
  #refused = { full: 0, blocked: 0 };
  #maxConnections: number;
  #closing = false;
  #ref = true;

  /** @throws TypeError ERR_INVALID_ARG_TYPE, ProtocolError ERR_UNKNOWN_EDITION */
  constructor(options: ServerOptions | ConnectionListener | null = {}, onConnection?: ConnectionListener) {
    super();
    if (options !== null && typeof options !== "object" && typeof options !== "function") {
      throw typeError("options", "of type object", options);
    }
    const given = typeof options === "function" ? {} : { ...options };
    checkNumber(given.keepAliveInitialDelay, "options.keepAliveInitialDelay");
    checkNumber(given.highWaterMark, "options.highWaterMark");
    checkBlockList(given.blockList);
    editionNamed(given.edition ?? DEFAULT_EDITION);
    const listener = typeof options === "function" ? options : onConnection;
    if (typeof listener === "function") this.on("connection", listener);
    this.#options = given;
    this.#maxConnections = given.maxConnections ?? MAX_CONNECTION_ID;
  }

  get listening(): boolean {
    return this.#port?.address() != null && !this.#closing;
  }

  /** A copy of the server's counters. */
  get stats(): ServerStats {
    const { drops, statelessResets } = this.#counts;
    const { full, blocked } = this.#refused;
    return {
      drops: { ...drops, connectionLimit: drops.connectionLimit + full, blockedAddress: blocked },
      statelessResets: { ...statelessResets },
    };
  }

  /** Connections at once; further ones are ended at once, and `drop` is emitted, as in `node:net`. */
  get maxConnections(): number {
    return this.#maxConnections;
  }
  set maxConnections(value: number) {
    this.#maxConnections = value;
    this.#port?.limit(value);
  }

  /** Connections now: `getConnections()` is the way to ask. */
  get connections(): number {
    return this.#sockets.size;
  }

  /**
   * Binds the port; `listening` is emitted when that is done. Where the host is an IP address or none is given, the port is
   * bound when the call returns, and `address()` tells it.
   * @throws RangeError ERR_SOCKET_BAD_PORT, TypeError ERR_INVALID_ARG_VALUE, ConfundoError ERR_SERVER_ALREADY_LISTEN
   */
  listen(port?: number, host?: string, backlog?: number, onListening?: () => void): this;
  listen(port?: number, host?: string, onListening?: () => void): this;
  listen(port?: number, backlog?: number, onListening?: () => void): this;
  listen(port?: number, onListening?: () => void): this;
  /** Throws ERR_INVALID_ARG_VALUE: Confundo listens on UDP ports, not on paths. */
  listen(path: string, backlog?: number, onListening?: () => void): this;
  listen(path: string, onListening?: () => void): this;
  listen(options: ListenOptions, onListening?: () => void): this;
  listen(onListening?: () => void): this;
  listen(...args: unknown[]): this {
    if (this.#port !== null && !this.#closing) {
      throw new ConfundoError("ERR_SERVER_ALREADY_LISTEN", "This server listens already. Close it first.");
    }
    const [options, onListening] = listenArguments<ListenOptions>(args);
    const port = checkPort(options.port ?? 0, "options.port");
    if (onListening !== null) this.once("listening", onListening);
    this.#closing = false;
    const serverPort = new ServerPort(this.#options, (connection, driver) => {
      this.#accept(connection, driver, serverPort);
    });
    serverPort.limit(this.#maxConnections);
    this.#port = serverPort;
    this.#counts = serverPort;
    this.#refused = { full: 0, blocked: 0 };
    const bound = () => {
      if (this.#port !== serverPort || this.#closing) return;
      serverPort.setListeningRef(this.#ref);
      this.emit("listening");
    };
    const failed = (error: Error) => {
      if (this.#port !== serverPort) return;
      this.#port = null;
      this.emit("error", error);
    };
    serverPort.bind({ ...options, port }, (error) => {
      process.nextTick(() => (error === null ? bound() : failed(error)));
    });
    if (options.signal != null) this.#followSignal(options.signal);
    return this;
  }

  /** The bound address; null when not listening. */
  address(): AddressInfo | null {
    return this.#closing ? null : (this.#port?.address() ?? null);
  }

  /**
   * Stops accepting. `close` is emitted, and `callback` called, when the last connection has ended. A server that does not
   * listen calls it with ERR_SERVER_NOT_RUNNING.
   */
  close(callback?: (error?: Error) => void): this {
    const port = this.#port;
    const isRunning = port !== null && !this.#closing;
    if (typeof callback === "function") {
      if (isRunning) this.once("close", () => callback());
      else this.#callNotRunning(callback);
    }
    if (!isRunning) return this;
    this.#closing = true;
    port.stopListening();
    this.#closeIfDone();
    return this;
  }

  #callNotRunning(callback: (error: Error) => void): void {
    process.nextTick(callback, new ConfundoError("ERR_SERVER_NOT_RUNNING", "This server is not listening."));
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this.#sockets.size);
    return this;
  }

  ref(): this {
    this.#ref = true;
    this.#port?.setListeningRef(true);
    return this;
  }

  unref(): this {
    this.#ref = false;
    this.#port?.setListeningRef(false);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#port === null || this.#closing) return;
    await new Promise((resolve) => this.close(resolve));
  }

  /** With `captureRejections`, a connection listener that rejects destroys its socket. */
  override [EventEmitter.captureRejectionSymbol](error: Error, event: string, ...args: unknown[]): void {
    if (event === "connection") (args[0] as ConfundoSocket).destroy(error);
    else this.emit("error", error);
  }

  #followSignal(signal: AbortSignal): void {
    const abort = () => this.close();
    if (signal.aborted) {
      process.nextTick(abort);
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    this.once("close", () => signal.removeEventListener("abort", abort));
  }

  #accept(connection: Connection, driver: Driver, port: ServerPort): void {
    const create = () => this.#createSocket(connection, driver, port);
    if (this.#options.acceptAtSyn && this.#sockets.size < this.#maxConnections) create();
    else
      driver.attach(
        connection,
        new PendingConnection(connection, driver, create, () => this.#verdict(connection, port)),
      );
  }

  /** A server that has closed in the meantime takes no more connections, nor does one that is full or has blocked the address. */
  #verdict({ remoteAddress, remotePort }: Connection, port: ServerPort): Verdict {
    if (!port.listening) return "reset";
    const { blockList } = this.#options;
    const isFull = this.#sockets.size >= this.#maxConnections;
    const remoteFamily = remoteAddress.includes(":") ? "IPv6" : "IPv4";
    const isBlocked = blockList?.check(remoteAddress, remoteFamily === "IPv6" ? "ipv6" : "ipv4") ?? false;
    if (!isFull && !isBlocked) return "accept";
    this.#refused[isBlocked ? "blocked" : "full"]++;
    const { address: localAddress, port: localPort, family: localFamily } = port.address() as AddressInfo;
    this.emit("drop", { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily });
    return "end";
  }

  #createSocket(connection: Connection, driver: Driver, port: ServerPort): ConfundoSocket {
    const { remoteAddress, remotePort } = connection;
    const socket = new ConfundoSocket(this.#options);
    if (this.#options.pauseOnConnect) socket.pause();
    socket.server = this as unknown as typeof socket.server;
    socket.adopt({
      connection,
      driver,
      readable: true,
      foregroundFinWait: false,
      host: remoteAddress,
      port: remotePort,
      kernelHint: () => null,
      localAddress: () => port.localAddressOf(connection),
      currentTier: () => port.tierOf(connection),
    });
    socket.setRemote(remoteAddress, remotePort);
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#closeIfDone();
    });
    try {
      this.emit("connection", socket);
    } catch (error) {
      throwLater(error);
    }
    return socket;
  }

  #closeIfDone(): void {
    if (!this.#closing || this.#sockets.size > 0 || this.#port === null) return;
    this.#port = null;
    process.nextTick(() => this.emit("close"));
  }
}
