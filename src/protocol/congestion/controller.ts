/**
 * What decides how many bytes may be in flight, and how fast they leave. One implementation a file; pure: time is an
 * argument, and nothing is known but what is told here.
 *
 * Units: bytes, milliseconds, bytes per millisecond.
 */
export interface CongestionController {
  readonly name: "tahoe" | "cubic" | "bbr";
  /** The congestion window. At least one segment. */
  readonly cwnd: number;
  /** The slow start threshold; Infinity where there is none (yet). */
  readonly ssthresh: number;
  /** The rate at which segments should leave; Infinity: as fast as the window allows. */
  readonly pacingRate: number;
  /** The segment size changed (path MTU discovery). */
  setSegmentBytes(segmentBytes: number): void;
  /** `bytes` were sent; `inFlight` includes them. */
  onSent(bytes: number, inFlight: number, now: number): void;
  /** An acknowledgement that delivered or lost something has been processed. */
  onAck(ack: AckSample): void;
  /** The first loss of a round (RFC 6675 section 5): recovery begins. `ack` of the same moment follows. */
  onLoss(inFlight: number, now: number): void;
  /** The retransmission timer ran out (RFC 6298 section 5): everything in flight is taken for lost. */
  onTimeout(inFlight: number, now: number): void;
  /** What was taken for lost since the last `onLoss` or `onTimeout` had arrived after all: take the reaction back. */
  onSpurious(now: number): void;
}

/** What an acknowledgement said. One record is reused: keep none of it by reference. */
export interface AckSample {
  now: number;
  /** Bytes newly delivered: cumulatively or selectively acknowledged for the first time. */
  ackedBytes: number;
  /** Bytes newly taken for lost. */
  lostBytes: number;
  /** Bytes in flight before and after. */
  priorInFlight: number;
  inFlight: number;
  /** This acknowledgement's round-trip sample, 0 when it gave none; the smoothed and the least one, 0 before the first. */
  rttMs: number;
  smoothedRttMs: number;
  minRttMs: number;
  /** Delivery rate sample (draft-ietf-ccwg-bbr section 4.1), bytes per millisecond; 0 when there is none. */
  deliveryRate: number;
  /** The sample was taken while the sender had too little to send: it says at least, not at most. */
  appLimited: boolean;
  /** Bytes delivered since the connection began, now and when the sample's segment was sent. */
  delivered: number;
  priorDelivered: number;
  /** Fast recovery or timeout recovery is under way (RFC 6675): the window's end at its begin is not acknowledged yet. */
  inRecovery: boolean;
}

export function emptyAckSample(): AckSample {
  return {
    now: 0,
    ackedBytes: 0,
    lostBytes: 0,
    priorInFlight: 0,
    inFlight: 0,
    rttMs: 0,
    smoothedRttMs: 0,
    minRttMs: 0,
    deliveryRate: 0,
    appLimited: false,
    delivered: 0,
    priorDelivered: 0,
    inRecovery: false,
  };
}
