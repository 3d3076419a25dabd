import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Queue } from "../../../src/server/versions/queue.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function rig(write: (batch: readonly number[]) => Promise<void> = async () => {}) {
  const written: number[][] = [];
  const lost: number[] = [];
  let caughtUp = 0;
  const queue = new Queue<number>({
    write: async (batch) => {
      await write(batch);
      written.push([...batch]);
    },
    isPassing: (error) => (error as Error).message === "away",
    onLost: (items) => void lost.push(...items),
    catchUp: async () => void caughtUp++,
  });
  return { queue, written, lost, caughtUp: () => caughtUp };
}

describe("what is to be written", () => {
  test("gathers for a moment, and for longer where more comes all the time", async () => {
    const { queue, written } = rig();
    for (let i = 0; i < 30; i++) {
      queue.add(i);
      await vi.advanceTimersByTimeAsync(10);
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(written.flat()).toEqual(Array.from({ length: 30 }, (_, i) => i));
    expect(written[0]).toHaveLength(2);
    expect(Math.max(...written.map(({ length }) => length))).toBeLessThanOrEqual(11);
  });

  test("is written at once where it is waited for, or there is enough", async () => {
    const { queue, written } = rig();
    queue.add(1);
    queue.add(2, true);
    await vi.advanceTimersByTimeAsync(0);
    expect(written).toEqual([[1, 2]]);
    for (let i = 0; i < 3000; i++) queue.add(i);
    await vi.advanceTimersByTimeAsync(0);
    expect(written[1]).toHaveLength(3000);
  });

  test("waits while the database is away, and goes on with what is left", async () => {
    let away = true;
    const { queue, written, lost } = rig(async () => {
      if (away) throw new Error("away");
    });
    queue.add(1);
    await vi.advanceTimersByTimeAsync(5000);
    expect(written).toEqual([]);
    away = false;
    queue.add(2);
    await vi.advanceTimersByTimeAsync(2000);
    expect([written, lost]).toEqual([[[1, 2]], []]);
  });

  test("is told where it cannot be written, and caught up with when something can", async () => {
    const { queue, lost, caughtUp } = rig(async ([first]) => {
      if (first === 1) throw new Error("wrong");
    });
    queue.add(1);
    await vi.advanceTimersByTimeAsync(100);
    expect([lost, queue.incomplete, caughtUp()]).toEqual([[1], true, 0]);
    queue.add(2);
    await vi.advanceTimersByTimeAsync(100);
    expect([lost, queue.incomplete, caughtUp()]).toEqual([[1], false, 1]);
    await queue.close();
  });
});
