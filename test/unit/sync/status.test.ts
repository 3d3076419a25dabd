import fs from "node:fs";
import path from "node:path";
import { map, share } from "rxjs";
import { TestScheduler } from "rxjs/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  type MirrorEvent,
  type MirrorProgress,
  type MirrorStatus,
  mirror,
  progress,
  status,
} from "../../../src/sync/index.js";
import { make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const scheduler = () => new TestScheduler((actual, expected) => expect(actual).toEqual(expected));
const summary = { files: 1, bytesSent: 9, bytesReused: 0, bytesMoved: 0, deleted: 0, moved: 0, seconds: 1, entries: 1 };
const planned = (bytes: number, files: number): MirrorEvent => ({
  type: "planned",
  files,
  directories: 0,
  links: 0,
  touched: 0,
  checked: 0,
  moved: 0,
  removed: 0,
  bytes,
});
const progressed = (bytes: number, bytesTotal: number, steps: number, stepsTotal: number): MirrorEvent => ({
  type: "progress",
  steps,
  stepsTotal,
  bytes,
  bytesTotal,
  bytesSaved: 0,
});
const held = { id: "1", reason: "limit", files: 200, of: 300, deleted: 0, windowMs: 600_000, paths: ["a"] } as const;

const EVENTS: Record<string, MirrorEvent> = {
  c: { type: "connecting", name: "m", attempt: 1 },
  r: { type: "retrying", delayMs: 1, attempt: 2, code: "ERR_CONNECT", reason: "refused" },
  C: { type: "connected", name: "m", entries: 0, reconnected: false },
  w: { type: "walking", reason: "now and then" },
  p: planned(8, 2),
  q: planned(2, 1),
  z: planned(0, 4),
  h: progressed(4, 8, 1, 2),
  i: progressed(2, 2, 1, 1),
  s: progressed(0, 0, 3, 4),
  f: { type: "failed", path: "a", code: "EACCES", message: "no" },
  H: { type: "held", message: "200 of 300", ...held },
  R: { type: "released", id: "1", approved: true },
  F: { type: "notice", code: "ERR_FOLDER", message: "the folder is missing" },
  y: { type: "synced", ...summary, failed: 0 },
  Y: { type: "synced", ...summary, failed: 1 },
  K: { type: "synced", ...summary, failed: 0, held: 200 },
};

/** A state, and the code of its error. */
const shown = ({ state, error }: MirrorStatus): string => (error === undefined ? state : `${state} ${error.code}`);

describe("status()", () => {
  const STATES: Record<string, string> = {
    c: "connecting",
    r: "waiting ERR_CONNECT",
    d: "connecting ERR_CONNECT",
    s: "syncing",
    y: "synced",
    f: "waiting EACCES",
    h: "waiting ERR_MASS_DELETE",
    F: "waiting ERR_FOLDER",
  };
  test.each([
    [
      "from the first attempt until in sync; a walk that finds nothing is no change",
      "c-C-p-w-y-w-p-y|",
      "c-s-----y---s-y|",
    ],
    ["an attempt that failed is the reason of the wait, and of the attempt after it", "c-r-c-C-y", "c-r-d-s-y"],
    ["what fails while the rest is carried over is said when the rest is done", "C-p-f-Y-p-y", "s-----f-s-y"],
    ["what fails later, without anything else to do", "C-y-f-Y-y", "s-y-f---y"],
    ["deletes that are held back, until they are approved", "C-p-H-K-R-p-y", "s-----h-s---y"],
    ["a folder that is missing, until it is there", "C-y-F-y", "s-y-F-y"],
    ["errors pass", "c-#", "c-#"],
  ])("%s", (_, events, expected) => {
    scheduler().run(({ hot, expectObservable }) => {
      expectObservable(hot(events, EVENTS).pipe(status(), map(shown))).toBe(expected, STATES);
    });
  });
});

describe("progress()", () => {
  const at = (bytes: number, bytesTotal: number, ratio: number): MirrorProgress => ({ bytes, bytesTotal, ratio });
  const PROGRESS = {
    a: at(0, 8, 0),
    b: at(4, 8, 0.5),
    c: at(4, 6, 4 / 6),
    d: at(6, 6, 0.999),
    e: at(6, 6, 1),
    z: at(0, 0, 0),
    s: at(0, 0, 0.75),
    t: at(0, 0, 1),
  };
  test.each([
    ["over two rounds, and from the start behind a synced", "C-p-h-q-i-y-p", "--a-b-c-d-e-a"],
    ["by steps where no content is sent", "z-s-y|", "z-s-t|"],
    ["what was sent before a connection was lost counts", "p-h-r-c-C-q", "a-b-------c"],
    ["not whole while a path fails", "p-h-Y-q-i-y", "a-b---c-d-e"],
    ["errors pass", "p-#", "a-#"],
  ])("%s", (_, events, expected) => {
    scheduler().run(({ hot, expectObservable }) => {
      expectObservable(hot(events, EVENTS).pipe(progress())).toBe(expected, PROGRESS);
    });
  });
});

test("a mirror's state is what its folder is in, whatever happens to that", async () => {
  const home = testHome();
  const folder = tempFolder();
  make(folder, { "a.txt": "one", "deep/b.txt": "two" });
  const events = mirror(folder, {
    name: "m",
    connect: () => home.connect(),
    settleMs: 5,
    recheckMs: 50,
    retryMs: 50,
    walkEveryMs: 200,
  }).pipe(share());
  const states: string[] = [];
  const ratios: number[] = [];
  const subscription = events.pipe(status()).subscribe((next) => states.push(shown(next)));
  subscription.add(events.pipe(progress()).subscribe(({ ratio }) => ratios.push(ratio)));
  onTestFinished(() => subscription.unsubscribe());
  await until(() => states.at(-1) === "synced");
  expect(states).toEqual(["connecting", "syncing", "synced"]);
  expect(ratios.at(-1)).toBe(1);

  // A connection that is lost.
  home.pairs[0]?.client.destroy();
  await until(() => states.length > 3 && states.at(-1) === "synced");
  expect(states.slice(3)).toEqual([
    "waiting ERR_CONNECTION_LOST",
    "connecting ERR_CONNECTION_LOST",
    "syncing",
    "synced",
  ]);

  // A folder that goes and comes back, twice.
  for (let times = 0; times < 2; times++) {
    states.length = 0;
    fs.renameSync(folder, `${folder}-away`);
    await until(() => states.at(-1) === "waiting ERR_FOLDER");
    fs.renameSync(`${folder}-away`, folder);
    await until(() => states.at(-1) === "synced");
  }

  // Only the time of a folder changes.
  states.length = 0;
  fs.utimesSync(path.join(folder, "deep"), 1_000_000, 1_000_000);
  await until(() => states.at(-1) === "synced");
  expect(states).toEqual(["syncing", "synced"]);
});
