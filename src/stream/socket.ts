import type { IpcSocketConnectOpts, Server, SetKeepAliveOptions } from "node:net";
import { Duplex, type DuplexOptions } from "node:stream";
import { type Connection, type EditionName, Signal } from "../protocol/index.js";
import { checkDuration, checkFunction, checkSocketOptions, connectArguments } from "./arguments.js";
import { isReaderOfTls, leaveClosingToReader } from "./below-tls.js";
import { ClientPort } from "./client-port.js";
import { isRegularEnd, isUnreadFarewell, type Progress } from "./closing.js";
import type { ConnectionOwner } from "./driver.js";
import {
  abortError,
  type ConfundoError,
  closedBeforeConnectionError,
  connectionError,
  endedError,
  pipeError,
  socketClosedError,
  throwLater,
} from "./errors.js";
import { IdleTimer } from "./idle-timer.js";
import { OnRead } from "./onread.js";
import { afterTurns, followPeerEnd, LATE_WRITE_TURNS, type WriteCallback } from "./own-end.js";
import {
  type AddressInfo,
  type ConnectOptions,
  KEEP_ALIVE_MS,
  type SocketConstructorOptions,
  type SocketParts,
  type SocketStats,
  socketStats,
} from "./socket-options.js";
import { NO_CONNECTION, type SocketDriver, UNCONNECTED } from "./unconnected.js";

/** Written to hear of it when the window has room. */
const NOTHING = new Uint8Array(0);

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
  declare timeout?: number;
  /** The address that datagrams leave from, and its port; undefined until there is one. */
  declare readonly localAddress?: string;
  declare readonly localPort?: number;
  declare readonly localFamily?: "IPv4" | "IPv6";
  /** Bytes received and handed to the stream. */
  bytesRead = 0;
  remoteAddress: string | undefined;
  remotePort: number | undefined;
  remoteFamily: "IPv4" | "IPv6" | undefined;
  keepsProcessAlive = true;
  /** @internal After much was written or a `drain` told of room, one tells that everything is acknowledged. */
  awaitsEmpty = false;

  /** Null: there is no handle of Node's behind the socket. */
  readonly _handle = null;
  /** The server that has accepted the socket; null for a client's. */
  server: Server | null = null;
  /** The addresses that a connection was tried to, each with its port. */
  readonly autoSelectFamilyAttemptedAddresses: string[] = [];

  readonly #options: SocketConstructorOptions;
  readonly #onRead: OnRead | null;
  /** The program's mark; the window's counts where it is lower. */
  readonly #highWaterMark: number;
  #connection: Connection = NO_CONNECTION;
  #driver: SocketDriver = UNCONNECTED.driver;
  #parts: SocketParts = UNCONNECTED;
  #keepAlive: boolean;
  #noDelay: boolean;
  #bytesAccepted = 0;
  #connecting = false;
  /** Destroyed by `resetAndDestroy()`: the peer hears at once, whatever is under way. */
  #resetting = false;
  #wantsData = false;
  #sawEnd = false;
  #hasReader = false;
  #finished = false;
  /** The peer has ended first, so that this side ends by itself; its FIN waits a moment for what is still written. */
  #endsItself = false;
  #holdsFin = false;
  /** `end` is being emitted, or was in this turn of the event loop. */
  #endsNow = false;
  /** Called when the window has room for more than the chunk in hand. */
  #writeDone: ((error?: Error | null) => void) | null = null;
  /** Length of the chunk in hand: the connection holds it, and the stream counts it too. */
  #lengthInHand = 0;
  #finalDone: (() => void) | null = null;
  /** Callbacks of what was written before the connection was open. */
  readonly #writtenEarly: WriteCallback[] = [];
  #closeDone: (() => void) | null = null;
  /** The connection has failed while there was something to read: the error comes behind that. */
  #failure: ConfundoError | null = null;
  #closeEmitted = false;
  #needDrain = false;
  #lowestMark = NO_CONNECTION.highWaterMark;
  /** What is still to be acted on, as {@link Signal} bits. */
  #signals = 0;
  #acting = false;
  /** In `read()`, which emits `data` where the stream flows. */
  #reading = false;
  #idleTimer: IdleTimer | null = null;
  /** Bytes written when the last of what the peer sent was read. */
  #bytesWrittenAtRead = 0;

  /**
   * Makes a socket without a connection; `connect()` opens one.
   * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, RangeError ERR_OUT_OF_RANGE
   */
  constructor(options: SocketConstructorOptions = {}) {
    checkSocketOptions(options);
    const { highWaterMark, readableHighWaterMark = highWaterMark } = options;
    // @types/node leaves out `readable`, which the documentation of Duplex has.
    const streamOptions: DuplexOptions & { readable: boolean } = {
      allowHalfOpen: options.allowHalfOpen ?? false,
      readable: options.readable ?? true,
      emitClose: false,
      ...(readableHighWaterMark === undefined ? {} : { readableHighWaterMark }),
      // The window decides, see write(): the stream's own mark must never say "enough" first.
      writableHighWaterMark: Number.MAX_SAFE_INTEGER,
    };
    super(streamOptions);
    this.#options = options;
    this.#onRead = OnRead.from(options.onread, this);
    this.#hasReader = this.#onRead !== null;
    this.#highWaterMark = Math.max(1, highWaterMark ?? Number.POSITIVE_INFINITY);
    this.#keepAlive = Boolean(options.keepAlive);
    this.#noDelay = Boolean(options.noDelay);
    this.on("end", followPeerEnd);
    if (options.signal != null) this.#followSignal(options.signal);
  }

  /**
   * Opens a connection, as the function `connect` does; after `close` it opens the next one.
   * @throws TypeError ERR_MISSING_ARGS, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_INVALID_IP_ADDRESS
   * @throws RangeError ERR_SOCKET_BAD_PORT
   */
  connect(options: ConnectOptions | IpcSocketConnectOpts, onConnect?: () => void): this;
  connect(port: number, host: string, onConnect?: () => void): this;
  connect(port: number, onConnect?: () => void): this;
  /** Throws ERR_INVALID_ARG_VALUE: Confundo connects to UDP ports, not to paths. */
  connect(path: string, onConnect?: () => void): this;
  connect(...args: unknown[]): this {
    const [options, onConnect] = connectArguments<ConnectOptions>(args);
    if (onConnect !== null) this.once("connect", onConnect);
    // A kernel refuses a second connection (EISCONN) and leaves the first one as it is.
    if (this.#connection !== NO_CONNECTION && !this.destroyed) return this;
    const isAgain = this.destroyed;
    if (isAgain) this.#revive();
    const port = new ClientPort({ ...this.#options, ...options }, this);
    this.adopt(port.parts);
    port.start();
    if (isAgain && !this.isPaused()) this.read(0);
    return this;
  }

  /** Makes a destroyed socket one that was never connected. */
  #revive(): void {
    (this as unknown as { _undestroy(): void })._undestroy();
    Reflect.deleteProperty(this, "write");
    this.bytesRead = 0;
    this.awaitsEmpty = false;
    this.#bytesAccepted = 0;
    this.#wantsData = false;
    this.#finished = false;
    this.#endsItself = false;
    this.#lengthInHand = 0;
    this.#closeEmitted = false;
    this.#needDrain = false;
    this.#signals = 0;
    this.#bytesWrittenAtRead = 0;
    this.#resetting = false;
    this.autoSelectFamilyAttemptedAddresses.length = 0;
  }

  /** @internal Takes a connection, which the socket had none of. */
  adopt(parts: SocketParts): void {
    this.#parts = parts;
    this.#connection = parts.connection;
    this.#driver = parts.driver;
    this.#lowestMark = parts.connection.highWaterMark;
    this.#connecting = !parts.connection.connected;
    this.#sawEnd = !parts.readable;
    if (this.#keepAlive) this.setKeepAlive(true);
    if (this.#noDelay) this.setNoDelay(true);
    if (this.#onRead !== null) this.#wantsData = !this.isPaused();
    this.#driver.attach(this.#connection, this);
    this.#idleTimer?.restart();
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
  /** The name that `connecting` had. */
  get _connecting(): boolean {
    return this.connecting;
  }
  /** As in `node:net`: not connected yet, not even being connected, or no more. */
  get pending(): boolean {
    return this.#connecting || this.#connection === NO_CONNECTION || this.destroyed;
  }
  /** Bytes that were written and are not acknowledged yet: `writableLength`, which is the name to use. */
  get bufferSize(): number {
    return this.writableLength;
  }
  get readyState(): "opening" | "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.connecting) return "opening";
    if (this.readable && this.writable) return "open";
    if (this.readable) return "readOnly";
    return this.writable ? "writeOnly" : "closed";
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
      // biome-ignore lint/complexity/noThisInStatic: esbuild would rename the class for its own name in here.
      Object.defineProperty(this.prototype, name, { get, configurable: true });
    getter("writableHighWaterMark", function () {
      return Math.min(this.#connection.highWaterMark, this.#highWaterMark);
    });
    // Optional in the types of node:net, which no accessor may be.
    getter("localAddress", function () {
      return this.#parts.localAddress()?.address;
    });
    getter("localPort", function () {
      return this.#parts.localAddress()?.port;
    });
    getter("localFamily", function () {
      return this.#parts.localAddress()?.family;
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
    if (this.#connecting) {
      if (typeof encoding === "function") encoding = this.#afterConnect(encoding);
      else if (typeof callback === "function") callback = this.#afterConnect(callback);
    }
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

  /** As in `node:net`, what is written before the connection is open is written when it is, or comes to nothing. */
  #afterConnect(callback: WriteCallback): WriteCallback {
    return (error) => {
      if (error) callback(error);
      else if (this.#connecting) this.#writtenEarly.push(callback);
      else callback(this.#connection.connected ? null : closedBeforeConnectionError());
    };
  }

  #callBackEarlyWrites(error: Error | null): void {
    for (const callback of this.#writtenEarly.splice(0)) process.nextTick(callback, error);
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
    this.#idleTimer?.restart();
    if (this.#connection.closed) {
      if (this.#connection === NO_CONNECTION) {
        callback(socketClosedError());
        return;
      }
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
    if (this.#connection === NO_CONNECTION || (this.#connection.closed && this.#failure === null)) {
      // The peer had everything and is gone: only the FIN is not acknowledged.
      callback();
      return;
    }
    if (this.#endsItself) afterTurns(LATE_WRITE_TURNS, () => this.#sendFin(callback));
    else this.#sendFin(callback);
  }

  #sendFin(callback: () => void): void {
    this.#holdsFin = false;
    if (this.destroyed) {
      callback();
      return;
    }
    this.#finalDone = callback;
    this.#connection.end(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  /** @internal The peer has ended: without `allowHalfOpen` this socket does so, too. */
  noteOwnEnd(): void {
    this.#endsItself = this.#holdsFin = !this.writableEnded;
    this.#endsNow = true;
    setImmediate(() => {
      this.#endsNow = false;
    });
  }

  /** @internal Both sides have ended and all has arrived: with `node:net` the socket would be destroyed by now. */
  get isOver(): boolean {
    return !this.#endsNow && !this.#holdsFin && this.writableEnded && this.#connection.bytesHeld === 0;
  }

  /**
   * @internal Takes what a protocol on top writes while the socket ends itself: node:tls answers the peer's close_notify a turn
   * or two behind `end`, which no kernel would mind. It writes corked, which tells it from a program, whose write is an error.
   * False: not written by such a protocol.
   */
  writeLate(chunk: string | Uint8Array, callback: WriteCallback | undefined): boolean {
    if (!this.#endsItself || this.writableCorked === 0 || typeof chunk === "string") return false;
    const isTaken = this.#holdsFin && this.#writeDone === null && !this.destroyed && !this.#connection.closed;
    if (isTaken) {
      this.#bytesAccepted += chunk.length;
      this.#connection.write(Buffer.from(chunk), this.#driver.now());
      this.#driver.drain(this.#connection);
    }
    if (callback !== undefined) process.nextTick(callback, isTaken ? null : pipeError());
    return true;
  }

  /** Lets the peer send more than 64 KiB ahead of the reader, where the server's option `requireAdmission` waits for that. */
  admit(): void {
    this.#connection.admit(this.#driver.now());
    this.#driver.drain(this.#connection);
  }

  override read(size?: number): ReturnType<Duplex["read"]> {
    this.#reading = true;
    try {
      return super.read(size);
    } finally {
      this.#reading = false;
    }
  }

  override _read(): void {
    this.#wantsData = true;
    this.#pull();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#connecting = false;
    this.#callBackEarlyWrites(closedBeforeConnectionError());
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
   * Leaves the connection to itself: what was written arrives, and then the FIN, or the reset where `isRegularEnd` says no, or a
   * part of what was written would be missing before the FIN. True: this socket waits for the end of FIN-WAIT itself.
   */
  #letGo(error: Error | null): boolean {
    const connection = this.#connection;
    const driver = this.#driver;
    const now = driver.now();
    const isOpen = connection.connected && !this.#resetting;
    const regular = isOpen && this.#bytesWaiting() === 0 && (error === null || isRegularEnd(error, this.#progress()));
    const writeDone = this.#writeDone;
    this.#writeDone = null;
    if (regular) {
      writeDone?.();
      connection.end(now);
      if (!this.#sawEnd) connection.discardInput(now);
    } else {
      writeDone?.(connection.connected ? (error ?? socketClosedError()) : closedBeforeConnectionError());
      if (isOpen && !connection.closed && connection.bytesHeld > 0) {
        driver.resetWhenArrived(connection);
        return false;
      }
      // As from a kernel, what is due leaves first: the peer of a connection that is just open learns that it was.
      driver.flush(connection);
      connection.abort(now);
    }
    driver.drain(connection);
    if (connection.closed) driver.detach(connection);
    else if (this.#parts.foregroundFinWait) return true;
    else if (this.#finished) driver.detach(connection);
    else driver.linger(connection);
    return false;
  }

  /** Hands bytes to the program's buffer. Where its callback pauses the socket, the end waits with what is left of them. */
  #pushTo(onRead: OnRead, bytes: Uint8Array): boolean {
    if (onRead.push(bytes)) return true;
    this.pause();
    return false;
  }

  // biome-ignore lint/suspicious/noExplicitAny: as in the types of node:events.
  override on(event: string | symbol, listener: (...args: any[]) => void): this {
    this.#hasReader ||= event === "data" || event === "readable";
    if (event === "data" && isReaderOfTls(listener)) leaveClosingToReader(this);
    return super.on(event, listener);
  }

  override pause(): this {
    if (this.#onRead !== null) this.#wantsData = false;
    return super.pause();
  }

  override resume(): this {
    super.resume();
    const onRead = this.#onRead;
    if (onRead !== null && !this.#wantsData && !this.destroyed) {
      this.#wantsData = onRead.flush();
      if (this.#wantsData) this.#pull();
      else this.pause();
    }
    return this;
  }

  #pull(): void {
    const before = this.bytesRead;
    while (this.#wantsData) {
      const bytes = this.#connection.read();
      if (bytes === null) break;
      this.bytesRead += bytes.length;
      this.#bytesWrittenAtRead = this.#bytesAccepted;
      if (this.#onRead !== null) {
        this.#wantsData = this.#pushTo(this.#onRead, bytes);
        continue;
      }
      const chunk = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#wantsData = this.push(chunk);
    }
    // The extended edition tells its peer of the room that reading has made.
    if (this.bytesRead > before && this.edition === "extended") this.#driver.drain(this.#connection);
    if (!this.#connection.ended || this.#connection.readableBytes > 0 || this.#sawEnd) return;
    if (this.#onRead?.isWaiting) return;
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
    this.#idleTimer?.restart();
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
    this.#callBackEarlyWrites(null);
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
    const { failure, resetReason, silenceTimeoutMs } = this.#connection;
    if (this.#closeDone !== null) {
      this.#driver.detach(this.#connection);
      this.#closeDone();
      this.#closeDone = null;
    }
    if (failure === null || this.destroyed) return;
    if (resetReason === "unread" && isUnreadFarewell(this.#connection.ended, this.#progress())) {
      if (this.readableEnded) this.destroy();
      else this.once("end", () => this.destroy());
      return;
    }
    const { host, port, kernelHint } = this.#parts;
    const error = connectionError(failure, host, port, silenceTimeoutMs, kernelHint(), resetReason, this.remoteAddress);
    if (resetReason === "unread" && !this.#hasReader && this.readableFlowing === null) this.destroy(error);
    else this.#fail(error); // Who only writes does not read an answer before it.
  }

  /** The progress of the program, for the rules of closing.ts. */
  #progress(): Progress {
    return {
      bytesRead: this.bytesRead,
      bytesUnread: this.#connection.readableBytes + this.readableLength,
      bytesHeld: this.#connection.bytesHeld,
      bytesWrittenSinceRead: this.#bytesAccepted - this.#bytesWrittenAtRead,
      isWriting: this.#writeDone !== null,
      isInListener: this.#acting || this.#reading,
      readableEnded: this.readableEnded,
      writableEnded: this.writableEnded,
    };
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
      const chunk = ConfundoSocket.prototype.read.call(this, size);
      if (this.readableLength + this.#connection.readableBytes === 0) process.nextTick(() => this.destroy(error));
      return chunk;
    };
    Object.defineProperty(this, "read", { value: read, configurable: true, writable: true });
  }

  // ---- as in node:net --------------------------------------------------------------------------------------------

  /**
   * Emits `timeout` after so many milliseconds without activity; 0 turns it off. The socket is not closed by it.
   * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
   */
  setTimeout(timeoutMs: number, callback?: () => void): this {
    if (this.destroyed) return this;
    this.timeout = timeoutMs;
    const ms = checkDuration(timeoutMs, "msecs");
    if (callback !== undefined) checkFunction(callback, "callback");
    this.#idleTimer?.close();
    this.#idleTimer = null;
    if (ms === 0) {
      if (callback) this.removeListener("timeout", callback);
      return this;
    }
    if (callback) this.once("timeout", callback);
    const bytesOnTheWay = () => this.#bytesAccepted - this.#connection.stats.bytesAcknowledged;
    this.#idleTimer = new IdleTimer(this.#driver.clock, ms, bytesOnTheWay, () => this.emit("timeout"));
    return this;
  }

  /**
   * Decides whether a silent peer is asked for a sign of life every 3 s, as in the extended edition it always is. The delays
   * and counts that `node:net` takes are not adjustable.
   */
  setKeepAlive(
    enable?: boolean | SetKeepAliveOptions,
    _initialDelay?: number,
    _interval?: number,
    _count?: number,
  ): this {
    this.#keepAlive = Boolean(typeof enable === "object" ? enable.enable : enable);
    if (this.#connection === NO_CONNECTION || this.edition === "extended") return this;
    this.#connection.keepAliveMs = this.#keepAlive || this.#connection.ended ? KEEP_ALIVE_MS : 0;
    if (!this.connecting) this.#driver.drain(this.#connection);
    return this;
  }

  /** Decides whether small writes leave at once instead of being gathered while something is in flight. */
  setNoDelay(noDelay = true): this {
    this.#noDelay = Boolean(noDelay);
    if (this.#connection !== NO_CONNECTION) {
      this.#connection.shortSegments = this.#noDelay ? "immediate" : (this.#options.shortSegments ?? "nagle");
    }
    return this;
  }

  /** Always 0: the type of service of datagrams is not adjustable. */
  getTypeOfService(): number {
    return 0;
  }

  /** Taken as in `node:net` and not used. */
  setTypeOfService(_typeOfService: number): this {
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

  /** Destroys the socket and resets the connection: the peer gets an ECONNRESET. A classic peer finds this side silent. */
  resetAndDestroy(): this {
    if (this.#connection === NO_CONNECTION) return this.destroy(socketClosedError());
    if (this.connecting) {
      this.once("connect", () => this.#reset());
      return this;
    }
    return this.#reset();
  }

  #reset(): this {
    this.#resetting = true;
    return this.destroy();
  }

  /** Destroys the socket, if that has not happened yet, and waits for `close`. What was written still arrives. */
  override async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closeEmitted) return;
    const closed = new Promise<void>((resolve) => this.once("close", () => resolve()));
    this.destroy();
    await closed;
  }

  /** Destroys the socket when the signal is aborted. */
  #followSignal(signal: AbortSignal): void {
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
