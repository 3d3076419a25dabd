/** Over so many segments rates are compared. */
const SEGMENTS = 200;
/** What follows others in a burst must be lost so often, and so much more often than what leads one. */
const MIN_LOST = 8;
const FACTOR = 3;
const MARGIN = 0.01;

/**
 * Finds out whether bursts are too long for the queue in front of the bottleneck. A queue of a few packets takes the first of a
 * burst and drops the others; what is lost at random, or to a long queue that is full, is lost wherever in a burst it is.
 */
export class BurstLosses {
  #sentAt = -1;
  #leading = 0;
  #following = 0;
  #leadingLost = 0;
  #followingLost = 0;

  /** A segment leaves. True: it follows another one in a burst. */
  onSent(now: number): boolean {
    const follows = now === this.#sentAt;
    this.#sentAt = now;
    if (follows) this.#following++;
    else this.#leading++;
    return follows;
  }

  onLost(follows: boolean): void {
    if (follows) this.#followingLost++;
    else this.#leadingLost++;
  }

  /** Whether bursts are too long; null while too few segments were sent to tell. */
  takeVerdict(): boolean | null {
    if (this.#leading + this.#following < SEGMENTS) return null;
    const leading = this.#leadingLost / Math.max(1, this.#leading);
    const following = this.#followingLost / Math.max(1, this.#following);
    const tooLong = this.#followingLost >= MIN_LOST && following > FACTOR * leading + MARGIN;
    this.#leading = this.#following = this.#leadingLost = this.#followingLost = 0;
    return tooLong;
  }
}
