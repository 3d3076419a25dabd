import { type Arrival, emptyArrival } from "./arrival.js";
import type { ControllerName } from "./congestion/index.js";
import type { ClientConnection, Connection } from "./connection.js";
import { ConnectionFactory, randomWord } from "./connection-factory.js";
import { type DropCounts, type DropReason, noDrops } from "./drops.js";
import type { Edition } from "./editions.js";
import { ProtocolError } from "./errors.js";
import { type Cookie, Cookies, type Mac } from "./extended/cookies.js";
import {
  ACK,
  EXTENDED,
  encodeFirstVersionSynAck,
  encodeRefusal,
  encodeStatelessReset,
  encodeSynRefusal,
  HELLO,
  type Introduction,
  isFirstVersion,
  isFirstVersionHello,
  isOffer,
  PROOF_BITS,
  RESET,
  readHello,
  readHelloTag,
  STATELESS_RESET_BYTES,
} from "./extended/wire.js";
import {
  HANDSHAKE_LINGER_MS,
  HEADER_BYTES,
  LATE_SYN_MS,
  MAX_CONNECTION_ID,
  MAX_ENDED_SYNS,
  MAX_HALF_OPEN,
  STATELESS_RESETS_AT_ONCE,
  STATELESS_RESETS_PER_SECOND,
} from "./limits.js";
import type { Memory } from "./memory.js";
import type { RoutedConnection } from "./offering-connection.js";
import { decodeHeader, encodeHeader, type Header, SYN } from "./packet.js";
import { RateLimit } from "./rate-limit.js";
import type { ReceiveBudget } from "./receive-budget.js";
import { Timers } from "./timers.js";
import { type TraceSink, traceDropped } from "./trace.js";

export interface EndpointOptions {
  readonly edition: Edition;
  /** Answer SYNs: be a server. Default false. */
  readonly accept?: boolean;
  /** Connections accepted at once, without those in FIN-WAIT; further SYNs are dropped. Default and most: 65,535. */
  readonly maxConnections?: number;
  /** What each connection buffers for its reader, at least one segment. Default 256 KiB. */
  readonly receiveBufferBytes?: number;
  /** A peer that says nothing for this many ms is given up. Default: 30 s in the extended edition, 10 s in the classic ones. */
  readonly silenceTimeoutMs?: number | undefined;
  readonly trace?: TraceSink | null;
  /**
   * A server sends no address more bytes than came from there until it has verified it; with `random`, a classic client is verified
   * by acknowledging an unguessable number, without it never. Default false.
   */
  readonly limitsAnswers?: boolean;
  /**
   * A source of unguessable numbers in [0, 1), for the connection IDs and the initial sequence numbers of a server's classic
   * connections. Default: those of the edition, 1, 2, 3, … and 4321.
   */
  readonly random?: () => number;
  /** Default: what every JavaScript has. */
  readonly memory?: Memory;
  /** What the connections hold for their readers is taken from it. Default: one of this endpoint's own. */
  readonly receiveBudget?: ReceiveBudget;
  /** Speak the extended edition with whoever can. Default: not at all. */
  readonly extended?: ExtendedOptions | null;
}

export interface ExtendedOptions {
  /** A source of unguessable numbers in [0, 1): tags, nonces. */
  readonly random: () => number;
  /** Speak nothing else. Default false. */
  readonly required?: boolean;
  /** The receive window of each connection, as far as it may grow. Default 16 MiB, least 64 KiB. */
  readonly windowBytes?: number;
  /**
   * A server's peers have the least window until `Connection.admit()` is called. Default false: until something of what they
   * sent is read.
   */
  readonly requireAdmission?: boolean;
  /** The largest datagram worth trying to an address, in bytes of UDP payload. Default 1200. */
  readonly maxDatagramBytes?: (remoteAddress: string) => number;
  /** Default `bbr`. */
  readonly congestion?: ControllerName;
  /**
   * Makes a server verify addresses before it spends memory on them: a keyed hash, see docs/protocol.md. Default: a SYN
   * begins a connection.
   */
  readonly mac?: Mac;
  /**
   * Computes the stateless reset token of a connection, 16 bytes, from its server's tag and its ID (docs/protocol.md). Default:
   * packets for unknown connections are dropped.
   */
  readonly resetToken?: (tag: number, connectionId: number) => Uint8Array;
  /**
   * With `mac`: the handshakes that one address may begin in a second without finishing them, and four times as many at once.
   * Default 2,048.
   */
  readonly handshakesPerSecond?: number;
}

const HANDSHAKES_PER_SECOND = 2048;

/** Where so many guesses at a free ID fail, nearly all are in use. */
const RANDOM_ID_TRIES = 64;

/**
 * One UDP port's worth of connections: finds the connection a datagram is for, accepts new ones and keeps their timers.
 * Pure like its connections. After `receive` or `take` the owner drains the connection that was returned, then calls
 * `settle` with it.
 */
export class Endpoint {
  accept: boolean;
  /** What answers the datagram that was received last, if it is not for any connection: to be sent to where that came from. */
  reply: Uint8Array | null = null;
  maxConnections: number;
  /** What was dropped so far, and why. */
  readonly drops: DropCounts = noDrops();
  /** How many packets for unknown connections were answered with a stateless reset, and how many were not as it were too many. */
  readonly statelessResets = { sent: 0, suppressed: 0 };
  readonly #statelessResets = new RateLimit(STATELESS_RESETS_PER_SECOND, STATELESS_RESETS_AT_ONCE);
  readonly #edition: Edition;
  readonly #factory: ConnectionFactory;
  readonly #trace: TraceSink | null;
  readonly #extended: ExtendedOptions | null;
  readonly #random: (() => number) | undefined;
  /** It has accepted connections, and may again. */
  readonly #isServer: boolean;
  readonly #hello: Introduction = { tag: 0, nonce: 0, proof: 0 };
  readonly #cookie: Cookie = { tag: 0, connectionId: 0, proof: 0 };
  /** The datagram in hand. */
  readonly #arrival: Arrival = emptyArrival();
  readonly #timers = new Timers<RoutedConnection>();
  /** By connection ID. Servers that we are a client of choose theirs without knowing of each other, so one ID can be several. */
  readonly #byId = new Map<number, RoutedConnection[]>();
  /** Clients that do not know their ID yet, by their server. */
  readonly #opening = new Map<string, RoutedConnection>();
  /** Clients that have had an answer, which may not be their server's: the right one may have another ID. */
  readonly #undecided = new Map<string, RoutedConnection>();
  /** Null where a SYN begins a connection. */
  readonly #cookies: Cookies | null;
  /** Accepted connections that are not in FIN-WAIT. */
  readonly #accepted = new Set<RoutedConnection>();
  /** With cookies: classic connections whose client has not been heard since its SYN. */
  readonly #halfOpen = new Set<RoutedConnection>();
  /** The latest accepted connections by the SYN that began them. */
  readonly #bySyn = new Map<string, RoutedConnection>();
  /** Every connection, and a server's by which SYN it began. */
  readonly #all = new Map<RoutedConnection, string>();
  #lastId = 0;
  /** SYNs that were answered without keeping anything, less the introductions that have come since. */
  #unansweredSyns = 0;
  #synAnsweredAt = 0;
  /** SYNs of classic connections that have just ended, and until when a SYN like that is a late duplicate, oldest first. */
  readonly #endedSyns = new Map<string, number>();
  #now = 0;

  constructor(options: EndpointOptions) {
    this.#edition = options.edition;
    this.#random = options.random;
    this.accept = this.#isServer = options.accept ?? false;
    this.maxConnections = Math.min(options.maxConnections ?? MAX_CONNECTION_ID, MAX_CONNECTION_ID);
    this.#factory = new ConnectionFactory(options);
    this.#trace = options.trace ?? null;
    this.#extended = options.extended ?? null;
    const { mac, handshakesPerSecond = HANDSHAKES_PER_SECOND } = options.extended ?? {};
    this.#cookies = mac === undefined ? null : new Cookies(mac, handshakesPerSecond);
  }

  /** Connections of any state, those in FIN-WAIT too. */
  get size(): number {
    return this.#all.size;
  }

  /** A client whose SYN was answered may introduce itself until then; 0 where none is expected. */
  get handshakesUntil(): number {
    return this.#unansweredSyns > 0 ? this.#synAnsweredAt + HANDSHAKE_LINGER_MS : 0;
  }

  /** Connections that are not closed. */
  get openConnections(): number {
    let open = 0;
    for (const connection of this.#all.keys()) if (!connection.closed) open++;
    return open;
  }

  /**
   * A new client connection. Its handshake begins with its `open()`; data may be written before.
   * @throws ProtocolError ERR_CONNECTION_EXISTS while another to the same server is still opening from this endpoint:
   * their SYNs would be the same.
   */
  connect(remoteAddress: string, remotePort: number, options: { sendOnly?: boolean } = {}): ClientConnection {
    const server = addressKey(remoteAddress, remotePort);
    if (this.#opening.has(server)) {
      throw new ProtocolError(
        "ERR_CONNECTION_EXISTS",
        `A connection to ${server} is already being opened from this port.`,
      );
    }
    const connection = this.#factory.client(remoteAddress, remotePort, options.sendOnly ?? false);
    this.#all.set(connection, server);
    this.#opening.set(server, connection);
    return connection;
  }

  /**
   * Handles a datagram from an address. Returns the connection it was for, new or known, or null when it was dropped or has
   * a {@link reply}. Arbitrary bytes never throw. `segmentBytes` and `localAddress`: see {@link Arrival}.
   */
  receive(
    datagram: Uint8Array,
    remoteAddress: string,
    remotePort: number,
    now: number,
    segmentBytes = 0,
    localAddress = "",
  ): Connection | null {
    const arrival = this.#arrival;
    this.#now = now;
    this.reply = null;
    arrival.datagram = datagram;
    arrival.address = remoteAddress;
    arrival.port = remotePort;
    arrival.now = now;
    arrival.segmentBytes = segmentBytes;
    arrival.localAddress = localAddress;
    if (decodeHeader(datagram, arrival)) {
      const connection = this.#route(arrival);
      if (connection !== null) return connection;
    } else this.drops.malformed++;
    if (this.#trace !== null && this.reply === null) this.#trace(traceDropped(arrival));
    return null;
  }

  /** Connections with a peer at this address: what the kernel says of datagrams that are sent there concerns them. */
  connectionsWith(remoteAddress: string, remotePort: number): Connection[] {
    return [...this.#all.keys()].filter(
      (connection) => connection.remotePort === remotePort && connection.remoteAddress === remoteAddress,
    );
  }

  /** Takes one connection whose time has come and lets it act; null when there is none (left). */
  expire(now: number): Connection | null {
    this.#now = now;
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
    const settled = connection as RoutedConnection;
    if (this.#halfOpen.size > 0 && settled.connected && this.#halfOpen.delete(settled)) {
      this.#cookies?.verified(settled.remoteAddress);
    }
    if (this.#undecided.size > 0 && settled.decided) this.#decide(settled);
    if (settled.closed && !settled.lingers) this.#forget(settled);
    else {
      if (settled.inFinWait || settled.closed) this.#accepted.delete(settled);
      this.#timers.update(settled);
    }
  }

  #route(arrival: Arrival): RoutedConnection | null {
    if (arrival.flags === SYN && arrival.connectionId === 0 && this.#isServer) {
      return this.accept ? this.#receiveSyn(arrival) : this.#refuseSyn(arrival);
    }
    const known = this.#find(arrival) ?? this.#findMoved(arrival);
    if (known?.receive(arrival)) return known;
    const reset = this.#receiveStatelessReset(arrival);
    if (reset !== null) return reset;
    const answered = this.#receiveAnswer(arrival);
    if (answered !== null) return answered;
    if (this.#isServer && (arrival.bits & (EXTENDED | HELLO)) === (EXTENDED | HELLO) && (arrival.flags & SYN) === 0) {
      const met = this.#receiveIntroduction(arrival);
      if (met !== null || this.reply !== null || (this.accept && this.#cookies !== null)) return met;
    }
    if (known?.localTag !== arrival.acknowledgement) this.#resetStray(arrival);
    return this.#drop("unknownConnection");
  }

  /** Who cannot address us knows the token instead: the tag of what it answers proves nothing. */
  #receiveStatelessReset(arrival: Arrival): RoutedConnection | null {
    if ((arrival.bits & (EXTENDED | RESET)) !== (EXTENDED | RESET)) return null;
    const candidates = this.#byId.get(arrival.connectionId);
    return candidates?.find((candidate) => candidate.receiveStatelessReset(arrival)) ?? null;
  }

  /**
   * Tells whoever still speaks to a connection that is not known here, as after a restart. The answer is shorter than what it
   * answers, and nobody but the owner of that connection can make use of it.
   */
  #resetStray({ bits, flags, datagram, acknowledgement, connectionId, now }: Arrival): void {
    const resetToken = this.#extended?.resetToken;
    if (resetToken === undefined || datagram.length <= STATELESS_RESET_BYTES) return;
    if ((bits & (EXTENDED | RESET)) !== EXTENDED || (flags & SYN) !== 0 || connectionId === 0) return;
    if (!this.#statelessResets.admits(now)) {
      this.statelessResets.suppressed++;
      return;
    }
    this.statelessResets.sent++;
    this.reply = encodeStatelessReset(acknowledgement, connectionId, resetToken(acknowledgement, connectionId));
  }

  /** A client may have two connections by one ID, where IDs are given without memory: then the tag decides. */
  #find({ connectionId, acknowledgement, address, port }: Arrival): RoutedConnection | null {
    const candidates = this.#byId.get(connectionId);
    if (candidates === undefined) return null;
    let found: RoutedConnection | null = null;
    for (const candidate of candidates) {
      if (candidate.remotePort !== port || candidate.remoteAddress !== address) continue;
      if (candidate.localTag === acknowledgement) return candidate;
      found ??= candidate;
    }
    return found;
  }

  /** An extended connection's peer may have changed its address: the tag tells whose it is. */
  #findMoved(header: Header): RoutedConnection | null {
    if ((header.bits & EXTENDED) === 0) return null;
    // The tag's place is that of a classic acknowledgement.
    const tag = header.acknowledgement;
    return this.#byId.get(header.connectionId)?.find((candidate) => candidate.localTag === tag) ?? null;
  }

  #receiveSyn(syn: Arrival): RoutedConnection | null {
    const { sequence, acknowledgement, address, port, now } = syn;
    const offers = this.#extended !== null && isOffer(syn.bits);
    const offered = offers ? acknowledgement : null;
    const nonce = this.#cookies?.offeredNonce(offers, acknowledgement, address, port, now) ?? offered;
    const extended = nonce !== null;
    if (sequence >= this.#edition.modulus) return this.#drop("malformed");
    if (this.#extended?.required && !extended) return this.#refuseOthers(syn);
    const key = synKey(address, port, sequence);
    const known = this.#bySyn.get(key);
    // A known one may be left to its FIN-WAIT: the client begins another from the same port (RFC 9293 section 3.6.1).
    if (known?.receiveDuplicateSyn(syn)) return known;
    if (!extended && this.#isLate(key, known, now)) return this.#drop("lateSyn");
    // Who is verified can be told that there is no room.
    const isStateless = extended && this.#cookies !== null;
    if (!isStateless && this.#accepted.size >= this.maxConnections) return this.#drop("connectionLimit");
    if (this.#cookies?.admits(address, now) === false) return this.#drop("handshakeLimit");
    if (extended && this.#cookies !== null) {
      if (now > this.#synAnsweredAt + HANDSHAKE_LINGER_MS) this.#unansweredSyns = 0;
      this.#synAnsweredAt = now;
      this.#unansweredSyns++;
      this.reply = encodeSynAck(this.#cookies.issue(address, port, nonce, now), nonce);
      return null;
    }
    if (this.#cookies !== null && this.#halfOpen.size >= MAX_HALF_OPEN) return this.#drop("halfOpenLimit");
    const random = extended ? this.#extended?.random : this.#random;
    const connectionId = random === undefined ? this.#nextId() : this.#randomId(random);
    if (connectionId === 0) return this.#drop("connectionLimit");
    const connection =
      extended && random !== undefined
        ? this.#factory.extendedServer(syn, nonce, {
            tag: randomWord(random),
            connectionId,
            proof: randomWord(random) & PROOF_BITS,
          })
        : this.#factory.classicServer(syn, connectionId);
    if (this.#cookies !== null) this.#halfOpen.add(connection);
    this.#endedSyns.delete(key);
    this.#bySyn.set(key, connection);
    this.#accept(connection, key);
    return connection;
  }

  #drop(reason: DropReason): null {
    this.drops[reason]++;
    return null;
  }

  #accept(connection: RoutedConnection, key: string): void {
    this.#all.set(connection, key);
    this.#accepted.add(connection);
    this.#register(connection);
  }

  /**
   * Whether a classic SYN is one that the network has doubled: its connection has just ended, or waits for late FINs. A
   * client that begins again from the same port is heard again.
   */
  #isLate(key: string, known: RoutedConnection | undefined, now: number): boolean {
    if (known !== undefined && !this.#endedSyns.has(key)) this.#rememberSyn(key);
    return now < (this.#endedSyns.get(key) ?? 0);
  }

  /** A server that has closed, and still has connections: a client that can be told so need not wait for its timeout. */
  #refuseSyn({ bits, acknowledgement, address, now }: Arrival): null {
    const isOffered = this.#extended !== null && isOffer(bits) && acknowledgement !== 0;
    if (isOffered && (this.#cookies?.admits(address, now) ?? true)) this.reply = encodeSynRefusal(acknowledgement);
    return this.#drop("serverClosed");
  }

  /** A SYN that offers nothing that is spoken here. */
  #refuseOthers({ bits, sequence, address, now }: Arrival): null {
    if (!isFirstVersion(bits)) return this.#drop("notExtended");
    if (this.#cookies?.admits(address, now) === false) return this.#drop("handshakeLimit");
    this.reply = encodeFirstVersionSynAck((sequence + 1) % this.#edition.modulus);
    return this.#drop("otherVersion");
  }

  #receiveIntroduction(hello: Arrival): RoutedConnection | null {
    if (isFirstVersionHello(hello) && this.#extended?.required) {
      const helloTag = readHelloTag(hello.datagram);
      if (helloTag !== null) this.reply = encodeRefusal(helloTag, hello.connectionId, "version");
      return this.#drop("otherVersion");
    }
    return this.#cookies === null ? null : this.#receiveHello(this.#cookies, hello);
  }

  /** A client that has proved to be where it says. */
  #receiveHello(cookies: Cookies, hello: Arrival): RoutedConnection | null {
    const { acknowledgement: tag, connectionId, datagram, address, port, now } = hello;
    const cookie = this.#cookie;
    const shown = this.#hello;
    const isWhole = readHello(datagram, shown);
    cookie.tag = tag;
    cookie.connectionId = connectionId;
    cookie.proof = shown.proof & PROOF_BITS;
    if (!isWhole || !cookies.isGood(cookie, address, port, shown.nonce, now)) {
      return this.accept ? this.#drop("invalidTag") : null;
    }
    this.#unansweredSyns = Math.max(0, this.#unansweredSyns - 1);
    if (!this.accept || this.#accepted.size >= this.maxConnections) {
      this.reply = encodeRefusal(shown.tag, connectionId, "refused");
      return this.#drop(this.accept ? "connectionLimit" : "serverClosed");
    }
    const connection = this.#factory.extendedServer(hello, shown.nonce, cookie);
    if (!connection.receive(hello)) return this.#drop("malformed");
    cookies.verified(address);
    this.#accept(connection, `${tag}/${connectionId}`);
    return connection;
  }

  /** What comes for a client that is still opening: its server's answer tells the ID. */
  #receiveAnswer(answer: Arrival): RoutedConnection | null {
    if (this.#opening.size === 0 && this.#undecided.size === 0) return null;
    const server = addressKey(answer.address, answer.port);
    const connection = this.#opening.get(server) ?? this.#undecided.get(server);
    if (connection === undefined) return null;
    const { connected: wasConnected, connectionId: before } = connection;
    if (!connection.receive(answer)) return null;
    if (!connection.connected || (wasConnected && connection.connectionId === before)) return connection;
    this.#opening.delete(server);
    if (wasConnected) this.#unregister(connection, before);
    // A server that has started anew gives the same IDs again: what comes is for the new connection, unless tags tell them apart.
    const old = connection.localTag === -1 ? this.#find(answer) : null;
    if (old !== null) this.#unregister(old);
    this.#register(connection);
    if (!connection.decided) this.#undecided.set(server, connection);
    return connection;
  }

  #decide(connection: RoutedConnection): void {
    const server = this.#all.get(connection);
    if (server !== undefined && this.#undecided.get(server) === connection) this.#undecided.delete(server);
  }

  /** An unguessable one that is free; 0 when none is. */
  #randomId(random: () => number): number {
    for (let tries = 0; tries < RANDOM_ID_TRIES; tries++) {
      const id = 1 + Math.floor(random() * MAX_CONNECTION_ID);
      if (!this.#byId.has(id)) return id;
    }
    return this.#nextId();
  }

  /** The next of 1, 2, 3, … that is free; 0 when none is. */
  #nextId(): number {
    for (let tries = 0; tries < MAX_CONNECTION_ID; tries++) {
      this.#lastId = (this.#lastId % MAX_CONNECTION_ID) + 1;
      if (!this.#byId.has(this.#lastId)) return this.#lastId;
    }
    return 0;
  }

  #register(connection: RoutedConnection): void {
    const others = this.#byId.get(connection.connectionId);
    if (others === undefined) this.#byId.set(connection.connectionId, [connection]);
    else others.push(connection);
  }

  #forget(connection: RoutedConnection): void {
    // Its address may be another one by now.
    const key = this.#all.get(connection);
    if (key === undefined) return;
    this.#all.delete(connection);
    this.#timers.remove(connection);
    this.#accepted.delete(connection);
    this.#halfOpen.delete(connection);
    if (connection.role === "server" && connection.edition === "extended") {
      this.#cookies?.spend(connection.localTag, connection.connectionId, this.#now);
    }
    if (this.#opening.get(key) === connection) this.#opening.delete(key);
    if (this.#undecided.get(key) === connection) this.#undecided.delete(key);
    if (this.#bySyn.get(key) === connection) {
      this.#bySyn.delete(key);
      const regular = connection.failure === null && !connection.inFinWait;
      if (regular && connection.edition !== "extended") this.#rememberSyn(key);
    }
    this.#unregister(connection);
  }

  /**
   * A SYN that the network had doubled may come when its connection is over, and would begin one that never speaks. It is
   * dropped for less time than a client waits before its second: who begins again from the same port loses no more than one.
   */
  #rememberSyn(key: string): void {
    for (const [old, until] of this.#endedSyns) {
      if (until > this.#now && this.#endedSyns.size < MAX_ENDED_SYNS) break;
      this.#endedSyns.delete(old);
    }
    this.#endedSyns.delete(key);
    this.#endedSyns.set(key, this.#now + LATE_SYN_MS);
  }

  #unregister(connection: RoutedConnection, connectionId: number = connection.connectionId): void {
    const others = this.#byId.get(connectionId)?.filter((other) => other !== connection) ?? [];
    if (others.length > 0) this.#byId.set(connectionId, others);
    else this.#byId.delete(connectionId);
  }
}

function encodeSynAck({ tag, connectionId, proof }: Readonly<Cookie>, nonce: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  encodeHeader(bytes, tag, nonce, connectionId, SYN | ACK | proof);
  return bytes;
}

function addressKey(remoteAddress: string, remotePort: number): string {
  return `${remoteAddress}:${remotePort}`;
}

function synKey(remoteAddress: string, remotePort: number, isn: number): string {
  return `${remoteAddress}:${remotePort}/${isn}`;
}
