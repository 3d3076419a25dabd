/** OFFER, KNOWN and COPY: what a server makes of a client that means harm, and the other way around. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { chunkHash, chunkLength, chunkRecord } from "../../../src/sync/chunk.js";
import { FEATURE_OFFERS, FEATURES, MAX_FOUND_CHUNKS, MAX_OFFER_CHUNKS } from "../../../src/sync/limits.js";
import { isKnown } from "../../../src/sync/offered.js";
import { encode, type Message } from "../../../src/sync/wire.js";
import { Random } from "../../support/random.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { make, mirrorOnce, tempFolder, testHome } from "../../support/sync-rig.js";

const content = Buffer.from(new Random(1).bytes(1_000_000));
const chunks: Buffer[] = [];
for (let at = 0; at < content.length; at += chunks.at(-1)?.length ?? 0) {
  chunks.push(content.subarray(at, at + chunkLength(content.subarray(at))));
}
const records = (of: readonly Buffer[]): Buffer =>
  Buffer.concat(of.map((chunk) => chunkRecord(chunk.length, chunkHash(chunk))));
const sha256 = createHash("sha256").update(content).digest();

/** A home with a mirror of one file, and a client that has begun to send another, as number 1. */
async function begun(features = FEATURES, size = content.length) {
  const folder = tempFolder();
  make(folder, { original: content });
  const rig = testHome();
  await mirrorOnce(folder, () => rig.connect());
  await rig.home.idle();
  const client = rawClient(rig.connect());
  client.say(hello({ clientId: "another", features }));
  await client.hear("welcome");
  client.say({ type: "put", id: 1, path: "new", size, mtimeNs: 1n, executable: false });
  await client.hear("have", 1);
  const offer = (of: Buffer, id = 1): Message => ({ type: "offer", id, records: of });
  return { ...rig, ...client, offer, there: () => fs.readFileSync(path.join(rig.at(), "new")) };
}

describe("a server is offered", () => {
  test("what it has and what it has not: says which, in order, and copies it", async () => {
    const { say, hear, heard, done, there, offer } = await begun();
    const mixed = chunks.map((chunk, i) => (i === 2 ? Buffer.from("unknown".repeat(4000)) : chunk));
    say(offer(records(mixed.slice(0, 5))), offer(records(mixed.slice(5))));
    await hear("known");
    await expect.poll(() => heard.filter(({ type }) => type === "known").length).toBe(2);
    const bits = heard.flatMap((message) => (message.type === "known" ? [message.bits] : []));
    const known = (bytes: Uint8Array, count: number) => Array.from({ length: count }, (_, i) => isKnown(bytes, i));
    expect(known(bits[0] as Uint8Array, 5)).toEqual([true, true, false, true, true]);
    expect(known(bits[1] as Uint8Array, chunks.length - 5)).not.toContain(false);
    say(
      { type: "copy", id: 1, first: 0, count: 2 },
      { type: "data", id: 1, content: chunks[2] as Buffer },
      { type: "copy", id: 1, first: 3, count: 2 },
      { type: "copy", id: 1, first: 5, count: chunks.length - 5 },
      { type: "end", id: 1, sha256 },
    );
    await done(1);
    expect(there().equals(content)).toBe(true);
  });

  test.each<[string, Message & { type: "copy" }]>([
    ["nothing of the kind", { type: "copy", id: 1, first: 100, count: 1 }],
    ["more than there is", { type: "copy", id: 1, first: 0, count: 0xffff_ffff }],
    ["what the server said it has not", { type: "copy", id: 1, first: 0, count: 2 }],
    ["a number that is none", { type: "copy", id: 1, first: 0xffff_ffff, count: 0xffff_ffff }],
  ])("and asked to copy %s: that file fails, the session goes on", async (_, copy) => {
    const { say, hear, done, offer } = await begun();
    say(offer(records([chunks[0] as Buffer, Buffer.from("unknown".repeat(4000))])));
    await hear("known");
    say(copy);
    expect((await hear("fail", 1)).code).toBe("ERR_CHECKSUM");
    say({ type: "data", id: 1, content: Buffer.from("too late") }, { type: "end", id: 1, sha256 });
    say({ type: "mkdir", id: 2, path: "goes on" });
    await done(2);
  });

  test("the same chunk twice, or copied twice: fails that file, as it is another one then", async () => {
    const { say, hear, offer } = await begun();
    say(offer(records(chunks)));
    await hear("known");
    say({ type: "copy", id: 1, first: 0, count: 1 }, { type: "copy", id: 1, first: 0, count: 1 });
    expect((await hear("fail", 1)).code).toBe("ERR_CHECKSUM");
  });

  test("more than the file is long: it is refused when that would be written", async () => {
    const { say, hear, offer } = await begun(FEATURES, 200_000);
    say(offer(records(chunks)));
    await hear("known");
    say({ type: "copy", id: 1, first: 0, count: chunks.length });
    expect((await hear("fail", 1)).code).toBe("ERR_CHECKSUM");
  });

  test("without end: it holds on to so many, and has none of the others", async () => {
    const { say, hear, heard, done, offer } = await begun();
    const [chunk = Buffer.alloc(0)] = chunks;
    const many = records(Array.from({ length: MAX_OFFER_CHUNKS }, () => chunk));
    const offers = MAX_FOUND_CHUNKS / MAX_OFFER_CHUNKS + 2;
    say(...Array.from({ length: offers }, () => offer(many)));
    await hear("known");
    await expect.poll(() => heard.filter(({ type }) => type === "known").length).toBe(offers);
    const last = heard.findLast((message) => message.type === "known");
    expect(last?.bits.every((byte) => byte === 0)).toBe(true);
    say({ type: "abort", id: 1 }, { type: "mkdir", id: 2, path: "goes on" });
    await done(2);
  });

  test.each<[string, Buffer]>([
    ["half a chunk", records(chunks).subarray(0, 13)],
    ["an empty chunk", chunkRecord(0, 1)],
    ["a chunk that is too long", chunkRecord(300_000, 1)],
  ])("%s: ends the session", async (_, bad) => {
    const { say, hear, offer } = await begun();
    say(offer(bad));
    expect((await hear("error")).code).toBe("ERR_PROTOCOL");
  });

  test("chunks of a file that nobody has announced: ends the session", async () => {
    const { say, hear, offer } = await begun();
    say(offer(records(chunks), 7));
    expect((await hear("error")).code).toBe("ERR_PROTOCOL");
  });

  test("more in one message than there may be", () => {
    const many = Buffer.concat(Array.from({ length: MAX_OFFER_CHUNKS + 1 }, () => chunkRecord(20_000, 1)));
    expect(() => encode({ type: "offer", id: 1, records: many })).toThrow("too long");
  });
});

test("what was not agreed on is not said: an older client, and an older server", async () => {
  const older = rawClient(testHome().connect());
  older.say(hello({ features: FEATURES & ~FEATURE_OFFERS }));
  expect((await older.hear("welcome")).features).toBe(FEATURES & ~FEATURE_OFFERS);
});
