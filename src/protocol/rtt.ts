/**
 * Round-trip time estimation and the retransmission timeout of RFC 6298, in milliseconds. The clock is fine, so its
 * granularity G counts for nothing beside the minimum.
 */

/** The timeout before the first sample (RFC 6298 section 2.1 says 1 s; the classic edition waits half of that). */
const INITIAL_TIMEOUT_MS = 500;
/** RFC 6298 section 2.4 asks for 1 s; like Linux we take less, as timestamps and Eifel detection undo what was spurious. */
const MIN_TIMEOUT_MS = 200;
const MAX_TIMEOUT_MS = 4000;
/**
 * Backing off ends here, or at the path's own timeout: a connection that has heard nothing for 10 s is given up, and with a
 * third of everything lost it takes twenty tries to be sure that nobody is there. Two small packets a second jam no link.
 */
const MAX_BACKED_OFF_MS = 500;
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

  /** Another path: nothing is known of it. */
  reset(): void {
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
      this.smoothedMs === 0 ? INITIAL_TIMEOUT_MS : Math.max(MIN_TIMEOUT_MS, this.smoothedMs + K * this.variationMs);
    this.timeoutMs = Math.min(MAX_TIMEOUT_MS, Math.max(base, Math.min(base * backoff, MAX_BACKED_OFF_MS)));
  }
}
