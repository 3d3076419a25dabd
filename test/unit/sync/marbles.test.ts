/** The diagrams of docs/rxjs.md that are about time and subscriptions, in RxJS's virtual time. */
import { Duplex, PassThrough } from "node:stream";
import { catchError, concatMap, EMPTY, filter, map, NEVER, Observable, of, retry, share, takeUntil, timer } from "rxjs";
import { TestScheduler } from "rxjs/testing";
import { describe, expect, test } from "vitest";
import {
  fromSocket,
  type Hint,
  type MirrorEvent,
  type PushEvent,
  pushTo,
  type Remote,
  SyncError,
  toSocket,
  writeTo,
} from "../../../src/sync/index.js";
import { reconnecting } from "../../../src/sync/session.js";
import { tempFolder } from "../../support/sync-rig.js";

const scheduler = () => new TestScheduler((actual, expected) => expect(actual).toEqual(expected));

const lost = new SyncError("ERR_CONNECTION_LOST", "gone");
const refused = new SyncError("ERR_MIRROR_BUSY", "taken");
const connecting = (attempt: number): MirrorEvent => ({ type: "connecting", name: "m", attempt });
const retrying = (attempt: number, delayMs: number): MirrorEvent => ({
  type: "retrying",
  delayMs,
  attempt,
  code: "ERR_CONNECTION_LOST",
  reason: "gone",
});
const done = { type: "deleted", path: "a", kind: "file" } as const;

describe("a mirror that loses its connection", () => {
  /** Without chance. */
  const backoff = { firstMs: 10, mostMs: 40, random: () => 0.5 };

  test("is retried after pauses that grow up to a bound, and anew after progress", () => {
    const time = scheduler();
    time.run(({ cold, expectObservable, expectSubscriptions }) => {
      const sources = ["-#", "-#", "-#", "-#", "-d#", "-|"].map((marbles) => cold(marbles, { d: done }, lost));
      let attempt = 0;
      const source = new Observable<MirrorEvent>((to) => sources[attempt++]?.subscribe(to));
      const seen: MirrorEvent[] = [];
      const mirrored = source.pipe(reconnecting({ name: "m", scheduler: time, ...backoff }));
      expectObservable(
        mirrored.pipe(
          concatMap((event) => {
            seen.push(event);
            return EMPTY;
          }),
        ),
      ).toBe("127ms |");
      const at = ["^!", "11ms ^!", "32ms ^!", "73ms ^!", "114ms ^-!", "126ms ^!"];
      for (const [i, cold] of sources.entries()) expectSubscriptions(cold.subscriptions).toBe(at[i] ?? "");
      time.flush();
      expect(seen).toEqual([
        connecting(1),
        retrying(2, 10),
        connecting(2),
        retrying(3, 20),
        connecting(3),
        retrying(4, 40),
        connecting(4),
        retrying(5, 40),
        connecting(5),
        done,
        retrying(2, 10),
        connecting(2),
      ]);
    });
  });

  test("gives up after so many attempts, and at once for what cannot pass", () => {
    const time = scheduler();
    time.run(({ cold, expectObservable }) => {
      const values = { a: connecting(1), r: retrying(2, 10), b: connecting(2) };
      const few = cold<MirrorEvent>("-#", {}, lost).pipe(
        reconnecting({ name: "m", scheduler: time, ...backoff, attempts: 2 }),
      );
      expectObservable(few).toBe("ar 9ms b#", values, lost);
      expectObservable(
        cold<MirrorEvent>("-#", {}, refused).pipe(reconnecting({ name: "m", scheduler: time, ...backoff })),
      ).toBe("a#", values, refused);
    });
  });

  test("gives up after so long without a connection, counted from the last progress on", () => {
    const patient = { ...backoff, timeoutMs: 25 };
    const run = (marbles: readonly string[], expected: string): void => {
      const time = scheduler();
      time.run(({ cold, expectObservable }) => {
        const connected: MirrorEvent = { type: "connected", name: "m", entries: 0, reconnected: false };
        const sources = marbles.map((source) => cold<MirrorEvent>(source, { c: connected, d: done }, lost));
        let attempt = 0;
        const source = new Observable<MirrorEvent>((to) => sources[attempt++]?.subscribe(to));
        const ends = source.pipe(
          reconnecting({ name: "m", scheduler: time, ...patient }),
          filter((event) => event.type === "deleted"),
          map(() => "d"),
          catchError((error: SyncError) => of(`${error.code}: ${error.message}`)),
        );
        const values = {
          d: "d",
          n: "ERR_CONNECT: no connection within 0.025 s",
          l: "ERR_CONNECTION_LOST: gone; given up after 0.025 s",
        };
        expectObservable(ends).toBe(expected, values);
      });
    };
    // An attempt that nobody answers.
    run(["-------------------------------------------"], "25ms (n|)");
    // Attempts that fail at 1 ms, 12 ms, and one that goes on from 32 ms: 12 + 20 > 25.
    run(["-#", "-#", "-#"], "25ms (l|)");
    // Connected for 50 ms, which does not count, and with progress at 20 ms, after which all counts again: 70 + 25 ms.
    run(["20ms c 49ms #", "100ms -"], "75ms (l|)");
    run(["20ms (cd) 46ms #", "100ms -"], "20ms d 74ms (l|)");
  });

  test("is ended by takeUntil in its pause as well, shared, and tried again as a whole by retry", () => {
    const time = scheduler();
    time.run(({ cold, hot, expectObservable, expectSubscriptions }) => {
      const values = { a: connecting(1), r: retrying(2, 10), d: done };
      const source = cold<MirrorEvent>("-#", {}, lost);
      expectObservable(
        source.pipe(reconnecting({ name: "m", scheduler: time, ...backoff }), takeUntil(hot("-----x"))),
      ).toBe("ar---|", values);
      expectSubscriptions(source.subscriptions).toBe("^!");
    });
    scheduler().run(({ cold, expectObservable, expectSubscriptions }) => {
      const values = { a: connecting(1), d: done };
      const source = cold<MirrorEvent>("-d-#", values, refused);
      const whole = source.pipe(reconnecting({ name: "m" }), retry({ count: 1, delay: () => timer(5) }), share());
      expectObservable(whole, "^").toBe("ad- 5ms ad-#", values, refused);
      expectObservable(whole, "-^").toBe("-d- 5ms ad-#", values, refused);
      expectSubscriptions(source.subscriptions).toBe(["^--!", "8ms ^--!"]);
    });
  });
});

describe("pushTo", () => {
  const remote: Remote = { entries: new Map(), comparison: {}, apply: () => NEVER, settled: () => {} };
  const hint: Hint = { folder: "/nowhere", path: "a", reason: "change" };

  test("takes every hint as it comes; an error of the hints passes; unsubscribing and takeUntil reach them", () => {
    scheduler().run(({ hot, expectObservable, expectSubscriptions }) => {
      const failing = hot("-a-a-#", { a: hint });
      expectObservable(failing.pipe(pushTo(remote))).toBe("-----#");
      expectSubscriptions(failing.subscriptions).toBe("^----!");
      const left = hot("-a-a-a-", { a: hint });
      expectObservable(left.pipe(pushTo(remote)), "^--!").toBe("");
      expectObservable(left.pipe(pushTo(remote), takeUntil(hot("-----x")))).toBe("-----|");
      expectSubscriptions(left.subscriptions).toBe(["^--!", "^----!"]);
    });
  });

  test("tells at once what is wrong with the watches, once", () => {
    const notice: PushEvent = { type: "notice", code: "ENOSPC", message: "no watches" };
    scheduler().run(({ hot, expectObservable }) => {
      const hints = hot("-a-a-w-", {
        a: { ...hint, path: "", code: "ENOSPC", reason: "no watches" },
        w: { ...hint, ready: true },
      });
      const events = hints.pipe(pushTo(remote));
      expectObservable(events, "^-----!").toBe("-n---w", { n: notice, w: { type: "watching" } });
    });
  });

  test("hints of two folders are a mistake of the program, and an error", () => {
    scheduler().run(({ hot, expectObservable }) => {
      const mixed = hot("-a-b-", { a: hint, b: { ...hint, folder: tempFolder() } });
      const cause = new TypeError("hints of two folders in one push");
      const error = new SyncError("ERR_CALLBACK", `the source of hints failed: ${cause.message}`, { cause });
      expectObservable(mixed.pipe(pushTo(remote))).toBe("---#", {}, error);
    });
  });
});

describe("sockets", () => {
  /** Takes a chunk when it is told to; has room for so many bytes. */
  class Slow extends Duplex {
    readonly written: string[] = [];
    #taken: (() => void) | undefined;

    constructor() {
      super({ highWaterMark: 3 });
    }

    override _read(): void {}

    override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
      this.written.push(chunk.toString());
      this.#taken = callback;
    }

    swallow(): void {
      const taken = this.#taken;
      this.#taken = undefined;
      taken?.();
    }
  }

  test("toSocket counts what it has taken, and waits for room", () => {
    const time = scheduler();
    const socket = new Slow();
    time.run(({ hot, expectObservable, expectSubscriptions }) => {
      const chunks = hot("-a-b-c---", { a: "1", b: "22", c: "333" });
      expectObservable(chunks.pipe(toSocket(socket)), "^----------!").toBe("-1----3--6", { 1: 1, 3: 3, 6: 6 });
      expectSubscriptions(chunks.subscriptions).toBe("^----------!");
      for (const frame of [4, 6, 9]) time.schedule(() => socket.swallow(), frame);
    });
    expect(socket.written).toEqual(["1", "22", "333"]);
    expect(socket.destroyed).toBe(true);
  });

  test("writeTo completes when there is room, and destroys nothing", () => {
    const time = scheduler();
    const socket = new Slow();
    time.run(({ expectObservable }) => {
      expectObservable(writeTo(socket, "1")).toBe("(n|)", { n: 1 });
      expectObservable(writeTo(socket, "22"), "-^").toBe("----(n|)", { n: 2 });
      // One that finds no room and is left before there is any.
      expectObservable(writeTo(socket, "333"), "6ms ^-!").toBe("");
      for (const frame of [2, 4]) time.schedule(() => socket.swallow(), frame);
    });
    expect(socket.destroyed).toBe(false);
  });

  test("fromSocket reads the next chunk when what became of the last has completed", async () => {
    const socket = new PassThrough();
    // A stream hands over at once what comes when it has been read from before.
    const warm = fromSocket(socket).subscribe();
    await new Promise(setImmediate);
    expect(warm.closed).toBe(false);
    const time = scheduler();
    time.run(({ cold, expectObservable }) => {
      const project = (chunk: Buffer) => cold("x--|", { x: chunk.toString() });
      const chunks = new Observable<string>((to) => fromSocket(socket, project).subscribe(to));
      expectObservable(chunks, "^-----!").toBe("-a--", { a: "A" });
      time.schedule(() => socket.write("A"), 1);
    });
    warm.unsubscribe();
    expect(socket.destroyed).toBe(true);
  });
});
