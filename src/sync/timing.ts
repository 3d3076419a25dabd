/** Time and timers of what waits in the sync engine: the system's, or a scheduler's. */
import type { SchedulerLike } from "rxjs";

export interface Timing {
  /** Milliseconds since some moment; never backwards. */
  now(): number;
  /** Calls `task` after `ms` milliseconds; the function that is returned prevents that. Without `ref`, it keeps no process alive. */
  after(ms: number, task: () => void, ref?: boolean): () => void;
}

const SYSTEM: Timing = {
  now: () => performance.now(),
  after(ms, task, ref = true) {
    const timer = setTimeout(task, ms);
    if (!ref) timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Default: the system's monotonic clock and timers. */
export function timingOf(scheduler?: SchedulerLike): Timing {
  if (scheduler === undefined) return SYSTEM;
  return {
    now: () => scheduler.now(),
    after(ms, task) {
      const waiting = scheduler.schedule(task, ms);
      return () => waiting.unsubscribe();
    },
  };
}
