/** So many wake-ups in a row are looked at together before they are called dense. */
const WAKES = 16;
/** That is when there would be so many of them in the time between two looks. */
const WAKES_PER_LOOK = 2;
/** So many looks in a row are judged together: they must find a datagram each on average. */
const LOOKS = 16;
/** And so many in a row that find nothing are the end of a stream. */
const VAIN_LOOKS = 3;
/** What may be added to a round trip by looking only now and then, and what a look is at most late. */
const ROUND_SHARE = 1 / 12;
const MOST_PATIENCE_MS = 8;

/** How late, in whole ms, datagrams of a path of this least round trip (0: not known) may be delivered; 0 for at once. */
export function patienceMs(minRttMs: number): number {
  return Math.min(Math.floor(minRttMs * ROUND_SHARE), MOST_PATIENCE_MS);
}

/**
 * Whether to be woken for each datagram or to look for them now and then, as network cards moderate their interrupts: a
 * wake-up of the event loop costs as much as ten datagrams. On a link of 20 Mbit/s each datagram would come alone.
 */
export class Moderation {
  #wakes = 0;
  #since = 0;
  #looks = 0;
  #found = 0;
  #vainLooks = 0;

  /** A datagram has woken us. True: look for them every `patienceMs` instead from now on. */
  onWake(patienceMs: number, now: number): boolean {
    if (this.#wakes++ === 0) this.#since = now;
    if (this.#wakes <= WAKES) return false;
    this.#wakes = 0;
    return (now - this.#since) * WAKES_PER_LOOK <= WAKES * patienceMs;
  }

  /** A look has found so many. False: be woken again from now on. */
  onLook(datagrams: number): boolean {
    this.#found += datagrams;
    this.#vainLooks = datagrams > 0 ? 0 : this.#vainLooks + 1;
    let goesOn = this.#vainLooks < VAIN_LOOKS;
    if (++this.#looks === LOOKS) {
      goesOn &&= this.#found >= LOOKS;
      this.#looks = this.#found = 0;
    }
    if (!goesOn) this.#looks = this.#found = this.#vainLooks = 0;
    return goesOn;
  }
}
