import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  type Admission,
  type Archive,
  type Arriving,
  type ReceiveEvent,
  type ReceiveSession,
  receive,
  Storage,
  SyncError,
} from "../../../src/sync/index.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { contents, make, mirrorOnce, tempFolder } from "../../support/sync-rig.js";

/** A host of its own for one mirror: what it is told, and what it allows. */
function host(more: { archive?: Archive; readOnly?: boolean; admitBytes?: NonNullable<Admission["admitBytes"]> }) {
  const { archive, ...admission } = more;
  const dir = tempFolder();
  const events: ReceiveEvent[] = [];
  const admit = async () => {
    const options = archive === undefined ? {} : { archive };
    const storage = new Storage(path.join(dir, "m"), path.join(dir, "staging"), options);
    return { storage, release: () => {}, ...admission };
  };
  const sessions: ReceiveSession[] = [];
  const connect = () => {
    const { client, server } = linkedPair();
    sessions.push(receive(server, { admit, onEvent: (event) => events.push(event) }));
    return client;
  };
  return { at: path.join(dir, "m"), events, sessions, connect };
}

const hex = (content: string): string => createHash("sha256").update(content).digest("hex");

describe("what a host is told", () => {
  test("has all that a database of files needs", async () => {
    const { events, connect } = host({});
    const folder = tempFolder();
    make(folder, { d: null, "d/f": { content: "12345", executable: true }, l: { link: "d/f" } });
    const large = Buffer.alloc(300_000, 7);
    make(folder, { large });
    const timeOf = (name: string) => fs.lstatSync(path.join(folder, name), { bigint: true }).mtimeNs;
    const [before, linkTime] = [timeOf("d"), timeOf("l")];
    await mirrorOnce(folder, connect);
    fs.renameSync(path.join(folder, "large"), path.join(folder, "d", "larger"));
    fs.rmSync(path.join(folder, "l"));
    await mirrorOnce(folder, connect);
    const steps = events.filter(({ type }) => ["stored", "changed", "removed", "moved"].includes(type));
    const after = timeOf("d");
    const sha256 = createHash("sha256").update(large).digest("hex");
    const f = {
      kind: "file",
      path: "d/f",
      size: 5,
      mtimeNs: timeOf("d/f"),
      executable: true,
      sha256: hex("12345"),
      mode: 0o755,
    };
    const kept = { kind: "file", size: 300_000, mtimeNs: timeOf("d/larger"), executable: false, sha256, mode: 0o644 };
    const stored = (entry: { path: string; size: number }) => ({
      type: "stored",
      path: entry.path,
      bytes: entry.size,
      entry,
    });
    const expected = [
      stored({ kind: "directory", path: "d", size: 0, executable: false, mode: 0o700 } as never),
      stored({ kind: "symlink", path: "l", size: 3, executable: false, target: "d/f", mtimeNs: linkTime } as never),
      {
        type: "changed",
        path: "d",
        entry: { kind: "directory", path: "d", size: 0, executable: false, mtimeNs: before, mode: 0o755 },
      },
      {
        type: "changed",
        path: "d",
        entry: { kind: "directory", path: "d", size: 0, executable: false, mtimeNs: after, mode: 0o755 },
      },
      stored(f as never),
      stored({ ...kept, path: "large" } as never),
      { type: "moved", path: "d/larger", from: "large", kind: "file", entry: { ...kept, path: "d/larger" } },
      { type: "removed", path: "l", kind: "symlink" },
      // Compared by hash, as the second run has no index.
      { type: "changed", path: "d/f", entry: f },
    ];
    expect(steps).toHaveLength(expected.length);
    for (const step of expected) expect(steps).toContainEqual({ name: "m", ...step });
  });
});

test("a host can see how far large files are", async () => {
  const { sessions, connect } = host({});
  const folder = tempFolder();
  make(folder, { small: "1", large: randomBytes(4_000_000) });
  const seen: Arriving[] = [];
  let over = false;
  const mirrored = mirrorOnce(folder, connect).finally(() => {
    over = true;
  });
  while (!over) {
    seen.push(...sessions.flatMap((session) => session.arriving()));
    await new Promise(setImmediate);
  }
  await mirrored;
  expect(new Set(seen.map(({ path, size }) => `${path} ${size}`))).toEqual(new Set(["large 4000000"]));
  const bytes = seen.map((one) => one.bytes);
  expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
  expect(bytes.some((some) => some > 0 && some < 4_000_000)).toBe(true);
  expect(sessions.flatMap((session) => session.arriving())).toEqual([]);
});

describe("an archive", () => {
  test("is given every file and link right before it is replaced or removed", async () => {
    const kept: string[] = [];
    const versions = tempFolder();
    const archive: Archive = {
      retire: (absolutePath, name, why) => {
        const text = fs.lstatSync(absolutePath).isSymbolicLink() ? "link" : fs.readFileSync(absolutePath, "utf8");
        kept.push(`${name} ${why} ${text.slice(0, 5)}`);
        if (why === "deleted") fs.renameSync(absolutePath, path.join(versions, `${kept.length}`));
        else fs.linkSync(absolutePath, path.join(versions, `${kept.length}`));
      },
    };
    const { at, connect } = host({ archive });
    const folder = tempFolder();
    make(folder, { small: "small", large: "large".repeat(40_000), l: { link: "x" }, "in/a/folder": "deep!" });
    await mirrorOnce(folder, connect);
    expect(kept).toEqual([]);
    fs.rmSync(path.join(folder, "in"), { recursive: true });
    fs.rmSync(path.join(folder, "l"));
    make(folder, { small: "SMALL", large: "LARGE".repeat(40_000), l: { link: "y" } });
    await mirrorOnce(folder, connect);
    expect(kept.sort()).toEqual([
      "in/a/folder deleted deep!",
      "l replaced link",
      "large replaced large",
      "small replaced small",
    ]);
    expect(contents(at)).toEqual(contents(folder));
    expect(fs.readdirSync(versions)).toHaveLength(4);
  });

  test("that fails keeps what was to go", async () => {
    const archive: Archive = {
      retire: () => {
        throw new SyncError("ENOSPC", "no room for versions");
      },
    };
    const { at, connect } = host({ archive });
    const folder = tempFolder();
    make(folder, { a: "1", b: "1" });
    await mirrorOnce(folder, connect);
    make(folder, { a: "22" });
    fs.rmSync(path.join(folder, "b"));
    await expect(mirrorOnce(folder, connect)).rejects.toMatchObject({ code: "ERR_INCOMPLETE" });
    expect(fs.readFileSync(path.join(at, "a"), "utf8")).toBe("1");
    expect(fs.readFileSync(path.join(at, "b"), "utf8")).toBe("1");
  });
});

describe("a host's refusals", () => {
  test("a file beyond the quota fails alone, and what was there stays", async () => {
    const admitBytes = (name: string, bytes: number): undefined => {
      if (bytes > 200_000) throw new SyncError("ERR_QUOTA", `no room for ${name}`);
    };
    const { at, connect } = host({ admitBytes });
    const folder = tempFolder();
    make(folder, { f: "old", g: "fits" });
    await mirrorOnce(folder, connect);
    make(folder, { f: Buffer.alloc(300_000), h: "fits too" });
    await expect(mirrorOnce(folder, connect)).rejects.toMatchObject({
      code: "ERR_INCOMPLETE",
      failures: [{ path: "f", code: "ERR_QUOTA", message: "no room for f" }],
    });
    expect(fs.readFileSync(path.join(at, "f"), "utf8")).toBe("old");
    expect(fs.readFileSync(path.join(at, "h"), "utf8")).toBe("fits too");
  });

  test("a client that may only look changes nothing", async () => {
    const { at, connect } = host({ readOnly: true });
    const folder = tempFolder();
    make(folder, { f: "1", large: Buffer.alloc(200_000) });
    const refused = (name: string) => expect.objectContaining({ path: name, code: "ERR_FORBIDDEN" });
    await expect(mirrorOnce(folder, connect)).rejects.toMatchObject({
      failures: expect.arrayContaining([refused("f"), refused("large")]),
    });
    expect(fs.existsSync(path.join(at, "f"))).toBe(false);
  });
});

test("a folder that the host refuses is one failure, and the rest is mirrored", async () => {
  const admitBytes = (name: string, _bytes: number, what: string): undefined => {
    if (what === "directory" && name === "d") throw new SyncError("ERR_QUOTA", "too many folders");
  };
  const { at, connect } = host({ admitBytes });
  const folder = tempFolder();
  make(folder, { d: null, e: null, f: "1" });
  await expect(mirrorOnce(folder, connect)).rejects.toMatchObject({
    failures: [{ path: "d", code: "ERR_QUOTA", message: "too many folders" }],
  });
  expect(fs.readdirSync(at).sort()).toEqual(["e", "f"]);
});
