/** Of the most that is in flight on a path of so short a round trip: what is on its way there waits in the peer's kernel. */
const MOST_BYTES: number = 3 * 1024 * 1024;
/** What the socket buffer of a Linux that nobody has tuned takes, and a short path carries. */
const LEAST_BYTES: number = 256 * 1024;
/** As CUBIC does (RFC 9438 section 4.6). */
const BACKOFF = 0.7;
/** Of what is acknowledged: a hundred windows until the limit is met again. */
const GROWTH = 1 / 256;

/**
 * The limit to what is in flight on a path that is too short to be paced, this host's own among them. What is lost there did
 * not fit into the peer's socket buffer, which a model of the path does not know.
 */
export class NearWindow {
  bytes: number = MOST_BYTES;

  /** The first loss of a round, with so much in flight. */
  onLoss(inFlight: number): void {
    this.bytes = Math.max(LEAST_BYTES, BACKOFF * Math.min(this.bytes, inFlight));
  }

  onAck(ackedBytes: number): void {
    this.bytes = Math.min(MOST_BYTES, this.bytes + GROWTH * ackedBytes);
  }
}
