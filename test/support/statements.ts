import { StatementSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { vi } from "vitest";

/**
 * Does some work, and counts the statements that SQLite carries out: most of them in one turn of the event loop, which nothing
 * else has meanwhile, and all together.
 */
export async function statementsPerTurn(work: () => Promise<unknown>): Promise<{ most: number; total: number }> {
  const spies = [vi.spyOn(StatementSync.prototype, "all"), vi.spyOn(StatementSync.prototype, "run")];
  const count = (): number => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  let over = false;
  const done = work().finally(() => {
    over = true;
  });
  let most = 0;
  for (let before = 0; !over; ) {
    await nextTurn();
    const now = count();
    most = Math.max(most, now - before);
    before = now;
  }
  const total = count();
  for (const spy of spies) spy.mockRestore();
  await done;
  return { most, total };
}
