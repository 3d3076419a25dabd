/** Frames of the mirror protocol, and a server's session with a client that may say anything. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { duplexPair } from "node:stream";
import { zstdCompressSync } from "node:zlib";
import { Reuse, receive, Storage, SyncError } from "../../src/sync/index.js";
import { FEATURES, PROTOCOL_VERSION } from "../../src/sync/limits.js";
import { Decoder, encode, type Message } from "../../src/sync/wire.js";
import { Input } from "./input.js";
import { scratch } from "./scratch.js";
import type { Target } from "./targets.js";

const SHA256 = new Uint8Array(32).fill(7);
const HELLO: Message = {
  type: "hello",
  version: PROTOCOL_VERSION,
  name: "m",
  clientId: "c",
  instanceId: "i",
  label: "",
  features: FEATURES,
};

/** One message of each kind, about these paths. */
function messages(id: number, name: string, other: string, size: number, content: Uint8Array): Message[] {
  const file = { path: name, size, mtimeNs: 5n, executable: false };
  const records = new Uint8Array(Math.floor(content.length / 9) * 9);
  return [
    { type: "mkdir", id, path: name },
    { type: "link", id, path: name, target: other, mtimeNs: 1n },
    { type: "remove", id, path: name, kind: "file" },
    { type: "remove", id, path: name, kind: "directory" },
    { type: "touch", id, kind: "file", ...file, sourceMode: 0o644 },
    { type: "touch", id, kind: "directory", ...file, mode: 0o755 },
    { type: "file", id, path: name, mtimeNs: 5n, executable: true, sha256: SHA256, content },
    { type: "put", id, ...file },
    { type: "delta", id, ...file, base: other },
    { type: "data", id, content },
    { type: "end", id, sha256: SHA256 },
    { type: "abort", id },
    { type: "copy", id, first: size % 7, count: size % 5 },
    { type: "offer", id, records },
    { type: "move", id, ...file, sha256: SHA256, held: size % 3, from: other },
    { type: "clone", id, ...file, sha256: SHA256, from: other },
    { type: "hold", id, path: name },
    { type: "rename", id, path: name, from: other },
    { type: "list", root: SHA256, verify: false, perms: false, folders: true },
    { type: "look", folders: [name, other] },
    { type: "settled", entries: size, root: SHA256 },
    { type: "ping", token: id },
    { type: "bye" },
  ] as Message[];
}

export const framesTarget: Target = {
  maxBytes: 8192,
  run(bytes) {
    const decoder = new Decoder();
    const pieces = 1 + (bytes[0] ?? 0) * 4;
    try {
      for (let at = 1; at < bytes.length; at += pieces) {
        decoder.push(bytes.subarray(at, at + pieces));
        for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
          // What is understood can be said, and is understood again.
          const again = new Decoder();
          again.push(encode(next));
          assert.equal(again.next()?.type, next.type);
        }
        assert.ok(decoder.buffered <= bytes.length);
      }
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
    }
  },
  seeds() {
    const all = [HELLO, ...messages(1, "d/a", "b", 300, new Uint8Array(70).fill(1))].flatMap((message) => {
      try {
        return [encode(message)];
      } catch {
        return [];
      }
    });
    const together = Buffer.concat(all);
    const compressed = zstdCompressSync(together);
    const packed = encode({ type: "packed", bytes: together.length, content: compressed } as Message);
    return [...all, together, packed].map((frames) => Buffer.concat([Uint8Array.of(255), frames]));
  },
};

const NAMES = [
  "a",
  "b",
  "d",
  "d/a",
  "d/e",
  "d/e/f",
  "../x",
  "",
  "/x",
  "a/",
  ".",
  "d/..",
  "a\0",
  "x".repeat(300),
  "\udc80",
  "con",
];

export const mirrorTarget: Target = {
  maxBytes: 600,
  async run(bytes) {
    const home = scratch("mirror");
    const outside = fs.readdirSync(home).sort();
    const [root, staging] = [path.join(home, "m"), path.join(home, "staging")];
    const known = path.join(home, "known");
    const reuse = new Reuse({
      root,
      directory: path.join(known, "chunks"),
      lists: path.join(known, "lists"),
      busy: () => false,
    });
    const storage = new Storage(root, staging, { reuse });
    const [client, server] = duplexPair({ highWaterMark: 1 << 20 });
    client.on("error", () => {}).resume();
    const session = receive(server, { admit: async () => ({ storage, release: () => {} }), pingMs: 60_000 });
    const input = new Input(bytes);
    client.write(encode(HELLO));
    while (input.left > 0 && !client.destroyed) {
      const kind = input.byte();
      if (kind >= 0xf0) client.write(input.take(input.byte()));
      else {
        const id = input.byte() & 7;
        const [name = "", other = ""] = [NAMES[input.byte() % NAMES.length], NAMES[input.byte() % NAMES.length]];
        const all = messages(id, name, other, input.byte() * 40, input.take(input.byte()));
        try {
          client.write(encode(all[kind % all.length] as Message));
        } catch (error) {
          if (!(error instanceof SyncError)) throw error;
        }
      }
      if ((kind & 0x80) !== 0) await new Promise((resolve) => setImmediate(resolve));
    }
    client.end();
    await Promise.race([session.closed, new Promise((resolve) => setTimeout(resolve, 200))]);
    session.end(new SyncError("ERR_SERVER_CLOSING", "done"));
    await session.closed;
    await reuse.close();
    const now = fs.readdirSync(home).filter((name) => !["m", "staging", "known"].includes(name));
    assert.deepEqual(
      now.sort(),
      outside.filter((name) => now.includes(name)),
    );
    for (const directory of [root, staging]) fs.rmSync(directory, { recursive: true, force: true });
  },
  seeds() {
    const step = (
      kind: number,
      id: number,
      name: number,
      other: number,
      size = 0,
      content: number[] = [],
    ): number[] => [kind, id, name, other, size, content.length, ...content];
    const list = step(18 | 0x80, 0, 0, 0);
    return [
      [
        ...list,
        ...step(0, 1, 2, 0),
        ...step(6, 2, 3, 0, 0, [1, 2, 3]),
        ...step(4 | 0x80, 3, 3, 0, 1),
        ...step(20 | 0x80, 0, 0, 0),
      ],
      [...list, ...step(7, 1, 0, 0, 5), ...step(9, 1, 0, 0, 0, Array(200).fill(3)), ...step(10 | 0x80, 1, 0, 0)],
      [
        ...list,
        ...step(7, 1, 0, 0, 5),
        ...step(11 | 0x80, 1, 0, 0),
        ...step(8, 2, 0, 1, 9),
        ...step(12 | 0x80, 2, 0, 0, 8),
      ],
      [
        ...list,
        ...step(1, 1, 0, 1),
        ...step(16, 2, 0, 0),
        ...step(14, 3, 1, 0, 1),
        ...step(15, 4, 1, 0),
        ...step(17 | 0x80, 5, 2, 4),
      ],
    ].map((seed) => Uint8Array.from(seed));
  },
};
