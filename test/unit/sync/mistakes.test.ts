/** Mistakes of the program that uses the library, and peers that fail: all of it arrives on the error channel. */
import fs from "node:fs";
import path from "node:path";
import type { Duplex } from "node:stream";
import {
  concat,
  filter,
  firstValueFrom,
  ignoreElements,
  lastValueFrom,
  merge,
  NEVER,
  of,
  Subject,
  share,
  throwError,
  timer,
} from "rxjs";
import { describe, expect, test } from "vitest";
import {
  everything,
  type Hint,
  liveMirror,
  type MirrorOptions,
  mirror,
  openRemote,
  pushTo,
  SyncError,
} from "../../../src/sync/index.js";
import { event, follow, make, tempFolder, testHome } from "../../support/sync-rig.js";

const broken = new Error("a mistake");
const ready = (folder: string): Hint => ({ ...everything(folder, "watching"), ready: true });

/** Fails by itself, without anything happening. */
const AT_ONCE: readonly (readonly [string, Partial<MirrorOptions>, object])[] = [
  ["watch throws", { watch: () => thrown() }, { code: "ERR_CALLBACK", cause: broken }],
  ["watch errors at once", { watch: () => throwError(() => broken) }, { code: "ERR_CALLBACK", cause: broken }],
  [
    "watch errors later",
    {
      watch: (folder) =>
        concat(
          of(ready(folder)),
          timer(20).pipe(ignoreElements()),
          throwError(() => broken),
        ) as never,
    },
    { code: "ERR_CALLBACK", cause: broken },
  ],
  ["watch is no Observable", { watch: () => undefined as never }, { code: "ERR_CALLBACK" }],
  ["hints error", { hints: throwError(() => broken) }, { code: "ERR_CALLBACK", cause: broken }],
  ["hints are of another folder", { hints: of(everything("/elsewhere", "x")) }, { code: "ERR_CALLBACK" }],
  ["approvals error", { approvals: throwError(() => broken) }, { code: "ERR_CALLBACK", cause: broken }],
  ["ignore throws", { ignore: () => thrown() }, { code: "ERR_CALLBACK", cause: broken }],
  ["connect throws", { connect: () => thrown(), backoff: { attempts: 1 } }, { code: "ERR_CONNECT", cause: broken }],
  ["connect rejects", { connect: async () => thrown(), backoff: { attempts: 1 } }, { code: "ERR_CONNECT" }],
  ["connect returns nothing", { connect: () => undefined as unknown as Duplex }, { code: "ERR_CALLBACK" }],
  ["connect resolves to nothing", { connect: async () => null as unknown as Duplex }, { code: "ERR_CALLBACK" }],
  ["connect returns something else", { connect: () => ({}) as Duplex }, { code: "ERR_CALLBACK" }],
  ["connect and a limit", { connect: () => undefined as unknown as Duplex, bandwidth: 1e6 }, { code: "ERR_CALLBACK" }],
];

function thrown(): never {
  throw broken;
}

describe("mistakes of a program", () => {
  test.each(AT_ONCE)("mirror: %s", async (_name, options, expected) => {
    const folder = tempFolder();
    make(folder, { a: "a" });
    const rig = testHome();
    const mirroring = lastValueFrom(
      mirror(folder, { name: "m", connect: () => rig.connect(), settleMs: 5, ...options }),
    );
    const error = await mirroring.catch((reason) => reason);
    expect(error).toBeInstanceOf(SyncError);
    expect(error).toMatchObject(expected);
    expect(error.cause).toBeInstanceOf(Error);
    if ("hints" in options) return;
    const live = liveMirror(folder, { name: "m2", connect: () => rig.connect(), settleMs: 5, ...options });
    expect(
      await lastValueFrom(live.whenSynced("b").pipe(() => merge(live.events$, NEVER))).catch((e) => e),
    ).toMatchObject(expected);
  });

  test("mirror: ignore throws for a file that comes later", async () => {
    const folder = tempFolder();
    make(folder, { a: "a", "d/b": "b" });
    for (const name of ["new", "d/new"]) {
      const ignore = (path: string) => path === name && thrown();
      const { connect } = testHome();
      const { events } = follow(folder, () => connect(), { ignore });
      await event(events, "synced");
      await event(events, "watching");
      fs.writeFileSync(path.join(folder, name), "n");
      const error = await lastValueFrom(events).catch((reason) => reason);
      expect(error).toMatchObject({ name: "SyncError", code: "ERR_CALLBACK", cause: broken });
      fs.rmSync(path.join(folder, name));
    }
  });

  test("pushTo: an idle remote that is lost ends it", async () => {
    const folder = tempFolder();
    make(folder, { a: "a" });
    const rig = testHome();
    const remote = await openRemote(rig.connect(), { name: "m", clientId: "c", instanceId: "i", label: "l" });
    const hints = new Subject<Hint>();
    const pushing = merge(of(everything(folder, "start")), hints).pipe(pushTo(remote), share());
    const lost = lastValueFrom(pushing);
    await firstValueFrom(pushing.pipe(filter(({ type }) => type === "synced")));
    rig.pairs[0]?.cut();
    expect(await lost.catch((reason) => reason)).toMatchObject({ name: "SyncError", code: "ERR_CONNECTION_LOST" });
  });
});
