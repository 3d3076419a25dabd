import { lookup as dnsLookup } from "node:dns";
import { isIP } from "node:net";
import {
  type Connection,
  DEFAULT_EDITION,
  type EditionName,
  Endpoint,
  editionNamed,
  type ShortSegments,
  type TraceSink,
} from "../protocol/index.js";
import { type DatagramSocket, openConnected, patienceMs, type Tier } from "./datagram/index.js";
import { type DatagramPort, Driver } from "./driver.js";
import { ConfundoError, checkPort, lookupError } from "./errors.js";
import { extendedOptions, transmissionBytes } from "./extended.js";
import { NODE_MEMORY } from "./memory.js";
import { ConfundoSocket } from "./socket.js";
import type { AddressInfo, SocketOptions } from "./socket-options.js";

export interface ConnectOptions extends SocketOptions {
  readonly port: number;
  /** Host name or IP address. Default `localhost`. */
  readonly host?: string | undefined;
  /** Only IPv4 (4) or IPv6 (6) addresses of the host; 0, the default, for either. */
  readonly family?: 0 | 4 | 6 | undefined;
  /** The course edition to speak. Default `fiu-2023`. */
  readonly edition?: EditionName | undefined;
  /** Destroys the socket with an `AbortError` (code ABORT_ERR) when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Local port to send from. Default: any. */
  readonly localPort?: number | undefined;
  /** Local address to send from. Default: as the route says. */
  readonly localAddress?: string | undefined;
  /**
   * False for a connection that only sends: the peer need not send a FIN of its own (some course servers do not), and the
   * socket has no readable side. Default true.
   */
  readonly readable?: boolean | undefined;
  /**
   * `foreground`: `close` is emitted only after the 2 s (extended edition: 4 s) in which late FINs are answered. Default `background`: that is
   * done after `close`, without keeping the process alive.
   */
  readonly finWait?: "background" | "foreground" | undefined;
  /** When segments that are not full are sent. Default `nagle`; `never` sends full ones only, but the last. */
  readonly shortSegments?: ShortSegments | undefined;
  /** What is buffered for the reader, in bytes; more is not accepted from the peer. Default 256 KiB. */
  readonly receiveBufferBytes?: number | undefined;
  /** Gets each line of the course programs' log. */
  readonly trace?: TraceSink | undefined;
  /** Resolves host names, as `dns.lookup` with `all: true` does. Default `dns.lookup`. */
  readonly lookup?: typeof dnsLookup | undefined;
}

/**
 * Opens a connection and returns its socket at once; `connect` is emitted when the handshake is done, and data may be
 * written before.
 *
 * @throws ConfundoError ERR_SOCKET_BAD_PORT
 * @throws ProtocolError ERR_UNKNOWN_EDITION
 *
 * The socket's errors: ENOTFOUND (unknown host), ETIMEDOUT (no answer, or silence, for 10 s), ECONNRESET (the peer's
 * program is gone), ABORT_ERR (by the signal), EADDRINUSE and EADDRNOTAVAIL (the local address asked for).
 */
export function connect(options: ConnectOptions, onConnect?: () => void): ConfundoSocket;
export function connect(port: number, host?: string, onConnect?: () => void): ConfundoSocket;
export function connect(port: number, onConnect?: () => void): ConfundoSocket;
export function connect(
  target: ConnectOptions | number,
  hostOrListener?: string | (() => void),
  listener?: () => void,
): ConfundoSocket {
  const host = typeof hostOrListener === "string" ? { host: hostOrListener } : {};
  const options: ConnectOptions = target instanceof Object ? target : { port: target, ...host };
  const onConnect = typeof hostOrListener === "function" ? hostOrListener : listener;
  const socket = new ClientPort(options).socket;
  if (onConnect !== undefined) socket.once("connect", onConnect);
  return socket;
}

/** One address of the server and the UDP socket connected to it. */
interface Path {
  readonly address: string;
  readonly family: 4 | 6;
  /** Null before it is opened, and after it has failed. */
  udp: DatagramSocket | "opening" | null;
}

/**
 * A client's way to its server. A name with several addresses is tried at all of them: each SYN that goes unanswered is
 * followed by one to the next address, and the first that answers is kept (after RFC 8305, with one connection).
 *
 * The UDP socket is connected, so that the kernel tells when nothing listens there.
 */
class ClientPort implements DatagramPort {
  readonly transmissionBytes: number;
  readonly socket: ConfundoSocket;
  readonly #options: ConnectOptions;
  readonly #host: string;
  readonly #port: number;
  readonly #driver: Driver;
  readonly #connection: Connection;
  #paths: Path[] = [];
  #chosen: Path | null = null;
  #attempts = 0;
  #ref = true;
  #closed = false;
  #kernelHint: NodeJS.ErrnoException | null = null;
  #tierAtEnd: Tier = "dgram";

  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#host = options.host ?? "localhost";
    this.#port = checkPort(options.port, 1);
    const edition = editionNamed(options.edition ?? DEFAULT_EDITION);
    const extended = extendedOptions(options, () => this.#pathBytes());
    this.transmissionBytes = transmissionBytes(edition, extended);
    const endpoint = new Endpoint({
      memory: NODE_MEMORY,
      edition,
      extended,
      trace: options.trace ?? null,
      ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    });
    const readable = options.readable ?? true;
    // Which of its addresses the server answers from is the port's business: the endpoint knows one server.
    this.#connection = endpoint.connect("", 0, { sendOnly: !readable });
    if (options.shortSegments !== undefined) this.#connection.shortSegments = options.shortSegments;
    this.#driver = new Driver(endpoint, this, options.clock);
    this.socket = new ConfundoSocket({
      ...options,
      connection: this.#connection,
      driver: this.#driver,
      readable,
      foregroundFinWait: options.finWait === "foreground",
      host: this.#host,
      port: this.#port,
      kernelHint: () => this.#kernelHint,
      localAddress: () => this.#localAddress(),
      currentTier: () => this.#open()?.tier ?? this.#tierAtEnd,
    });
    if (options.signal !== undefined) this.socket.followSignal(options.signal);
    this.#resolve();
  }

  send(bytes: Uint8Array, connection: Connection): boolean {
    const path = this.#chosen ?? this.#paths[this.#attempts++ % this.#paths.length];
    if (path === undefined || path.udp === "opening") return true;
    if (path.udp !== null) {
      path.udp.bePatient(patienceMs(connection.stats.minRttMs), this.#driver.clock);
      return path.udp.send(bytes, connection.datagramBytes, this.#port, path.address, "");
    }
    this.#openPath(path, bytes.slice()).catch((error) => this.#pathFailed(path, error));
    return true;
  }

  /** A client's endpoint replies to nobody. */
  sendTo(): void {}

  forget(): void {}

  setRef(ref: boolean): void {
    this.#ref = ref;
    for (const { udp } of this.#paths) {
      if (udp === null || udp === "opening") continue;
      if (ref) udp.ref();
      else udp.unref();
    }
  }

  close(): void {
    this.#tierAtEnd = this.#open()?.tier ?? this.#tierAtEnd;
    this.#closed = true;
    this.#closePathsBut(null);
  }

  #resolve(): void {
    const family = isIP(this.#host);
    if (family !== 0) {
      process.nextTick(() => this.#begin([{ address: this.#host, family }]));
      return;
    }
    const lookup = this.#options.lookup ?? dnsLookup;
    const { family: wanted = 0, localAddress = "" } = this.#options;
    lookup(this.#host, { all: true, family: wanted === 0 ? isIP(localAddress) : wanted }, (error, addresses) => {
      this.socket.emit("lookup", error, addresses?.[0]?.address, addresses?.[0]?.family, this.#host);
      if (error !== null || addresses.length === 0) {
        this.socket.destroy(
          lookupError(error ?? { name: "Error", message: "", code: "ENODATA" }, this.#host, this.#port),
        );
        return;
      }
      this.#begin(addresses);
    });
  }

  #begin(addresses: { address: string; family: number }[]): void {
    if (this.#connection.closed) return;
    // The courses' servers know IPv4 only.
    this.#paths = addresses
      .map(({ address, family }) => ({
        address,
        family: family === 6 ? (6 as const) : (4 as const),
        udp: null,
      }))
      .sort((a, b) => a.family - b.family);
    this.#connection.open(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  /** Opens the UDP socket of a path and sends its first datagram. */
  async #openPath(path: Path, first: Uint8Array): Promise<void> {
    const { localAddress, localPort = 0, tier } = this.#options;
    if (localPort > 0) this.#closePathsBut(path);
    path.udp = "opening";
    const udp = await openConnected({
      remoteAddress: path.address,
      remotePort: this.#port,
      localAddress,
      localPort,
      tier,
      first,
      handlers: {
        onDatagram: (bytes, _address, _port, segmentBytes) => this.#receive(path, bytes, segmentBytes),
        onBatchEnd: () => this.#driver.endBatch(),
        onHint: (error) => {
          this.#kernelHint = error;
        },
      },
    });
    if (this.#closed || path.udp !== "opening") {
      udp.close();
      return;
    }
    path.udp = udp;
    if (!this.#ref) udp.unref();
    this.socket.setRemote(path.address, this.#port);
  }

  #receive(path: Path, bytes: Uint8Array, segmentBytes: number | undefined): void {
    this.#choose(path);
    this.#kernelHint = null;
    this.#driver.receive(bytes, "", 0, segmentBytes);
  }

  /** Two sockets cannot have one local port, and one way is enough once it is found. */
  #closePathsBut(kept: Path | null): void {
    for (const path of this.#paths) {
      if (path === kept) continue;
      if (path.udp !== "opening") path.udp?.close();
      path.udp = null;
    }
  }

  /** Whoever answers first is the server. */
  #choose(path: Path): void {
    if (this.#chosen !== null) return;
    this.#chosen = path;
    this.socket.setRemote(path.address, this.#port);
    this.#closePathsBut(path);
    this.#paths = [path];
  }

  /** Errors of the network are hints: what is lost is sent again. Only an address of our own that cannot be had is final. */
  #pathFailed(path: Path, error: NodeJS.ErrnoException): void {
    if (error.syscall === "bind") {
      const { localAddress = "any address", localPort = 0 } = this.#options;
      const code = error.code === "EADDRINUSE" ? "EADDRINUSE" : "EADDRNOTAVAIL";
      const message = `Cannot send from ${localAddress} port ${localPort} (${error.code}). Choose another local address or port.`;
      this.socket.destroy(new ConfundoError(code, message, { cause: error, syscall: "bind" }));
      return;
    }
    this.#kernelHint = error;
    // A socket that could not be connected (no route, no such family) is made anew at the next attempt.
    path.udp = null;
  }

  /** The socket in use. */
  #open(): DatagramSocket | null {
    const udp = this.#chosen?.udp ?? this.#paths.find((path) => path.udp !== null && path.udp !== "opening")?.udp;
    return udp == null || udp === "opening" || this.#closed ? null : udp;
  }

  #pathBytes(): number {
    const udp = this.#open();
    if (udp === null || this.#chosen === null) return 0;
    // From here on the extended edition is spoken, whose packets tell their own length.
    udp.enableCoalescing(this.#options.trace === undefined);
    return udp.maxDatagramBytes(this.#chosen.address);
  }

  #localAddress(): AddressInfo | null {
    return this.#open()?.address() ?? null;
  }
}
