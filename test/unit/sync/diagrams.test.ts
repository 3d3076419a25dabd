/** Every marble diagram of docs/rxjs.md is read, and run. */
import fs from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import {
  defer,
  EMPTY,
  from,
  lastValueFrom,
  type Observable,
  type OperatorFunction,
  Subject,
  throwError,
  toArray,
} from "rxjs";
import { TestScheduler } from "rxjs/testing";
import { expect, onTestFinished, test } from "vitest";
import {
  disruptions,
  type Entry,
  fromSocket,
  type Hint,
  liveMirror,
  type MirrorEvent,
  type Operation,
  type Outcome,
  type PushEvent,
  progress,
  pushTo,
  type Remote,
  reconnecting,
  SyncError,
  status,
  synced,
  toSocket,
  transfers,
  watchFolder,
} from "../../../src/sync/index.js";
import { follow, make, mirrorOnce, tempFolder, testHome, until } from "../../support/sync-rig.js";

interface Mark {
  /** Its column. */
  readonly at: number;
  readonly text: string;
}

/** One line: a label, two spaces or more, and what happens, from left to right. */
interface Row {
  readonly label: string;
  readonly marks: readonly Mark[];
}

const DOC = fs.readFileSync(new URL("../../../docs/rxjs.md", import.meta.url), "utf8");
const MARK = /\((?<group>(?:[^()]|\([^()]*\))*)\)|(?<pause>\d+ ms)|(?<one>[A-Za-z♥|#^!])|[─→ …]/gu;

/** Blocks without a language, as groups of rows with empty lines between. */
function diagrams(): Row[][] {
  const blocks = [...DOC.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].filter(([, language]) => language === "");
  return blocks.flatMap(([, , block = ""]) =>
    block.split(/\n\s*\n/).map((group) => group.trimEnd().split("\n").filter(Boolean).map(readRow)),
  );
}

function readRow(line: string): Row {
  const [whole, label = "", timeline = ""] = /^(\S+(?: \S+)*)\s{2,}([^\s].*)$/u.exec(line) ?? [];
  if (whole === undefined) throw new Error(`not a row of a diagram: ${line}`);
  // A remark stands far behind.
  const [drawn = ""] = timeline.split(/ {6,}/);
  const first = line.length - timeline.length;
  let end = 0;
  const marks: Mark[] = [];
  for (const { index, 0: text, groups } of drawn.matchAll(MARK)) {
    if (index !== end) throw new Error(`"${drawn.slice(end, index)}" in ${line}`);
    end = index + text.length;
    const what = groups?.group ?? groups?.pause ?? groups?.one;
    if (what !== undefined) marks.push({ at: first + index, text: what });
  }
  if (end !== drawn.length) throw new Error(`"${drawn.slice(end)}" in ${line}`);
  return { label, marks };
}

const texts = ({ marks }: Row): string[] => marks.map(({ text }) => text);

/** The second row is what an operator makes of the first, at the same time. */
function checkOperator<T>(
  [input, output]: readonly Row[],
  make: (text: string) => MirrorEvent,
  operator: OperatorFunction<MirrorEvent, T>,
  tell: (value: T) => string,
): void {
  const source = new Subject<MirrorEvent>();
  const seen = new Map<number, string[]>();
  let now = 0;
  source.pipe(operator).subscribe((value) => seen.set(now, [...(seen.get(now) ?? []), tell(value)]));
  for (const { at, text } of input?.marks ?? []) {
    now = at;
    source.next(make(text));
  }
  expect([...seen].map(([at, all]) => ({ at, text: all.join(", ") }))).toEqual(output?.marks);
}

const SUMMARY = { files: 1, bytesSent: 6, bytesReused: 0, bytesMoved: 0, deleted: 0, moved: 0, seconds: 1, failed: 0 };

/** An event from its name, and perhaps a path or numbers. */
function event(text: string): MirrorEvent {
  const [type, ...words] = text.split(" ");
  const [first = "a"] = words;
  const of = Number(words.at(-1));
  if (type === "queued" || type === "superseded") return { type, path: first, size: 9 } as MirrorEvent;
  if (type === "sending") return { type, path: first, bytes: 4, size: 9 };
  if (type === "pushed" || type === "deleted") return { type, path: first, kind: "file", bytes: 9 } as MirrorEvent;
  if (type === "synced") return { type, ...SUMMARY, entries: first === "t" ? 2 : 1 };
  if (type === "connecting") return { type, name: "m", attempt: 1 };
  if (type === "connected") return { type, name: "m", entries: 0, reconnected: false };
  if (type === "retrying") return { type, delayMs: 1, attempt: 2, code: "ERR_CONNECT", reason: "refused" };
  if (type === "progress") {
    return { type, steps: 1, stepsTotal: 2, bytes: Number(first), bytesTotal: of, bytesSaved: 0 };
  }
  if (type !== "planned") throw new Error(`no event for "${text}"`);
  const bytes = words.length === 0 ? 9 : of;
  return { type, files: 1, directories: 0, links: 0, touched: 0, checked: 0, moved: 0, removed: 0, bytes };
}

class AnyRemote implements Remote {
  readonly entries = new Map<string, Entry>();
  readonly comparison = {};

  apply(_folder: string, operations: readonly Operation[]): Observable<Outcome> {
    for (const { entry } of operations) this.entries.set(entry.path, entry);
    return from(operations.map((operation): Outcome => ({ type: "done", operation })));
  }

  settled(): void {}
}

/** What a push tells, in the words of the diagrams. */
const told = (events: readonly PushEvent[]): string[] =>
  events.flatMap((one) => (one.type === "pushed" ? [one.path] : one.type === "synced" ? ["synced"] : []));

/** The kinds of events that the diagrams of a mirror show: the walks of a folder that is followed are left out. */
function shown(events: readonly MirrorEvent[]): string[] {
  const firstSynced = events.findIndex(({ type }) => type === "synced");
  return events
    .filter(({ type }, i) => {
      if (type === "scanned" || type === "planned")
        return i < firstSynced && i === events.findIndex((e) => e.type === type);
      return ["connecting", "connected", "pushed", "synced"].includes(type);
    })
    .map(({ type }) => type);
}

const RUNS: Record<string, (rows: Row[]) => void | Promise<void>> = {
  "mirror, once": async ([followed, once]) => {
    const { connect } = testHome();
    const folder = tempFolder();
    make(folder, { a: "1", b: "2" });
    const { seen } = follow(folder, () => connect(), { settleMs: 1, recheckMs: 60_000 });
    await until(() => seen.some(({ type }) => type === "synced"));
    const before = seen.length;
    make(folder, { a: "another" });
    await until(() => seen.slice(before).some(({ type }) => type === "synced"));
    expect(shown(seen)).toEqual(texts(followed as Row));
    const events = await mirrorOnce(folder, () => testHome().connect());
    expect([...shown(events), "|"]).toEqual(texts(once as Row));
  },

  "connect, mirror": ([connecting, mirrored]) => {
    const time = new TestScheduler(() => {});
    const seen: string[] = [];
    const outcomes = texts(connecting as Row);
    time.run(({ cold }) => {
      let at = 0;
      const attempts = defer(() =>
        outcomes.shift() === "#"
          ? throwError(() => new SyncError("ERR_CONNECTION_LOST", "lost"))
          : cold<MirrorEvent>("c", { c: event("connected") }),
      );
      attempts.pipe(reconnecting({ name: "m", scheduler: time, random: () => 0.5 })).subscribe(({ type }) => {
        if (time.now() > at) seen.push(`${time.now() - at} ms`);
        at = time.now();
        seen.push(type);
      });
    });
    expect(seen).toEqual(texts(mirrored as Row));
  },

  "the file changes, whenSynced": async ([changes, asked]) => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    const live = liveMirror(folder, { name: "m", connect: () => connect(), settleMs: 1, watch: () => EMPTY });
    onTestFinished(() => live.stop());
    live.events$.subscribe();
    expect([...(changes?.marks ?? []), ...(asked?.marks ?? [])].map(({ text }) => text)).toEqual(["x", "^", "path|"]);
    make(folder, { path: "changed" });
    expect(await lastValueFrom(live.whenSynced("path").pipe(toArray()))).toEqual(["path"]);
    expect(fs.readFileSync(path.join(at(), "path"), "utf8")).toBe("changed");
  },

  "a file changes, until, mirror": async ([, , mirrored]) => {
    const { connect } = testHome();
    const folder = tempFolder();
    const stop = new Subject<void>();
    make(folder, { a: "1" });
    await mirrorOnce(folder, () => connect());
    const options = { settleMs: 1, until: stop };
    const { seen, subscription } = follow(folder, () => connect(), options);
    await until(() => seen.some(({ type }) => type === "synced"));
    make(folder, { a: "another" });
    stop.next();
    await until(() => subscription.closed);
    const kinds = ["connecting", "connected", "pushed", "synced"];
    const all = seen.map(({ type }) => type).filter((type) => kinds.includes(type));
    expect([...all, "|"]).toEqual(texts(mirrored as Row));
  },

  "events, transfers": (rows) => checkOperator(rows, event, transfers(), ({ path: name, state }) => `${name} ${state}`),
  "events, status": (rows) => checkOperator(rows, event, status(), ({ state }) => state),
  "events, progress": (rows) =>
    checkOperator(rows, event, progress(), ({ bytes, bytesTotal }) => `${bytes} of ${bytesTotal}`),
  "events, synced": (rows) => checkOperator(rows, event, synced(), ({ entries }) => (entries === 2 ? "t" : "s")),

  watchFolder: async ([watched]) => {
    const folder = tempFolder();
    fs.mkdirSync(path.join(folder, "a"));
    const seen: string[] = [];
    const subscription = watchFolder(folder).subscribe(({ path: name, ready }) => {
      const text = ready ? "ready" : name;
      if (/^(ready|a.[fg]|b)$/.test(text) && !seen.includes(text)) seen.push(text);
    });
    onTestFinished(() => subscription.unsubscribe());
    const expected = texts(watched as Row);
    expect([expected[0], expected.at(-1)]).toEqual(["^", "!"]);
    const hints = expected.slice(1, -1);
    for (const [i, name] of hints.entries()) {
      if (i > 0) make(folder, { [name]: "x" });
      await until(() => seen.length > i);
    }
    expect(seen).toEqual(hints);
  },

  "hints, pushTo": async ([given, pushed]) => {
    const missing = texts(pushed as Row).join() === "#" && !texts(given as Row).includes("#");
    const folder = missing ? path.join(tempFolder(), "missing") : tempFolder();
    if (!missing) make(folder, { a: "1", b: "2", c: "3" });
    const hints = new Subject<Hint>();
    const events: PushEvent[] = [];
    const mistake = new SyncError("ERR_WATCH", "no");
    let end = "";
    hints.pipe(pushTo(new AnyRemote(), { settleMs: 1 })).subscribe({
      next: (one) => events.push(one),
      error: ({ code }) => (end = code),
      complete: () => (end = "|"),
    });
    const outcomes = texts(pushed as Row);
    const synceds = (): number => events.filter(({ type }) => type === "synced").length;
    for (const { at, text } of given?.marks ?? []) {
      // What the push has told before, it has told.
      const before = (pushed?.marks ?? []).filter((mark) => mark.at < at && mark.text === "synced").length;
      await until(() => synceds() >= before);
      if (text === "|") hints.complete();
      else if (text === "#") hints.error(mistake);
      else hints.next({ folder, path: text, reason: "test" });
    }
    await until(() => end !== "");
    expect(end).toBe(outcomes.at(-1) === "|" ? "|" : missing ? "ERR_FOLDER" : "ERR_WATCH");
    expect(told(events)).toEqual(outcomes.slice(0, -1));
  },

  "beats, disruptions": ([beats, said]) => {
    const time = new TestScheduler(() => {});
    // The third pause is longer by what is said of it.
    const [, after] = /for (\d+) s$/.exec(texts(said as Row)[0] ?? "") ?? [];
    const lateMs = Number(after) * 1000;
    const third = 3500;
    const now = () => time.now() + (time.now() >= third ? lateMs : 0);
    const seen: string[] = [];
    time.run(() => {
      const subscription = disruptions({ wallMs: now, steadyMs: now }, time).subscribe((text) => seen.push(text));
      time.schedule(() => subscription.unsubscribe(), 5500);
    });
    expect(seen).toEqual(texts(said as Row));
    const at = (beats?.marks ?? []).map((mark) => mark.at);
    expect(at.findIndex((column, i) => i > 0 && column - (at[i - 1] as number) > 4)).toBe(3);
  },

  "chunks, project, fromSocket": async ([chunks, , emitted]) => {
    const socket = new PassThrough();
    const projected: string[] = [];
    const all = lastValueFrom(
      fromSocket(socket, (chunk: Buffer) => {
        const done = new Subject<string>();
        setImmediate(() => {
          done.next(String(chunk).toLowerCase());
          done.complete();
        });
        projected.push(String(chunk));
        return done;
      }).pipe(toArray()),
    );
    const pieces = texts(chunks as Row).filter((text) => text !== "|");
    for (const piece of pieces) {
      socket.write(piece);
      await until(() => projected.includes(piece));
    }
    socket.end();
    expect([...(await all), "|"]).toEqual(texts(emitted as Row));
  },

  "source, toSocket": async ([source, counts]) => {
    const pieces = texts(source as Row).filter((text) => text !== "|");
    const written = await lastValueFrom(from(pieces).pipe(toSocket(new PassThrough().resume()), toArray()));
    expect([...written.map(String), "|"]).toEqual(texts(counts as Row));
  },
};

test.each(diagrams().map((rows): [string, Row[]] => [rows.map(({ label }) => label).join(", "), rows]))(
  "%s",
  async (name, rows) => {
    const run = RUNS[name];
    if (run === undefined) throw new Error("no test runs this diagram");
    await run(rows);
  },
);

test("each kind of diagram is in the page", () => {
  const names = new Set(diagrams().map((rows) => rows.map(({ label }) => label).join(", ")));
  expect(Object.keys(RUNS).filter((name) => !names.has(name))).toEqual([]);
});
