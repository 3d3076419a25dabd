import fs from "node:fs";
import path from "node:path";
import { Subject } from "rxjs";
import { describe, expect, test } from "vitest";
import { DeleteGuard, type DeleteGuardOptions, type Intent } from "../../../src/sync/delete-guard.js";
import type { Entry } from "../../../src/sync/entry.js";
import { massDelete } from "../../../src/sync/errors.js";
import { type Approval, type Hint, SyncError } from "../../../src/sync/index.js";
import { LossMemory } from "../../../src/sync/loss-memory.js";
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
    tree.set(name, { kind: "file", path: name, size: i, mtimeNs: BigInt(i) * 10_000n, executable: false });
  }
  return tree;
}

function guardOf(options: DeleteGuardOptions = {}): DeleteGuard {
  return new DeleteGuard({ nonce: "n", ...options }, 0);
}

function evaluate(guard: DeleteGuard, local: Tree, remote: Tree, more: Partial<Intent> = {}) {
  const { operations } = plan(local, remote);
  return guard.evaluate({ operations, local, remote, whole: true, folderId: "1", nowMs: 0, ...more });
}

/** The verdict when what goes has rested, and what counts was looked for once more. */
function rested(guard: DeleteGuard, local: Tree, remote: Tree, nowMs = 0, more: Partial<Intent> = {}) {
  for (let now = nowMs, looks = 0; ; looks++) {
    const verdict = evaluate(guard, local, remote, { ...more, nowMs: now });
    if (verdict.verdict !== "rest" || looks > 20) return verdict;
    now += verdict.restMs;
  }
}

/** A guard that has seen the folder with all that the mirror holds. */
function following(held: Tree, options: DeleteGuardOptions = {}): DeleteGuard {
  const guard = guardOf(options);
  evaluate(guard, held, held);
  return guard;
}

describe("runs that follow each other", () => {
  const WINDOW_MS = 600_000;
  const epoch = Date.UTC(2026, 10, 30);

  /** A run that begins at `atMs` and finds the mirror to hold `remote`. */
  function run(file: string, atMs: number, local: Tree, remote: Tree, options: DeleteGuardOptions = {}) {
    const guard = new DeleteGuard({ nonce: "n", memory: new LossMemory(file, true), ...options }, epoch + atMs);
    return { guard, verdict: evaluate(guard, local, remote) };
  }

  test("count together, within the window, with what has come and what is back", () => {
    const file = path.join(tempFolder(), "losses");
    const all = files(300);
    const without = (lost: number): Tree => files(300 - lost, "f", lost);
    expect(run(file, 0, without(99), all).verdict.verdict).toBe("go");
    const { guard, verdict } = run(file, 60_000, without(198), without(99));
    expect(verdict).toMatchObject({ verdict: "hold", held: { files: 99, deleted: 99, of: 300, deletedSince: epoch } });
    // What is held back was not lost, in this run and in the next.
    expect(run(file, 120_000, without(198), without(99)).verdict).toMatchObject({ held: { files: 99, deleted: 99 } });
    // What was lost and is back does not count, nor what was approved, nor what is long ago.
    expect(run(file, 180_000, all, without(99)).verdict.verdict).toBe("go");
    expect(run(file, 240_000, without(99), all).verdict.verdict).toBe("go");
    expect(run(file, 240_000 + WINDOW_MS + 1, without(198), without(99)).verdict.verdict).toBe("go");
    expect(guard.approve(guard.held?.id ?? "")).toBe(true);
    expect(fs.readFileSync(file, "utf8")).toBe('{"losses":[],"more":0,"fresh":[],"additions":[]}');
  });

  test("files that come and go from run to run are no loss", () => {
    const file = path.join(tempFolder(), "losses");
    const kept = files(100, "kept");
    const with_ = (prefix: string): Tree => new Map([...kept, ...files(60, prefix, 1000)]);
    let before = kept;
    for (let i = 0; i < 8; i++) {
      const now = with_(`temporary${i}-`);
      expect(run(file, i * 60_000, now, before).verdict.verdict).toBe("go");
      before = now;
    }
  });

  test("--allow-mass-delete neither counts nor forgets; a damaged file, and one that cannot be written, are none", () => {
    const file = path.join(tempFolder(), "losses");
    const all = files(300);
    expect(run(file, 0, files(10), all, { allowMassDelete: true }).verdict.verdict).toBe("go");
    expect(fs.existsSync(file)).toBe(false);
    for (const damaged of ["", "{}", '{"losses":[[1]],"more":0,"fresh":[],"additions":[]}', "null"]) {
      fs.writeFileSync(file, damaged);
      expect(run(file, 0, files(299), all).verdict.verdict).toBe("go");
    }
    expect(run(path.join(file, "below"), 0, files(299), all).verdict.verdict).toBe("go");
  });

  test("losses beyond those that are listed are counted", () => {
    const file = path.join(tempFolder(), "losses");
    const all = files(12_000);
    expect(run(file, 0, files(6400), all).verdict.verdict).toBe("go");
    expect(JSON.parse(fs.readFileSync(file, "utf8"))).toMatchObject({ more: 600 });
    expect(run(file, 1000, files(5900), files(6400)).verdict).toMatchObject({
      held: { files: 500, deleted: 5600 },
    });
  });
});

describe("the decision", () => {
  test.each([
    [250, 125, "go"],
    [250, 124, "hold"],
    [201, 100, "hold"],
    [199, 99, "go"],
    [150, 1, "hold"],
    [100, 1, "go"],
    [3, 1, "go"],
  ])("of %i files %i are left: %s", (before, after, verdict) => {
    expect(evaluate(guardOf(), files(after), files(before)).verdict).toBe(verdict);
  });

  test.each([
    [10, 11, "hold"],
    [10, 10, "go"],
    [0, 1, "hold"],
    ["20%", 41, "hold"],
    ["20%", 40, "go"],
    ["100%", 199, "go"],
  ] as const)("with a limit of %s, %i of 200 files are lost: %s", (maxDelete, lost, verdict) => {
    expect(evaluate(guardOf({ maxDelete }), files(200 - lost), files(200)).verdict).toBe(verdict);
  });

  test("the numbers, and some of the paths", () => {
    const verdict = evaluate(guardOf(), files(50), files(200));
    expect(verdict).toMatchObject({ verdict: "hold", held: { reason: "limit", files: 150, of: 200, deleted: 0 } });
    if (verdict.verdict !== "hold") return;
    expect(verdict.held.paths).toHaveLength(20);
    expect(verdict.held.paths[0]).toBe("f100");
    expect(verdict.keep.size).toBe(150);
  });

  test("an empty folder at the start, however little the mirror holds; folders alone are nothing", () => {
    const nothing: Tree = new Map([["d", { kind: "directory", path: "d" }]]);
    expect(evaluate(guardOf(), nothing, files(2))).toMatchObject({ held: { reason: "empty", files: 2, of: 2 } });
    expect(evaluate(guardOf(), new Map(), new Map()).verdict).toBe("go");
    expect(evaluate(guardOf(), new Map(), nothing).verdict).toBe("go");
  });

  test("a folder seen before that is another one now, and empty, is waited for", () => {
    const guard = following(files(5));
    expect(evaluate(guard, new Map(), files(5), { folderId: "2", whole: false }).verdict).toBe("look");
    expect(evaluate(guard, new Map(), files(5), { folderId: "2" }).verdict).toBe("wait");
    expect(guard.hasSeenFolder).toBe(true);
  });

  test("a folder seen before loses its last file, but not all of several at once", () => {
    const guard = following(files(5));
    expect(evaluate(guard, new Map(), files(5), { whole: false }).verdict).toBe("look");
    expect(rested(guard, new Map(), files(5))).toMatchObject({ held: { reason: "empty", files: 5, of: 5 } });
    expect(rested(guard, new Map(), files(1)).verdict).toBe("go");
  });

  test("what goes while a folder is followed rests before it is deleted, together with what goes meanwhile", () => {
    const all = files(400);
    const guard = following(all);
    const at = (nowMs: number, left: number) => evaluate(guard, files(left), all, { nowMs });
    expect(at(0, 399)).toMatchObject({ verdict: "rest", restMs: 250, whole: false });
    expect(at(100, 398)).toMatchObject({ verdict: "rest", restMs: 250 });
    expect(at(300, 398)).toMatchObject({ verdict: "rest", restMs: 50 });
    expect(at(320, 300)).toMatchObject({ verdict: "rest", restMs: 250 });
    expect(at(400, 199)).toMatchObject({ verdict: "rest", restMs: 250, whole: true });
    expect(at(450, 199)).toMatchObject({ verdict: "hold", held: { files: 201, of: 400 } });
    expect(at(500, 400)).toEqual({ verdict: "go" });
    for (let ms = 1000; ms < 3000; ms += 100) expect(at(ms, 390 - ms / 100).verdict).toBe("rest");
    expect(at(3000, 350).verdict).toBe("go");
  });

  test("a moved tree is no loss, and a tree of other files is", () => {
    const moved = new Map(
      [...files(300).values()].map((file) => [`new/${file.path}`, { ...file, path: `new/${file.path}` }]),
    );
    expect(evaluate(guardOf(), moved, files(300)).verdict).toBe("go");
    expect(evaluate(guardOf(), files(300, "g", 1000), files(300)).verdict).toBe("hold");
  });

  test("links that get other names are no loss, and links that point elsewhere are", () => {
    const links = (name: string, target: string): Tree =>
      new Map(
        Array.from({ length: 200 }, (_, i) => {
          const path = `${name}${i}`;
          return [path, { kind: "symlink", path, target: `${target}${i}` }];
        }),
      );
    expect(evaluate(guardOf(), links("b", "t"), links("a", "t")).verdict).toBe("go");
    expect(evaluate(guardOf(), links("b", "u"), links("a", "t")).verdict).toBe("hold");
  });

  test("a file that is in the folder under another name by its inode is no loss, and one with a reused inode is", () => {
    const versions = (prefix: string, change: number, time = 0n): Tree =>
      new Map(
        [...files(200, prefix).values()].map((file) => {
          const { size, mtimeNs } = file as Entry & { kind: "file" };
          return [file.path, { ...file, mtimeNs: mtimeNs + time, version: `${size}.${change}` } as Entry];
        }),
      );
    const remote = new Map([...versions("a", 1), ...versions("b", 2)]);
    expect(evaluate(guardOf(), versions("b", 2), remote).verdict).toBe("go");
    const reused = new Map([...versions("a", 1), ...versions("b", 2, 50_000n)]);
    expect(evaluate(guardOf({ maxDelete: 100 }), versions("b", 2, 50_000n), reused).verdict).toBe("hold");
  });

  test("what is lost counts when two scans of the whole folder in a row miss it: it may be on the move", () => {
    const all = files(400);
    const guard = following(all);
    const look = (local: Tree): string => evaluate(guard, local, all).verdict;
    expect([150, 20, 150].map((left) => look(files(left)))).toEqual(["rest", "rest", "hold"]);
    expect(look(all)).toBe("go");
    expect([20, 20].map((left) => look(files(left)))).toEqual(["rest", "hold"]);
  });

  test("while folders change during the scans, many in a row have to miss it", () => {
    const all = files(400);
    const guard = following(all);
    const look = (left: number): string => evaluate(guard, files(left), all, { atRest: () => false }).verdict;
    const verdicts = [20, 20, 20, 10, 20, 20, 20, 20, 20, 20, 20].map(look);
    expect(verdicts).toEqual([...Array.from({ length: 10 }, () => "rest"), "hold"]);
  });

  test("what a few events say is decided by a scan of the whole folder", () => {
    expect(evaluate(guardOf(), files(10), files(300), { whole: false }).verdict).toBe("look");
  });

  test("losses count together over a sliding window, against what the mirror held when it began", () => {
    const guard = following(files(170));
    const lose = (left: number, nowMs: number) => rested(guard, files(left), files(left + 30), nowMs);
    expect(lose(140, 0).verdict).toBe("go");
    expect(lose(110, 200_000).verdict).toBe("go");
    expect(lose(80, 400_000).verdict).toBe("go");
    const fourth = lose(50, 500_000);
    expect(fourth).toMatchObject({ held: { files: 30, of: 170, deleted: 90, windowMs: 600_000 } });
    expect(fourth.verdict === "hold" && fourth.held.deletedSince).toBeGreaterThan(0);
    // The first is over by then.
    expect(lose(50, 700_000).verdict).toBe("go");
  });

  test("the window is an option", () => {
    const guard = following(files(170), { windowMs: 1000 });
    const verdicts = [140, 110, 80, 50, 20].map(
      (left, i) => rested(guard, files(left), files(left + 30), i * 5000).verdict,
    );
    expect(new Set(verdicts)).toEqual(new Set(["go"]));
  });

  test("what comes back, under its name or another one, was not lost", () => {
    const guard = following(files(190));
    expect(rested(guard, files(100), files(190)).verdict).toBe("go");
    const renamed = [...files(45, "f", 100).values()].map((file) => ({ ...file, path: `new/${file.path}` }));
    const back = new Map([...files(100), ...files(45, "f", 145), ...renamed.map((file) => [file.path, file] as const)]);
    expect(evaluate(guard, back, files(100), { nowMs: 5000 }).verdict).toBe("go");
    expect(rested(guard, new Map([...back].slice(100)), back, 6000).verdict).toBe("go");
  });

  test("a folder whose files come and go all the time is left in peace", () => {
    const guard = guardOf();
    for (let i = 0; i < 500; i++) {
      expect(rested(guard, files(20, "f", i + 1), files(20, "f", i), i * 300).verdict).toBe("go");
    }
  });

  test("old files that go one by one while others come in their place count", () => {
    const guard = following(files(150));
    let held = 0;
    for (let i = 0; i < 150 && held === 0; i++) {
      const remote = new Map([...files(150 - i, "f", i), ...files(i, "x", 1000)]);
      const local = new Map([...files(149 - i, "f", i + 1), ...files(i + 1, "x", 1000)]);
      if (rested(guard, local, remote, i * 500).verdict === "hold") held = i;
    }
    expect(held).toBe(100);
  });

  test("with leave it goes on", () => {
    expect(evaluate(guardOf({ allowMassDelete: true }), new Map(), files(500)).verdict).toBe("go");
  });
});

describe("what is held back", () => {
  const all = files(450);

  test("is deleted once when its id is approved, and asked for again the next time", () => {
    const guard = following(all);
    const verdict = rested(guard, files(50), all);
    if (verdict.verdict !== "hold") throw new Error(verdict.verdict);
    expect(guard.approve("another")).toBe(false);
    expect(guard.approve(verdict.held.id)).toBe(true);
    expect(guard.held).toBeUndefined();
    expect(evaluate(guard, files(50), all).verdict).toBe("go");
    expect(evaluate(guard, all, files(50)).verdict).toBe("go");
    const again = rested(guard, files(50), all);
    expect(again.verdict).toBe("hold");
    expect(guard.held?.id).not.toBe(verdict.held.id);
    expect(guard.approve(verdict.held.id)).toBe(false);
  });

  test("is approved as it was shown: what goes after that is not", () => {
    const guard = following(all);
    const verdict = rested(guard, files(50), all);
    if (verdict.verdict !== "hold") throw new Error(verdict.verdict);
    guard.approve(verdict.held.id);
    expect(rested(guard, files(20), all, 0, {}).verdict).toBe("go");
    const more = following(all, { maxDelete: 10 });
    const shown = rested(more, files(50), all);
    if (shown.verdict !== "hold") throw new Error(shown.verdict);
    more.approve(shown.held.id);
    const later = rested(more, files(20), all);
    expect(later).toMatchObject({ verdict: "hold", held: { files: 30 } });
    expect(later.verdict === "hold" && [...later.keep].every((name) => files(50).has(name))).toBe(true);
  });

  test("grows with what goes meanwhile, under another id", () => {
    const guard = following(all);
    const first = rested(guard, files(200), all);
    const second = rested(guard, files(150), all);
    expect([first, second]).toMatchObject([{ held: { files: 250 } }, { held: { files: 300 } }]);
    expect(first.verdict === "hold" && guard.approve(first.held.id)).toBe(false);
  });

  test("is no more when it has come back", () => {
    const guard = following(all);
    rested(guard, files(50), all);
    expect(evaluate(guard, all, all, { whole: false })).toEqual({ verdict: "go", recheck: true });
    expect(evaluate(guard, all, all)).toEqual({ verdict: "go" });
    expect(guard.held).toBeUndefined();
  });

  test("is each file of an unfamiliar mirror, however few", () => {
    const guard = guardOf();
    const verdict = evaluate(guard, files(449), all, { unfamiliar: true });
    expect(verdict).toMatchObject({ verdict: "hold", held: { reason: "unfamiliar", files: 1 } });
    expect(guard.holdsUnfamiliar).toBe(true);
    expect(rested(guard, files(449), all)).toMatchObject({ verdict: "hold" });
    guard.approve(guard.held?.id ?? "");
    expect(evaluate(guard, files(449), all).verdict).toBe("go");
    expect(guard.holdsUnfamiliar).toBe(false);
  });

  test("is each file below a mount point that nothing is mounted at, and the others are not", () => {
    const disk = new Map([...files(3, "disk/"), ...files(10)]);
    const guard = following(disk);
    const verdict = rested(guard, files(9), disk, 0, { away: ["disk"] });
    expect(verdict).toMatchObject({ verdict: "hold", held: { reason: "unmounted", files: 3 } });
    expect(verdict.verdict === "hold" && [...verdict.keep]).toEqual(expect.arrayContaining(["disk/0"]));
    expect(guard.holdsWithin("disk")).toBe(true);
    expect(guard.holdsWithin("f9")).toBe(false);
  });

  test("is nothing where the person has said that the mirror is to be replaced", () => {
    expect(evaluate(guardOf(), files(1), all, { meant: true }).verdict).toBe("go");
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
    expect(contents(at())).toEqual(before);
    make(folder, { "d/f1": "new" });
    await event(events, "pushed", (pushed) => pushed.path === "d/f1");
    await until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
    expect(ofType(seen, "retrying")).toEqual([]);
  });

  test("of which most is deleted while it is followed keeps it, goes on with everything else, and asks", async () => {
    const { connect, at, home } = testHome();
    const folder = tempFolder();
    make(folder, { ...many(150), stays: "x" });
    const { events, seen } = follow(folder, () => connect());
    await event(events, "synced");
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    const held = await event(events, "held");
    expect(held).toMatchObject({ reason: "limit", files: 150, of: 151, deleted: 0 });
    make(folder, { new: "y" });
    await event(events, "pushed", (pushed) => pushed.path === "new");
    expect(Object.keys(contents(at()))).toHaveLength(153);
    expect(ofType(seen, "notice")).toMatchObject([{ code: "ERR_MASS_DELETE" }]);
    expect(home.openSessions[0]?.held).toMatchObject({ id: held.id, files: 150, paths: held.paths });
    expect(home.approve("m", "another", true)).toBe(false);
    expect(home.approve("m", held.id, true)).toBe(true);
    await event(events, "released", ({ id, approved }) => id === held.id && approved);
    await until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
    await until(() => home.openSessions[0]?.held === null);
  });

  test("asks here, too: once with an answer", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { ...many(150), stays: "x" });
    await mirrorOnce(folder, () => connect());
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    const ask = async (approved: boolean) => {
      const approvals = new Subject<Approval>();
      const { events } = follow(folder, () => connect(), { once: true, asks: true, approvals });
      const done = new Promise((resolve) => events.subscribe({ error: resolve, complete: () => resolve("done") }));
      const { id } = await event(events, "held");
      approvals.next({ id: "another", approved: true });
      approvals.next({ id, approved });
      return done;
    };
    expect(await ask(false)).toMatchObject({ code: "ERR_MASS_DELETE" });
    expect(Object.keys(contents(at()))).toHaveLength(152);
    expect(await ask(true)).toBe("done");
    expect(contents(at())).toEqual(contents(folder));
  });
});

describe("whose a mirror is", () => {
  const ninety = (prefix: string) =>
    Object.fromEntries(Array.from({ length: 90 }, (_, i) => [`${prefix}${i}`, `${i}`]));

  test("another folder is refused with both named, and --replace means it", async () => {
    const { connect, at } = testHome();
    const [mine, other] = [tempFolder(), tempFolder()];
    make(mine, ninety("a"));
    make(other, ninety("b"));
    await mirrorOnce(mine, () => connect());
    const before = contents(at());
    const error = await mirrorOnce(other, () => connect()).catch((reason) => reason);
    expect(error).toMatchObject({ code: "ERR_MIRROR_OWNER", retryable: false });
    for (const named of [mine, other, "--replace"]) expect(error.message).toContain(named);
    expect(contents(at())).toEqual(before);
    await mirrorOnce(other, () => connect(), { replace: true });
    expect(contents(at())).toEqual(contents(other));
    await expect(mirrorOnce(mine, () => connect())).rejects.toMatchObject({ code: "ERR_MIRROR_OWNER" });
  });

  test("a folder that was moved, or is mirrored by another client, is the same", async () => {
    const { connect, at } = testHome();
    const parent = tempFolder();
    const folder = path.join(parent, "a");
    make(folder, { x: "1", y: "2", z: "3" });
    await mirrorOnce(folder, () => connect());
    fs.renameSync(folder, path.join(parent, "b"));
    fs.rmSync(path.join(parent, "b", "x"));
    await mirrorOnce(path.join(parent, "b"), () => connect(), { clientId: "installed again" });
    expect(Object.keys(contents(at()))).toEqual(["y", "z"]);
  });

  test("a copy of the folder on another disk may go on, but is asked for what it has not", async () => {
    const { connect, at } = testHome();
    const [folder, copy] = [tempFolder(), tempFolder()];
    make(folder, { x: "1", y: "2", z: "3" });
    await mirrorOnce(folder, () => connect());
    fs.cpSync(folder, copy, { recursive: true, preserveTimestamps: true });
    await mirrorOnce(copy, () => connect());
    await mirrorOnce(folder, () => connect());
    fs.rmSync(path.join(copy, "x"));
    const asked = mirrorOnce(copy, () => connect());
    await expect(asked).rejects.toMatchObject({ code: "ERR_MASS_DELETE", held: { reason: "unfamiliar", files: 1 } });
    expect(Object.keys(contents(at()))).toEqual(["x", "y", "z"]);
  });

  test("a folder that was made again at its place is the same while it has most of the names", async () => {
    const { connect, at } = testHome();
    const folder = path.join(tempFolder(), "site");
    make(folder, { a: "1", b: "2", c: "3" });
    await mirrorOnce(folder, () => connect());
    fs.rmSync(folder, { recursive: true });
    make(folder, { a: "other", b: "other" });
    await mirrorOnce(folder, () => connect());
    expect(Object.keys(contents(at()))).toEqual(["a", "b"]);
    fs.rmSync(folder, { recursive: true });
    make(folder, { c: "of another disk" });
    await expect(mirrorOnce(folder, () => connect())).rejects.toMatchObject({
      held: { reason: "unfamiliar", files: 2 },
    });
  });

  test("the first sync into a mirror that holds something asks before it loses a file", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { a: "1" });
    make(at(), { a: "0", b: "2" });
    await expect(mirrorOnce(folder, () => connect())).rejects.toMatchObject({
      held: { reason: "unfamiliar", files: 1 },
    });
    expect(fs.readFileSync(path.join(at(), "a"), "utf8")).toBe("0");
    const approvals = new Subject<Approval>();
    const { events, subscription } = follow(folder, () => connect(), { approvals });
    const { id } = await event(events, "held");
    await event(events, "pushed", (pushed) => pushed.path === "a");
    expect(Object.keys(contents(at()))).toEqual(["a", "b"]);
    approvals.next({ id, approved: true });
    await event(events, "deleted", (deleted) => deleted.path === "b");
    subscription.unsubscribe();
    make(at(), { c: "3" });
    await mirrorOnce(folder, () => connect());
    expect(contents(at())).toEqual(contents(folder));
  });
});

test("what is said of one file that is kept, or deleted, is grammatical", () => {
  const held = { id: "i", reason: "limit", of: 4, deletedSince: 0, windowMs: 0 } as const;
  const said = (files: number, deleted: number): string =>
    massDelete("/f", "m", { ...held, paths: [], files, deleted }, true).message;
  expect(said(1, 2)).toContain("2 of them were deleted already, the other one is kept; ");
  expect(said(2, 1)).toContain("1 of them was deleted already, the other 2 are kept; ");
});
