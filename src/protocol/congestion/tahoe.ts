import type { Edition } from "../editions.js";
import type { AckSample, CongestionController } from "./controller.js";
import { WindowUse } from "./window-use.js";

/**
 * Tahoe as the courses define it: slow start, congestion avoidance and timeouts, in integer bytes, without counting
 * duplicate acknowledgements (RFC 5681 section 3.1 with the courses' constants).
 */
export class Tahoe {
  cwnd: number;
  ssthresh: number;
  readonly #edition: Edition;

  constructor(edition: Edition) {
    this.#edition = edition;
    this.cwnd = edition.initialCwnd;
    this.ssthresh = edition.initialSsthresh;
  }

  onAcknowledged(): void {
    const { segmentBytes, maxCwnd } = this.#edition;
    this.cwnd = Math.min(this.cwnd + growth(this.cwnd, this.ssthresh, segmentBytes, segmentBytes), maxCwnd);
  }

  onTimeout(): void {
    this.ssthresh = Math.floor(this.cwnd / 2);
    this.cwnd = this.#edition.initialCwnd;
  }
}

/** The same of the extended edition, where losses are found before the timer runs out: they count like a timeout. */
export class ExtendedTahoe implements CongestionController {
  readonly name = "tahoe";
  cwnd: number;
  ssthresh: number = Number.POSITIVE_INFINITY;
  readonly pacingRate: number = Number.POSITIVE_INFINITY;
  #segmentBytes: number;
  readonly #use = new WindowUse();
  #undoCwnd = 0;
  #undoSsthresh = 0;

  constructor(segmentBytes: number, initialCwnd: number) {
    this.#segmentBytes = segmentBytes;
    this.cwnd = Math.max(initialCwnd, segmentBytes);
  }

  setSegmentBytes(segmentBytes: number): void {
    this.#segmentBytes = segmentBytes;
    this.cwnd = Math.max(this.cwnd, segmentBytes);
  }

  onSent(_bytes: number, inFlight: number, _now: number): void {
    this.#use.onSent(inFlight, this.cwnd, this.#segmentBytes);
  }

  onAck(ack: AckSample): void {
    this.#use.onAck(ack);
    if (ack.ackedBytes === 0 || !this.#use.filled(this.cwnd, this.cwnd < this.ssthresh)) return;
    // Bytes, not acknowledgements, are counted: they are thinned (RFC 3465 section 2.1).
    this.cwnd += growth(this.cwnd, this.ssthresh, this.#segmentBytes, ack.ackedBytes);
  }

  onLoss(inFlight: number, _now: number): void {
    this.#undoCwnd = this.cwnd;
    this.#undoSsthresh = this.ssthresh;
    // RFC 5681 section 3.1, equation 4.
    this.ssthresh = Math.max(Math.floor(inFlight / 2), 2 * this.#segmentBytes);
    this.cwnd = this.#segmentBytes;
  }

  onTimeout(inFlight: number, now: number): void {
    this.onLoss(inFlight, now);
  }

  onSpurious(_now: number): void {
    if (this.#undoCwnd === 0) return;
    this.cwnd = Math.max(this.cwnd, this.#undoCwnd);
    this.ssthresh = Math.max(this.ssthresh, this.#undoSsthresh);
    this.#undoCwnd = 0;
  }
}

/** RFC 5681 section 3.1: as much as was acknowledged in slow start, about a segment a round trip in avoidance. */
function growth(cwnd: number, ssthresh: number, segmentBytes: number, ackedBytes: number): number {
  return cwnd < ssthresh ? ackedBytes : Math.floor((segmentBytes * ackedBytes) / cwnd);
}
