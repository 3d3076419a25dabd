import { once } from "node:events";
import { type Duplex, duplexPair, PassThrough } from "node:stream";
import {
  concatMap,
  concatWith,
  delay,
  firstValueFrom,
  from,
  interval,
  lastValueFrom,
  map,
  merge,
  NEVER,
  type Observable,
  of,
  Subject,
  take,
  tap,
  throwError,
  toArray,
} from "rxjs";
import { describe, expect, it } from "vitest";
import { fromSocket, relay, toSocket, writeTo } from "../../../src/sync/rx-stream.js";
import { BOTH_EDITIONS, connectedPair, pattern, readAll } from "../../support/sockets.js";

describe("a socket in an RxJS pipeline", () => {
  it("goes through operators and on to another socket", async () => {
    await using pair = await connectedPair();
    const echo = lastValueFrom(
      fromSocket(pair.accepted).pipe(
        map((chunk) => chunk.toString().toUpperCase()),
        toSocket(pair.accepted),
      ),
    );
    pair.client.write("loud ");
    pair.client.end("and clear");
    expect((await readAll(pair.client)).toString()).toBe("LOUD AND CLEAR");
    expect(await echo).toBe(14);
  });

  it("completes when everything is acknowledged", async () => {
    await using pair = await connectedPair();
    const data = pattern(100_000);
    const chunks = Array.from({ length: 100 }, (_, i) => data.subarray(i * 1000, (i + 1) * 1000));
    const received = readAll(pair.accepted);
    const taken = await lastValueFrom(from(chunks).pipe(toSocket(pair.client), toArray()));
    expect(taken.length).toBe(100);
    expect(taken.at(-1)).toBe(100_000);
    expect(pair.client.stats.bytesAcknowledged).toBe(100_000);
    expect((await received).equals(data)).toBe(true);
  });

  it("reads the next chunk only when the last one has been dealt with", async () => {
    const stream = new PassThrough({ highWaterMark: 10 });
    const gate = new Subject<void>();
    const seen: string[] = [];
    const all = lastValueFrom(
      fromSocket(stream, (chunk) => {
        seen.push(chunk.toString());
        return gate.pipe(take(1));
      }),
      { defaultValue: undefined },
    );
    stream.write("0123456789");
    stream.end("ab");
    await new Promise(setImmediate);
    expect(seen).toEqual(["0123456789"]);
    gate.next();
    await new Promise(setImmediate);
    expect(seen).toEqual(["0123456789", "ab"]);
    gate.next();
    await all;
  });

  it.each(BOTH_EDITIONS)("relays with the backpressure of both sockets (%s)", async (_name, both) => {
    await using left = await connectedPair({ both });
    await using right = await connectedPair({ both });
    const data = pattern(300_000);
    let most = 0;
    let highest = 0;
    const relaying = lastValueFrom(
      fromSocket(left.accepted, (chunk) => {
        most = Math.max(most, right.client.writableLength);
        highest = Math.max(highest, right.client.writableHighWaterMark + chunk.length);
        return writeTo(right.client, chunk);
      }),
    ).then(() => right.client.end());
    left.client.end(data);
    expect((await readAll(right.accepted)).equals(data)).toBe(true);
    await relaying;
    expect(most).toBeLessThanOrEqual(highest);
  });

  it("destroys the socket when it is unsubscribed from", async () => {
    await using pair = await connectedPair();
    pair.accepted.write("hello");
    expect((await firstValueFrom(fromSocket(pair.client))).toString()).toBe("hello");
    expect(pair.client.destroyed).toBe(true);

    await using other = await connectedPair();
    new Subject<string>().pipe(toSocket(other.client)).subscribe().unsubscribe();
    expect(other.client.destroyed).toBe(true);
  });

  it("destroys the socket with the error of its source or of its projection, and passes it on", async () => {
    const failure = new Error("no more");
    await using pair = await connectedPair();
    pair.accepted.on("error", () => {});
    const source = of("some").pipe(concatWith(throwError(() => failure)));
    await expect(lastValueFrom(source.pipe(toSocket(pair.client)))).rejects.toBe(failure);
    expect(pair.client.errored).toBe(failure);

    await using other = await connectedPair();
    other.accepted.on("error", () => {}).write("x");
    const failing = fromSocket(other.client, () => {
      throw failure;
    });
    await expect(lastValueFrom(failing)).rejects.toMatchObject({
      name: "SyncError",
      code: "ERR_CALLBACK",
      message: "no more",
      cause: failure,
    });
    expect(other.client.errored).toBe(failure);
  });

  it("passes the socket's error on, to readers, writers and those that wait for room", async () => {
    const failure = new Error("cut");
    await using pair = await connectedPair();
    pair.accepted.on("error", () => {});
    const outcomes = Promise.allSettled([
      lastValueFrom(fromSocket(pair.client)),
      lastValueFrom(new Subject<string>().pipe(toSocket(pair.client))),
      lastValueFrom(writeTo(pair.client, pattern(2 * pair.client.writableHighWaterMark))),
    ]);
    const closing = new Promise((resolve) => pair.client.once("close", resolve));
    pair.client.destroy(failure);
    await closing;
    const reasons = (await outcomes).map((outcome) => outcome.status === "rejected" && outcome.reason);
    const reason = { name: "SyncError", code: "ERR_CONNECTION_LOST", cause: failure };
    expect(reasons).toMatchObject([reason, reason, reason]);
    await expect(lastValueFrom(writeTo(pair.client, "late"))).rejects.toMatchObject(reason);
  });

  it("takes any Duplex", async () => {
    const stream = new PassThrough();
    const all = lastValueFrom(fromSocket(stream).pipe(toArray()));
    const finishing = once(stream, "finish");
    expect(await lastValueFrom(of("a", "b").pipe(toSocket(stream)))).toBe(2);
    await finishing;
    expect(Buffer.concat(await all).toString()).toBe("ab");
  });

  it.each(BOTH_EDITIONS)("loses nothing to a projection that takes its time (%s)", async (_name, both) => {
    await using pair = await connectedPair({ both });
    const data = pattern(1_000_000);
    pair.accepted.end(data);
    const chunks = fromSocket(pair.client, async (chunk) => {
      await new Promise(setImmediate);
      return chunk;
    });
    expect(Buffer.concat(await lastValueFrom(chunks.pipe(toArray()))).equals(data)).toBe(true);
  });

  it("emits what a slow projection makes of the only chunk, as from(stream) does", async () => {
    const slow = (chunk: Buffer) => of(chunk.toString()).pipe(delay(5));
    const of1 = () => new PassThrough().end("one") as PassThrough;
    const ours = lastValueFrom(fromSocket(of1(), slow).pipe(toArray()));
    const theirs = lastValueFrom(from(of1() as AsyncIterable<Buffer>).pipe(concatMap(slow), toArray()));
    expect(await ours).toEqual(["one"]);
    expect(await theirs).toEqual(["one"]);
  });

  it("starts a socket that is paused", async () => {
    const stream = new PassThrough();
    stream.pause();
    stream.end("data");
    expect((await lastValueFrom(fromSocket(stream))).toString()).toBe("data");
  });

  it("stops synchronous sources and projections when it is unsubscribed from", async () => {
    let made = 0;
    const counted = from(Array.from({ length: 1000 }, (_, i) => `${i}`)).pipe(tap(() => made++));
    expect(await lastValueFrom(counted.pipe(toSocket(new PassThrough()), take(1)))).toBe(1);
    expect(made).toBe(1);

    const stream = new PassThrough();
    let ended = false;
    const ticking = (): Observable<number> =>
      merge(of(1), interval(1)).pipe(tap({ unsubscribe: () => (ended = true) }));
    stream.write("x");
    expect(await firstValueFrom(fromSocket(stream, ticking))).toBe(1);
    expect(ended).toBe(true);
    expect(stream.destroyed).toBe(true);
  });

  it.each([
    ["null", null, /not null/],
    ["an object", { a: 1 }, /not a value of type object/],
    ["a number", 7, /not a value of type number/],
    ["undefined", undefined, /not a value of type undefined/],
  ])("reports a chunk that no socket takes: %s", async (_name, chunk, message) => {
    const refused = { name: "SyncError", code: "ERR_INVALID_ARG_TYPE", message: expect.stringMatching(message) };
    for (const objectMode of [false, true]) {
      const stream = new PassThrough({ objectMode });
      await expect(lastValueFrom(of(chunk as unknown as string).pipe(toSocket(stream)))).rejects.toMatchObject(refused);
      expect(stream.destroyed).toBe(true);
      await expect(lastValueFrom(writeTo(new PassThrough(), chunk as unknown as string))).rejects.toMatchObject(
        refused,
      );
    }
  });

  it("bounds what waits for room where it is told to", async () => {
    const [stuck] = duplexPair();
    const chunks = new Subject<string>();
    const bytes: number[] = [];
    const outcome = lastValueFrom(
      chunks.pipe(
        toSocket(stuck, { maxQueued: 10 }),
        tap((n) => bytes.push(n)),
      ),
    ).catch((error) => error);
    chunks.next("x".repeat(stuck.writableHighWaterMark - 1));
    chunks.next("1234");
    chunks.next("123456");
    expect(stuck.destroyed).toBe(false);
    chunks.next("7");
    expect(await outcome).toMatchObject({ code: "ERR_LIMIT" });
    expect(stuck.destroyed).toBe(true);
  });

  it("adds the same few listeners to a full socket however many write to it", async () => {
    const [from, to] = duplexPair();
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on("warning", warn);
    const chunk = "x".repeat(from.writableHighWaterMark);
    const writes = Promise.all(Array.from({ length: 20 }, () => lastValueFrom(writeTo(from, chunk))));
    const listeners = from.listenerCount("drain");
    to.resume();
    expect(await writes).toEqual(Array(20).fill(chunk.length));
    await new Promise(setImmediate);
    process.off("warning", warn);
    expect(listeners).toBeLessThan(3);
    expect(warnings).toEqual([]);
  });

  it("ends no program when a socket that was written to fails while nobody writes", async () => {
    await using left = await connectedPair();
    await using right = await connectedPair();
    const relayed = lastValueFrom(fromSocket(left.accepted, (chunk) => writeTo(right.client, chunk)));
    const outcome = relayed.catch((error) => error);
    left.client.write("first");
    await once(right.accepted, "readable");
    // Without listeners for its error on either side: it would be thrown.
    right.accepted.on("error", () => {}).destroy(new Error("reset"));
    await new Promise((resolve) => right.client.once("close", resolve));
    left.client.on("error", () => {}).write("second");
    expect(await outcome).toMatchObject({ name: "SyncError", code: "ECONNRESET" });
    expect(left.accepted.destroyed).toBe(true);
  });
});

describe("relay", () => {
  /** Reads to the end, and leaves the other direction as it is: async iteration would destroy it. */
  const text = async (from: Duplex): Promise<string> => {
    const chunks: Buffer[] = [];
    from.on("data", (chunk) => chunks.push(chunk));
    await once(from, "end");
    return Buffer.concat(chunks).toString();
  };

  it.each(BOTH_EDITIONS)("carries both directions and both ends (%s)", async (_name, both) => {
    await using left = await connectedPair({ both });
    await using right = await connectedPair({ both });
    const [up, down] = [pattern(300_000), pattern(200_000)];
    const total = lastValueFrom(relay(left.accepted, right.client));
    left.client.end(up);
    right.accepted.end(down);
    const [atRight, atLeft] = await Promise.all([readAll(right.accepted), readAll(left.client)]);
    expect(atRight.equals(up)).toBe(true);
    expect(atLeft.equals(down)).toBe(true);
    expect(await total).toBe(500_000);
  });

  it("passes an end on while the other direction goes on", async () => {
    const [client, accepted] = duplexPair();
    const [ahead, server] = duplexPair();
    const total = lastValueFrom(relay(accepted, ahead));
    client.end("question");
    expect(await text(server)).toBe("question");
    server.end("a late answer");
    expect(await text(client)).toBe("a late answer");
    expect(await total).toBe(21);
  });

  it.each(["at once", "after its own end"])("destroys both by the error of one, idle %s", async (when) => {
    await using left = await connectedPair();
    await using right = await connectedPair();
    const outcome = lastValueFrom(relay(left.accepted, right.client)).catch((error) => error);
    if (when === "after its own end") {
      left.client.allowHalfOpen = true;
      right.accepted.end("bye");
      await once(left.client.resume(), "end");
    }
    left.client.on("error", () => {});
    right.accepted.on("error", () => {}).resetAndDestroy();
    // All that was sent was acknowledged: as with TCP, what is written next finds out.
    if (when === "after its own end") left.client.write("more");
    expect(await outcome).toMatchObject({ name: "SyncError", code: "ECONNRESET" });
    expect([left.accepted.destroyed, right.client.destroyed]).toEqual([true, true]);
  });

  it("destroys both when it is unsubscribed from", async () => {
    const [, accepted] = duplexPair();
    const [ahead] = duplexPair();
    const relaying = merge(relay(accepted, ahead), NEVER).subscribe();
    relaying.unsubscribe();
    expect([accepted.destroyed, ahead.destroyed]).toEqual([true, true]);
  });
});
