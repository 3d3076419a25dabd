import { describe, expect, it } from "vitest";
import { IdleTimer } from "../../../src/stream/idle-timer.js";
import { TestClock } from "../../support/test-clock.js";

function rig(bytesOnTheWay: number) {
  const clock = new TestClock();
  const at: number[] = [];
  const state = { bytesOnTheWay };
  const began = clock.now();
  new IdleTimer(
    clock,
    1000,
    () => state.bytesOnTheWay,
    () => at.push(clock.now() - began),
  );
  return { clock, at, state };
}

describe("IdleTimer", () => {
  it("takes a part that is acknowledged for activity, and no longer when nothing more is", async () => {
    const { clock, at, state } = rig(5000);
    await clock.pass(500);
    state.bytesOnTheWay = 3000;
    await clock.pass(1499);
    expect(at).toEqual([]);
    await clock.pass(1);
    expect(at).toEqual([2000]);
  });

  it("does not take the last acknowledgement for activity", async () => {
    const { clock, at, state } = rig(2);
    await clock.pass(1);
    state.bytesOnTheWay = 0;
    await clock.pass(999);
    expect(at).toEqual([1000]);
  });

  it("fires although a peer acknowledges nothing", async () => {
    const { clock, at } = rig(5000);
    await clock.pass(1000);
    expect(at).toEqual([1000]);
  });
});
