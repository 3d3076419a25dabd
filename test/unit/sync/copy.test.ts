import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { copyFile, type FileCopy } from "../../../src/sync/copy.js";
import {
  contents,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

const never = new AbortController().signal;

/** Runs `body` for ever in a process of its own, on `file` opened as `fd`, once it is running. */
async function scribbling(file: string, body: string): Promise<ChildProcess> {
  const program = `const fs = require("fs"); const fd = fs.openSync(process.argv[1], "r+"); let i = 0;
    const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    for (;;) { ${body}; if (i++ === 3) fs.writeSync(1, "."); }`;
  const child = spawn(process.execPath, ["-e", program, file], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  await once(child.stdout as NodeJS.ReadableStream, "data");
  return child;
}

/** Letters of one kind, then those of the next: a file that holds two kinds is torn. */
const REWRITE = `fs.writeSync(fd, Buffer.alloc(200_000, 97 + (i % 26)), 0, 200_000, 0); pause(4)`;
const APPEND = `fs.writeSync(fd, String(i).padStart(8) + "\\n", fs.fstatSync(fd).size); pause(1)`;

function contentOf(copy: FileCopy | undefined): Buffer {
  const fd = copy?.take() as number;
  const content = Buffer.alloc(copy?.entry.size as number);
  expect(fs.readSync(fd, content, 0, content.length, 0)).toBe(content.length);
  fs.closeSync(fd);
  return content;
}

describe("a copy", () => {
  test("of a file at rest is the version that is there; nothing of it has a name", async () => {
    const folder = tempFolder();
    const beside = tempFolder();
    make(folder, { f: "content", empty: "" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const copy = await copyFile(folder, "f", never, beside);
    expect(copy?.entry.version).toMatch(/\.(?!copied)/);
    expect(contentOf(copy).toString()).toBe("content");
    expect(contentOf(await copyFile(folder, "empty", never, beside)).length).toBe(0);
    expect(fs.readdirSync(beside)).toEqual([]);
    copy?.close();
  });

  test("of a file that is appended to all the time is what it was at one moment, and no version that is found later", async () => {
    const folder = tempFolder();
    make(folder, { log: "".padEnd(90_000, "old line\n") });
    await scribbling(path.join(folder, "log"), APPEND);
    const copy = await copyFile(folder, "log", never);
    expect(copy?.entry.version).toMatch(/\.copied$/);
    const content = contentOf(copy);
    expect(fs.readFileSync(path.join(folder, "log")).subarray(0, content.length).equals(content)).toBe(true);
    expect(content.length % 9).toBe(0);
  });

  test("is not to be had of what is no file", async () => {
    const folder = tempFolder();
    make(folder, { d: null, l: { link: "/etc/passwd" } });
    if (process.platform !== "win32") spawnSync("mkfifo", [path.join(folder, "pipe")]);
    for (const name of ["d", "l", "pipe", "missing"]) expect(await copyFile(folder, name, never)).toBeUndefined();
  });
});

describe("a file that never rests", () => {
  const oneLetter = (file: string): boolean => new Set(fs.readFileSync(file)).size === 1;

  test("is mirrored once, whole, and the rest too; the run ends", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { "a/f": "at rest", busy: Buffer.alloc(200_000, 97), log: "start\n" });
    await Promise.all([scribbling(path.join(folder, "busy"), REWRITE), scribbling(path.join(folder, "log"), APPEND)]);
    const events = await mirrorOnce(folder, () => connect());
    expect(ofType(events, "synced").at(-1)).toMatchObject({ failed: 0 });
    expect(fs.statSync(path.join(at(), "busy")).size).toBe(200_000);
    expect(oneLetter(path.join(at(), "busy"))).toBe(true);
    expect(fs.readFileSync(path.join(at(), "log"), "utf8").length).toBeGreaterThan(6);
  });

  test("is followed in versions of its own, and holds up nothing; when it rests at last, it is equal", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { busy: Buffer.alloc(200_000, 97) });
    const { events, seen } = follow(folder, () => connect());
    await event(events, "watching");
    const writer = await scribbling(path.join(folder, "busy"), REWRITE);
    const pushed = (): number => ofType(seen, "pushed").filter((one) => one.path === "busy").length;
    for (let version = 0; version < 3; version++) {
      const before = pushed();
      await until(() => pushed() > before);
      expect(oneLetter(path.join(at(), "busy"))).toBe(true);
    }
    make(folder, { other: "x" });
    await event(events, "pushed", (one) => one.path === "other");
    writer.kill("SIGKILL");
    await once(writer, "exit");
    await until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
    expect(ofType(seen, "failed")).toEqual([]);
  });
});
