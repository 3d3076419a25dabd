import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { LEAST_PACED_BYTES, MAX_PACED_FILES } from "../../../src/sync/limits.js";
import { RewritePace } from "../../../src/sync/rewrite-pace.js";
import { contents, event, follow, make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const MB = 1_000_000;

/** When a file is sent that changes all the time, by virtual time. */
function sent(pace: RewritePace, forMs: number, sizeAt: (ms: number) => number): number[] {
  const times: number[] = [];
  for (let ms = 0; ms < forMs; ) {
    const wait = pace.waitMs("f", sizeAt(ms), ms);
    if (wait === 0) {
      times.push(ms);
      pace.wrote("f", sizeAt(ms), ms);
    }
    ms += Math.max(wait, 100);
  }
  return times;
}

describe("a large file that keeps changing", () => {
  test("is rewritten with the rate, averaged over a minute, and at once after it has rested", () => {
    const pace = new RewritePace(10 * MB, 5000);
    const hour = 3_600_000;
    const times = sent(pace, hour, () => 100 * MB);
    expect(times.length).toBeLessThanOrEqual(hour / 10_000 + 7);
    expect(times.length).toBeGreaterThanOrEqual(hour / 10_000 - 1);
    for (let from = 120_000; from < hour; from += 60_000) {
      const inMinute = times.filter((ms) => ms >= from && ms < from + 60_000);
      expect(inMinute.length * 100 * MB).toBeLessThanOrEqual(60 * 10 * MB + 100 * MB);
    }
    expect(pace.waitMs("f", 100 * MB, hour + 60_000)).toBe(0);
    expect(pace.waitMs("other", 100 * MB, 0)).toBe(0);
  });

  test("and is larger than what a minute has comes as often as that allows", () => {
    const times = sent(new RewritePace(10 * MB, 5000), 3_600_000, () => 2000 * MB);
    expect(times.slice(0, 3)).toEqual([0, 140_001, 340_001]);
  });

  test("and grows comes once in the time for open files", () => {
    const times = sent(new RewritePace(10 * MB, 5000), 60_000, (ms) => 2 * MB + ms);
    expect(times.slice(0, 4)).toEqual([0, 100, 5100, 10_100]);
  });

  test("and is small, or has no rate, comes whenever it has changed", () => {
    expect(sent(new RewritePace(10 * MB, 5000), 10_000, (ms) => LEAST_PACED_BYTES - 20_000 + ms)).toHaveLength(100);
    expect(sent(new RewritePace(0, 5000), 10_000, (ms) => 100 * MB + ms)).toHaveLength(100);
  });

  test("is one of so many that are remembered", () => {
    const pace = new RewritePace(1, 5000);
    for (let i = 0; i <= MAX_PACED_FILES; i++) pace.wrote(`f${i}`, 2 * MB, 0);
    expect([pace.waitMs("f0", 2 * MB, 1), pace.waitMs("f1", 2 * MB, 1) > 0]).toEqual([0, true]);
  });
});

test("between two times that a file is sent again its pace is kept, and its last state arrives", async () => {
  const { connect, at } = testHome();
  const folder = tempFolder();
  const bytes = LEAST_PACED_BYTES;
  const everyMs = 300;
  make(folder, { f: Buffer.alloc(bytes) });
  // So much for a minute that one time leaves it overdrawn by what comes in 300 ms.
  const rewriteRate = bytes / (60 + everyMs / 1000);
  const { seen, events } = follow(folder, () => connect(), { settleMs: 5, settleOpenMs: 0, rewriteRate });
  await event(events, "synced");
  const pushed: number[] = [];
  events.subscribe({
    next: (one) => {
      if (one.type === "pushed" && one.path === "f" && contentOf(folder) !== 0) pushed.push(performance.now());
    },
    error: () => {},
  });
  const write = (content: number): void => fs.writeFileSync(path.join(folder, "f"), Buffer.alloc(bytes, content));
  write(1);
  await until(() => contentOf(at()) === 1);
  await until(() => pushed.length === 1);
  write(2);
  const small = path.join(folder, "small");
  fs.writeFileSync(small, "is not held up");
  await until(() => fs.existsSync(path.join(at(), "small")));
  write(3);
  await until(() => contentOf(at()) === 3 && pushed.length > 1);
  expect((pushed[1] as number) - (pushed[0] as number)).toBeGreaterThan(everyMs - 50);
  await until(() => seen.at(-1)?.type === "synced");
  expect(contents(at())).toEqual(contents(folder));
  expect(seen.some(({ type }) => type === "failed")).toBe(false);
});

function contentOf(folder: string): number | undefined {
  return fs.readFileSync(path.join(folder, "f"))[0];
}
