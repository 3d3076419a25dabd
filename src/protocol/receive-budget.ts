import { DEFAULT_RECEIVE_BUDGET_BYTES, MIN_RECEIVE_WINDOW_BYTES, RECEIVE_BUDGET_SHARE } from "./limits.js";

/**
 * The memory that many connections may take together for data that nobody has read yet, in and out of order. The more of it is
 * taken, the smaller the windows that they offer. When all of it is taken, data out of order is dropped, and each connection
 * still takes {@link MIN_RECEIVE_WINDOW_BYTES} in order, so that all of them go on.
 */
export class ReceiveBudget {
  limitBytes: number;
  /** What is taken. Blocks count as a whole, however little is in them. */
  usedBytes = 0;
  /** How often data was dropped as there was nothing left. */
  refusals = 0;

  constructor(limitBytes: number = DEFAULT_RECEIVE_BUDGET_BYTES) {
    this.limitBytes = limitBytes;
  }

  get isSpent(): boolean {
    return this.usedBytes >= this.limitBytes;
  }

  /** The most that one connection may offer to its peer. */
  get windowBytes(): number {
    return Math.max(MIN_RECEIVE_WINDOW_BYTES, (this.limitBytes - this.usedBytes) / RECEIVE_BUDGET_SHARE);
  }
}
