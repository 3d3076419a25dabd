/** The most that is believed to be random; a link worse than that is left to its retransmissions. */
const MOST = 0.35;
/** How much of what was counted before stays when a round is added. */
const KEEP_CALM = 0.7;
const KEEP_ALL = 0.875;
/** After so many rounds with a queue, it may be the queue that losses come from: what was believed fades. */
const REMEMBERED_ROUNDS = 24;
const FORGET = 0.9;

/**
 * How much of what is sent is lost whatever we do: the part of losses that no queue of ours makes, so that slowing down would
 * not help, and sending as much more as is lost does. Congestion is told from it by slowing down: what is lost of a round
 * sent well below the link's rate is random. That is the least of both that is believed, the calm rounds' and all rounds'.
 */
export class LossFloor {
  #calmLost = 0;
  #calmSent = 0;
  #lost = 0;
  #sent = 0;
  #queuedRounds = 0;
  /** A part of what is sent, 0 to {@link MOST}. */
  rate = 0;

  /** `calm`: what this round says was sent below the link's rate, and no queue stood; `queued`: one did. */
  onRound(lostBytes: number, deliveredBytes: number, calm: boolean, queued: boolean): void {
    const sent = lostBytes + deliveredBytes;
    if (sent === 0) return;
    this.#lost = this.#lost * KEEP_ALL + lostBytes;
    this.#sent = this.#sent * KEEP_ALL + sent;
    if (!queued) this.#queuedRounds = 0;
    else this.#queuedRounds++;
    if (this.#queuedRounds > REMEMBERED_ROUNDS) {
      this.#calmLost *= FORGET;
      this.#calmSent *= FORGET;
      this.rate *= FORGET;
      return;
    }
    if (calm) {
      this.#calmLost = this.#calmLost * KEEP_CALM + lostBytes;
      this.#calmSent = this.#calmSent * KEEP_CALM + sent;
    }
    if (this.#calmSent === 0) return;
    this.rate = Math.min(this.#lost / this.#sent, this.#calmLost / this.#calmSent, MOST);
  }
}
