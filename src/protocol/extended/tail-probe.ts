import type { SentSegment } from "./sent-segments.js";

/** The tail loss probe (RFC 8985 section 7): one for each tail, and what its acknowledgement tells. */
export class TailProbe {
  /** One is to be sent now. */
  due = false;
  /** It was sent up to this position, 0 for none under way. */
  #end = 0;
  /** When it repeated something that was in flight; 0 when it was new. */
  #repeatedAt = 0;
  /** The end of the segment that one repeated last. */
  #repeatedEnd = 0;

  /** One has been sent that is not acknowledged yet. */
  get underWay(): boolean {
    return this.#end > 0;
  }

  /** It has left, as the last before `sndNxt`; `repeated` is what it repeated, null when it was new. */
  onSent(repeated: SentSegment | null, sndNxt: number, now: number): void {
    this.#end = sndNxt;
    this.#repeatedAt = repeated === null ? 0 : now;
    this.#repeatedEnd = repeated === null ? 0 : repeated.end;
  }

  /** Whether what has arrived twice, up to `end`, is what a probe repeated: it is meant to do that now and then. */
  explains(end: number): boolean {
    if (end !== this.#repeatedEnd) return false;
    this.#repeatedEnd = 0;
    return true;
  }

  /**
   * Everything before `position` is acknowledged. True: there was a loss, which the probe has repaired. What answers the
   * probe and not what it repeated tells of it (section 7.4.2).
   */
  onAdvance(position: number, echoedAt: number, tellsDuplicate: boolean): boolean {
    if (this.#end === 0 || position < this.#end) return false;
    this.#end = 0;
    return this.#repeatedAt > 0 && echoedAt >= this.#repeatedAt && !tellsDuplicate;
  }

  /** A timeout has taken its place. */
  forget(): void {
    this.#end = 0;
  }
}
