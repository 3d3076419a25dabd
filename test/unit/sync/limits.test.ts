/** The limits of the mirror protocol and of a session, each at its number and one beyond. */
import { describe, expect, test } from "vitest";
import { Applier } from "../../../src/sync/apply.js";
import { Writer } from "../../../src/sync/bytes.js";
import type { Channel } from "../../../src/sync/channel.js";
import { CHUNK_RECORD_BYTES } from "../../../src/sync/chunk.js";
import { Desk } from "../../../src/sync/desk.js";
import type { SyncError } from "../../../src/sync/errors.js";
import {
  FRAME_HEADER_BYTES,
  HELLO_MAGIC,
  MAX_ASKED_FOLDERS,
  MAX_CHUNKS,
  MAX_COMPARISONS,
  MAX_DATA_BYTES,
  MAX_DONE_IDS,
  MAX_HELD,
  MAX_HOLE_BYTES,
  MAX_ID_BYTES,
  MAX_INLINE_BYTES,
  MAX_LISTING_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NAME_BYTES,
  MAX_OFFER_CHUNKS,
  MAX_PACKED_BYTES,
  MAX_PATH_BYTES,
  MAX_PENDING_BYTES,
  MAX_PENDING_OPERATIONS,
  MAX_SEGMENT_BYTES,
  MAX_SPARE_PAYLOADS,
  MAX_TARGET_BYTES,
  MAX_UNANSWERED,
} from "../../../src/sync/limits.js";
import { unsafePath } from "../../../src/sync/path.js";
import type { Step } from "../../../src/sync/steps.js";
import type { Storage } from "../../../src/sync/storage.js";
import { Decoder, encode, type Message } from "../../../src/sync/wire.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { testHome, until } from "../../support/sync-rig.js";

const ANY = Number.POSITIVE_INFINITY;

function frame(type: number, write: (payload: Writer) => Writer): Buffer {
  const payload = write(new Writer(64)).finish();
  return new Writer(64).u8(type).u32(payload.length).raw(payload).finish();
}

function decode(bytes: Uint8Array): Message | undefined {
  const decoder = new Decoder();
  decoder.push(bytes);
  return decoder.next();
}

describe("a field", () => {
  const text = (bytes: number): string => "x".repeat(bytes);
  test.each<[string, number, (bytes: number) => Buffer]>([
    ["MAX_PATH_BYTES", MAX_PATH_BYTES, (bytes) => frame(16, (to) => to.u32(1).name(text(bytes), ANY))],
    [
      "MAX_TARGET_BYTES",
      MAX_TARGET_BYTES,
      (bytes) => frame(17, (to) => to.u32(1).time(1n).name("l", ANY).name(text(bytes), ANY)),
    ],
    [
      "MAX_NAME_BYTES",
      MAX_NAME_BYTES,
      (bytes) =>
        frame(1, (to) =>
          to.u32(HELLO_MAGIC).u16(2).text(text(bytes), ANY).text("c", ANY).text("i", ANY).text("l", ANY),
        ),
    ],
    ["MAX_ID_BYTES", MAX_ID_BYTES, (bytes) => frame(42, (to) => to.text(text(bytes), ANY))],
    ["MAX_MESSAGE_BYTES", MAX_MESSAGE_BYTES, (bytes) => frame(3, (to) => to.text("E", ANY).text(text(bytes), ANY))],
    ["MAX_HOLE_BYTES", MAX_HOLE_BYTES, (bytes) => frame(37, (to) => to.u32(1).u64(bytes))],
  ])("of %s is read, and a longer one is refused", (_, most, make) => {
    expect(decode(make(most))).toBeDefined();
    expect(() => decode(make(most + 1))).toThrow(expect.objectContaining({ code: "ERR_PROTOCOL" }));
  });

  test("a part of a path of MAX_SEGMENT_BYTES is safe, and a longer one is not", () => {
    expect(unsafePath(`a/${text(MAX_SEGMENT_BYTES)}/b`)).toBeUndefined();
    expect(unsafePath(`a/${text(MAX_SEGMENT_BYTES + 1)}/b`)).toContain("longer than 255 bytes");
    expect(unsafePath("ä".repeat(128))).toContain("longer than 255 bytes");
  });
});

describe("a message", () => {
  test.each<[string, number, number]>([
    ["DATA of MAX_DATA_BYTES", 23, MAX_DATA_BYTES + 4],
    ["FILE of MAX_INLINE_BYTES", 20, MAX_PATH_BYTES + MAX_INLINE_BYTES + 64],
    ["ENTRIES of MAX_LISTING_BYTES", 5, MAX_LISTING_BYTES + MAX_PATH_BYTES + MAX_TARGET_BYTES + 32],
    ["LOOK at MAX_ASKED_FOLDERS", 8, MAX_ASKED_FOLDERS * (MAX_PATH_BYTES + 2) + 2],
    ["DONE with MAX_DONE_IDS", 32, 4 * MAX_DONE_IDS + 2],
    ["CHUNKS with MAX_CHUNKS", 34, MAX_CHUNKS * CHUNK_RECORD_BYTES + 4],
    ["OFFER of MAX_OFFER_CHUNKS", 35, MAX_OFFER_CHUNKS * CHUNK_RECORD_BYTES + 4],
    ["PACKED of MAX_PACKED_BYTES", 51, MAX_PACKED_BYTES + 4],
  ])("%s may come, and a longer one is refused by its header alone", (_, type, most) => {
    const header = (bytes: number): Uint8Array => new Writer(FRAME_HEADER_BYTES).u8(type).u32(bytes).finish();
    expect(decode(header(most))).toBeUndefined();
    expect(() => decode(header(most + 1))).toThrow(expect.objectContaining({ code: "ERR_PROTOCOL" }));
  });

  test("memory of MAX_SPARE_PAYLOADS contents is kept for the next ones, and no more", () => {
    const decoder = new Decoder();
    const count = MAX_SPARE_PAYLOADS + 3;
    const receive = (): Uint8Array => {
      const bytes = encode({ type: "data", id: 1, content: Buffer.alloc(MAX_DATA_BYTES) });
      decoder.push(bytes.subarray(0, 1000));
      expect(decoder.next()).toBeUndefined();
      decoder.push(bytes.subarray(1000));
      return (decoder.next() as Message & { type: "data" }).content;
    };
    const first = Array.from({ length: count }, receive);
    for (const content of first) decoder.recycle(content);
    const memory = new Set(first.map(({ buffer }) => buffer));
    const again = Array.from({ length: count }, receive).filter(({ buffer }) => memory.has(buffer));
    expect(again).toHaveLength(MAX_SPARE_PAYLOADS);
  });
});

/** A session's desk, whose channel only counts how often reading was stopped. */
function makeDesk() {
  let held = 0;
  const channel = { hold: () => void held++, release: () => void held-- };
  const desk = new Desk({
    channel: channel as unknown as Channel,
    admission: { storage: {} as Storage, release: () => {} },
    onStep: () => {},
    onFailed: () => {},
  });
  return { desk, isHeld: () => held > 0 };
}

/** Carries out steps with a storage that does nothing. Resolves to the codes of those that failed. */
async function apply(storage: Partial<Storage>, steps: readonly Step[]): Promise<[id: number, code: string][]> {
  const failed: [number, string][] = [];
  let left = steps.length;
  const desk = {
    storage: { ...storage, prepare: () => {} },
    enter: () => ({ ready: undefined, leave: () => {} }),
    permit: () => {},
    reserve: () => undefined,
    place: () => {},
    fail: (id: number, _path: string, error: SyncError) => failed.push([id, error.code]),
    leave: () => void left--,
  };
  const applier = new Applier(desk as unknown as Desk);
  for (const step of steps) applier.step(step);
  await until(() => left === 0);
  return failed;
}

describe("a session", () => {
  test("reads no further while MAX_PENDING_OPERATIONS steps are under way", () => {
    const { desk, isHeld } = makeDesk();
    for (let i = 0; i < MAX_PENDING_OPERATIONS; i++) desk.begin();
    expect(isHeld()).toBe(false);
    desk.begin();
    expect(isHeld()).toBe(true);
    // Half of them, so that it does not stop and go with each.
    for (let i = 0; i <= MAX_PENDING_OPERATIONS / 2; i++) desk.leave();
    expect(isHeld()).toBe(false);
  });

  test("reads no further while MAX_PENDING_BYTES are not on disk", () => {
    const { desk, isHeld } = makeDesk();
    desk.begin(MAX_PENDING_BYTES);
    expect(isHeld()).toBe(false);
    desk.begin(1);
    expect(isHeld()).toBe(true);
    desk.leave(MAX_PENDING_BYTES);
    expect(isHeld()).toBe(false);
  });

  test("holds MAX_HELD contents for moves, and says ERR_LIMIT to more", async () => {
    const steps = Array.from({ length: MAX_HELD + 1 }, (_, i): Step => ({ type: "hold", id: i + 1, path: "f" }));
    expect(await apply({ hold: async () => "staged" }, steps)).toEqual([[MAX_HELD + 1, "ERR_LIMIT"]]);
  });

  test("compares MAX_COMPARISONS contents at once", async () => {
    let now = 0;
    let most = 0;
    const move = async (): Promise<void> => {
      most = Math.max(most, ++now);
      await new Promise(setImmediate);
      now--;
    };
    const steps = Array.from({ length: 5 * MAX_COMPARISONS }, (_, i): Step => {
      const file = { path: `f${i}`, from: `g${i}`, size: 1, mtimeNs: 1n, executable: false };
      return { type: "move", id: i + 1, ...file, held: 0, sha256: Buffer.alloc(32) };
    });
    expect(await apply({ move }, steps)).toEqual([]);
    expect(most).toBe(MAX_COMPARISONS);
  });

  test("ends when a client goes on announcing files after MAX_UNANSWERED were refused", async () => {
    const client = rawClient(testHome().connect());
    client.say(hello());
    await client.hear("welcome");
    const put = { type: "put", path: "../evil", size: 1, mtimeNs: 1n, executable: false } as const;
    client.say(...Array.from({ length: MAX_UNANSWERED + 1 }, (_, i) => ({ ...put, id: i + 1 })));
    expect(await client.hear("error")).toMatchObject({ code: "ERR_PROTOCOL" });
    expect(client.heard.filter(({ type }) => type === "fail").length).toBeGreaterThanOrEqual(MAX_UNANSWERED);
  });
});
