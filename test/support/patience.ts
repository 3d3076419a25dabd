/** Waits for conditions. */
import { setTimeout as sleep } from "node:timers/promises";
import { vi } from "vitest";
import { PATIENCE_MS } from "./limits.js";

/**
 * Resolves when the condition holds; errors count as "not yet", as what is looked at may vanish meanwhile. Rejects with the
 * condition, and with what it threw last, when it does not hold within {@link PATIENCE_MS}.
 */
export async function until(condition: () => boolean, everyMs = 20): Promise<void> {
  const deadline = nowMs() + PATIENCE_MS;
  for (;;) {
    let cause: unknown;
    try {
      if (condition()) return;
    } catch (error) {
      cause = error;
    }
    if (nowMs() > deadline) throw new Error(`never came true: ${condition}`, { cause });
    await sleep(everyMs);
  }
}

/** The real clock, also where a test has replaced `performance.now`. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Resolves with what the function returns when it no longer throws, or rejects with what it threw last. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: PATIENCE_MS, interval: 20 });
}
