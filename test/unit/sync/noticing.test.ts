import fs from "node:fs";
import path from "node:path";
import { Subject } from "rxjs";
import { describe, expect, test } from "vitest";
import type { Hint, MirrorEvent } from "../../../src/sync/index.js";
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

const OLD = new Date(1_600_000_000_000);

/** Writes, and puts the time back. */
function sneak(folder: string, name: string, content: string): void {
  fs.writeFileSync(path.join(folder, name), content);
  fs.utimesSync(path.join(folder, name), OLD, OLD);
}

function swap(folder: string, a: string, b: string): void {
  fs.renameSync(path.join(folder, a), path.join(folder, "swapping"));
  fs.renameSync(path.join(folder, b), path.join(folder, a));
  fs.renameSync(path.join(folder, "swapping"), path.join(folder, b));
}

function sums(events: MirrorEvent[]) {
  const checked = ofType(events, "planned").reduce((sum, planned) => sum + planned.checked, 0);
  return { checked, sent: ofType(events, "pushed").map((pushed) => pushed.path) };
}

/** Everything that size and time do not show. */
const CHANGES: { [what: string]: (folder: string) => void } = {
  "a rewrite of the same size whose time is put back": (folder) => sneak(folder, "a", "AAAA"),
  "files of one size and time swapped by renames": (folder) => swap(folder, "a", "b"),
  "a file replaced by an older one of the same size": (folder) => {
    sneak(folder, "older", "OLDR");
    fs.renameSync(path.join(folder, "older"), path.join(folder, "a"));
  },
  "a rewrite that also makes it executable": (folder) => {
    sneak(folder, "a", "AAAA");
    fs.chmodSync(path.join(folder, "a"), 0o755);
  },
};

function scene() {
  const home = testHome();
  const folder = tempFolder();
  for (const [name, content] of [
    ["a", "aaaa"],
    ["b", "bbbb"],
    ["c", "cccc"],
  ] as const)
    sneak(folder, name, content);
  return { ...home, folder, index: path.join(tempFolder(), "i.index") };
}

describe.each(Object.keys(CHANGES))("%s", (what) => {
  const change = CHANGES[what] as (folder: string) => void;

  test("is noticed by the next run, and nothing else is compared", async () => {
    const { connect, at, folder, index } = scene();
    await mirrorOnce(folder, () => connect(), { index });
    expect(sums(await mirrorOnce(folder, () => connect(), { index }))).toEqual({ checked: 0, sent: [] });
    change(folder);
    const { checked } = sums(await mirrorOnce(folder, () => connect(), { index }));
    expect(checked).toBeLessThanOrEqual(2);
    expect(contents(at())).toEqual(contents(folder));
  });

  test("is noticed without an index, and with a damaged one", async () => {
    const { connect, at, folder, index } = scene();
    await mirrorOnce(folder, () => connect(), { index });
    change(folder);
    fs.truncateSync(index, fs.statSync(index).size - 50);
    await mirrorOnce(folder, () => connect(), { index });
    expect(contents(at())).toEqual(contents(folder));
    change(folder);
    await mirrorOnce(folder, () => connect());
    expect(contents(at())).toEqual(contents(folder));
  });

  test("is noticed while following", async () => {
    const { connect, at, folder } = scene();
    const hints = new Subject<Hint>();
    const { events } = follow(folder, () => connect(), { watch: () => hints, settleMs: 5 });
    await event(events, "synced");
    change(folder);
    for (const name of ["a", "b", "c"]) hints.next({ folder, path: name, reason: "change" });
    await until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
  });
});

describe("what nothing vouches for", () => {
  test("is compared by hash and not sent, and vouched for from then on", async () => {
    const { connect, folder, index } = scene();
    make(folder, { big: Buffer.alloc(1_000_000, 1) });
    await mirrorOnce(folder, () => connect());
    expect(sums(await mirrorOnce(folder, () => connect(), { index }))).toEqual({ checked: 4, sent: [] });
    expect(sums(await mirrorOnce(folder, () => connect(), { index }))).toEqual({ checked: 0, sent: [] });
    fs.linkSync(path.join(folder, "big"), path.join(folder, "second name"));
    const { checked, sent } = sums(await mirrorOnce(folder, () => connect(), { index }));
    expect({ checked, sent }).toEqual({ checked: 1, sent: ["second name"] });
  });

  test("and is another file at the mirror is sent, also one with several names there", async () => {
    const { connect, at, folder } = scene();
    await mirrorOnce(folder, () => connect());
    sneak(at(), "a", "evil");
    fs.linkSync(path.join(at(), "b"), path.join(at(), "../another name"));
    const { checked, sent } = sums(await mirrorOnce(folder, () => connect()));
    expect({ checked, sent }).toEqual({ checked: 3, sent: ["a"] });
    expect(contents(at())).toEqual(contents(folder));
  });

  test("and vanishes at the mirror meanwhile is sent", async () => {
    const { connect, at, folder } = scene();
    await mirrorOnce(folder, () => connect());
    const hints = new Subject<Hint>();
    const { events } = follow(folder, () => connect(), { watch: () => hints, settleMs: 5 });
    await event(events, "synced");
    fs.rmSync(path.join(at(), "a"));
    fs.chmodSync(path.join(folder, "a"), 0o755);
    hints.next({ folder, path: "a", reason: "change" });
    await until(() => fs.existsSync(path.join(at(), "a")));
  });
});
