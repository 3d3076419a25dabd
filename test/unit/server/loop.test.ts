import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { openDatabase } from "../../../src/server/database/open.js";
import type { FileChange } from "../../../src/server/index.js";
import { LoopDelay } from "../../../src/server/loop-delay.js";
import { FolderChecks } from "../../../src/server/versions/folder-checks.js";
import { Keeper } from "../../../src/server/versions/keeper.js";
import { FOLDER_CHECK_WAIT_MS } from "../../../src/server/versions/limits.js";
import { statementsPerTurn } from "../../support/statements.js";
import { tempFolder } from "../../support/sync-rig.js";

/** Statements, of some ten microseconds each, in one turn of the event loop. */
const MOST = 500;

const sha256 = (at: number): string => at.toString(16).padStart(64, "0");
const file = (name: string, at: number) =>
  ({
    do: "put",
    folder: "f",
    path: name,
    kind: "file",
    size: 3,
    mode: 0o600,
    mtimeNs: 5n,
    sha256: sha256(at),
    target: null,
  }) as const satisfies FileChange;

async function home(rows: number) {
  const dir = tempFolder();
  const database = await openDatabase({ path: path.join(dir, "database.sqlite") });
  const errors: Error[] = [];
  const keeper = new Keeper({ dir, database, lookMs: 0, onError: (error) => errors.push(error) });
  onTestFinished(async () => {
    await keeper.close();
    await database.close();
    expect(errors).toEqual([]);
  });
  for (let from = 0; from < rows; from += 500) {
    const some = Array.from({ length: Math.min(500, rows - from) }, (_, at) => from + at);
    await database.files.apply(
      some.map((at) => file(`d/${at}`, at)),
      1,
    );
  }
  return { dir, database, keeper };
}

describe("the event loop is kept only for moments", () => {
  test("by renames in a large folder, and of it", async () => {
    const { database } = await home(2000);
    const rename = (from: string, to: string): Promise<void> =>
      database.files.apply([{ do: "move", folder: "f", from, path: to }], 2);
    const whole = await statementsPerTurn(() => rename("d", "e"));
    expect(whole.most).toBeLessThan(MOST);
    expect(whole.total).toBeGreaterThan(100);
    const single = await statementsPerTurn(async () => {
      for (let at = 0; at < 100; at++) await rename(`e/${at}`, `e/renamed-${at}`);
    });
    // Each is a few statements, of which none reads more than it needs: see query-plans.test.ts.
    expect(single.total).toBeLessThan(100 * 20);
    expect(await database.files.byPath("f", "e/renamed-99")).toBeDefined();
    expect(await database.files.list("f", "d", { limit: 1 })).toEqual([]);
  });

  test("by looking through a folder after a crash, and by pruning", { timeout: 60_000 }, async () => {
    const count = 600;
    const { dir, database, keeper } = await home(count);
    fs.mkdirSync(path.join(dir, "f", "d"), { recursive: true });
    for (let at = 0; at < count; at++) fs.writeFileSync(path.join(dir, "f", "d", String(at)), "abc");
    const objects = path.join(dir, ".confundo/versions/objects");
    for (let at = 0; at < count; at++) {
      const place = path.join(objects, (at % 256).toString(16).padStart(2, "0"));
      fs.mkdirSync(place, { recursive: true });
      fs.writeFileSync(path.join(place, sha256(at)), "abc");
    }
    await database.files.markUnclean("f");
    const started = await statementsPerTurn(async () => {
      await keeper.start();
      await keeper.recovered();
    });
    expect(await database.files.unclean()).toEqual([]);
    expect(started.most).toBeLessThan(MOST);
    const pruned = await statementsPerTurn(() => keeper.prune());
    expect(pruned.most).toBeLessThan(MOST);
  });
});

describe("folders that have to be looked through first", () => {
  const checks = () => {
    const running: { name: string; done: () => void }[] = [];
    const errors: unknown[] = [];
    const check = (name: string) => new Promise<void>((resolve) => void running.push({ name, done: resolve }));
    return { running, errors, checks: new FolderChecks(check, (error) => errors.push(error)) };
  };
  const names = (running: readonly { name: string }[]): string[] => running.map(({ name }) => name);

  test("are looked through one after the other, first those that somebody waits for", async () => {
    const { running, checks: folders } = checks();
    folders.add(["a", "b", "c"]);
    await folders.until("other");
    const c = folders.until("c");
    folders.start();
    expect(names(running)).toEqual(["c"]);
    running[0]?.done();
    await c;
    await vi.waitFor(() => expect(names(running)).toEqual(["c", "a"]));
    expect(folders.pending).toBe(2);
    running[1]?.done();
    await vi.waitFor(() => expect(running).toHaveLength(3));
    running[2]?.done();
    await folders.idle();
    expect(folders.pending).toBe(0);
    await folders.until("b");
  });

  test("are refused for now where that takes long", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { checks: folders } = checks();
    folders.add(["a"]);
    folders.start();
    const refused = expect(folders.until("a")).rejects.toMatchObject({ code: "ERR_UNAVAILABLE", retryable: true });
    await vi.advanceTimersByTimeAsync(FOLDER_CHECK_WAIT_MS);
    await refused;
  });
});

describe("the delay of the event loop", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("is the longest of the last minute, and a mean that follows", async () => {
    const delay = new LoopDelay();
    await vi.advanceTimersByTimeAsync(1000);
    expect([delay.maxMs, delay.meanMs, delay.totalMs]).toEqual([0, 0, 0]);
    // Nothing happens for a while, and then the timer comes late.
    vi.setSystemTime(Date.now());
    const late = performance.now() + 500;
    const stuck = vi.spyOn(performance, "now").mockReturnValue(late);
    expect(delay.maxMs).toBe(490);
    await vi.advanceTimersByTimeAsync(10);
    stuck.mockRestore();
    expect(delay.maxMs).toBe(490);
    expect(delay.totalMs).toBe(490);
    expect(delay.meanMs).toBeGreaterThan(100);
    await vi.advanceTimersByTimeAsync(70_000);
    expect(delay.maxMs).toBe(0);
    expect(delay.meanMs).toBeLessThan(1);
    delay.close();
  });
});
