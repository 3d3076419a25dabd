import { Duplex, type DuplexOptions } from "node:stream";
import {
  type Connection,
  type EditionName,
  EXTENDED_SILENCE_TIMEOUT_MS,
  editionNamed,
  Signal,
} from "../protocol/index.js";
import type { Timer } from "./clock.js";
import type { ConnectionOwner, Driver } from "./driver.js";
import { abortError, type ConfundoError, connectionError, endedError, throwLater } from "./errors.js";
import { type AddressInfo, KEEP_ALIVE_MS, type SocketParts, type SocketStats, socketStats } from "./socket-options.js";

/** Written to hear of it when the window has room. */
const NOTHING = new Uint8Array(0);

type WriteCallback = (error: Error | null | undefined) => void;

/**
 * A Confundo connection as a Node `Duplex`, with the properties, methods and events of `net.Socket`.
 *
 * Backpressure is the congestion window: `write()` returns false as soon as the bytes accepted and not yet acknowledged
 * (`writableLength`) reach `writableHighWaterMark`, which is `cwnd`, or twice that in the extended edition. `drain` comes
 * when the window has room again, and once more when it is empty, as Node's own streams mean by it (`node:http` waits for
 * that). `finish` means that the peer has acknowledged every byte and the FIN.
 *
 * Events: `lookup`, `connect`, `ready`, `data`, `end`, `drain`, `finish`, `timeout`, `error` (a {@link ConfundoError}),
 * `close` (hadError).
 */
export class ConfundoSocket extends Duplex implements ConnectionOwner {
  /** Milliseconds of inactivity after which `timeout` is emitted; undefined when it is not. */
  timeout: number | undefined;
  /** Bytes received and handed to the stream. */
  bytesRead = 0;
  remoteAddress: string | undefined;
  remotePort: number | undefined;
  remoteFamily: "IPv4" | "IPv6" | undefined;
  keepsProcessAlive = true;
  /** @internal After much was written or a `drain` told of room, one tells that everything is acknowledged. */
  awaitsEmpty = false;

  readonly #connection: Connection;
  readonly #driver: Driver;
  readonly #parts: SocketParts;
  #bytesAccepted = 0;
  #connecting: boolean;
  #wantsData = false;
  #sawEnd: boolean;
  #finished = false;
  /** Called when the window has room for more than the chunk in hand. */
  #writeDone: ((error?: Error | null) => void) | null = null;
  /** Length of the chunk in hand: the connection holds it, and the stream counts it too. */
  #lengthInHand = 0;
  #finalDone: (() => void) | null = null;
  #closeDone: (() => void) | null = null;
  /** The connection has failed while there was something to read: the error comes behind that. */
  #failure: ConfundoError | null = null;
  #closeEmitted = false;
  #needDrain = false;
  #lowestMark: number;
  /** What is still to be acted on, as {@link Signal} bits. */
  #signals = 0;
  #acting = false;
  #idleTimer: Timer | null = null;
  /** Bytes either way when the idle timer was last started. */
  #bytesMovedAtIdleStart = 0;

  /** @internal Sockets come from `connect()` and from servers. */
  constructor(parts: SocketParts) {
    // @types/node leaves out `readable`, which the documentation of Duplex has.
    const options: DuplexOptions & { readable: boolean } = {
      allowHalfOpen: parts.allowHalfOpen ?? false,
      readable: parts.readable,
      emitClose: false,
      // The window decides, see write(): the stream's own mark must never say "enough" first.
      writableHighWaterMark: Number.MAX_SAFE_INTEGER,
    };
    super(options);
    this.#parts = parts;
    this.#connection = parts.connection;
    this.#driver = parts.driver;
    this.#lowestMark = parts.connection.highWaterMark;
    this.#connecting = !parts.connection.connected;
    this.#sawEnd = !parts.readable;
    if (parts.keepAlive) this.setKeepAlive(true);
    if (parts.noDelay) this.setNoDelay(true);
    this.#driver.attach(this.#connection, this);
  }

  // ---- what it is ------------------------------------------------------------------------------------------------

  /** 0 until the server has given one. */
  get connectionId(): number {
    return this.#connection.connectionId;
  }
  /** The edition that is spoken. */
  get edition(): EditionName | "extended" {
    return this.#connection.edition;
  }
  /** The congestion window in bytes. */
  get cwnd(): number {
    return this.#connection.cwnd;
  }
  /** The slow start threshold in bytes. */
  get ssthresh(): number {
    return this.#connection.ssthresh;
  }
  /** Bytes sent and not yet acknowledged. */
  get bytesInFlight(): number {
    return this.#connection.bytesInFlight;
  }
  /** A copy of the connection's counters, and how its datagrams travel. */
  get stats(): SocketStats {
    return socketStats(this.#connection, this.#parts.currentTier());
  }
  /** Bytes given to `write()`. */
  get bytesWritten(): number {
    return this.#bytesAccepted + this.#bytesWaiting();
  }
  get connecting(): boolean {
    return this.#connecting && !this.destroyed;
  }
  /** As in `node:net`: not connected yet, or not even being connected. */
  get pending(): boolean {
    return this.#connecting;
  }
  get readyState(): "opening" | "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.connecting) return "opening";
    if (this.readable && this.writable) return "open";
    if (this.readable) return "readOnly";
    return this.writable ? "writeOnly" : "closed";
  }
  get localAddress(): string | undefined {
    return this.#parts.localAddress()?.address;
  }
  get localPort(): number | undefined {
    return this.#parts.localAddress()?.port;
  }
  get localFamily(): "IPv4" | "IPv6" | undefined {
    return this.#parts.localAddress()?.family;
  }
  /** @internal The socket waits for the end of FIN-WAIT itself. */
  get awaitsClose(): boolean {
    return this.#closeDone !== null;
  }
  address(): AddressInfo | Record<string, never> {
    return this.#parts.localAddress() ?? {};
  }

  // ---- backpressure ----------------------------------------------------------------------------------------------

  static {
    // What Duplex says of its buffer, said of the window. TypeScript's Duplex declares these as fields, which no accessor
    // may override.
    const getter = (name: string, get: (this: ConfundoSocket) => unknown) =>
      Object.defineProperty(ConfundoSocket.prototype, name, { get, configurable: true });
    getter("writableHighWaterMark", function () {
      return this.#connection.highWaterMark;
    });
    // Bytes accepted and not yet acknowledged.
    getter("writableLength", function () {
      return this.#connection.bytesHeld + this.#bytesWaiting();
    });
    getter("writableNeedDrain", function () {
      if (!this.#needDrain && this.writable) this.#watchWindow();
      return this.#needDrain && this.writable;
    });
  }

  override write(chunk: string | Uint8Array, callback?: WriteCallback): boolean;
  override write(chunk: string | Uint8Array, encoding?: BufferEncoding, callback?: WriteCallback): boolean;
  override write(
    chunk: string | Uint8Array,
    encoding?: BufferEncoding | WriteCallback,
    callback?: WriteCallback,
  ): boolean {
    // Writable sorts the arguments out itself; its types have no signature for that.
    const accepted = super.write(chunk, encoding as BufferEncoding, callback);
    const mark = this.writableHighWaterMark;
    this.#lowestMark = Math.min(this.#lowestMark, mark);
    // Who remembers an old mark, as node:http does, may wait for `drain` although there is room by now.
    if (this.writableLength >= this.#lowestMark) this.awaitsEmpty = true;
    if (this.writableLength < mark) return accepted;
    this.#watchWindow();
    return false;
  }

  /** Bytes that the stream has and the connection has not: written behind the chunk in hand, or corked. */
  #bytesWaiting(): number {
    return Reflect.get(Duplex.prototype, "writableLength", this) - this.#lengthInHand;
  }

  /**
   * The window may have shrunk under what is held, without any write or behind the last one: who is told of that is told
   * of the room, too.
   */
  #watchWindow(): void {
    if (this.writableLength < this.writableHighWaterMark) return;
    this.#needDrain = true;
    // With a chunk in hand, the connection tells already.
    if (this.#writeDone === null && this.writable) this.#connection.write(NOTHING, this.#driver.now());
  }

  #drainIfRoom(): void {
    const length = this.writableLength;
    if (this.#needDrain) {
      if (this.#writeDone !== null) return;
      if (length >= this.writableHighWaterMark) {
        // There was room, and what came together with the news of it has taken it away.
        this.#watchWindow();
        return;
      }
    } else if (!this.awaitsEmpty || length > 0) return;
    this.#needDrain = false;
    this.awaitsEmpty = length > 0;
    if (this.writable) this.emit("drain");
  }

  // ---- the stream's side -----------------------------------------------------------------------------------------

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#bytesAccepted += chunk.length;
    this.#lengthInHand = chunk.length;
    this.#stayAwake();
    if (this.#connection.closed) {
      this.#writeDone = callback;
      this.#fail(this.#failure ?? endedError(this.#parts.host, this.#parts.port));
      return;
    }
    if (this.#connection.write(chunk, this.#driver.now())) {
      this.#driver.drain(this.#connection);
      this.#lengthInHand = 0;
      callback();
      // Chunks that waited for uncork() may all have found room, without any acknowledgement to tell of it.
      if (this.#needDrain) process.nextTick(() => this.#drainIfRoom());
      return;
    }
    this.#writeDone = callback;
    this.#driver.drain(this.#connection);
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#connection.closed && this.#failure === null) {
      // The peer had everything and is gone: only the FIN is not acknowledged.
      callback();
      return;
    }
    this.#finalDone = callback;
    this.#connection.end(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  override _read(): void {
    this.#wantsData = true;
    this.#pull();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#connecting = false;
    this.#idleTimer?.close();
    this.#idleTimer = null;
    const done = () => {
      callback(error);
      process.nextTick(() => {
        this.#closeEmitted = true;
        this.emit("close", error !== null);
      });
    };
    if (this.#letGo(error)) {
      this.#closeDone = done;
      this.#driver.updateRef();
    } else done();
  }

  /**
   * Leaves the connection to itself. Without an error it ends as `node:net` and a kernel would do it: what was written
   * arrives, then the FIN. With an error, or where a part of what was written would be missing before the FIN, the peer
   * must not take it for a regular end, and hears nothing more. True: this socket waits for the end of FIN-WAIT itself.
   */
  #letGo(error: Error | null): boolean {
    const connection = this.#connection;
    const now = this.#driver.now();
    const regular = (error === null || this.#isEndOfLoop(error)) && connection.connected && this.#bytesWaiting() === 0;
    const writeDone = this.#writeDone;
    this.#writeDone = null;
    if (!regular) {
      connection.abort(now);
      writeDone?.(error ?? abortError(this.#parts.host, this.#parts.port, undefined));
    } else {
      writeDone?.();
      connection.end(now);
      if (!this.#sawEnd) connection.discardInput(now);
    }
    this.#driver.drain(connection);
    if (connection.closed) this.#driver.detach(connection);
    else if (this.#parts.foregroundFinWait) return true;
    else if (this.#finished) this.#driver.detach(connection);
    else this.#driver.linger(connection);
    return false;
  }

  /**
   * A `for await` that has read everything destroys a socket that may still be written with an AbortError of its own,
   * without a cause. For the peer that is a regular end, as a kernel would give it.
   */
  #isEndOfLoop(error: Error): boolean {
    return this.readableEnded && error.name === "AbortError" && error.cause === undefined && this.#writeDone === null;
  }

  #pull(): void {
    const before = this.bytesRead;
    while (this.#wantsData) {
      const bytes = this.#connection.read();
      if (bytes === null) break;
      this.bytesRead += bytes.length;
      const chunk = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#wantsData = this.push(chunk);
    }
    // The extended edition tells its peer of the room that reading has made.
    if (this.bytesRead > before && this.edition === "extended") this.#driver.drain(this.#connection);
    if (!this.#connection.ended || this.#connection.readableBytes > 0 || this.#sawEnd) return;
    this.#sawEnd = true;
    // As in node:net the end has a turn of its own, as a reader answers what it had before this side ends too; and it comes,
    // and `close` with it, even where nobody reads, if there was nothing to read.
    setImmediate(() => {
      if (this.destroyed) return;
      this.push(null);
      this.read(0);
    });
  }

  // ---- the connection's side -------------------------------------------------------------------------------------

  /** @internal */
  handleSignals(signals: number): void {
    this.#stayAwake();
    this.#signals |= signals;
    // Called by what a listener does: that is for afterwards.
    if (this.#acting) return;
    this.#acting = true;
    do {
      const { bytesRead } = this;
      try {
        this.#actOnSignals();
      } catch (error) {
        throwLater(error);
        if (this.bytesRead > bytesRead) this.#signals |= Signal.readable;
      }
    } while (this.#signals !== 0);
    this.#acting = false;
  }

  #actOnSignals(): void {
    if (this.#take(Signal.connected)) this.#becomeConnected();
    if (this.#take(Signal.moved)) this.#followPeer();
    if (this.#take(Signal.readable)) {
      if (this.#connection.ended) this.#peerEnded();
      this.#pull();
    }
    if (this.#take(Signal.writable)) this.#finishWrite();
    if (this.#take(Signal.finished)) this.#finish();
    if (!this.#connection.closed) this.#drainIfRoom(); // Closed, it keeps no write: who writes while there is room never ends.
    if (this.#take(Signal.closed)) this.#connectionClosed();
  }

  #take(signal: number): boolean {
    const taken = (this.#signals & signal) !== 0;
    this.#signals &= ~signal;
    return taken;
  }

  #becomeConnected(): void {
    if (!this.#connecting || this.destroyed) return;
    this.#connecting = false;
    this.emit("connect");
    this.emit("ready");
  }

  /** From now on the peer is silent by right. As long as this side still reads or writes, both need signs of life. */
  #peerEnded(): void {
    if (this.#connection.closed || this.writableEnded) return;
    this.#connection.keepAliveMs = KEEP_ALIVE_MS;
    this.#driver.drain(this.#connection);
  }

  #finishWrite(): void {
    const done = this.#writeDone;
    this.#writeDone = null;
    this.#lengthInHand = 0;
    done?.();
  }

  #finish(): void {
    this.#finished = true;
    const done = this.#finalDone;
    this.#finalDone = null;
    done?.();
  }

  #connectionClosed(): void {
    const { failure, resetReason } = this.#connection;
    if (this.#closeDone !== null) {
      this.#driver.detach(this.#connection);
      this.#closeDone();
      this.#closeDone = null;
    }
    if (failure === null || this.destroyed) return;
    const { host, port, kernelHint } = this.#parts;
    const silenceTimeoutMs =
      this.edition === "extended" ? EXTENDED_SILENCE_TIMEOUT_MS : editionNamed(this.edition).silenceTimeoutMs;
    this.#fail(connectionError(failure, host, port, silenceTimeoutMs, kernelHint(), resetReason));
  }

  /**
   * Destroys the socket with an error, once its reader has had what arrived before. Without the peer's end that waits for
   * a reader only where there is one, and where no write is under way.
   */
  #fail(error: ConfundoError): void {
    if (this.#failure !== null) return;
    const { ended, readableBytes, bytesHeld } = this.#connection;
    if (ended ? this.#parts.readable && !this.readableEnded : this.#hasUnread(readableBytes) && bytesHeld === 0) {
      this.#failure = error;
      if (ended) this.once("end", () => this.destroy(error));
      else this.#destroyWhenRead(error);
    } else this.destroy(error);
  }

  #hasUnread(readableBytes: number): boolean {
    if (!this.#parts.readable || this.#writeDone !== null) return false;
    return this.readableFlowing !== null && this.readableLength + readableBytes > 0;
  }

  /** Readable tells nobody that its buffer has become empty. */
  #destroyWhenRead(error: ConfundoError): void {
    const read = (size?: number): unknown => {
      const chunk = super.read(size);
      if (this.readableLength + this.#connection.readableBytes === 0) process.nextTick(() => this.destroy(error));
      return chunk;
    };
    Object.defineProperty(this, "read", { value: read, configurable: true, writable: true });
  }

  // ---- as in node:net --------------------------------------------------------------------------------------------

  /** Emits `timeout` after so many milliseconds without activity; 0 turns it off. The socket is not closed by it. */
  setTimeout(timeoutMs: number, callback?: () => void): this {
    this.timeout = timeoutMs;
    this.#idleTimer?.close();
    this.#idleTimer = null;
    if (timeoutMs === 0) {
      if (callback) this.removeListener("timeout", callback);
      return this;
    }
    if (callback) this.once("timeout", callback);
    if (this.destroyed) return this;
    this.#bytesMovedAtIdleStart = this.#bytesMoved();
    this.#idleTimer = this.#driver.clock.setTimer(() => this.#idled(), timeoutMs);
    this.#idleTimer.unref();
    return this;
  }

  /** A part of a chunk that was acknowledged is activity too, although the stream only hears when all of it has room. */
  #idled(): void {
    if (this.#bytesMoved() === this.#bytesMovedAtIdleStart) this.emit("timeout");
    else this.#stayAwake();
  }

  #bytesMoved(): number {
    const { bytesAcknowledged, bytesReceived } = this.#connection.stats;
    return bytesAcknowledged + bytesReceived;
  }

  #stayAwake(): void {
    if (this.#idleTimer === null) return;
    this.#bytesMovedAtIdleStart = this.#bytesMoved();
    this.#idleTimer.refresh();
  }

  /**
   * Whether a silent peer is asked for a sign of life every 3 s, as in the extended edition it always is. The delay that
   * `node:net` takes is not adjustable.
   */
  setKeepAlive(enable = false, _initialDelay?: number): this {
    if (this.edition === "extended") return this;
    this.#connection.keepAliveMs = enable || this.#connection.ended ? KEEP_ALIVE_MS : 0;
    if (!this.connecting) this.#driver.drain(this.#connection);
    return this;
  }

  /** Whether small writes leave at once instead of being gathered while something is in flight. */
  setNoDelay(noDelay = true): this {
    this.#connection.shortSegments = noDelay ? "immediate" : "nagle";
    return this;
  }

  ref(): this {
    this.keepsProcessAlive = true;
    this.#driver.updateRef();
    return this;
  }

  unref(): this {
    this.keepsProcessAlive = false;
    this.#driver.updateRef();
    return this;
  }

  /** Ends the writing side and destroys the socket once everything written has been acknowledged. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  /** Destroys the socket, if that has not happened yet, and waits for `close`. What was written still arrives. */
  override async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closeEmitted) return;
    const closed = new Promise<void>((resolve) => this.once("close", () => resolve()));
    this.destroy();
    await closed;
  }

  /** @internal Destroys the socket when the signal is aborted. */
  followSignal(signal: AbortSignal): void {
    const abort = () => this.destroy(abortError(this.#parts.host, this.#parts.port, signal.reason));
    if (signal.aborted) {
      process.nextTick(abort);
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    this.once("close", () => signal.removeEventListener("abort", abort));
  }

  /** The peer's address has changed, and was proven to be its own. */
  #followPeer(): void {
    const { remoteAddress, remotePort } = this.#connection;
    this.setRemote(remoteAddress, remotePort);
  }

  /** @internal The address that is being talked to is known. */
  setRemote(address: string, port: number): void {
    this.remoteAddress = address;
    this.remotePort = port;
    // net.isIPv6() would compile its expression first, which takes 6 ms.
    this.remoteFamily = address.includes(":") ? "IPv6" : "IPv4";
  }
}
