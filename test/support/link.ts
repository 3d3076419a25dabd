import type { Random } from "./random.js";

/** One direction of a simulated network. Probabilities are 0 to 1 a datagram. */
export interface LinkOptions {
  readonly delayMs: number;
  /** Up to so much later, still in order. */
  readonly jitterMs: number;
  readonly loss: number;
  /** How long everything is lost at a time, on average; `loss` stays the share of the time. 0 unless told: each by itself. */
  readonly lossBurstMs?: number;
  readonly duplication: number;
  /** Held back, up to `holdBackMs`, while others pass. */
  readonly reordering: number;
  readonly holdBackMs: number;
  /** Bits flipped on the way: UDP's checksum finds that, and the datagram never arrives. */
  readonly corruption: number;
  /** Bits flipped, or cut short, and delivered all the same. */
  readonly garbling: number;
  readonly bytesPerSecond: number;
  /** What waits for the line at most; more is dropped. */
  readonly queueBytes: number;
  /** Larger datagrams are dropped. */
  readonly mtuBytes: number;
}

export const PERFECT_LINK: LinkOptions = {
  delayMs: 10,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  reordering: 0,
  holdBackMs: 0,
  corruption: 0,
  garbling: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  queueBytes: Number.POSITIVE_INFINITY,
  mtuBytes: 1500,
};

/**
 * A link with a random character.
 *
 * Nothing is late by more than the link's delay: the classic sequence space holds two windows, so a datagram that arrives
 * more than a round trip after its successors can be mistaken for one of the next lap. No receiver could tell.
 */
export function randomLink(random: Random, worst: { loss?: number } = {}): LinkOptions {
  const delayMs = random.between(1, 150);
  const jitterMs = random.chance(0.5) ? random.between(0, delayMs / 2) : 0;
  const slow = random.chance(0.3);
  return {
    delayMs,
    jitterMs,
    loss: random.chance(0.7) ? random.between(0, worst.loss ?? 0.25) : 0,
    duplication: random.chance(0.5) ? random.between(0, 0.2) : 0,
    reordering: random.chance(0.5) ? random.between(0, 0.3) : 0,
    holdBackMs: delayMs - jitterMs,
    corruption: random.chance(0.3) ? random.between(0, 0.05) : 0,
    garbling: 0,
    bytesPerSecond: slow ? random.between(20_000, 500_000) : Number.POSITIVE_INFINITY,
    queueBytes: slow ? random.between(4_000, 60_000) : Number.POSITIVE_INFINITY,
    mtuBytes: 1500,
  };
}

export interface Arrival {
  readonly at: number;
  readonly datagram: Uint8Array;
}

/** One direction between two hosts: says when, and as what, a datagram arrives. */
export class Link {
  /** May be changed in the middle of things. */
  options: LinkOptions;
  readonly #random: Random;
  #isBad = false;
  #changesAt = 0;
  #lineIsFreeAt = 0;
  #lastArrivalAt = 0;

  constructor(options: LinkOptions, random: Random) {
    this.options = options;
    this.#random = random;
  }

  /** What becomes of a datagram sent now: nothing, one arrival or several. */
  carry(datagram: Uint8Array, now: number): Arrival[] {
    const { options } = this;
    const random = this.#random;
    if (datagram.length > options.mtuBytes) return [];
    const leavesAt = this.#leavesAt(datagram.length, now);
    if (leavesAt === null || this.#loses(now)) return [];
    if (random.chance(options.corruption)) return [];

    const arrivals = [{ at: this.#arrivesAt(leavesAt), datagram: this.#garbled(datagram) }];
    if (random.chance(options.duplication)) {
      const at = leavesAt + options.delayMs + random.between(0, options.jitterMs + options.holdBackMs);
      arrivals.push({ at, datagram: this.#garbled(datagram) });
    }
    return arrivals;
  }

  /** With bursts: a link that is good or bad, and changes between the two (Gilbert). */
  #loses(now: number): boolean {
    const { loss, lossBurstMs = 0 } = this.options;
    if (lossBurstMs === 0) return this.#random.chance(loss);
    while (this.#changesAt <= now) {
      this.#isBad = !this.#isBad && this.#changesAt > 0;
      const meanMs = this.#isBad ? lossBurstMs : (lossBurstMs * (1 - loss)) / loss;
      this.#changesAt += -Math.log(1 - this.#random.next()) * meanMs;
    }
    return this.#isBad;
  }

  /** When the line has sent it; null when the queue in front of it is full. */
  #leavesAt(bytes: number, now: number): number | null {
    const { bytesPerSecond, queueBytes } = this.options;
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return now;
    const queuedBytes = (Math.max(0, this.#lineIsFreeAt - now) * bytesPerSecond) / 1000;
    if (queuedBytes + bytes > queueBytes) return null;
    this.#lineIsFreeAt = Math.max(now, this.#lineIsFreeAt) + (bytes / bytesPerSecond) * 1000;
    return this.#lineIsFreeAt;
  }

  #arrivesAt(leavesAt: number): number {
    const { delayMs, jitterMs, reordering, holdBackMs } = this.options;
    const random = this.#random;
    const at = Math.max(this.#lastArrivalAt, leavesAt + delayMs + random.between(0, jitterMs));
    this.#lastArrivalAt = at;
    return random.chance(reordering) ? at + random.between(0, holdBackMs) : at;
  }

  /** A copy, as the receiver owns what arrives. */
  #garbled(datagram: Uint8Array): Uint8Array {
    const random = this.#random;
    const copy = datagram.slice();
    if (!random.chance(this.options.garbling)) return copy;
    if (random.chance(0.2)) return copy.subarray(0, random.integer(0, copy.length));
    for (let flips = random.integer(1, 4); flips > 0; flips--) {
      // Mostly in the header: that is where it hurts.
      const at = random.integer(0, random.chance(0.8) ? Math.min(11, copy.length - 1) : copy.length - 1);
      copy[at] = (copy[at] as number) ^ (1 << random.integer(0, 7));
    }
    return copy;
  }
}
