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
    queue.add(2, { hurry: true });
    await vi.advanceTimersByTimeAsync(0);
    expect(written).toEqual([[1, 2]]);
    for (let i = 0; i < 300; i++) queue.add(i);
    await vi.advanceTimersByTimeAsync(0);
    expect(written[1]).toHaveLength(300);
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
    expect([written, lost]).toEqual([[[1], [2]], []]);
  });

  test("stays in its batch while that is repeated, and tells how much and how long", async () => {
    let away = true;
    const tried: number[][] = [];
    const { queue } = rig(async (batch) => {
      tried.push([...batch]);
      if (away) throw new Error("away");
    });
    queue.add(1, { bytes: 10 });
    await vi.advanceTimersByTimeAsync(100);
    queue.add(2, { bytes: 5 });
    await vi.advanceTimersByTimeAsync(1900);
    expect([queue.failing, queue.size, queue.bytes, queue.lagMs]).toEqual([true, 2, 15, 2000]);
    away = false;
    await vi.advanceTimersByTimeAsync(2000);
    expect(tried.slice(0, 2)).toEqual([[1], [1]]);
    expect(tried.at(-1)).toEqual([2]);
    expect([queue.failing, queue.size, queue.bytes, queue.lagMs]).toEqual([false, 0, 0, 0]);
  });

  test("may come at the very moment at which the last is written", async () => {
    for (let ticks = 0; ticks < 20; ticks++) {
      const written: number[] = [];
      const later = async (): Promise<void> => {
        for (let tick = 0; tick < ticks; tick++) await undefined;
        queue.add(2);
      };
      const { queue } = rig(async (batch) => {
        written.push(...batch);
        if (batch[0] === 1) void later();
      });
      queue.add(1);
      await vi.advanceTimersByTimeAsync(1000);
      expect(written).toEqual([1, 2]);
    }
  });

  test("that cannot be written is lost alone", async () => {
    const { queue, written, lost } = rig(async (batch) => {
      if (batch.includes(5)) throw new Error("wrong");
    });
    for (let i = 0; i < 10; i++) queue.add(i);
    await vi.advanceTimersByTimeAsync(5000);
    expect(written.flat()).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9]);
    expect(lost).toEqual([5]);
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
