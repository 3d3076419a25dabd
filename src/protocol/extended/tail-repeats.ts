import type { SentSegment } from "./sent-segments.js";

/** So many segments may be waiting for their second time. */
const MOST = 32;

/**
 * What was lost of a stream's end is repeated twice, the second time when nothing else is left to be sent: behind it nothing follows
 * by which the loss of the repetition could be noticed, and so each costs another round trip or the timer's two. Only what is
 * known to be missing is doubled, and only with what window and pacing leave: a path is not asked for more than it is given
 * anyhow (RFC 8985 section 7.1 holds its probe to one for the same reason). In time and flight it counts as one.
 */
export class TailRepeats {
  readonly #due: SentSegment[] = [];
  /** The ends of segments that are expected to be reported as duplicates. */
  readonly #expected: number[] = [];

  /** A segment of the end was sent again. */
  onRepeated(segment: SentSegment): void {
    if (segment.repeatsOnce || this.#due.length >= MOST) return;
    segment.repeatsOnce = true;
    this.#due.push(segment);
  }

  /** The next segment that is still missing, null for none. It stays the next until it {@link left}. */
  next(): SentSegment | null {
    const due = this.#due;
    while (due.length > 0) {
      const segment = due[0] as SentSegment;
      if (segment.repeatsOnce && !segment.lost) return segment;
      segment.repeatsOnce = false;
      due.shift();
    }
    return null;
  }

  left(segment: SentSegment): void {
    segment.repeatsOnce = false;
    this.#due.shift();
    if (this.#expected.push(segment.end) > MOST) this.#expected.shift();
  }

  /** Whether what has arrived twice, up to `end`, is what was sent twice. */
  explains(end: number): boolean {
    const index = this.#expected.indexOf(end);
    if (index >= 0) this.#expected.splice(index, 1);
    return index >= 0;
  }
}
