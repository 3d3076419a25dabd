import { type Connection, type Endpoint, Signal } from "../protocol/index.js";
import { type Clock, SYSTEM_CLOCK, type Timer } from "./clock.js";

/** Sends datagrams for a driver: a server's one UDP socket, or a client's way to its server. */
export interface DatagramPort {
  /** The room that the largest transmission needs. */
  readonly transmissionBytes: number;
  /**
   * Sends `bytes`, datagrams of `connection.datagramBytes` back to back of which the last may be shorter, to the
   * connection's `sendAddress` and `sendPort`, from its `sendLocalAddress`. Failures are the network's and go unreported. True: the memory may be used
   * again at once.
   */
  send(bytes: Uint8Array, connection: Connection): boolean;
  /** Whether the port stays open for a while to repeat a RESET to a peer that goes on sending. */
  readonly repeatsResets: boolean;
  /** Sends one datagram that is of no connection. Its memory is the port's. */
  sendTo(bytes: Uint8Array, remoteAddress: string, remotePort: number, localAddress: string): void;
  /** The connection is closed: nothing more is sent for it. */
  forget(connection: Connection): void;
  /** Whether the port keeps the process alive. */
  setRef(ref: boolean): void;
  close(): void;
}

/** Somebody who wants to know what happens to a connection: a socket. */
export interface ConnectionOwner {
  readonly keepsProcessAlive: boolean;
  /** Waits for the end of FIN-WAIT. */
  readonly awaitsClose: boolean;
  /** Wants to be called after every input, not only with signals: whatever was written may be acknowledged by then. */
  readonly awaitsEmpty: boolean;
  /** `signals` are {@link Signal} bits. */
  handleSignals(signals: number): void;
}

/**
 * Datagrams are encoded into slabs, as each must stay untouched until the kernel has it. One slab holds many of any edition,
 * and all drivers have it together: thousands of clients, each with a driver, cost no memory for it.
 */
const SLAB_BYTES = 128 * 1024;
let slab = new Uint8Array(0);
let slabUsed = 0;

/** A reader gets at least this much at once where it is there, and no more is gathered before it does. */
const BATCH_BYTES = 48 * 1024;

/** What was written before a connection is given up with an error may take so long to arrive. */
const RESET_DELAY_MS = 5000;

/** A timer that would fire so soon, and so much too early, is set anew. */
const SOON_MS = 10;
const WORTH_MOVING_MS = 2;

/** A timer that fires so late was kept from it: the process was stopped, or its event loop was blocked. */
const LATE_MS = 250;
/** Then what has arrived is read for no longer than this before timers count. */
const MAX_CATCH_UP_MS = 1000;

/**
 * The shell around one endpoint: feeds it datagrams and time, drains its connections, sends what they say and wakes
 * their owners. It lives until its last connection is forgotten: late FINs are answered while no socket is left.
 */
export class Driver {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly #port: DatagramPort;
  readonly #onConnection: ((connection: Connection) => void) | null;
  /** A connection whose socket is gone has the owner null, until the endpoint forgets it. */
  readonly #owners = new Map<Connection, ConnectionOwner | null>();
  /** Those whose peer has ended and has everything: see `Connection.idle`. */
  readonly #idle = new Set<Connection>();
  /** Connections that have received something and were not drained since. */
  readonly #batch = new Set<Connection>();
  #transmitting: Connection | null = null;
  #timer: Timer | null = null;
  #timerAt = Number.POSITIVE_INFINITY;
  #handshakeTimer: Timer | null = null;
  /** Datagrams for connections so far. */
  #received = 0;
  #retained: "no" | "ref" | "unref" = "no";
  #keepsProcessAlive = true;
  #closed = false;

  /** `onConnection` is called for each connection that a server endpoint accepts. It attaches an owner. */
  constructor(
    endpoint: Endpoint,
    port: DatagramPort,
    clock: Clock = SYSTEM_CLOCK,
    onConnection: ((connection: Connection) => void) | null = null,
  ) {
    this.endpoint = endpoint;
    this.clock = clock;
    this.#port = port;
    this.#onConnection = onConnection;
  }

  /** Milliseconds on the clock that every connection of this driver is told. */
  now(): number {
    return this.clock.now();
  }

  /** `segmentBytes`: packets in it so long, of which the last may have been shorter, were joined; 0: none were. `localAddress`: see {@link DatagramPort.send}. */
  receive(datagram: Uint8Array, remoteAddress: string, remotePort: number, segmentBytes = 0, localAddress = ""): void {
    if (this.#closed) return;
    const { endpoint } = this;
    const connection = endpoint.receive(datagram, remoteAddress, remotePort, this.now(), segmentBytes, localAddress);
    if (connection === null) {
      if (endpoint.reply !== null) this.#port.sendTo(endpoint.reply, remoteAddress, remotePort, localAddress);
      return;
    }
    this.#received++;
    const isNew = this.#onConnection !== null && !this.#owners.has(connection) && !connection.closed;
    if (isNew) this.#onConnection?.(connection);
    // The classic protocol answers every datagram; the extended edition what has come together.
    const gathers = connection.edition === "extended" && connection.connected;
    if (gathers) this.#batch.add(connection);
    if (!gathers || connection.readableBytes >= BATCH_BYTES) this.drain(connection);
  }

  /** What came together has been received: now it is answered, after its readers had it, in as few packets as can be. */
  endBatch(): void {
    for (const connection of this.#batch) {
      this.#wake(connection);
      this.#batch.delete(connection);
      this.drain(connection);
    }
  }

  /** Sends, re-arms and wakes after any input to a connection. */
  drain(connection: Connection): void {
    if (this.#closed) return;
    // A closed one has nothing left to gather: what it says last leaves before its port may be closed.
    if (connection.closed || !this.#batch.has(connection)) this.#transmit(connection);
    this.#wake(connection);
  }

  /** Sends what is due, even in the middle of a batch. */
  flush(connection: Connection): void {
    if (!this.#closed) this.#transmit(connection);
  }

  /**
   * The kernel refuses datagrams of `bytes` or more to this address, and takes those of `limitBytes` as far as is known, 0 for
   * not known: see `Connection.limitDatagrams`.
   */
  limitDatagrams(remoteAddress: string, remotePort: number, bytes: number, limitBytes: number): void {
    if (this.#closed) return;
    for (const connection of this.endpoint.connectionsWith(remoteAddress, remotePort)) {
      connection.limitDatagrams(bytes, limitBytes, this.now());
      // Where it is sending just now, it goes on with shorter ones.
      if (connection !== this.#transmitting) this.drain(connection);
    }
  }

  #transmit(connection: Connection): void {
    this.#transmitting = connection;
    const now = this.now();
    for (;;) {
      const length = connection.transmit(this.#room(), now);
      if (length === 0) break;
      const taken = this.#port.send(slab.subarray(slabUsed, slabUsed + length), connection);
      if (!taken) slabUsed += length;
    }
    this.#transmitting = null;
  }

  #wake(connection: Connection): void {
    this.endpoint.settle(connection);
    this.#arm();
    const signals = connection.signals();
    const owner = this.#owners.get(connection);
    if (connection.closed) this.#onClosed(connection);
    else if (connection.ended) this.#noteIdle(connection);
    if (owner != null && (signals !== 0 || owner.awaitsEmpty)) owner.handleSignals(signals);
    if (connection.closed) this.#closeIfDone();
  }

  /** Its owner may read what has arrived for as long as it wants to: that takes no port. */
  #onClosed(connection: Connection): void {
    this.#port.forget(connection);
    this.#idle.delete(connection);
    if (this.#owners.delete(connection)) this.updateRef();
  }

  /** A connection of which nothing is expected any more does not keep the process alive, and does again when it sends. */
  #noteIdle(connection: Connection): void {
    if (connection.idle === this.#idle.has(connection)) return;
    if (connection.idle) this.#idle.add(connection);
    else this.#idle.delete(connection);
    this.updateRef();
  }

  attach(connection: Connection, owner: ConnectionOwner): void {
    this.#owners.set(connection, owner);
    this.updateRef();
  }

  /** The owner is gone, but what it wrote must still arrive: that keeps the process alive, at most until the peer is silent. */
  linger(connection: Connection): void {
    this.attach(connection, {
      keepsProcessAlive: true,
      awaitsClose: false,
      awaitsEmpty: false,
      handleSignals: (signals) => {
        if ((signals & (Signal.finished | Signal.closed)) !== 0) this.detach(connection);
      },
    });
  }

  /**
   * The owner has given the connection up with an error. Its peer still gets what was written, as from a kernel, and then
   * the reset; after {@link RESET_DELAY_MS} the reset alone. That keeps the process alive.
   */
  resetWhenArrived(connection: Connection): void {
    const reset = () => {
      timer.close();
      this.detach(connection);
      connection.abort(this.now());
      this.drain(connection);
    };
    const timer = this.clock.setTimer(reset, RESET_DELAY_MS);
    timer.unref();
    this.attach(connection, {
      keepsProcessAlive: true,
      awaitsClose: false,
      awaitsEmpty: true,
      handleSignals: () => {
        if (connection.closed || connection.bytesHeld === 0) reset();
      },
    });
  }

  /** The owner has lost interest. What is left to do for the connection is done in the background. */
  detach(connection: Connection): void {
    if (!connection.closed) this.#owners.set(connection, null);
    this.updateRef();
    this.#closeIfDone();
  }

  /** Keeps the port open without connections, as a listening server does, and the process alive or not. */
  retain(keepsProcessAlive: boolean): void {
    this.#retained = keepsProcessAlive ? "ref" : "unref";
    this.updateRef();
  }

  release(): void {
    this.#retained = "no";
    this.updateRef();
    this.#closeIfDone();
  }

  /** Closes the port if its connections have nothing left to do but to answer late FINs. */
  closeIfOnlyFinWait(): void {
    if (this.#closed || this.#retained !== "no") return;
    for (const [connection, owner] of this.#owners) {
      if (owner !== null && !connection.closed) return;
    }
    this.#close();
  }

  /** The port keeps the process alive as long as one of its owners does. */
  updateRef(): void {
    if (this.#closed) return;
    let ref = this.#retained === "ref";
    for (const [connection, owner] of this.#owners) {
      if (ref) break;
      if (owner !== null) ref = owner.keepsProcessAlive && (owner.awaitsClose || !this.#idle.has(connection));
    }
    this.#keepsProcessAlive = ref;
    this.#port.setRef(ref);
    if (this.#timer !== null) this.#refTimer(this.#timer);
  }

  /** The timer too, as there may be no open UDP socket: a client without a route to its server still gives its error. */
  #refTimer(timer: Timer): void {
    if (this.#keepsProcessAlive) timer.ref();
    else timer.unref();
  }

  #room(): Uint8Array {
    if (slab.length - slabUsed < this.#port.transmissionBytes) {
      slab = new Uint8Array(SLAB_BYTES);
      slabUsed = 0;
    }
    return slabUsed === 0 ? slab : slab.subarray(slabUsed);
  }

  /**
   * One lazy timer: deadlines move later all the time, and a timer that fires early costs less than one that is moved again
   * and again. One that is about to fire in vain is moved: a wake-up costs more.
   */
  #arm(): void {
    const at = this.endpoint.deadline();
    if (at === Number.POSITIVE_INFINITY) return;
    const isVain = at - this.#timerAt >= WORTH_MOVING_MS && this.#timerAt - this.now() < SOON_MS;
    if (at >= this.#timerAt && !isVain) return;
    this.#timer?.close();
    this.#timerAt = at;
    this.#timer = this.clock.setTimer(() => this.#expire(), Math.max(1, Math.ceil(at - this.now())));
    this.#refTimer(this.#timer);
  }

  /**
   * A timer that fires late shows that the process stood still. What has arrived meanwhile is read first, as a kernel does:
   * it may be what was waited for.
   */
  #expire(): void {
    const isLate = this.now() - this.#timerAt >= LATE_MS && this.clock.afterInput !== undefined;
    this.#timer = null;
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (isLate) this.#expireAfterInput(this.now() + MAX_CATCH_UP_MS);
    else this.#expireNow();
  }

  #expireAfterInput(until: number): void {
    const before = this.#received;
    this.clock.afterInput?.(() => {
      if (this.#closed) return;
      if (this.#received > before && this.now() < until) this.#expireAfterInput(until);
      else this.#expireNow();
    });
  }

  #expireNow(): void {
    // Where timers run before the end of a batch, its connections would stay due: they send when it ends.
    if (this.#batch.size > 0) this.endBatch();
    for (;;) {
      const connection = this.endpoint.expire(this.now());
      if (connection === null) break;
      this.drain(connection);
    }
    if (!this.#closed) this.#arm();
  }

  #closeIfDone(): void {
    if (this.#closed || this.#retained !== "no" || this.#owners.size > 0) return;
    const { endpoint } = this;
    if ((this.#port.repeatsResets ? endpoint.size : endpoint.openConnections) > 0) return;
    const waitMs = endpoint.handshakesUntil - this.now();
    if (waitMs > 0) this.#awaitHandshakes(waitMs);
    else this.#close();
  }

  /** A client that connects while the server closes is told so: its introduction is on its way. */
  #awaitHandshakes(waitMs: number): void {
    this.#handshakeTimer?.close();
    this.#handshakeTimer = this.clock.setTimer(() => this.#closeIfDone(), Math.ceil(waitMs));
    this.#handshakeTimer.unref();
  }

  #close(): void {
    this.#closed = true;
    this.#handshakeTimer?.close();
    this.#timer?.close();
    this.#timer = null;
    this.#port.close();
  }
}
