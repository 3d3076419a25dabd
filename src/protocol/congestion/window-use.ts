import type { AckSample } from "./controller.js";

/**
 * Whether the congestion window is what limits the sender. One that was not filled was not tested, and must not grow
 * (RFC 9438 section 5.8, RFC 7661). Looked at over two rounds, for with pacing not every acknowledgement finds it full.
 */
export class WindowUse {
  #roundEndsAt = 0;
  #mostInFlight = 0;
  #mostInFlightBefore = 0;
  #filled = false;
  #filledBefore = false;

  onSent(inFlight: number, cwnd: number, segmentBytes: number): void {
    if (inFlight > this.#mostInFlight) this.#mostInFlight = inFlight;
    if (inFlight + segmentBytes > cwnd) this.#filled = true;
  }

  onAck(ack: AckSample): void {
    if (ack.ackedBytes === 0 || ack.priorDelivered < this.#roundEndsAt) return;
    this.#roundEndsAt = ack.delivered;
    this.#mostInFlightBefore = this.#mostInFlight;
    this.#mostInFlight = ack.inFlight;
    this.#filledBefore = this.#filled;
    this.#filled = false;
  }

  /** In slow start half full will do: the window doubles before the sender can have filled it. */
  filled(cwnd: number, inSlowStart: boolean): boolean {
    if (this.#filled || this.#filledBefore) return true;
    return inSlowStart && 2 * Math.max(this.#mostInFlight, this.#mostInFlightBefore) >= cwnd;
  }
}
