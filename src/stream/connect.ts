import { createSocket, type Socket } from "node:dgram";
import { lookup as dnsLookup } from "node:dns";
import { isIP } from "node:net";
import {
  type Connection,
  DEFAULT_EDITION,
  type EditionName,
  Endpoint,
  editionNamed,
  HEADER_BYTES,
  type ShortSegments,
  type TraceSink,
} from "../protocol/index.js";
import { type DatagramPort, Driver } from "./driver.js";
import { ConfundoError, checkPort, lookupError } from "./errors.js";
import { type AddressInfo, ConfundoSocket, type SocketOptions } from "./socket.js";
import { addressInfo, enlargeBuffers } from "./udp.js";

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
   * `foreground`: `close` is emitted only after the 2 s in which late FINs are answered. Default `background`: that is
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
  udp: Socket | null;
  ready: boolean;
}

/**
 * A client's way to its server. A name with several addresses is tried at all of them: each SYN that goes unanswered is
 * followed by one to the next address, and the first that answers is kept (after RFC 8305, with one connection).
 *
 * The UDP socket is connected, so that the kernel tells when nothing listens there.
 */
class ClientPort implements DatagramPort {
  readonly datagramBytes: number;
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

  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#host = options.host ?? "localhost";
    this.#port = checkPort(options.port, 1);
    const edition = editionNamed(options.edition ?? DEFAULT_EDITION);
    this.datagramBytes = HEADER_BYTES + edition.segmentBytes;
    const endpoint = new Endpoint({
      edition,
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
    });
    if (options.signal !== undefined) this.socket.followSignal(options.signal);
    this.#resolve();
  }

  send(datagram: Uint8Array): void {
    const path = this.#chosen ?? this.#paths[this.#attempts++ % this.#paths.length];
    if (path === undefined) return;
    if (path.udp === null) this.#openPath(path, datagram);
    else if (path.ready) path.udp.send(datagram);
  }

  setRef(ref: boolean): void {
    this.#ref = ref;
    for (const { udp } of this.#paths) {
      if (ref) udp?.ref();
      else udp?.unref();
    }
  }

  close(): void {
    this.#closed = true;
    for (const { udp } of this.#paths) udp?.close();
  }

  #resolve(): void {
    const family = isIP(this.#host);
    if (family !== 0) {
      process.nextTick(() => this.#open([{ address: this.#host, family }]));
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
      this.#open(addresses);
    });
  }

  #open(addresses: { address: string; family: number }[]): void {
    if (this.#connection.closed) return;
    // The courses' servers know IPv4 only.
    this.#paths = addresses
      .map(({ address, family }) => ({
        address,
        family: family === 6 ? (6 as const) : (4 as const),
        udp: null,
        ready: false,
      }))
      .sort((a, b) => a.family - b.family);
    this.#connection.open(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  /** Opens the UDP socket of a path and sends its first datagram. */
  #openPath(path: Path, first: Uint8Array): void {
    if (this.#options.localPort) this.#closePathsBut(path);
    const udp = createSocket({ type: path.family === 6 ? "udp6" : "udp4" });
    path.udp = udp;
    udp.on("error", (error: NodeJS.ErrnoException) => this.#pathFailed(path, error));
    udp.on("message", (datagram) => {
      this.#choose(path);
      this.#kernelHint = null;
      this.#driver.receive(datagram, "", 0);
    });
    udp.on("connect", () => {
      if (path.udp !== udp || this.#closed) return;
      path.ready = true;
      if (!this.#ref) udp.unref();
      this.socket.setRemote(path.address, this.#port, path.family === 6 ? "IPv6" : "IPv4");
      udp.send(first);
    });
    udp.bind(this.#options.localPort ?? 0, this.#options.localAddress, () => {
      if (path.udp !== udp || this.#closed) return;
      enlargeBuffers(udp);
      udp.connect(this.#port, path.address);
    });
  }

  /** Two sockets cannot have one local port. */
  #closePathsBut(kept: Path): void {
    for (const path of this.#paths) {
      if (path === kept) continue;
      path.udp?.close();
      path.udp = null;
      path.ready = false;
    }
  }

  /** Whoever answers first is the server. */
  #choose(path: Path): void {
    if (this.#chosen !== null) return;
    this.#chosen = path;
    this.socket.setRemote(path.address, this.#port, path.family === 6 ? "IPv6" : "IPv4");
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
    if (!path.ready) {
      path.udp?.close();
      path.udp = null;
    }
  }

  #localAddress(): AddressInfo | null {
    const udp = this.#chosen?.udp ?? this.#paths.find((path) => path.ready)?.udp;
    if (udp == null || this.#closed) return null;
    return addressInfo(udp);
  }
}
