import type { AckSample, CongestionController } from "../../../../src/protocol/congestion/index.js";
import { WindowedMax } from "../../../../src/protocol/congestion/windowed-max.js";

const HIGH_GAIN = 2.885;
const CWND_GAIN = 2;
const CYCLE = [1.25, 0.75, 1, 1, 1, 1, 1, 1] as const;
const BANDWIDTH_ROUNDS = 10;
const MIN_RTT_WINDOW_MS = 10_000;
const PROBE_RTT_MS = 200;
/** Linux paces one percent below the estimate. */
const PACING_MARGIN = 0.99;

/** TCP BBR as Linux has it (net/ipv4/tcp_bbr.c, version 1), to compete with: it takes no loss for congestion. */
export class TcpBbr implements CongestionController {
  readonly name = "bbr";
  cwnd: number;
  readonly ssthresh: number = Number.POSITIVE_INFINITY;
  pacingRate: number;
  readonly #segmentBytes: number;
  readonly #random: () => number;
  readonly #bandwidth = new WindowedMax(BANDWIDTH_ROUNDS);
  #mode: "startup" | "drain" | "probe-bw" | "probe-rtt" = "startup";
  #round = 0;
  #roundEndsAt = 0;
  #minRtt = Number.POSITIVE_INFINITY;
  #minRttAt = 0;
  #fullBandwidth = 0;
  #fullRounds = 0;
  #phase = 0;
  #phaseAt = 0;
  #probeRttDoneAt = 0;
  #cwndBefore = 0;

  constructor(segmentBytes: number, random: () => number) {
    this.#segmentBytes = segmentBytes;
    this.#random = random;
    this.cwnd = 10 * segmentBytes;
    this.pacingRate = HIGH_GAIN * this.cwnd;
  }

  setSegmentBytes(): void {}
  onSent(): void {}
  onLoss(): void {}
  onSpurious(): void {}
  onTimeout(): void {
    this.cwnd = this.#segmentBytes;
  }

  onAck(ack: AckSample): void {
    const roundStart = ack.ackedBytes > 0 && ack.priorDelivered >= this.#roundEndsAt;
    if (roundStart) {
      this.#roundEndsAt = ack.delivered;
      this.#round++;
    }
    const rate = ack.deliveryRate;
    if (rate > 0 && (!ack.appLimited || rate >= this.#bandwidth.value)) this.#bandwidth.update(rate, this.#round);
    this.#updateCycle(ack);
    if (roundStart && this.#mode === "startup") this.#checkFull();
    if (this.#mode === "drain" && ack.inFlight <= this.#target(1)) this.#enterProbeBandwidth(ack.now);
    this.#updateMinRtt(ack);
    const target = this.#target(this.#mode === "startup" || this.#mode === "drain" ? HIGH_GAIN : CWND_GAIN);
    if (this.#mode === "startup") this.cwnd += ack.ackedBytes;
    else this.cwnd = Math.min(this.cwnd + ack.ackedBytes, target);
    this.cwnd = Math.max(this.cwnd, 4 * this.#segmentBytes);
    if (this.#mode === "probe-rtt") this.cwnd = Math.min(this.cwnd, 4 * this.#segmentBytes);
    const paced = PACING_MARGIN * this.#gain() * this.#bandwidth.value;
    if (paced > 0 && (this.#mode !== "startup" || paced > this.pacingRate || this.#round > 1)) this.pacingRate = paced;
  }

  #gain(): number {
    if (this.#mode === "startup") return HIGH_GAIN;
    if (this.#mode === "drain") return 1 / HIGH_GAIN;
    return this.#mode === "probe-rtt" ? 1 : (CYCLE[this.#phase] as number);
  }

  /** With room for what the stack holds: three segments for each burst. */
  #target(gain: number): number {
    if (this.#minRtt === Number.POSITIVE_INFINITY) return 10 * this.#segmentBytes;
    return gain * this.#bandwidth.value * this.#minRtt + 6 * this.#segmentBytes;
  }

  #checkFull(): void {
    if (this.#bandwidth.value >= 1.25 * this.#fullBandwidth) {
      this.#fullBandwidth = this.#bandwidth.value;
      this.#fullRounds = 0;
    } else if (++this.#fullRounds >= 3) this.#mode = "drain";
  }

  #enterProbeBandwidth(now: number): void {
    this.#mode = "probe-bw";
    // Any phase but the one that drains.
    this.#phase = (CYCLE.length - Math.floor(this.#random() * (CYCLE.length - 1))) % CYCLE.length;
    this.#phaseAt = now;
  }

  #updateCycle(ack: AckSample): void {
    if (this.#mode !== "probe-bw") return;
    const elapsed = ack.now - this.#phaseAt > this.#minRtt;
    const gain = CYCLE[this.#phase] as number;
    let next = elapsed;
    if (gain > 1)
      next = elapsed && (ack.lostBytes > 0 || ack.priorInFlight >= this.#target(gain) - 6 * this.#segmentBytes);
    else if (gain < 1) next = elapsed || ack.priorInFlight <= this.#target(1);
    if (!next) return;
    this.#phase = (this.#phase + 1) % CYCLE.length;
    this.#phaseAt = ack.now;
  }

  #updateMinRtt(ack: AckSample): void {
    const expired = ack.now > this.#minRttAt + MIN_RTT_WINDOW_MS;
    if (ack.rttMs > 0 && (ack.rttMs <= this.#minRtt || expired)) {
      this.#minRtt = ack.rttMs;
      this.#minRttAt = ack.now;
    }
    if (expired && this.#mode !== "probe-rtt") {
      this.#cwndBefore = this.cwnd;
      this.#mode = "probe-rtt";
      this.#probeRttDoneAt = 0;
    }
    if (this.#mode !== "probe-rtt") return;
    if (this.#probeRttDoneAt === 0) {
      if (ack.inFlight <= 4 * this.#segmentBytes) this.#probeRttDoneAt = ack.now + PROBE_RTT_MS;
    } else if (ack.now > this.#probeRttDoneAt) {
      this.#minRttAt = ack.now;
      this.cwnd = Math.max(this.cwnd, this.#cwndBefore);
      if (this.#fullRounds >= 3) this.#enterProbeBandwidth(ack.now);
      else this.#mode = "startup";
    }
  }
}
