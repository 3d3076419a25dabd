import { steps } from "../../invariant/index.js";
import type { Arrival } from "../arrival.js";
import type { Begun } from "../classic-options.js";
import {
  type Connection,
  type ConnectionStats,
  emptyStats,
  type Failure,
  type ResetReason,
  type ShortSegments,
  Signal,
} from "../connection.js";
import {
  BASE_DATAGRAM_BYTES,
  MAX_BURST_BYTES,
  MAX_BURST_DATAGRAMS,
  MAX_DATAGRAM_PACKETS,
  MAX_SACK_BLOCKS_WITH_DATA,
  MIN_DATAGRAM_BYTES,
} from "../limits.js";
import { type Candidate, Candidates } from "./candidates.js";
import { Encoder } from "./encoder.js";
import { Liveness } from "./liveness.js";
import {
  type ExtendedConnectionOptions,
  FIN_WAIT_MS,
  FIN_WAIT_TIMEOUTS,
  LEGACY_SILENCE_TIMEOUT_MS,
  MIN_SILENCE_TIMEOUT_MS,
  RESET_INTERVAL_MS,
  RESET_LINGER_MS,
  WINDOWS_HELD,
} from "./options.js";
import { Probes } from "./probes.js";
import { Receiver } from "./receiver.js";
import { Sender } from "./sender.js";
import {
  ACK,
  ACK_BYTES,
  CLIENT_PARAMETER_BYTES,
  DATA,
  DATA_HEADER_BYTES,
  decodePacket,
  EXTENDED,
  emptyPacket,
  FIN,
  HELLO,
  HELLO_BYTES,
  isOffer,
  isStatelessReset,
  joinedPackets,
  PARAMETERS,
  type Packet,
  PING,
  PROBE,
  PROBE_ANSWER,
  PROOF_BITS,
  RESET,
  RESET_REASONS,
  readParameters,
  SERVER_PARAMETER_BYTES,
  SYN,
} from "./wire.js";

const NEVER: number = Number.POSITIVE_INFINITY;
/** So many short packets must be answered, while none of the least size is, before a path is called too narrow. */
const LEAST_ANSWERS = 5;

/** A side that only reads learns the round trip when so much has come. */
const MEASURE_AFTER_BYTES: number = 40 * 1024;

/** One for all connections: nothing calls back in between. */
const scratch: Packet = emptyPacket();

/** A connection of the extended edition (docs/protocol.md), from the SYN|ACK on. */
export class ExtendedConnection implements Connection {
  readonly role: "client" | "server";
  readonly edition = "extended";
  remoteAddress: string;
  remotePort: number;
  sendAddress: string;
  sendPort: number;
  localAddress: string;
  sendLocalAddress: string;
  connectionId: number;
  readonly refusals = 0;
  expectsExtended = false;
  readonly stats: ConnectionStats = emptyStats();
  datagramBytes = 0;
  connected = false;
  closed = false;
  failure: Failure | null = null;
  resetReason: ResetReason | null = null;
  readonly localTag: number;

  readonly #options: ExtendedConnectionOptions;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #encoder: Encoder;
  readonly #probes: Probes;
  readonly #candidates = new Candidates();
  #signals = 0;
  #writerWaits = false;
  #sendOnly: boolean;
  #discardsInput = false;
  #finished = false;
  #passiveClose = false;

  #synAckDue = false;
  #resetDue: ResetReason | null = null;
  /** The RESET that is repeated until then. */
  #farewell: ResetReason | null = null;
  #lingersUntil = NEVER;
  #repeatsResetAt = 0;
  #pingDue = false;
  /** The client introduces itself in every packet until the server has answered one. */
  #introducing: boolean;
  /**
   * Every datagram has our parameters: those of an introducing client, and those of a server to a client that has told its
   * own, until that introduces itself no more. So whatever arrives first has them.
   */
  #telling: boolean;
  /** What proves that a reset comes from the server's program, although that does not know the connection. */
  #resetToken: Uint8Array | null = null;
  /** A tail was held back at this position and the peer asked to acknowledge: once is enough. */
  #askedAt = -1;
  #openedAt: number;
  #synAcks = 0;
  readonly #liveness: Liveness;
  /** The timeouts in a row that the search for the path's MTU has taken note of. */
  #timeoutsSeen = 0;
  /** A PING is to leave in a datagram of its own; how many acknowledgements had come when the last of them was due. */
  #lonePingDue = false;
  #acksBeforePing = NEVER;
  #acks = 0;
  /** What had been received when it was begun to try whether datagrams of the least size arrive. */
  #receivedBefore = 0;
  #pacedAt = NEVER;
  #finWaitEndsAt = NEVER;
  #finWaitMostAt = NEVER;

  constructor(options: ExtendedConnectionOptions, now: number) {
    this.#options = options;
    this.role = options.role;
    this.remoteAddress = this.sendAddress = options.remoteAddress;
    this.remotePort = this.sendPort = options.remotePort;
    this.localAddress = this.sendLocalAddress = options.localAddress;
    this.connectionId = options.connectionId;
    this.localTag = options.localTag;
    this.#sendOnly = options.sendOnly;
    this.#introducing = this.#telling = options.role === "client";
    this.#openedAt = now;
    this.#liveness = new Liveness(now, options.silenceTimeoutMs);
    this.#receiver = new Receiver(options.windowBytes, options.memory, options.receiveBudget);
    // A client has chosen its peer.
    if (options.role === "client") this.#receiver.admit();
    this.#sender = new Sender({
      isn: options.localTag,
      segmentBytes:
        Math.max(MIN_DATAGRAM_BYTES, Math.min(BASE_DATAGRAM_BYTES, options.maxDatagramBytes)) - DATA_HEADER_BYTES,
      congestion: options.congestion,
      random: options.random,
      stats: this.stats,
      memory: options.memory,
    });
    this.#boundBackoff();
    this.#encoder = new Encoder(options, this.#sender, this.#receiver, this.stats);
    this.#probes = new Probes(options, this.#encoder);
    if (options.role === "client") {
      const { remoteTag, connectionId, proof } = options;
      this.#candidates.offer({ remoteTag, connectionId, proof }, false);
      this.#becomeConnected(now);
    } else this.#synAckDue = true;
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
    return this.#sender.bytesHeld;
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
  get idle(): boolean {
    return this.#receiver.finReceived && !this.#sender.hasOutput;
  }
  /** It is closed, and stays for a while to repeat its RESET. */
  get lingers(): boolean {
    return this.#lingersUntil !== NEVER;
  }
  get inFinWait(): boolean {
    return this.#finWaitEndsAt !== NEVER;
  }
  /** A client's server is the one that has answered its introduction. */
  get decided(): boolean {
    return !this.#introducing || this.closed;
  }
  get silenceTimeoutMs(): number {
    return this.#liveness.silenceTimeoutMs;
  }
  get keepAliveMs(): number {
    return this.#liveness.keepAliveMs;
  }
  set keepAliveMs(value: number) {
    this.#liveness.keepAliveMs = value;
  }
  get shortSegments(): ShortSegments {
    return this.#sender.shortSegments;
  }
  set shortSegments(value: ShortSegments) {
    this.#sender.shortSegments = value;
  }

  /** What the handshake's connection was given before it was known that this one follows. */
  takeOver(begun: Begun, handshakeMs: number, now: number): void {
    this.#sender.adopt(begun.buffer);
    this.#sender.ended = begun.ended;
    this.#writerWaits = begun.writerWaits;
    if (handshakeMs > 0) this.#sender.onHandshake(handshakeMs, begun.syns > 1, now);
    this.#wakeWriter();
  }

  open(): void {}

  write(chunk: Uint8Array, now: number): boolean {
    if (this.#sender.ended) throw new Error("write() after end()");
    if (this.closed) return true;
    if (this.idle) this.#liveness.restart(now);
    this.#sender.buffer.append(chunk);
    if (this.bytesHeld >= this.highWaterMark) {
      this.#writerWaits = true;
      return false;
    }
    this.#sender.buffer.own();
    return true;
  }

  end(now: number): void {
    if (this.idle) this.#liveness.restart(now);
    this.#sender.ended = true;
  }

  abort(now: number): void {
    if (!this.closed) this.#giveUp("aborted", "aborted", now);
    this.#receiver.buffer.clear();
  }

  admit(_now: number): void {
    if (!this.closed) this.#receiver.admit();
  }

  /** The peer's host says that nothing listens there. */
  refuse(): void {
    if (this.closed || this.inFinWait) return;
    if (this.#isComplete()) this.#endRegularly();
    else this.#close("refused");
  }

  discardInput(now: number): void {
    this.#sendOnly = this.#discardsInput = true;
    this.#receiver.buffer.clear();
    if (this.#finished && !this.closed) this.#bothDirectionsDone(now);
  }

  read(): Uint8Array | null {
    const bytes = this.#receiver.buffer.read();
    if (bytes === null) return null;
    // A program that reads takes the peer for one that it wants to hear.
    if (!this.#receiver.admitted && !this.#options.requireAdmission) this.#receiver.admit();
    this.#receiver.afterRead();
    return bytes;
  }

  signals(): number {
    const signals = this.#signals;
    this.#signals = 0;
    return signals;
  }

  // ---- receiving -------------------------------------------------------------------------------------------------

  /** The SYN came again: so does the SYN|ACK. */
  receiveDuplicateSyn(syn: Arrival): boolean {
    if (this.connected) return false; // It had its SYN|ACK: this is another client, at the same address.
    if (isOffer(syn.bits) && syn.acknowledgement !== this.#options.nonce) return false;
    this.#liveness.onHeard(false, syn.now);
    this.#synAckDue = true;
    return true;
  }

  /** Handles a datagram with this connection's ID, from wherever it came. False: nothing in it made sense here. */
  receive(arrival: Arrival): boolean {
    if (this.closed) return this.#repeatReset(arrival);
    if ((arrival.flags & SYN) !== 0) return this.#receiveSynAck(arrival);
    const { datagram, segmentBytes } = arrival;
    const datagrams = segmentBytes > 0 ? Math.ceil(datagram.length / segmentBytes) : 1;
    this.#sender.beginDatagrams(datagrams);
    let understood = false;
    let packetsLeft = MAX_DATAGRAM_PACKETS * datagrams;
    for (let at = 0; at < datagram.length && packetsLeft > 0; packetsLeft--) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const next = decodePacket(datagram, at, scratch);
      if (next === 0 || !this.#accepts(scratch)) break;
      if (!understood) this.#onAccepted(arrival);
      understood = true;
      this.#receivePacket(scratch, arrival);
      if (this.closed) break;
      at = next;
    }
    if (!understood) this.stats.dropped++;
    return understood;
  }

  /** A reset of the server's program, which has lost the connection's state, from wherever it comes. */
  receiveStatelessReset({ datagram }: Arrival): boolean {
    if (this.closed || this.#resetToken === null || !isStatelessReset(datagram, this.#resetToken)) return false;
    this.#receiveReset("restarted");
    return true;
  }

  /** The peer goes on sending: our RESET was lost. */
  #repeatReset({ datagram, address, port, now }: Arrival): boolean {
    if (!this.lingers || address !== this.remoteAddress || port !== this.remotePort) return false;
    if (decodePacket(datagram, 0, scratch) === 0 || !this.#accepts(scratch)) return false;
    if ((scratch.bits & RESET) !== 0) this.#lingersUntil = NEVER;
    else if (now >= this.#repeatsResetAt) {
      this.#resetDue = this.#farewell;
      this.#repeatsResetAt = now + RESET_INTERVAL_MS;
    }
    return true;
  }

  /**
   * A SYN|ACK with our nonce. The same again says that our introduction was lost. Another is kept beside it: whichever server
   * answers the introduction is the right one.
   */
  #receiveSynAck({ sequence, connectionId, bits, now }: Arrival): boolean {
    if (this.role !== "client") return false;
    const candidate = { remoteTag: sequence, connectionId, proof: bits & PROOF_BITS };
    const kept = this.#candidates.offer(candidate, !this.#introducing);
    if (kept === "refused") return false;
    if (kept === "known") {
      if (sequence !== this.#encoder.remoteTag) return true;
      this.#pingDue = true;
    }
    this.#liveness.onHeard(false, now);
    return true;
  }

  /** The server with this ID has sent what only one can that has our introduction. */
  #choose(connectionId: number): void {
    const chosen = this.#candidates.choose(connectionId);
    if (chosen === undefined) return;
    this.#introduceTo(chosen);
    this.connectionId = connectionId;
  }

  #introduceTo({ remoteTag, connectionId, proof }: Candidate): void {
    this.#encoder.remoteTag = this.#receiver.isn = remoteTag;
    this.#encoder.connectionId = connectionId;
    this.#encoder.proof = proof;
  }

  #accepts(packet: Packet): boolean {
    if (packet.tag !== this.localTag) return false;
    const { bits, helloTag, helloNonce, helloProof } = packet;
    if ((bits & HELLO) === 0) return this.connected;
    const { nonce, proof } = this.#options;
    if (this.role !== "server" || helloNonce !== nonce || (helloProof & PROOF_BITS) !== proof) return false;
    // Who introduces itself anew is somebody else.
    return !this.connected || helloTag === this.#encoder.remoteTag;
  }

  /** A datagram has our tag. */
  #onAccepted({ connectionId, address, port, localAddress, datagram }: Arrival): void {
    if (this.#candidates.isAmbiguous) this.#choose(connectionId);
    if (this.#isElsewhere(address, port, localAddress)) {
      this.#probes.check.suspect(address, port, localAddress, datagram.length);
    }
  }

  #isElsewhere(address: string, port: number, localAddress: string): boolean {
    return address !== this.remoteAddress || port !== this.remotePort || localAddress !== this.localAddress;
  }

  #receivePacket(packet: Packet, { address, port, localAddress, now, segmentBytes }: Arrival): void {
    const { bits } = packet;
    if (bits === (EXTENDED | PARAMETERS)) {
      // It is a part of the datagram that the packet before came in.
      this.#learn(packet);
      return;
    }
    this.stats.datagramsReceived += joinedPackets(packet, segmentBytes);
    this.#liveness.onHeard(this.#sender.windowIsClosed || (bits & ACK) === 0, now);
    this.#introducing = false;
    if ((bits & HELLO) === 0) this.#telling = false;
    if (!this.connected) this.#meet(packet, now);
    if (this.#options.trace !== null) this.#encoder.traceReceived(packet);
    if ((bits & PARAMETERS) !== 0) this.#learn(packet);
    if ((bits & RESET) !== 0) {
      // Who has overheard the tag can send one from anywhere.
      if (address !== this.remoteAddress || port !== this.remotePort) return;
      this.#receiveReset(RESET_REASONS[packet.resetCode] ?? "unknown");
      return;
    }
    if ((bits & ACK) !== 0) this.#receiveAck(packet, now);
    if ((bits & PROBE) !== 0) {
      this.#probes.onProbe(packet, this.#isElsewhere(address, port, localAddress), address, port, localAddress);
    }
    if ((bits & PROBE_ANSWER) !== 0) this.#receiveProbeAnswer(packet, now);
    if ((bits & DATA) !== 0) this.#receiveData(packet, segmentBytes, now);
    if ((bits & PING) !== 0) this.#receiver.ackDue = true;
    // Whoever is asked for nothing but a sign of life has been quiet: what was kept for more to come is given back.
    if ((bits & ~PARAMETERS) === (EXTENDED | PING)) this.#trim();
  }

  /** The peer's parameters: the lower of both silence timeouts counts. */
  #learn(packet: Packet): void {
    const { silenceTimeoutMs, resetToken } = readParameters(packet);
    if (silenceTimeoutMs === 0) return;
    const theirsMs = Math.max(MIN_SILENCE_TIMEOUT_MS, silenceTimeoutMs);
    this.#liveness.silenceTimeoutMs = Math.min(this.#options.silenceTimeoutMs, theirsMs);
    this.#boundBackoff();
    if (this.role === "client") this.#resetToken = resetToken;
    else this.#telling = true;
  }

  /** The repetitions must come a few times in the silence timeout, and where both FINs are out in the peer's TIME-WAIT. */
  #boundBackoff(): void {
    const { rtt, sndNxt, dataEnd } = this.#sender;
    const { silenceTimeoutMs } = this.#liveness;
    const bothEnded = this.#receiver.finReceived && sndNxt > dataEnd;
    rtt.silenceTimeoutMs = bothEnded ? Math.min(silenceTimeoutMs, LEGACY_SILENCE_TIMEOUT_MS) : silenceTimeoutMs;
  }

  /** Where the peer has everything of ours and we have everything of its, nothing was lost but a farewell. */
  #receiveReset(reason: ResetReason): void {
    this.resetReason = reason;
    if (!this.#isComplete()) this.#close("reset");
    else this.#endRegularly();
  }

  /** Every byte of both directions has arrived, and the peer's FIN. */
  #isComplete(): boolean {
    return this.#receiver.finReceived && this.#sender.buffer.length === 0;
  }

  /** An end without a failure, where at most the acknowledgement of our FIN is missing. */
  #endRegularly(): void {
    if (this.#sender.ended && !this.#finished) this.#signals |= Signal.finished;
    this.#close(null);
  }

  /** A server hears of its client: the handshake is done. */
  #meet(packet: Packet, now: number): void {
    this.#encoder.remoteTag = packet.helloTag;
    if (this.#synAcks > 0) this.#sender.onHandshake(now - this.#openedAt, this.#synAcks > 1, now);
    this.#synAckDue = false;
    this.#becomeConnected(now);
  }

  #becomeConnected(now: number): void {
    this.connected = true;
    this.#receiver.isn = this.#encoder.remoteTag;
    this.#signals |= Signal.connected; // Without data the introduction travels alone.
    this.#pingDue = this.#introducing;
    if (this.#probes.mtu.isTooNarrow) this.#giveUp("path-mtu", "path-mtu", now);
    else this.#probes.mtu.start();
  }

  #receiveAck(packet: Packet, now: number): void {
    const sender = this.#sender;
    this.#acks++;
    if (!sender.receiveAck(packet, now)) return;
    if (sender.finAcknowledged && !this.#finished) {
      this.#finished = true;
      this.#signals |= Signal.finished;
      if (this.#receiver.finReceived || this.#sendOnly) this.#bothDirectionsDone(now);
    }
    this.#wakeWriter();
  }

  #receiveData(packet: Packet, segmentBytes: number, now: number): void {
    const receiver = this.#receiver;
    if (this.#discardsInput && packet.dataEnd > packet.dataAt) {
      // The peer must not take it for read (RFC 9293 section 3.6.1 says the same of TCP).
      if (this.#finished) this.#giveUp(null, "unread", now);
      return;
    }
    const before = receiver.finReceived;
    // The peer repeats what we have acknowledged: that was lost, and begins TIME-WAIT again (RFC 9293 section 3.10.7.8).
    if (this.inFinWait) this.#finWaitEndsAt = Math.min(this.#finWaitMostAt, now + this.#finWaitMs);
    if (receiver.receive(packet, segmentBytes, now)) this.#signals |= Signal.readable;
    this.stats.bytesReceived = receiver.bytesReceived;
    this.stats.overflows = receiver.overflows;
    if (receiver.finReceived && !before) {
      this.#passiveClose = this.#sender.sndNxt <= this.#sender.dataEnd;
      if (this.#finished) this.#bothDirectionsDone(now);
    }
  }

  #receiveProbeAnswer(packet: Packet, now: number): void {
    const proof = this.#probes.onAnswer(packet, now);
    this.#sender.onProbeAnswered(this.#probes.roundTripMs, now);
    if (proof === "moved") this.#move(now);
    else if (proof === "longer") this.#resize();
  }

  /** The peer has answered from its new address. Another port of the same host is the same path (RFC 9000 section 9.4). */
  #move(now: number): void {
    const { address, port, localAddress } = this.#probes.check;
    const samePath = address === this.remoteAddress;
    this.remoteAddress = address;
    this.remotePort = port;
    this.localAddress = localAddress;
    this.#signals |= Signal.moved;
    if (!samePath) this.#probes.onNewPath();
    this.#sender.onMoved(now, samePath);
    this.#resize();
  }

  changeLocalAddress(now: number): void {
    if (this.closed || !this.connected) return;
    this.#probes.onNewPath();
    this.#sender.onMoved(now, false);
    this.#resize();
    this.#lonePingDue = true;
  }

  #resize(): void {
    this.#sender.setSegmentBytes(this.#segmentBytes);
  }

  /** The data that a datagram has room for, beside what both sides tell each other at the beginning. */
  get #segmentBytes(): number {
    const introductionBytes = this.#introducing ? HELLO_BYTES : 0;
    const parameterBytes = this.#introducing ? CLIENT_PARAMETER_BYTES : SERVER_PARAMETER_BYTES;
    return this.#probes.mtu.currentBytes - DATA_HEADER_BYTES - introductionBytes - (this.#telling ? parameterBytes : 0);
  }

  limitDatagrams(bytes: number, limitBytes: number, now: number): void {
    const { mtu } = this.#probes;
    if (this.closed) return;
    if (mtu.onRefused(bytes, limitBytes, now)) this.#sender.onRefused(this.#segmentBytes);
    if (mtu.isTooNarrow) this.#giveUp("path-mtu", "path-mtu", now);
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
    this.sendLocalAddress = this.localAddress;
    const bytes = this.#sendSingle(out, now);
    if (bytes > 0) this.datagramBytes = bytes;
    return bytes > 0 || !this.connected || this.closed ? bytes : this.#sendBurst(out, now);
  }

  /** What travels in a datagram of its own. */
  #sendSingle(out: Uint8Array, now: number): number {
    const reason = this.#resetDue;
    this.#resetDue = null;
    if (reason !== null) return this.#encoder.reset(out, reason);
    if (this.closed || !(this.connected || this.#synAckDue)) return 0;
    if (!this.#synAckDue) {
      // From a new address ahead of probes: their answer would be all that the peer may send there, and it could not check it.
      if (this.#lonePingDue) return this.#lonePing(out, now);
      const bytes = this.#probes.transmit(
        out,
        this.#sender.rtt,
        this.#sender.sndUna,
        this.#measures,
        this.#introducing,
        this.#telling,
        now,
      );
      if (bytes > 0 && this.#probes.goesTo !== "") {
        this.sendAddress = this.#probes.goesTo;
        this.sendPort = this.#probes.goesToPort;
        this.sendLocalAddress = this.#probes.leavesFrom;
      }
      // Whether short packets are answered tells a narrow path from one that is down.
      if (bytes > 0 && this.#probes.mtu.isTryingLeast) this.#pingDue = true;
      return bytes;
    }
    this.#synAckDue = false;
    this.#synAcks++;
    return this.#encoder.synAck(out);
  }

  /** A round trip is worth a probe where one is needed: for data in flight, or by a reader of much. */
  get #measures(): boolean {
    const { rtt, buffer } = this.#sender;
    return rtt.smoothedMs === 0 && (buffer.length > 0 || this.#receiver.bytesReceived >= MEASURE_AFTER_BYTES);
  }

  #lonePing(out: Uint8Array, now: number): number {
    this.#lonePingDue = false;
    if (!this.#introducing && this.#resetToken !== null) return this.#encoder.longPing(out, 0);
    const length = this.#encoder.packet(out, 0, this.#introducing ? HELLO | PING : PING, null, now);
    return this.#telling ? length + this.#encoder.parameters(out, length) : length;
  }

  /** As many equal datagrams as may leave now; only the last may be shorter. */
  #sendBurst(out: Uint8Array, now: number): number {
    const full = this.#probes.mtu.currentBytes;
    const most = Math.max(1, Math.min(MAX_BURST_DATAGRAMS, Math.floor(Math.min(out.length, MAX_BURST_BYTES) / full)));
    let at = 0;
    for (let i = 0; i < most; i++) {
      const length = this.#sendPacket(out, at, now, i === 0);
      at += length;
      if (i === 0 && length > 0) this.datagramBytes = length;
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
    // Once our FIN is acknowledged we may be gone: so what carries it acknowledges the peer's as well.
    const last = receiver.finReceived && sender.ended;
    const owed = last || (first && (receiver.ackDue || receiver.ackAt !== NEVER));
    const room = this.#segmentBytes;
    let ackBytes = owed ? receiver.ackBytes(MAX_SACK_BLOCKS_WITH_DATA) : 0;
    let segment = sender.next(room - ackBytes, now);
    if (segment === null && ackBytes > 0 && !receiver.ackDue) {
      // A segment that is sent again may leave no room beside it.
      ackBytes = 0;
      segment = sender.next(room, now);
    }
    if (segment === null && !receiver.ackDue && !this.#pingDue) {
      if (!sender.holdsBack || this.#askedAt >= sender.sndUna) return 0;
      // What waits for an acknowledgement to be joined by more need not wait for the peer's timer too.
      this.#askedAt = sender.sndNxt;
      this.#pingDue = true;
    }
    let bits = this.#introducing ? HELLO : 0;
    if (segment === null ? receiver.ackDue : ackBytes > 0) bits |= ACK;
    if (segment !== null) bits |= DATA | (segment.end > sender.dataEnd ? FIN : 0);
    if ((bits & (FIN | ACK)) === FIN) this.#passiveClose = false;
    if (this.#pingDue || (segment !== null && sender.takeAsk())) bits |= PING;
    this.#pingDue = false;
    // A repetition that is short is made long enough to be answered with a stateless reset.
    if (segment !== null && this.#resetToken !== null && segment.transmissions > 1 && segment.bytes < ACK_BYTES)
      bits |= ACK;
    if (bits === PING && this.role === "client") return this.#encoder.longPing(out, at);
    const length = this.#encoder.packet(out, at, bits, segment, now);
    return this.#telling ? length + this.#encoder.parameters(out, at + length) : length;
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  deadline(): number {
    if (this.closed) return this.#lingersUntil;
    if (this.inFinWait) return Math.min(this.#finWaitEndsAt, this.#receiver.ackAt, this.#probes.timerAt);
    const { silentAt } = this.#liveness;
    if (!this.connected) return silentAt;
    // With nothing to acknowledge the peer is silent by right.
    return Math.min(
      this.idle ? NEVER : silentAt,
      this.#askAt(),
      this.#pacedAt,
      this.#sender.timerAt,
      this.#receiver.ackAt,
      this.#probes.timerAt,
    );
  }

  expire(now: number): void {
    if (this.closed) {
      if (this.#lingersUntil <= now) this.#lingersUntil = NEVER;
      return;
    }
    if (this.#finWaitEndsAt <= now) this.#close(null);
    else if (!this.inFinWait && !this.idle && this.#liveness.silentAt <= now) this.#onSilence(now);
    if (this.closed || !this.connected) return;
    if (this.#receiver.ackAt <= now) this.#receiver.ackDue = true;
    if (this.#pacedAt <= now) this.#pacedAt = NEVER;
    this.#probes.expire(now);
    this.#boundBackoff();
    this.#sender.expire(now);
    // The introduction that nobody has answered goes to the next candidate.
    if (this.#introducing && this.#candidates.isAmbiguous) this.#introduceTo(this.#candidates.next());
    this.#watchForBlackHole(now);
    if (this.#askAt() <= now) this.#ask(now);
  }

  /** At each timeout of several in a row the datagrams may be too long for what the path has become. */
  #watchForBlackHole(now: number): void {
    const sender = this.#sender;
    const { mtu } = this.#probes;
    if (mtu.isTooNarrow) this.#onTooNarrow(now);
    const { timeouts, segments } = sender;
    const missingBytes = segments.firstBytes + DATA_HEADER_BYTES;
    const isNew = timeouts > this.#timeoutsSeen;
    const most = mtu.timeoutsToSuspect(missingBytes);
    const answered = this.#acks > this.#acksBeforePing;
    const suspects = sender.suspectsBlackHole || (isNew && timeouts >= most && answered);
    this.#timeoutsSeen = timeouts;
    if (timeouts === 0) this.#acksBeforePing = NEVER;
    else if (isNew && timeouts >= most - 1 && !answered) {
      // A long queue, or a link that is down, looks the same: but there short packets are answered no earlier than long ones.
      this.#lonePingDue = true;
      this.#acksBeforePing = this.#acks;
    }
    sender.suspectsBlackHole = false;
    if (!suspects) return;
    const tried = mtu.isTryingLeast;
    if (mtu.onBlackHole(missingBytes, now)) this.#resize();
    if (mtu.isTryingLeast && !tried) this.#receivedBefore = this.stats.datagramsReceived;
  }

  /**
   * None of several datagrams of the least size was answered. Where shorter ones were, and no data has arrived, the path is too
   * narrow; otherwise it is down, or loses much.
   */
  #onTooNarrow(now: number): void {
    const { mtu } = this.#probes;
    const answers = this.stats.datagramsReceived - this.#receivedBefore;
    if (answers >= LEAST_ANSWERS && this.#sender.timeouts > 0) this.#giveUp("path-mtu", "path-mtu", now);
    else mtu.isTooNarrow = false;
  }

  /** When a silent peer is asked for a sign of life. */
  #askAt(): number {
    if (this.inFinWait) return NEVER;
    const { windowIsClosed, rtt, segments, sndNxt, dataEnd } = this.#sender;
    // What is in flight is repeated until it is answered.
    if (segments.length > 0) return NEVER;
    // With both FINs under way there is nothing to keep alive.
    if (this.#receiver.finReceived && sndNxt > dataEnd) return NEVER;
    const at = this.#liveness.askAt(this.#introducing, windowIsClosed, rtt.timeoutMs);
    // A peer that has ended and answers nothing any more is not asked for ever.
    return this.idle && at >= this.#liveness.silentAt ? NEVER : at;
  }

  #ask(now: number): void {
    this.#liveness.onAsked(now);
    this.#pingDue = true;
    this.#trim();
  }

  #trim(): void {
    this.#receiver.buffer.trim();
    this.#sender.trim();
  }

  #onSilence(now: number): void {
    const { ended, buffer } = this.#sender;
    const onlyFin = ended && !this.#finished && buffer.length === 0;
    if (!this.connected) this.#close("handshake-timeout");
    else if (this.#isComplete()) this.#endRegularly();
    else this.#giveUp(onlyFin ? "fin-unanswered" : "peer-silent", "silent", now);
  }

  /** Closes, and says so to the peer, if we know how to address it: again, as long as it goes on sending. */
  #giveUp(failure: Failure | null, reason: ResetReason, now: number): void {
    if (this.connected) {
      this.#resetDue = this.#farewell = reason;
      this.#repeatsResetAt = now + RESET_INTERVAL_MS;
      this.#lingersUntil = now + RESET_LINGER_MS;
    }
    this.#close(failure);
  }

  /** TIME-WAIT for the side that closed first; nothing is left to do for the other (RFC 9293 section 3.6). */
  #bothDirectionsDone(now: number): void {
    if (this.#passiveClose) this.#close(null);
    else if (this.#finWaitEndsAt === NEVER) {
      this.#finWaitEndsAt = now + this.#finWaitMs;
      this.#finWaitMostAt = now + this.#liveness.silenceTimeoutMs;
    }
  }

  /**
   * The peer may repeat what it has no acknowledgement of so often before one of them arrives; after the silence timeout it has given
   * up, however long its round trips are.
   */
  get #finWaitMs(): number {
    const ms = Math.max(FIN_WAIT_MS, FIN_WAIT_TIMEOUTS * this.#sender.rtt.timeoutMs);
    return Math.min(ms, this.#liveness.silenceTimeoutMs);
  }

  #close(failure: Failure | null): void {
    if (this.closed) return;
    this.closed = true;
    this.failure = failure;
    this.#signals |= Signal.closed;
    this.#receiver.buffer.close();
  }
}
