/**
 * What leaves at once, in time: a share of the least round trip, so that the queue that it makes is as small a share of the
 * path's; within bounds, as each quantum costs a wake-up here, and routers' queues must bear it.
 */
const QUANTA_PER_ROUND = 12;
const MIN_QUANTUM_MS = 1;
const MAX_QUANTUM_MS = 8;
/** What an idle sender may save up, in quanta and in bytes: one leaves while the next one fills. */
const BURST_QUANTA = 2;
const MAX_BURST_BYTES: number = 256 * 1024;
const MIN_BURST_SEGMENTS = 2;
/** By how much a quantum is shortened when it is too long for a queue, and how slowly it gets longer again. */
const SHORTEN = 0.5;
const LENGTHEN = 1.05;
const SHORTEST = 1 / 16;
/** How much of a timer's lateness is made up for. Event loops count in milliseconds and are busy for a few of them. */
const CATCH_UP_MS = 5;

/** The quantum of a path of this least round trip. */
export function quantumMs(minRttMs: number): number {
  // Infinity: none is known yet.
  if (minRttMs === Number.POSITIVE_INFINITY) return MIN_QUANTUM_MS;
  return Math.max(MIN_QUANTUM_MS, Math.min(minRttMs / QUANTA_PER_ROUND, MAX_QUANTUM_MS));
}

/**
 * Spreads what is sent over time: a token bucket filled at the pacing rate (bytes per millisecond). Times are milliseconds.
 */
export class Pacer {
  #segmentBytes = 0;
  #quantumMs = MIN_QUANTUM_MS;
  /** What a queue takes of a quantum, as far as it is known. */
  #share = 1;
  #rate = Number.POSITIVE_INFINITY;
  #tokens = 0;
  #filledAt = 0;
  /** The time last told to the sender that waits; Infinity while none waits. */
  #promisedAt = Number.POSITIVE_INFINITY;

  get rate(): number {
    return this.#rate;
  }

  /** What was earned until now was earned at the old rate. */
  setRate(rate: number, segmentBytes: number, now: number): void {
    this.#segmentBytes = segmentBytes;
    if (rate === this.#rate) return;
    this.#fill(now);
    this.#rate = rate;
  }

  /** The segment size changed (path MTU discovery). */
  setSegmentBytes(segmentBytes: number): void {
    this.#segmentBytes = segmentBytes;
  }

  /** The path's least round trip, as far as it is known. */
  setMinRtt(minRttMs: number): void {
    this.#quantumMs = quantumMs(minRttMs);
  }

  /** Whether bursts have turned out to be too long for the queue in front of the bottleneck. */
  onBursts(tooLong: boolean): void {
    this.#share = tooLong ? Math.max(SHORTEST, this.#share * SHORTEN) : Math.min(1, this.#share * LENGTHEN);
  }

  /** How many bytes may leave now. */
  budget(now: number): number {
    if (this.#rate === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    this.#fill(now);
    return Math.max(0, Math.floor(this.#tokens + 0.5));
  }

  onSent(bytes: number, now: number): void {
    if (this.#rate === Number.POSITIVE_INFINITY) {
      this.#filledAt = now;
      return;
    }
    this.#fill(now);
    this.#tokens -= bytes;
    this.#promisedAt = Number.POSITIVE_INFINITY;
  }

  /** When a quantum of what is to be sent may leave: now, if it may already. */
  nextReleaseAt(now: number, wantedBytes: number): number {
    if (this.#rate === Number.POSITIVE_INFINITY) return now;
    this.#fill(now);
    const quantum = Math.max(this.#segmentBytes, Math.min(this.#rate * this.#boundedMs(), this.#burstBytes()));
    const missing = Math.min(wantedBytes, quantum) - this.#tokens;
    const at = missing < 0.5 ? now : now + missing / this.#rate;
    // Asking again does not excuse the lateness of an earlier promise.
    this.#promisedAt = Math.min(this.#promisedAt, at);
    return at;
  }

  #burstBytes(): number {
    return Math.max(
      MIN_BURST_SEGMENTS * this.#segmentBytes,
      Math.min(this.#rate * BURST_QUANTA * this.#boundedMs(), MAX_BURST_BYTES),
    );
  }

  #boundedMs(): number {
    return Math.max(MIN_QUANTUM_MS, this.#quantumMs * this.#share);
  }

  #fill(now: number): void {
    const elapsed = now - this.#filledAt;
    if (elapsed <= 0) return;
    this.#filledAt = now;
    if (this.#rate === Number.POSITIVE_INFINITY) return;
    let most = this.#burstBytes();
    // A sender that was told to wait until then and comes later has lost that time; one that had nothing to send has not.
    if (now > this.#promisedAt) most += this.#rate * Math.min(now - this.#promisedAt, CATCH_UP_MS * this.#share);
    this.#tokens = Math.min(this.#tokens + this.#rate * elapsed, most);
  }
}
