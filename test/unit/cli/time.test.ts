import { describe, expect, test } from "vitest";
import { formatTime, parseTime } from "../../../src/cli/time.js";
import { parseKeep } from "../../../src/server/index.js";

const NOW = new Date(2026, 10, 25, 12, 30, 15, 250).getTime();
const local = (...parts: [number, number, number, number?, number?, number?, number?]) => new Date(...parts).getTime();

describe("a time in the past", () => {
  test.each([
    ["90s", NOW - 90_000],
    ["15min", NOW - 900_000],
    ["15m", NOW - 900_000],
    ["2h", NOW - 7_200_000],
    ["1.5 h ago", NOW - 5_400_000],
    ["3d", NOW - 3 * 86_400_000],
    ["1w", NOW - 7 * 86_400_000],
    ["2026-11-25", local(2026, 10, 25)],
    ["2026-11-25 10:00", local(2026, 10, 25, 10)],
    ["2026-11-25T10:00:05.250", local(2026, 10, 25, 10, 0, 5, 250)],
    ["2026-11-25T10:00:05Z", Date.UTC(2026, 10, 25, 10, 0, 5)],
    ["2026-11-25 10:00+01:00", Date.UTC(2026, 10, 25, 9)],
    ["10:00", local(2026, 10, 25, 10)],
    ["9:05:01.5", local(2026, 10, 25, 9, 5, 1, 500)],
    ["13:00", local(2026, 10, 24, 13)],
  ])("%s", (text, expected) => {
    expect(parseTime(text, NOW)).toBe(expected);
  });

  test.each(["", "tomorrow", "2 fortnights", "25:00", "10:61", "2026-13-01", "2026-11-25 25:00", "-2h", "h", "1e3s"])(
    "cannot be read from %j",
    (text) => {
      expect(parseTime(text, NOW)).toBeUndefined();
    },
  );

  test("that was printed is read back to the millisecond", () => {
    expect(formatTime(NOW)).toBe("2026-11-25 12:30:15.250");
    expect(parseTime(formatTime(NOW), NOW)).toBe(NOW);
  });
});

test.each([
  ["30d", { days: 30 }],
  ["12h", { days: 0.5 }],
  ["2w", { days: 14 }],
  ["1m", { days: 30 }],
  ["1y", { days: 365 }],
  ["10", { versions: 10 }],
  ["0", { versions: 0 }],
  ["1.5", undefined],
  ["forever", undefined],
  ["", undefined],
])("%j to keep", (text, keep) => {
  expect(parseKeep(text)).toEqual(keep);
});
