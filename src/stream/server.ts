import dns from "node:dns";
import { EventEmitter } from "node:events";
import { type BlockList, type DropArgument, isIP } from "node:net";
import {
  type Connection,
  DEFAULT_EDITION,
  type DropCounts,
  type EditionName,
  Endpoint,
  type ExtendedOptions,
  editionNamed,
  MAX_CONNECTION_ID,
  MAX_DROPPED_CONNECTIONS,
  noDrops,
  Signal,
  type TraceSink,
} from "../protocol/index.js";
import {
  checkBlockList,
  checkNumber,
  checkPort,
  checkSilenceTimeout,
  listenArguments,
  typeError,
} from "./arguments.js";
import {
  type DatagramSocket,
  openSharedSoon,
  patienceMs,
  type SharedDatagramSocket,
  type Tier,
} from "./datagram/index.js";
import { type ConnectionOwner, type DatagramPort, Driver } from "./driver.js";
import { bindError, ConfundoError, throwLater } from "./errors.js";
import { extendedOptions, newMac, newResetTokens, transmissionBytes } from "./extended.js";
import { NODE_MEMORY } from "./memory.js";
import { ConfundoSocket } from "./socket.js";
import type { AddressInfo, SocketOptions } from "./socket-options.js";

/** From this many bytes either way on, a connection of the extended edition is worth a UDP socket of its own. */
const BULK_BYTES = 256 * 1024;

export interface ServerOptions extends SocketOptions {
  /** The course edition to speak. Default `fiu-2023`. */
  readonly edition?: EditionName | undefined;
  /** Connections at once, without those that only wait for late FINs; further ones are ended at once (`drop`). Default and most 65,535. */
  readonly maxConnections?: number | undefined;
  /** What is buffered for each connection's reader, in bytes; more is not accepted from the peer. Default 256 KiB. */
  readonly receiveBufferBytes?: number | undefined;
  /** Addresses whose connections are refused. */
  readonly blockList?: BlockList | undefined;
  /** Bytes that wait for a reader in each socket's stream before no more are taken from its connection. Default: Node's. */
  readonly highWaterMark?: number | undefined;
  /** Do not read from new sockets until they are resumed. Default false. */
  readonly pauseOnConnect?: boolean | undefined;
  /**
   * Emit `connection` already when a SYN arrives, as the course servers count and create files then. The socket is still
   * `connecting`. Default false: when the handshake is done.
   */
  readonly acceptAtSyn?: boolean | undefined;
  /**
   * With clients of the extended edition: spend no memory on an address before it has proved to be a client's, send it
   * no more bytes than came from it, and answer no more than {@link handshakesPerSecond}. Classic clients that have sent a SYN
   * only, which cannot be verified, are limited to 4,096 then; `extended: "required"` drops them. Default: true, false with
   * `acceptAtSyn`, which asks for a socket at the SYN.
   */
  readonly verifyAddresses?: boolean | undefined;
  /**
   * Handshakes that one address (one /64 of IPv6) may begin in a second without finishing them, and four times as many at once.
   * Further SYNs are dropped and counted, see {@link ServerStats}. Default 2,048.
   */
  readonly handshakesPerSecond?: number | undefined;
  /**
   * A secret of at least 16 bytes. A server that was started again tells clients of the old one at once that their connections are
   * gone (a stateless reset, RFC 9000 section 10.3) if it has the same key; several servers behind one address can share it.
   * Default: a new random key, which tells them of connections that this server has given up.
   */
  readonly statelessResetKey?: string | Uint8Array | undefined;
  /** Gets each line of the course programs' log. */
  readonly trace?: TraceSink | undefined;
}

export interface ListenOptions {
  /** Default 0: any free port. */
  readonly port?: number | undefined;
  /** Default: all interfaces, IPv6 and IPv4 where there is IPv6. */
  readonly host?: string | undefined;
  /** Taken as in `node:net` and not used: the limits of handshakes are options of the server. */
  readonly backlog?: number | undefined;
  /** Taken as in `node:net`: a worker of `node:cluster` always has its port to itself. See `reusePort`. */
  readonly exclusive?: boolean | undefined;
  /**
   * Share the port (SO_REUSEPORT) with other processes of the same user that ask for it too, such as workers of
   * `node:cluster`: the kernel gives each client to one of them. Default false. See docs/cluster.md.
   */
  readonly reusePort?: boolean | undefined;
  /** Only IPv6 on an IPv6 address. Default false. */
  readonly ipv6Only?: boolean | undefined;
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal | undefined;
}

export interface ServerStats {
  /** Datagrams that no connection received, by reason, since the server began to listen. */
  readonly drops: Readonly<DropCounts>;
}

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
  #drops: Readonly<DropCounts> = noDrops();
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
    return { drops: { ...this.#drops } };
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
    this.#drops = serverPort.drops;
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
    else driver.attach(connection, new Embryo(connection, driver, create, () => this.#verdict(connection, port)));
  }

  /** A server that has closed in the meantime takes no more connections, nor does one that is full or has blocked the address. */
  #verdict({ remoteAddress, remotePort }: Connection, port: ServerPort): Verdict {
    if (!port.listening) return "reset";
    const { blockList } = this.#options;
    const isFull = this.#sockets.size >= this.#maxConnections;
    const remoteFamily = remoteAddress.includes(":") ? "IPv6" : "IPv4";
    const isBlocked = blockList?.check(remoteAddress, remoteFamily === "IPv6" ? "ipv6" : "ipv4") ?? false;
    if (!isFull && !isBlocked) return "accept";
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

/**
 * What becomes of a connection when its handshake is done: a socket, a reset, or its end at once, as of one that
 * `node:net` drops.
 */
type Verdict = "accept" | "reset" | "end";

/** Owns an accepted connection until its handshake is done and it becomes a socket, or until it is given up. */
class Embryo implements ConnectionOwner {
  readonly keepsProcessAlive = false;
  readonly awaitsClose = false;
  readonly awaitsEmpty = false;
  readonly #connection: Connection;
  readonly #driver: Driver;
  readonly #create: () => ConfundoSocket;
  readonly #verdict: () => Verdict;

  constructor(connection: Connection, driver: Driver, create: () => ConfundoSocket, verdict: () => Verdict) {
    this.#connection = connection;
    this.#driver = driver;
    this.#create = create;
    this.#verdict = verdict;
  }

  handleSignals(signals: number): void {
    // One that was open and reset within a batch has been a connection, as it would be with node:net.
    if ((signals & Signal.connected) !== 0) this.#handshakeDone(signals);
    else if ((signals & Signal.closed) !== 0) this.#driver.detach(this.#connection);
  }

  #handshakeDone(signals: number): void {
    const verdict = this.#verdict();
    if (verdict === "accept") {
      this.#create().handleSignals(signals);
      return;
    }
    const now = this.#driver.now();
    this.#driver.detach(this.#connection);
    if (verdict === "reset") this.#connection.abort(now);
    else {
      this.#connection.end(now);
      this.#connection.discardInput(now);
    }
    this.#driver.drain(this.#connection);
  }
}

/** A UDP socket of its own for one connection's peer; null where that is not to be had. */
interface Peer {
  readonly address: string;
  readonly port: number;
  readonly localAddress: string;
  readonly udp: DatagramSocket | null;
}

/** A server's UDP socket, which outlives the server as long as late FINs are to be answered. */
class ServerPort implements DatagramPort {
  /** Those that stay open for the connections they still have. What only waits for late FINs gives way to a new server. */
  static readonly #late = new Set<ServerPort>();

  readonly transmissionBytes: number;
  readonly repeatsResets = true;
  readonly #options: ServerOptions;
  readonly #driver: Driver;
  readonly #endpoint: Endpoint;
  /** The ways of connections that move much, and of those that are closed, for their statistics. */
  readonly #peers = new WeakMap<Connection, Peer>();
  #udp: SharedDatagramSocket | null = null;
  #ownTier: Tier = "dgram";
  #sharesPort = false;
  #listening = true;

  /** Whether new connections are taken. */
  get listening(): boolean {
    return this.#listening;
  }

  /** What the endpoint has dropped; goes on counting. */
  get drops(): Readonly<DropCounts> {
    return this.#endpoint.drops;
  }

  constructor(options: ServerOptions, accept: (connection: Connection, driver: Driver) => void) {
    const edition = editionNamed(options.edition ?? DEFAULT_EDITION);
    const pathBytes = (address: string) => this.#udp?.maxDatagramBytes(address) ?? 0;
    const extended = verifying(extendedOptions(options, pathBytes), options);
    this.#options = options;
    this.transmissionBytes = transmissionBytes(edition, extended);
    this.#endpoint = new Endpoint({
      memory: NODE_MEMORY,
      edition,
      extended,
      accept: true,
      silenceTimeoutMs: checkSilenceTimeout(options.silenceTimeoutMs),
      trace: options.trace ?? null,
      ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    });
    this.#driver = new Driver(this.#endpoint, this, options.clock, (connection) => accept(connection, this.#driver));
    this.#driver.retain(true);
  }

  /** Binds to an IP address, or to all, before it returns where the runtime can; a name is looked up first. */
  bind(options: ListenOptions & { readonly port: number }, done: (error: Error | null) => void): void {
    const { host, port } = options;
    this.#sharesPort = options.reusePort === true;
    if (host == null || host === "") {
      this.#bindTo("::", options, (error) => {
        // No IPv6 on this machine.
        if (error?.code === "EADDRNOTAVAIL") this.#bindTo("0.0.0.0", options, done);
        else done(error);
      });
    } else if (isIP(host) !== 0) {
      this.#bindTo(host, options, done);
    } else {
      // The courses' clients know IPv4 only, so a name means that first.
      dns.lookup(host, { order: "ipv4first" }, (cause, address) => {
        if (cause !== null) done(bindError(cause, host, port));
        else if (this.#listening) this.#bindTo(address, options, done);
        else done(null);
      });
    }
  }

  /** Some more are accepted, to be told that there are too many. */
  limit(maxConnections: number): void {
    this.#endpoint.maxConnections = Math.min(MAX_CONNECTION_ID, maxConnections + MAX_DROPPED_CONNECTIONS);
  }

  address(): AddressInfo | null {
    return this.#udp?.address() ?? null;
  }

  /** Whether listening, apart from its sockets, keeps the process alive. */
  setListeningRef(ref: boolean): void {
    if (this.#listening) this.#driver.retain(ref);
  }

  stopListening(): void {
    this.#listening = false;
    this.#endpoint.accept = false;
    ServerPort.#late.add(this);
    this.#driver.release();
  }

  send(bytes: Uint8Array, connection: Connection): boolean {
    const { sendAddress, sendPort, sendLocalAddress, remoteAddress, remotePort, datagramBytes } = connection;
    // What checks whether a peer has moved goes to where it may be now.
    const usual =
      sendPort === remotePort && sendAddress === remoteAddress && sendLocalAddress === connection.localAddress;
    const udp = (usual ? this.#peerOf(connection) : null) ?? this.#udp;
    return udp?.send(bytes, datagramBytes, sendPort, sendAddress, sendLocalAddress) ?? true;
  }

  sendTo(bytes: Uint8Array, remoteAddress: string, remotePort: number, localAddress: string): void {
    this.#udp?.send(bytes, bytes.length, remotePort, remoteAddress, localAddress);
  }

  forget(connection: Connection): void {
    this.#peers.get(connection)?.udp?.close();
  }

  /** The address that a connection's peer dialled, and the port. */
  localAddressOf({ localAddress }: Connection): AddressInfo | null {
    const bound = this.address();
    return bound === null || localAddress === "" ? bound : { ...bound, address: localAddress };
  }

  tierOf(connection: Connection): Tier {
    return this.#peers.get(connection)?.udp?.tier ?? this.#ownTier;
  }

  #peerOf(connection: Connection): DatagramSocket | null {
    const { remoteAddress: address, remotePort: port, localAddress } = connection;
    const known = this.#peers.get(connection);
    if (known?.address === address && known.port === port && known.localAddress === localAddress) {
      known.udp?.bePatient(patienceMs(connection.stats.minRttMs), this.#driver.clock);
      return known.udp;
    }
    // The peer has moved: the kernel would go on sending to where it was.
    if (known !== undefined) this.forget(connection);
    if (!connection.connected || this.#udp === null) return null;
    const isExtended = connection.edition === "extended";
    const { bytesReceived, bytesAcknowledged } = connection.stats;
    const isBulk = isExtended && bytesReceived + bytesAcknowledged >= BULK_BYTES;
    // Where processes share the port, a client's datagrams must come here whichever of them begin or end.
    if (!isBulk && !this.#sharesPort) return null;
    const udp = this.#udp.openPeer(address, port, localAddress);
    // A trace tells of each packet.
    if (isExtended) udp?.enableCoalescing(this.#options.trace === undefined);
    // The shared socket, which outlives it, keeps the process alive or not.
    udp?.unref();
    this.#peers.set(connection, { address, port, localAddress, udp });
    return udp;
  }

  setRef(ref: boolean): void {
    if (ref) this.#udp?.ref();
    else this.#udp?.unref();
  }

  close(): void {
    ServerPort.#late.delete(this);
    this.#udp?.close();
    this.#udp = null;
  }

  #bindTo(
    address: string,
    options: ListenOptions & { readonly port: number },
    done: (error: ConfundoError | null) => void,
  ): void {
    const { port, reusePort = false } = options;
    const ipv6Only = (options.ipv6Only ?? false) && address.includes(":");
    for (const late of ServerPort.#late) {
      if (late.address()?.port === port) late.#driver.closeIfOnlyFinWait();
    }
    const { tier } = this.#options;
    const handlers = {
      onDatagram: (bytes: Uint8Array, from: string, fromPort: number, segmentBytes: number, to: string) =>
        this.#driver.receive(bytes, from, fromPort, segmentBytes, to),
      onBatchEnd: () => this.#driver.endBatch(),
      onRefused: (address: string, port: number, bytes: number, limitBytes: number) =>
        this.#driver.limitDatagrams(address, port, bytes, limitBytes),
      // What one datagram met on its way is no matter: what is lost is sent again.
      onHint: () => {},
    };
    const opened = (udp: SharedDatagramSocket) => {
      this.#opened(udp);
      done(null);
    };
    const failed = (error: NodeJS.ErrnoException) => done(bindError(error, address, port, adviceFor(reusePort)));
    openSharedSoon({ address, port, ipv6Only, reusePort, tier, handlers }, opened, failed);
  }

  #opened(udp: SharedDatagramSocket): void {
    if (!this.#listening) {
      // Closed while it was bound.
      udp.close();
      return;
    }
    this.#udp = udp;
    this.#ownTier = udp.tier;
    this.#driver.updateRef();
  }
}

/** A port that is taken may be so by another worker of `node:cluster`. */
function adviceFor(reusePort: boolean): string {
  const { isWorker } = process.getBuiltinModule("node:cluster");
  if (!isWorker || reusePort) return "";
  return "Workers of node:cluster share a port with listen({ port, reusePort: true }).";
}

function verifying(extended: ExtendedOptions | null, options: ServerOptions): ExtendedOptions | null {
  const { acceptAtSyn = false, verifyAddresses = !acceptAtSyn, handshakesPerSecond, statelessResetKey } = options;
  if (extended === null) return null;
  const resettable = { ...extended, resetToken: newResetTokens(statelessResetKey) };
  if (!verifyAddresses) return resettable;
  return { ...resettable, mac: newMac(), ...(handshakesPerSecond === undefined ? {} : { handshakesPerSecond }) };
}
