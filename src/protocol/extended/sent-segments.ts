import { invariant } from "../../invariant/index.js";
import { BurstLosses } from "./burst-losses.js";

/** A range of positions that was sent and is not cumulatively acknowledged. Records are reused. */
export class SentSegment {
  start = 0;
  /** Behind the last position; the FIN counts one. */
  end = 0;
  /** When it was sent last, and how often. */
  sentAt = 0;
  transmissions = 0;
  sacked = false;
  /** Taken for lost and not sent again yet. */
  lost = false;
  /** Taken for lost at some time, whatever came of it. */
  wasLost = false;
  /** It left at the same moment as the one before. */
  inBurst = false;
  /** Of the stream's end, and to be repeated a second time: see tail-repeats.ts. */
  repeatsOnce = false;
  /** From a sacked segment on everything before this position is sacked too: lets a long run be stepped over. */
  sackedUntil = 0;
  /** What the delivery rate needs to know of the moment it was sent (draft-ietf-ccwg-bbr section 4.1.2.2). */
  delivered = 0;
  deliveredAt = 0;
  firstSentAt = 0;
  appLimited = false;
  /** Neighbours in order of the last transmission. */
  earlier: SentSegment | null = null;
  later: SentSegment | null = null;

  get bytes(): number {
    return this.end - this.start;
  }
}

/** Told of each segment that is acknowledged for the first time, cumulatively or selectively. */
export interface DeliveryListener {
  onDelivered(segment: SentSegment): void;
}

/** A power of two, small: most connections are quiet, and a busy one grows it in a moment. */
const INITIAL_CAPACITY = 2;
/** So many segments are checked at every acknowledgement. */
const CHECKED_ALWAYS = 16;
let checks = 0;

/**
 * The scoreboard (RFC 6675 section 3): every segment between SND.UNA and SND.NXT, by position in a ring of reused records,
 * and by time of transmission in a list, as RACK wants it (RFC 8985 section 6.2).
 */
export class SentSegments {
  /** Bytes sent, neither acknowledged nor taken for lost. */
  inFlight = 0;
  /** Segments selectively acknowledged and not cumulatively. */
  sackedCount = 0;
  sackedBytes = 0;
  /** How often a segment has been taken for lost. */
  lossCount = 0;
  /** What leaves at once, and of it what was lost, since they were looked at last: see burst-losses.ts. */
  readonly bursts: BurstLosses = new BurstLosses();
  /** The segment that was sent the longest ago, among those in flight. */
  earliest: SentSegment | null = null;
  #latest: SentSegment | null = null;
  #ring: SentSegment[] = [];
  #head = 0;
  #count = 0;
  #lostCount = 0;
  /** No lost segment begins before this position. */
  #lostFrom = 0;

  get length(): number {
    return this.#count;
  }
  /** The bytes of the first segment, which has not arrived; 0 where there is none. */
  get firstBytes(): number {
    return this.#count === 0 ? 0 : this.#at(0).bytes;
  }
  get hasLost(): boolean {
    return this.#lostCount > 0;
  }

  /** A new segment behind all others, sent now. */
  add(start: number, end: number, now: number): SentSegment {
    if (this.#count === this.#ring.length) this.#grow();
    const segment = this.#at(this.#count++);
    segment.start = start;
    segment.end = end;
    segment.transmissions = 0;
    segment.sacked = segment.lost = segment.wasLost = segment.repeatsOnce = false;
    this.transmitted(segment, now);
    return segment;
  }

  /** The segment leaves (again). */
  transmitted(segment: SentSegment, now: number): void {
    if (segment.lost) {
      segment.lost = false;
      this.#lostCount--;
      this.inFlight += segment.bytes;
    } else if (segment.transmissions === 0) this.inFlight += segment.bytes;
    else this.#unlink(segment);
    segment.sentAt = now;
    segment.inBurst = this.bursts.onSent(now);
    segment.transmissions++;
    segment.earlier = this.#latest;
    segment.later = null;
    if (this.#latest === null) this.earliest = segment;
    else this.#latest.later = segment;
    this.#latest = segment;
  }

  /** Everything before `position` is acknowledged. */
  acknowledge(position: number, listener: DeliveryListener): void {
    if (CONFUNDO_ASSERTIONS && this.#count > 0) {
      invariant(position <= this.#at(this.#count - 1).end, `${position} is acknowledged, and was not sent`);
      this.#check();
    }
    while (this.#count > 0) {
      const segment = this.#at(0);
      if (segment.end > position) {
        if (segment.start < position) this.#shorten(segment, position);
        return;
      }
      if (segment.sacked) {
        this.sackedCount--;
        this.sackedBytes -= segment.bytes;
      } else {
        this.#leaveFlight(segment);
        listener.onDelivered(segment);
      }
      this.#head = (this.#head + 1) & (this.#ring.length - 1);
      this.#count--;
    }
  }

  /** `start` to `end` has arrived. Only whole segments count. */
  sack(start: number, end: number, listener: DeliveryListener): void {
    const first = this.#indexOf(start);
    let index = first;
    while (index < this.#count) {
      const segment = this.#at(index);
      if (segment.end > end) break;
      if (segment.sacked) {
        index = segment.sackedUntil > segment.end ? Math.max(index + 1, this.#indexOf(segment.sackedUntil)) : index + 1;
        continue;
      }
      this.#leaveFlight(segment);
      segment.sacked = true;
      segment.sackedUntil = segment.end;
      this.sackedCount++;
      this.sackedBytes += segment.bytes;
      listener.onDelivered(segment);
      index++;
    }
    if (index > first) {
      const run = this.#at(first);
      run.sackedUntil = Math.max(run.sackedUntil, this.#at(index - 1).end);
    }
  }

  /** Taken for lost: it is to be sent again. */
  markLost(segment: SentSegment): void {
    if (segment.lost || segment.sacked) return;
    this.#unlink(segment);
    segment.lost = segment.wasLost = true;
    this.lossCount++;
    this.bursts.onLost(segment.inBurst);
    this.#lostCount++;
    this.inFlight -= segment.bytes;
    if (segment.start < this.#lostFrom || this.#lostCount === 1) this.#lostFrom = segment.start;
  }

  /** Takes for lost what has more than `bytes` and has not arrived. */
  markLongerThan(bytes: number): void {
    for (let segment = this.earliest; segment !== null; ) {
      const { later } = segment;
      if (segment.bytes > bytes) this.markLost(segment);
      segment = later;
    }
  }

  /** Takes for lost what was sent at `time` or before; the first in any case. */
  markOlderThan(time: number): void {
    let first = true;
    for (let segment = this.earliest; segment !== null; ) {
      const { later } = segment;
      if (first || segment.sentAt <= time) this.markLost(segment);
      first = false;
      segment = later;
    }
  }

  /** What was taken for lost and not sent again is in flight after all. */
  unmarkLost(): void {
    if (this.#lostCount === 0) return;
    const lost: SentSegment[] = [];
    for (let index = this.#indexOf(this.#lostFrom); index < this.#count; index++) {
      const segment = this.#at(index);
      if (segment.lost) lost.push(segment);
    }
    // In order of transmission, as the list is; most are older than everything in it.
    lost.sort((a, b) => a.sentAt - b.sentAt || a.start - b.start);
    let next = this.earliest;
    for (const segment of lost) {
      segment.lost = false;
      this.inFlight += segment.bytes;
      while (next !== null && next.sentAt <= segment.sentAt) next = next.later;
      this.#linkBefore(segment, next);
    }
    this.#lostCount = 0;
  }

  /** The first segment that is to be sent again, or null. */
  firstLost(): SentSegment | null {
    if (this.#lostCount === 0) return null;
    for (let index = this.#indexOf(this.#lostFrom); index < this.#count; index++) {
      const segment = this.#at(index);
      if (!segment.lost) continue;
      this.#lostFrom = segment.start;
      return segment;
    }
    return null;
  }

  /** The last segment that has not arrived, or null. */
  lastMissing(): SentSegment | null {
    for (let index = this.#count - 1; index >= 0; index--) {
      const segment = this.#at(index);
      if (!segment.sacked) return segment;
    }
    return null;
  }

  /** Divides what has not arrived into segments of at most `bytes`, as the path takes no longer ones any more. */
  split(bytes: number): void {
    const old = Array.from({ length: this.#count }, (_, index) => this.#at(index));
    if (!old.some((segment) => !segment.sacked && segment.bytes > bytes)) return;
    const ring: SentSegment[] = [];
    for (const segment of old) {
      ring.push(segment);
      if (segment.sacked) continue;
      while ((ring.at(-1) as SentSegment).bytes > bytes) ring.push(this.#divide(ring.at(-1) as SentSegment, bytes));
    }
    this.#count = ring.length;
    let capacity = INITIAL_CAPACITY;
    while (capacity < ring.length) capacity *= 2;
    while (ring.length < capacity) ring.push(new SentSegment());
    this.#ring = ring;
    this.#head = 0;
  }

  /** Cuts `segment` to `bytes` and returns the rest as a segment of its own, next to it in every order. */
  #divide(segment: SentSegment, bytes: number): SentSegment {
    const rest = Object.assign(new SentSegment(), segment);
    rest.start = segment.start + bytes;
    segment.end = rest.start;
    if (segment.lost) {
      this.#lostCount++;
      return rest;
    }
    rest.earlier = segment;
    rest.later = segment.later;
    if (segment.later === null) this.#latest = rest;
    else segment.later.earlier = rest;
    segment.later = rest;
    return rest;
  }

  /** Gives back the records, as an idle connection should. */
  trim(): void {
    if (this.#count > 0) return;
    this.#ring = [];
    this.#head = 0;
  }

  /** The counters are what the segments say, and these lie one behind the other from SND.UNA to SND.NXT. */
  #check(): void {
    if (!CONFUNDO_ASSERTIONS) return;
    // Of many, each look costs as much as they are.
    if (this.#count > CHECKED_ALWAYS && checks++ % this.#count !== 0) return;
    let [inFlight, sackedCount, sackedBytes, lost, listed] = [0, 0, 0, 0, 0];
    for (let index = 0; index < this.#count; index++) {
      const segment = this.#at(index);
      const { start, end, bytes } = segment;
      invariant(start < end, `a segment from ${start} to ${end}`);
      invariant(index === 0 || this.#at(index - 1).end === start, `nothing was sent before ${start}`);
      invariant(!(segment.lost && segment.sacked), `the segment at ${start} is lost and has arrived`);
      if (segment.sacked) {
        sackedCount++;
        sackedBytes += bytes;
      } else if (segment.lost) {
        lost++;
        invariant(start >= this.#lostFrom, `a lost segment at ${start}, before ${this.#lostFrom}`);
      } else inFlight += bytes;
    }
    for (let one = this.earliest; one !== null; one = one.later) {
      listed++;
      invariant(one.later === null || one.later.sentAt >= one.sentAt, "segments in flight are not in order of time");
    }
    invariant(inFlight === this.inFlight, `${this.inFlight} bytes in flight, and segments of ${inFlight}`);
    invariant(sackedCount === this.sackedCount && sackedBytes === this.sackedBytes, "what was sacked is miscounted");
    invariant(lost === this.#lostCount, `${this.#lostCount} segments lost, and ${lost} marked`);
    invariant(listed === this.#count - sackedCount - lost, `${listed} segments listed by time`);
  }

  #shorten(segment: SentSegment, position: number): void {
    if (segment.sacked) this.sackedBytes -= position - segment.start;
    else if (!segment.lost) this.inFlight -= position - segment.start;
    segment.start = position;
  }

  #leaveFlight(segment: SentSegment): void {
    segment.repeatsOnce = false;
    if (segment.lost) {
      segment.lost = false;
      this.#lostCount--;
      return;
    }
    this.inFlight -= segment.bytes;
    this.#unlink(segment);
  }

  /** Enters a segment into the list by time, before `next`; null: as the latest. */
  #linkBefore(segment: SentSegment, next: SentSegment | null): void {
    const earlier = next === null ? this.#latest : next.earlier;
    segment.earlier = earlier;
    segment.later = next;
    if (earlier === null) this.earliest = segment;
    else earlier.later = segment;
    if (next === null) this.#latest = segment;
    else next.earlier = segment;
  }

  #unlink(segment: SentSegment): void {
    const { earlier, later } = segment;
    if (earlier === null) this.earliest = later;
    else earlier.later = later;
    if (later === null) this.#latest = earlier;
    else later.earlier = earlier;
    segment.earlier = segment.later = null;
  }

  /** Index of the first segment that begins at or behind `position`. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#at(middle).start < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #at(index: number): SentSegment {
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)] as SentSegment;
  }

  #grow(): void {
    const ring = Array.from({ length: this.#count }, (_, index) => this.#at(index));
    const capacity = Math.max(INITIAL_CAPACITY, 2 * ring.length);
    while (ring.length < capacity) ring.push(new SentSegment());
    this.#ring = ring;
    this.#head = 0;
  }
}
