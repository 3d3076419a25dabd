import { describe, expect, test } from "vitest";
import { PathOrder, Slots } from "../../../src/sync/order.js";

/** Enters all, then lets each leave as soon as it may; the order in which they got their turn. */
async function turns(paths: readonly string[]): Promise<{ atOnce: string[]; order: string[] }> {
  const queue = new PathOrder();
  const order: string[] = [];
  const entered = paths.map((path) => ({ path, turn: queue.enter(path) }));
  const atOnce = entered.filter(({ turn }) => turn.ready === undefined).map(({ path }) => path);
  const running = entered.map(async ({ path, turn }) => {
    await turn.ready;
    order.push(path);
    turn.leave();
  });
  await Promise.all(running);
  expect(queue.idle).toBe(true);
  return { atOnce, order };
}

describe("PathOrder", () => {
  test("different paths go side by side", async () => {
    const { atOnce } = await turns(["a", "b", "c/d"]);
    expect(atOnce).toEqual(["a", "b", "c/d"]);
  });

  test("a file waits for its folder, and a folder for all that is below", async () => {
    const { atOnce, order } = await turns(["a", "a/f", "a/g", "a"]);
    expect(atOnce).toEqual(["a"]);
    expect(order[0]).toBe("a");
    expect(order.at(-1)).toBe("a");
    expect(order.slice(1, 3).sort()).toEqual(["a/f", "a/g"]);
  });

  test("the same path keeps its order; names that only begin alike do not wait", async () => {
    const { atOnce } = await turns(["a", "a", "ab", "a-b/c"]);
    expect(atOnce).toEqual(["a", "ab", "a-b/c"]);
  });

  test("one that fails lets the next go on", async () => {
    const queue = new PathOrder();
    const first = queue.enter("a");
    const second = queue.enter("a/b");
    first.leave();
    await second.ready;
    second.leave();
    expect(queue.enter("a").ready).toBeUndefined();
  });
});

test("Slots lets no more than its number run, and all in the end", async () => {
  const slots = new Slots(2);
  let running = 0;
  let most = 0;
  let done = 0;
  const task = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    running--;
    done++;
    if (done === 3) throw new Error("one fails");
  };
  const results = await Promise.allSettled(Array.from({ length: 7 }, () => slots.run(task)));
  expect({ most, done }).toEqual({ most: 2, done: 7 });
  expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
});
