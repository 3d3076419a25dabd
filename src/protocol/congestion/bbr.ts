import { quantumMs } from "../pacer.js";
import type { AckSample, CongestionController } from "./controller.js";
import { FirstTrain } from "./first-train.js";
import { LossFloor } from "./loss-floor.js";
import { WindowedMax } from "./windowed-max.js";

/** 2 / ln 2: the least gain at which what is delivered doubles every round trip (draft-cardwell-bbr-00 section 4.2.2.1). */
export const STARTUP_GAIN = 2.885;
export const DRAIN_GAIN: number = 1 / STARTUP_GAIN;
export const UP_GAIN = 1.25;
/** Where the bandwidth grows with the probe, the path has become faster: then it is looked for as quickly as at the start. */
const FAST_UP_GAIN = 2;
const UP_GROWTH = 1.2;
export const DOWN_GAIN = 0.75;
/** Room for acknowledgements that come late, thinned and in bunches. Startup needs twice the path to double. */
const STARTUP_CWND_GAIN = 2;
/** With three bursts beside it, two flows that each take this much leave a queue of one path's worth unfilled, and so share it. */
const CWND_GAIN = 1.6;
/** How far a queue is drained: not quite, for what is lost and not yet missed is in flight as well. */
const DRAINED = 1.05;
/** A bandwidth is outlived by one whole cycle of probing. */
const BANDWIDTH_ROUNDS = 10;
const CRUISE_ROUNDS = 3;
const CRUISE_ROUNDS_RANDOM = 4;

/** Startup: what counts as growth, and how many rounds without it end it. */
const FULL_GROWTH = 1.25;
const FULL_ROUNDS = 3;

/** How much more than the first flight the second may be, where the first one's spacing says that the path carries it. */
const MOST_JUMP = 12;
const JUMP_ROUNDS = 2;

const MIN_RTT_WINDOW_MS = 10_000;
const PROBE_RTT_MS = 200;
const PROBE_RTT_GAIN = 0.5;
/** Half the bandwidth and twice the round trip for so long: the link is slower, or the path longer. */
const SLOW_SLICES = 2;
const SLICE_ROUNDS = 4;
const MIN_SLICE_MS = 100;
/** With half as much in flight a queue's part of the round trip halves, a path's does not. */
const QUEUE_DRAINS = 0.75;
/** What counts as seeing the least round trip anew. */
const SEEN_ANEW = 1.05;
/** Below this it is the event loops at both ends that are measured, and the window does not get smaller with it. */
const LOOP_MS = 5;
const NO_PROBE_RTT_MS = 2;

/** More loss than this in a round, beyond what is lost anyway, together with a queue: the queue overflows. */
const EXCESS_LOSS = 0.05;
const LOSS_SEGMENTS = 30;
/** And without a queue to be seen. */
const EXCESS_LOSS_NO_ROOM = 0.25;
const INFLATED = 1.25;
/** What a probe for more bandwidth must show at least, as bandwidth or as a round trip. */
const ROOM = 1.05;
/** A round trip up to this multiple of the least one had no queue. */
const CALM = 1.1;

const BETA = 0.85;
const BANDWIDTH_BETA = 0.7;

const MIN_CWND_SEGMENTS = 4;
const EXTRA_ACKED_ROUNDS = 10;
const EXTRA_ACKED_MS = 100;
const MAX_QUANTUM_BYTES: number = 256 * 1024;

const NEVER = Number.POSITIVE_INFINITY;

export type BbrState = "startup" | "drain" | "down" | "cruise" | "up" | "probe-rtt";

/**
 * BBR (draft-ietf-ccwg-bbr), made tolerant of loss: it models the path by its bandwidth and least round trip and sends at
 * that, and what is lost at random is neither, so it changes nothing but that as much more is sent. Only losses that come
 * with a queue and go beyond the usual bound what is in flight.
 */
export class Bbr implements CongestionController {
  readonly name = "bbr";
  cwnd: number;
  readonly ssthresh: number = NEVER;
  pacingRate: number;
  readonly #random: () => number;
  #segmentBytes: number;
  readonly #initialCwnd: number;

  #state: BbrState = "startup";
  #pacingGain = STARTUP_GAIN;
  #stateRound = 0;
  #cruiseRounds = 0;

  // Rounds: one ends when what was sent at its begin is delivered.
  #round = 0;
  #roundEndsAt = 0;
  #roundStart = false;
  #roundDelivered = 0;
  #roundLost = 0;
  #roundRtt = NEVER;
  #roundRate = 0;
  #roundAppLimited = false;
  #roundInFlight = 0;
  /** Since losses were last looked at. */
  #recentLost = 0;
  #recentSent = 0;
  /** Whether a probe for more bandwidth showed, see {@link #noteRoom}. */
  #hasRoom = true;
  #probed = false;
  #probeShowed = false;
  /** Losses are found up to a quarter of a round trip later than deliveries, so they are counted in rounds that end later. */
  #lossRoundEndsAt = NEVER;
  #lossRoundCalm = false;
  #lossRoundDelivered = 0;
  #lossRoundLost = 0;
  #lossRoundRtt = NEVER;
  /** Pacing gains at the end of the last round and the one before: what one round sends, the next one tells of. */
  #gainOfLast = STARTUP_GAIN;
  #gainOfLastButOne = STARTUP_GAIN;

  // The model.
  readonly #maxBandwidth = new WindowedMax(BANDWIDTH_ROUNDS);
  #minRtt = NEVER;
  #minRttAt = 0;
  #smoothedRtt = 0;
  readonly #lossFloor = new LossFloor();
  readonly #extraAcked = new WindowedMax(EXTRA_ACKED_ROUNDS);
  #epochAt = 0;
  #epochAcked = 0;
  /** What congestion allows at most, until the next probe and for longer. */
  #bandwidthLow = NEVER;
  #inFlightHigh = NEVER;
  /** The bandwidth when probing for more began, or when it last grew. */
  #upBandwidth = 0;
  /** A slice of time, in which slowness is looked for: its begin, what was delivered in it, its least round trip. */
  #sliceAt = 0;
  #sliceDelivered = 0;
  #sliceRtt = NEVER;
  #slowSlices = 0;
  /** The round trip and the bandwidth that led to ProbeRTT; 0: nothing but time did. */
  #slowRtt = 0;
  #slowRate = 0;

  // Startup.
  readonly #train: FirstTrain;
  #fullBandwidth = 0;
  #fullRounds = 0;
  #fullReached = false;

  // ProbeRTT.
  #probeRttEndsAt = NEVER;
  #probeRttRound = 0;
  #probeRttMin = NEVER;
  #cwndBefore = 0;

  // After a timeout.
  #conserving = false;
  #conservingUntilRound = 0;
  #highBefore = NEVER;
  #lowBefore = NEVER;

  constructor(segmentBytes: number, initialCwnd: number, random: () => number) {
    this.#segmentBytes = segmentBytes;
    this.#initialCwnd = Math.max(initialCwnd, segmentBytes);
    this.cwnd = this.#initialCwnd;
    this.#train = new FirstTrain(this.#initialCwnd);
    this.#random = random;
    // Section 5.6.2 of the draft: before the first round trip is known, as if it took a millisecond.
    this.pacingRate = STARTUP_GAIN * this.#initialCwnd;
  }

  get state(): BbrState {
    return this.#state;
  }
  /** Bytes per millisecond. */
  get bandwidth(): number {
    return Math.min(this.#maxBandwidth.value, this.#bandwidthLow);
  }
  get minRttMs(): number {
    return this.#minRtt;
  }
  get inFlightHigh(): number {
    return this.#inFlightHigh;
  }
  /** The part of what is sent that is taken to be lost at random. */
  get randomLoss(): number {
    return this.#lossFloor.rate;
  }

  setSegmentBytes(segmentBytes: number): void {
    this.#segmentBytes = segmentBytes;
    this.cwnd = Math.max(this.cwnd, segmentBytes);
  }

  onSent(bytes: number, inFlight: number, now: number): void {
    this.#train.onSent(now);
    if (inFlight > this.#roundInFlight) this.#roundInFlight = inFlight;
    if (inFlight > bytes) return;
    // From idle: nothing was to be acknowledged, so no aggregation is to be measured over that time.
    this.#epochAt = now;
    this.#epochAcked = 0;
  }

  onAck(ack: AckSample): void {
    this.#train.onAck(ack);
    this.#updateRound(ack);
    this.#updateRtt(ack);
    this.#updateBandwidth(ack);
    this.#updateExtraAcked(ack);
    this.#noteSlowness(ack);
    if (this.#roundStart) this.#endRound(ack);
    const drains = this.#state === "drain" || (this.#state === "down" && this.#round > this.#stateRound);
    if (drains && ack.inFlight <= this.#bdp(DRAINED)) this.#enterCruise();
    this.#probeRtt(ack);
    this.#setPacingRate();
    this.#setCwnd(ack);
  }

  /** One lost segment says nothing; see {@link #isCongested}. */
  onLoss(_inFlight: number, _now: number): void {}

  onTimeout(_inFlight: number, _now: number): void {
    if (!this.#conserving) {
      this.#cwndBefore = Math.max(this.#cwndBefore, this.cwnd);
      this.#highBefore = this.#inFlightHigh;
      this.#lowBefore = this.#bandwidthLow;
    }
    this.#conserving = true;
    this.#conservingUntilRound = this.#round + 2;
    this.cwnd = this.#minCwnd();
  }

  onSpurious(_now: number): void {
    if (!this.#conserving) return;
    this.#inFlightHigh = this.#highBefore;
    this.#bandwidthLow = this.#lowBefore;
    this.#restoreCwnd();
  }

  #updateRound(ack: AckSample): void {
    this.#roundStart = ack.ackedBytes > 0 && ack.priorDelivered >= this.#roundEndsAt;
    if (this.#roundStart) {
      this.#roundEndsAt = ack.delivered;
      this.#round++;
    }
    this.#roundDelivered += ack.ackedBytes;
    this.#roundLost += ack.lostBytes;
    if (ack.rttMs > 0 && ack.rttMs < this.#roundRtt) this.#roundRtt = ack.rttMs;
    if (ack.deliveryRate > this.#roundRate) this.#roundRate = ack.deliveryRate;
    if (ack.appLimited) this.#roundAppLimited = true;
    this.#lossRoundDelivered += ack.ackedBytes;
    this.#lossRoundLost += ack.lostBytes;
    if (ack.rttMs > 0 && ack.rttMs < this.#lossRoundRtt) this.#lossRoundRtt = ack.rttMs;
    if (ack.now >= this.#lossRoundEndsAt) this.#endLossRound();
  }

  #updateRtt(ack: AckSample): void {
    this.#smoothedRtt = ack.smoothedRttMs;
    if (ack.rttMs <= 0) return;
    if (this.#state === "probe-rtt" && ack.rttMs < this.#probeRttMin) this.#probeRttMin = ack.rttMs;
    if (ack.rttMs <= this.#minRtt * SEEN_ANEW) this.#minRttAt = ack.now;
    if (ack.rttMs < this.#minRtt) this.#minRtt = ack.rttMs;
  }

  #updateBandwidth(ack: AckSample): void {
    if (ack.deliveryRate <= 0) return;
    if (!ack.appLimited || ack.deliveryRate >= this.#maxBandwidth.value) {
      this.#maxBandwidth.update(ack.deliveryRate, this.#round);
    }
  }

  /** Section 5.5.9 of the draft: how much more than the bandwidth's worth is acknowledged at once. */
  #updateExtraAcked(ack: AckSample): void {
    if (ack.ackedBytes === 0) return;
    let expected = this.bandwidth * (ack.now - this.#epochAt);
    if (this.#epochAcked <= expected) {
      this.#epochAcked = 0;
      this.#epochAt = ack.now;
      expected = 0;
    }
    this.#epochAcked += ack.ackedBytes;
    const extra = Math.min(this.#epochAcked - expected, this.cwnd, this.bandwidth * EXTRA_ACKED_MS);
    this.#extraAcked.update(extra, this.#round);
  }

  #endRound(ack: AckSample): void {
    this.#noteRoom();
    const congested = this.#isCongested();
    this.#lossRoundEndsAt = ack.now + ack.smoothedRttMs / 4;
    this.#lossRoundCalm = this.#gainOfLastButOne < 1;
    if (congested) this.#bound();
    if (!this.#fullReached) this.#checkStartup(congested);
    else if (this.#state !== "probe-rtt" && this.#state !== "drain") this.#cycle(ack, congested);
    this.#gainOfLastButOne = this.#gainOfLast;
    this.#gainOfLast = this.#pacingGain;
    this.#roundDelivered = 0;
    this.#roundLost = 0;
    this.#roundRtt = NEVER;
    this.#roundRate = 0;
    this.#roundAppLimited = false;
    this.#roundInFlight = ack.inFlight;
  }

  /** Over as many rounds as it takes to tell a rate: a few packets more or less are none. */
  #lossOfRounds(): number {
    this.#recentLost += this.#roundLost;
    this.#recentSent += this.#roundLost + this.#roundDelivered;
    if (this.#recentSent < LOSS_SEGMENTS * this.#segmentBytes) return 0;
    const rate = this.#recentLost / this.#recentSent;
    this.#recentLost = this.#recentSent = 0;
    return rate;
  }

  /** A queue stood for the whole round. */
  #inflated(by: number): boolean {
    return this.#roundRtt !== NEVER && this.#roundRtt > this.#minRtt * by + Math.min(1, this.#minRtt);
  }

  #isCongested(): boolean {
    const loss = this.#lossOfRounds() - this.#lossFloor.rate;
    if (this.#inflated(INFLATED)) return loss > EXCESS_LOSS;
    return !this.#hasRoom && loss > EXCESS_LOSS_NO_ROOM;
  }

  /**
   * Sending more than the bandwidth must show: as bandwidth, or as a round trip that grows with the queue. Where it does not, the
   * queue is always full, which is what the least round trip was measured with, and nothing that is lost is lost at random.
   */
  #noteRoom(): void {
    if (this.#gainOfLastButOne > 1) {
      this.#probed = true;
      if (this.#roundRtt > this.#minRtt * ROOM + Math.min(1, this.#minRtt / 10)) this.#probeShowed = true;
      if (this.#maxBandwidth.value > this.#upBandwidth * ROOM) this.#probeShowed = true;
    } else if (this.#probed) {
      this.#hasRoom = this.#probeShowed;
      this.#probed = this.#probeShowed = false;
    }
  }

  #endLossRound(): void {
    const queued = this.#lossRoundRtt > this.#minRtt * CALM + 1;
    const calm = this.#hasRoom && this.#lossRoundCalm && !queued;
    this.#lossFloor.onRound(this.#lossRoundLost, this.#lossRoundDelivered, calm, queued);
    this.#lossRoundEndsAt = NEVER;
    this.#lossRoundDelivered = 0;
    this.#lossRoundLost = 0;
    this.#lossRoundRtt = NEVER;
  }

  /** Section 5.5.10.3 of the draft, at a round that overflowed the queue. */
  #bound(): void {
    const most = Math.min(this.#roundInFlight, this.#inFlightHigh);
    const base = this.#bandwidthLow === NEVER ? this.#maxBandwidth.value : this.#bandwidthLow;
    if (this.#fullReached) this.#bandwidthLow = Math.max(this.#roundRate, BANDWIDTH_BETA * base);
    this.#inFlightHigh = Math.max(BETA * most, this.#bdp(1), this.#minCwnd());
  }

  /**
   * Half the bandwidth at twice the round trip, for some time: the link has become slower and a queue stands, or the path is longer
   * and the window too small. Only sending less tells them apart: the queue shrinks then, so ProbeRTT decides.
   */
  #noteSlowness(ack: AckSample): void {
    this.#sliceDelivered += ack.ackedBytes;
    if (ack.rttMs > 0 && ack.rttMs < this.#sliceRtt) this.#sliceRtt = ack.rttMs;
    if (ack.appLimited || !this.#fullReached || this.#state === "probe-rtt") this.#slowSlices = -1;
    const elapsed = ack.now - this.#sliceAt;
    if (elapsed < Math.max(SLICE_ROUNDS * this.#minRtt, MIN_SLICE_MS)) return;
    const rate = this.#sliceDelivered / elapsed;
    const slow = rate < this.#maxBandwidth.value / 2 && this.#sliceRtt > 2 * this.#minRtt && this.#sliceRtt !== NEVER;
    this.#slowSlices = slow && this.#minRtt >= NO_PROBE_RTT_MS ? this.#slowSlices + 1 : 0;
    const rtt = this.#sliceRtt;
    this.#sliceAt = ack.now;
    this.#sliceDelivered = 0;
    this.#sliceRtt = NEVER;
    if (this.#slowSlices < SLOW_SLICES) return;
    this.#slowSlices = 0;
    this.#slowRtt = rtt;
    this.#slowRate = rate;
    this.#enterProbeRtt(ack);
  }

  /** Section 5.3.1.2 of the draft: a plateau of the bandwidth. One that comes with a queue needs one round less. */
  #checkStartup(congested: boolean): void {
    if (this.#maxBandwidth.value >= this.#fullBandwidth * FULL_GROWTH) {
      this.#fullBandwidth = this.#maxBandwidth.value;
      this.#fullRounds = 0;
      return;
    }
    if (this.#roundAppLimited) return;
    this.#fullRounds += this.#inflated(1.5) ? 2 : 1;
    if (this.#fullRounds < FULL_ROUNDS && !congested) return;
    this.#fullReached = true;
    this.#upBandwidth = this.#maxBandwidth.value;
    this.#enter("drain", DRAIN_GAIN);
  }

  /** One cycle of ProbeBW: a round up, a round down, some rounds at the bandwidth. Phases change where rounds do. */
  #cycle(ack: AckSample, congested: boolean): void {
    const rounds = this.#round - this.#stateRound;
    if (this.#maxBandwidth.value >= this.#upBandwidth * UP_GROWTH && !congested && !this.#inflated(INFLATED)) {
      this.#upBandwidth = this.#maxBandwidth.value;
      this.#enter("up", FAST_UP_GAIN);
    } else if (this.#state === "up") {
      // On, while the bandwidth grows with it: then no queue fills.
      if (congested || ack.priorInFlight >= this.#bdp(UP_GAIN) || this.#inflated(INFLATED) || rounds >= 4) {
        if (!congested) this.#inFlightHigh *= UP_GAIN;
        this.#enter("down", DOWN_GAIN);
      }
    } else if (this.#state === "down") {
      if (rounds >= 3) this.#enterCruise();
    } else if (rounds >= this.#cruiseRounds) {
      this.#bandwidthLow = NEVER;
      this.#upBandwidth = this.#maxBandwidth.value;
      this.#enter("up", UP_GAIN);
    }
  }

  #enter(state: BbrState, gain: number): void {
    this.#state = state;
    this.#pacingGain = gain;
    this.#stateRound = this.#round;
  }

  #enterCruise(): void {
    this.#cruiseRounds = CRUISE_ROUNDS + Math.floor(this.#random() * CRUISE_ROUNDS_RANDOM);
    this.#enter("cruise", 1);
  }

  /** Section 5.3.4 of the draft. */
  #probeRtt(ack: AckSample): void {
    if (this.#state !== "probe-rtt") {
      if (ack.now - this.#minRttAt <= MIN_RTT_WINDOW_MS || ack.rttMs <= 0) return;
      if (this.#minRtt < NO_PROBE_RTT_MS) {
        // The model's round trip is not made of it.
        this.#minRtt = ack.rttMs;
        this.#minRttAt = ack.now;
        return;
      }
      this.#slowRtt = 0;
      this.#enterProbeRtt(ack);
      return;
    }
    if (this.#slowRtt > 0 && ack.rttMs > this.#slowRtt) this.#slowRtt = ack.rttMs;
    if (ack.rttMs > 0 && ack.rttMs < this.#slowRtt * QUEUE_DRAINS) {
      // A queue that drains: the link is slower, and the path's round trip what it was.
      this.#slowRtt = 0;
      this.#maxBandwidth.reset(this.#slowRate, this.#round);
      this.#upBandwidth = this.#slowRate;
      this.#minRttAt = ack.now;
      if (!this.#conserving) this.#restoreCwnd();
      this.#enter("drain", DRAIN_GAIN);
      return;
    }
    if (this.#probeRttEndsAt === NEVER) {
      if (ack.inFlight > this.#probeRttCwnd()) return;
      this.#probeRttEndsAt = ack.now + PROBE_RTT_MS;
      this.#probeRttRound = this.#round;
      // A round begins here (section 5.3.4.3): the end of the current one would come before any acknowledgement of what is sent now,
      // and so of round trips with a short queue.
      this.#roundEndsAt = ack.delivered;
      return;
    }
    if (ack.now < this.#probeRttEndsAt || this.#round === this.#probeRttRound) return;
    this.#minRtt = this.#probeRttMin;
    this.#minRttAt = ack.now;
    if (!this.#conserving) this.#restoreCwnd();
    if (this.#fullReached) this.#enterCruise();
    else this.#enter("startup", STARTUP_GAIN);
  }

  #enterProbeRtt(ack: AckSample): void {
    if (!this.#conserving) this.#cwndBefore = this.cwnd;
    this.#enter("probe-rtt", 1);
    this.#probeRttEndsAt = NEVER;
    this.#probeRttMin = ack.rttMs > 0 ? ack.rttMs : NEVER;
  }

  #setPacingRate(): void {
    const rate = (this.#pacingGain * this.bandwidth) / (1 - this.#lossFloor.rate);
    if (this.#fullReached) {
      this.pacingRate = rate;
    } else if (this.#smoothedRtt > 0) {
      // Startup's first samples say less than the path can carry.
      const initial = (STARTUP_GAIN * this.#initialCwnd) / this.#smoothedRtt;
      this.pacingRate = Math.max(rate, initial, this.#jumpRate());
    }
  }

  /** What the first flight's spacing promises, no more than so many times that flight a round trip. */
  #jumpRate(): number {
    if (this.#round > JUMP_ROUNDS) return 0;
    return Math.min(this.#train.rate, (MOST_JUMP * this.#initialCwnd) / this.#smoothedRtt);
  }

  #setCwnd(ack: AckSample): void {
    if (this.#conserving) {
      // RFC 6675 section 5.1 and packet conservation: as much as is delivered, and slow start's growth.
      this.cwnd = Math.max(this.cwnd, ack.inFlight + 2 * ack.ackedBytes);
      if (this.#round >= this.#conservingUntilRound) this.#restoreCwnd();
      if (this.#conserving) return;
    }
    const target = this.#fullReached
      ? this.#bdp(Math.max(CWND_GAIN, this.#pacingGain)) + this.#extraAcked.value + this.#quantum()
      : this.#bdp(STARTUP_CWND_GAIN) + this.#quantum();
    let cwnd = this.cwnd + ack.ackedBytes;
    if (this.#smoothedRtt > 0) cwnd = Math.max(cwnd, this.#jumpRate() * this.#minRtt);
    if (this.#fullReached) cwnd = Math.min(cwnd, target);
    else if (this.cwnd >= target && ack.delivered > this.#initialCwnd) cwnd = this.cwnd;
    if (this.#state === "probe-rtt") cwnd = Math.min(cwnd, this.#probeRttCwnd());
    this.cwnd = Math.max(Math.min(cwnd, this.#inFlightHigh), this.#minCwnd());
  }

  #restoreCwnd(): void {
    this.cwnd = Math.max(this.cwnd, this.#cwndBefore);
    this.#cwndBefore = 0;
    this.#conserving = false;
  }

  /** What fills the path `gain` times, lost or not. */
  #bdp(gain: number): number {
    if (this.#minRtt === NEVER) return this.#initialCwnd;
    const rtt = Math.max(this.#minRtt, Math.min(this.#smoothedRtt, LOOP_MS));
    return (gain * this.bandwidth * rtt) / (1 - this.#lossFloor.rate);
  }

  #probeRttCwnd(): number {
    return Math.max(this.#bdp(PROBE_RTT_GAIN), this.#minCwnd());
  }

  /** Three bursts: one at each end and one on its way (section 5.6.4.2 of the draft). */
  #quantum(): number {
    return 3 * Math.max(2 * this.#segmentBytes, Math.min(this.bandwidth * quantumMs(this.#minRtt), MAX_QUANTUM_BYTES));
  }

  #minCwnd(): number {
    return MIN_CWND_SEGMENTS * this.#segmentBytes;
  }
}
