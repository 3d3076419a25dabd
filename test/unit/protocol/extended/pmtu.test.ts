import { describe, expect, test } from "vitest";
import { PathMtu } from "../../../../src/protocol/extended/pmtu.js";

const TIMEOUT_MS = 100;

/** Probes a path until the search is over. Returns the sizes that were tried. */
function search(mtu: PathMtu, passes: number, from = 0): { sizes: number[]; ms: number } {
  const sizes: number[] = [];
  let now = from;
  while (mtu.dueBytes > 0) {
    const bytes = mtu.dueBytes;
    sizes.push(bytes);
    mtu.onProbeSent(TIMEOUT_MS, now);
    expect(mtu.dueBytes).toBe(0);
    now += TIMEOUT_MS;
    if (bytes <= passes) mtu.onProbeArrived(bytes, now);
    else mtu.expire(now);
  }
  return { sizes, ms: now - from };
}

function started(maxBytes: number): PathMtu {
  const mtu = new PathMtu(maxBytes);
  mtu.start();
  return mtu;
}

describe("the search (RFC 8899 section 5.3)", () => {
  test.each([
    // The interface's size is tried first, and usually is the path's.
    [1472, 1472, [1472]],
    [65_507, 65_507, [65_507]],
    [8972, 8972, [8972]],
    [1200, 1200, []],
  ])("up to %i, %i pass: tries %j", (maxBytes, passes, sizes) => {
    const mtu = started(maxBytes);
    expect(search(mtu, passes).sizes).toEqual(sizes);
    expect(mtu.currentBytes).toBe(passes);
  });

  test.each([
    [1472, 1452],
    [1472, 1400],
    [1472, 1280],
    [8972, 1472],
    [65_507, 8972],
    [65_507, 1472],
    [65_507, 5000],
    [65_507, 1232],
  ])("up to %i, %i pass: finds at least that less 32", (maxBytes, passes) => {
    const mtu = started(maxBytes);
    const { sizes } = search(mtu, passes);
    expect(mtu.currentBytes).toBeLessThanOrEqual(passes);
    expect(mtu.currentBytes).toBeGreaterThan(passes - 32);
    // Each that does not pass is tried three times (section 5.1.2, MAX_PROBES).
    for (const size of sizes) expect(sizes.filter((other) => other === size)).toHaveLength(size > passes ? 3 : 1);
  });

  test("a probe that was lost by chance is repeated", () => {
    const mtu = started(1472);
    mtu.onProbeSent(TIMEOUT_MS, 0);
    mtu.expire(99);
    expect(mtu.dueBytes).toBe(0);
    mtu.expire(100);
    expect(mtu.dueBytes).toBe(1472);
    mtu.onProbeSent(TIMEOUT_MS, 100);
    mtu.onProbeArrived(1472, 150);
    expect([mtu.currentBytes, mtu.dueBytes]).toEqual([1472, 0]);
  });

  test("after ten minutes the path is asked again for more (section 5.1.1)", () => {
    const mtu = started(1472);
    const { ms } = search(mtu, 1400);
    const found = mtu.currentBytes;
    expect(mtu.timerAt).toBe(ms + 600_000);
    mtu.expire(mtu.timerAt);
    search(mtu, 1472, 700_000);
    expect(found).toBeLessThan(1472);
    expect(mtu.currentBytes).toBe(1472);
  });

  test("answers that say more than was asked, or less than is known, change nothing", () => {
    const mtu = started(1472);
    mtu.onProbeSent(TIMEOUT_MS, 0);
    expect(mtu.onProbeArrived(9000, 1)).toBe(false);
    expect(mtu.onProbeArrived(1200, 1)).toBe(false);
    expect(mtu.currentBytes).toBe(1200);
  });
});

describe("a path that became narrower (section 4.3)", () => {
  test("back to what every path carries, and a new search after a minute", () => {
    const mtu = started(1472);
    search(mtu, 1472);
    expect(mtu.onBlackHole(1472, 5000)).toBe(true);
    expect([mtu.currentBytes, mtu.dueBytes, mtu.timerAt]).toEqual([1200, 0, 65_000]);
    mtu.expire(65_000);
    search(mtu, 1300, 65_000);
    expect(mtu.currentBytes).toBeGreaterThanOrEqual(1280);
    expect(mtu.currentBytes).toBeLessThanOrEqual(1300);
  });

  test("from the base size to the least, with a search for what lies between", () => {
    const mtu = started(1472);
    expect([mtu.onBlackHole(1200, 5000), mtu.currentBytes, mtu.dueBytes, mtu.isUrgent]).toEqual([
      true,
      528,
      1200,
      true,
    ]);
    const { sizes } = search(mtu, 1072, 5000);
    expect(mtu.currentBytes).toBeGreaterThan(1072 - 32);
    expect(mtu.currentBytes).toBeLessThanOrEqual(1072);
    expect(Math.max(...sizes)).toBe(1200);
    expect(mtu.timerAt).toBeLessThan(5000 + 120_000);
    mtu.expire(mtu.timerAt);
    expect(mtu.dueBytes).toBe(1472);
  });

  test("at the least size it is tried whether even that arrives", () => {
    for (const passes of [528, 527]) {
      const mtu = started(1472);
      mtu.onBlackHole(1200, 5000);
      expect([mtu.onBlackHole(528, 6000), mtu.isTryingLeast, mtu.dueBytes]).toEqual([false, true, 528]);
      search(mtu, passes, 6000);
      expect([mtu.isTooNarrow, mtu.currentBytes]).toEqual([passes < 528, 528]);
    }
  });

  test.each([
    [1472, 1472, 1072, 1072],
    [1472, 1472, 1400, 1400],
    [1472, 1472, 0, 528],
    [1472, 1200, 1100, 1100],
    [900, 900, 800, 800],
  ])("up to %i, %i refused by this machine, %i taken: %i is sent", (maxBytes, bytes, limitBytes, sends) => {
    const mtu = started(maxBytes);
    search(mtu, maxBytes);
    mtu.onRefused(bytes, limitBytes, 1000);
    expect(mtu.currentBytes).toBe(sends);
    expect(mtu.isTooNarrow).toBe(false);
    expect(mtu.dueBytes).toBeLessThan(bytes);
  });

  test("a probe that is refused ends the search below it", () => {
    const mtu = started(8972);
    expect(mtu.onRefused(8972, 1472, 10)).toBe(false);
    expect([mtu.currentBytes, mtu.dueBytes]).toEqual([1200, 1472]);
  });

  test("less than the least is too narrow", () => {
    const mtu = started(1472);
    mtu.onRefused(1200, 472, 0);
    expect(mtu.isTooNarrow).toBe(true);
    expect(new PathMtu(472).isTooNarrow).toBe(true);
  });

  test("on another path everything is open again", () => {
    const mtu = started(1472);
    search(mtu, 1472);
    mtu.onNewPath(8972);
    expect([mtu.currentBytes, mtu.dueBytes]).toEqual([1200, 8972]);
  });
});
