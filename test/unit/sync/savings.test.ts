/** What a mirror does not send. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { Random } from "../../support/random.js";
import {
  contents,
  counting,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

async function following(tree: Parameters<typeof make>[1]) {
  const folder = tempFolder();
  make(folder, tree);
  const rig = testHome();
  const { count, connect } = counting(() => rig.connect());
  const { seen, events } = follow(folder, connect, { settleMs: 60 });
  await Promise.all([event(events, "synced"), event(events, "watching")]);
  const same = (): boolean => JSON.stringify(contents(rig.at())) === JSON.stringify(contents(folder));
  await until(same);
  await new Promise((resolve) => setTimeout(resolve, 50));
  count.sent = 0;
  count.received = 0;
  seen.length = 0;
  return { ...rig, folder, count, seen, equal: () => until(same), full: (name: string) => path.join(folder, name) };
}

describe("what was copied", () => {
  test("is copied there too, files large and small, also from what a run before has sent", async () => {
    const folder = tempFolder();
    const rig = testHome();
    const index = path.join(tempFolder(), "index");
    const { count, connect } = counting(() => rig.connect());
    const [large, small] = [randomBytes(600_000), randomBytes(20_000)];
    make(folder, { "a/large": large, "a/small": small, "a/alike": randomBytes(600_000) });
    await mirrorOnce(folder, connect, { index });
    count.sent = 0;
    fs.cpSync(path.join(folder, "a"), path.join(folder, "b"), { recursive: true });
    const events = await mirrorOnce(folder, connect, { index });
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(count.sent).toBeLessThan(3000);
    expect(ofType(events, "pushed").map(({ path: name }) => name)).toContain("b/large");
    // They are files of their own.
    fs.appendFileSync(path.join(folder, "b/large"), "more");
    await mirrorOnce(folder, connect, { index });
    expect(contents(rig.at())).toEqual(contents(folder));
  });

  test("is sent where the other file has changed there", async () => {
    const { full, at } = await following({ a: randomBytes(300_000) });
    fs.writeFileSync(path.join(at(), "a"), randomBytes(300_000));
    fs.copyFileSync(full("a"), full("b"));
    await until(() => fs.existsSync(path.join(at(), "b")));
    expect(fs.readFileSync(path.join(at(), "b")).equals(fs.readFileSync(full("b")))).toBe(true);
  });
});

describe("what was moved", () => {
  test("a large file and a folder of many, while following", async () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`many/deep/${i}`, `content ${i}`]));
    const { full, count, seen, equal } = await following({ large: randomBytes(4_000_000), ...many });
    fs.renameSync(full("large"), full("also large"));
    fs.renameSync(full("many"), full("moved"));
    await equal();
    await until(() => ofType(seen, "moved").length === 2);
    const moves = ofType(seen, "moved").map(({ from, path: to }) => `${from} > ${to}`);
    expect(moves.sort()).toEqual(["large > also large", "many > moved"]);
    expect(count.sent).toBeLessThan(3000);
    expect(ofType(seen, "deleted")).toEqual([]);
  });

  test("from one folder to another, and swapped", async () => {
    const a = randomBytes(300_000);
    const b = randomBytes(300_000);
    const { full, count, equal } = await following({ "x/a": a, "y/b": b, "y/c": "c" });
    fs.renameSync(full("x/a"), full("y/a"));
    await equal();
    fs.renameSync(full("y/a"), full("spare"));
    fs.renameSync(full("y/b"), full("y/a"));
    fs.renameSync(full("spare"), full("y/b"));
    await equal();
    expect(count.sent).toBeLessThan(3000);
  });

  test("between two runs, by size and time; what only looks the same is sent", async () => {
    const folder = tempFolder();
    const times = new Date(1_600_000_000_000);
    make(folder, { "v1/data": randomBytes(100_000), "v1/same": "a".repeat(2000), "v2/": null });
    for (const name of ["data", "same"]) fs.utimesSync(path.join(folder, "v1", name), times, times);
    const rig = testHome();
    await mirrorOnce(folder, () => rig.connect());
    fs.renameSync(path.join(folder, "v1/data"), path.join(folder, "v2/data"));
    fs.rmSync(path.join(folder, "v1"), { recursive: true });
    make(folder, { "v2/same": "b".repeat(2000) });
    fs.utimesSync(path.join(folder, "v2/same"), times, times);
    const { count, connect } = counting(() => rig.connect());
    const events = await mirrorOnce(folder, connect);
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(ofType(events, "moved")).toMatchObject([{ from: "v1/data", path: "v2/data" }]);
    expect(count.sent).toBeLessThan(5000);
    expect(rig.staged()).toEqual([]);
  });

  test("what was tampered with at the destination is sent instead", async () => {
    const { at, full, equal } = await following({ "f/a": randomBytes(200_000), "f/b": "b" });
    const there = path.join(at(), "f/a");
    const { mtime } = fs.statSync(there);
    fs.writeFileSync(there, randomBytes(200_000));
    fs.utimesSync(there, mtime, mtime);
    fs.renameSync(full("f/a"), full("f/c"));
    await equal();
  });
});

describe("what changed in a large file", () => {
  // The same each time: how much an edit costs depends on where chunks are cut.
  const original = Buffer.from(new Random(1).bytes(6_000_000));
  const insert = Buffer.from("inserted");
  const edits: [string, Buffer, number][] = [
    [
      "one byte in the middle",
      Buffer.concat([original.subarray(0, 3e6), Buffer.from("!"), original.subarray(3e6 + 1)]),
      300_000,
    ],
    ["something put in", Buffer.concat([original.subarray(0, 2e6), insert, original.subarray(2e6)]), 300_000],
    ["something in front", Buffer.concat([insert, original]), 300_000],
    ["something at the end", Buffer.concat([original, insert]), 300_000],
    ["a part taken out", Buffer.concat([original.subarray(0, 1e6), original.subarray(2e6)]), 600_000],
    ["parts in another order", Buffer.concat([original.subarray(3e6), original.subarray(0, 3e6)]), 700_000],
    ["most of it cut off", original.subarray(0, 600_000), 300_000],
  ];

  test.each(edits)("%s, while following", async (_, edited, most) => {
    const { count, full, equal } = await following({ "d/large": original });
    fs.writeFileSync(full("d/new"), edited);
    fs.renameSync(full("d/new"), full("d/large"));
    await equal();
    expect(count.sent).toBeLessThan(most);
    expect(count.received).toBeLessThan(10_000);
  });

  test("between two runs, also when the list of chunks is damaged or the destination was tampered with", async () => {
    const folder = tempFolder();
    make(folder, { large: original });
    const rig = testHome();
    await mirrorOnce(folder, () => rig.connect());
    const lists = path.join(rig.dir, ".confundo", "chunks", "m");
    for (const damage of ["none", "truncated", "other", "tampered"]) {
      const edited = Buffer.from(original);
      edited.write(`changed after ${damage}`, 4e6);
      make(folder, { large: edited });
      for (const name of fs.existsSync(lists) ? fs.readdirSync(lists) : []) {
        const list = fs.readFileSync(path.join(lists, name));
        if (damage === "truncated") fs.truncateSync(path.join(lists, name), 100);
        if (damage === "other")
          fs.writeFileSync(path.join(lists, name), Buffer.concat([list.subarray(9), list.subarray(0, 9)]));
      }
      if (damage === "tampered") {
        const { mtime } = fs.statSync(`${rig.at()}/large`);
        fs.writeFileSync(`${rig.at()}/large`, randomBytes(original.length));
        fs.utimesSync(`${rig.at()}/large`, mtime, mtime);
      }
      const { count, connect } = counting(() => rig.connect());
      await mirrorOnce(folder, connect);
      expect(contents(rig.at())).toEqual(contents(folder));
      if (damage === "none" || damage === "truncated") expect(count.sent).toBeLessThan(300_000);
    }
    expect(rig.staged()).toEqual([]);
  });
});

test("what can be compressed travels compressed: text, and lists of what there is", async () => {
  const folder = tempFolder();
  const names = Array.from({ length: 400 }, (_, i) => [`folder/file number ${i}`, `the same words ${i} `.repeat(100)]);
  make(folder, { ...Object.fromEntries(names), large: Buffer.alloc(3_000_000, "words and words ") });
  const rig = testHome();
  const first = counting(() => rig.connect());
  await mirrorOnce(folder, first.connect);
  expect(contents(rig.at())).toEqual(contents(folder));
  expect(first.count.sent).toBeLessThan(200_000);
  const second = counting(() => rig.connect());
  await mirrorOnce(folder, second.connect);
  expect(second.count.received).toBeLessThan(15_000);
});
