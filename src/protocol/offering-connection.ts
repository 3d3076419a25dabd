import type { Arrival } from "./arrival.js";
import type { ClassicConnection } from "./classic-connection.js";
import {
  type ClientConnection,
  type Connection,
  type ConnectionStats,
  type Failure,
  type ResetReason,
  type ShortSegments,
  Signal,
} from "./connection.js";
import type { EditionName } from "./editions.js";
import type { ExtendedConnection } from "./extended/connection.js";
import { isSynRefusal } from "./extended/wire.js";
import { FALLBACK_WAIT_MS } from "./limits.js";
import { ACK, SYN } from "./packet.js";

/** What an offering client's SYN asks for, and what answers it. */
interface Offer {
  /** The classic edition will not do. */
  readonly required: boolean;
  /** What a server that accepts repeats, and nobody else knows. */
  readonly nonce: number;
  /** What a plain SYN|ACK acknowledges. */
  readonly synAcknowledgement: number;
}

/**
 * A client's connection that offers the extended edition in its SYN. Until the server has answered it is a classic one,
 * which a plain SYN|ACK leaves it; a SYN|ACK with its nonce makes it an extended one. Anybody can forge the plain one: so the other
 * counts even behind it, as long as no data has been exchanged, and where it is expected a plain one is passed over for a while.
 */
export class OfferingConnection implements ClientConnection {
  readonly role = "client";
  refusals = 0;
  expectsExtended = false;
  readonly #classic: ClassicConnection;
  readonly #offer: Offer;
  readonly #extend: (synAck: Arrival) => ExtendedConnection;
  #inner: ClassicConnection | ExtendedConnection;
  #openedAt = 0;
  /** When the first plain answer was passed over. */
  #plainSince = Number.POSITIVE_INFINITY;
  #refused = false;
  /** `connected` has been signalled. */
  #signalled = false;

  /** `extend` makes the connection that a SYN|ACK with the nonce begins. */
  constructor(classic: ClassicConnection, offer: Offer, extend: (synAck: Arrival) => ExtendedConnection) {
    this.#classic = this.#inner = classic;
    this.#offer = offer;
    this.#extend = extend;
  }

  get edition(): EditionName | "extended" {
    return this.#inner.edition;
  }
  get remoteAddress(): string {
    return this.#inner.remoteAddress;
  }
  get remotePort(): number {
    return this.#inner.remotePort;
  }
  get sendAddress(): string {
    return this.#inner.sendAddress;
  }
  get sendPort(): number {
    return this.#inner.sendPort;
  }
  get localAddress(): string {
    return this.#inner.localAddress;
  }
  get sendLocalAddress(): string {
    return this.#inner.sendLocalAddress;
  }
  get datagramBytes(): number {
    return this.#inner.datagramBytes;
  }
  get connectionId(): number {
    return this.#inner.connectionId;
  }
  get cwnd(): number {
    return this.#inner.cwnd;
  }
  get ssthresh(): number {
    return this.#inner.ssthresh;
  }
  get bytesInFlight(): number {
    return this.#inner.bytesInFlight;
  }
  get bytesHeld(): number {
    return this.#inner.bytesHeld;
  }
  get highWaterMark(): number {
    return this.#inner.highWaterMark;
  }
  get readableBytes(): number {
    return this.#inner.readableBytes;
  }
  get connected(): boolean {
    return this.#inner.connected;
  }
  get ended(): boolean {
    return this.#inner.ended;
  }
  get idle(): boolean {
    return this.#inner.idle;
  }
  get closed(): boolean {
    return this.#inner.closed;
  }
  get failure(): Failure | null {
    const { failure } = this.#inner;
    const onlyPlain = this.#plainSince < Number.POSITIVE_INFINITY && this.#offer.required;
    return this.#refused || (onlyPlain && failure === "handshake-timeout") ? "not-extended" : failure;
  }
  get decided(): boolean {
    return this.#inner === this.#classic ? this.#classic.hasExchanged || this.#classic.closed : this.#inner.decided;
  }
  get resetReason(): ResetReason | null {
    return this.#inner.resetReason;
  }
  get stats(): Readonly<ConnectionStats> {
    return this.#inner.stats;
  }
  get inFinWait(): boolean {
    return this.#inner.inFinWait;
  }
  get localTag(): number {
    return this.#inner.localTag;
  }
  get shortSegments(): ShortSegments {
    return this.#inner.shortSegments;
  }
  set shortSegments(value: ShortSegments) {
    this.#inner.shortSegments = value;
  }
  get silenceTimeoutMs(): number {
    return this.#inner.silenceTimeoutMs;
  }
  get lingers(): boolean {
    return this.#inner.lingers;
  }
  get keepAliveMs(): number {
    return this.#inner.keepAliveMs;
  }
  set keepAliveMs(value: number) {
    this.#inner.keepAliveMs = value;
  }

  open(now: number): void {
    this.#openedAt = now;
    this.#classic.open(now);
  }

  receive(arrival: Arrival): boolean {
    const { flags, acknowledgement } = arrival;
    const answersNonce = acknowledgement === this.#offer.nonce;
    if (this.#inner !== this.#classic) {
      return ((flags & SYN) === 0 || answersNonce) && this.#inner.receive(arrival);
    }
    if (answersNonce && !this.decided) {
      if (flags === (SYN | ACK)) return this.#becomeExtended(arrival);
      if (isSynRefusal(arrival) && !this.connected) {
        this.refusals++;
        return true;
      }
    }
    if (!this.connected && (this.#offer.required || this.expectsExtended)) return this.#receivePlain(arrival);
    return this.#inner.receive(arrival);
  }

  /** A plain answer where another one is expected: it may be forged, and the right one may be on its way. */
  #receivePlain(answer: Arrival): boolean {
    const { flags, acknowledgement, now } = answer;
    if ((flags & SYN) === 0 || (flags === (SYN | ACK) && acknowledgement !== this.#offer.synAcknowledgement))
      return false;
    this.#plainSince = Math.min(this.#plainSince, now);
    if (now < this.#plainSince + FALLBACK_WAIT_MS) return false;
    if (!this.#offer.required) return this.#inner.receive(answer);
    this.#refused = true;
    this.#classic.abort(now);
    return true;
  }

  receiveDuplicateSyn(): boolean {
    return false;
  }

  receiveStatelessReset(arrival: Arrival): boolean {
    return this.#inner.receiveStatelessReset(arrival);
  }

  expire(now: number): void {
    this.#inner.expire(now);
  }
  write(chunk: Uint8Array, now: number): boolean {
    return this.#inner.write(chunk, now);
  }
  end(now: number): void {
    this.#inner.end(now);
  }
  abort(now: number): void {
    this.#inner.abort(now);
  }
  refuse(now: number): void {
    this.#inner.refuse(now);
  }
  discardInput(now: number): void {
    this.#inner.discardInput(now);
  }
  admit(now: number): void {
    this.#inner.admit(now);
  }
  read(): Uint8Array | null {
    return this.#inner.read();
  }
  limitDatagrams(bytes: number, limitBytes: number, now: number): void {
    this.#inner.limitDatagrams(bytes, limitBytes, now);
  }
  changeLocalAddress(now: number): void {
    this.#inner.changeLocalAddress(now);
  }
  transmit(out: Uint8Array, now: number): number {
    return this.#inner.transmit(out, now);
  }
  deadline(): number {
    return this.#inner.deadline();
  }
  signals(): number {
    const signals = this.#inner.signals();
    if ((signals & Signal.connected) === 0) return signals;
    const again = this.#signalled;
    this.#signalled = true;
    return again ? signals & ~Signal.connected : signals;
  }

  #becomeExtended(synAck: Arrival): boolean {
    const { now } = synAck;
    const isLate = this.connected;
    const extended = this.#extend(synAck);
    extended.shortSegments = this.#classic.shortSegments;
    extended.takeOver(this.#classic.begun, isLate ? 0 : now - this.#openedAt, now);
    this.#inner = extended;
    return true;
  }
}

/** What an endpoint needs of its connections beyond what their owners do. */
export interface RoutedConnection extends Connection {
  readonly inFinWait: boolean;
  /** Which server it is with is certain. Until then answers with other IDs may belong to it. */
  readonly decided: boolean;
  /** It is closed, and repeats its RESET for a while when the peer goes on sending. */
  readonly lingers: boolean;
  /** What the second word of every packet for an extended connection is, wherever it comes from; -1 for a classic one. */
  readonly localTag: number;
  /** Handles a datagram with this connection's ID. False: it made no sense here and was ignored. */
  receive(arrival: Arrival): boolean;
  /** A SYN like the one this connection began with. False: it begins another connection. */
  receiveDuplicateSyn(syn: Arrival): boolean;
  /** Handles a datagram that may be its server's stateless reset. False: it is not. */
  receiveStatelessReset(arrival: Arrival): boolean;
}
