/**
 * Round-trip time estimation and the retransmission timeout of RFC 6298, in milliseconds. The clock is fine, so its
 * granularity G counts for nothing beside the minimum.
 */

/** The timeout before the first sample (RFC 6298 section 2.1, RFC 8085 section 3.1.1). */
const INITIAL_TIMEOUT_MS = 1000;
/** The least timeout where an upper bound of the round trip is known, and the one on a new path to a peer that was heard. */
const BOUNDED_TIMEOUT_MS = 500;
/** RFC 6298 section 2.4 asks for 1 s; like Linux we take less, as timestamps and Eifel detection undo what was spurious. */
const MIN_TIMEOUT_MS = 200;
/** The longest timeout that a path's own round trips lead to (RFC 6298 section 2.5). */
const MAX_TIMEOUT_MS = 60_000;
/**
 * How often a segment is repeated before a silent peer is given up, about: backing off ends at this share of the silence timeout,
 * 3.75 s of 30, or at the path's own timeout. RFC 6298 section 2.5 allows no bound below 60 s; TCP waits for minutes, we for 30 s.
 */
const REPETITIONS_IN_SILENCE = 8;
/** How much longer than the upper bound of the first round trip the first timeout is. */
const BOUND_MARGIN = 1.5;
/** RFC 6298 section 2.3. */
const ALPHA = 1 / 8;
const BETA = 1 / 4;
const K = 4;
/** The least round trip is forgotten after this time, so that a longer path is noticed. */
const MIN_RTT_WINDOW_MS = 300_000;

export class RttEstimator {
  /** 0 before the first sample. */
  smoothedMs = 0;
  variationMs = 0;
  /** The least sample of the last five minutes, Infinity before the first. */
  minMs: number = Number.POSITIVE_INFINITY;
  latestMs = 0;
  /** The retransmission timeout. It is asked for several times with every packet. */
  timeoutMs: number = INITIAL_TIMEOUT_MS;
  #minAt = 0;
  #backoff = 1;
  #silenceTimeoutMs = Number.POSITIVE_INFINITY;
  /** The timeout while there is no sample. */
  #initialTimeoutMs = INITIAL_TIMEOUT_MS;

  /** A peer that says nothing for so long is given up, in ms; Infinity, the default, for never. It bounds the back-off. */
  get silenceTimeoutMs(): number {
    return this.#silenceTimeoutMs;
  }
  set silenceTimeoutMs(value: number) {
    if (value === this.#silenceTimeoutMs) return;
    this.#silenceTimeoutMs = value;
    this.#setBackoff(this.#backoff);
  }

  onSample(rttMs: number, now: number): void {
    this.latestMs = rttMs;
    if (rttMs <= this.minMs || now - this.#minAt > MIN_RTT_WINDOW_MS) {
      this.minMs = rttMs;
      this.#minAt = now;
    }
    if (this.smoothedMs === 0) {
      this.smoothedMs = rttMs;
      this.variationMs = rttMs / 2;
    } else {
      this.variationMs = (1 - BETA) * this.variationMs + BETA * Math.abs(this.smoothedMs - rttMs);
      this.smoothedMs = (1 - ALPHA) * this.smoothedMs + ALPHA * rttMs;
    }
    this.#setBackoff(1);
  }

  /**
   * The handshake took so long, with a SYN that was repeated. Which of them was answered is unknown, so it is no sample (Karn,
   * RFC 6298 section 3), but a round trip takes no longer.
   */
  onUpperBound(rttMs: number): void {
    if (this.smoothedMs > 0) return;
    this.#initialTimeoutMs = Math.min(MAX_TIMEOUT_MS, Math.max(BOUNDED_TIMEOUT_MS, BOUND_MARGIN * rttMs));
    this.#setBackoff(this.#backoff);
  }

  /** A timeout came too early: the path is slower than was known, and this sample is the first of what it is now (RFC 4015 section 3.3). */
  onSpuriousTimeout(rttMs: number): void {
    if (rttMs <= this.smoothedMs) return;
    this.smoothedMs = rttMs;
    this.variationMs = rttMs / 2;
    this.#setBackoff(1);
  }

  /** Another path: nothing is known of it. */
  reset(): void {
    this.#initialTimeoutMs = BOUNDED_TIMEOUT_MS;
    this.smoothedMs = this.variationMs = this.latestMs = 0;
    this.minMs = Number.POSITIVE_INFINITY;
    this.#setBackoff(1);
  }

  /** RFC 6298 section 5.5. */
  backOff(): void {
    this.#setBackoff(2 * this.#backoff);
  }

  /** Something new was acknowledged. */
  endBackOff(): void {
    if (this.#backoff > 1) this.#setBackoff(1);
  }

  #setBackoff(backoff: number): void {
    this.#backoff = backoff;
    const base =
      this.smoothedMs === 0 ? this.#initialTimeoutMs : Math.max(MIN_TIMEOUT_MS, this.smoothedMs + K * this.variationMs);
    const most = Math.max(base, this.#silenceTimeoutMs / REPETITIONS_IN_SILENCE);
    this.timeoutMs = Math.min(MAX_TIMEOUT_MS, most, base * backoff);
  }
}
