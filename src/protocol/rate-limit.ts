/** A token bucket, kept as the one time by which what was admitted so far is paid for (GCRA). Times are in ms. */
export class RateLimit {
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  #paidAt = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number, atOnce: number) {
    this.#intervalMs = 1000 / perSecond;
    this.#toleranceMs = atOnce * this.#intervalMs;
  }

  admits(now: number): boolean {
    const paidAt = Math.max(this.#paidAt, now) + this.#intervalMs;
    if (paidAt - now > this.#toleranceMs) return false;
    this.#paidAt = paidAt;
    return true;
  }
}
