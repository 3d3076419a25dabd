import { ReceiveBudget } from "../protocol/index.js";

/** What all sockets of the process take for data that their programs have not read yet. */
export const RECEIVE_BUDGET: ReceiveBudget = new ReceiveBudget();

/** The least budget: a few connections' windows. */
const LEAST_BYTES: number = 1024 * 1024;

export interface ReceiveBudgetStats {
  readonly limitBytes: number;
  /** Memory that is taken at the moment. */
  readonly usedBytes: number;
  /** How often data was dropped because the budget was spent. The peers send it again. */
  readonly refusals: number;
}

/** The memory that all sockets of the process hold for data that was not read yet. */
export function receiveBudget(): ReceiveBudgetStats {
  const { limitBytes, usedBytes, refusals } = RECEIVE_BUDGET;
  return { limitBytes, usedBytes, refusals };
}

/**
 * Sets how many bytes all sockets of the process may hold for data that was not read yet. Default 256 MiB. The receive windows shrink
 * as it is used up; when nothing is left, each socket still takes 64 KiB in order.
 * @throws RangeError ERR_OUT_OF_RANGE below 1 MiB
 */
export function setReceiveBudget(bytes: number): void {
  if (!(bytes >= LEAST_BYTES)) {
    const message = `The receive budget must be at least ${LEAST_BYTES} bytes (1 MiB). Received ${bytes}`;
    throw Object.assign(new RangeError(message), { code: "ERR_OUT_OF_RANGE" });
  }
  RECEIVE_BUDGET.limitBytes = bytes;
}
