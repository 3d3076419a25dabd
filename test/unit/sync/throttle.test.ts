import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { describe, expect, test } from "vitest";
import { parseRate } from "../../../src/cli/options.js";
import { bandwidthLimit, TokenBucket } from "../../../src/sync/throttle.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { contents, make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

describe("the token bucket", () => {
  test("keeps to its rate whatever the portions", () => {
    const bucket = new TokenBucket(1000, 0);
    let now = 0;
    for (let i = 0; i < 100; i++) now += bucket.take(i % 2 === 0 ? 10 : 190, now);
    expect(now).toBe(10_000);
  });

  test("saves up no more than a short burst", () => {
    const bucket = new TokenBucket(1000, 0);
    expect(bucket.take(100, 3_600_000)).toBe(0);
    expect(bucket.take(500, 3_600_000)).toBe(500);
  });
});

describe("a limit that several share", () => {
  test("is kept by all together, who take turns", async () => {
    const limit = bandwidthLimit(800_000);
    const started = performance.now();
    const counts = [0, 0];
    const atEnd = await Promise.all(
      [0, 1].map(async (i) => {
        const { client, server } = linkedPair();
        server.on("data", (chunk: Buffer) => {
          counts[i] = (counts[i] ?? 0) + chunk.length;
        });
        server.end();
        await pipeline([Buffer.alloc(200_000)], limit.throttle(client), { end: true });
        if (!server.readableEnded) await once(server, "end");
        return [...counts];
      }),
    );
    // Both of them, less the first burst of a tenth of a second.
    expect(performance.now() - started).toBeGreaterThan(350);
    for (const [one = 0, other = 0] of atEnd) expect(Math.abs(one - other)).toBeLessThanOrEqual(2 * 16_384);
    expect(counts).toEqual([200_000, 200_000]);
  });

  test("can be changed, for what waits too", () => {
    const limit = bandwidthLimit(1000);
    limit.bytesPerSecond = 2000;
    expect(limit.bytesPerSecond).toBe(2000);
    const bucket = new TokenBucket(1000, 0);
    expect(bucket.take(1000, 0)).toBe(1000);
    bucket.setRate(10_000, 500);
    // Half of it was paid back before; the rest is, ten times as fast.
    expect(bucket.take(0, 500)).toBe(50);
  });

  test("is a number above 0", () => {
    for (const wrong of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => bandwidthLimit(wrong), String(wrong)).toThrow(RangeError);
      expect(() => Object.assign(bandwidthLimit(1), { bytesPerSecond: wrong }), String(wrong)).toThrow(RangeError);
    }
  });
});

describe("a throttled stream", () => {
  test("passes everything on, both ways, ends, and is slow enough", async () => {
    const { client, server } = linkedPair();
    const slow = bandwidthLimit(400_000).throttle(client);
    const got: Buffer[] = [];
    server.on("data", (chunk) => got.push(chunk));
    const sent = Buffer.alloc(200_000, "abc");
    const start = performance.now();
    server.end("hello");
    await pipeline([sent.subarray(0, 150_000), sent.subarray(150_000)], slow, { end: true });
    if (!server.readableEnded) await once(server, "end");
    expect(performance.now() - start).toBeGreaterThan(350);
    expect(Buffer.concat(got).equals(sent)).toBe(true);
    expect(String(slow.read() ?? "hello")).toBe("hello");
  });

  test("is destroyed with what it is made of, either way round", async () => {
    const one = linkedPair();
    const outer = bandwidthLimit(1000).throttle(one.client);
    outer.destroy();
    expect(one.client.destroyed).toBe(true);
    const other = linkedPair();
    const broken = bandwidthLimit(1000).throttle(other.client);
    const failed = once(broken, "error");
    other.client.destroy(new Error("broken"));
    expect((await failed)[0]).toMatchObject({ message: "broken" });
  });
});

test("a mirror keeps to its bandwidth", async () => {
  const { connect, at } = testHome();
  const folder = tempFolder();
  make(folder, { a: Buffer.from(Array.from({ length: 300_000 }, () => Math.random() * 256)) });
  const start = performance.now();
  await mirrorOnce(folder, () => connect(), { bandwidth: 400_000 });
  expect(performance.now() - start).toBeGreaterThan(600);
  expect(contents(at())).toEqual(contents(folder));
});

test("rates as people write them", () => {
  expect(["500", "64K", "5M", "1.5m", "1G"].map(parseRate)).toEqual([500, 65_536, 5_242_880, 1_572_864, 2 ** 30]);
  for (const wrong of ["", "0", "-1", "5 M", "5MB", "fast", "1e9", "100"]) {
    expect(() => parseRate(wrong), wrong).toThrow(expect.objectContaining({ code: "ERR_USAGE" }));
  }
});
