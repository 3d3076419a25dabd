import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Database, type FileChange, openDatabase } from "../../../src/server/index.js";
import { Keeper } from "../../../src/server/versions/keeper.js";
import { tempFolder } from "../../support/sync-rig.js";

const HOUR = 60 * 60 * 1000;
const DAY = 24 * HOUR;

/** A home whose system clock and machine's uptime are set by hand. */
async function rig() {
  const dir = tempFolder();
  const time = { now: 1_700_000_000_000, uptime: 5000, boot: "first" };
  let database: Database | undefined;
  let keeper: Keeper | undefined;
  const stop = async (): Promise<void> => {
    await keeper?.close();
    await database?.close();
  };
  onTestFinished(stop);
  return {
    time,
    /** Time passes, as people say. */
    pass: (ms: number) => {
      time.now += ms;
      time.uptime += ms;
    },
    stop,
    start: async () => {
      const { boot } = time;
      database = await openDatabase({
        path: path.join(dir, "database.sqlite"),
        now: () => time.now,
        uptime: { boot, now: () => time.uptime },
      });
      keeper = new Keeper({ dir, database, lookMs: 0, keep: { days: 2 / 24 } });
      return { database, keeper };
    },
  };
}

const version = (at: number) =>
  ({
    do: "retire",
    folder: "f",
    path: "a",
    why: "replaced",
    kind: "file",
    size: 1,
    mode: 0o600,
    mtimeNs: 1n,
    sha256: String(at).padStart(64, "0"),
    target: null,
    at,
  }) as const satisfies FileChange;

const numbers = async ({ versions }: Database): Promise<number[]> =>
  (await versions.list("f", "a", { limit: 100 })).map(({ version }) => version);

test("a system clock that jumps deletes nothing, and what the home has seen does", async () => {
  const { time, pass, start } = await rig();
  const { database, keeper } = await start();
  await database.events.append([{ type: "x", folder: "f", data: null }]);
  await database.prune();
  for (let i = 0; i < 10; i++) {
    await database.files.apply([version(time.now)], time.now);
    pass(60_000);
  }
  await database.folders.ensure("gone");
  await database.folders.delete("gone", time.now, time.now + DAY);
  time.now += 40 * DAY;
  await keeper.prune();
  await database.prune();
  expect(await numbers(database)).toHaveLength(10);
  expect((await database.events.since(0, 10)).events).toHaveLength(1);
  expect(await database.folders.deleted()).toHaveLength(1);
  // Back to the right time, and two hours later.
  time.now -= 40 * DAY;
  await database.files.apply([version(time.now)], time.now);
  pass(2 * HOUR - 5 * 60_000);
  await keeper.prune();
  // Newest first; those that are older than two hours are gone.
  expect(await numbers(database)).toEqual([11, 10, 9, 8, 7, 6]);
  pass(8 * DAY);
  await keeper.prune();
  await database.prune();
  expect(await numbers(database)).toEqual([]);
  expect((await database.events.since(0, 10)).events.map(({ type }) => type)).toEqual(["folder.purged"]);
  expect(await database.folders.deleted()).toEqual([]);
});

test("versions are listed in the order in which they came, also when the clock was set back", async () => {
  const { time, start } = await rig();
  const { database } = await start();
  await database.files.apply([version(time.now)], time.now);
  time.now -= 30 * DAY;
  for (let i = 0; i < 2; i++) await database.files.apply([version(time.now + i)], time.now + i);
  expect(await numbers(database)).toEqual([3, 2, 1]);
  expect((await database.versions.list("f", undefined, { limit: 10 })).map((one) => one.number)).toEqual([3, 2, 1]);
});

test("between two runs it advances while the machine was not started again", async () => {
  const { time, pass, start, stop } = await rig();
  const first = await start();
  const began = first.database.elapsed();
  expect(began).toBe(time.now);
  pass(HOUR);
  await stop();
  pass(HOUR);
  const second = await start();
  expect(second.database.elapsed() - began).toBe(2 * HOUR);
  await stop();
  // Another start of the machine, with a clock that is far ahead.
  time.now += 40 * DAY;
  time.uptime = 10;
  time.boot = "second";
  const third = await start();
  expect(third.database.elapsed() - began).toBe(2 * HOUR);
  pass(1000);
  expect(third.database.elapsed() - began).toBe(2 * HOUR + 1000);
});
