/** Disks that cannot write what they took: nothing of it may be acknowledged, now or by a later session. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { Commits, type Placed } from "../../../src/sync/commit.js";
import { type FileLayer, SYSTEM_FILES } from "../../../src/sync/file-layer.js";
import { FEW_FLUSHES, FLUSH_EVERY_BYTES } from "../../../src/sync/limits.js";
import { Storage } from "../../../src/sync/storage.js";
import { Upload } from "../../../src/sync/upload.js";
import { tempFolder, until } from "../../support/sync-rig.js";

const EIO = Object.assign(new Error("i/o error"), { code: "EIO" });

/** A storage whose flushes wait until the test has them end. */
function rig(layer: Partial<FileLayer> = {}) {
  const dir = tempFolder();
  const flushes: { readonly fd: number; readonly end: (error?: Error) => void }[] = [];
  const files: FileLayer = {
    ...SYSTEM_FILES,
    canSyncfs: () => true,
    syncfs: (fd) =>
      new Promise((resolve, reject) =>
        flushes.push({ fd, end: (error) => (error === undefined ? resolve() : reject(error)) }),
      ),
    ...layer,
  };
  const staging = path.join(dir, "staging");
  const storage = new Storage(path.join(dir, "m"), staging, { files });
  storage.prepare();
  const outcomes: Record<string, unknown> = {};
  let busy = false;
  const commits = new Commits({
    storage,
    onDone: async (group) => {
      for (const { id } of group) outcomes[`step ${id}`] = "done";
    },
    onFail: ({ id }, error) => {
      outcomes[`step ${id}`] = error;
    },
    onBusy: (now) => {
      busy = now;
    },
  });
  const stage = (name: string): void => {
    const content = Buffer.from(name);
    const sha256 = createHash("sha256").update(content).digest();
    const file = storage.stageSmall({
      type: "file",
      id: 0,
      path: name,
      mtimeNs: 0n,
      executable: false,
      sha256,
      content,
    } as never);
    commits.stage({ file, place: (error) => (outcomes[name] = error ?? "durable") });
  };
  const add = (id: number): void => commits.add({ id, folders: [""], event: undefined } satisfies Placed);
  const many = Array.from({ length: FEW_FLUSHES + 1 }, (_, i) => `file ${i}`);
  return { dir, staging, storage, flushes, outcomes, stage, add, many, isBusy: () => busy };
}

describe("after a flush of the file system that failed", () => {
  test("what was written until it ended fails too, and what comes later does not", async () => {
    const { flushes, outcomes, stage, add, many, isBusy } = rig();
    for (const name of many) stage(name);
    await until(() => flushes.length === 1);
    stage("written meanwhile");
    add(1);
    flushes[0]?.end(EIO);
    await until(() => !isBusy());
    expect(outcomes).toEqual(Object.fromEntries([...many, "written meanwhile", "step 1"].map((name) => [name, EIO])));
    for (const name of many) stage(`${name} again`);
    await until(() => flushes.length === 2);
    flushes[1]?.end();
    await until(() => !isBusy());
    for (const name of many) expect(outcomes[`${name} again`]).toBe("durable");
  });

  const onLinux = test.runIf(process.platform === "linux");
  onLinux("it is told to the descriptor that was open before anything was written, until all is durable", async () => {
    const { flushes, stage, many, isBusy, storage } = rig();
    const open = (): string[] => fs.readdirSync("/proc/self/fd").map((fd) => place(fd));
    const place = (fd: string | number): string => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    };
    stage(many[0] as string);
    expect(open()).toContain(storage.root);
    for (const name of many.slice(1)) stage(name);
    await until(() => flushes.length === 1);
    for (const name of many) stage(`${name} again`);
    flushes[0]?.end();
    await until(() => flushes.length === 2);
    expect(flushes[1]?.fd).toBe(flushes[0]?.fd);
    flushes[1]?.end();
    await until(() => !isBusy());
    expect(open()).not.toContain(storage.root);
  });
});

test("where files are flushed one by one, none is closed before its flush has ended", async () => {
  const ends: (() => void)[] = [];
  let failed = 0;
  const { outcomes, stage, isBusy } = rig({
    fdatasync: async (fd) => {
      if (failed++ === 0) throw EIO;
      await new Promise<void>((resolve) => ends.push(resolve));
      fs.fstatSync(fd);
    },
  });
  for (const name of ["a", "b", "c"]) stage(name);
  await until(() => ends.length === 2);
  expect(outcomes).toEqual({});
  for (const end of ends) end();
  await until(() => !isBusy());
  expect(outcomes).toEqual({ a: EIO, b: EIO, c: EIO });
});

describe("a large file that could not be flushed", () => {
  const file = { path: "f", size: 4 * FLUSH_EVERY_BYTES, mtimeNs: 1n, executable: false };
  const block = Buffer.alloc(1 << 20, 7);

  test("is deleted when its session ends, so that no other goes on from it", async () => {
    const { storage, staging } = rig({ fdatasync: () => Promise.reject(EIO) });
    const upload = new Upload(storage, file);
    const writing: Promise<void>[] = [];
    for (let bytes = 0; bytes < FLUSH_EVERY_BYTES; bytes += block.length) writing.push(upload.write(block));
    await Promise.all(writing);
    await upload.close();
    expect(fs.readdirSync(staging)).toEqual([]);
    expect(storage.openIncoming(file).have).toBe(0);
  });

  test("fails at its end, and is deleted before anything else happens", async () => {
    const { storage, staging } = rig({ fsync: () => Promise.reject(EIO) });
    const upload = new Upload(storage, { ...file, size: block.length });
    await upload.write(block);
    await expect(upload.finish(createHash("sha256").update(block).digest())).rejects.toBe(EIO);
    expect(fs.readdirSync(staging)).toEqual([]);
    await upload.abort();
  });

  test("stays where all was flushed, or nothing was to be", async () => {
    const { storage, staging } = rig();
    const upload = new Upload(storage, file);
    await upload.write(block);
    await upload.close();
    expect(fs.readdirSync(staging)).toHaveLength(1);
  });
});
