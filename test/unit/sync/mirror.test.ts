import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MirrorEvent } from "../../../src/sync/index.js";
import { MAX_INLINE_BYTES } from "../../../src/sync/limits.js";
import { contents, make, mirrorOnce, ofType, tcpHome, tempFolder, testHome } from "../../support/sync-rig.js";

const MIB = 1024 * 1024;

function noise(bytes: number, seed = 1): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state ^ (state >>> 13);
  }
  return Buffer.from(words.buffer).subarray(0, bytes);
}

function setTime(folder: string, name: string, seconds: number): void {
  const full = path.join(folder, name);
  fs.utimesSync(full, new Date(seconds * 1000), new Date(seconds * 1000));
}

const synced = (events: readonly MirrorEvent[]) => ofType(events, "synced").at(-1);

describe.each(["memory", "TCP"])("mirror once, over %s", (over) => {
  const rigged = async () => {
    if (over === "TCP") {
      const rig = await tcpHome();
      return { ...rig, open: rig.dial };
    }
    const rig = testHome();
    return { ...rig, open: () => rig.connect() };
  };

  test("every kind of content arrives as it is", async () => {
    const { open, at, staged } = await rigged();
    const folder = tempFolder();
    make(folder, {
      "a/b/c/deep": "deep",
      "an empty folder/in another": null,
      empty: "",
      large: noise(3 * MIB + 17),
      "exactly inline": noise(MAX_INLINE_BYTES),
      "run.sh": { content: "#!/bin/sh", executable: true },
      "link to a file": { link: "empty" },
      "link to a folder": { link: "a" },
      "link to nowhere": { link: "../../nowhere" },
      'it\'s "quoted"': "q",
      "new\nline": "n",
      "emoji 😀👩‍👩‍👧": "e",
      "\u00e9 composed": "NFC",
      "e\u0301 decomposed": "NFD",
      ".hidden/.x": "h",
      "back~": "not a temporary file",
      ".x.swp": "nor this",
    });
    setTime(folder, "empty", -86_400 * 365 * 5);
    setTime(folder, "run.sh", 4_102_444_800);
    fs.utimesSync(path.join(folder, "large"), 1_700_000_000.123456, 1_700_000_000.123456);
    const events = await mirrorOnce(folder, open);
    expect(contents(at())).toEqual(contents(folder));
    expect(staged()).toEqual([]);
    expect(synced(events)).toMatchObject({ files: 13, deleted: 0, failed: 0 });

    const again = await mirrorOnce(folder, open);
    expect(synced(again)).toMatchObject({ files: 0, bytesSent: 0, deleted: 0 });
    expect(ofType(again, "pushed")).toEqual([]);
  });

  test("deletions, and replacements of files, folders and links by each other", async () => {
    const { open, at } = await rigged();
    const folder = tempFolder();
    make(folder, {
      "file to folder": "x",
      "folder to file/with/things": "x",
      "link to file": { link: "x" },
      "link to folder": { link: "folder to file" },
      "file to link": "x",
      "folder to link/deep/er": "x",
      "gone/with/all": "x",
      stays: "x",
    });
    await mirrorOnce(folder, open);
    for (const name of fs.readdirSync(folder))
      if (name !== "stays") fs.rmSync(path.join(folder, name), { recursive: true });
    make(folder, {
      "file to folder/inside": "y",
      "folder to file": "y",
      "link to file": "y",
      "link to folder/inside": "y",
      "file to link": { link: "y" },
      "folder to link": { link: "y" },
    });
    await mirrorOnce(folder, open);
    expect(contents(at())).toEqual(contents(folder));
    fs.rmSync(path.join(folder), { recursive: true });
    fs.mkdirSync(folder);
    const events = await mirrorOnce(folder, open, { allowMassDelete: true });
    expect(contents(at())).toEqual({});
    expect(synced(events)).toMatchObject({ deleted: 9, entries: 0 });
  });
});

describe("mirror once", () => {
  test("only what differs is sent: content, time, executable bit", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { same: "same", edited: "before", chmodded: "x", touched: "y" });
    await mirrorOnce(folder, () => connect());
    const { ino } = fs.statSync(path.join(at(), "chmodded"));
    fs.writeFileSync(path.join(folder, "edited"), "after!");
    setTime(folder, "edited", 1_600_000_000);
    fs.chmodSync(path.join(folder, "chmodded"), 0o755);
    setTime(folder, "touched", 1_500_000_000);
    const events = await mirrorOnce(folder, () => connect());
    expect(contents(at())).toEqual(contents(folder));
    expect(ofType(events, "pushed").map(({ path: name, bytes }) => [name, bytes])).toEqual(
      expect.arrayContaining([
        ["edited", 6],
        ["chmodded", 0],
        ["touched", 1],
      ]),
    );
    expect(ofType(events, "pushed")).toHaveLength(3);
    expect(fs.statSync(path.join(at(), "chmodded")).ino).toBe(ino);
  });

  test("a dry run says what would be done, and does nothing", async () => {
    const { connect, dir } = testHome();
    const folder = tempFolder();
    make(folder, { "a/f": "12345" });
    const events = await mirrorOnce(folder, () => connect(), { dryRun: true });
    expect(ofType(events, "planned")).toMatchObject([
      {
        files: 1,
        bytes: 5,
        steps: [
          { do: "mkdir", path: "a" },
          { do: "put", path: "a/f" },
        ],
      },
    ]);
    expect(fs.readdirSync(dir).filter((name) => name !== ".confundo")).toEqual([]);
  });

  test("without delete nothing is lost; ignored things are left alone on both sides", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { f: "1", "x.log": "not sent" });
    make(at(), { extra: "stays", "old/y.log": "stays", "old/z": "stays too" });
    await mirrorOnce(folder, () => connect(), { delete: false, ignore: ["*.log"] });
    expect(Object.keys(contents(at()))).toEqual(["extra", "f", "old", "old/y.log", "old/z"]);
    await mirrorOnce(folder, () => connect(), { ignore: ["*.log"] });
    expect(Object.keys(contents(at()))).toEqual(["f", "old", "old/y.log"]);
  });

  test("what the system will not let us look at is named, and not deleted at the destination", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { open: "y" });
    // Deeper than a path can be long: no permission in the way that root would not have.
    const name = "x".repeat(200);
    const deeper = `i=0; while [ $i -lt 20 ]; do mkdir ${name} && cd -P ${name}; i=$((i+1)); done; mkdir ${"y".repeat(70)}`;
    execFileSync("sh", ["-c", deeper], { cwd: folder, env: { PATH: process.env.PATH, PWD: folder } });
    onTestFinished(() => void execFileSync("rm", ["-rf", at(), path.join(folder, name)]));
    await expect(mirrorOnce(folder, () => connect())).rejects.toMatchObject({
      code: "ERR_INCOMPLETE",
      failures: expect.arrayContaining([expect.objectContaining({ code: "ENAMETOOLONG" })]),
    });
    expect(fs.readdirSync(at()).sort()).toEqual(["open", name]);
  });

  test("what is in the way at the destination, time and again, is reported with its path and stops nothing else", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { "a/blocked": "x", "b/fine": "y", blocked: "z" });
    let times = 0;
    const events: MirrorEvent[] = [];
    const tapped = mirrorOnce(folder, () => connect(), {
      ignore: (name) => {
        // Right after the comparison, something that nobody knows of takes the place.
        if (name !== "b/fine") return false;
        fs.rmSync(path.join(at(), "blocked"), { recursive: true, force: true });
        make(at(), { [`blocked/by ${++times}`]: "!" });
        return false;
      },
      backoff: { firstMs: 1, mostMs: 1 },
    });
    await tapped
      .then((all) => events.push(...all))
      .catch((error) => {
        expect(error).toMatchObject({ code: "ERR_INCOMPLETE", failures: [{ path: "blocked", code: "EISDIR" }] });
      });
    expect(events).toEqual([]);
    expect(Object.keys(contents(at()))).toEqual(["a", "a/blocked", "b", "b/fine", "blocked", `blocked/by ${times}`]);
  });

  test("what is in the way at the destination once goes", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { "a/blocked": "x", "b/fine": "y", blocked: "z" });
    let tampers = true;
    const events = await mirrorOnce(folder, () => connect(), {
      ignore: (name) => {
        if (name === "b/fine" && tampers) make(at(), { "blocked/by a folder": "!" });
        tampers &&= name !== "b/fine";
        return false;
      },
    });
    expect(ofType(events, "retrying")).toMatchObject([{ code: "ERR_DIVERGED" }]);
    expect(contents(at())).toEqual(contents(folder));
  });

  test("a missing folder, a bad name", async () => {
    const { connect } = testHome();
    await expect(mirrorOnce("/no/such/folder", () => connect())).rejects.toMatchObject({ code: "ERR_FOLDER" });
    for (const name of ["", ".confundo", "..", "a/b", "con", "x".repeat(201), "a\nb"]) {
      await expect(mirrorOnce(tempFolder(), () => connect(), { name })).rejects.toMatchObject({
        code: expect.stringMatching(/ERR_MIRROR_NAME|ERR_LIMIT/),
      });
    }
  });

  test("thousands of small files in few writes, over a stream that takes little at a time", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    for (let i = 0; i < 2000; i++) make(folder, { [`d${i % 40}/f${i}`]: `content of ${i}` });
    const events = await mirrorOnce(folder, () => connect({ highWaterMark: 512 }));
    expect(synced(events)).toMatchObject({ files: 2000, failed: 0 });
    expect(contents(at())).toEqual(contents(folder));
  });

  test("more large files than may be on their way at once", async () => {
    const { connect, at, staged } = testHome();
    const folder = tempFolder();
    for (let i = 0; i < 150; i++) make(folder, { [`f${i}`]: noise(MAX_INLINE_BYTES + 1 + i, i + 1) });
    const events = await mirrorOnce(folder, () => connect());
    expect(synced(events)).toMatchObject({ files: 150, failed: 0 });
    expect(contents(at())).toEqual(contents(folder));
    expect(staged()).toEqual([]);
  });

  test("a file that changes while it is read is sent again until one version has arrived", async () => {
    const folder = tempFolder();
    make(folder, { large: noise(4 * MIB), small: "x" });
    const { connect, at, staged } = testHome();
    let changes = 0;
    const onClientBytes = (bytes: number): void => {
      if (bytes < (changes + 1) * 2 * MIB || changes === 3) return;
      changes++;
      const fd = fs.openSync(path.join(folder, "large"), "r+");
      fs.writeSync(fd, `version ${changes}`, changes * 1000);
      if (changes === 2) fs.ftruncateSync(fd, 3 * MIB);
      fs.closeSync(fd);
    };
    const events = await mirrorOnce(folder, () => connect({ onClientBytes }));
    expect(changes).toBe(3);
    expect(contents(at())).toEqual(contents(folder));
    expect(ofType(events, "pushed").filter((event) => event.path === "large")).toHaveLength(1);
    expect(staged()).toEqual([]);
  });

  test("a file that is deleted, and one that becomes a link, while it is read", async () => {
    const folder = tempFolder();
    const outside = tempFolder();
    make(outside, { secret: "do not follow" });
    make(folder, { goes: noise(2 * MIB), turns: noise(2 * MIB) });
    const { connect, at } = testHome();
    let done = false;
    const onClientBytes = (bytes: number): void => {
      if (done || bytes < MIB) return;
      done = true;
      fs.rmSync(path.join(folder, "goes"));
      fs.rmSync(path.join(folder, "turns"));
      make(folder, { turns: { link: path.join(outside, "secret") } });
    };
    await mirrorOnce(folder, () => connect({ onClientBytes }));
    expect(contents(at())).toEqual({ turns: `link to ${path.join(outside, "secret")}` });
  });

  test("a file that changes whenever some of it is sent arrives as it was at one moment", async () => {
    const folder = tempFolder();
    make(folder, { restless: noise(MIB), calm: "x" });
    const { connect, at, staged } = testHome();
    const onClientBytes = (): void => fs.appendFileSync(path.join(folder, "restless"), "!");
    await mirrorOnce(folder, () => connect({ onClientBytes }), { settleMs: 0 });
    const arrived = fs.readFileSync(path.join(at(), "restless"));
    expect(arrived.equals(fs.readFileSync(path.join(folder, "restless")).subarray(0, arrived.length))).toBe(true);
    expect(arrived.length).toBeGreaterThan(MIB);
    expect(Object.keys(contents(at()))).toEqual(["calm", "restless"]);
    expect(staged()).toEqual([]);
  });

  test("a rewrite that is undone in size and time is noticed while reading", async () => {
    const folder = tempFolder();
    make(folder, { sneaky: noise(2 * MIB) });
    setTime(folder, "sneaky", 1_600_000_000);
    const { connect, at } = testHome();
    let done = false;
    const onClientBytes = (bytes: number): void => {
      if (done || bytes < MIB) return;
      done = true;
      fs.writeFileSync(path.join(folder, "sneaky"), noise(2 * MIB, 2));
      setTime(folder, "sneaky", 1_600_000_000);
    };
    await mirrorOnce(folder, () => connect({ onClientBytes }));
    expect(done).toBe(true);
    expect(contents(at())).toEqual(contents(folder));
  });
});

describe("a connection that breaks", () => {
  test("is opened again; a large file goes on where it was, and what arrived is not sent again", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, { "a small one": "x", large: noise(8 * MIB) });
    let written = 0;
    const connect = () =>
      rig.connect({
        onClientBytes: (bytes, pair) => {
          written = Math.max(written, bytes);
          if (rig.pairs.length === 1 && bytes > 5 * MIB) pair.cut();
        },
      });
    const events = await mirrorOnce(folder, connect, { backoff: { firstMs: 1 } });
    expect(ofType(events, "retrying")).toMatchObject([{ attempt: 2, code: "ERR_CONNECTION_LOST" }]);
    expect(ofType(events, "connected").map(({ reconnected }) => reconnected)).toEqual([false, true]);
    const [resumed] = ofType(events, "resumed");
    expect(resumed).toMatchObject({ path: "large", size: 8 * MIB });
    expect(resumed?.offset).toBeGreaterThan(3 * MIB);
    const stored = rig.events.filter((event) => event.type === "stored" && event.path === "a small one");
    expect(stored).toHaveLength(1);
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(rig.staged()).toEqual([]);
  });

  test("at any moment leaves only whole files, and the next run finishes", async () => {
    const rig = testHome();
    const folder = tempFolder();
    for (let i = 0; i < 60; i++) make(folder, { [`d${i % 5}/f${i}`]: noise(3000 * i, i + 1) });
    const total = 60 * 59 * 1500;
    const whole = contents(folder);
    for (let cutAt = 1; cutAt < 12; cutAt++) {
      const connect = () => rig.connect({ onClientBytes: (bytes, pair) => bytes > (total / 12) * 2 && pair.cut() });
      const failure = await mirrorOnce(folder, connect, { backoff: { attempts: 1 } }).catch((error) => error);
      if (Array.isArray(failure)) break;
      expect(failure).toMatchObject({ code: expect.stringMatching(/ERR_CONNECT/) });
      for (const [name, what] of Object.entries(contents(rig.at()))) expect(what, name).toBe(whole[name]);
    }
    expect(contents(rig.at())).toEqual(whole);
  });

  test("a partial file that rotted is noticed and sent anew", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, { large: noise(4 * MIB) });
    const cutting = () => rig.connect({ onClientBytes: (bytes, pair) => bytes > 2 * MIB && pair.cut() });
    await expect(mirrorOnce(folder, cutting, { backoff: { attempts: 1 } })).rejects.toMatchObject({ retryable: true });
    await expect.poll(() => rig.home.sessions).toBe(0);
    const [partial] = rig.staged();
    fs.writeFileSync(path.join(rig.dir, ".confundo/staging/m", partial ?? ""), noise(MIB, 9));
    const events = await mirrorOnce(folder, () => rig.connect());
    expect(ofType(events, "resumed")).toMatchObject([{ offset: MIB }]);
    expect(contents(rig.at())).toEqual(contents(folder));
    expect(rig.staged()).toEqual([]);
  });

  test("attempts that get nowhere end with the reason; mistakes and refusals are not tried again", async () => {
    const folder = tempFolder();
    let attempts = 0;
    const refuse = () => {
      attempts++;
      return Promise.reject(Object.assign(new Error("nobody there"), { code: "ECONNREFUSED" }));
    };
    await expect(mirrorOnce(folder, refuse, { backoff: { firstMs: 1, attempts: 4 } })).rejects.toMatchObject({
      code: "ERR_CONNECT",
      message: "nobody there",
    });
    expect(attempts).toBe(4);
    const mistake = () => {
      attempts++;
      throw new RangeError("bad port");
    };
    await expect(mirrorOnce(folder, mistake)).rejects.toThrow("bad port");
    expect(attempts).toBe(5);
  });
});
