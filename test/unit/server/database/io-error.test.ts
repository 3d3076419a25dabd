import fs from "node:fs";
import path from "node:path";
import { DatabaseSync, StatementSync } from "node:sqlite";
import { expect, onTestFinished, test, vi } from "vitest";
import { openDatabase } from "../../../../src/server/index.js";
import { tempFolder } from "../../../support/sync-rig.js";

const SQLITE_IOERR_FSYNC = 1034;

/** A database on the disk; commits fail while the test says so, and checkpoints are counted. */
async function rig() {
  const file = path.join(tempFolder(), "db");
  const failing = { commit: false, checkpoint: false };
  const checkpoints: string[] = [];
  const ioError = () => Object.assign(new Error("disk I/O error"), { errcode: SQLITE_IOERR_FSYNC });
  const { run, all } = StatementSync.prototype;
  const spies = [
    vi.spyOn(StatementSync.prototype, "run").mockImplementation(function (this: StatementSync, ...values) {
      if (failing.commit && this.sourceSQL === "commit") throw ioError();
      return run.apply(this, values as never);
    }),
    vi.spyOn(StatementSync.prototype, "all").mockImplementation(function (this: StatementSync, ...values) {
      if (this.sourceSQL.includes("wal_checkpoint")) {
        checkpoints.push(failing.checkpoint ? "failed" : "done");
        if (failing.checkpoint) throw ioError();
      }
      return all.apply(this, values as never);
    }),
  ];
  const database = await openDatabase({ path: file });
  onTestFinished(async () => {
    for (const spy of spies) spy.mockRestore();
    await database.close();
  });
  /** Of the log that is written to: another one for each. */
  const salt = (): string => fs.readFileSync(`${file}-wal`).subarray(16, 24).toString("hex");
  return { file, database, failing, checkpoints, salt };
}

test("after an I/O error nothing is committed to that log any more, and what was committed is in the database", async () => {
  const { file, database, failing, checkpoints, salt } = await rig();
  await database.folders.ensure("before");
  const old = salt();
  failing.commit = true;
  await expect(database.folders.ensure("failed")).rejects.toMatchObject({ code: "ERR_DATABASE_UNAVAILABLE" });
  failing.commit = false;
  expect(checkpoints).toEqual([]);
  await database.folders.ensure("after");
  expect(checkpoints).toEqual(["done"]);
  expect(salt()).not.toBe(old);
  // Without its log, the file holds what was committed before.
  const alone = path.join(tempFolder(), "db");
  fs.copyFileSync(file, alone);
  const reader = new DatabaseSync(alone);
  expect(reader.prepare("select name from folders").all()).toEqual([{ name: "before" }]);
  reader.close();
  await database.folders.ensure("later");
  expect(checkpoints).toEqual(["done"]);
  expect((await database.folders.list()).map(({ name }) => name).sort()).toEqual(["after", "before", "later"]);
});

test("where the old log cannot be written to the database, nothing is acknowledged until it can", async () => {
  const { database, failing, checkpoints } = await rig();
  await database.folders.ensure("before");
  failing.commit = true;
  await expect(database.folders.ensure("failed")).rejects.toMatchObject({ code: "ERR_DATABASE_UNAVAILABLE" });
  failing.commit = false;
  failing.checkpoint = true;
  await expect(database.folders.ensure("refused")).rejects.toMatchObject({ code: "ERR_DATABASE_UNAVAILABLE" });
  expect((await database.folders.list()).map(({ name }) => name)).toEqual(["before"]);
  failing.checkpoint = false;
  await database.folders.ensure("after");
  expect(checkpoints).toEqual(["failed", "done"]);
});

test("a reader of the old log is not waited for, and its end is", async () => {
  const { file, database, failing } = await rig();
  await database.folders.ensure("before");
  const reader = new DatabaseSync(file);
  onTestFinished(() => reader.close());
  reader.exec("begin");
  reader.prepare("select * from folders").all();
  await database.folders.ensure("before too");
  failing.commit = true;
  await expect(database.folders.ensure("failed")).rejects.toMatchObject({ code: "ERR_DATABASE_UNAVAILABLE" });
  failing.commit = false;
  await expect(database.folders.ensure("refused")).rejects.toThrow("another process is reading");
  reader.exec("commit");
  await database.folders.ensure("after");
  expect((await database.folders.list()).map(({ name }) => name).sort()).toEqual(["after", "before", "before too"]);
});
