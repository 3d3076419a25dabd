import type { AckSample, CongestionController } from "./controller.js";
import { HyStart } from "./hystart.js";
import { WindowUse } from "./window-use.js";

/** RFC 9438 section 4.6 (multiplicative decrease) and 5.1 (C, in segments per second cubed). */
export const BETA_CUBIC = 0.7;
export const C = 0.4;
/** RFC 9438 section 4.3: what makes an AIMD flow with this decrease as fast as Reno. */
export const ALPHA_CUBIC: number = (3 * (1 - BETA_CUBIC)) / (1 + BETA_CUBIC);

/** As Linux: a window leaves within this part of a round trip, so that pacing does not become the limit. */
const PACING_GAIN_SLOW_START = 2;
const PACING_GAIN_AVOIDANCE = 1.25;

const NOT_BEGUN = -1;

/** RFC 9438 section 4.2: how many seconds it takes to be back at `wMax`. Windows in segments. */
export function cubicK(wMax: number, cwndEpoch: number): number {
  return Math.cbrt((wMax - cwndEpoch) / C);
}

/** RFC 9438 section 4.2, equation 1: the window `t` seconds after the epoch's begin. */
export function wCubic(t: number, k: number, wMax: number): number {
  return C * (t - k) ** 3 + wMax;
}

/** CUBIC (RFC 9438) with HyStart++ (RFC 9406). */
export class Cubic implements CongestionController {
  readonly name = "cubic";
  cwnd: number;
  ssthresh: number = Number.POSITIVE_INFINITY;
  pacingRate: number = Number.POSITIVE_INFINITY;
  #segmentBytes: number;
  readonly #use = new WindowUse();
  #hystart: HyStart | null = new HyStart();

  // The state of congestion avoidance, in segments and seconds as the RFC has it.
  #wMax = 0;
  #k = 0;
  #wEst = 0;
  #cwndPrior = 0;
  /** When the epoch began, in milliseconds; moved on by the time in which the window was not used. */
  #epochStart = NOT_BEGUN;
  /** No loss has shaped the curve: it begins at today's window (sections 4.8 and 4.10). */
  #fresh = true;
  #lastAckAt = 0;

  readonly #undo = {
    armed: false,
    cwnd: 0,
    ssthresh: 0,
    wMax: 0,
    k: 0,
    wEst: 0,
    cwndPrior: 0,
    epochStart: 0,
    fresh: true,
  };

  constructor(segmentBytes: number, initialCwnd: number) {
    this.#segmentBytes = segmentBytes;
    this.cwnd = Math.max(initialCwnd, segmentBytes);
  }

  setSegmentBytes(segmentBytes: number): void {
    const ratio = this.#segmentBytes / segmentBytes;
    this.#segmentBytes = segmentBytes;
    this.#wMax *= ratio;
    this.#wEst *= ratio;
    this.#cwndPrior *= ratio;
    this.cwnd = Math.max(this.cwnd, segmentBytes);
    // K is a time: the curve that begins at this window and has this maximum takes another one.
    if (!this.#fresh && this.#epochStart !== NOT_BEGUN) this.#k *= Math.cbrt(ratio);
  }

  onSent(_bytes: number, inFlight: number, _now: number): void {
    this.#use.onSent(inFlight, this.cwnd, this.#segmentBytes);
  }

  onAck(ack: AckSample): void {
    this.#use.onAck(ack);
    if (ack.ackedBytes > 0) this.#grow(ack);
    this.#lastAckAt = ack.now;
    if (ack.smoothedRttMs > 0) {
      const gain = this.cwnd < this.ssthresh ? PACING_GAIN_SLOW_START : PACING_GAIN_AVOIDANCE;
      this.pacingRate = (gain * this.cwnd) / ack.smoothedRttMs;
    }
  }

  onLoss(inFlight: number, _now: number): void {
    this.#remember();
    this.#reduce(inFlight);
    this.cwnd = this.ssthresh;
  }

  /** RFC 9438 section 4.8: as Reno, with this decrease factor; the curve begins anew where slow start ends. */
  onTimeout(inFlight: number, _now: number): void {
    this.#remember();
    this.#reduce(inFlight);
    this.cwnd = this.#segmentBytes;
    this.#fresh = true;
  }

  /** RFC 9438 section 4.9.2. */
  onSpurious(_now: number): void {
    const undo = this.#undo;
    if (!undo.armed) return;
    undo.armed = false;
    this.cwnd = Math.max(this.cwnd, undo.cwnd);
    this.ssthresh = undo.ssthresh;
    this.#wMax = undo.wMax;
    this.#k = undo.k;
    this.#wEst = undo.wEst;
    this.#cwndPrior = undo.cwndPrior;
    this.#epochStart = undo.epochStart;
    this.#fresh = undo.fresh;
  }

  #grow(ack: AckSample): void {
    const slowStart = this.cwnd < this.ssthresh;
    if (slowStart && this.#hystart?.onAck(ack)) {
      this.#hystart = null;
      this.ssthresh = this.cwnd;
    }
    if (!this.#use.filled(this.cwnd, slowStart)) {
      // Section 5.8: time in which the window was not used does not count.
      if (this.#epochStart !== NOT_BEGUN) this.#epochStart += ack.now - this.#lastAckAt;
      return;
    }
    // Fast recovery keeps the window; after a timeout slow start goes on (RFC 5681 sections 3.1 and 3.2).
    if (ack.inRecovery && !slowStart) return;
    if (this.cwnd < this.ssthresh) {
      this.cwnd += this.#hystart === null ? ack.ackedBytes : this.#hystart.growth(ack.ackedBytes);
      if (this.cwnd > this.ssthresh) this.cwnd = this.ssthresh;
      return;
    }
    this.#avoid(ack);
  }

  #avoid(ack: AckSample): void {
    const segment = this.#segmentBytes;
    const cwnd = this.cwnd / segment;
    if (this.#epochStart === NOT_BEGUN) this.#begin(ack.now, cwnd);
    const t = (ack.now - this.#epochStart) / 1000;
    const acked = ack.ackedBytes / segment;

    // Section 4.3: the window Reno would have; as fast as Reno once it is back where the last decrease took place.
    this.#wEst += (this.#wEst < this.#cwndPrior ? ALPHA_CUBIC : 1) * (acked / cwnd);
    if (wCubic(t, this.#k, this.#wMax) < this.#wEst) {
      this.cwnd = Math.max(this.cwnd, this.#wEst * segment);
      return;
    }
    // Sections 4.4 and 4.5: a round trip later the window is at the target, at most half as much again.
    const ahead = wCubic(t + ack.smoothedRttMs / 1000, this.#k, this.#wMax);
    const target = Math.min(Math.max(ahead, cwnd), 1.5 * cwnd);
    this.cwnd += ((target - cwnd) / cwnd) * ack.ackedBytes;
  }

  #begin(now: number, cwnd: number): void {
    this.#epochStart = now;
    this.#wEst = cwnd;
    if (this.#fresh) {
      this.#fresh = false;
      this.#wMax = cwnd;
      if (this.#cwndPrior === 0) this.#cwndPrior = cwnd;
    }
    this.#k = cwnd < this.#wMax ? cubicK(this.#wMax, cwnd) : 0;
    // Without a way up the curve begins at its middle.
    if (this.#k === 0) this.#wMax = cwnd;
  }

  #reduce(inFlight: number): void {
    const cwnd = this.cwnd / this.#segmentBytes;
    this.#cwndPrior = cwnd;
    // Section 4.7, fast convergence: below the last maximum somebody else has come; leave more room.
    this.#wMax = cwnd < this.#wMax ? (cwnd * (1 + BETA_CUBIC)) / 2 : cwnd;
    this.#epochStart = NOT_BEGUN;
    this.#fresh = false;
    this.#hystart = null;
    // Section 4.6: of what was in flight, for a window that was not filled says nothing.
    this.ssthresh = Math.max(Math.min(inFlight, this.cwnd) * BETA_CUBIC, 2 * this.#segmentBytes);
  }

  #remember(): void {
    const undo = this.#undo;
    undo.armed = true;
    undo.cwnd = this.cwnd;
    undo.ssthresh = this.ssthresh;
    undo.wMax = this.#wMax;
    undo.k = this.#k;
    undo.wEst = this.#wEst;
    undo.cwndPrior = this.#cwndPrior;
    undo.epochStart = this.#epochStart;
    undo.fresh = this.#fresh;
  }
}
