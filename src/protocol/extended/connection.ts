import type { ControllerName } from "../congestion/index.js";
import {
  type Connection,
  type ConnectionStats,
  emptyStats,
  type Failure,
  type ShortSegments,
  Signal,
} from "../connection.js";
import {
  BASE_DATAGRAM_BYTES,
  HEADER_BYTES,
  MAX_BURST_BYTES,
  MAX_BURST_DATAGRAMS,
  MAX_SACK_BLOCKS,
  MAX_SACK_BLOCKS_WITH_DATA,
} from "../limits.js";
import { encodeHeader, type Header } from "../packet.js";
import type { SendBuffer } from "../send-buffer.js";
import { toSequence } from "../sequence.js";
import { type TracedHeader, type TraceSink, traceReceived, traceSent } from "../trace.js";
import { PathMtu } from "./pmtu.js";
import { Receiver } from "./receiver.js";
import { BLACK_HOLE_TIMEOUTS, SEQUENCE_MODULUS, Sender } from "./sender.js";
import type { SentSegment } from "./sent-segments.js";
import {
  ACK,
  DATA,
  DATA_HEADER_BYTES,
  decodePacket,
  EXTENDED_HEADER_BYTES,
  emptyPacket,
  FIN,
  HELLO,
  HELLO_BYTES,
  OFFER_BITS,
  type Packet,
  PacketWriter,
  PING,
  PROBE,
  PROBE_ANSWER,
  RESET,
  SYN,
  toWireTime,
} from "./wire.js";

const NEVER: number = Number.POSITIVE_INFINITY;

/** A peer that says nothing for so long is given up. */
export const SILENCE_TIMEOUT_MS = 10_000;
/** A silent peer is asked for a sign of life this often, so that an idle connection lives on. */
const KEEP_ALIVE_MS = 3000;
/** How long late FINs are answered after everything is done. */
const FIN_WAIT_MS = 2000;
/** A path probe that is not answered is repeated; a path MTU probe waits at least this long for its answer. */
const MIN_PROBE_TIMEOUT_MS = 100;
/** The backpressure of a socket: one window in flight, one waiting to keep the pipe full. */
const WINDOWS_HELD = 2;
/** Reset codes (docs/protocol.md). */
const RESET_ABORTED = 1;

export interface ExtendedConnectionOptions {
  readonly role: "client" | "server";
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly connectionId: number;
  /** The SYN's sequence number, which its duplicates have too. */
  readonly synSequence: number;
  /** What a server's SYN|ACK acknowledges the SYN with: the next number in the classic edition's space. */
  readonly synAcknowledgement: number;
  /** The verification tags: what is sent to us carries ours. Each is its side's initial sequence number too. */
  readonly localTag: number;
  /** A server learns its client's from the HELLO. */
  readonly remoteTag: number;
  readonly windowBytes: number;
  readonly maxDatagramBytes: number;
  readonly congestion: ControllerName;
  readonly sendOnly: boolean;
  /** In [0, 1). */
  readonly random: () => number;
  readonly trace: TraceSink | null;
}

/** A nonce that was sent and is to come back. */
interface Challenge {
  high: number;
  low: number;
}

/** A probe that is to be answered, to where it came from. */
interface ProbeAnswer {
  readonly challenge: Challenge;
  readonly bytes: number;
  readonly address: string;
  readonly port: number;
}

/** An address that the peer may have moved to, and the nonce that is to prove it. */
interface NewPath {
  readonly address: string;
  readonly port: number;
  readonly challenge: Challenge;
  due: boolean;
}

/** A connection of the extended edition (docs/protocol.md), from the SYN|ACK on. */
export class ExtendedConnection implements Connection {
  readonly role: "client" | "server";
  readonly edition = "extended";
  remoteAddress: string;
  remotePort: number;
  sendAddress: string;
  sendPort: number;
  readonly connectionId: number;
  readonly stats: ConnectionStats = emptyStats();
  datagramBytes = 0;
  keepAliveMs: number = KEEP_ALIVE_MS;
  connected = false;
  closed = false;
  failure: Failure | null = null;
  readonly peerIsn: number;

  readonly #options: ExtendedConnectionOptions;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #pmtu: PathMtu;
  readonly #packet: Packet = emptyPacket();
  readonly #writer = new PacketWriter();
  #remoteTag: number;
  #signals = 0;
  #writerWaits = false;
  #sendOnly: boolean;
  #discardsInput = false;
  #finished = false;
  #passiveClose = false;

  // What is to be sent at the next chance.
  #synAckDue = false;
  #resetDue = false;
  #pingDue = false;
  /** The client introduces itself in every packet until the server has answered one. */
  #introducing: boolean;
  #answer: ProbeAnswer | null = null;
  #pmtuNonce: Challenge | null = null;
  #newPath: NewPath | null = null;
  /** A tail was held back at this position and the peer asked to acknowledge: once is enough. */
  #askedAt = -1;

  #openedAt: number;
  #synAcks = 0;
  #lastHeardAt: number;
  #lastAskedAt: number;
  #pacedAt = NEVER;
  #finWaitEndsAt = NEVER;

  constructor(options: ExtendedConnectionOptions, now: number) {
    this.#options = options;
    this.role = options.role;
    this.remoteAddress = this.sendAddress = options.remoteAddress;
    this.remotePort = this.sendPort = options.remotePort;
    this.connectionId = options.connectionId;
    this.peerIsn = options.synSequence;
    this.#remoteTag = options.remoteTag;
    this.#sendOnly = options.sendOnly;
    this.#introducing = options.role === "client";
    this.#openedAt = this.#lastHeardAt = this.#lastAskedAt = now;
    this.#receiver = new Receiver(options.windowBytes);
    this.#pmtu = new PathMtu(options.maxDatagramBytes);
    this.#sender = new Sender({
      isn: options.localTag,
      segmentBytes: BASE_DATAGRAM_BYTES - DATA_HEADER_BYTES,
      congestion: options.congestion,
      random: options.random,
      stats: this.stats,
    });
    if (options.role === "client") this.#becomeConnected();
    else this.#synAckDue = true;
  }

  get cwnd(): number {
    return this.#sender.cwnd;
  }
  get ssthresh(): number {
    return this.#sender.controller.ssthresh;
  }
  get bytesInFlight(): number {
    return this.#sender.bytesInFlight;
  }
  get bytesHeld(): number {
    return this.#sender.buffer.length;
  }
  get highWaterMark(): number {
    return WINDOWS_HELD * this.#sender.cwnd;
  }
  get readableBytes(): number {
    return this.#receiver.buffer.readableBytes;
  }
  get ended(): boolean {
    return this.#receiver.finReceived;
  }
  get inFinWait(): boolean {
    return this.#finWaitEndsAt !== NEVER;
  }
  get shortSegments(): ShortSegments {
    return this.#sender.shortSegments;
  }
  set shortSegments(value: ShortSegments) {
    this.#sender.shortSegments = value;
  }

  /** What the handshake's connection was given before it was known that this one follows. */
  takeOver(buffer: SendBuffer, ended: boolean, writerWaits: boolean, handshakeMs: number, now: number): void {
    this.#sender.adopt(buffer);
    this.#sender.ended = ended;
    this.#writerWaits = writerWaits;
    if (handshakeMs > 0) this.#sender.onHandshake(handshakeMs, now);
    this.#wakeWriter();
  }

  open(): void {}

  write(chunk: Uint8Array): boolean {
    if (this.#sender.ended) throw new Error("write() after end()");
    if (this.closed) return true;
    this.#sender.buffer.append(chunk);
    if (this.bytesHeld >= this.highWaterMark) {
      this.#writerWaits = true;
      return false;
    }
    this.#sender.buffer.own();
    return true;
  }

  end(): void {
    this.#sender.ended = true;
  }

  abort(): void {
    if (this.closed) return;
    this.#resetDue = this.#remoteTag !== 0;
    this.#close("aborted");
  }

  discardInput(now: number): void {
    this.#sendOnly = this.#discardsInput = true;
    this.#receiver.buffer.clear();
    if (this.#finished && !this.closed) this.#bothDirectionsDone(now);
  }

  read(): Uint8Array | null {
    const bytes = this.#receiver.buffer.read();
    if (bytes !== null) this.#receiver.afterRead();
    return bytes;
  }

  signals(): number {
    const signals = this.#signals;
    this.#signals = 0;
    return signals;
  }

  // ---- receiving -------------------------------------------------------------------------------------------------

  /** The SYN came again: so does the SYN|ACK. */
  receiveDuplicateSyn(_header: Header, now: number): void {
    if (!this.connected) this.#lastHeardAt = now;
    this.#synAckDue = true;
  }

  /** Handles a datagram with this connection's ID, from wherever it came. False: nothing in it made sense here. */
  receive(header: Header, datagram: Uint8Array, now: number, address: string, port: number): boolean {
    if (this.closed) return false;
    if ((header.flags & SYN) !== 0) return this.#receiveSynAck(header, now);
    let understood = false;
    for (let at = 0; at < datagram.length; ) {
      const next = decodePacket(datagram, at, this.#packet);
      if (next === 0 || !this.#accepts(this.#packet)) break;
      understood = true;
      this.#receivePacket(this.#packet, address, port, now);
      if (this.closed) break;
      at = next;
    }
    if (!understood) this.stats.dropped++;
    return understood;
  }

  /** The SYN|ACK again: our introduction was lost. */
  #receiveSynAck(header: Header, now: number): boolean {
    if (this.role !== "client" || header.sequence !== this.#remoteTag) return false;
    this.#lastHeardAt = now;
    this.#pingDue = true;
    return true;
  }

  #accepts(packet: Packet): boolean {
    if (packet.tag !== this.#options.localTag) return false;
    return this.connected || (packet.bits & HELLO) !== 0;
  }

  #receivePacket(packet: Packet, address: string, port: number, now: number): void {
    const { bits } = packet;
    this.stats.datagramsReceived++;
    this.#lastHeardAt = now;
    this.#introducing = false;
    if (!this.connected) this.#meet(packet, now);
    if (address !== this.remoteAddress || port !== this.remotePort) this.#suspectMove(address, port);
    if (this.#options.trace !== null) this.#options.trace(this.#traceReceived(packet));
    if ((bits & RESET) !== 0) {
      this.#close("reset");
      return;
    }
    if ((bits & ACK) !== 0) this.#receiveAck(packet, now);
    if ((bits & PROBE) !== 0) this.#receiveProbe(packet, address, port);
    if ((bits & PROBE_ANSWER) !== 0) this.#receiveProbeAnswer(packet, now);
    if ((bits & DATA) !== 0) this.#receiveData(packet, now);
    if ((bits & PING) !== 0) this.#receiver.ackDue = true;
  }

  /** A server hears of its client: the handshake is done. */
  #meet(packet: Packet, now: number): void {
    this.#remoteTag = packet.helloTag;
    if (this.#synAcks === 1) this.#sender.onHandshake(now - this.#openedAt, now);
    this.#synAckDue = false;
    this.#becomeConnected();
  }

  #becomeConnected(): void {
    this.connected = true;
    this.#receiver.isn = this.#remoteTag;
    this.#pmtu.start();
    this.#signals |= Signal.connected;
    // Without data the introduction travels alone.
    this.#pingDue = this.#introducing;
  }

  #receiveAck(packet: Packet, now: number): void {
    const sender = this.#sender;
    if (!sender.receiveAck(packet, now)) return;
    if (sender.finAcknowledged && !this.#finished) {
      this.#finished = true;
      this.#signals |= Signal.finished;
      if (this.#receiver.finReceived || this.#sendOnly) this.#bothDirectionsDone(now);
    }
    this.#wakeWriter();
  }

  #receiveData(packet: Packet, now: number): void {
    const receiver = this.#receiver;
    const fin = (packet.bits & FIN) !== 0;
    if (this.#discardsInput && packet.data.length > 0) {
      // Nobody will read this. The peer must not take it for read (RFC 9293 section 3.6.1 says the same of TCP).
      if (this.#finished) this.#resetDue = true;
      return;
    }
    const before = receiver.finReceived;
    if (receiver.receive(packet, fin, now)) this.#signals |= Signal.readable;
    this.stats.bytesReceived = receiver.bytesReceived;
    if (receiver.finReceived && !before) {
      this.#passiveClose = this.#sender.sndNxt <= this.#sender.dataEnd;
      if (this.#finished) this.#bothDirectionsDone(now);
    }
  }

  #receiveProbe(packet: Packet, address: string, port: number): void {
    const challenge = { high: packet.nonceHigh, low: packet.nonceLow };
    this.#answer = { challenge, bytes: packet.probeBytes, address, port };
  }

  #receiveProbeAnswer(packet: Packet, now: number): void {
    const isAnswerTo = (challenge: Challenge | undefined | null) =>
      challenge?.high === packet.nonceHigh && challenge.low === packet.nonceLow;
    if (isAnswerTo(this.#newPath?.challenge)) this.#move(now);
    else if (isAnswerTo(this.#pmtuNonce)) {
      this.#pmtuNonce = null;
      if (this.#pmtu.onProbeArrived(packet.probeBytes, now)) this.#resize();
    }
  }

  /** Something valid came from elsewhere: the peer's address may have changed, or somebody repeats what it overheard. */
  #suspectMove(address: string, port: number): void {
    if (this.#newPath?.address === address && this.#newPath.port === port) return;
    this.#newPath = { address, port, challenge: this.#nonce(), due: true };
  }

  /** The peer has answered from its new address (as RFC 9000 section 9.3). What is known of the old path counts no more. */
  #move(now: number): void {
    const { address, port } = this.#newPath as NewPath;
    this.#newPath = null;
    this.remoteAddress = address;
    this.remotePort = port;
    this.#signals |= Signal.moved;
    this.#pmtu.onNewPath(this.#options.maxDatagramBytes);
    this.#sender.onNewPath(now);
    this.#resize();
  }

  #resize(): void {
    this.#sender.setSegmentBytes(this.#pmtu.currentBytes - DATA_HEADER_BYTES);
  }

  #wakeWriter(): void {
    if (!this.#writerWaits || this.bytesHeld >= this.highWaterMark) return;
    this.#writerWaits = false;
    this.#sender.buffer.own();
    this.#signals |= Signal.writable;
  }

  // ---- sending ---------------------------------------------------------------------------------------------------

  transmit(out: Uint8Array, now: number): number {
    this.sendAddress = this.remoteAddress;
    this.sendPort = this.remotePort;
    if (this.#resetDue) return this.#sendReset(out);
    if (this.closed) return 0;
    if (this.#synAckDue) return this.#sendSynAck(out);
    if (!this.connected) return 0;
    if (this.#answer !== null) return this.#sendProbeAnswer(out);
    if (this.#newPath?.due) return this.#sendChallenge(out);
    if (this.#pmtu.dueBytes > 0 && this.#pmtu.dueBytes <= out.length) return this.#sendPmtuProbe(out, now);
    return this.#sendBurst(out, now);
  }

  /** As many equal datagrams as may leave now; only the last may be shorter. */
  #sendBurst(out: Uint8Array, now: number): number {
    const full = this.#pmtu.currentBytes;
    const most = Math.max(1, Math.min(MAX_BURST_DATAGRAMS, Math.floor(Math.min(out.length, MAX_BURST_BYTES) / full)));
    let at = 0;
    for (let i = 0; i < most; i++) {
      const length = this.#sendPacket(out, at, now, i === 0);
      at += length;
      if (i === 0) this.datagramBytes = length;
      if (length < full) break;
    }
    this.#pacedAt = NEVER;
    if (at === 0) {
      this.#sender.noteIfAppLimited();
      this.#pacedAt = this.#sender.pacedUntil(now);
    }
    return at;
  }

  /** A packet of what there is: introduction, acknowledgement, data. 0 when there is nothing. */
  #sendPacket(out: Uint8Array, at: number, now: number, first: boolean): number {
    const sender = this.#sender;
    const receiver = this.#receiver;
    const owed = receiver.ackDue || receiver.ackAt !== NEVER;
    let room = this.#pmtu.currentBytes - DATA_HEADER_BYTES;
    if (this.#introducing) room -= HELLO_BYTES;
    const ackBytes = owed && first ? receiver.ackBytes(MAX_SACK_BLOCKS_WITH_DATA) : 0;
    const segment = sender.next(room - ackBytes, now);
    if (segment === null && !receiver.ackDue && !this.#pingDue) {
      if (!sender.holdsBack || this.#askedAt === sender.sndNxt) return 0;
      // Something waits for an acknowledgement to be joined by more: it need not wait for the peer's timer too.
      this.#askedAt = sender.sndNxt;
      this.#pingDue = true;
    }
    let bits = this.#introducing ? HELLO : 0;
    const withAck = segment === null ? receiver.ackDue : ackBytes > 0;
    if (withAck) bits |= ACK;
    if (segment !== null) bits |= DATA | (segment.end > sender.dataEnd ? FIN : 0);
    if (this.#pingDue || (segment !== null && sender.windowIsFull)) bits |= PING;
    return this.#encode(out, at, bits, segment, now);
  }

  #encode(out: Uint8Array, at: number, bits: number, segment: SentSegment | null, now: number): number {
    const sender = this.#sender;
    const writer = this.#writer;
    const start = segment?.start ?? sender.sndNxt;
    this.#begin(out, at, bits, start);
    if ((bits & HELLO) !== 0) writer.hello(this.#options.localTag);
    if ((bits & ACK) !== 0) {
      const blocks = segment === null ? MAX_SACK_BLOCKS : MAX_SACK_BLOCKS_WITH_DATA;
      this.#receiver.writeAck(writer, blocks, now);
    }
    if (segment !== null) {
      writer.uint32(toWireTime(now));
      const bytes = Math.min(segment.end, sender.dataEnd) - start;
      if (bytes > 0) sender.buffer.copy(start - 1, bytes, out, writer.at);
      writer.skip(bytes);
    }
    this.#pingDue = false;
    const again = segment !== null && segment.transmissions > 1;
    return this.#finish(bits, start, again);
  }

  #sendSynAck(out: Uint8Array): number {
    this.#synAckDue = false;
    this.#synAcks++;
    const { localTag, synAcknowledgement, connectionId } = this.#options;
    encodeHeader(out, localTag, synAcknowledgement, connectionId, SYN | ACK | OFFER_BITS);
    this.datagramBytes = HEADER_BYTES;
    this.stats.datagramsSent++;
    return HEADER_BYTES;
  }

  #sendReset(out: Uint8Array): number {
    this.#resetDue = false;
    this.#begin(out, 0, RESET, this.#sender.sndNxt);
    this.#writer.uint16(RESET_ABORTED);
    const length = this.#finish(RESET, this.#sender.sndNxt, false);
    this.datagramBytes = length;
    if (!this.closed) this.#close(null);
    return length;
  }

  #sendProbeAnswer(out: Uint8Array): number {
    const { challenge, bytes, address, port } = this.#answer as ProbeAnswer;
    this.#answer = null;
    this.sendAddress = address;
    this.sendPort = port;
    this.#begin(out, 0, PROBE_ANSWER, this.#sender.sndNxt);
    this.#writer.uint32(challenge.high);
    this.#writer.uint32(challenge.low);
    this.#writer.uint16(bytes);
    this.datagramBytes = this.#finish(PROBE_ANSWER, this.#sender.sndNxt, false);
    return this.datagramBytes;
  }

  #sendChallenge(out: Uint8Array): number {
    const path = this.#newPath as NewPath;
    path.due = false;
    this.sendAddress = path.address;
    this.sendPort = path.port;
    return this.#sendProbe(out, path.challenge, EXTENDED_HEADER_BYTES);
  }

  #sendPmtuProbe(out: Uint8Array, now: number): number {
    const bytes = this.#pmtu.dueBytes;
    this.#pmtu.onProbeSent(Math.max(MIN_PROBE_TIMEOUT_MS, this.#sender.rtt.timeoutMs), now);
    this.#pmtuNonce = this.#nonce();
    return this.#sendProbe(out, this.#pmtuNonce, bytes);
  }

  #sendProbe(out: Uint8Array, challenge: Challenge, bytes: number): number {
    const bits = PROBE | (this.#introducing ? HELLO : 0);
    this.#begin(out, 0, bits, this.#sender.sndNxt);
    if (this.#introducing) this.#writer.hello(this.#options.localTag);
    this.#writer.uint32(challenge.high);
    this.#writer.uint32(challenge.low);
    if (bytes > this.#writer.length) this.#writer.pad(bytes);
    this.datagramBytes = this.#finish(bits, this.#sender.sndNxt, false);
    return this.datagramBytes;
  }

  #begin(out: Uint8Array, at: number, bits: number, position: number): void {
    const sequence = toSequence(position, this.#options.localTag, SEQUENCE_MODULUS);
    this.#writer.begin(out, at, sequence, this.#remoteTag, this.connectionId, bits);
  }

  #finish(bits: number, position: number, again: boolean): number {
    this.stats.datagramsSent++;
    const { trace, localTag } = this.#options;
    if (trace !== null)
      trace(traceSent(this.#traced(position, localTag, bits, this.#receiver.next), this.cwnd, this.ssthresh, again));
    return this.#writer.end();
  }

  #nonce(): Challenge {
    const { random } = this.#options;
    return { high: Math.floor(random() * SEQUENCE_MODULUS), low: Math.floor(random() * SEQUENCE_MODULUS) };
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  deadline(): number {
    if (this.closed) return NEVER;
    if (this.#finWaitEndsAt !== NEVER) return Math.min(this.#finWaitEndsAt, this.#receiver.ackAt);
    const silenceAt = this.#lastHeardAt + SILENCE_TIMEOUT_MS;
    if (!this.connected) return silenceAt;
    return Math.min(
      silenceAt,
      this.#askAt(),
      this.#pacedAt,
      this.#sender.timerAt,
      this.#receiver.ackAt,
      this.#pmtu.timerAt,
    );
  }

  expire(now: number): void {
    if (this.closed) return;
    if (this.#finWaitEndsAt <= now) this.#close(null);
    else if (this.#finWaitEndsAt === NEVER && this.#lastHeardAt + SILENCE_TIMEOUT_MS <= now) this.#giveUp();
    if (this.closed || !this.connected) return;
    if (this.#receiver.ackAt <= now) this.#receiver.ackDue = true;
    if (this.#pacedAt <= now) this.#pacedAt = NEVER;
    this.#pmtu.expire(now);
    this.#sender.expire(now);
    if (this.#sender.timeouts >= BLACK_HOLE_TIMEOUTS && this.#pmtu.onBlackHole(now)) this.#resize();
    if (this.#askAt() <= now) this.#ask(now);
  }

  /** When a silent peer is asked for a sign of life. */
  #askAt(): number {
    if (this.#finWaitEndsAt !== NEVER) return NEVER;
    const since = Math.max(this.#lastHeardAt, this.#lastAskedAt);
    const { timeoutMs } = this.#sender.rtt;
    // An introduction, or a reader's word that there is room again, may have been lost.
    if (this.#introducing || this.#sender.windowIsClosed) return since + timeoutMs;
    return this.keepAliveMs > 0 ? since + this.keepAliveMs : NEVER;
  }

  #ask(now: number): void {
    this.#lastAskedAt = now;
    this.#pingDue = true;
    if (this.#newPath !== null) this.#newPath.due = true;
    this.#receiver.buffer.trim();
  }

  #giveUp(): void {
    if (!this.connected) this.#close("handshake-timeout");
    else if (this.#receiver.finReceived && this.#sender.sndNxt > this.#sender.dataEnd) {
      if (!this.#finished) this.#signals |= Signal.finished;
      this.#finished = true;
      this.#close(null);
    } else this.#close("peer-silent");
  }

  /** TIME-WAIT for the side that closed first; nothing is left to do for the other (RFC 9293 section 3.6). */
  #bothDirectionsDone(now: number): void {
    if (this.#passiveClose) this.#close(null);
    else if (this.#finWaitEndsAt === NEVER) this.#finWaitEndsAt = now + FIN_WAIT_MS;
  }

  #close(failure: Failure | null): void {
    if (this.closed) return;
    this.closed = true;
    this.failure = failure;
    this.#signals |= Signal.closed;
  }

  // ---- log -------------------------------------------------------------------------------------------------------

  #traceReceived(packet: Packet): string {
    const header = {
      sequence: packet.sequence,
      acknowledgement: (packet.bits & ACK) === 0 ? 0 : packet.acknowledgement,
      connectionId: this.connectionId,
      flags: packet.bits & (ACK | FIN),
    };
    return traceReceived(header, this.cwnd, this.ssthresh);
  }

  #traced(position: number, isn: number, bits: number, acknowledged: number): TracedHeader {
    return {
      sequence: toSequence(position, isn, SEQUENCE_MODULUS),
      acknowledgement: (bits & ACK) === 0 ? 0 : toSequence(acknowledged, this.#remoteTag, SEQUENCE_MODULUS),
      connectionId: this.connectionId,
      flags: bits & (ACK | FIN),
    };
  }
}
