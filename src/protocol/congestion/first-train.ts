import type { AckSample } from "./controller.js";

/** What a spacing must consist of before it says anything: timers at both ends count in milliseconds. */
const MIN_ACKS = 3;
const MIN_SPAN_MS = 0.25;
/** What a shorter one counts as, for the same reason. */
const SHORTEST_SPAN_MS = 1;
/** How much of the flight must have arrived before the whole says anything: the handshake's round trip may have been long. */
const ENOUGH_OF_FLIGHT = 0.75;

/**
 * Two guesses at the path's rate, of which the greater counts.
 *
 * The first flight leaves at once, so its segments reach the other end as far apart as the bottleneck lets them, and so do
 * its acknowledgements (packet train dispersion): that is the path's rate, known a round trip after the begin, where doubling
 * would take many. A guess: acknowledgements may have been gathered, and shapers let a first burst through.
 *
 * A receiver whose code is cold takes longer for the first segments than the path, and acknowledges many together. Then there
 * is what the path did at least: it has carried what is acknowledged in the time beyond the round trip of the handshake.
 */
export class FirstTrain {
  readonly #flightBytes: number;
  #sentAt = -1;
  /** The least round trip is known from before the flight, not from its own acknowledgements. */
  #hasBase = false;
  #delivered = 0;
  #firstAt = 0;
  #lastAt = 0;
  #over = false;
  #bytes = 0;
  #acks = 0;
  #spacingRate = 0;
  #leastRate = 0;

  constructor(flightBytes: number) {
    this.#flightBytes = flightBytes;
  }

  /** Bytes per millisecond; 0 while there is nothing to go by. */
  get rate(): number {
    return Math.max(this.#spacingRate, this.#leastRate);
  }

  onSent(now: number): void {
    if (this.#sentAt < 0) this.#sentAt = now;
  }

  onAck(ack: AckSample): void {
    if (ack.ackedBytes === 0 || ack.priorDelivered > 0) return;
    this.#noteLeast(ack);
    if (!this.#over) this.#noteSpacing(ack);
  }

  #noteLeast(ack: AckSample): void {
    if (this.#delivered === 0) this.#hasBase = ack.rttMs > 0 && ack.smoothedRttMs !== ack.rttMs;
    this.#delivered += ack.ackedBytes;
    if (!this.#hasBase || this.#delivered < ENOUGH_OF_FLIGHT * this.#flightBytes) return;
    const span = ack.now - this.#sentAt - ack.minRttMs;
    this.#leastRate = this.#delivered / Math.max(span, SHORTEST_SPAN_MS);
  }

  #noteSpacing(ack: AckSample): void {
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
    this.#spacingRate = this.#bytes / Math.max(span, SHORTEST_SPAN_MS);
  }
}
