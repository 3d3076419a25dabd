/** When a receiver acknowledges data (docs/protocol.md), which a sender must reckon with. */

/** How long an acknowledgement may be held back. */
export const MAX_ACK_DELAY_MS = 25;
const SEGMENTS_PER_ACK = 4;
const BYTES_PER_ACK: number = 24 * 1024;
/** No more than one in this time, unless so much has come: each of them wakes the peer, and is work for both. */
const ACK_INTERVAL_MS = 1;
export const MOST_BYTES_PER_ACK: number = 768 * 1024;

/** How much of segments of this length a receiver gathers that acknowledged `sinceMs` ago. */
export function bytesPerAck(segmentBytes: number, sinceMs: number = ACK_INTERVAL_MS): number {
  return sinceMs < ACK_INTERVAL_MS ? MOST_BYTES_PER_ACK : Math.max(SEGMENTS_PER_ACK * segmentBytes, BYTES_PER_ACK);
}
