import { once } from "node:events";
import { PassThrough } from "node:stream";
import { firstValueFrom, from, lastValueFrom, map, of, Subject, throwError, toArray } from "rxjs";
import { concatWith, take } from "rxjs/operators";
import { describe, expect, it } from "vitest";
import { fromSocket, toSocket, writeTo } from "../../../src/sync/rx-stream.js";
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
    await expect(lastValueFrom(failing)).rejects.toBe(failure);
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
    expect((await outcomes).map((outcome) => outcome.status === "rejected" && outcome.reason)).toEqual([
      failure,
      failure,
      failure,
    ]);
  });

  it("takes any Duplex", async () => {
    const stream = new PassThrough();
    const all = lastValueFrom(fromSocket(stream).pipe(toArray()));
    const finishing = once(stream, "finish");
    expect(await lastValueFrom(of("a", "b").pipe(toSocket(stream)))).toBe(2);
    await finishing;
    expect(Buffer.concat(await all).toString()).toBe("ab");
  });
});
