import fs from "node:fs";
import path from "node:path";
import { EMPTY, filter, firstValueFrom, from, lastValueFrom, map, of, Subject, share, toArray } from "rxjs";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  everything,
  liveMirror,
  type MirrorEvent,
  mirror,
  pushTo,
  reconnecting,
  SyncError,
  withRemote,
} from "../../../src/sync/index.js";
import { contents, follow, make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const TIMES = { settleMs: 5, recheckMs: 50, retryMs: 50 };

describe("mirror({ until })", () => {
  test("sends what is pending, takes leave of the server and completes", async () => {
    const { connect, at, home } = testHome();
    const folder = tempFolder();
    make(folder, { "a.txt": "one" });
    const stop = new Subject<void>();
    // No watcher: only the end finds what has changed.
    const watch = () => EMPTY;
    const { seen, subscription } = follow(folder, () => connect(), { ...TIMES, until: stop, watch });
    await until(() => seen.some(({ type }) => type === "synced"));
    make(folder, { "b.txt": "two" });
    expect(stop.observed).toBe(true);
    stop.next();
    await until(() => subscription.closed);
    expect(seen.at(-1)?.type).toBe("synced");
    expect(stop.observed).toBe(false);
    await until(() => home.sessions === 0);
    expect(contents(at())).toEqual(contents(folder));
  });

  test("that has emitted before mirrors the folder once", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { "a.txt": "one", "deep/b.txt": "two" });
    const events = await lastValueFrom(
      mirror(folder, { name: "m", connect: () => connect(), ...TIMES, until: of(0) }).pipe(toArray()),
    );
    expect(events.at(-1)?.type).toBe("synced");
    expect(contents(at())).toEqual(contents(folder));
  });

  test("leaves deletes that are held back as they are", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`${i}.txt`, `${i}`])));
    const stop = new Subject<void>();
    const { seen, subscription } = follow(folder, () => connect(), { ...TIMES, maxDelete: 2, until: stop });
    await until(() => seen.some(({ type }) => type === "synced"));
    for (let i = 0; i < 9; i++) fs.rmSync(path.join(folder, `${i}.txt`));
    await until(() => seen.some(({ type }) => type === "held"));
    stop.next();
    await until(() => subscription.closed);
    expect(Object.keys(contents(at()))).toHaveLength(10);
  });

  test("that errors ends the mirror with a SyncError", async () => {
    const { connect } = testHome();
    const folder = tempFolder();
    const failing = new Subject<void>();
    const mirrored = lastValueFrom(mirror(folder, { name: "m", connect: () => connect(), ...TIMES, until: failing }));
    failing.error(new Error("broken"));
    await expect(mirrored).rejects.toMatchObject({ code: "ERR_CALLBACK", message: expect.stringContaining("broken") });
  });
});

describe("liveMirror().stop()", () => {
  test("confirms what is pending, and completes the others", async () => {
    const { connect, at, home } = testHome();
    const folder = tempFolder();
    make(folder, { "a.txt": "one" });
    const live = liveMirror(folder, { name: "m", connect: () => connect(), ...TIMES });
    let completed = false;
    live.events$.subscribe({ complete: () => (completed = true) });
    await firstValueFrom(live.synced$);
    make(folder, { "b.txt": Buffer.alloc(300_000, "b") });
    await firstValueFrom(live.whenSynced("b.txt"));
    make(folder, { "c.txt": "three" });
    const asked = firstValueFrom(live.whenSynced("c.txt"));
    await Promise.all([live.stop(), asked]);
    expect(completed).toBe(true);
    await until(() => home.sessions === 0);
    expect(contents(at())["c.txt"]).toBe(contents(folder)["c.txt"]);
    // It begins anew with the next subscription.
    make(folder, { "d.txt": "four" });
    await firstValueFrom(live.whenSynced("d.txt"));
    await live.stop();
    expect(contents(at())).toEqual(contents(folder));
  });

  test("resolves at once where nothing runs", async () => {
    const live = liveMirror(tempFolder(), { name: "m", connect: () => testHome().connect() });
    await live.stop();
  });

  test("rejects after its time without a server, and ends the mirror", async () => {
    const folder = tempFolder();
    const connect = () => Promise.reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    const live = liveMirror(folder, { name: "m", connect, backoff: { firstMs: 5, mostMs: 5 } });
    const others = lastValueFrom(live.events$);
    others.catch(() => {});
    await expect(live.stop({ timeoutMs: 30 })).rejects.toMatchObject({ code: "ERR_INCOMPLETE" });
    await expect(others).rejects.toBeInstanceOf(SyncError);
  });
});

describe("withRemote()", () => {
  const identity = { name: "m", clientId: "c", instanceId: "i" };

  test("gives a remote for as long as the project lasts, and reconnects with reconnecting()", async () => {
    const { connect, at, pairs } = testHome();
    const folder = tempFolder();
    make(folder, { "a.txt": "one" });
    const hints = new Subject<string>();
    onTestFinished(() => hints.complete());
    const events = withRemote(
      () => connect(),
      identity,
      (remote) => from([everything(folder, "the start")]).pipe(pushTo(remote)),
    );
    const seen = await lastValueFrom(events.pipe(toArray()));
    expect(seen.map(({ type }) => type)).toEqual(expect.arrayContaining(["connected", "planned", "pushed", "synced"]));
    expect(contents(at())).toEqual(contents(folder));

    let times = 0;
    const kinds: string[] = [];
    const retried = withRemote(
      () => connect(),
      identity,
      (remote) => {
        if (times++ === 0) queueMicrotask(() => pairs.at(-1)?.client.destroy());
        return times === 1
          ? new Subject<never>()
          : of(everything(folder, "again")).pipe(
              pushTo(remote),
              filter((event) => event.type !== "walking"),
            );
      },
    ).pipe(
      reconnecting({ name: "m", firstMs: 1 }),
      map((event: MirrorEvent) => event.type),
      share(),
    );
    retried.subscribe((kind) => kinds.push(kind));
    await lastValueFrom(retried);
    expect(kinds.slice(0, 5)).toEqual(["connecting", "connected", "retrying", "connecting", "connected"]);
  });

  test("what the project throws is the error", async () => {
    const { connect } = testHome();
    const events = withRemote(
      () => connect(),
      identity,
      () => {
        throw new Error("mistake");
      },
    );
    await expect(lastValueFrom(events)).rejects.toMatchObject({ code: "ERR_CALLBACK" });
  });
});
