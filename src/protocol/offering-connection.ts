import type { Arrival } from "./arrival.js";
import type { ClassicConnection } from "./classic-connection.js";
import type { Connection, ConnectionStats, Failure, ResetReason, ShortSegments } from "./connection.js";
import type { EditionName } from "./editions.js";
import type { ExtendedConnection } from "./extended/connection.js";
import { isOffer } from "./extended/wire.js";
import { ACK, SYN } from "./packet.js";

/**
 * A client's connection that offers the extended edition in its SYN. Until the server has answered it is a classic one,
 * which a plain SYN|ACK leaves it; a SYN|ACK that accepts makes it an extended one.
 */
export class OfferingConnection implements Connection {
  readonly role = "client";
  readonly #classic: ClassicConnection;
  readonly #required: boolean;
  readonly #synAcknowledgement: number;
  readonly #extend: (synAck: Arrival) => ExtendedConnection;
  #inner: ClassicConnection | ExtendedConnection;
  #decided = false;
  #openedAt = 0;
  #refused = false;

  /** `synAcknowledgement` is what the SYN|ACK must acknowledge; `extend` makes the connection that an accepting one begins. */
  constructor(
    classic: ClassicConnection,
    required: boolean,
    synAcknowledgement: number,
    extend: (synAck: Arrival) => ExtendedConnection,
  ) {
    this.#classic = this.#inner = classic;
    this.#required = required;
    this.#synAcknowledgement = synAcknowledgement;
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
    return this.#refused ? "not-extended" : this.#inner.failure;
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
    if (!this.#decided && arrival.flags === (SYN | ACK) && arrival.acknowledgement === this.#synAcknowledgement) {
      this.#decided = true;
      if (isOffer(arrival.bits)) return this.#becomeExtended(arrival);
      if (this.#required) {
        this.#refused = true;
        this.#classic.abort(arrival.now);
        return true;
      }
    }
    return this.#inner.receive(arrival);
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
    return this.#inner.signals();
  }

  #becomeExtended(synAck: Arrival): boolean {
    const { now } = synAck;
    const extended = this.#extend(synAck);
    extended.shortSegments = this.#classic.shortSegments;
    extended.takeOver(this.#classic.begun, now - this.#openedAt, now);
    this.#inner = extended;
    return true;
  }
}

/** What an endpoint needs of its connections beyond what their owners do. */
export interface RoutedConnection extends Connection {
  readonly inFinWait: boolean;
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
