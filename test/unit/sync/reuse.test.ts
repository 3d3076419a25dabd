/** Chunks that a mirror has anywhere are not sent again. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../../src/server/index.js";
import { Keeper } from "../../../src/server/versions/keeper.js";
import type { Message } from "../../../src/sync/wire.js";
import { Random } from "../../support/random.js";
import { hello, rawClient } from "../../support/raw-client.js";
import {
  contents,
  counting,
  event,
  follow,
  make,
  mirrorOnce,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

const KIB = 1024;
const MIB = 1024 * KIB;

const noise = (seed: number, bytes: number): Buffer => Buffer.from(new Random(seed).bytes(bytes));

/** A folder with a mirror, of which it is written down what its files consist of. */
async function mirrored(tree: Parameters<typeof make>[1], options: Parameters<typeof testHome>[0] = {}) {
  const folder = tempFolder();
  make(folder, tree);
  const rig = testHome(options);
  const index = path.join(tempFolder(), "index");
  /** Mirrors once more: how much is sent. */
  const again = async (connect = () => rig.connect()): Promise<number> => {
    const { count, connect: counted } = counting(connect);
    await mirrorOnce(folder, counted, { index });
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(rig.staged()).toEqual([]);
    await rig.home.idle();
    return count.sent;
  };
  await again();
  const known = (name: string): string => path.join(rig.dir, ".confundo/chunk-index/m", name);
  return { ...rig, folder, known, full: (name: string) => path.join(folder, name), again };
}

/** A home that keeps what goes. */
async function keeping(dir = tempFolder()) {
  const database = await openDatabase({ path: ":memory:" });
  const keeper = new Keeper({ dir, database, lookMs: 0 });
  await keeper.start();
  await keeper.recovered();
  onTestFinished(async () => {
    await keeper.close();
    await database.close();
  });
  return { dir, keeper };
}

function replace(place: string, by: (place: string) => void): void {
  fs.rmSync(place, { recursive: true });
  by(place);
}

function edited(content: Buffer, ...at: number[]): Buffer {
  const copy = Buffer.from(content);
  for (const offset of at) copy.write("edited", offset);
  return copy;
}

describe("little is sent of a new file", () => {
  const [a, b] = [noise(1, 6 * MIB), noise(2, 3 * MIB)];
  const small = noise(3, 400 * KIB);
  const cases: [what: string, content: Buffer, most: number][] = [
    ["that is another one with a change", edited(a, 3e6), 400 * KIB],
    ["that is another one with many changes", edited(a, 1e6, 2e6, 3e6, 4e6, 5e6), MIB],
    ["that is another one with something in front", Buffer.concat([noise(9, 1000), a]), 400 * KIB],
    ["that is another one with much in front", Buffer.concat([noise(9, 300 * KIB), a]), 2 * MIB],
    ["that is another one with something behind", Buffer.concat([a, noise(9, 1000)]), 400 * KIB],
    ["that is two others, one after the other", Buffer.concat([b, a]), 400 * KIB],
    ["that is parts of others", Buffer.concat([a.subarray(2e6, 5e6), b.subarray(1e6), a.subarray(0, 1e6)]), 900 * KIB],
    ["that has a part of another far behind", Buffer.concat([noise(9, 10 * MIB), a]), 15 * MIB],
    ["that is a small one with a change at its end", edited(small, 399 * KIB), 300 * KIB],
    ["that repeats another", Buffer.concat([b, b, b]), 500 * KIB],
  ];
  test.each(cases)("%s", async (_, content, most) => {
    const { again, folder } = await mirrored({ "d/a": a, b, small });
    make(folder, { "new/file": content });
    expect(await again()).toBeLessThan(most);
  });

  test("in the place of another large one, also with parts of both", async () => {
    const { again, folder } = await mirrored({ a, b });
    make(folder, { b: edited(a, 2e6) });
    expect(await again()).toBeLessThan(800 * KIB);
    make(folder, { a: Buffer.concat([a.subarray(0, 3e6), b, a.subarray(3e6)]) });
    expect(await again()).toBeGreaterThan(2 * MIB);
    make(folder, { c: b });
    await again();
    make(folder, { b: Buffer.concat([a.subarray(0, 3e6), b, a.subarray(3e6)]) });
    expect(await again()).toBeLessThan(800 * KIB);
  });

  test("whose path has had something else, and of a second copy in the same moment", async () => {
    const { again, folder } = await mirrored({ a, b: "small" });
    make(folder, { b: edited(a, 2e6), c: edited(a, 4e6) });
    expect(await again()).toBeLessThan(600 * KIB);
  });

  test("and of one that the mirror has nothing of, hardly more than it is", async () => {
    const { again, folder } = await mirrored({ a });
    make(folder, { new: noise(9, 16 * MIB) });
    expect(await again()).toBeLessThan(16 * MIB * 1.001 + 2000);
  });
});

describe("what goes and comes elsewhere", () => {
  test("a log that was rotated after more was written to it", async () => {
    const log = noise(1, 4 * MIB);
    const { again, folder } = await mirrored({ "app.log": log });
    make(folder, { "app.1.log": Buffer.concat([log, noise(2, 1000)]), "app.log": "a new day" });
    expect(await again()).toBeLessThan(400 * KIB);
  });

  test("a moved folder, each of whose files was edited", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `${i}`);
    const { again, folder, full } = await mirrored(
      Object.fromEntries(names.map((name, i) => [`old/${name}`, noise(i + 1, MIB)])),
    );
    fs.mkdirSync(full("new/place"), { recursive: true });
    for (const name of names)
      make(folder, { [`new/place/${name}`]: edited(fs.readFileSync(full(`old/${name}`)), 5e5) });
    fs.rmSync(full("old"), { recursive: true });
    expect(await again()).toBeLessThan(20 * 200 * KIB);
  });

  test("a copy of a file that was moved, and of one in a folder that was renamed", async () => {
    const [a, b] = [noise(1, 2 * MIB), noise(2, 2 * MIB)];
    const { again, full, folder } = await mirrored({ a, "folder/b": b, "folder/c": "c" });
    fs.renameSync(full("a"), full("moved"));
    fs.renameSync(full("folder"), full("renamed"));
    await again();
    make(folder, { a2: edited(a, 1e6), b2: edited(b, 1e6) });
    expect(await again()).toBeLessThan(600 * KIB);
  });

  test("a file that was deleted, or replaced, and comes back edited: an old version is kept of it", async () => {
    const [a, b] = [noise(1, 3 * MIB), noise(2, 3 * MIB)];
    const kept = await keeping();
    const { again, full, folder } = await mirrored({ a, b, other: "x" }, kept);
    fs.rmSync(full("a"));
    make(folder, { b: "replaced" });
    await again();
    await kept.keeper.settled();
    make(folder, { restored: edited(a, 1e6), b: edited(b, 2e6) });
    expect(await again()).toBeLessThan(600 * KIB);
    fs.rmSync(full("restored"));
    await again();
    await kept.keeper.settled();
    make(folder, { restored: edited(a, 1e6) });
    expect(await again()).toBeLessThan(10 * KIB);
  });

  test("small files that were deleted or replaced and come back as they were, in the same place or another", async () => {
    const kept = await keeping();
    const small = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`small/${i}`, noise(i + 1, 20_000)]));
    const folder = tempFolder();
    make(folder, { ...small, other: "x" });
    const rig = testHome(kept);
    const { count, connect } = counting(() => rig.connect());
    const { events } = follow(folder, connect, { allowMassDelete: true });
    await event(events, "synced");
    const equal = () => until(() => JSON.stringify(contents(rig.at())) === JSON.stringify(contents(folder)));
    await equal();
    fs.rmSync(path.join(folder, "small/1"));
    make(folder, { "small/2": "replaced" });
    fs.rmSync(path.join(folder, "small/3"));
    await equal();
    count.sent = 0;
    make(folder, { "small/1": small["small/1"] as Buffer, "small/2": small["small/2"] as Buffer });
    make(folder, { elsewhere: small["small/3"] as Buffer });
    await equal();
    expect(count.sent).toBeLessThan(3000);
    // Content that is not kept any more is sent.
    fs.rmSync(path.join(folder, "small/5"));
    await equal();
    await kept.keeper.settled();
    fs.rmSync(path.join(kept.dir, ".confundo/versions/objects"), { recursive: true });
    make(folder, { "small/5": small["small/5"] as Buffer });
    await equal();
  });

  test("without one, it is sent again", async () => {
    const a = noise(1, MIB);
    const { again, full, folder } = await mirrored({ a, b: "b" });
    fs.rmSync(full("a"));
    await again();
    make(folder, { a });
    expect(await again()).toBeGreaterThan(MIB);
  });

  test("while following", async () => {
    const [a, folder] = [noise(1, 3 * MIB), tempFolder()];
    make(folder, { a });
    const rig = testHome();
    const { count, connect } = counting(() => rig.connect());
    const { events } = follow(folder, connect);
    await event(events, "synced");
    await rig.home.idle();
    count.sent = 0;
    make(folder, { b: edited(a, 1e6) });
    await until(() => JSON.stringify(contents(rig.at())) === JSON.stringify(contents(folder)));
    expect(count.sent).toBeLessThan(300 * KIB);
  });
});

describe("what is known is a hint", () => {
  const a = noise(1, 3 * MIB);

  test.each(["vanished", "other content, the same size and time", "shorter", "a link", "a pipe"])(
    "the other file is %s at the destination",
    async (what) => {
      const { again, folder, at } = await mirrored({ a, b: "b" });
      const there = path.join(at(), "a");
      const { mtime } = fs.statSync(there);
      if (what.startsWith("other")) fs.writeFileSync(there, noise(5, 3 * MIB));
      else if (what === "shorter") fs.truncateSync(there, 100 * KIB);
      else fs.rmSync(there);
      if (what === "a link") fs.symlinkSync("/etc/passwd", there);
      if (fs.existsSync(there) && what !== "a link") fs.utimesSync(there, mtime, mtime);
      make(folder, { new: edited(a, 1e6) });
      await again();
    },
  );

  test("what is written down is damaged, cut off, lost in part, or another mirror's", async () => {
    const { again, folder, known } = await mirrored({ a });
    const index = path.dirname(known("table"));
    const damages: [string, () => void][] = [
      ["noise in the table", () => fs.writeFileSync(known("table"), noise(7, 200 * KIB), { flag: "r+" })],
      ["noise in the sources", () => fs.writeFileSync(known("sources"), noise(7, 20), { flag: "r+" })],
      ["the table cut off", () => fs.truncateSync(known("table"), 1000)],
      ["the sources cut off", () => fs.truncateSync(known("sources"), fs.statSync(known("sources")).size - 1)],
      ["no table", () => fs.rmSync(known("table"))],
      ["no sources", () => fs.rmSync(known("sources"))],
      ["a folder in the place of the table", () => replace(known("table"), (place) => fs.mkdirSync(place))],
      ["a file in the place of all", () => replace(index, (place) => fs.writeFileSync(place, "x"))],
    ];
    for (const [i, [what, damage]] of damages.entries()) {
      damage();
      make(folder, { [what]: edited(a, 1e6 + i * 1000) });
      await again();
    }
    fs.rmSync(index);
    await again();
    make(folder, { last: edited(a, 2e6) });
    expect(await again()).toBeLessThan(300 * KIB);
  });

  test("a home that ended, or was killed, goes on with what it has written down", async () => {
    const { again, folder, home, dir } = await mirrored({ a, b: noise(2, MIB) });
    await home.close();
    const later = testHome({ dir });
    make(folder, { new: edited(a, 1e6) });
    expect(await again(() => later.connect())).toBeLessThan(300 * KIB);
  });

  test("files that were there before, and copies made there, are written down when all is settled", async () => {
    const { again, folder, known, full } = await mirrored({ a });
    fs.rmSync(known(""), { recursive: true });
    fs.copyFileSync(full("a"), full("copy"));
    await again();
    await again();
    fs.rmSync(full("a"));
    await again();
    make(folder, { new: edited(a, 1e6) });
    expect(await again()).toBeLessThan(300 * KIB);
  });

  test("what another mirror held is not given to who knows its path and hash", async () => {
    const kept = await keeping();
    const secret = noise(1, 20_000);
    const { connect, again, folder, full } = await mirrored({ secret, other: "x" }, kept);
    fs.rmSync(full("secret"));
    await again();
    await kept.keeper.settled();
    make(folder, { "stays/secret": noise(2, 20_000) });
    await again();
    const clone = async (name: string): Promise<Message> => {
      const client = rawClient(connect());
      client.say(hello({ name, clientId: name }));
      expect((await client.hear("welcome")).versions).toBe(true);
      const sha256 = createHash("sha256").update(secret).digest();
      const file = { path: "mine", size: secret.length, mtimeNs: 1n, executable: false };
      client.say({ type: "clone", id: 1, ...file, sha256, from: "secret" });
      await until(() => client.heard.some(({ type }) => type === "done" || type === "fail"));
      return client.heard.find(({ type }) => type === "done" || type === "fail") as Message;
    };
    expect(await clone("another")).toMatchObject({ type: "fail", code: "ERR_CHECKSUM" });
    expect(await clone("m")).toMatchObject({ type: "done", ids: [1] });
  });

  test("of another mirror at the same home, nothing is known", async () => {
    const { again, connect } = await mirrored({ a });
    await again();
    const folder = tempFolder();
    make(folder, { first: noise(5, MIB) });
    await mirrorOnce(folder, () => connect(), { name: "other" });
    make(folder, { b: edited(a, 1e6) });
    const { count, connect: counted } = counting(() => connect());
    await mirrorOnce(folder, counted, { name: "other" });
    expect(count.sent).toBeGreaterThan(3 * MIB);
  });
});
