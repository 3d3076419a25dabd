/** Notices that this program did not run, or that its clock is another one: events may be missing then. */
import { asyncScheduler, filter, interval, map, Observable, type SchedulerLike } from "rxjs";
import { HEARTBEAT_MS, LEAST_DISRUPTION_MS } from "./limits.js";

/** Two clocks in milliseconds: of the wall, which people and the system set, and one that only goes on (while awake). */
export interface Clocks {
  readonly wallMs: () => number;
  readonly steadyMs: () => number;
}

const SYSTEM: Clocks = { wallMs: Date.now, steadyMs: () => performance.now() };

/**
 * Says, in words, when the program stood still (a blocked event loop, SIGSTOP, a suspended machine) or the wall clock was set, each for
 * two seconds or more. Never errors or completes.
 *
 * ```
 * beats   ─♥───♥───♥─────────────────♥───♥─→
 * emits   ──────────────────────────(stood still for 5 s)─→
 * ```
 */
export function disruptions(clocks: Clocks = SYSTEM, scheduler: SchedulerLike = asyncScheduler): Observable<string> {
  return new Observable((subscriber) => {
    let wall = clocks.wallMs();
    let steady = clocks.steadyMs();
    const beat = (): string | undefined => {
      const [wallBefore, steadyBefore] = [wall, steady];
      wall = clocks.wallMs();
      steady = clocks.steadyMs();
      const passed = steady - steadyBefore;
      const jumped = wall - wallBefore - passed;
      if (Math.abs(jumped) >= LEAST_DISRUPTION_MS) {
        const forward = `the machine slept, or its clock was set forward by ${seconds(jumped)}`;
        return jumped > 0 ? forward : `the clock was set back by ${seconds(-jumped)}`;
      }
      const late = passed - HEARTBEAT_MS;
      return late >= LEAST_DISRUPTION_MS ? `this program stood still for ${seconds(late)}` : undefined;
    };
    const beats = interval(HEARTBEAT_MS, scheduler).pipe(map(beat));
    return beats.pipe(filter((reason) => reason !== undefined)).subscribe(subscriber);
  });
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
