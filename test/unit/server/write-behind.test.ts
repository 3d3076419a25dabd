import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Database, DatabaseError, openDatabase } from "../../../src/server/index.js";
import { Keeper, type KeeperOptions } from "../../../src/server/versions/keeper.js";
import { WriteBehindLog } from "../../../src/server/versions/write-behind-log.js";
import { contents, event, follow, make, mirrorOnce, tempFolder, testHome, until } from "../../support/sync-rig.js";

/** A database whose batches are refused, and whose questions are not answered, as long as it is `away`. */
async function rig(options: Partial<KeeperOptions> = {}) {
  const dir = options.dir ?? tempFolder();
  const real = options.database ?? (await openDatabase({ path: ":memory:" }));
  const state = { away: false, asked: 0 };
  const gone = new DatabaseError("ERR_DATABASE_UNAVAILABLE", "away", { retryable: true });
  const database: Database = {
    ...real,
    batches: {
      ...real.batches,
      write: (batch, at) => (state.away ? Promise.reject(gone) : real.batches.write(batch, at)),
    },
    versions: {
      ...real.versions,
      list: (...query) => {
        if (!state.away) return real.versions.list(...query);
        state.asked++;
        return new Promise(() => {});
      },
    },
  };
  const keeper = new Keeper({ lookMs: 0, onError: () => {}, ...options, dir, database });
  await keeper.start();
  const home = testHome({ dir, keeper });
  const close = async (): Promise<void> => {
    state.away = false;
    await home.home.close();
    await keeper.close();
    if (options.database === undefined) await real.close();
  };
  let closed = false;
  onTestFinished(async () => {
    if (!closed) await close();
  });
  return {
    ...home,
    dir,
    real,
    keeper,
    state,
    folder: tempFolder(),
    connect: () => home.connect(),
    log: () => listOrNothing(path.join(dir, ".confundo/write-behind")),
    close: () => {
      closed = true;
      return close();
    },
  };
}

function listOrNothing(dir: string): string[] {
  return fs.existsSync(dir) ? fs.readdirSync(dir) : [];
}

async function paths(database: Database): Promise<string[]> {
  const found: string[] = [];
  for await (const { path: name } of database.files.all("m")) found.push(name);
  return found;
}

async function versions(database: Database): Promise<string[]> {
  return (await database.versions.list("m", "", { limit: 100 })).map(
    ({ path: name, why, size }) => `${name} ${why} ${size}`,
  );
}

describe("while the database is away", () => {
  test("a deleted file comes back, and no step waits", async () => {
    const { folder, connect, state, keeper, real, at } = await rig();
    const content = "content that is worth not sending again ".repeat(200);
    make(folder, { "a/f": content });
    const { events, subscription } = follow(folder, connect);
    await event(events, "synced");
    await keeper.settled();
    state.away = true;
    fs.rmSync(path.join(folder, "a/f"));
    await until(() => !fs.existsSync(path.join(at(), "a/f")));
    make(folder, { "b/g": content, h: "ordinary" });
    await until(() => fs.existsSync(path.join(at(), "h")) && fs.existsSync(path.join(at(), "b/g")));
    expect(contents(at())).toEqual(contents(folder));
    expect(await versions(real)).toEqual([]);
    subscription.unsubscribe();
    state.away = false;
    await keeper.settled();
    expect(await versions(real)).toContain(`a/f deleted ${content.length}`);
  });

  test("what was noted survives kill -9, and is written once", async () => {
    const first = await rig();
    const { folder, connect, state, real, dir } = first;
    make(folder, { f: "one", g: "stays" });
    await mirrorOnce(folder, connect);
    await first.keeper.settled();
    state.away = true;
    make(folder, { f: "second" });
    fs.mkdirSync(path.join(folder, "d"));
    await mirrorOnce(folder, connect);
    expect(first.keeper.writeBehind.items).toBeGreaterThan(0);
    const kept = first.log();
    expect(kept).toHaveLength(1);
    // Another run takes what is there for that of a program that has ended, as it had our process id.
    const files = path.join(dir, ".confundo/write-behind");
    const next = new Keeper({ dir, database: real, lookMs: 0 });
    await next.start();
    await next.recovered();
    expect(await versions(real)).toEqual(["f replaced 3"]);
    expect(await paths(real)).toEqual(["d", "f", "g"]);
    const stored = async () =>
      (await real.events.since(0, 1000)).events
        .filter(({ type }) => type === "file.stored")
        .map(({ data }) => (data as { path: string }).path)
        .sort();
    expect(await stored()).toEqual(["d", "f", "f", "g"]);
    expect(fs.readdirSync(files)).toEqual([]);
    expect(await real.files.unclean()).toEqual([]);
    await next.close();
  });

  test("clients wait where as much is noted as may be, and go on when it is written", async () => {
    // Instead of MAX_WRITE_BEHIND_BYTES.
    const writeBehindBytes = 20_000;
    const { folder, connect, state, keeper, at } = await rig({ writeBehindBytes });
    const { events, subscription } = follow(folder, connect);
    await event(events, "synced");
    state.away = true;
    const count = 200;
    make(folder, Object.fromEntries(Array.from({ length: count }, (_, i) => [`first/${i}`, `${i}`])));
    await until(() => keeper.writeBehind.waits > 0);
    make(folder, { "second/f": "later" });
    // What had been read by then is still done.
    const { bytes } = keeper.writeBehind;
    expect(bytes).toBeGreaterThanOrEqual(writeBehindBytes);
    state.away = false;
    await until(() => fs.existsSync(path.join(at(), "second/f")));
    subscription.unsubscribe();
    await until(() => keeper.writeBehind.items === 0);
    expect(keeper.writeBehind).toMatchObject({ bytes: 0, lagMs: 0 });
  });
});

describe("the files of what is not written yet", () => {
  const dead = (dir: string): void => {
    for (const name of fs.readdirSync(dir)) {
      fs.renameSync(path.join(dir, name), path.join(dir, name.replace(/^\d+/, "999999999")));
    }
  };

  test("are removed as soon as everything is written, and read in order", () => {
    const dir = path.join(tempFolder(), "write-behind");
    const log = new WriteBehindLog(dir, (error) => expect.unreachable(String(error)));
    const large = "x".repeat(1 << 20);
    for (let number = 1; number <= 12; number++) {
      expect(log.append({ number, large }).number).toBe(number);
      log.flush();
    }
    expect(fs.readdirSync(dir)).toHaveLength(3);
    log.written(3);
    expect(fs.readdirSync(dir)).toHaveLength(3);
    log.written(4);
    expect(fs.readdirSync(dir)).toHaveLength(2);
    log.close();
    dead(dir);
    fs.appendFileSync(path.join(dir, fs.readdirSync(dir).sort().at(-1) as string), '[13,{"half');
    const later = new WriteBehindLog(dir, () => {});
    expect([...later.earlier()].map(({ number }) => number)).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    later.forgetEarlier();
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test("that cannot be written are told once", () => {
    const errors: unknown[] = [];
    const file = path.join(tempFolder(), "file");
    fs.writeFileSync(file, "");
    const log = new WriteBehindLog(path.join(file, "below"), (error) => errors.push(error));
    for (let round = 0; round < 3; round++) {
      log.append(round);
      log.flush();
    }
    expect(errors).toHaveLength(1);
  });
});
