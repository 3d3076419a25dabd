/** What decides how many bytes may be in flight. One implementation a file; pure: it only counts what it is told. */
export interface CongestionController {
  /** The congestion window, in bytes. */
  readonly cwnd: number;
  /** The slow start threshold, in bytes. */
  readonly ssthresh: number;
  /** An acknowledgement of new data (or of the FIN) arrived. */
  onAcknowledged(): void;
  /** The retransmission timer ran out. */
  onTimeout(): void;
}
