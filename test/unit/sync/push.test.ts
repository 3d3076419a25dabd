import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { filter, from, lastValueFrom, Observable, of, Subject, tap, toArray } from "rxjs";
import { describe, expect, test } from "vitest";
import {
  type Entry,
  everything,
  type Hint,
  type Operation,
  type Outcome,
  openRemote,
  type PushEvent,
  pushTo,
  type Remote,
  SyncError,
} from "../../../src/sync/index.js";
import { Reported } from "../../../src/sync/push.js";
import { scanFolder } from "../../../src/sync/scan.js";
import { contents, make, tempFolder, testHome } from "../../support/sync-rig.js";

/** Somebody's own remote: it holds hashes, and refuses what it is told to refuse. */
class HashRemote implements Remote {
  readonly entries = new Map<string, Entry>();
  readonly comparison = {};
  readonly hashes = new Map<string, string>();
  readonly log: string[] = [];
  refuse: string | undefined;
  /** Never the version that was seen. */
  restless: string | undefined;
  wasSettled = 0;

  apply(folder: string, operations: readonly Operation[]): Observable<Outcome> {
    return from(operations.map((operation) => this.#apply(folder, operation)));
  }

  settled(): void {
    this.wasSettled++;
  }

  #apply(folder: string, operation: Operation): Outcome {
    const { path: name } = operation.entry;
    this.log.push(`${operation.do} ${name}`);
    if (name === this.restless) return { type: "changed", operation };
    if (name === this.refuse) return { type: "failed", operation, error: new SyncError("ERR_FULL", "no more") };
    if (operation.do === "remove") this.entries.delete(name);
    else this.entries.set(name, operation.entry);
    if (operation.do === "put") {
      this.hashes.set(
        name,
        createHash("md5")
          .update(fs.readFileSync(path.join(folder, name)))
          .digest("hex"),
      );
    }
    return { type: "done", operation };
  }
}

function push(remote: Remote, hints: Observable<Parameters<typeof of>[0]>, options = {}): Promise<PushEvent[]> {
  return lastValueFrom((hints as Observable<never>).pipe(pushTo(remote, { settleMs: 1, ...options }), toArray()));
}

describe("pushTo", () => {
  test("brings a remote of one's own up to date, and tells it so", async () => {
    const folder = tempFolder();
    make(folder, { "a/f": "1", g: "2" });
    const remote = new HashRemote();
    const events = await push(remote, of(everything(folder, "test")));
    expect(remote.log).toEqual(["mkdir a", "put a/f", "put g"]);
    expect(remote.hashes.get("g")).toBe(createHash("md5").update("2").digest("hex"));
    expect(remote.wasSettled).toBe(1);
    expect(events.at(-1)).toMatchObject({ type: "synced", files: 2, entries: 3 });
  });

  test("what failed and is gone leaves a remote that is told that all is equal", async () => {
    const folder = tempFolder();
    make(folder, { f: "1", g: "2" });
    const remote = new HashRemote();
    remote.refuse = "g";
    const hints = new Subject<Hint>();
    const settled: number[] = [];
    const pushing = lastValueFrom(
      hints.pipe(
        pushTo(remote, { settleMs: 1, retryMs: 1 }),
        tap(({ type }) => {
          if (type !== "synced" || settled.length > 0) return;
          settled.push(remote.wasSettled);
          fs.rmSync(path.join(folder, "g"));
          hints.next({ folder, path: "g", reason: "test" });
          hints.complete();
        }),
      ),
    );
    hints.next(everything(folder, "test"));
    await pushing;
    expect([...settled, remote.wasSettled]).toEqual([0, 1]);
  });

  test("a path that fails in several pushes of one mirror is reported once, and once more when it fails after it did not", async () => {
    const folder = tempFolder();
    make(folder, { f: "1", g: "2" });
    const remote = new HashRemote();
    const reported = new Reported();
    const failures = async (): Promise<string[]> => {
      const events: PushEvent[] = [];
      const pushing = of(everything(folder, "test")).pipe(
        pushTo(remote, { settleMs: 1, retryMs: 1, reported }),
        tap((event) => events.push(event)),
      );
      await lastValueFrom(pushing).catch(() => {});
      return events.flatMap((event) => (event.type === "failed" && !event.again ? [event.path] : []));
    };
    remote.refuse = "g";
    expect(await failures()).toEqual(["g"]);
    expect(await failures()).toEqual([]);
    remote.refuse = "";
    expect(await failures()).toEqual([]);
    fs.writeFileSync(path.join(folder, "g"), "another");
    remote.refuse = "g";
    expect(await failures()).toEqual(["g"]);
  });

  test("only what a filter lets through is looked at", async () => {
    const folder = tempFolder();
    make(folder, { "a.png": "1", "b.txt": "2", "c/d.png": "3" });
    const remote = new HashRemote();
    const hints = from(["a.png", "b.txt", "c/d.png"]).pipe(filter((name) => name.endsWith(".png")));
    const seen = new Observable<Parameters<typeof of>[0]>((subscriber) =>
      hints.subscribe({
        next: (name) => subscriber.next({ folder, path: name, reason: "add" }),
        complete: () => subscriber.complete(),
      }),
    );
    await push(remote, seen);
    expect(remote.log).toEqual(["mkdir c", "put a.png", "put c/d.png"]);
  });

  test("gives up a file that is another one whenever it is sent, after everything else", async () => {
    const folder = tempFolder();
    make(folder, { a: "1", b: "2" });
    const remote = new HashRemote();
    remote.restless = "a";
    await expect(push(remote, of(everything(folder, "test")), { settleMs: 0 })).rejects.toMatchObject({
      code: "ERR_INCOMPLETE",
      failures: [{ path: "a", code: "ERR_CHANGED" }],
    });
    expect([...remote.entries.keys()]).toEqual(["b"]);
  });

  test("ends with what keeps failing, after everything else", async () => {
    const folder = tempFolder();
    make(folder, { a: "1", b: "2", c: "3" });
    const remote = new HashRemote();
    remote.refuse = "b";
    await expect(push(remote, of(everything(folder, "test")))).rejects.toMatchObject({
      code: "ERR_INCOMPLETE",
      message: "could not be mirrored: b: no more",
      failures: [{ path: "b", code: "ERR_FULL" }],
    });
    expect([...remote.entries.keys()]).toEqual(["a", "c"]);
    expect(remote.wasSettled).toBe(0);
  });

  test("hints of two folders in one push are a mistake of the program", async () => {
    const hints = of(everything(tempFolder(), "one"), everything(tempFolder(), "two"));
    await expect(push(new HashRemote(), hints)).rejects.toThrow("two folders");
  });

  test("over a connection: openRemote, push, close", async () => {
    const { connect, at, home } = testHome();
    const folder = tempFolder();
    make(folder, { "a/f": "1" });
    const remote = await openRemote(connect(), { name: "m", clientId: "c", instanceId: "i" });
    await push(remote, of(everything(folder, "test")));
    await remote.close();
    await expect(remote.closed).resolves.toBeUndefined();
    expect(Object.keys(contents(at()))).toEqual(["a", "a/f"]);
    await expect.poll(() => home.sessions).toBe(0);
    const late = push(remote, of({ ...everything(folder, "x"), path: "new" }));
    await expect(late).rejects.toMatchObject({ code: "ERR_CONNECTION_LOST" });
  });

  test("a version that is not there any more is not sent", async () => {
    const { connect } = testHome();
    const folder = tempFolder();
    make(folder, { f: "before", g: "stays" });
    const { entries } = await scanFolder(folder);
    const remote = await openRemote(connect(), { name: "m", clientId: "c", instanceId: "i" });
    fs.writeFileSync(path.join(folder, "f"), "after");
    const operations = ["f", "g"].map((name) => ({ do: "put", entry: entries.get(name) }) as Operation);
    const outcomes = await lastValueFrom(remote.apply(folder, operations).pipe(toArray()));
    const ends = outcomes
      .filter(({ type }) => type !== "sent")
      .map(({ type, operation }) => [type, operation.entry.path]);
    expect(ends.sort()).toEqual([
      ["changed", "f"],
      ["done", "g"],
    ]);
    expect([...remote.entries.keys()]).toEqual(["g"]);
    await remote.close();
  });
});
