import type { AckSample } from "./controller.js";

// RFC 9406 section 4.3.
const MIN_RTT_THRESH_MS = 4;
const MAX_RTT_THRESH_MS = 16;
const MIN_RTT_DIVISOR = 8;
const N_RTT_SAMPLE = 8;
const CSS_GROWTH_DIVISOR = 4;
const CSS_ROUNDS = 5;

const NEVER = Number.POSITIVE_INFINITY;

/** HyStart++ (RFC 9406): leaves slow start when the round-trip time begins to grow, before the queue overflows. */
export class HyStart {
  #roundEndsAt = 0;
  #lastRoundMinRtt = NEVER;
  #currentRoundMinRtt = NEVER;
  #samples = 0;
  /** The RTT at which conservative slow start began; Infinity outside of it. */
  #cssBaselineMinRtt = NEVER;
  #cssRounds = 0;

  get conservative(): boolean {
    return this.#cssBaselineMinRtt !== NEVER;
  }

  /** What slow start's window grows by for this acknowledgement. L is infinite: we pace. */
  growth(ackedBytes: number): number {
    return this.conservative ? ackedBytes / CSS_GROWTH_DIVISOR : ackedBytes;
  }

  /** Returns true when slow start is over. */
  onAck(ack: AckSample): boolean {
    if (ack.ackedBytes > 0 && ack.priorDelivered >= this.#roundEndsAt) {
      this.#roundEndsAt = ack.delivered;
      this.#lastRoundMinRtt = this.#currentRoundMinRtt;
      this.#currentRoundMinRtt = NEVER;
      this.#samples = 0;
      if (this.conservative && ++this.#cssRounds >= CSS_ROUNDS) return true;
    }
    if (ack.rttMs <= 0) return false;
    if (ack.rttMs < this.#currentRoundMinRtt) this.#currentRoundMinRtt = ack.rttMs;
    if (++this.#samples < N_RTT_SAMPLE) return false;
    if (this.conservative) {
      // The growth was a mistake: slow start goes on.
      if (this.#currentRoundMinRtt < this.#cssBaselineMinRtt) this.#cssBaselineMinRtt = NEVER;
    } else if (this.#lastRoundMinRtt !== NEVER) {
      const thresh = Math.min(Math.max(MIN_RTT_THRESH_MS, this.#lastRoundMinRtt / MIN_RTT_DIVISOR), MAX_RTT_THRESH_MS);
      if (this.#currentRoundMinRtt >= this.#lastRoundMinRtt + thresh) {
        this.#cssBaselineMinRtt = this.#currentRoundMinRtt;
        this.#cssRounds = 0;
      }
    }
    return false;
  }
}
