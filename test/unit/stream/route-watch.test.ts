import { expect, test } from "vitest";
import { RouteWatch } from "../../../src/stream/route-watch.js";
import { TestClock } from "../../support/test-clock.js";

function watched() {
  const clock = new TestClock();
  const looks: number[] = [];
  const began = clock.now();
  const watch = new RouteWatch(clock, () => looks.push(clock.now() - began));
  return { clock, looks, watch };
}

test("what goes unanswered for 300 ms is a reason to look at the route, again and again until something arrives", () => {
  const { clock, looks, watch } = watched();
  for (let i = 0; i < 10; i++) {
    watch.onSent(clock.now());
    clock.advance(100);
  }
  expect(looks).toEqual([300, 600, 900]);
  watch.onReceived(30);
  watch.onSent(clock.now());
  clock.advance(200);
  watch.onSent(clock.now());
  expect(looks).toHaveLength(3);
});

test("so is a stream that stops, for some seconds; a short answer starts no timer", () => {
  const { clock, looks, watch } = watched();
  watch.onReceived(100);
  clock.advance(5000);
  expect(looks).toEqual([]);
  watch.onReceived(20_000);
  clock.advance(60_000);
  expect(looks[0]).toBeLessThanOrEqual(5800);
  expect(looks).toHaveLength(20);
  watch.onReceived(20_000);
  watch.close();
  clock.advance(60_000);
  expect(looks).toHaveLength(20);
});

test("and what the kernel refuses, not more often than four times a second", () => {
  const { clock, looks, watch } = watched();
  for (let i = 0; i < 10; i++) {
    watch.onRefused(clock.now());
    clock.advance(50);
  }
  expect(looks).toEqual([0, 250]);
});
