import type { AckSample } from "./controller.js";

/** What a spacing must consist of before it says anything: timers at both ends count in milliseconds. */
const MIN_ACKS = 3;
const MIN_SPAN_MS = 0.25;
/** What a shorter one counts as, for the same reason. */
const SHORTEST_SPAN_MS = 1;

/**
 * The first flight leaves at once, so its segments reach the other end as far apart as the bottleneck lets them, and so do
 * its acknowledgements (packet train dispersion): that is the path's rate, known a round trip after the begin, where doubling
 * would take many. A guess: acknowledgements may have been gathered, and shapers let a first burst through.
 */
export class FirstTrain {
  #firstAt = 0;
  #lastAt = 0;
  #over = false;
  #bytes = 0;
  #acks = 0;
  /** Bytes per millisecond; 0 while there is nothing to go by. */
  rate = 0;

  onAck(ack: AckSample): void {
    if (ack.ackedBytes === 0 || ack.priorDelivered > 0 || this.#over) return;
    const gap = ack.now - this.#lastAt;
    this.#lastAt = ack.now;
    if (this.#acks++ === 0) {
      this.#firstAt = ack.now;
      return;
    }
    const span = ack.now - this.#firstAt;
    // The last of them may have waited for the peer's timer, or to be repeated.
    this.#over = this.#acks > MIN_ACKS && gap > Math.max(2 * MIN_SPAN_MS, span / 2);
    if (this.#over) return;
    this.#bytes += ack.ackedBytes;
    if (this.#acks < MIN_ACKS || span < MIN_SPAN_MS) return;
    this.rate = this.#bytes / Math.max(span, SHORTEST_SPAN_MS);
  }
}
