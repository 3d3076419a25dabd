import { type AckSample, type CongestionController, emptyAckSample } from "../congestion/controller.js";
import { createController } from "../congestion/index.js";
import type { ConnectionStats, ShortSegments } from "../connection.js";
import {
  EXTENDED_BLOCK_BYTES,
  MAX_PEER_WINDOW_BYTES,
  MAX_SENT_SEGMENTS,
  MAX_WINDOW_BYTES,
  RESUME_AFTER_MS,
} from "../limits.js";
import type { Memory } from "../memory.js";
import { Pacer } from "../pacer.js";
import { RttEstimator } from "../rtt.js";
import { SendBuffer } from "../send-buffer.js";
import { toPosition } from "../sequence.js";
import { bytesPerAck, MAX_ACK_DELAY_MS, MOST_BYTES_PER_ACK } from "./ack-policy.js";
import { DeliveryRate } from "./delivery-rate.js";
import { NearWindow } from "./near-window.js";
import { Rack } from "./rack.js";
import { type DeliveryListener, type SentSegment, SentSegments } from "./sent-segments.js";
import { TailProbe } from "./tail-probe.js";
import { TailRepeats } from "./tail-repeats.js";
import { Undo } from "./undo.js";
import { fromWireTime, type Packet } from "./wire.js";

export const SEQUENCE_MODULUS = 0x1_0000_0000;
const NEVER: number = Number.POSITIVE_INFINITY;

/** Segments in flight at the start. RFC 6928 says 10; a start that is measured, paced and repaired quickly can take more. */
const INITIAL_WINDOW_SEGMENTS = 48;
/** What a peer is taken to have room for before it has said so: every receive buffer is larger than the first flight. */
const INITIAL_PEER_WINDOW_BYTES: number = 64 * 1024;
/** A path of a shorter round trip than this is near. */
const NEAR_RTT_MS = 2;
/** The least time before a tail loss probe: timers fire in whole milliseconds. */
const MIN_PROBE_TIMEOUT_MS = 4;
/** After sending one segment so often, while smaller ones arrive, the path may have become one that takes no large datagrams. A third of all being lost does that once in 100,000. */
const BLACK_HOLE_TRANSMISSIONS = 10;
/** A peer that would gather half of the window is asked to acknowledge so many times in each. */
const WINDOWS_TO_ASK = 2;
const ASKS_A_WINDOW = 4;
/** A round trip takes some time, whatever the clock says: 0 means that there was no sample. */
const LEAST_RTT_MS = 0.001;

/** What the retransmission timer is waiting for. */
type Waiting = "nothing" | "reordering" | "tail-probe" | "timeout" | "rest-of-ack" | "rest-of-timeout";

/**
 * The sending side of an extended connection: what is in flight, what is lost, what may leave now. Positions as in
 * SendWindow: 0 is the SYN, data from 1 on, the FIN behind it.
 */
export class Sender implements DeliveryListener {
  buffer: SendBuffer;
  readonly segments: SentSegments = new SentSegments();
  readonly rtt: RttEstimator = new RttEstimator();
  readonly controller: CongestionController;
  readonly isn: number;
  sndUna = 1;
  sndNxt = 1;
  /** Up to here the peer's receive window reaches. */
  windowEnd: number = 1 + INITIAL_PEER_WINDOW_BYTES;
  segmentBytes: number;
  ended = false;
  finAcknowledged = false;
  shortSegments: ShortSegments = "nagle";
  /** Timeouts since something was acknowledged. */
  timeouts = 0;
  /** Some segment was sent again and again. */
  suspectsBlackHole = false;
  /** Earliest time at which this side wants to be called, Infinity for never. */
  timerAt: number = NEVER;

  readonly #stats: ConnectionStats;
  readonly #rack = new Rack();
  readonly #pacer = new Pacer();
  readonly #ack: AckSample = emptyAckSample();
  #waiting: Waiting = "nothing";
  /** The peer has acknowledged everything before this position; of so much at once only a part is taken note of: see {@link sndUna}. */
  #acknowledgedEnd = 1;
  /** After a timeout, what was sent before is lost. */
  #lostBefore = 0;
  #now = 0;
  #echoedAt = Number.NEGATIVE_INFINITY;
  /** Loss recovery ends when everything before this position is acknowledged; 0 outside of it (RFC 6675 section 5). */
  #recoveryEnd = 0;
  readonly #undo = new Undo();
  readonly #near = new NearWindow();
  readonly #probe = new TailProbe();
  readonly #tail = new TailRepeats();
  /** Position up to which the peer was last asked to acknowledge at once. */
  #askedUpTo = 0;
  readonly #rate = new DeliveryRate();
  /** When the first of the timeouts since something was acknowledged came, Infinity for none. */
  #timedOutAt: number = NEVER;
  /** After a timeout: whether the one segment that it allows has left. */
  #repeatedOne = false;

  constructor(options: {
    isn: number;
    segmentBytes: number;
    congestion: CongestionController["name"];
    random: () => number;
    stats: ConnectionStats;
    memory: Memory;
  }) {
    this.isn = options.isn;
    this.buffer = new SendBuffer(options.memory);
    this.buffer.blockBytes = EXTENDED_BLOCK_BYTES;
    this.segmentBytes = options.segmentBytes;
    this.#stats = options.stats;
    this.controller = createController(options.congestion, {
      segmentBytes: options.segmentBytes,
      initialCwnd: INITIAL_WINDOW_SEGMENTS * options.segmentBytes,
      random: options.random,
    });
  }

  get cwnd(): number {
    const most = this.rtt.minMs < NEAR_RTT_MS ? this.#near.bytes : MAX_WINDOW_BYTES;
    return Math.min(this.controller.cwnd, most);
  }
  /** Shorter than timers can tell apart, a round trip paces by its acknowledgements. */
  get #pacingRate(): number {
    return this.rtt.minMs < NEAR_RTT_MS ? NEVER : this.controller.pacingRate;
  }
  /** Position behind the last byte written, and of the FIN. */
  get dataEnd(): number {
    return this.buffer.end + 1;
  }
  /** What is still to arrive: the peer must not let go of what it has acknowledged selectively. */
  get bytesHeld(): number {
    // A FIN is no byte.
    return Math.max(0, this.buffer.length - this.segments.sackedBytes);
  }
  get bytesInFlight(): number {
    return this.segments.inFlight;
  }
  /** Everything that was written has been acknowledged. */
  get idle(): boolean {
    return this.segments.length === 0 && this.sndNxt === this.dataEnd;
  }

  /** Something that was written, or the FIN, is not acknowledged. */
  get hasOutput(): boolean {
    return this.buffer.length > 0 || (this.ended && !this.finAcknowledged);
  }

  /** Gives back what is kept for reuse only, as an idle connection should. */
  trim(): void {
    this.buffer.trim();
    this.segments.trim();
  }

  setSegmentBytes(bytes: number): void {
    this.segmentBytes = bytes;
    this.#pacer.setSegmentBytes(bytes);
    this.controller.setSegmentBytes(bytes);
  }

  /**
   * This machine refuses datagrams with more data than `bytes`. What was sent in longer ones is sent again in shorter ones, at
   * once and without any reaction to congestion, as Linux does it for TCP (tcp_simple_retransmit).
   */
  onRefused(bytes: number): void {
    this.segments.markLongerThan(bytes);
    this.setSegmentBytes(bytes);
  }

  /** What was written before it was known that this edition is spoken. */
  adopt(buffer: SendBuffer): void {
    this.buffer = buffer;
    this.buffer.blockBytes = EXTENDED_BLOCK_BYTES;
  }

  /**
   * How long the handshake took is the first round trip known, or an upper bound where a SYN was `repeated`. The window is not
   * known yet: the first flight may leave.
   */
  onHandshake(rttMs: number, repeated: boolean, now: number): void {
    if (repeated) this.rtt.onUpperBound(rttMs);
    else this.#noteRtt(rttMs, now);
  }

  /** Who only receives, and had to repeat its SYN|ACK, has no other round trip to go by. */
  onProbeAnswered(rttMs: number, now: number): void {
    if (this.rtt.smoothedMs > 0 || rttMs <= 0) return;
    this.#noteRtt(rttMs, now);
    // What is in flight need not wait for the first timeout.
    if (this.timeouts === 0 && this.segments.length > 0 && this.#waiting !== "reordering") this.#arm(now);
  }

  #noteRtt(rttMs: number, now: number): void {
    this.rtt.onSample(rttMs, now);
    this.#stats.smoothedRttMs = this.rtt.smoothedMs;
    this.#stats.minRttMs = this.rtt.minMs;
    this.#pacer.setMinRtt(this.rtt.minMs);
  }

  /** The peer is elsewhere. What was sent to where it was has been for nothing, if nobody has answered for a while. */
  onMoved(now: number, samePath: boolean): void {
    if (!samePath) this.rtt.reset();
    this.rtt.endBackOff();
    if (this.timeouts > 0) this.segments.markOlderThan(now + 1, true);
    this.timeouts = 0;
    this.#timedOutAt = NEVER;
    this.#arm(now);
  }

  // ---- what may leave --------------------------------------------------------------------------------------------

  /**
   * The next segment to put on the wire, or null. `maxBytes` is what the packet has room for. A new segment is entered
   * into the scoreboard here; the caller must send it.
   */
  next(maxBytes: number, now: number): SentSegment | null {
    const { segments } = this;
    if (this.#probe.due) return this.#nextProbe(maxBytes, now);
    const room = Math.min(this.cwnd - segments.inFlight, this.#pacer.budget(now));
    const lost = segments.firstLost();
    // RFC 6298 section 5.4: a timeout repeats one segment. The others wait for the answer.
    if (this.timeouts > 0 && this.#repeatedOne) return null;
    if (lost !== null) {
      if (lost.bytes > this.segmentBytes) this.#fit(lost);
      if (this.#dataBytes(lost) > room && segments.inFlight > 0) return null;
      if (this.#dataBytes(lost) > maxBytes) return null;
      this.#repeat(lost, now);
      return lost;
    }
    const length = this.#newLength(maxBytes);
    if (length === 0) return this.#nextOfTail(Math.min(room, maxBytes), now);
    return length > room && segments.inFlight > 0 ? null : this.#add(length, now);
  }

  /**
   * Asked after each segment: whether the peer should acknowledge it at once, because the window is so small that a peer
   * that gathers as much as it may before it acknowledges would stall us.
   */
  takeAsk(): boolean {
    const { cwnd, segmentBytes } = this;
    if (cwnd >= WINDOWS_TO_ASK * MOST_BYTES_PER_ACK) return false;
    const stalls = this.segments.inFlight + segmentBytes > cwnd && this.#askedUpTo <= this.sndUna;
    if (!stalls) {
      // A peer far away acknowledges several times a round trip.
      if (this.rtt.minMs >= NEAR_RTT_MS && cwnd >= ASKS_A_WINDOW * bytesPerAck(segmentBytes)) return false;
      if (this.sndNxt - this.#askedUpTo < Math.max(2 * segmentBytes, cwnd / ASKS_A_WINDOW)) return false;
    }
    this.#askedUpTo = this.sndNxt;
    return true;
  }

  /** When pacing next lets something leave that the window would allow, Infinity when that is not what it waits for. */
  pacedUntil(now: number): number {
    const { segments } = this;
    if (this.timeouts > 0 && this.#repeatedOne) return NEVER;
    const bytes =
      segments.firstLost()?.bytes ?? (this.#newLength(this.segmentBytes) || (this.#tail.next()?.bytes ?? 0));
    const room = this.cwnd - segments.inFlight;
    if (bytes === 0 || (bytes > room && segments.inFlight > 0)) return NEVER;
    // What could leave together is waited for together.
    const more = Math.min(room, this.windowEnd - this.sndNxt, this.dataEnd - this.sndNxt);
    return this.#pacer.nextReleaseAt(now, Math.max(bytes, more));
  }

  /** There is a tail that is held back only to be filled up. */
  get holdsBack(): boolean {
    return this.sndNxt < this.dataEnd && this.#newLength(this.segmentBytes) === 0 && this.windowEnd > this.sndNxt;
  }

  /** The peer's window leaves no room for what is waiting. */
  get windowIsClosed(): boolean {
    return this.segments.length === 0 && this.sndNxt < this.dataEnd && this.windowEnd <= this.sndNxt;
  }

  /** The path takes no segments of this length any more. A FIN is no byte. */
  #fit(segment: SentSegment): void {
    if (this.#dataBytes(segment) > this.segmentBytes) this.segments.fit(segment, this.segmentBytes);
  }

  #dataBytes(segment: SentSegment): number {
    return Math.min(segment.end, this.dataEnd) - segment.start;
  }

  /** Called when nothing leaves any more: if there is nothing to send, rate samples taken now say little. */
  noteIfAppLimited(): void {
    const { segments } = this;
    if (segments.hasLost || segments.inFlight >= this.cwnd || this.#newLength(this.segmentBytes) > 0) return;
    this.#rate.onAppLimited(segments.inFlight);
  }

  /** Data bytes of the next new segment; 1 for a FIN alone; 0 when there is none to send now. */
  #newLength(maxBytes: number): number {
    const available = this.dataEnd - this.sndNxt;
    if (this.segments.length >= MAX_SENT_SEGMENTS) return 0;
    if (available <= 0) return available === 0 && this.ended ? 1 : 0;
    const full = Math.min(this.segmentBytes, maxBytes);
    const length = Math.min(available, full, this.windowEnd - this.sndNxt);
    if (length <= 0) return 0;
    if (length === full || (length === available && (this.ended || this.shortSegments === "immediate"))) return length;
    // A little at a time only while nothing else is under way: no silly windows (RFC 9293 section 3.8.6.2.1), no Nagle.
    const windowIsLimit = length < Math.min(available, full);
    return (windowIsLimit || this.shortSegments !== "never") && this.segments.length === 0 ? length : 0;
  }

  /** A new segment; the FIN rides on the last data where it can. */
  #add(length: number, now: number): SentSegment {
    const start = this.sndNxt;
    let end = start + length;
    if (this.ended && start < this.dataEnd && end === this.dataEnd) end++;
    this.sndNxt = end;
    const segment = this.segments.add(start, end, now);
    this.#left(segment, now);
    return segment;
  }

  #repeat(segment: SentSegment, now: number): void {
    const wasLost = segment.lost;
    this.segments.transmitted(segment, now);
    this.#repeatedOne = true;
    this.#stats.retransmissions++;
    if (segment.transmissions > BLACK_HOLE_TRANSMISSIONS) this.suspectsBlackHole = true;
    this.#left(segment, now);
    if (wasLost && this.ended && this.sndNxt >= this.dataEnd && this.timeouts === 0) this.#tail.onRepeated(segment);
  }

  /** What was repeated of the stream's end, once more. */
  #nextOfTail(maxBytes: number, now: number): SentSegment | null {
    const segment = this.#tail.next();
    if (segment !== null) this.#fit(segment);
    if (segment === null || this.#dataBytes(segment) > maxBytes) return null;
    this.#tail.left(segment);
    this.#stats.retransmissions++;
    this.#pacer.onSent(segment.bytes, now);
    return segment;
  }

  #left(segment: SentSegment, now: number): void {
    const { inFlight } = this.segments;
    this.#rate.onSent(segment, inFlight, now);
    this.#pacer.onSent(segment.bytes, now);
    this.controller.onSent(segment.bytes, inFlight, now);
    if (this.#waiting === "nothing" || this.#waiting === "tail-probe") this.#arm(now);
  }

  /** RFC 8985 section 7.3: something new if there is, else the last segment once more. */
  #nextProbe(maxBytes: number, now: number): SentSegment | null {
    const length = this.#newLength(maxBytes);
    let last = length > 0 ? null : this.segments.lastMissing();
    if (last !== null && last.bytes > this.segmentBytes) {
      this.#fit(last);
      last = this.segments.lastMissing();
    }
    if (last !== null && this.#dataBytes(last) > maxBytes) return null;
    this.#probe.due = false;
    if (length === 0 && last === null) return null;
    this.#waiting = "timeout";
    this.timerAt = now + this.rtt.timeoutMs;
    const probe = last ?? this.#add(length, now);
    if (last !== null) this.#repeat(last, now);
    this.#probe.onSent(last, this.sndNxt, now);
    return probe;
  }

  // ---- what has arrived ------------------------------------------------------------------------------------------

  /** Datagrams have arrived, so many joined to one: what they may cost is counted from here. */
  beginDatagrams(datagrams: number): void {
    this.segments.beginSteps(datagrams);
  }

  /** Takes an acknowledgement. False: it acknowledges what was never sent. */
  receiveAck(packet: Packet, now: number): boolean {
    const position = toPosition(packet.acknowledgement, this.isn, SEQUENCE_MODULUS, this.sndUna);
    if (position > this.sndNxt) return false;
    this.#now = now;
    this.windowEnd = Math.max(this.windowEnd, position + Math.min(packet.windowBytes, MAX_PEER_WINDOW_BYTES));
    this.#beginAck();
    this.#echoedAt = fromWireTime(now, packet.echo);
    if (position > this.#acknowledgedEnd) this.#acknowledgedEnd = position;
    const reached = this.#deliver(packet, position);
    // Eifel (RFC 3522): what was sent before the timeout has arrived, so the path is slow, and nothing is known to be lost.
    const tooEarly = this.#ack.ackedBytes > 0 && this.#timedOutAt !== NEVER && this.#echoedAt < this.#timedOutAt;
    if (tooEarly || this.#undo.takeDue()) this.#takeBack(now);
    if (this.#ack.ackedBytes > 0) this.#onProgress(now - this.#echoedAt - packet.delayMs, tooEarly, now);
    this.#endAck(reached, packet.firstIsDuplicate, now);
    return true;
  }

  #beginAck(): void {
    const ack = this.#ack;
    ack.priorInFlight = this.segments.inFlight;
    ack.ackedBytes = ack.lostBytes = ack.rttMs = 0;
    this.#rate.beginAck();
    this.#rack.beginAck();
  }

  /** Everything before `reached` was taken note of as acknowledged. */
  #endAck(reached: number, tellsDuplicate: boolean, now: number): void {
    if (reached > this.sndUna) this.#advance(reached, tellsDuplicate, now);
    if (reached < this.#acknowledgedEnd) {
      this.#waiting = "rest-of-ack";
      this.timerAt = now + RESUME_AFTER_MS;
    } else if (this.segments.stepsLeft > 0 || this.#waiting === "nothing") this.#detectLosses(now);
    this.#report(now);
  }

  /** The rest of an acknowledgement that took too many steps. */
  #resumeAck(now: number): void {
    this.#now = now;
    this.#beginAck();
    const reached = this.segments.acknowledge(this.#acknowledgedEnd, this);
    if (this.#ack.ackedBytes > 0) this.#onProgress(Number.NEGATIVE_INFINITY, false, now);
    this.#endAck(reached, false, now);
  }

  /** @internal Called by the scoreboard for each segment that arrives for the first time. */
  onDelivered(segment: SentSegment): void {
    const ack = this.#ack;
    const now = this.#now;
    ack.ackedBytes += segment.bytes;
    this.#rate.onDelivered(segment, now);
    if (segment.wasLost && (segment.transmissions === 1 || this.#echoedAt < segment.sentAt)) {
      this.#undo.onOriginal(segment.transmissions > 1);
    }
    this.#rack.onDelivered(segment, this.#echoedAt, this.rtt.minMs, now);
  }

  /** Returns the position before which everything was taken note of as acknowledged. */
  #deliver(packet: Packet, position: number): number {
    const { segments } = this;
    const acknowledgedEnd = this.#acknowledgedEnd;
    const reached = acknowledgedEnd > this.sndUna ? segments.acknowledge(acknowledgedEnd, this) : acknowledgedEnd;
    let first = 0;
    if (packet.firstIsDuplicate) {
      first = 1;
      this.#onDuplicate(this.#position(packet.blocks[1] as number));
    }
    for (let i = first; i < packet.blockCount; i++) {
      const start = this.#position(packet.blocks[2 * i] as number);
      const end = this.#position(packet.blocks[2 * i + 1] as number);
      if (start > position && end > start && end <= this.sndNxt) segments.sack(start, end, this);
    }
    return reached;
  }

  /** What ends at `end` has arrived twice (RFC 2883). */
  #onDuplicate(end: number): void {
    if (this.#probe.explains(end) || this.#tail.explains(end)) return;
    this.#rack.onDuplicate(this.sndUna, this.sndNxt);
    this.#undo.onDuplicate();
  }

  #position(sequence: number): number {
    return toPosition(sequence, this.isn, SEQUENCE_MODULUS, this.sndUna);
  }

  #onProgress(rttMs: number, timedOutTooEarly: boolean, now: number): void {
    this.timeouts = 0;
    this.#timedOutAt = NEVER;
    this.rtt.endBackOff();
    // The peer held it back for longer than can be told: no sample.
    if (rttMs === Number.NEGATIVE_INFINITY) return;
    this.#ack.rttMs = Math.max(LEAST_RTT_MS, rttMs);
    if (timedOutTooEarly) this.rtt.onSpuriousTimeout(this.#ack.rttMs);
    this.#noteRtt(this.#ack.rttMs, now);
  }

  #advance(position: number, tellsDuplicate: boolean, now: number): void {
    this.sndUna = position;
    this.#stats.bytesAcknowledged = Math.min(position, this.dataEnd) - 1;
    this.buffer.release(Math.min(position, this.dataEnd) - 1);
    if (position > this.dataEnd) this.finAcknowledged = true;
    const repaired = this.#probe.onAdvance(position, this.#echoedAt, tellsDuplicate);
    if (repaired && this.#recoveryEnd === 0) this.controller.onLoss(this.#ack.priorInFlight, now);
    if (this.#recoveryEnd > 0 && position >= this.#recoveryEnd) {
      this.#recoveryEnd = 0;
      this.#rack.onRecoveryEnd();
    }
  }

  #detectLosses(now: number): void {
    const { segments, rtt } = this;
    const before = segments.inFlight;
    const lostBefore = segments.lossCount;
    const inRecovery = this.#recoveryEnd > 0;
    const waitMs = this.#rack.detect(segments, rtt.smoothedMs, rtt.minMs, inRecovery, now);
    if (segments.lossCount > lostBefore) {
      this.#ack.lostBytes += before - segments.inFlight;
      if (!inRecovery) {
        this.#recoveryEnd = this.sndNxt;
        this.#undo.begin();
        this.#near.onLoss(before);
        this.controller.onLoss(before, now);
      }
      this.#undo.onLost(segments.lossCount - lostBefore);
    }
    if (waitMs > 0) {
      this.#waiting = "reordering";
      this.timerAt = now + waitMs;
    } else if (this.#ack.ackedBytes > 0 || this.#waiting === "nothing" || this.#waiting === "reordering")
      this.#arm(now);
  }

  /** Nothing of what was taken for lost was: the reaction is taken back (RFC 4015, RFC 3708). */
  #takeBack(now: number): void {
    this.#recoveryEnd = 0;
    if (this.#timedOutAt !== NEVER) {
      this.segments.unmarkLost();
      this.#undo.begin();
    }
    this.controller.onSpurious(now);
  }

  /** Tells the controller what the acknowledgement was. */
  #report(now: number): void {
    const ack = this.#ack;
    if (ack.ackedBytes === 0 && ack.lostBytes === 0) return;
    this.#rate.report(ack, this.rtt.minMs);
    ack.now = now;
    ack.inFlight = this.segments.inFlight;
    ack.smoothedRttMs = this.rtt.smoothedMs;
    ack.minRttMs = this.rtt.minMs === NEVER ? 0 : this.rtt.minMs;
    ack.inRecovery = this.#recoveryEnd > 0;
    const burstsTooLong = this.segments.bursts.takeVerdict();
    if (burstsTooLong !== null) this.#pacer.onBursts(burstsTooLong);
    this.#near.onAck(ack.ackedBytes);
    this.controller.onAck(ack);
    this.#pacer.setRate(this.#pacingRate, this.segmentBytes, now);
    ack.ackedBytes = ack.lostBytes = 0;
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  /** Handles the timer, if its time has come. */
  expire(now: number): void {
    if (this.timerAt > now) return;
    this.timerAt = NEVER;
    const waiting = this.#waiting;
    this.#waiting = "nothing";
    if (this.segments.length === 0) return;
    this.segments.beginSteps(1);
    if (waiting === "rest-of-ack") this.#resumeAck(now);
    else if (waiting === "rest-of-timeout") this.#markTimedOut(false, now);
    else if (waiting === "reordering") {
      this.#ack.priorInFlight = this.segments.inFlight;
      this.#ack.ackedBytes = this.#ack.rttMs = 0;
      this.#rate.beginAck();
      this.#detectLosses(now);
      this.#report(now);
    } else if (waiting === "tail-probe") {
      this.#probe.due = true;
      // If the probe cannot leave, the timeout still comes.
      this.#waiting = "timeout";
      this.timerAt = now + this.rtt.timeoutMs;
    } else this.#timeOut(now);
  }

  /** RFC 8985 section 6.3, RFC 6298 section 5: what has been out for longer than a round trip is lost. */
  #timeOut(now: number): void {
    const { segments, rtt } = this;
    this.#stats.timeouts++;
    if (this.timeouts++ === 0) this.#timedOutAt = now;
    rtt.backOff();
    const before = segments.inFlight;
    this.#lostBefore = now - rtt.smoothedMs;
    this.#probe.forget();
    this.#recoveryEnd = this.sndNxt;
    this.#undo.begin();
    this.#markTimedOut(true, now);
    this.controller.onTimeout(before, now);
    this.#pacer.setRate(this.#pacingRate, this.segmentBytes, now);
  }

  /** Where that takes too many steps, the rest follows, and then the one segment that a timeout repeats. */
  #markTimedOut(first: boolean, now: number): void {
    const { segments } = this;
    const lostBefore = segments.lossCount;
    const done = segments.markOlderThan(this.#lostBefore, first);
    this.#undo.onLost(segments.lossCount - lostBefore);
    this.#repeatedOne = !done;
    this.#waiting = done ? "timeout" : "rest-of-timeout";
    this.timerAt = now + (done ? this.rtt.timeoutMs : RESUME_AFTER_MS);
  }

  /** RFC 8985 section 7.2: a probe after two round trips, where it comes before the timeout; once for each tail. */
  #arm(now: number): void {
    const { segments, rtt } = this;
    if (segments.length === 0) {
      this.#waiting = "nothing";
      this.timerAt = NEVER;
      return;
    }
    const timeoutMs = rtt.timeoutMs;
    // Acknowledgements are thinned, so more than a single segment may wait for the peer's timer; a FIN never does.
    const heldBackMs = this.sndNxt > this.dataEnd ? 0 : MAX_ACK_DELAY_MS;
    const probeMs = Math.max(MIN_PROBE_TIMEOUT_MS, 2 * rtt.smoothedMs + heldBackMs);
    const probes = rtt.smoothedMs > 0 && !this.#probe.underWay && !segments.hasLost;
    this.#waiting = probes && probeMs < timeoutMs ? "tail-probe" : "timeout";
    this.timerAt = now + (this.#waiting === "tail-probe" ? probeMs : timeoutMs);
  }
}
