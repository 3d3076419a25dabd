import { invariant, steps } from "../../invariant/index.js";
import { MAX_DATAGRAM_STEPS, MAX_SEARCH_STEPS } from "../limits.js";
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
  /** Of a sacked segment: so many segments from this one on, itself included, are sacked. Lets a long run be stepped over. */
  sackedRun = 0;
  /** What the delivery rate needs to know of the moment it was sent (draft-ietf-ccwg-bbr section 4.1.2.2). */
  delivered = 0;
  deliveredAt = 0;
  firstSentAt = 0;
  appLimited = false;
  /** Neighbours in order of the last transmission; of a lost segment, in the order in which they were marked. */
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
  /**
   * How many more segments may be visited for the datagram, or the timer, in hand. What is left then is not done: each method
   * says what becomes of it. Reset by {@link beginSteps}.
   */
  stepsLeft: number = MAX_DATAGRAM_STEPS;
  #latest: SentSegment | null = null;
  /** What is lost, in the order in which it was marked: nearly always that of its last transmission. */
  #lostFirst: SentSegment | null = null;
  #lostLast: SentSegment | null = null;
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

  /** Another input begins, of so many datagrams that the kernel has joined. */
  beginSteps(datagrams: number): void {
    this.stepsLeft = MAX_DATAGRAM_STEPS * datagrams;
  }

  /** A new segment behind all others, sent now. */
  add(start: number, end: number, now: number): SentSegment {
    if (this.#count === this.#ring.length) this.#grow(this.#count + 1);
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
      this.#unlinkLost(segment);
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

  /**
   * Everything before `position` is acknowledged. Returns the position up to which that was taken note of: `position`, or one
   * before it, where there are no steps left and it is to be called again.
   */
  acknowledge(position: number, listener: DeliveryListener): number {
    if (CONFUNDO_ASSERTIONS && this.#count > 0) {
      invariant(position <= this.#at(this.#count - 1).end, `${position} is acknowledged, and was not sent`);
      this.#check();
    }
    while (this.#count > 0) {
      const segment = this.#at(0);
      if (segment.end > position) {
        if (segment.start < position) this.#shorten(segment, position);
        return position;
      }
      if (this.#takeStep()) return segment.start;
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
    return position;
  }

  /**
   * `start` to `end` has arrived. Only whole segments count; where there are no steps left, only some of them: the peer says the
   * same again.
   */
  sack(start: number, end: number, listener: DeliveryListener): void {
    if (this.stepsLeft <= 0) return;
    const first = this.#indexOf(start);
    if (first === this.#count) return;
    const { sacked, sackedRun } = this.#at(first);
    // Most blocks report what others have reported before.
    if (sacked && this.#at(first + sackedRun - 1).end >= end) return;
    let index = first;
    while (index < this.#count) {
      const segment = this.#at(index);
      if (segment.end > end || this.#takeStep()) break;
      if (segment.sacked) {
        index += segment.sackedRun;
        continue;
      }
      this.#leaveFlight(segment);
      segment.sacked = true;
      segment.sackedRun = 1;
      this.sackedCount++;
      this.sackedBytes += segment.bytes;
      listener.onDelivered(segment);
      index++;
    }
    this.#joinRuns(first, index);
  }

  /** The segments from `first` to before `end` are sacked: from each that is looked at, the next time, it is one step to the end. */
  #joinRuns(first: number, end: number): void {
    for (let index = first; index < end; ) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const segment = this.#at(index);
      const run = segment.sackedRun;
      segment.sackedRun = end - index;
      index += run;
    }
  }

  /** Taken for lost: it is to be sent again. */
  markLost(segment: SentSegment): void {
    if (segment.lost || segment.sacked) return;
    this.#unlink(segment);
    segment.lost = segment.wasLost = true;
    segment.earlier = this.#lostLast;
    if (this.#lostLast === null) this.#lostFirst = segment;
    else this.#lostLast.later = segment;
    this.#lostLast = segment;
    this.lossCount++;
    this.bursts.onLost(segment.inBurst);
    this.#lostCount++;
    this.inFlight -= segment.bytes;
    if (segment.start < this.#lostFrom || this.#lostCount === 1) this.#lostFrom = segment.start;
  }

  /** Takes for lost what has more than `bytes` and has not arrived: called when this machine, not the peer, says so. */
  markLongerThan(bytes: number): void {
    for (let segment = this.earliest; segment !== null; ) {
      const { later } = segment;
      if (segment.bytes > bytes) this.markLost(segment);
      segment = later;
    }
  }

  /**
   * Takes for lost what was sent at `time` or before; with `first`, the first in any case. False: there are no steps left, and
   * something remains.
   */
  markOlderThan(time: number, first: boolean): boolean {
    for (let segment = this.earliest; segment !== null; ) {
      const { later } = segment;
      if (!first && segment.sentAt > time) return true;
      if (this.#takeStep()) return false;
      this.markLost(segment);
      first = false;
      segment = later;
    }
    return true;
  }

  /** What was taken for lost and not sent again is in flight after all; what there are no steps left for stays lost. */
  unmarkLost(): void {
    let next = this.earliest;
    let sentBefore = Number.NEGATIVE_INFINITY;
    for (let segment = this.#lostFirst; segment !== null; ) {
      const { later } = segment;
      // Nearly always marked in order of transmission, and older than everything in flight.
      if (segment.sentAt < sentBefore) next = this.earliest;
      sentBefore = segment.sentAt;
      while (next !== null && next.sentAt <= segment.sentAt && !this.#takeStep()) next = next.later;
      if (this.#takeStep()) return;
      this.#unlinkLost(segment);
      this.inFlight += segment.bytes;
      this.#linkBefore(segment, next);
      segment = later;
    }
  }

  /**
   * A segment that is to be sent again, or null: the first, or where many before it are in flight, the one that was taken for
   * lost the longest ago.
   */
  firstLost(): SentSegment | null {
    if (this.#lostCount === 0) return null;
    let index = this.#indexOf(this.#lostFrom);
    for (let looked = 0; index < this.#count; looked++) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const segment = this.#at(index);
      if (segment.lost || looked === MAX_SEARCH_STEPS) {
        this.#lostFrom = segment.start;
        return segment.lost ? segment : this.#lostFirst;
      }
      index += segment.sacked ? segment.sackedRun : 1;
    }
    return null;
  }

  /** The last segment that has not arrived, or null; where many behind it have, the one that was sent last. */
  lastMissing(): SentSegment | null {
    const least = Math.max(0, this.#count - MAX_SEARCH_STEPS);
    for (let index = this.#count - 1; index >= least; index--) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const segment = this.#at(index);
      if (!segment.sacked) return segment;
    }
    return this.#latest ?? this.#lostLast;
  }

  /** Divides a segment into some of at most `bytes`, as the path takes no longer ones any more. */
  fit(segment: SentSegment, bytes: number): void {
    const parts = Math.ceil(segment.bytes / bytes);
    if (parts <= 1) return;
    const index = this.#indexOf(segment.start);
    this.#grow(this.#count + parts);
    this.#open(index + 1, parts - 1);
    for (let i = 1; i < parts; i++) {
      this.#divide(this.#at(index + i - 1), this.#at(index + i), bytes);
    }
  }

  /** Makes room for `records` before `index`. There are as many unused ones. */
  #open(index: number, records: number): void {
    const mask = this.#ring.length - 1;
    const unused: SentSegment[] = [];
    const isNearEnd = 2 * index > this.#count;
    for (let i = 0; i < records; i++) unused.push(this.#at(isNearEnd ? this.#count + i : i - records));
    if (isNearEnd) {
      for (let i = this.#count - 1; i >= index; i--) this.#ring[(this.#head + i + records) & mask] = this.#at(i);
    } else {
      for (let i = 0; i < index; i++) this.#ring[(this.#head + i - records) & mask] = this.#at(i);
      this.#head = (this.#head - records) & mask;
    }
    this.#count += records;
    for (const [i, segment] of unused.entries()) this.#ring[(this.#head + index + i) & mask] = segment;
  }

  /** Cuts `segment` to `bytes`; `rest` becomes what is behind, next to it in every order. */
  #divide(segment: SentSegment, rest: SentSegment, bytes: number): void {
    Object.assign(rest, segment);
    rest.start = segment.start + bytes;
    rest.repeatsOnce = false;
    segment.end = rest.start;
    rest.earlier = segment;
    if (segment.later !== null) segment.later.earlier = rest;
    else if (segment.lost) this.#lostLast = rest;
    else this.#latest = rest;
    segment.later = rest;
    if (segment.lost) this.#lostCount++;
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
    let [inFlight, sackedCount, sackedBytes, lost, lostListed, listed, runEnd] = [0, 0, 0, 0, 0, 0, 0];
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
      const run = segment.sacked ? segment.sackedRun : 1;
      invariant(run >= 1 && index + run <= this.#count, `a run of ${run} segments at ${start}`);
      // Each begins where the ones before have ended, so the last of a run says what is in it.
      runEnd = Math.max(runEnd, segment.sacked ? index + run : 0);
      invariant(segment.sacked || index >= runEnd, `the segment at ${start} has not arrived, and is in a run`);
    }
    for (let one = this.#lostFirst; one !== null; one = one.later) {
      lostListed++;
      invariant(one.lost, `the segment at ${one.start} is listed as lost`);
    }
    invariant(lostListed === lost, `${lost} segments lost, and ${lostListed} listed`);
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
      this.#unlinkLost(segment);
      return;
    }
    this.inFlight -= segment.bytes;
    this.#unlink(segment);
  }

  /** Takes one of the steps. True: there are none left. */
  #takeStep(): boolean {
    if (CONFUNDO_ASSERTIONS) steps.taken++;
    return this.stepsLeft-- <= 0;
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

  /** Lost no more: it is sent again, has arrived, or was in flight all the time. */
  #unlinkLost(segment: SentSegment): void {
    const { earlier, later } = segment;
    if (earlier === null) this.#lostFirst = later;
    else earlier.later = later;
    if (later === null) this.#lostLast = earlier;
    else later.earlier = earlier;
    segment.earlier = segment.later = null;
    segment.lost = false;
    this.#lostCount--;
  }

  /** Index of the first segment that begins at or behind `position`. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      this.stepsLeft--;
      const middle = (low + high) >> 1;
      if (this.#at(middle).start < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #at(index: number): SentSegment {
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)] as SentSegment;
  }

  /** Makes room for so many segments. */
  #grow(least: number): void {
    let capacity = Math.max(INITIAL_CAPACITY, this.#ring.length);
    while (capacity < least) capacity *= 2;
    const ring = Array.from({ length: this.#count }, (_, index) => this.#at(index));
    while (ring.length < capacity) ring.push(new SentSegment());
    this.#ring = ring;
    this.#head = 0;
  }
}
