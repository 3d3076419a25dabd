import { steps } from "../../invariant/index.js";
import { RESUME_AFTER_MS } from "../limits.js";
import type { SentSegment, SentSegments } from "./sent-segments.js";

/** How often a reordering window that was found too small stays enlarged (RFC 8985 section 6.2, step 4). */
const PERSISTENT_RECOVERIES = 16;
/** As many segments acknowledged out of order that the classic rule would call a loss (RFC 8985 section 6.2, step 4). */
const DUPLICATE_THRESHOLD = 3;
/** So many segments that may be lost soon are looked at to find when the last of them will be. Of more it is taken to be the latest time that there is. */
const MAX_WAITING = 64;

/** RACK (RFC 8985 section 6): a segment is lost when one that was sent sufficiently later has arrived. */
export class Rack {
  /** The latest transmission that is known to have arrived: when it was sent, where it ended, and how long it took. */
  sentAt: number = Number.NEGATIVE_INFINITY;
  end = 0;
  rttMs = 0;
  reorderingSeen = false;
  /** The highest position that has arrived, now and before the acknowledgement in hand: its parts have no order. */
  #forward = 0;
  #forwardBefore = 0;
  #windowMultiple = 1;
  #windowPersists = 0;
  /** Duplicates reported before this position is acknowledged belong to one round. */
  #duplicateRoundEnd = -1;

  /** Another acknowledgement; {@link onDelivered} follows for each segment that it reports. */
  beginAck(): void {
    this.#forwardBefore = this.#forward;
  }

  /**
   * Steps 2 and 3: a segment has arrived. `echoedAt` is when the packet was sent that the acknowledgement answers: it tells a
   * retransmission from its original.
   */
  onDelivered(segment: SentSegment, echoedAt: number, minRttMs: number, now: number): void {
    const rttMs = now - segment.sentAt;
    const original = segment.transmissions > 1 && (echoedAt < segment.sentAt || rttMs < minRttMs);
    if (!original) {
      this.rttMs = rttMs;
      if (segment.sentAt > this.sentAt || (segment.sentAt === this.sentAt && segment.end > this.end)) {
        this.sentAt = segment.sentAt;
        this.end = segment.end;
      }
    }
    if (segment.end > this.#forward) this.#forward = segment.end;
    if (segment.end < this.#forwardBefore && segment.transmissions === 1) this.reorderingSeen = true;
  }

  /** Step 4: the peer got something twice, so a retransmission was not needed. */
  onDuplicate(sndUna: number, sndNxt: number): void {
    if (sndUna < this.#duplicateRoundEnd) return;
    this.#duplicateRoundEnd = sndNxt;
    this.#windowMultiple++;
    this.#windowPersists = PERSISTENT_RECOVERIES;
  }

  onRecoveryEnd(): void {
    if (this.#windowPersists > 0 && --this.#windowPersists === 0) this.#windowMultiple = 1;
  }

  /**
   * Step 5: marks what is lost, as much as there are steps left for. Returns in how many ms there will be something more to mark,
   * 0 for nothing.
   */
  detect(segments: SentSegments, smoothedRttMs: number, minRttMs: number, inRecovery: boolean, now: number): number {
    const allowance = this.rttMs + this.#reorderingWindow(segments, smoothedRttMs, minRttMs, inRecovery);
    let waitMs = 0;
    let waiting = 0;
    let segment = segments.earliest;
    while (segment !== null) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      if (segment.sentAt > this.sentAt || (segment.sentAt === this.sentAt && segment.end >= this.end)) break;
      const { later } = segment;
      const remainingMs = segment.sentAt + allowance - now;
      if (remainingMs <= 0) {
        if (segments.stepsLeft-- <= 0) return RESUME_AFTER_MS;
        segments.markLost(segment);
      } else {
        if (waiting++ === MAX_WAITING) return this.sentAt + allowance - now;
        waitMs = Math.max(waitMs, remainingMs);
      }
      segment = later;
    }
    return waitMs;
  }

  #reorderingWindow(segments: SentSegments, smoothedRttMs: number, minRttMs: number, inRecovery: boolean): number {
    if (!this.reorderingSeen && (inRecovery || segments.sackedCount >= DUPLICATE_THRESHOLD)) return 0;
    return Math.min((this.#windowMultiple * minRttMs) / 4, smoothedRttMs);
  }
}
