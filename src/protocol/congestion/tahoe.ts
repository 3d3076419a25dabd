import type { Edition } from "../editions.js";

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
    const growth = this.cwnd < this.ssthresh ? segmentBytes : Math.floor((segmentBytes * segmentBytes) / this.cwnd);
    this.cwnd = Math.min(this.cwnd + growth, maxCwnd);
  }

  onTimeout(): void {
    this.ssthresh = Math.floor(this.cwnd / 2);
    this.cwnd = this.#edition.initialCwnd;
  }
}
