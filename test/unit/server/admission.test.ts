import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Admission } from "../../../src/server/admission.js";
import { ADMISSION_WAIT_MS, BUSY_LOOP_DELAY_MS, LEAST_ADMISSION_MS } from "../../../src/server/limits.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function rig() {
  const state = { delayMs: 0, refused: 0 };
  const admission = new Admission({ delayMs: () => state.delayMs, onRefused: () => void state.refused++ });
  const order: string[] = [];
  const come = (name: string): void => {
    const admitted = admission.enter();
    if (admitted === true) order.push(name);
    else void admitted.then((yes) => order.push(yes ? name : `not ${name}`));
  };
  return { state, admission, order, come };
}

test("nobody waits while the event loop keeps up", () => {
  const { admission, order, come } = rig();
  for (const name of ["a", "b", "c"]) come(name);
  expect(order).toEqual(["a", "b", "c"]);
  expect(admission.waiting).toBe(0);
});

test("newcomers wait while it is late, get in one by one, in the order in which they came", async () => {
  const { state, admission, order, come } = rig();
  state.delayMs = BUSY_LOOP_DELAY_MS + 1;
  for (const name of ["a", "b", "c", "d"]) come(name);
  expect(order).toEqual([]);
  await vi.advanceTimersByTimeAsync(10);
  // At least some get in, however busy it is.
  expect(order).toEqual(["a"]);
  await vi.advanceTimersByTimeAsync(LEAST_ADMISSION_MS);
  expect(order).toEqual(["a", "b"]);
  state.delayMs = 0;
  come("e");
  await vi.advanceTimersByTimeAsync(100);
  expect(order).toEqual(["a", "b", "c", "d", "e"]);
  expect(admission.waiting).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

test("who has waited for too long is turned away, and so are all at the end", async () => {
  const { state, admission, order, come } = rig();
  state.delayMs = 1000;
  const names = Array.from({ length: 100 }, (_, at) => `${at}`);
  for (const name of names) come(name);
  await vi.advanceTimersByTimeAsync(ADMISSION_WAIT_MS + 10);
  const admitted = order.filter((name) => !name.startsWith("not"));
  expect(admitted).toEqual(names.slice(0, admitted.length));
  expect(admitted.length).toBeGreaterThanOrEqual(ADMISSION_WAIT_MS / LEAST_ADMISSION_MS - 1);
  expect(order).toHaveLength(100);
  expect(state.refused).toBe(100 - admitted.length);
  come("last");
  admission.close();
  await vi.advanceTimersByTimeAsync(0);
  expect(order.at(-1)).toBe("not last");
  expect(vi.getTimerCount()).toBe(0);
});
