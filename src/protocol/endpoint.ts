import { ClassicConnection } from "./classic-connection.js";
import type { Connection } from "./connection.js";
import type { Edition } from "./editions.js";
import { ProtocolError } from "./errors.js";
import { DEFAULT_RECEIVE_BUFFER_BYTES, MAX_CONNECTION_ID } from "./limits.js";
import { decodeHeader, emptyHeader, type Header, SYN } from "./packet.js";
import { Timers } from "./timers.js";
import { type TraceSink, traceDropped } from "./trace.js";

export interface EndpointOptions {
  readonly edition: Edition;
  /** Answer SYNs: be a server. Default false. */
  readonly accept?: boolean;
  /** Connections accepted at once; further SYNs are dropped. Default and most: 65,535. */
  readonly maxConnections?: number;
  /** What each connection buffers for its reader, at least one segment. Default 256 KiB. */
  readonly receiveBufferBytes?: number;
  readonly trace?: TraceSink | null;
}

/**
 * One UDP port's worth of connections: finds the connection a datagram is for, accepts new ones and keeps their timers.
 * Pure like its connections. After `receive` or `take` the owner drains the connection that was returned, then calls
 * `settle` with it.
 */
export class Endpoint {
  accept: boolean;
  maxConnections: number;
  readonly #edition: Edition;
  readonly #receiveBufferBytes: number;
  readonly #trace: TraceSink | null;
  readonly #header: Header = emptyHeader();
  readonly #timers = new Timers<ClassicConnection>();
  /** By connection ID. Servers that we are a client of choose theirs without knowing of each other, so one ID can be several. */
  readonly #byId = new Map<number, ClassicConnection[]>();
  /** Clients that do not know their ID yet, by their server. */
  readonly #opening = new Map<string, ClassicConnection>();
  /** Accepted connections of any state. */
  #accepted = 0;
  /** The latest accepted connections by the SYN that began them. */
  readonly #bySyn = new Map<string, ClassicConnection>();
  readonly #all = new Set<ClassicConnection>();
  #lastId = 0;

  constructor(options: EndpointOptions) {
    this.#edition = options.edition;
    this.accept = options.accept ?? false;
    this.maxConnections = Math.min(options.maxConnections ?? MAX_CONNECTION_ID, MAX_CONNECTION_ID);
    // With less than a segment nothing would ever be accepted.
    const receiveBufferBytes = options.receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER_BYTES;
    this.#receiveBufferBytes = Math.max(receiveBufferBytes, options.edition.segmentBytes);
    this.#trace = options.trace ?? null;
  }

  /** Connections of any state, those in FIN-WAIT too. */
  get size(): number {
    return this.#all.size;
  }

  /**
   * A new client connection. Its handshake begins with its `open()`; data may be written before.
   * @throws ProtocolError ERR_CONNECTION_EXISTS while another to the same server is still opening from this endpoint:
   * their SYNs would be the same.
   */
  connect(remoteAddress: string, remotePort: number, options: { sendOnly?: boolean } = {}): Connection {
    const server = addressKey(remoteAddress, remotePort);
    if (this.#opening.has(server)) {
      throw new ProtocolError(
        "ERR_CONNECTION_EXISTS",
        `A connection to ${server} is already being opened from this port.`,
      );
    }
    const connection = this.#create("client", remoteAddress, remotePort, 0, options.sendOnly ?? false);
    this.#opening.set(server, connection);
    return connection;
  }

  /**
   * Handles a datagram from an address. Returns the connection it was for, new (`signals` tell nothing yet, and it is not
   * `connected`) or known, or null when it was dropped. Arbitrary bytes never throw.
   */
  receive(datagram: Uint8Array, remoteAddress: string, remotePort: number, now: number): Connection | null {
    const header = this.#header;
    if (decodeHeader(datagram, header)) {
      const connection = this.#route(header, datagram, remoteAddress, remotePort, now);
      if (connection !== null) return connection;
    }
    if (this.#trace !== null) this.#trace(traceDropped(header));
    return null;
  }

  /** Takes one connection whose time has come and lets it act; null when there is none (left). */
  expire(now: number): Connection | null {
    const connection = this.#timers.take(now);
    connection?.expire(now);
    return connection;
  }

  /** The time at which `expire` should be called next, Infinity for never. It may be early, never late. */
  deadline(): number {
    return this.#timers.next();
  }

  /** Takes note of what a drained connection has become. Call it after every input to a connection. */
  settle(connection: Connection): void {
    const settled = connection as ClassicConnection;
    if (settled.closed) this.#forget(settled);
    else this.#timers.update(settled);
  }

  #route(
    header: Header,
    datagram: Uint8Array,
    remoteAddress: string,
    remotePort: number,
    now: number,
  ): ClassicConnection | null {
    if (header.flags === SYN && header.connectionId === 0 && this.accept) {
      return this.#receiveSyn(header, remoteAddress, remotePort, now);
    }
    const known = this.#find(header.connectionId, remoteAddress, remotePort);
    if (known?.receive(header, datagram, now)) return known;
    return this.#receiveAnswer(header, datagram, remoteAddress, remotePort, now);
  }

  #find(connectionId: number, remoteAddress: string, remotePort: number): ClassicConnection | null {
    const candidates = this.#byId.get(connectionId);
    if (candidates === undefined) return null;
    for (const candidate of candidates) {
      if (candidate.remotePort === remotePort && candidate.remoteAddress === remoteAddress) return candidate;
    }
    return null;
  }

  #receiveSyn(header: Header, remoteAddress: string, remotePort: number, now: number): ClassicConnection | null {
    if (header.sequence >= this.#edition.modulus) return null;
    const key = synKey(remoteAddress, remotePort, header.sequence);
    const known = this.#bySyn.get(key);
    if (known !== undefined && !known.inFinWait) {
      known.receiveDuplicateSyn(header, now);
      return known;
    }
    // A known one is left to its FIN-WAIT: the client begins another from the same port (RFC 9293 section 3.6.1).
    const connectionId = this.#accepted < this.maxConnections ? this.#nextId() : 0;
    if (connectionId === 0) return null;
    const connection = this.#create("server", remoteAddress, remotePort, connectionId, false);
    this.#accepted++;
    this.#bySyn.set(key, connection);
    this.#register(connection);
    connection.accept(header, now);
    return connection;
  }

  /** What comes for a client that is still opening: its server's answer tells the ID. */
  #receiveAnswer(
    header: Header,
    datagram: Uint8Array,
    remoteAddress: string,
    remotePort: number,
    now: number,
  ): ClassicConnection | null {
    if (this.#opening.size === 0) return null;
    const server = addressKey(remoteAddress, remotePort);
    const connection = this.#opening.get(server);
    if (connection === undefined || !connection.receive(header, datagram, now)) return null;
    if (connection.connected) {
      this.#opening.delete(server);
      // A server that has started anew gives the same IDs again: what comes is for the new connection.
      const old = this.#find(connection.connectionId, remoteAddress, remotePort);
      if (old !== null) this.#unregister(old);
      this.#register(connection);
    }
    return connection;
  }

  #create(
    role: "client" | "server",
    remoteAddress: string,
    remotePort: number,
    connectionId: number,
    sendOnly: boolean,
  ): ClassicConnection {
    const connection = new ClassicConnection({
      role,
      edition: this.#edition,
      remoteAddress,
      remotePort,
      connectionId,
      receiveBufferBytes: this.#receiveBufferBytes,
      sendOnly,
      trace: this.#trace,
    });
    this.#all.add(connection);
    return connection;
  }

  /** The next of 1, 2, 3, … that is free; 0 when none is. */
  #nextId(): number {
    for (let tries = 0; tries < MAX_CONNECTION_ID; tries++) {
      this.#lastId = (this.#lastId % MAX_CONNECTION_ID) + 1;
      if (!this.#byId.has(this.#lastId)) return this.#lastId;
    }
    return 0;
  }

  #register(connection: ClassicConnection): void {
    const others = this.#byId.get(connection.connectionId);
    if (others === undefined) this.#byId.set(connection.connectionId, [connection]);
    else others.push(connection);
  }

  #forget(connection: ClassicConnection): void {
    if (!this.#all.delete(connection)) return;
    this.#timers.remove(connection);
    if (connection.role === "server") this.#accepted--;
    const server = addressKey(connection.remoteAddress, connection.remotePort);
    if (this.#opening.get(server) === connection) this.#opening.delete(server);
    const key = synKey(connection.remoteAddress, connection.remotePort, connection.peerIsn);
    if (this.#bySyn.get(key) === connection) this.#bySyn.delete(key);
    this.#unregister(connection);
  }

  #unregister(connection: ClassicConnection): void {
    const others = this.#byId.get(connection.connectionId)?.filter((other) => other !== connection) ?? [];
    if (others.length > 0) this.#byId.set(connection.connectionId, others);
    else this.#byId.delete(connection.connectionId);
  }
}

function addressKey(remoteAddress: string, remotePort: number): string {
  return `${remoteAddress}:${remotePort}`;
}

function synKey(remoteAddress: string, remotePort: number, isn: number): string {
  return `${remoteAddress}:${remotePort}/${isn}`;
}
