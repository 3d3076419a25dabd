import fs from "node:fs";
import path from "node:path";
import { Subject } from "rxjs";
import { describe, expect, test } from "vitest";
import { Caution, type Intent } from "../../../src/sync/careful.js";
import type { Entry } from "../../../src/sync/entry.js";
import { type Hint, SyncError } from "../../../src/sync/index.js";
import { plan } from "../../../src/sync/plan.js";
import {
  contents,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

type Tree = Map<string, Entry>;

/** `count` files, each with a size of its own. */
function files(count: number, prefix = "f", from = 0): Tree {
  const tree: Tree = new Map();
  for (let i = from; i < from + count; i++) {
    const name = `${prefix}${i}`;
    tree.set(name, { kind: "file", path: name, size: i, mtimeNs: BigInt(i), executable: false });
  }
  return tree;
}

function judge(caution: Caution, local: Tree, remote: Tree, more: Partial<Intent> = {}) {
  const { operations } = plan(local, remote);
  return caution.judge({ operations, local, remote, whole: true, folderId: "1", nowMs: 0, ...more });
}

/** The verdict when what goes has rested, and most was looked for once more. */
function rested(caution: Caution, local: Tree, remote: Tree, nowMs: number): string {
  const first = judge(caution, local, remote, { nowMs });
  if (first.verdict !== "rest" && first.verdict !== "look") return first.verdict;
  const waitMs = first.verdict === "rest" ? first.restMs : first.afterMs;
  return judge(caution, local, remote, { nowMs: nowMs + waitMs }).verdict;
}

describe("the decision", () => {
  test.each([
    [250, 125, "go"],
    [250, 124, "ask"],
    [201, 100, "ask"],
    [199, 99, "go"],
    [150, 1, "ask"],
    [100, 1, "go"],
    [3, 1, "go"],
  ])("of %i files %i are left: %s", (before, after, verdict) => {
    expect(judge(new Caution(), files(after), files(before)).verdict).toBe(verdict);
  });

  test("the numbers", () => {
    expect(judge(new Caution(), files(50), files(200))).toEqual({
      verdict: "ask",
      losses: { files: 150, of: 200 },
      empty: false,
    });
  });

  test("an empty folder at the start, however little the mirror holds; folders alone are nothing", () => {
    const nothing: Tree = new Map([["d", { kind: "directory", path: "d" }]]);
    expect(judge(new Caution(), nothing, files(2))).toMatchObject({ verdict: "ask", losses: { files: 2, of: 2 } });
    expect(judge(new Caution(), new Map(), new Map()).verdict).toBe("go");
    expect(judge(new Caution(), new Map(), nothing).verdict).toBe("go");
  });

  test("a folder seen before that is another one now, and empty, is waited for", () => {
    const caution = new Caution();
    judge(caution, files(5), files(5));
    expect(judge(caution, new Map(), files(5), { folderId: "2", whole: false }).verdict).toBe("look");
    expect(judge(caution, new Map(), files(5), { folderId: "2" }).verdict).toBe("wait");
    expect(caution.hasSeenFolder).toBe(true);
  });

  test("a folder seen before loses its last file, but not all of several at once", () => {
    const caution = new Caution();
    judge(caution, files(5), files(5));
    expect(judge(caution, new Map(), files(5), { whole: false }).verdict).toBe("look");
    expect(judge(caution, new Map(), files(5))).toEqual({ verdict: "emptied", losses: { files: 5, of: 5 } });
    expect(rested(caution, new Map(), files(1), 0)).toBe("go");
  });

  test("what goes while a folder is followed rests before it is deleted, together with what goes meanwhile", () => {
    const caution = new Caution();
    const all = files(400);
    judge(caution, all, all);
    const at = (nowMs: number, left: number) => judge(caution, files(left), all, { nowMs });
    expect(at(0, 399)).toEqual({ verdict: "rest", restMs: 250 });
    expect(at(100, 398)).toEqual({ verdict: "rest", restMs: 250 });
    expect(at(300, 398)).toEqual({ verdict: "rest", restMs: 50 });
    expect(at(320, 300)).toEqual({ verdict: "rest", restMs: 250 });
    expect(at(400, 199)).toEqual({ verdict: "look", afterMs: 250 });
    expect(at(450, 199)).toMatchObject({ verdict: "ask", losses: { files: 201, of: 400 } });
    expect(at(500, 400)).toEqual({ verdict: "go" });
    for (let ms = 1000; ms < 3000; ms += 100) expect(at(ms, 390 - ms / 100).verdict).toBe("rest");
    expect(at(3000, 350).verdict).toBe("go");
  });

  test("a moved tree is no loss, and a tree of other files is", () => {
    const moved = new Map(
      [...files(300).values()].map((file) => [`new/${file.path}`, { ...file, path: `new/${file.path}` }]),
    );
    expect(judge(new Caution(), moved, files(300)).verdict).toBe("go");
    expect(judge(new Caution(), files(300, "g", 1000), files(300)).verdict).toBe("ask");
  });

  test("most of a followed folder is missing when two looks at everything in a row say the same: it may be on the move", () => {
    const caution = new Caution();
    const all = files(400);
    const look = (local: Tree): string => judge(caution, local, all).verdict;
    look(all);
    expect([150, 20, 150].map((left) => look(files(left)))).toEqual(["look", "look", "look"]);
    expect(look(all)).toBe("go");
    expect([20, 20].map((left) => look(files(left)))).toEqual(["look", "ask"]);
  });

  test("what a few events say is decided by a look at everything", () => {
    expect(judge(new Caution(), files(10), files(300), { whole: false }).verdict).toBe("look");
  });

  test("a flood in portions is one, and one that rests is none", () => {
    const slow = new Caution();
    const fast = new Caution();
    const verdicts = (caution: Caution, everyMs: number): string[] =>
      [240, 180, 120, 60].map((left, i) => rested(caution, files(left), files(left + 60), i * everyMs));
    expect(verdicts(fast, 1000)).toEqual(["go", "go", "ask", "ask"]);
    expect(verdicts(slow, 20_000)).toEqual(["go", "go", "go", "go"]);
  });

  test("a folder whose files come and go all the time is left in peace", () => {
    const caution = new Caution();
    for (let i = 0; i < 500; i++) {
      expect(rested(caution, files(20, "f", i + 1), files(20, "f", i), i * 300)).toBe("go");
    }
  });

  test("with leave it goes on", () => {
    expect(judge(new Caution(true), new Map(), files(500)).verdict).toBe("go");
  });
});

describe("a mirror", () => {
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`d/f${i}`, `${i}`]));

  test("stops before it loses most of its files, with the numbers, and goes on where that is meant", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { ...many(150), stays: "x" });
    await mirrorOnce(folder, () => connect());
    const before = contents(at());
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    make(folder, { new: "y" });
    const error = await mirrorOnce(folder, () => connect()).catch((reason) => reason);
    expect(error).toBeInstanceOf(SyncError);
    expect(error).toMatchObject({ code: "ERR_MASS_DELETE", losses: { files: 150, of: 151 } });
    expect(error.message).toContain("--allow-mass-delete");
    expect(contents(at())).toEqual(before);
    const dry = await mirrorOnce(folder, () => connect(), { once: false, dryRun: true });
    expect(ofType(dry, "notice")).toMatchObject([{ code: "ERR_MASS_DELETE" }]);
    await mirrorOnce(folder, () => connect(), { delete: false });
    expect(Object.keys(contents(at()))).toHaveLength(153);
    await mirrorOnce(folder, () => connect(), { allowMassDelete: true });
    expect(contents(at())).toEqual(contents(folder));
  });

  test("does not mirror that a folder has become empty", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { a: "1" });
    await mirrorOnce(folder, () => connect());
    fs.rmSync(path.join(folder, "a"));
    await expect(mirrorOnce(folder, () => connect())).rejects.toMatchObject({ code: "ERR_MASS_DELETE" });
    expect(Object.keys(contents(at()))).toEqual(["a"]);
  });

  test("stops while following, too; and waits for a disk that was unmounted", async () => {
    const { connect, at } = testHome();
    const parent = tempFolder();
    const folder = path.join(parent, "disk");
    make(folder, { a: "1", b: "2" });
    const hints = new Subject<Hint>();
    const options = { watch: () => hints, retryMs: 20, walkEveryMs: 50, settleMs: 5 };
    const { events, subscription } = follow(folder, () => connect(), options);
    await event(events, "synced");
    fs.renameSync(folder, path.join(parent, "unmounted"));
    fs.mkdirSync(folder);
    hints.next({ folder, path: "a", reason: "unlink" });
    await event(events, "notice", ({ code }) => code === "ERR_FOLDER");
    await event(events, "walking", ({ reason }) => reason === "again");
    expect(Object.keys(contents(at()))).toEqual(["a", "b"]);
    fs.rmdirSync(folder);
    fs.renameSync(path.join(parent, "unmounted"), folder);
    make(folder, { c: "3" });
    await event(events, "pushed", (pushed) => pushed.path === "c");
    subscription.unsubscribe();
  });

  test("of a folder that is emptied while it is followed keeps what it has, and follows what comes", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, many(7));
    const { events, seen } = follow(folder, () => connect(), { retryMs: 20 });
    await event(events, "synced");
    const before = contents(at());
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    const { message } = await event(events, "notice", ({ code }) => code === "ERR_MASS_DELETE");
    expect(message).toContain("--allow-mass-delete");
    await event(events, "walking", ({ reason }) => reason === "again");
    expect(contents(at())).toEqual(before);
    make(folder, { "d/f1": "new" });
    await event(events, "pushed", (pushed) => pushed.path === "d/f1");
    await until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
    expect(ofType(seen, "retrying")).toEqual([]);
  });

  test("of which most is deleted while it is followed keeps it and ends", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { ...many(150), stays: "x" });
    const { events } = follow(folder, () => connect());
    await event(events, "synced");
    const before = contents(at());
    const ended = new Promise((resolve) => events.subscribe({ error: resolve }));
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    expect(await ended).toMatchObject({ code: "ERR_MASS_DELETE" });
    expect(contents(at())).toEqual(before);
  });
});
