import { TestScheduler } from "rxjs/testing";
import { expect, test } from "vitest";
import { disruptions } from "../../../src/sync/disruption.js";

/** Two clocks that a test sets: by the virtual millisecond, and what was added to each. */
function clocks(scheduler: TestScheduler, added: { at: number; wallMs: number; steadyMs: number }[]) {
  const at = (which: "wallMs" | "steadyMs") => () =>
    added.reduce((now, jump) => now + (scheduler.now() >= jump.at ? jump[which] : 0), scheduler.now());
  return { wallMs: at("wallMs"), steadyMs: at("steadyMs") };
}

test("a program that stood still, a machine that slept and a clock that was set are told apart; less is overlooked", () => {
  const scheduler = new TestScheduler((actual, expected) => expect(actual).toEqual(expected));
  scheduler.run(({ expectObservable }) => {
    const jumps = [
      { at: 1500, wallMs: 7000, steadyMs: 7000 },
      { at: 3500, wallMs: 1500, steadyMs: 1500 },
      { at: 4500, wallMs: 3_600_000, steadyMs: 0 },
      { at: 6500, wallMs: -90_000, steadyMs: 0 },
      { at: 7500, wallMs: 1000, steadyMs: 0 },
    ];
    expectObservable(disruptions(clocks(scheduler, jumps), scheduler), "^ 9.5s !").toBe("2s a 2999ms b 1999ms c", {
      a: "this program stood still for 7 s",
      b: "the machine slept, or its clock was set forward by 3600 s",
      c: "the clock was set back by 90 s",
    });
  });
});
