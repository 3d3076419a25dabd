import { LEAST_FILE_BYTES, MAX_FILE_WINDOW_MS } from "../limits.js";
import { Problem } from "./problem.js";

export interface PaceOptions {
  readonly windowMs?: number;
  readonly leastBytes?: number;
  /** Called when the source is given up. */
  readonly onTooSlow?: () => void;
}

/**
 * Passes on what comes, and gives up on who sends less than 4 KiB in 30 s: a connection is not held by who has nothing to
 * say. Rejects with `ERR_TIMEOUT`. The time that we take ourselves does not count.
 */
export async function* atPace(
  source: AsyncIterable<Uint8Array>,
  { windowMs = MAX_FILE_WINDOW_MS, leastBytes = LEAST_FILE_BYTES, onTooSlow = () => {} }: PaceOptions = {},
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let waitedMs = 0;
  let bytes = 0;
  let complete = false;
  try {
    for (;;) {
      const began = performance.now();
      const next = await within(windowMs - waitedMs, iterator.next(), onTooSlow);
      if (next.done === true) {
        complete = true;
        return;
      }
      waitedMs += performance.now() - began;
      bytes += next.value.length;
      if (bytes >= leastBytes) [waitedMs, bytes] = [0, 0];
      yield next.value;
    }
  } finally {
    if (!complete) void iterator.return?.().catch(() => {});
  }
}

function within<T>(ms: number, promise: Promise<T>, onTooSlow: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => {
      onTooSlow();
      reject(new Problem("ERR_TIMEOUT", "the body did not come, or came too slowly"));
    };
    const timer = setTimeout(late, Math.max(0, ms));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
