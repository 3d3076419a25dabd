import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { contents, follow, make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const names = (first: number, count: number): string[] => Array.from({ length: count }, (_, i) => `t${first + i}`);

test("files that come and go all the time are no loss, however many they are in sum", async () => {
  const { connect, at } = testHome();
  const folder = tempFolder();
  make(folder, Object.fromEntries(names(0, 110).map((name) => [`kept/${name}`, name])));
  const { seen, subscription } = follow(folder, () => connect(), { settleMs: 2, recheckMs: 20, walkEveryMs: 50 });
  await until(() => seen.some(({ type }) => type === "synced"));
  const synced = (): number => seen.filter(({ type }) => type === "synced").length;
  // 600 files in all, ten at a time beside 110 that stay: more than half of what there is, and more than a hundred.
  for (let first = 0; first < 600; first += 10) {
    for (const name of names(first, 10)) fs.writeFileSync(path.join(folder, name), name);
    const before = seen.filter((event) => event.type === "pushed" && event.path.startsWith("t")).length;
    // At the destination, most of the time, before they go.
    if (first % 30 !== 0) await until(() => seen.filter(({ type }) => type === "pushed").length > before);
    else await delay(1);
    for (const name of names(first, 10)) fs.rmSync(path.join(folder, name));
  }
  const rounds = synced();
  make(folder, { last: "last" });
  await until(() => synced() > rounds && fs.existsSync(path.join(at(), "last")));
  await until(() => Object.keys(contents(at())).length === Object.keys(contents(folder)).length);
  expect(seen.filter(({ type }) => type === "held")).toEqual([]);
  expect(subscription.closed).toBe(false);
});
