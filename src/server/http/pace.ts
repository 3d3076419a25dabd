import { Problem } from "./problem.js";

const WINDOW_MS = 30_000;
const LEAST_BYTES = 4096;

/**
 * Passes on what comes, and gives up on who sends less than 4 KiB in 30 s: a connection is not held by who has nothing to
 * say. Rejects with `ERR_TIMEOUT`. The time that we take ourselves does not count.
 */
export async function* atPace(
  source: AsyncIterable<Uint8Array>,
  { windowMs = WINDOW_MS, leastBytes = LEAST_BYTES }: { windowMs?: number; leastBytes?: number } = {},
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let waitedMs = 0;
  let bytes = 0;
  let complete = false;
  try {
    for (;;) {
      const began = performance.now();
      const next = await within(windowMs - waitedMs, iterator.next());
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

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Problem("ERR_TIMEOUT", "the body did not come, or came too slowly"));
    const timer = setTimeout(late, Math.max(0, ms));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
