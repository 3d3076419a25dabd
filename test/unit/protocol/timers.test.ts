import { expect, test } from "vitest";
import { Timers } from "../../../src/protocol/timers.js";
import { Random } from "../../support/random.js";

class Item {
  at: number;
  constructor(at: number) {
    this.at = at;
  }
  deadline(): number {
    return this.at;
  }
}

const NEVER = Number.POSITIVE_INFINITY;

test("the earliest comes first, and nothing before its time", () => {
  const timers = new Timers<Item>();
  const [a, b, c] = [new Item(30), new Item(10), new Item(20)] as [Item, Item, Item];
  for (const item of [a, b, c]) timers.update(item);
  expect(timers.next()).toBe(10);
  expect(timers.take(9)).toBeNull();
  expect(timers.take(10)).toBe(b);
  expect([timers.take(100), timers.take(100), timers.take(100)]).toEqual([c, a, null]);
  expect(timers.next()).toBe(NEVER);
});

test("a deadline that moves later need not be announced", () => {
  const timers = new Timers<Item>();
  const item = new Item(10);
  timers.update(item);
  item.at = 50;
  expect(timers.take(20)).toBeNull();
  expect(timers.next()).toBe(50);
  expect(timers.take(50)).toBe(item);
});

test("where there is one only, a later deadline that is announced is known at once", () => {
  const timers = new Timers<Item>();
  const item = new Item(10);
  timers.update(item);
  for (const at of [50, 20, NEVER, 30]) {
    item.at = at;
    timers.update(item);
    expect(timers.next()).toBe(at);
  }
  timers.update(new Item(25));
  expect(timers.next()).toBe(25);
  expect([timers.take(30)?.at, timers.take(30)?.at, timers.take(30)]).toEqual([25, 30, null]);
});

test("a deadline that moves earlier and is announced counts once", () => {
  const timers = new Timers<Item>();
  const item = new Item(50);
  timers.update(item);
  item.at = 10;
  timers.update(item);
  expect(timers.take(10)).toBe(item);
  item.at = NEVER;
  timers.update(item);
  expect(timers.take(1000)).toBeNull();
  expect(timers.next()).toBe(NEVER);
});

test("what is removed is never taken", () => {
  const timers = new Timers<Item>();
  const item = new Item(10);
  timers.update(item);
  timers.remove(item);
  expect(timers.next()).toBe(NEVER);
  item.at = 20;
  timers.update(item);
  expect(timers.next()).toBe(20);
});

test("against a naive list, over many moves", () => {
  const random = new Random(5);
  const timers = new Timers<Item>();
  const items = Array.from({ length: 50 }, () => new Item(NEVER));
  for (let now = 0; now < 20_000; now++) {
    const item = random.pick(items);
    if (random.chance(0.1)) {
      timers.remove(item);
      item.at = NEVER;
    } else {
      item.at = now + random.integer(1, 300);
      timers.update(item);
    }
    const due = new Set(items.filter((one) => one.at <= now));
    for (let taken = timers.take(now); taken !== null; taken = timers.take(now)) {
      expect(due.delete(taken)).toBe(true);
      taken.at = NEVER;
      timers.update(taken);
    }
    expect(due.size).toBe(0);
    expect(timers.next()).toBeLessThanOrEqual(Math.min(...items.map((one) => one.at)));
  }
});
