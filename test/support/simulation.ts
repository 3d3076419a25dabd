import { type Connection, type Failure, MAX_DATAGRAM_BYTES, Signal } from "../../src/protocol/index.js";
import { Link, type LinkOptions } from "./link.js";
import { Random } from "./random.js";

/** What the simulation needs of an endpoint; every kind of connection runs in the same scenarios. */
export interface SimulatedEndpoint {
  connect(remoteAddress: string, remotePort: number, options?: { sendOnly?: boolean }): Connection;
  receive(datagram: Uint8Array, remoteAddress: string, remotePort: number, now: number): Connection | null;
  expire(now: number): Connection | null;
  deadline(): number;
  settle(connection: Connection): void;
  /** What answers the last datagram without any connection. */
  readonly reply?: Uint8Array | null;
}

/** What the program at one end of a connection does. */
export interface Behaviour {
  readonly sends: Uint8Array;
  readonly expects: Uint8Array;
  /** Writes in pieces of up to so many bytes. */
  readonly chunkBytes: number;
  /** 0: reads at once. Otherwise one piece every so many ms. */
  readonly readEveryMs: number;
  /** Ends its side only when everything from the peer is read. */
  readonly endsLast: boolean;
  readonly shortSegments: Connection["shortSegments"];
  readonly keepAliveMs: number;
}

export interface HostOptions {
  readonly endpoint: SimulatedEndpoint;
  /** Data in a full segment; 1 where segments have no one size. */
  readonly segmentBytes: number;
  /** Its timers fire at multiples of so many ms only, as an event loop's do. Default: exactly. */
  readonly timerTickMs?: number;
  readonly receiveBufferBytes: number;
  /** What to do with a connection that a client, by its host's name, has opened. */
  readonly accept?: (client: string) => Behaviour;
}

/** A header, a length, a code. */
const RESET_BYTES = 16;
const LONGEST_RUN_MS = 4 * 3600_000;
const MOST_DATAGRAMS_A_DRAIN = 10_000;
const PORT = 5000;
const REMEMBERED_EVENTS = 24;

/** A machine with one endpoint. */
export class Host {
  readonly name: string;
  readonly options: HostOptions;
  /** Where its datagrams come from. */
  address: string;
  readonly programs = new Map<Connection, Program>();

  constructor(name: string, options: HostOptions) {
    this.name = this.address = name;
    this.options = options;
  }

  /** When its timers want to be served. */
  deadline(): number {
    const { endpoint, timerTickMs = 0 } = this.options;
    const at = endpoint.deadline();
    return timerTickMs > 0 && at !== Number.POSITIVE_INFINITY ? Math.ceil(at / timerTickMs) * timerTickMs : at;
  }
}

/**
 * Hosts, links between them, programs that talk, and a clock that jumps from event to event. It holds the core to its
 * contract at every step; {@link InvariantError} tells which part was broken and what came before.
 */
export class Simulation {
  now = 0;
  /** Datagrams handed to a link. */
  datagrams = 0;
  /** Told of each datagram that is handed to a link, and by which host. */
  onSent: (from: string, datagram: Uint8Array) => void = () => {};
  readonly random: Random;
  readonly hosts = new Map<string, Host>();
  #linkFor: (from: string, to: string) => LinkOptions;
  readonly #links = new Map<string, Link>();
  readonly #events = new EventQueue();
  readonly #out = new Uint8Array(MAX_DATAGRAM_BYTES + 1);
  readonly #log: LoggedDatagram[] = [];
  readonly #tolerant: boolean;

  /**
   * @param link one character for every direction, or one for each.
   * @param options tolerant: datagrams may be garbled, so data may be wrong and connections may fail; nothing else may.
   */
  constructor(
    seed: number,
    link: LinkOptions | ((from: string, to: string) => LinkOptions),
    options: { tolerant?: boolean } = {},
  ) {
    this.random = new Random(seed);
    this.#linkFor = typeof link === "function" ? link : () => link;
    this.#tolerant = options.tolerant ?? false;
  }

  addHost(name: string, options: HostOptions): Host {
    const host = new Host(name, options);
    this.hosts.set(name, host);
    return host;
  }

  connect(from: Host, to: Host, behaviour: Behaviour, options: { sendOnly?: boolean } = {}): Program {
    const connection = from.options.endpoint.connect(to.name, PORT, options);
    const program = this.#start(from, connection, behaviour);
    connection.open(this.now);
    this.#drain(from, program);
    return program;
  }

  /** The network is another one from now on; what is on its way arrives as it would have. */
  changeLinks(linkFor: (from: string, to: string) => LinkOptions): void {
    this.#linkFor = linkFor;
    for (const [key, link] of this.#links) {
      const [from, to] = key.split(" > ") as [string, string];
      link.options = linkFor(from, to);
    }
  }

  /** Lets a program do something with its connection. */
  perform(program: Program, action: (connection: Connection, now: number) => void): void {
    action(program.connection, this.now);
    this.#drain(program.host, program);
  }

  /** A datagram from anywhere that claims to be from somewhere. */
  inject(from: string, to: string, datagram: Uint8Array): void {
    this.#arrive(from, to, datagram);
  }

  /** The program at the other end. */
  peerOf(program: Program): Program | undefined {
    const host = this.#hostAt(program.connection.remoteAddress);
    const id = program.connection.connectionId;
    const others = [...(host?.programs.values() ?? [])].filter((other) => other.connection.connectionId === id);
    return others.find((other) => other.connection.remoteAddress === program.host.address);
  }

  /** Does something at a time. */
  at(time: number, action: () => void): void {
    this.#events.push(time, action);
  }

  /** Runs until nothing is left to happen, and checks the end; or until a time. */
  run(untilMs = Number.POSITIVE_INFINITY): void {
    for (;;) {
      const at = Math.min(this.#events.nextAt, this.#nextDeadline());
      if (at === Number.POSITIVE_INFINITY) break;
      if (at > untilMs) return;
      if (at > LONGEST_RUN_MS) this.fail("not done after four hours");
      this.now = Math.max(this.now, at);
      if (this.#events.nextAt <= this.now) this.#events.take()();
      else this.#expire();
    }
    for (const host of this.hosts.values()) {
      for (const program of host.programs.values()) program.checkEnd(this);
    }
  }

  /** Lets a program act and hands over what its connection has to send. */
  #drain(host: Host, program: Program, timedOut = false): void {
    const { connection } = program;
    do {
      this.#transmit(host, program, timedOut);
    } while (program.act(connection.signals(), this));
    host.options.endpoint.settle(connection);
    const lateBy = this.now - connection.deadline();
    if (!connection.closed && lateBy > (host.options.timerTickMs ?? 0)) this.fail("a deadline in the past", program);
  }

  #transmit(host: Host, program: Program, timedOut: boolean): void {
    const { connection } = program;
    const wasClosed = connection.closed;
    let mayProbe = timedOut;
    for (let count = 0; ; count++) {
      const inFlightBefore = connection.bytesInFlight;
      const resentBefore = connection.stats.retransmissions;
      const length = connection.transmit(this.#out, this.now);
      if (length === 0) return;
      // The extended edition says goodbye, again where the peer goes on sending.
      const goodbye = connection.edition === "extended" && length === RESET_BYTES;
      if (wasClosed && !goodbye) this.fail("sends after it has closed", program);
      if (count > MOST_DATAGRAMS_A_DRAIN) this.fail("sends without end", program);
      const resent = connection.stats.retransmissions > resentBefore;
      const sent = connection.bytesInFlight - inFlightBefore;
      this.#checkSegment(host, program, sent, resent || (mayProbe && length === connection.datagramBytes));
      if (sent > 0) mayProbe = false;
      const { datagramBytes } = connection;
      for (let at = 0; at < length; at += datagramBytes) {
        this.#send(host, connection.sendAddress, this.#out.slice(at, Math.min(length, at + datagramBytes)));
      }
    }
  }

  /** `free`: repeated by the classic protocol's rules, or a tail loss probe; neither asks the window. */
  #checkSegment(host: Host, program: Program, bytes: number, free: boolean): void {
    const { connection } = program;
    if (bytes <= 0) return;
    const alone = connection.bytesInFlight === bytes && bytes < connection.datagramBytes;
    // The extended edition's FIN rides on the last data.
    const fin = connection.edition === "extended" && program.endCalled ? 1 : 0;
    if (!free && !alone && connection.bytesInFlight > connection.cwnd + fin) {
      this.fail(`${connection.bytesInFlight} bytes in flight, the window is ${connection.cwnd}`, program);
    }
    const last = program.endCalled && connection.bytesHeld === connection.bytesInFlight;
    if (connection.shortSegments === "never" && bytes < host.options.segmentBytes && !last && !this.#tolerant) {
      this.fail(`a short segment of ${bytes} bytes that is not the last`, program);
    }
  }

  #send(from: Host, to: string, datagram: Uint8Array): void {
    this.datagrams++;
    const { address } = from;
    this.onSent(from.name, datagram);
    this.#remember(address, to, "sent", datagram);
    for (const arrival of this.#link(address, to).carry(datagram, this.now)) {
      this.at(arrival.at, () => this.#arrive(address, to, arrival.datagram));
    }
  }

  #hostAt(address: string): Host | undefined {
    const host = this.hosts.get(address);
    if (host?.address === address) return host;
    return [...this.hosts.values()].find((other) => other.address === address);
  }

  #arrive(from: string, to: string, datagram: Uint8Array): void {
    const host = this.#hostAt(to);
    if (host === undefined) return;
    this.#remember(from, to, "arrives", datagram);
    const { endpoint } = host.options;
    const connection = endpoint.receive(datagram, from, PORT, this.now);
    if (connection === null) {
      const { reply = null } = endpoint;
      if (reply === null) return;
      if (reply.length > datagram.length) this.fail(`answers ${datagram.length} bytes of anybody with ${reply.length}`);
      this.#send(host, from, reply);
      return;
    }
    let program = host.programs.get(connection);
    if (program === undefined) {
      if (host.options.accept === undefined) this.fail(`${to} accepts a connection that it should not`);
      program = this.#start(host, connection, host.options.accept(from));
    }
    if (connection.readableBytes > host.options.receiveBufferBytes) {
      this.fail(`buffers ${connection.readableBytes} bytes for its reader`, program);
    }
    this.#drain(host, program);
  }

  #expire(): void {
    for (const host of this.hosts.values()) {
      const { endpoint } = host.options;
      if (host.deadline() > this.now) continue;
      for (let connection = endpoint.expire(this.now); connection !== null; connection = endpoint.expire(this.now)) {
        const program = host.programs.get(connection);
        if (program === undefined) this.fail("a timer of a connection that nobody knows");
        this.#drain(host, program, true);
        if (connection.deadline() <= this.now) this.fail("a timer that runs out again at once", program);
      }
      if (endpoint.deadline() <= this.now) this.fail(`${host.name} has a deadline that expire() does not move`);
    }
  }

  #nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const host of this.hosts.values()) next = Math.min(next, host.deadline());
    return next;
  }

  #start(host: Host, connection: Connection, behaviour: Behaviour): Program {
    connection.shortSegments = behaviour.shortSegments;
    connection.keepAliveMs = behaviour.keepAliveMs;
    const program = new Program(host, connection, behaviour, this.random.fork(), this.#tolerant);
    host.programs.set(connection, program);
    if (behaviour.readEveryMs > 0) this.#readLater(host, program);
    return program;
  }

  #readLater(host: Host, program: Program): void {
    this.at(this.now + program.behaviour.readEveryMs, () => {
      if (program.connection.closed && program.connection.readableBytes === 0) return;
      program.readOne(this);
      this.#drain(host, program);
      this.#readLater(host, program);
    });
  }

  #link(from: string, to: string): Link {
    const key = `${from} > ${to}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = new Link(this.#linkFor(from, to), this.random.fork());
      this.#links.set(key, link);
    }
    return link;
  }

  #remember(from: string, to: string, event: LoggedDatagram["event"], datagram: Uint8Array): void {
    this.#log.push({ at: this.now, from, to, event, datagram });
    if (this.#log.length > REMEMBERED_EVENTS * 2) this.#log.splice(0, REMEMBERED_EVENTS);
  }

  fail(what: string, program?: Program): never {
    const who = program === undefined ? "" : ` (${program})`;
    const before = this.#log.slice(-REMEMBERED_EVENTS).map(describe).join("\n  ");
    throw new InvariantError(`${what}${who} at ${this.now.toFixed(1)} ms\nBefore:\n  ${before}`);
  }
}

export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** The program that uses one end of a connection. */
export class Program {
  readonly host: Host;
  readonly connection: Connection;
  readonly behaviour: Behaviour;
  endCalled = false;
  connected = false;
  finished = false;
  closed = false;
  /** Bytes read so far. */
  received = 0;
  /** Largest number of bytes that the connection held for sending, and the largest high water mark. */
  mostHeldBytes = 0;
  mostHighWaterMark = 0;
  /** When the peer had acknowledged everything; when everything was read here. */
  finishedAt = Number.NaN;
  readAt = Number.NaN;
  readonly #random: Random;
  readonly #tolerant: boolean;
  #written = 0;
  /** The chunk that the connection borrows, while it does. */
  #lent: Uint8Array | null = null;

  constructor(host: Host, connection: Connection, behaviour: Behaviour, random: Random, tolerant: boolean) {
    this.host = host;
    this.connection = connection;
    this.behaviour = behaviour;
    this.#random = random;
    this.#tolerant = tolerant;
  }

  get failure(): Failure | null {
    return this.connection.failure;
  }

  toString(): string {
    const { role, edition, connectionId, remoteAddress } = this.connection;
    return `${edition} ${role} ${this.host.name} with ${remoteAddress}, connection ${connectionId}`;
  }

  /** Reacts to signals, reads and writes. True when that may have given the connection something to send. */
  act(signals: number, simulation: Simulation): boolean {
    if (this.closed && signals !== 0) simulation.fail(`signals ${signals} after closed`, this);
    if (signals & Signal.connected) this.#once(this.connected, "connected", simulation);
    if (signals & Signal.finished) this.#once(this.finished, "finished", simulation);
    this.connected ||= (signals & Signal.connected) !== 0;
    if (signals & Signal.finished) this.finishedAt = simulation.now;
    this.finished ||= (signals & Signal.finished) !== 0;
    if (signals & Signal.writable) this.#takeBack(simulation);
    this.closed = this.connection.closed;
    let acted = false;
    if (this.behaviour.readEveryMs === 0) while (this.readOne(simulation)) acted = true;
    if (!this.closed) acted = this.#write(simulation) || acted;
    return acted;
  }

  /** Reads one piece and compares it with what the peer has sent. */
  readOne(simulation: Simulation): boolean {
    const bytes = this.connection.read();
    if (bytes === null) return false;
    if (!this.#tolerant) {
      const { expects } = this.behaviour;
      for (let i = 0; i < bytes.length; i++) {
        if (bytes[i] !== expects[this.received + i]) {
          simulation.fail(`byte ${this.received + i} of ${expects.length} is not what was sent`, this);
        }
      }
    }
    this.received += bytes.length;
    if (this.received === this.behaviour.expects.length) this.readAt = simulation.now;
    return true;
  }

  /** Checks that everything has come to a good end. */
  checkEnd(simulation: Simulation): void {
    if (!this.closed) simulation.fail("nothing more happens, but it is not closed", this);
    if (this.#tolerant) return;
    // A duplicate of a client's SYN that arrives after everything is over opens a connection that nobody knows of.
    if (this.connection.role === "server" && !this.connected && this.failure === "handshake-timeout") return;
    if (this.failure !== null) simulation.fail(`closed: ${this.failure}`, this);
    if (!this.finished) simulation.fail("closed, but never finished", this);
    if (!this.connection.ended) simulation.fail("closed, but the peer's end is missing", this);
    if (this.received !== this.behaviour.expects.length) simulation.fail(`received ${this.received} bytes only`, this);
  }

  #write(simulation: Simulation): boolean {
    const { connection, behaviour } = this;
    if (!this.connected || this.endCalled) return false;
    let acted = false;
    while (this.#lent === null && this.#written < behaviour.sends.length) {
      const length = Math.min(this.#random.integer(1, behaviour.chunkBytes), behaviour.sends.length - this.#written);
      const chunk = behaviour.sends.slice(this.#written, this.#written + length);
      this.#written += length;
      acted = true;
      this.mostHighWaterMark = Math.max(this.mostHighWaterMark, connection.highWaterMark);
      if (connection.write(chunk, simulation.now)) chunk.fill(0xee);
      else this.#lent = chunk;
      this.mostHeldBytes = Math.max(this.mostHeldBytes, connection.bytesHeld);
      if (connection.bytesHeld > this.mostHighWaterMark + length) {
        simulation.fail(`holds ${connection.bytesHeld} bytes, the mark is ${connection.highWaterMark}`, this);
      }
    }
    const allRead = connection.ended && connection.readableBytes === 0;
    if (this.#lent === null && this.#written === behaviour.sends.length && (allRead || !behaviour.endsLast)) {
      connection.end(simulation.now);
      this.endCalled = acted = true;
    }
    return acted;
  }

  /** The connection has copied what it needs of the chunk: from now on its writer may do with it what it likes. */
  #takeBack(simulation: Simulation): void {
    if (this.#lent === null) simulation.fail("writable, but no write was refused", this);
    this.#lent.fill(0xee);
    this.#lent = null;
  }

  #once(before: boolean, what: string, simulation: Simulation): void {
    if (before) simulation.fail(`${what} twice`, this);
  }
}

/** Actions by time; those of one time in the order they came. */
class EventQueue {
  readonly #heap: { at: number; order: number; action: () => void }[] = [];
  #order = 0;

  get nextAt(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  push(at: number, action: () => void): void {
    const heap = this.#heap;
    heap.push({ at, order: this.#order++, action });
    let index = heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  take(): () => void {
    const heap = this.#heap;
    this.#swap(0, heap.length - 1);
    const { action } = heap.pop() as { action: () => void };
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(child + 1, child)) child++;
      if (!this.#before(child, index)) break;
      this.#swap(index, child);
      index = child;
    }
    return action;
  }

  #before(a: number, b: number): boolean {
    const one = this.#heap[a] as { at: number; order: number };
    const other = this.#heap[b] as { at: number; order: number };
    return one.at < other.at || (one.at === other.at && one.order < other.order);
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const kept = heap[a] as (typeof heap)[number];
    heap[a] = heap[b] as (typeof heap)[number];
    heap[b] = kept;
  }
}

interface LoggedDatagram {
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly event: "sent" | "arrives";
  readonly datagram: Uint8Array;
}

function describe({ at, from, to, event, datagram }: LoggedDatagram): string {
  const head = Array.from(datagram.subarray(0, 12), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${at.toFixed(1)} ${from} > ${to} ${event} ${head} + ${Math.max(0, datagram.length - 12)}`;
}
