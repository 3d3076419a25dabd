import {
  type AckSample,
  type CongestionController,
  emptyAckSample,
} from "../../../../src/protocol/congestion/index.js";

export const SEGMENT = 1000;

/** Drives a controller by hand, a window a round trip, as a sender would that always has something to send. */
export class Script {
  now = 0;
  delivered = 0;
  readonly ack: AckSample = emptyAckSample();
  readonly controller: CongestionController;
  readonly rttMs: number;

  constructor(controller: CongestionController, rttMs = 100) {
    this.controller = controller;
    this.rttMs = rttMs;
  }

  /** Sends what the window allows, and has it acknowledged a round trip later, segment by segment. */
  round(change: Partial<AckSample> = {}): void {
    const segments = Math.max(1, Math.floor(this.controller.cwnd / SEGMENT));
    const prior = this.delivered;
    for (let i = 1; i <= segments; i++) this.controller.onSent(SEGMENT, i * SEGMENT, this.now);
    this.now += this.rttMs;
    for (let i = 0; i < segments; i++) this.acknowledge(SEGMENT, { priorDelivered: prior, ...change });
  }

  acknowledge(bytes: number, change: Partial<AckSample> = {}): void {
    this.delivered += bytes;
    Object.assign(this.ack, {
      now: this.now,
      ackedBytes: bytes,
      lostBytes: 0,
      priorInFlight: this.controller.cwnd,
      inFlight: this.controller.cwnd - bytes,
      rttMs: this.rttMs,
      smoothedRttMs: this.rttMs,
      minRttMs: this.rttMs,
      deliveryRate: 0,
      appLimited: false,
      delivered: this.delivered,
      priorDelivered: this.ack.delivered,
      inRecovery: false,
      ...change,
    });
    this.controller.onAck(this.ack);
  }
}
