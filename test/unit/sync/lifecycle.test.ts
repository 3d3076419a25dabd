import fs from "node:fs";
import path from "node:path";
import { firstValueFrom, retry, Subject, share, take, takeUntil, timeout, toArray } from "rxjs";
import { TestScheduler } from "rxjs/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  type Hint,
  liveMirror,
  type MirrorEvent,
  type MirrorOptions,
  synced,
  type Transfer,
  transfers,
} from "../../../src/sync/index.js";
import { MAX_WALKS_IN_A_ROW } from "../../../src/sync/limits.js";
import { contents, make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const scheduler = () => new TestScheduler((actual, expected) => expect(actual).toEqual(expected));
const queued = (name: string): MirrorEvent => ({ type: "queued", path: name, size: 9 });
const summary = {
  files: 1,
  bytesSent: 9,
  bytesReused: 0,
  bytesMoved: 0,
  deleted: 0,
  moved: 0,
  seconds: 1,
  entries: 1,
  failed: 0,
};

/** The events of the diagrams below, by their letters. */
const EVENTS: Record<string, MirrorEvent> = {
  a: queued("a"),
  b: queued("b"),
  s: { type: "sending", path: "a", size: 9, bytes: 4 },
  A: { type: "pushed", path: "a", kind: "file", bytes: 9 },
  B: { type: "pushed", path: "b", kind: "file", bytes: 9 },
  d: { type: "pushed", path: "folder", kind: "directory", bytes: 0 },
  x: { type: "superseded", path: "a" },
  f: { type: "failed", path: "a", code: "EACCES", message: "no" },
  r: { type: "retrying", delayMs: 1, attempt: 2, code: "ERR_CONNECT", reason: "no" },
  y: { type: "synced", ...summary },
};
const TRANSFERS: Record<string, Transfer> = {
  a: { state: "queued", path: "a", size: 9 },
  b: { state: "queued", path: "b", size: 9 },
  s: { state: "sending", path: "a", size: 9, bytes: 4 },
  A: { state: "done", path: "a", size: 9, bytes: 9 },
  B: { state: "done", path: "b", size: 9, bytes: 9 },
  x: { state: "superseded", path: "a", size: 9 },
  y: { state: "superseded", path: "b", size: 9 },
  f: { state: "failed", path: "a", size: 9, code: "EACCES", message: "no" },
};

describe("transfers()", () => {
  test.each([
    ["from queued to done, folders and what was not queued left out", "abs-d-BA-A|", "abs---BA--|"],
    ["a version that was superseded, and its successor", "-a-s-x-a-A-", "-a-s-x-a-A-"],
    ["what fails, and works later", "-a-f--f-a-A|", "-a-f----a-A|"],
    ["a lost connection supersedes all that is under way", "-a-b-r-----a-A-", "-a-b-(xy)--a-A-"],
    ["errors pass", "a-#", "a-#"],
  ])("%s", (_, events, expected) => {
    scheduler().run(({ hot, expectObservable }) => {
      expectObservable(hot(events, EVENTS).pipe(transfers())).toBe(expected, TRANSFERS);
    });
  });

  test("unsubscribing reaches the source, takeUntil ends it, and share and retry go with it", () => {
    scheduler().run(({ cold, hot, expectObservable, expectSubscriptions }) => {
      const source = cold("-a-A-a-A-", EVENTS);
      expectObservable(source.pipe(transfers()), "^---!").toBe("-a-A-", TRANSFERS);
      expectObservable(source.pipe(transfers(), takeUntil(hot("--|"))), "^-----!").toBe("-a-A-a", TRANSFERS);
      expectSubscriptions(source.subscriptions).toBe(["^---!", "^-----!"]);
      const failing = cold("-a-#", EVENTS);
      expectObservable(failing.pipe(transfers(), retry(1), share())).toBe("-a--a-#", TRANSFERS);
    });
  });
});

test("synced() is the summary each time", () => {
  scheduler().run(({ hot, expectObservable }) => {
    expectObservable(hot("-aA-y-bB-y|", EVENTS).pipe(synced())).toBe("----y----y|", { y: summary });
  });
});

describe("liveMirror", () => {
  function live(options: Partial<MirrorOptions> = {}) {
    const rig = testHome();
    const folder = tempFolder();
    const watcher = new Subject<Hint>();
    const times = { settleMs: 5, retryMs: 30, backoff: { firstMs: 10 } };
    const connect = (): ReturnType<typeof rig.connect> => rig.connect();
    const mirrored = liveMirror(folder, { name: "m", connect, watch: () => watcher, ...times, ...options });
    return { ...rig, ...mirrored, folder, watcher };
  }

  test("starts with whom looks on first, ends with the last, and starts anew", async () => {
    const { folder, home, synced$, transfers$ } = live();
    make(folder, { f: "1" });
    const states: string[] = [];
    const looking = transfers$.subscribe(({ state }) => states.push(state));
    expect(await firstValueFrom(synced$)).toMatchObject({ files: 1 });
    expect(states).toEqual(["queued", "done"]);
    looking.unsubscribe();
    await until(() => home.sessions === 0);
    expect(await firstValueFrom(synced$)).toMatchObject({ files: 0, entries: 1 });
  });

  test("whenSynced waits for a path as it is now, though no watcher names it; for a folder; for everything", async () => {
    const { folder, at, whenSynced, events$ } = live();
    make(folder, { "d/f": "1" });
    const looking = events$.subscribe();
    onTestFinished(() => looking.unsubscribe());
    expect(await firstValueFrom(whenSynced())).toBe("");
    for (const text of ["one", "two", "three"]) {
      make(folder, { "d/f": text, "other/g": text });
      expect(await firstValueFrom(whenSynced("d/f"))).toBe("d/f");
      expect(fs.readFileSync(path.join(at(), "d/f"), "utf8")).toBe(text);
    }
    await firstValueFrom(whenSynced("other"));
    fs.rmSync(path.join(folder, "d"), { recursive: true });
    await firstValueFrom(whenSynced("d"));
    expect(contents(at())).toEqual(contents(folder));
  });

  test("whenSynced and synced$ answer for a file that is never at rest", async () => {
    const { folder, at, whenSynced, synced$, watcher } = live();
    make(folder, { f: "0" });
    let n = 0;
    const rewriting = setInterval(() => {
      fs.writeFileSync(path.join(folder, "f"), `${++n}`);
      watcher.next({ folder, path: "f", reason: "change" });
    }, 2);
    onTestFinished(() => clearInterval(rewriting));
    const states = firstValueFrom(synced$.pipe(take(2), toArray()));
    for (let times = 0; times < 3; times++) {
      await firstValueFrom(whenSynced("f"));
      const asked = n;
      await firstValueFrom(whenSynced("f"));
      expect(Number(fs.readFileSync(path.join(at(), "f"), "utf8"))).toBeGreaterThanOrEqual(asked);
    }
    await states;
  });

  test("synced$ goes on while files are rewritten in turn, and walks are bounded", async () => {
    const walks: string[] = [];
    const { folder, synced$, events$, watcher } = live();
    make(folder, Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${i}`, "0"])));
    const looking = events$.subscribe((event) => event.type === "walking" && walks.push(event.reason));
    onTestFinished(() => looking.unsubscribe());
    let n = 0;
    const rewriting = setInterval(() => {
      const name = `f${++n % 40}`;
      fs.writeFileSync(path.join(folder, name), `${n}`);
      watcher.next({ folder, path: name, reason: "change" });
    }, 2);
    onTestFinished(() => clearInterval(rewriting));
    await firstValueFrom(synced$.pipe(take(2), toArray()));
    expect(walks.filter((reason) => reason === "until two walks agree").length).toBeLessThan(MAX_WALKS_IN_A_ROW);
  });

  test("whenSynced says what is missing or ignored where something has to stand there", async () => {
    const { folder, whenSynced } = live({ ignore: ["*.log", "cache/"] });
    make(folder, { f: "1", "a.log": "x", "cache/x": "x", d: null });
    for (const there of ["f", "d", ""]) {
      expect(await firstValueFrom(whenSynced(there, { mustExist: true }))).toBe(there);
    }
    const missing = { name: "SyncError", code: "ENOENT", path: "g" };
    await expect(firstValueFrom(whenSynced("g", { mustExist: true }))).rejects.toMatchObject(missing);
    for (const ignored of ["a.log", "cache", "cache/x"]) {
      const refused = { name: "SyncError", code: "ERR_IGNORED", path: ignored };
      await expect(firstValueFrom(whenSynced(ignored, { mustExist: true }))).rejects.toMatchObject(refused);
      expect(await firstValueFrom(whenSynced(ignored))).toBe(ignored);
    }
  });

  test("a change of a folder's time alone is followed by synced", async () => {
    const { folder, events$, watcher } = live();
    make(folder, { "d/f": "1" });
    const types: string[] = [];
    const looking = events$.subscribe(({ type }) => types.push(type));
    onTestFinished(() => looking.unsubscribe());
    await until(() => types.includes("synced"));
    types.length = 0;
    fs.utimesSync(path.join(folder, "d"), 1000, 1000);
    watcher.next({ folder, path: "d", reason: "change" });
    await until(() => types.includes("planned"));
    await until(() => types.lastIndexOf("synced") > types.lastIndexOf("planned"));
  });

  test("who joins in the middle of a file sees how it ends", async () => {
    const events = new Subject<MirrorEvent>();
    const seen: string[] = [];
    const looking = events.pipe(transfers()).subscribe(({ state, path }) => seen.push(`${path} ${state}`));
    events.next({ type: "sending", path: "a", bytes: 5, size: 10 });
    events.next({ type: "pushed", path: "a", kind: "file", bytes: 10 });
    looking.unsubscribe();
    expect(seen).toEqual(["a sending", "a done"]);
  });

  test("whenSynced outlives lost connections and what fails for a while, and starts the mirror where it must", async () => {
    const { folder, at, pairs, whenSynced } = live();
    make(folder, { f: "1" });
    await firstValueFrom(whenSynced("f"));
    make(at(), { "busy/in the way": "x" });
    make(folder, { busy: "a file" });
    const waiting = firstValueFrom(whenSynced("busy").pipe(timeout(20_000), toArray()));
    await until(() => pairs.length > 1);
    pairs.at(-1)?.cut();
    fs.rmSync(path.join(at(), "busy"), { recursive: true, force: true });
    expect(await waiting).toEqual(["busy"]);
    expect(fs.readFileSync(path.join(at(), "busy"), "utf8")).toBe("a file");
  });

  test("whenSynced errors for what is not inside, and when the mirror does; unsubscribing asks no more", async () => {
    const { folder, home, whenSynced } = live();
    await expect(firstValueFrom(whenSynced("../x"))).rejects.toThrow(TypeError);
    await expect(firstValueFrom(whenSynced("/etc"))).rejects.toThrow("not a path inside");
    whenSynced("f").subscribe().unsubscribe();
    await until(() => home.sessions === 0);
    const refused = live({ name: "../bad" });
    await expect(firstValueFrom(refused.whenSynced("f"))).rejects.toMatchObject({ code: "ERR_MIRROR_NAME" });
    fs.rmSync(folder, { recursive: true });
    await expect(firstValueFrom(whenSynced("f"))).rejects.toMatchObject({ name: "SyncError", code: "ERR_FOLDER" });
  });
});
