import dns, { type LookupAddress } from "node:dns";
import { isIP } from "node:net";
import { type ClientConnection, type Connection, DEFAULT_EDITION, Endpoint, editionNamed } from "../protocol/index.js";
import { checkPort, checkSilenceTimeout } from "./arguments.js";
import { type DatagramSocket, openConnected, patienceMs, routeTo, type Tier } from "./datagram/index.js";
import { type DatagramPort, Driver } from "./driver.js";
import { addressError, blockedError, closingError, localAddressError, lookupError, refusedError } from "./errors.js";
import { extendedOptions, transmissionBytes } from "./extended.js";
import { KnownServers } from "./known-servers.js";
import { NODE_MEMORY } from "./memory.js";
import { RECEIVE_BUDGET } from "./receive-budget.js";
import { RouteWatch } from "./route-watch.js";
import type { AddressInfo, ConnectOptions, SocketParts } from "./socket-options.js";

/** What the kernel says when an address that is sent from is no longer this machine's, or leads nowhere. */
const LOST_ADDRESS = new Set(["EADDRNOTAVAIL", "EHOSTUNREACH", "EINVAL", "ENETDOWN", "ENETUNREACH", "ENODEV"]);

/** What a client's way to its server does with the socket it is for. */
export interface ClientSocket {
  readonly autoSelectFamilyAttemptedAddresses: string[];
  readonly connecting: boolean;
  emit(event: string, ...args: unknown[]): boolean;
  destroy(error: Error): unknown;
  setRemote(address: string, port: number): void;
}

/** One address of the server and the UDP socket connected to it. */
interface Path {
  readonly address: string;
  readonly family: 4 | 6;
  /** Null before it is opened, and after it has failed. */
  udp: DatagramSocket | "opening" | null;
  /** How many datagrams in a row the kernel has reported to be refused (ICMP port unreachable). */
  refusals: number;
  /** Whether the latest was one of them. */
  isRefused: boolean;
}

const knownServers = new KnownServers();

/** So many refusals in a row are final. One that comes from this machine cannot be forged. */
const REFUSALS = 3;
const LOOPBACK_REFUSALS = 1;

/**
 * A client's way to its server. A name with several addresses is tried at all of them: each SYN that goes unanswered is
 * followed by one to the next address, and the first that answers is kept (after RFC 8305, with one connection).
 *
 * The UDP socket is connected, so that the kernel tells when nothing listens there.
 */
export class ClientPort implements DatagramPort {
  readonly transmissionBytes: number;
  /** A local port that was asked for is free at once. */
  readonly repeatsResets: boolean;
  readonly parts: SocketParts;
  readonly #socket: ClientSocket;
  readonly #options: ConnectOptions;
  readonly #host: string;
  readonly #port: number;
  readonly #driver: Driver;
  readonly #connection: ClientConnection;
  #paths: Path[] = [];
  #chosen: Path | null = null;
  /** The path of the datagram in hand: what it brings may choose it. */
  #receiving: Path | null = null;
  /** What was noted of the server: which edition it speaks. */
  #noted: Connection["edition"] | null = null;
  #attempts = 0;
  #ref = true;
  #closed = false;
  #kernelHint: NodeJS.ErrnoException | null = null;
  /** What was sent since: silence after a hint has another cause. */
  #sentSinceHint = 0;
  /** The SYN that was sent last, for the next address. */
  #syn: Uint8Array | null = null;
  #tierAtEnd: Tier = "dgram";
  readonly #watch: RouteWatch;
  /** The address has changed, and nothing was received since. */
  #hasMoved = false;

  constructor(options: ConnectOptions, socket: ClientSocket) {
    this.#options = options;
    this.#socket = socket;
    this.repeatsResets = (options.localPort ?? 0) === 0;
    this.#host = options.host || "localhost";
    this.#port = checkPort(options.port);
    const edition = editionNamed(options.edition ?? DEFAULT_EDITION);
    const extended = extendedOptions(options, () => this.#pathBytes());
    this.transmissionBytes = transmissionBytes(edition, extended);
    const endpoint = new Endpoint({
      memory: NODE_MEMORY,
      receiveBudget: RECEIVE_BUDGET,
      edition,
      extended,
      silenceTimeoutMs: checkSilenceTimeout(options.silenceTimeoutMs),
      trace: options.trace ?? null,
      ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    });
    const readable = options.readable ?? true;
    // Which of its addresses the server answers from is the port's business: the endpoint knows one server.
    this.#connection = endpoint.connect("", 0, { sendOnly: !readable });
    if (options.shortSegments !== undefined) this.#connection.shortSegments = options.shortSegments;
    this.#driver = new Driver(endpoint, this, options.clock);
    // Later: it sends and may change sockets, and is asked for in the middle of sending.
    this.#watch = new RouteWatch(this.#driver.clock, () => process.nextTick(() => this.#followRoute()));
    this.parts = {
      connection: this.#connection,
      driver: this.#driver,
      readable,
      foregroundFinWait: options.finWait === "foreground",
      host: this.#host,
      port: this.#port,
      kernelHint: () => (this.#sentSinceHint <= 1 ? this.#kernelHint : null),
      localAddress: () => this.#localAddress(),
      currentTier: () => this.#open()?.tier ?? this.#tierAtEnd,
    };
  }

  send(bytes: Uint8Array, connection: Connection): boolean {
    if (connection.connected && this.#receiving !== null) this.#choose(this.#receiving);
    const path = this.#chosen ?? this.#paths[this.#attempts++ % this.#paths.length];
    if (path === undefined || path.udp === "opening") return true;
    if (this.#chosen === null) this.#syn = bytes.slice();
    this.#sentSinceHint++;
    if (!path.isRefused) path.refusals = 0;
    path.isRefused = false;
    if (path.udp !== null) {
      if (this.#chosen !== null) this.#watch.onSent(this.#driver.now());
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
    this.#watch.close();
    this.#closePathsBut(null);
  }

  /** Looks the host up and begins the handshake. */
  start(): void {
    const family = isIP(this.#host);
    if (family !== 0) {
      process.nextTick(() => this.#begin([{ address: this.#host, family }]));
      return;
    }
    const { lookup, family: wanted = 0, localAddress = "", hints, autoSelectFamily } = this.#options;
    const all = lookup == null || autoSelectFamily !== false;
    const options = {
      all,
      family: wanted === 0 ? isIP(localAddress) : wanted,
      ...(hints === undefined ? {} : { hints }),
    };
    // A resolver of the program's may answer with one address although all were asked for.
    const onAnswer = (error: NodeJS.ErrnoException | null, answer: unknown, answerFamily?: number) => {
      this.#resolved(error, Array.isArray(answer) ? answer : [{ address: answer, family: answerFamily }]);
    };
    const resolve = (lookup ?? dns.lookup) as (host: string, options: object, callback: typeof onAnswer) => void;
    resolve(this.#host, options, onAnswer);
  }

  #resolved(error: NodeJS.ErrnoException | null, answer: LookupAddress[]): void {
    if (this.#connection.closed) return;
    if (error != null) {
      this.#socket.emit("lookup", error, undefined, undefined, this.#host);
      // What a resolver of the program's says is the program's to understand.
      this.#fail(this.#options.lookup == null ? lookupError(error, this.#host, this.#port) : error);
      return;
    }
    const usable: LookupAddress[] = [];
    for (const { address, family } of answer) {
      this.#socket.emit("lookup", null, address, family, this.#host);
      if (this.#connection.closed) return;
      if (isIP(address ?? "") !== 0 && (family === 4 || family === 6)) usable.push({ address, family });
    }
    if (usable.length > 0) this.#begin(usable);
    else if (answer.length > 0) this.#fail(addressError(answer[0], this.#host, this.#port));
    else this.#fail(lookupError({ name: "Error", message: "", code: "ENODATA" }, this.#host, this.#port));
  }

  #fail(error: Error): void {
    process.nextTick(() => this.#socket.destroy(error));
  }

  #begin(addresses: LookupAddress[]): void {
    if (this.#connection.closed) return;
    const { blockList } = this.#options;
    const allowed = addresses.filter(
      ({ address, family }) => !blockList?.check(address, family === 6 ? "ipv6" : "ipv4"),
    );
    const [first] = addresses as [LookupAddress];
    if (allowed.length === 0) {
      this.#socket.destroy(blockedError(first.address, this.#port));
      return;
    }
    if (this.#port === 0) {
      this.#socket.destroy(refusedError(this.#host, first.address, this.#port));
      return;
    }
    // The courses' servers know IPv4 only.
    this.#paths = allowed
      .map(({ address, family }) => ({
        address,
        family: family === 6 ? (6 as const) : (4 as const),
        udp: null,
        refusals: 0,
        isRefused: false,
      }))
      .sort((a, b) => a.family - b.family);
    this.#connection.expectsExtended = allowed.some(({ address }) => knownServers.has(address, this.#port));
    this.#connection.open(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  /** Opens the UDP socket of a path and sends its first datagram. */
  async #openPath(path: Path, first: Uint8Array): Promise<void> {
    const { localAddress, localPort = 0, tier } = this.#options;
    if (localPort > 0) this.#closePathsBut(path);
    path.udp = "opening";
    const { autoSelectFamilyAttemptedAddresses: attempted } = this.#socket;
    const name = `${path.address}:${this.#port}`;
    if (!attempted.includes(name)) {
      attempted.push(name);
      this.#socket.emit("connectionAttempt", path.address, this.#port, path.family);
    }
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
        onRefused: (_address, _port, bytes, limitBytes) => this.#driver.limitDatagrams("", 0, bytes, limitBytes),
        onHint: (error) => this.#onHint(path, error),
      },
    });
    if (this.#closed || path.udp !== "opening") {
      udp.close();
      return;
    }
    path.udp = udp;
    if (this.#chosen === path && this.#connection.edition === "extended") {
      udp.enableCoalescing(this.#options.trace === undefined);
    }
    if (!this.#ref) udp.unref();
    this.#socket.setRemote(path.address, this.#port);
  }

  #receive(path: Path, bytes: Uint8Array, segmentBytes: number | undefined): void {
    this.#kernelHint = null;
    this.#hasMoved = false;
    this.#watch.onReceived(bytes.length);
    path.refusals = 0;
    if (this.#chosen !== null && this.#noted === this.#connection.edition) {
      this.#driver.receive(bytes, "", 0, segmentBytes);
      return;
    }
    const { refusals } = this.#connection;
    this.#receiving = path;
    this.#driver.receive(bytes, "", 0, segmentBytes);
    this.#receiving = null;
    if (this.#connection.connected) this.#note(path);
    else if (this.#connection.refusals > refusals && !this.#options.retryRefused) this.#closing(path);
  }

  /** The handshake is done: which edition the server speaks is remembered, as others can say that it speaks the classic one. */
  #note(path: Path): void {
    this.#choose(path);
    const { edition } = this.#connection;
    if (this.#noted === edition) return;
    this.#noted = edition;
    if (edition === "extended") knownServers.add(path.address, this.#port);
    else knownServers.delete(path.address, this.#port);
  }

  /** What the kernel says of the network explains a silence. That nothing listens there is final when it is sure. */
  #onHint(path: Path, error: NodeJS.ErrnoException): void {
    this.#kernelHint = error;
    this.#sentSinceHint = 0;
    // Called in the middle of sending.
    if (LOST_ADDRESS.has(error.code ?? "")) this.#watch.onRefused(this.#driver.now());
    if (error.code !== "ECONNREFUSED" || this.#connection.closed) return;
    path.isRefused = true;
    path.refusals++;
    const isLoopback = /^(127\.|::1$|::ffff:127\.)/.test(path.address);
    if (path.refusals < (isLoopback ? LOOPBACK_REFUSALS : REFUSALS)) return;
    if (this.#chosen === null ? !this.#options.retryRefused : isLoopback) {
      process.nextTick(() => this.#giveUpRefused(path, error));
    }
  }

  #giveUpRefused(path: Path, error: NodeJS.ErrnoException): void {
    // What has arrived meanwhile shows that somebody is there.
    if (path.refusals === 0 || this.#connection.closed || !this.#paths.includes(path)) return;
    if (this.#chosen === null) {
      this.#refused(path, error);
      return;
    }
    this.#connection.refuse(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  /** Another address of the server is tried at once. */
  #refused(path: Path, error: NodeJS.ErrnoException): void {
    this.#giveUpPath(path, refusedError(this.#host, path.address, this.#port, error));
  }

  /** The server says that it takes no connections any more. */
  #closing(path: Path): void {
    this.#giveUpPath(path, closingError(this.#host, path.address, this.#port));
  }

  #giveUpPath(path: Path, refused: Error): void {
    if (path.udp !== "opening") path.udp?.close();
    path.udp = null;
    this.#paths = this.#paths.filter((other) => other !== path);
    this.#socket.emit("connectionAttemptFailed", path.address, this.#port, path.family, refused);
    if (this.#connection.closed) return;
    if (this.#paths.length === 0) this.#socket.destroy(refused);
    else if (this.#syn !== null) this.send(this.#syn, this.#connection);
  }

  /** Two sockets cannot have one local port, and one way is enough once it is found. */
  #closePathsBut(kept: Path | null): void {
    for (const path of this.#paths) {
      if (path === kept) continue;
      if (path.udp !== "opening") path.udp?.close();
      path.udp = null;
    }
  }

  /**
   * Where this machine sends to the server from another address by now, the connection goes on from there by a new UDP socket:
   * the server knows it by its ID and tag, and checks the address (RFC 9000 section 9). A local address that was asked for stays.
   */
  #followRoute(): void {
    const path = this.#chosen;
    const connection = this.#connection;
    if (path === null || this.#closed || connection.closed || connection.edition !== "extended") return;
    if (this.#options.localAddress !== undefined) return;
    const { udp } = path;
    if (udp === "opening") return;
    const address = routeTo(path.address);
    if (address === null) return;
    const isNew = udp !== null && udp.address().address !== address;
    if (isNew) {
      udp.close();
      path.udp = null;
      this.#hasMoved = true;
    } else if (!this.#hasMoved) return;
    // Its packet is what opens the new socket; where it was lost, it is repeated.
    connection.changeLocalAddress(this.#driver.now());
    this.#driver.drain(connection);
  }

  /** Whoever answers first, with what only a server can say, is the server. */
  #choose(path: Path): void {
    if (this.#chosen !== null) return;
    this.#chosen = path;
    this.#socket.setRemote(path.address, this.#port);
    this.#closePathsBut(path);
    this.#paths = [path];
  }

  /** Errors of the network are hints: what is lost is sent again. Only an address of our own that cannot be had is final. */
  #pathFailed(path: Path, error: NodeJS.ErrnoException): void {
    if (error.syscall === "bind" || error.code === "EMFILE") {
      const { localAddress = "any address", localPort = 0 } = this.#options;
      this.#socket.destroy(localAddressError(error, localAddress, localPort));
      return;
    }
    this.#kernelHint = error;
    this.#sentSinceHint = 0;
    // A socket that could not be connected (no route, no such family) is made anew at the next attempt.
    path.udp = null;
  }

  /** The socket in use. */
  #open(): DatagramSocket | null {
    const udp = this.#chosen?.udp ?? this.#paths.find((path) => path.udp !== null && path.udp !== "opening")?.udp;
    return udp == null || udp === "opening" || this.#closed ? null : udp;
  }

  #pathBytes(): number {
    if (this.#receiving !== null) this.#choose(this.#receiving);
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
