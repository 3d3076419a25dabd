import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAX_INLINE_BYTES, MAX_OPEN_FILES } from "../../../src/sync/limits.js";
import type { Message } from "../../../src/sync/wire.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { contents, make, tempFolder, testHome, until } from "../../support/sync-rig.js";

const hash = (content: string | Buffer): Buffer => createHash("sha256").update(content).digest();
function small(id: number, name: string, text: string): Message {
  const content = Buffer.from(text);
  return {
    type: "file",
    id,
    path: name,
    mtimeNs: 1_700_000_000_000_000_000n,
    executable: false,
    sha256: hash(text),
    content,
  };
}

function moved(id: number, to: string, text: string): Message & { type: "move" } {
  const file = { path: to, size: text.length, mtimeNs: 1_700_000_000_000_000_000n, executable: false };
  return { type: "move", id, ...file, from: "", held: 0, sha256: hash(text) };
}

async function welcomed() {
  const rig = testHome();
  const client = rawClient(rig.connect());
  client.say(hello());
  await client.hear("welcome");
  return { ...rig, ...client };
}

describe("a receiver and a client that means harm", () => {
  test.each(["../evil", "/tmp/evil", "a/../../evil", "a//b", "", ".", "..", "nul\0byte", "x".repeat(300)])(
    "%j is refused in every message, and the session goes on",
    async (bad) => {
      const { say, hear, done, at, dir } = await welcomed();
      say(
        small(1, bad, "evil"),
        { type: "mkdir", id: 2, path: bad },
        { type: "link", id: 3, path: bad, target: "x", mtimeNs: 1n },
        { type: "remove", id: 4, path: bad, kind: "directory" },
        { type: "touch", id: 5, kind: "file", path: bad, size: 1, mtimeNs: 1n, executable: true },
        { type: "put", id: 6, path: bad, size: 10, mtimeNs: 1n, executable: true },
        { type: "hold", id: 8, path: bad },
        { type: "rename", id: 9, path: bad, from: "good" },
        { type: "rename", id: 10, path: "other", from: bad },
        { ...moved(11, "other", "fine"), from: bad },
        small(7, "good", "fine"),
        { ...moved(12, bad, "fine"), from: "good" },
      );
      for (const id of [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]) {
        expect((await hear("fail", id)).code).toBe("ERR_UNSAFE_PATH");
      }
      await done(7);
      expect(contents(at())).toEqual({ good: expect.stringContaining("file of 4") });
      expect(fs.existsSync(path.join(path.dirname(dir), "evil"))).toBe(false);
      expect(fs.readdirSync(dir).sort()).toEqual([".confundo", "m"]);
    },
  );

  test("nothing is written, made, removed or touched through a link", async () => {
    const { say, hear, done, at } = await welcomed();
    const outside = tempFolder();
    make(outside, { victim: "mine", "empty/": null });
    say(
      { type: "link", id: 1, path: "out", target: outside, mtimeNs: 1n },
      small(2, "out/file", "x"),
      { type: "mkdir", id: 3, path: "out/folder" },
      { type: "link", id: 4, path: "out/link", target: "x", mtimeNs: 1n },
      { type: "remove", id: 5, path: "out/victim", kind: "file" },
      { type: "touch", id: 6, kind: "file", path: "out/victim", size: 4, mtimeNs: 1n, executable: true },
      { type: "link", id: 7, path: "direct", target: path.join(outside, "victim"), mtimeNs: 1n },
      { type: "touch", id: 8, kind: "file", path: "direct", size: 4, mtimeNs: 1n, executable: true },
    );
    for (const id of [2, 3, 4, 5, 6]) expect((await hear("fail", id)).code).toBe("ERR_NOT_A_FOLDER");
    expect((await hear("fail", 8)).code).toBe("ELOOP");
    say({ type: "put", id: 9, path: "out/large", size: 5, mtimeNs: 1n, executable: false });
    await hear("have", 9);
    say({ type: "data", id: 9, content: Buffer.from("12345") }, { type: "end", id: 9, sha256: hash("12345") });
    expect((await hear("fail", 9)).code).toBe("ERR_NOT_A_FOLDER");
    say(small(10, "direct", "over the link"));
    await done(10);
    expect(Object.keys(contents(outside))).toEqual(["empty", "victim"]);
    expect(fs.readFileSync(path.join(outside, "victim"), "utf8")).toBe("mine");
    expect(fs.statSync(path.join(outside, "victim")).mode & 0o111).toBe(0);
    expect(fs.readFileSync(path.join(at(), "direct"), "utf8")).toBe("over the link");
  });

  test("nothing is moved through a link, nor what is not what its hash says, nor over what stands there", async () => {
    const { say, hear, done, at, staged } = await welcomed();
    const outside = tempFolder();
    make(outside, { victim: "mine", "folder/": null });
    say(
      { type: "link", id: 1, path: "out", target: outside, mtimeNs: 1n },
      { type: "link", id: 2, path: "direct", target: path.join(outside, "victim"), mtimeNs: 1n },
      small(3, "a", "text"),
      { type: "mkdir", id: 4, path: "d" },
      { type: "rename", id: 5, path: "e", from: "out/folder" },
      { type: "rename", id: 6, path: "out/d", from: "d" },
      { type: "rename", id: 7, path: "e", from: "out" },
      { type: "rename", id: 8, path: "a", from: "d" },
      { type: "rename", id: 9, path: "e", from: "nowhere" },
      { ...moved(10, "out/a", "text"), from: "a" },
      { ...moved(11, "b", "mine"), from: "out/victim" },
      { ...moved(12, "b", "mine"), from: "direct" },
      { ...moved(13, "b", "tEXt"), from: "a" },
      { ...moved(14, "b", "other"), from: "a" },
      { ...moved(15, "b", "text"), from: "a", held: 77 },
      { ...moved(16, "b", "text"), from: "d" },
      { ...moved(17, "d", "text"), from: "a" },
      { type: "hold", id: 18, path: "out/victim" },
      { type: "hold", id: 19, path: "direct" },
      { type: "hold", id: 20, path: "d" },
    );
    for (let id = 5; id <= 20; id++) await hear("fail", id);
    expect(Object.keys(contents(outside))).toEqual(["folder", "victim"]);
    expect(Object.keys(contents(at()))).toEqual(["a", "d", "direct", "out"]);
    say({ type: "hold", id: 21, path: "a" }, small(22, "a", "new"), {
      ...moved(23, "d/b", "text"),
      from: "a",
      held: 21,
    });
    await done(23);
    expect(contents(path.join(at(), "d"))).toEqual({ b: expect.stringContaining("file of 4") });
    expect(fs.readFileSync(path.join(at(), "a"), "utf8")).toBe("new");
    expect(staged()).toEqual([]);
  });

  test("content that is not what its hash says never becomes visible, and leaves nothing behind", async () => {
    const { say, hear, at, staged } = await welcomed();
    say({ ...small(1, "small", "content"), sha256: hash("other") } as Message);
    expect((await hear("fail", 1)).code).toBe("ERR_CHECKSUM");
    const put = { type: "put", path: "large", size: 4, mtimeNs: 1n, executable: false } as const;
    say({ ...put, id: 2 });
    await hear("have", 2);
    say({ type: "data", id: 2, content: Buffer.from("1234") }, { type: "end", id: 2, sha256: hash("4321") });
    expect((await hear("fail", 2)).code).toBe("ERR_CHECKSUM");
    say({ ...put, id: 3 });
    await hear("have", 3);
    say({ type: "data", id: 3, content: Buffer.from("12345678") }, { type: "end", id: 3, sha256: hash("12345678") });
    expect((await hear("fail", 3)).code).toBe("ERR_CHECKSUM");
    say({ ...put, id: 4 });
    await hear("have", 4);
    say({ type: "data", id: 4, content: Buffer.from("1") }, { type: "end", id: 4, sha256: hash("1") });
    expect((await hear("fail", 4)).code).toBe("ERR_CHECKSUM");
    expect(contents(at())).toEqual({});
    expect(staged()).toEqual([]);
  });

  test.each<[string, Message[]]>([
    ["a step before HELLO", [small(1, "a", "b")]],
    ["a second HELLO", [hello(), hello()]],
    ["an answer", [hello(), { type: "done", ids: [1] }]],
    ["DATA for nothing", [hello(), { type: "data", id: 5, content: Buffer.from("x") }]],
    ["END of nothing", [hello(), { type: "end", id: 5, sha256: hash("") }]],
  ])("%s ends the session with a reason", async (_what, messages) => {
    const { connect, events } = testHome();
    const { say, hear } = rawClient(connect());
    say(...messages);
    expect((await hear("error")).code).toBe("ERR_PROTOCOL");
    await until(() => events.some(({ type }) => type === "closed"));
  });

  test("more large files at once than a client may have", async () => {
    const { say, hear } = await welcomed();
    for (let id = 1; id <= MAX_OPEN_FILES + 1; id++) {
      say({ type: "put", id, path: `f${id}`, size: MAX_INLINE_BYTES, mtimeNs: 1n, executable: false });
    }
    expect((await hear("error")).code).toBe("ERR_PROTOCOL");
  });

  test("the same large file twice at once: the second is refused, the first arrives whole", async () => {
    const { say, hear, done, at } = await welcomed();
    const put = { type: "put", path: "f", size: 2, mtimeNs: 1n, executable: false } as const;
    say({ ...put, id: 1 }, { ...put, id: 2 }, { type: "data", id: 2, content: Buffer.from("zz") });
    expect((await hear("fail", 2)).code).toBe("ERR_PATH_BUSY");
    say({ type: "abort", id: 2 });
    say({ type: "data", id: 1, content: Buffer.from("ab") }, { type: "end", id: 1, sha256: hash("ab") });
    await done(1);
    expect(fs.readFileSync(path.join(at(), "f"), "utf8")).toBe("ab");
  });

  test("arbitrary bytes end one session and harm no other", async () => {
    const rig = testHome({ handshakeMs: 50 });
    const honest = rawClient(rig.connect());
    honest.say(hello({ name: "honest" }));
    await honest.hear("welcome");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 100 }), async (bytes) => {
        const duplex = rig.connect();
        duplex.on("error", () => {});
        duplex.resume();
        duplex.write(bytes);
        duplex.end();
        await until(() => duplex.destroyed);
      }),
      { numRuns: 50 },
    );
    honest.say(small(1, "f", "still here"));
    await honest.done(1);
  });

  test("a client that says nothing is sent away", async () => {
    const { connect, events } = testHome({ handshakeMs: 20 });
    const { hear } = rawClient(connect());
    await hear("error");
    await until(() => events.some(({ type }) => type === "closed"));
  });
});

describe("a receiver", () => {
  test("steps sent all at once are carried out as if in order", async () => {
    const { say, done, at } = await welcomed();
    say(
      { type: "mkdir", id: 1, path: "a" },
      small(2, "a/f", "1"),
      small(3, "a/f", "2"),
      { type: "remove", id: 4, path: "a/f", kind: "file" },
      { type: "remove", id: 5, path: "a", kind: "directory" },
      small(6, "a", "a file now"),
      { type: "remove", id: 7, path: "a", kind: "file" },
      { type: "mkdir", id: 8, path: "a" },
      small(9, "a/last", "x"),
    );
    await done(9);
    expect(Object.keys(contents(at()))).toEqual(["a", "a/last"]);
  });

  test("a folder with something in it is not removed, whatever the client thinks", async () => {
    const { say, hear, at } = await welcomed();
    say({ type: "mkdir", id: 1, path: "a" }, small(2, "a/f", "x"), {
      type: "remove",
      id: 3,
      path: "a",
      kind: "directory",
    });
    expect((await hear("fail", 3)).code).toBe("ENOTEMPTY");
    expect(Object.keys(contents(at()))).toEqual(["a", "a/f"]);
  });

  test("an interrupted large file is offered again to whoever brings the same version, and to nobody else", async () => {
    const rig = testHome();
    const first = rawClient(rig.connect());
    const put = { type: "put", id: 1, path: "f", size: 8, mtimeNs: 5n, executable: false } as const;
    first.say(hello(), put);
    await first.hear("have");
    first.say({ type: "data", id: 1, content: Buffer.from("1234") });
    await until(() =>
      rig.staged().some((name) => fs.statSync(path.join(rig.dir, ".confundo/staging/m", name)).size === 4),
    );
    rig.pairs[0]?.cut();
    await until(() => rig.home.sessions === 0);

    const second = rawClient(rig.connect());
    second.say(hello(), { ...put, id: 2 });
    expect(await second.hear("have")).toMatchObject({ offset: 4 });
    second.say({ type: "data", id: 2, content: Buffer.from("5678") }, { type: "end", id: 2, sha256: hash("12345678") });
    await second.done(2);
    expect(fs.readFileSync(path.join(rig.at(), "f"), "utf8")).toBe("12345678");
    second.say({ ...put, id: 3, path: "g" });
    expect(await second.hear("have", 3)).toMatchObject({ offset: 0 });
    second.say(
      { type: "data", id: 3, content: Buffer.from("12") },
      { type: "abort", id: 3 },
      { ...put, id: 4, path: "g" },
    );
    expect(await second.hear("have", 4)).toMatchObject({ offset: 0 });
  });

  test("leftovers of a killed server are gone when the next session begins", async () => {
    const rig = testHome();
    make(rig.dir, { ".confundo/staging/m/torn.new": "half" });
    const client = rawClient(rig.connect());
    client.say(hello());
    await client.hear("welcome");
    expect(rig.staged()).toEqual([]);
  });
});
