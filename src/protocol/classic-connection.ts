import type { Arrival } from "./arrival.js";
import { type Answers, type Begun, type ClassicConnectionOptions, FIN_ACK_DELAY_MS } from "./classic-options.js";
import { Tahoe } from "./congestion/tahoe.js";
import {
  type Connection,
  type ConnectionStats,
  emptyStats,
  type Failure,
  type ShortSegments,
  Signal,
} from "./connection.js";
import type { Edition, EditionName } from "./editions.js";
import { KEEP_ALIVES_PER_TIMEOUT } from "./extended/options.js";
import { BLOCK_BYTES, HEADER_BYTES, MAX_RECEIVE_GAPS } from "./limits.js";
import { ACK, answersSyn, emptyHeader, encodeHeader, FIN, type Header, makesSense, SYN } from "./packet.js";
import { ReceiveBuffer } from "./receive-buffer.js";
import { SendWindow } from "./send-window.js";
import { toPosition, toSequence } from "./sequence.js";
import { type TraceSink, traceReceived, traceSent } from "./trace.js";

const NEVER = Number.POSITIVE_INFINITY;
const HANDSHAKE_ACK_REPETITIONS = 3;

/** A connection of the classic protocol: handshake, Tahoe, go-back from the cumulative acknowledgement, FIN. */
export class ClassicConnection implements Connection {
  readonly role: "client" | "server";
  readonly remoteAddress: string;
  readonly remotePort: number;
  localAddress = "";
  connectionId: number;
  shortSegments: ShortSegments = "nagle";
  keepAliveMs = 0;
  readonly lingers = false;
  readonly localTag = -1;
  readonly decided = true;
  readonly refusals = 0;
  expectsExtended = false;
  failure: Failure | null = null;
  readonly resetReason = null;
  closed = false;
  readonly stats: ConnectionStats = emptyStats();
  datagramBytes = 0;

  readonly #edition: Edition;
  readonly silenceTimeoutMs: number;
  /** Nothing but a FIN is expected from the peer. */
  #sendOnly: boolean;
  #discardsInput = false;
  readonly #trace: TraceSink | null;
  readonly #offer: ClassicConnectionOptions["offer"];
  readonly #synBackoff: (attempt: number) => number;
  readonly #answers: Answers;
  /** Bytes that have come from the peer beyond those that were sent to it; Infinity where nothing depends on it. */
  #credit: number;
  #syns = 0;
  readonly #congestion: Tahoe;
  readonly #sent: Header = emptyHeader();
  #signals = 0;

  // Sending.
  readonly #isn: number;
  readonly #window: SendWindow;
  #writerWaits = false;
  #endRequested = false;
  #finSent = false;
  #finAcknowledged = false;
  #finRepeated = false;

  // Receiving, as positions of the peer.
  #peerIsn = 0;
  #peerSynReceived = false;
  readonly #receiveBuffer: ReceiveBuffer;
  #finReceived = false;
  /** The peer's FIN came before ours was sent: ours then answers it, and nothing is left to wait for. */
  #passiveClose = false;

  // What is to be sent at the next chance.
  #synDue = false;
  #ackDue = false;
  #finDue = false;
  #probeDue = false;

  // Timers: absolute times.
  #lastHeardAt = NEVER;
  #lastProbeAt = 0;
  #retransmitAt = NEVER;
  #finAckAt = NEVER;
  #finWaitEndsAt = NEVER;
  /** A client that waits for its server's data repeats the acknowledgement of the SYN|ACK, which may have been lost. */
  #ackAgainAt = NEVER;
  #acksAgain = 0;
  /** Our FIN is not repeated from then on. */
  #finGivenUpAt = NEVER;

  constructor(options: ClassicConnectionOptions) {
    this.role = options.role;
    this.remoteAddress = options.remoteAddress;
    this.remotePort = options.remotePort;
    this.connectionId = options.connectionId;
    this.#edition = options.edition;
    this.silenceTimeoutMs = options.silenceTimeoutMs ?? options.edition.silenceTimeoutMs;
    this.#sendOnly = options.sendOnly;
    this.#trace = options.trace;
    this.#offer = options.offer;
    this.#synBackoff = options.synBackoff;
    this.#answers = options.answers;
    this.#credit = options.answers === "unlimited" ? NEVER : 0;
    this.#congestion = new Tahoe(options.edition);
    const { receiveBufferBytes, memory, receiveBudget } = options;
    this.#receiveBuffer = new ReceiveBuffer(receiveBufferBytes, memory, BLOCK_BYTES, MAX_RECEIVE_GAPS, receiveBudget);
    this.#window = new SendWindow(options.memory);
    this.#isn = options.isn;
  }

  get edition(): EditionName {
    return this.#edition.name;
  }
  get cwnd(): number {
    return this.#congestion.cwnd;
  }
  get ssthresh(): number {
    return this.#congestion.ssthresh;
  }
  get bytesInFlight(): number {
    return this.#window.bytesInFlight;
  }
  get bytesHeld(): number {
    return this.#window.buffer.length;
  }
  get highWaterMark(): number {
    return this.#congestion.cwnd;
  }
  get readableBytes(): number {
    return this.#receiveBuffer.readableBytes;
  }
  get connected(): boolean {
    return this.#window.sndUna > 0 && this.#peerSynReceived;
  }
  get ended(): boolean {
    return this.#finReceived;
  }
  get sendAddress(): string {
    return this.remoteAddress;
  }
  get sendPort(): number {
    return this.remotePort;
  }
  get sendLocalAddress(): string {
    return this.localAddress;
  }
  get idle(): boolean {
    return this.#finReceived && this.#window.buffer.length === 0 && (this.#finAcknowledged || !this.#endRequested);
  }
  get inFinWait(): boolean {
    return this.#finWaitEndsAt !== NEVER;
  }
  /** Data or a FIN has arrived, either way. */
  get hasExchanged(): boolean {
    return this.#window.sndUna > 1 || this.#receiveBuffer.nextOffset > 0 || this.#finReceived;
  }
  /** What has been done so far, for a connection of another edition that follows this one's handshake. */
  get begun(): Begun {
    const { buffer } = this.#window;
    return { buffer, ended: this.#endRequested, writerWaits: this.#writerWaits, syns: this.#syns };
  }

  open(now: number): void {
    this.#lastHeardAt = now;
    this.#synDue = true;
  }

  write(chunk: Uint8Array, now: number): boolean {
    if (this.#endRequested) throw new Error("write() after end()");
    if (this.closed) return true;
    this.#expectAnswer(now);
    this.#window.buffer.append(chunk);
    if (this.#window.buffer.length >= this.cwnd) {
      this.#writerWaits = true;
      return false;
    }
    this.#window.buffer.own();
    return true;
  }

  end(now: number): void {
    this.#expectAnswer(now);
    this.#endRequested = true;
  }

  /** A peer that has ended is silent by right: its silence counts from when it has something to acknowledge again. */
  #expectAnswer(now: number): void {
    if (this.idle) this.#lastHeardAt = now;
  }

  /** There is one window for all. */
  admit(_now: number): void {}

  abort(_now: number): void {
    this.#close("aborted");
    this.#receiveBuffer.clear();
  }

  refuse(_now: number): void {
    if (this.closed || this.inFinWait) return;
    if (this.#finReceived && this.#window.buffer.length === 0) this.#endRegularly();
    else this.#close("refused");
  }

  discardInput(now: number): void {
    this.#sendOnly = true;
    this.#discardsInput = true;
    this.#receiveBuffer.clear();
    if (this.#finAcknowledged && !this.closed) this.#bothDirectionsDone(now);
  }

  read(): Uint8Array | null {
    return this.#receiveBuffer.read();
  }

  signals(): number {
    const signals = this.#signals;
    this.#signals = 0;
    return signals;
  }

  // ---- receiving -------------------------------------------------------------------------------------------------

  /** Accepts a client's SYN: the beginning of a server's connection. */
  accept(syn: Arrival): void {
    this.#peerIsn = syn.sequence;
    this.#peerSynReceived = true;
    this.#synDue = true;
    this.#credit += syn.datagram.length;
    this.#heard(syn);
  }

  /** The classic protocol has no resets. */
  receiveStatelessReset(): boolean {
    return false;
  }

  /** A SYN like the one this connection began with: its SYN|ACK is sent again. */
  receiveDuplicateSyn(syn: Arrival): boolean {
    if (this.inFinWait) return false;
    this.#credit += syn.datagram.length;
    this.#heard(syn);
    this.#synDue = true;
    return true;
  }

  changeLocalAddress(): void {}

  /** Segments have one size in an edition: where that does not leave this machine, nothing does. */
  limitDatagrams(bytes: number, limitBytes: number): void {
    if ((limitBytes || bytes - 1) < HEADER_BYTES + this.#edition.segmentBytes) this.#close("path-mtu");
  }

  /** Handles a datagram with this connection's ID from its peer. False: it made no sense here and was ignored. */
  receive(arrival: Arrival): boolean {
    this.#credit += arrival.datagram.length;
    const accepted = !this.closed && (this.connected ? this.#receive(arrival) : this.#meet(arrival));
    if (!accepted) this.stats.dropped++;
    return accepted;
  }

  /** Before the handshake is done. */
  #meet(arrival: Arrival): boolean {
    if (this.role === "server") {
      // A bare ACK, an ACK with data, or data at once: whatever comes with our ID answers our SYN|ACK.
      if (!makesSense(arrival, this.#edition.modulus) || (arrival.flags & SYN) !== 0) return false;
      if ((arrival.flags & ACK) !== 0) {
        if (this.#ackPosition(arrival) !== 1) return false;
        this.#onVerified();
      }
      this.#synIsAcknowledged();
      this.#becomeConnected();
      return this.#receive(arrival);
    }
    return this.#meetServer(arrival);
  }

  /** A client's handshake: SYN|ACK or, from some servers, an ACK and then a SYN, in either order. */
  #meetServer(answer: Arrival): boolean {
    const { flags } = answer;
    const { modulus, splitHandshake } = this.#edition;
    const ours = (flags & ACK) !== 0 && answer.acknowledgement === toSequence(1, this.#isn, modulus);
    if (this.#lastHeardAt === NEVER || !answersSyn(answer, ours, modulus, splitHandshake)) return false;
    this.#heard(answer);
    if (answer.connectionId !== 0) this.connectionId = answer.connectionId;
    if (ours) this.#synIsAcknowledged();
    if ((flags & SYN) !== 0) {
      this.#peerIsn = answer.sequence;
      this.#peerSynReceived = true;
      this.#ackDue = true;
    }
    if (this.connected) {
      if (this.#edition.synAckGrowsCwnd) this.#congestion.onAcknowledged();
      // A program that speaks nothing but the classic edition repeats what the course programs repeat.
      const waits = this.#offer !== undefined && !this.#sendOnly;
      if (waits) this.#ackAgainAt = answer.now + this.#edition.retransmitTimeoutMs;
      this.#becomeConnected();
    }
    return true;
  }

  /** A datagram of a connection whose handshake is done. */
  #receive(arrival: Arrival): boolean {
    const { flags } = arrival;
    if (!makesSense(arrival, this.#edition.modulus)) return false;
    if (this.#discardsInput && (flags & (ACK | FIN)) === 0) return false;
    if (this.#finWaitEndsAt !== NEVER && (flags & FIN) === 0) return false;
    if ((flags & SYN) !== 0) {
      // The peer has not seen our ACK of its SYN|ACK.
      if (this.role !== "client" || arrival.sequence !== this.#peerIsn) return false;
      this.#heard(arrival);
      this.#ackDue = true;
      return true;
    }
    this.#heard(arrival);
    if ((flags & ACK) !== 0) this.#receiveAck(arrival);
    if (this.closed) return true;
    if ((flags & FIN) !== 0) this.#receiveFin(arrival);
    // A server's data never comes with an A, a client's first may: it is the leftovers of a buffer that some servers echo.
    else if (arrival.datagram.length > HEADER_BYTES && !((flags & ACK) !== 0 && this.role === "client"))
      this.#receiveData(arrival);
    else if ((flags & ACK) === 0) this.#ackDue = true;
    return true;
  }

  #receiveAck(arrival: Arrival): void {
    const { now } = arrival;
    const window = this.#window;
    const position = this.#isFinalAck(arrival) ? window.dataEnd + 1 : this.#ackPosition(arrival);
    // Any other number within the window is easier to guess.
    if (position === window.sndMax) this.#onVerified();
    if (position <= window.sndUna || position > window.sndMax) return;
    this.stats.bytesAcknowledged += window.acknowledge(position);
    this.#congestion.onAcknowledged();
    this.#retransmitAt = window.sndNxt > position ? now + this.#edition.retransmitTimeoutMs : NEVER;
    if (position > window.dataEnd) this.#finIsAcknowledged(now);
    this.#wakeWriter();
  }

  /**
   * Some course clients acknowledge a server's FIN with the FIN's own number, and then wait. A bare ACK with the number
   * behind the client's FIN is its last packet, so it acknowledges ours. Where this side has sent data it may be a late
   * acknowledgement of that, until the FIN has been repeated.
   */
  #isFinalAck({ flags, sequence, datagram }: Arrival): boolean {
    if (flags !== ACK || datagram.length > HEADER_BYTES || !this.#passiveClose || !this.#finSent) return false;
    if (this.#window.dataEnd > 1 && !this.#finRepeated) return false;
    return sequence === this.#acknowledgement(false);
  }

  #ackPosition(header: Header): number {
    return toPosition(header.acknowledgement, this.#isn, this.#edition.modulus, this.#window.sndUna);
  }

  #receiveData({ sequence, datagram }: Arrival): void {
    this.#ackDue = true;
    const buffer = this.#receiveBuffer;
    const expected = buffer.nextOffset;
    const position = toPosition(sequence, this.#peerIsn, this.#edition.modulus, expected + 1);
    const offset = position - 1;
    const data = datagram.subarray(HEADER_BYTES);
    if (this.#finReceived || offset + data.length <= expected) return;
    this.#ackAgainAt = NEVER;
    if (!buffer.insert(offset, data)) this.stats.overflows++;
    if (buffer.nextOffset > expected) {
      this.stats.bytesReceived += buffer.nextOffset - expected;
      this.#signals |= Signal.readable;
    }
  }

  #receiveFin({ sequence, now }: Arrival): void {
    const expected = this.#receiveBuffer.nextOffset + 1;
    const position = toPosition(sequence, this.#peerIsn, this.#edition.modulus, expected);
    if (this.#finReceived || position !== expected) {
      // Ahead of missing data: a duplicate ACK. Known already: our answer was lost, so it is repeated.
      if (this.#finReceived && this.#passiveClose && this.#finSent && !this.#finAcknowledged) this.#finDue = true;
      else if (this.#finAckAt === NEVER) this.#ackDue = true;
      return;
    }
    this.#finReceived = true;
    this.#ackAgainAt = NEVER;
    this.#passiveClose = !this.#finSent;
    this.#signals |= Signal.readable;
    if (this.#endRequested) this.#ackDue = true;
    else this.#finAckAt = now + FIN_ACK_DELAY_MS;
    if (this.#finAcknowledged) this.#bothDirectionsDone(now);
  }

  #finIsAcknowledged(now: number): void {
    this.#finAcknowledged = true;
    this.#signals |= Signal.finished;
    if (this.#finReceived || this.#sendOnly) this.#bothDirectionsDone(now);
  }

  /** TIME-WAIT for the side that closed first; nothing is left to do for the other (RFC 9293 section 3.6). */
  #bothDirectionsDone(now: number): void {
    if (this.#passiveClose) this.#close(null);
    else if (this.#finWaitEndsAt === NEVER) this.#finWaitEndsAt = now + this.#edition.finWaitMs;
  }

  #becomeConnected(): void {
    this.#signals |= Signal.connected;
    this.#wakeWriter();
  }

  #synIsAcknowledged(): void {
    this.#window.acknowledge(1);
    this.#synDue = false;
    this.#retransmitAt = NEVER;
  }

  #heard(arrival: Arrival): void {
    this.#lastHeardAt = arrival.now;
    this.localAddress = arrival.localAddress;
    this.stats.datagramsReceived++;
    if (this.#trace !== null) this.#trace(traceReceived(arrival, this.cwnd, this.ssthresh));
  }

  /** Who acknowledges a number that nobody can guess has received it. */
  #onVerified(): void {
    if (this.#answers === "limited-until-verified") this.#credit = NEVER;
  }

  #wakeWriter(): void {
    if (!this.#writerWaits || this.#window.buffer.length >= this.cwnd) return;
    this.#writerWaits = false;
    this.#window.buffer.own();
    this.#signals |= Signal.writable;
  }

  // ---- sending ---------------------------------------------------------------------------------------------------

  transmit(out: Uint8Array, now: number): number {
    if (this.closed || this.#credit < HEADER_BYTES) return 0;
    if (this.#synDue) return this.#sendSyn(out, now);
    if (!this.connected) return 0;
    // A FIN of ours that answers the peer's carries the acknowledgement; before that, what is owed goes first.
    if ((this.#finDue || this.#finIsNext()) && (this.#finReceived || !this.#ackDue)) return this.#sendFin(out, now);
    const window = this.#window;
    const { segmentBytes } = this.#edition;
    const next = window.nextSegmentLength(segmentBytes, this.cwnd, this.#endRequested, this.shortSegments);
    const length = this.#affordable(next);
    if (this.#ackDue) {
      this.#ackDue = false;
      this.#finAckAt = NEVER;
      // The first data may ride on the ACK of the handshake; every other acknowledgement travels alone.
      const rides = this.role === "client" && length > 0 && window.sndMax === 1;
      return rides ? this.#sendSegment(out, length, ACK, now) : this.#send(out, window.sndNxt, ACK, 0, false);
    }
    if (length > 0) return this.#sendSegment(out, length, 0, now);
    if (this.#probeDue) {
      this.#probeDue = false;
      return this.#send(out, this.#window.sndNxt, 0, 0, false);
    }
    return 0;
  }

  /**
   * How much of a segment may be sent. A shorter one makes a client acknowledge something, and so show where it is; where nothing
   * shows that, the segment waits.
   */
  #affordable(length: number): number {
    const most = this.#credit - HEADER_BYTES;
    if (length <= most) return length;
    return this.#answers === "limited-until-verified" ? most : 0;
  }

  #finIsNext(): boolean {
    return this.#endRequested && !this.#finSent && this.#window.sndUna === this.#window.dataEnd;
  }

  #sendSyn(out: Uint8Array, now: number): number {
    this.#synDue = false;
    const window = this.#window;
    const duplicate = window.sndMax > 0;
    if (window.sndUna === 0) {
      this.#retransmitAt = now + this.#edition.retransmitTimeoutMs * this.#synBackoff(this.#syns);
      window.sentUpTo(1);
    }
    if (this.role === "server") return this.#send(out, 0, SYN | ACK, 0, duplicate);
    const offer = this.#offer?.(this.#syns) ?? null;
    this.#syns++;
    const length = this.#send(out, 0, SYN | (offer?.bits ?? 0), 0, duplicate);
    // The log has it as the classic edition does.
    if (offer !== null) encodeHeader(out, this.#isn, offer.nonce, 0, SYN | offer.bits);
    return length;
  }

  #sendSegment(out: Uint8Array, length: number, flags: number, now: number): number {
    const window = this.#window;
    const position = window.sndNxt;
    const duplicate = position < window.sndMax;
    window.buffer.copy(position - 1, length, out, HEADER_BYTES);
    window.sentUpTo(position + length);
    if (this.#retransmitAt === NEVER) this.#retransmitAt = now + this.#edition.retransmitTimeoutMs;
    return this.#send(out, position, flags, length, duplicate);
  }

  /** A FIN that answers the peer's also acknowledges it: the course servers' ACK|FIN. */
  #sendFin(out: Uint8Array, now: number): number {
    const duplicate = this.#finSent;
    if (!duplicate) this.#finGivenUpAt = now + this.silenceTimeoutMs;
    this.#finRepeated = duplicate;
    this.#finSent = true;
    this.#finDue = false;
    const position = this.#window.dataEnd;
    this.#window.sentUpTo(position + 1);
    this.#retransmitAt = now + this.#edition.retransmitTimeoutMs;
    let flags = FIN;
    if (this.#finReceived) {
      flags |= ACK;
      this.#ackDue = false;
      this.#finAckAt = NEVER;
    }
    return this.#send(out, position, flags, 0, duplicate);
  }

  #send(out: Uint8Array, position: number, bits: number, length: number, duplicate: boolean): number {
    const { modulus } = this.#edition;
    const sent = this.#sent;
    const flags = bits & (ACK | SYN | FIN);
    sent.sequence = toSequence(position, this.#isn, modulus);
    sent.acknowledgement = (flags & ACK) === 0 ? 0 : this.#acknowledgement((flags & SYN) !== 0);
    sent.connectionId = this.connectionId;
    sent.flags = flags;
    encodeHeader(out, sent.sequence, sent.acknowledgement, sent.connectionId, bits);
    this.stats.datagramsSent++;
    if (duplicate) this.stats.retransmissions++;
    if (this.#trace !== null) this.#trace(traceSent(sent, this.cwnd, this.ssthresh, duplicate));
    this.datagramBytes = HEADER_BYTES + length;
    this.#credit -= this.datagramBytes;
    return this.datagramBytes;
  }

  /** The next position expected; a SYN|ACK says the same however late it is repeated. */
  #acknowledgement(inSyn: boolean): number {
    const position = inSyn ? 1 : this.#receiveBuffer.nextOffset + (this.#finReceived ? 2 : 1);
    return toSequence(position, this.#peerIsn, this.#edition.modulus);
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  deadline(): number {
    if (this.closed) return NEVER;
    const repeatsAt = Math.min(this.#retransmitAt, this.#ackAgainAt);
    return Math.min(repeatsAt, this.#finAckAt, this.#finWaitEndsAt, this.#silenceAt(), this.#probeAt());
  }

  expire(now: number): void {
    if (this.closed) return;
    if (this.#finWaitEndsAt <= now) this.#close(null);
    else if (this.#silenceAt() <= now) this.#giveUp();
    if (this.closed) return;
    if (this.#finAckAt <= now) {
      this.#finAckAt = NEVER;
      this.#ackDue = true;
    }
    if (this.#ackAgainAt <= now) this.#acknowledgeAgain(now);
    if (this.#retransmitAt <= now) this.#retransmit(now);
    if (this.#probeAt() <= now) {
      this.#probeDue = true;
      this.#lastProbeAt = now;
    }
  }

  #silenceAt(): number {
    return this.inFinWait || this.idle ? NEVER : this.#lastHeardAt + this.silenceTimeoutMs;
  }

  /** No course program knows a probe behind a FIN. A peer that has ended and answers none is not asked for ever. */
  #probeAt(): number {
    if (this.keepAliveMs === 0 || !this.connected || this.inFinWait) return NEVER;
    if (this.#finSent && this.#finReceived) return NEVER;
    const everyMs = Math.min(this.keepAliveMs, this.silenceTimeoutMs / KEEP_ALIVES_PER_TIMEOUT);
    const at = Math.max(this.#lastHeardAt, this.#lastProbeAt) + everyMs;
    return this.idle && at >= this.#lastHeardAt + this.silenceTimeoutMs ? NEVER : at;
  }

  /** A server that sends no more than came before it knows where its client is would wait for the first acknowledgement for ever. */
  #acknowledgeAgain(now: number): void {
    const again = ++this.#acksAgain;
    this.#ackDue = true;
    this.#ackAgainAt = again < HANDSHAKE_ACK_REPETITIONS ? now + this.#edition.retransmitTimeoutMs * 2 ** again : NEVER;
  }

  #retransmit(now: number): void {
    this.stats.timeouts++;
    this.#retransmitAt = now + this.#edition.retransmitTimeoutMs;
    if (this.#window.sndUna === 0) this.#synDue = true;
    else if (this.#finSent) this.#repeatFin(now);
    else {
      this.#congestion.onTimeout();
      this.#window.goBack();
    }
  }

  /** A peer that acknowledges something else again and again gets no more of them than a silent one. */
  #repeatFin(now: number): void {
    if (now < this.#finGivenUpAt) this.#finDue = true;
    else if (this.#finReceived) this.#giveUp();
    else this.#retransmitAt = NEVER;
  }

  /**
   * The peer has been silent for too long. After the peer's own FIN, or ours being acknowledged by a peer that never had
   * anything to say (some course servers send no FIN), that is a regular end: nothing can be missing.
   */
  #giveUp(): void {
    const nothingMissing =
      (this.#finReceived && this.#finSent) || (this.#finAcknowledged && this.#receiveBuffer.nextOffset === 0);
    if (!nothingMissing) {
      const onlyFin = this.#finSent && !this.#finAcknowledged;
      this.#close(!this.connected ? "handshake-timeout" : onlyFin ? "fin-unanswered" : "peer-silent");
      return;
    }
    if (!this.#finReceived) this.#signals |= Signal.readable;
    this.#finReceived = true;
    this.#endRegularly();
  }

  /** Every byte of both directions has arrived: at most the acknowledgement of our FIN is missing. */
  #endRegularly(): void {
    if (this.#endRequested && !this.#finAcknowledged) {
      this.#signals |= Signal.finished;
      this.#finAcknowledged = true;
    }
    this.#close(null);
  }

  #close(failure: Failure | null): void {
    if (this.closed) return;
    this.closed = true;
    this.failure = failure;
    this.#signals |= Signal.closed;
    this.#receiveBuffer.close();
  }
}
