import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../../src/sync/entry.js";
import { SyncError } from "../../../src/sync/errors.js";
import { MAX_DATA_BYTES, MAX_INLINE_BYTES, MAX_PATH_BYTES } from "../../../src/sync/limits.js";
import { nameFromBytes } from "../../../src/sync/names.js";
import { EARLIEST_NS, LATEST_NS } from "../../../src/sync/times.js";
import { DATA_FRAME_BYTES, Decoder, dataFrame, encode, type Message } from "../../../src/sync/wire.js";

const id = fc.integer({ min: 0, max: 0xffff_ffff });
// A grapheme can be long: what no field may hold is left to a test of its own.
const text = fc.string({ unit: "grapheme", maxLength: 60 }).filter((some) => Buffer.byteLength(some) <= 200);
const size = fc.maxSafeNat();
const mtimeNs = fc.bigInt({ min: EARLIEST_NS, max: LATEST_NS });
const toleranceNs = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
const executable = fc.boolean();
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const sha256 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array));
/** Any bytes but NUL, as names may be. */
const name = fc
  .uint8Array({ maxLength: 60 })
  .map((array) => nameFromBytes(Buffer.from(array.filter((byte) => byte !== 0))));
const mode = fc.nat(0o777);
/** With all permissions, or only the executable bit. */
const permissions = fc.oneof(
  executable.map((executable) => ({ executable })),
  mode.map((mode) => ({ executable: (mode & 0o100) !== 0, mode })),
);
/** … or those of the source, which do not count. */
const sourced = fc.oneof(
  permissions,
  mode.map((mode) => ({ executable: (mode & 0o100) !== 0, sourceMode: mode | 0o400 })),
);
const identity = { path: name, size, mtimeNs };
/** A record and what its permissions are. */
const permitted = <T extends object>(record: fc.Arbitrary<T>) =>
  fc.tuple(record, permissions).map(([fields, more]) => ({ ...fields, ...more }));
const stepped = <T extends object>(record: fc.Arbitrary<T>) =>
  fc.tuple(record, sourced).map(([fields, more]) => ({ ...fields, ...more }));
const welcome = { version: fc.nat(65535), executable, folderTimes: executable, linkTimes: executable };
const kind = fc.constantFrom<Entry["kind"]>("file", "directory", "symlink");
const as = <T extends Message["type"]>(type: T) => fc.constant(type);
const entry: fc.Arbitrary<Entry> = fc.oneof(
  permitted(fc.record({ kind: fc.constant("file" as const), ...identity })),
  permitted(fc.record({ kind: fc.constant("file" as const), ...identity, sha256: fc.constant("0123456789abcdef") })),
  fc.record({ kind: fc.constant("directory" as const), path: name, mtimeNs }),
  fc.record({ kind: fc.constant("directory" as const), path: name, mtimeNs, mode: fc.nat(0o3777) }),
  fc.record({ kind: fc.constant("symlink" as const), path: name, target: name, mtimeNs }),
);

const label = fc.constantFrom("host:/folder", "x");
const held = {
  id: text,
  reason: fc.constantFrom("limit" as const, "empty" as const, "unfamiliar" as const, "unmounted" as const),
  files: size,
  of: size,
  deleted: size,
  windowMs: size,
  paths: fc.array(name, { maxLength: 20 }),
};

const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    type: as("hello"),
    version: fc.nat(65535),
    name: text,
    clientId: text,
    instanceId: text,
    label: text,
  }),
  fc.record({ type: as("welcome"), ...welcome, mtimeToleranceNs: toleranceNs }),
  fc.record({
    type: as("welcome"),
    ...welcome,
    mtimeToleranceNs: toleranceNs,
    features: fc.integer({ min: 1, max: 0xffff_ffff }),
  }),
  fc.record({
    type: as("welcome"),
    ...welcome,
    mtimeToleranceNs: toleranceNs,
    chunks: fc.constant(true),
    versions: fc.constant(true),
  }),
  fc.record({
    type: as("welcome"),
    ...welcome,
    mtimeToleranceNs: toleranceNs,
    relation: fc.constantFrom("nobody" as const, "same" as const, "place" as const, "another" as const),
    owner: label,
  }),
  fc.record({
    type: as("welcome"),
    ...welcome,
    mtimeToleranceNs: toleranceNs,
    features: fc.integer({ min: 1, max: 0xffff_ffff }),
    latestNs: mtimeNs.filter((timeNs) => timeNs !== LATEST_NS),
  }),
  fc.record({
    type: as("hello"),
    version: fc.nat(65535),
    name: text,
    clientId: text,
    instanceId: text,
    label,
    source: label,
  }),
  fc.record({ type: as("claim"), source: text }),
  fc.record({ type: as("deletes"), ...held }),
  fc.record({ type: as("deletes"), ...held, deletedSince: fc.integer({ min: 1, max: 4_000_000_000_000 }) }),
  fc.record({ type: as("approve"), id: text, approved: fc.boolean() }),
  fc.record({ type: as("rename"), id, from: text, path: text }),
  fc.record({ type: as("hold"), id, path: text }),
  fc.record({ type: as("look"), folders: fc.array(name) }),
  fc.record({
    type: as("folders"),
    folders: fc.array(fc.record({ path: name, hash: sha256.map((hash) => hash.subarray(0, 8)) })),
  }),
  stepped(fc.record({ type: as("delta"), id, ...identity, base: name })),
  fc.record({ type: as("copy"), id, first: id, count: id }),
  fc.record({ type: as("chunks"), id, records: bytes }),
  fc.record({ type: as("offer"), id, records: fc.uint8Array({ maxLength: 576 }).map((all) => Buffer.from(all)) }),
  fc.record({ type: as("known"), id, bits: fc.uint8Array({ maxLength: 8 }).map((all) => Buffer.from(all)) }),
  stepped(fc.record({ type: as("clone"), id, ...identity, sha256, from: name })),
  stepped(fc.record({ type: as("move"), id, ...identity, sha256, held: id, from: name })),
  fc.record({ type: as("error"), code: text, message: text }),
  fc.record({ type: as("bye") }),
  fc.record({ type: as("list"), root: sha256, verify: fc.boolean(), perms: fc.boolean() }),
  fc.record({ type: as("same"), count: size }),
  fc.record({ type: as("root"), root: sha256 }),
  fc.record({ type: as("entries"), entries: fc.array(entry, { maxLength: 20 }) }),
  fc.record({ type: as("listed"), count: size }),
  fc.record({ type: as("settled"), entries: size, root: sha256 }),
  fc.record({ type: as("mkdir"), id, path: text }),
  fc.record({
    type: as("place"),
    machine: fc.constantFrom("", "m"),
    ids: fc.array(fc.constantFrom("1.2", "z.9"), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ type: as("link"), id, path: name, target: name, mtimeNs }),
  fc.record({ type: as("remove"), id, path: text, kind }),
  stepped(fc.record({ type: as("put"), id, ...identity })),
  stepped(fc.record({ type: as("touch"), kind: fc.constantFrom("file", "directory"), id, ...identity })),
  stepped(fc.record({ type: as("file"), id, path: name, mtimeNs, sha256, content: bytes })),
  fc.record({ type: as("have"), id, offset: size }),
  fc.record({ type: as("data"), id, content: bytes }),
  fc.record({ type: as("end"), id, sha256 }),
  fc.record({ type: as("abort"), id }),
  fc.record({ type: as("done"), ids: fc.array(id, { maxLength: 50 }) }),
  fc.record({ type: as("fail"), id, code: text, message: text }),
  fc.record({ type: fc.constantFrom("ping" as const, "pong" as const), token: id }),
);

function decodeAll(chunks: Iterable<Uint8Array>): Message[] {
  const decoder = new Decoder();
  const decoded: Message[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) decoded.push(next);
  }
  expect(decoder.buffered).toBe(0);
  return decoded;
}

function cut(whole: Buffer, lengths: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < whole.length; i++) {
    const length = lengths[i % lengths.length] ?? 1;
    chunks.push(whole.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

describe("wire", () => {
  test("decode(encode(m)) = m, however the bytes are cut", () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 12 }), lengths, (messages, cuts) => {
        expect(decodeAll(cut(Buffer.concat(messages.map(encode)), cuts))).toEqual(messages);
      }),
      { numRuns: 400 },
    );
  });

  test("arbitrary bytes never throw anything but a SyncError", () => {
    const chunk = fc.uint8Array({ maxLength: 64 });
    const damaged = fc.tuple(message, fc.nat(), fc.nat(255)).map(([sent, where, value]) => {
      const frame = encode(sent);
      frame[where % frame.length] = value;
      return new Uint8Array(frame);
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(chunk, damaged), { maxLength: 10 }), (chunks) => {
        const decoder = new Decoder();
        try {
          for (const one of chunks) {
            decoder.push(one);
            while (decoder.next() !== undefined);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(SyncError);
          expect((error as SyncError).code).toBe("ERR_PROTOCOL");
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a frame that announces more than its type may hold is refused by its header alone", () => {
    for (const [type, length] of [
      [1, 4097],
      [20, MAX_INLINE_BYTES + MAX_PATH_BYTES + 65],
      [23, MAX_DATA_BYTES + 5],
      [48, 0xffff_ffff],
      [99, 0],
    ] as const) {
      const header = Buffer.from([type, 0, 0, 0, 0]);
      header.writeUInt32BE(length, 1);
      const decoder = new Decoder();
      decoder.push(header);
      expect(() => decoder.next(), `type ${type}`).toThrow(SyncError);
    }
  });

  test("a count larger than its message is refused before anything is made of it", () => {
    const frame = encode({ type: "entries", entries: [] });
    frame.writeUInt32BE(0xffff_ffff, 5);
    const decoder = new Decoder();
    decoder.push(frame);
    expect(() => decoder.next()).toThrow("a count is larger than its message");
  });

  test("texts that are no UTF-8 are refused", () => {
    const frame = encode({ type: "fail", id: 1, code: "ERR", message: "ab" });
    frame[frame.length - 1] = 0xff;
    const decoder = new Decoder();
    decoder.push(frame);
    expect(() => decoder.next()).toThrow("not valid UTF-8");
  });

  test("HELLO and WELCOME may have grown; other messages may not be longer than they say", () => {
    const grown = (sent: Message): Decoder => {
      const frame = Buffer.concat([encode(sent), Buffer.from("later")]);
      frame.writeUInt32BE(frame.length - 5, 1);
      const decoder = new Decoder();
      decoder.push(frame);
      return decoder;
    };
    const welcome: Message = {
      type: "welcome",
      version: 1,
      executable: true,
      folderTimes: true,
      linkTimes: false,
      mtimeToleranceNs: 1000n,
    };
    expect(grown(welcome).next()).toEqual(welcome);
    expect(() => grown({ type: "ping", token: 1 }).next()).toThrow(SyncError);
  });

  test("what no message may hold is not encoded", () => {
    expect(() => encode({ type: "mkdir", id: 1, path: "x".repeat(MAX_PATH_BYTES + 1) })).toThrow("at most 4096");
    expect(() => encode({ type: "data", id: 1, content: Buffer.alloc(MAX_DATA_BYTES + 1) })).toThrow("too long");
  });

  test("a DATA frame filled in place is the one that encode makes, wherever its memory is", () => {
    const content = Buffer.from("some content");
    const memory = Buffer.alloc(DATA_FRAME_BYTES, 0xff);
    const inPlace = dataFrame(7, content.length, memory);
    content.copy(inPlace.content);
    expect(inPlace.frame).toEqual(encode({ type: "data", id: 7, content }));
    expect(inPlace.frame.buffer).toBe(memory.buffer);
  });

  test("the memory of content that came in pieces is used again once it is given back, and no other", () => {
    const decoder = new Decoder();
    const receive = (fill: number, pieces: number): Buffer => {
      const frame = encode({ type: "data", id: 1, content: Buffer.alloc(MAX_DATA_BYTES - fill, fill) });
      const bytes = Math.ceil(frame.length / pieces);
      let message: Message | undefined;
      for (let at = 0; at < frame.length; at += bytes) {
        expect(message).toBeUndefined();
        decoder.push(frame.subarray(at, at + bytes));
        message = decoder.next();
      }
      if (message?.type !== "data") throw new Error("no DATA came out");
      expect(message.content).toEqual(frame.subarray(9));
      return Buffer.from(message.content.buffer, message.content.byteOffset, message.content.length);
    };
    const first = receive(1, 7);
    const second = receive(2, 5);
    expect(second.buffer).not.toBe(first.buffer);
    decoder.recycle(first);
    decoder.recycle(first);
    const whole = receive(3, 1);
    decoder.recycle(whole);
    expect(receive(4, 3).buffer).toBe(first.buffer);
    expect(receive(5, 3).buffer).not.toBe(first.buffer);
    expect(second).toEqual(Buffer.alloc(MAX_DATA_BYTES - 2, 2));
  });
});
