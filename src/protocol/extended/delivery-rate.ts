import type { AckSample } from "../congestion/controller.js";
import type { SentSegment } from "./sent-segments.js";

/**
 * Delivery rate estimation (draft-ietf-ccwg-bbr section 4.1): how much was delivered between a segment's leaving and its
 * acknowledgement, over the longer of the times that sending it and acknowledging it took.
 */
export class DeliveryRate {
  /** Bytes delivered since the connection began. */
  delivered = 0;
  #deliveredAt = 0;
  #firstSentAt = 0;
  /** Until so much is delivered the sender had too little to send; 0: it has enough. */
  #appLimitedUntil = 0;
  /** The newest segment that the acknowledgement in hand delivered: -1 before there is one. */
  #priorDelivered = -1;
  #priorAt = 0;
  #sendMs = 0;
  #appLimited = false;

  /** A segment leaves; `inFlight` counts it. */
  onSent(segment: SentSegment, inFlight: number, now: number): void {
    if (inFlight === segment.bytes) this.#firstSentAt = this.#deliveredAt = now;
    segment.firstSentAt = this.#firstSentAt;
    segment.deliveredAt = this.#deliveredAt;
    segment.delivered = this.delivered;
    segment.appLimited = this.#appLimitedUntil > 0;
  }

  /** Nothing is to be sent though there is room for it: samples taken of what is in flight say little. */
  onAppLimited(inFlight: number): void {
    this.#appLimitedUntil = Math.max(1, this.delivered + inFlight);
  }

  beginAck(): void {
    this.#priorDelivered = -1;
  }

  /** The acknowledgement delivers this segment. */
  onDelivered(segment: SentSegment, now: number): void {
    this.delivered += segment.bytes;
    this.#deliveredAt = now;
    if (segment.delivered < this.#priorDelivered) return;
    this.#priorDelivered = segment.delivered;
    this.#priorAt = segment.deliveredAt;
    this.#sendMs = segment.sentAt - segment.firstSentAt;
    this.#appLimited = segment.appLimited;
    this.#firstSentAt = segment.sentAt;
  }

  /** What the acknowledgement says, all of it having been told. */
  report(ack: AckSample, minRttMs: number): void {
    if (this.delivered > this.#appLimitedUntil) this.#appLimitedUntil = 0;
    ack.delivered = this.delivered;
    ack.priorDelivered = Math.max(0, this.#priorDelivered);
    ack.deliveryRate = 0;
    if (this.#priorDelivered < 0) return;
    ack.appLimited = this.#appLimited;
    const intervalMs = Math.max(this.#sendMs, this.#deliveredAt - this.#priorAt);
    // A burst that is acknowledged faster than anything can travel says nothing about the path.
    if (intervalMs > 0 && intervalMs >= minRttMs) {
      ack.deliveryRate = (this.delivered - this.#priorDelivered) / intervalMs;
    }
  }
}
