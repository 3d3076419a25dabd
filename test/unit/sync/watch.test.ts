import { once } from "node:events";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";
import * as chokidar from "chokidar";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { FolderWatch, type Watched } from "../../../src/sync/folder-watch.js";
import { type Hint, type WatchOptions, watchFolder } from "../../../src/sync/index.js";
import { aliases, devicesBelow, mountsBelow, parseMounts } from "../../../src/sync/mounts.js";
import { TreeWatch } from "../../../src/sync/tree-watch.js";
import { make, tempFolder, until } from "../../support/sync-rig.js";

afterEach(() => {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});

/** chokidar imports the function by its name. */
function limitWatches(left: number): () => void {
  const real = fs.watch;
  const limited = vi.spyOn(fs, "watch").mockImplementation(((...args: Parameters<typeof fs.watch>) => {
    if (left-- > 0) return real(...args);
    throw Object.assign(new Error("System limit for number of file watchers reached"), { code: "ENOSPC" });
  }) as typeof fs.watch);
  syncBuiltinESMExports();
  return () => {
    limited.mockRestore();
    syncBuiltinESMExports();
  };
}

/** Watches with a backend; what was hinted at, and a promise of it being ready. */
async function watching(folder: string, options: WatchOptions) {
  const hints: Hint[] = [];
  const subscription = watchFolder(folder, options).subscribe((hint) => hints.push(hint));
  onTestFinished(() => subscription.unsubscribe());
  await until(() => hints.some(({ ready }) => ready));
  const named = (...paths: string[]): Promise<void> =>
    until(() => paths.every((name) => hints.some((hint) => hint.path === name)));
  return { hints, named, subscription };
}

test("a folder that is missing is said to be so, and watched from when it is there", async () => {
  const folder = path.join(tempFolder(), "later");
  const hints: Hint[] = [];
  const subscription = watchFolder(folder).subscribe((hint) => hints.push(hint));
  onTestFinished(() => subscription.unsubscribe());
  expect(hints).toEqual([{ folder, path: "", reason: `${folder} is missing`, code: "ERR_FOLDER" }]);
  make(folder, { a: "1" });
  await until(() => hints.some(({ ready }) => ready));
  make(folder, { b: "2" });
  await until(() => hints.some(({ path: name }) => name === "b"));
});

describe("a watcher of the program's own", () => {
  test("gives the hints, and is left as it was", async () => {
    const folder = tempFolder();
    make(folder, { a: "1", "ignored/x": "x" });
    const watcher = chokidar.watch(folder, { ignoreInitial: true });
    onTestFinished(() => watcher.close());
    await once(watcher, "ready");
    const { hints, named, subscription } = await watching(folder, { watcher, ignore: (name) => /ignored/.test(name) });
    make(folder, { "ignored/y": "y", b: "2" });
    await named("b");
    expect(hints.filter(({ path: name }) => name.startsWith("ignored"))).toEqual([]);
    subscription.unsubscribe();
    const later = once(watcher, "all");
    make(folder, { c: "3" });
    await later;
    expect(watcher.closed).toBe(false);
    expect(watcher.listenerCount("all")).toBe(0);
  });

  test("may have a working folder, become ready later, and fail", async () => {
    const folder = tempFolder();
    make(folder, { "deep/a": "1" });
    const watcher = chokidar.watch("deep", { ignoreInitial: true, cwd: folder });
    onTestFinished(() => watcher.close());
    const { hints, named } = await watching(folder, { watcher });
    make(folder, { "deep/b": "2" });
    await named("deep/b");
    watcher.emit("error", Object.assign(new Error("no"), { code: "EACCES" }));
    expect(hints.at(-1)).toMatchObject({ path: "", code: "EACCES" });
  });
});

describe.each(["folders", "chokidar"] as const)("the real watcher, by %s", (backend) => {
  test.runIf(process.platform === "linux" || backend === "chokidar")(
    "names what changes: in new folders too, below moved ones, with names that look temporary, links to nowhere",
    async () => {
      const folder = tempFolder();
      make(folder, { "a/b/c": "1", d: "2" });
      const { hints, named, subscription } = await watching(folder, { backend, ignore: (name) => name === "ignored" });
      make(folder, { "a/b/c": "changed", "back~": "x", ".x.swp": "x", dangling: { link: "nowhere" } });
      make(folder, { "new/deep/er": "x", "ignored/x": "x" });
      await named("a/b/c", "back~", ".x.swp", "dangling", "new");
      fs.renameSync(path.join(folder, "a"), path.join(folder, "moved"));
      await named("moved");
      await until(() => {
        make(folder, { "moved/b/later": `${hints.length}`, "new/deep/later": "x" });
        return ["moved/b/later", "new/deep/later"].every((name) => hints.some((hint) => hint.path === name));
      });
      fs.rmSync(path.join(folder, "d"));
      await named("d");
      expect(hints.filter(({ path: name }) => name.startsWith("ignored"))).toEqual([]);
      subscription.unsubscribe();
      const before = hints.length;
      make(folder, { after: "x" });
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(hints.length).toBe(before);
    },
  );
});

describe.runIf(process.platform === "linux").each([
  ["FolderWatch", FolderWatch],
  ["TreeWatch", TreeWatch],
] as const)("watching folders by %s", (_, Watch) => {
  function watch(root: string, queueEvents = 16_384, refreshMs = 60_000) {
    const hints: string[] = [];
    const told: Watched[] = [];
    const watcher = new Watch(root, {
      ignore: () => false,
      queueEvents,
      refreshMs,
      onHint: (name) => hints.push(name),
      onWatching: (found) => told.push(found),
      onMounts: () => {},
    });
    onTestFinished(() => watcher.close());
    return { watcher, hints, told, ready: () => until(() => told.length > 0) };
  }

  test("thousands of files created while the event loop is blocked: that the system may have dropped events is known", async () => {
    const root = tempFolder();
    make(root, { "d/x": "" });
    const { told, ready } = watch(root);
    await ready();
    for (let i = 0; i < 5000; i++) fs.writeFileSync(path.join(root, "d", `f${i}`), "x");
    await until(() => told.length > 1);
    expect(told[1]).toMatchObject({ reason: "more events at once than the system keeps", folders: 2, unwatched: 0 });
  });

  test("folders that no event has named are found and watched when all are gone through", async () => {
    const root = tempFolder();
    const { watcher, hints, told, ready } = watch(root, 40);
    await ready();
    for (let i = 0; i < 30; i++) make(root, { [`d${i}/f`]: "x" });
    await until(() => told.some(({ reason }) => reason?.startsWith("more events") ?? false));
    expect(told.at(-1)?.folders).toBe(31);
    make(root, { "d29/later": "x" });
    await until(() => hints.includes("d29/later"));
    watcher.refresh("a test");
    await until(() => told.at(-1)?.reason === "a test");
    expect(told.at(-1)).toMatchObject({ folders: 31, unwatched: 0 });
  });

  test("a folder that is replaced by another one, and one that comes back in the place of a file, are watched", async () => {
    const root = tempFolder();
    make(root, { "a/f": "x", "b/g": "x" });
    const { hints, ready } = watch(root);
    await ready();
    for (let round = 0; round < 5; round++) {
      fs.rmSync(path.join(root, "a"), { recursive: true });
      if (round % 2 === 1) fs.writeFileSync(path.join(root, "a"), "a file");
      fs.rmSync(path.join(root, "a"), { force: true });
      make(root, { "a/sub/f": "y" });
      await until(() => hints.includes("a"));
      hints.length = 0;
      await until(() => {
        fs.appendFileSync(path.join(root, "a/sub/f"), "more");
        return hints.includes("a/sub/f");
      });
    }
  });

  test("where watches run out, the rest goes on, how many are without is told, and it is tried again", async () => {
    const root = tempFolder();
    for (let i = 0; i < 10; i++) make(root, { [`d${i}/f`]: "x" });
    const restore = limitWatches(4);
    const { told, ready } = watch(root, 16_384, 30);
    await ready();
    expect(told[0]).toEqual({ reason: undefined, folders: 4, unwatched: 7, code: "ENOSPC" });
    restore();
    await until(() => told.at(-1)?.folders === 11);
    expect(told.at(-1)).toMatchObject({ reason: "folders that were not watched", unwatched: 0 });
  });

  test("folders whose names are not UTF-8 or have backslashes are watched, and their files named by their bytes", async () => {
    const root = tempFolder();
    const odd = Buffer.from(`${root}/od\xe9d`, "latin1");
    fs.mkdirSync(odd);
    make(root, { "back\\slash/f": "x", "back/slash/f": "x" });
    const { hints, ready } = watch(root);
    await ready();
    await until(() => {
      fs.writeFileSync(Buffer.concat([odd, Buffer.from("/f\xff", "latin1")]), `${hints.length}`);
      return hints.includes("od\udce9d/f\udcff");
    });
    await until(() => {
      fs.appendFileSync(path.join(root, "back\\slash/f"), "more");
      return hints.includes("back\\slash/f");
    });
    expect(hints).not.toContain("back/slash/f");
    fs.mkdirSync(Buffer.from(`${root}/n\xe9w`, "latin1"));
    await until(() => {
      fs.writeFileSync(Buffer.from(`${root}/n\xe9w/f`, "latin1"), `${hints.length}`);
      return hints.includes("n\udce9w/f");
    });
  });

  test("folders swapped by renames: each change is named at the path where it is now", async () => {
    const root = tempFolder();
    make(root, { "a/sub/inA": "x", "b/sub/inB": "x" });
    const { hints, ready } = watch(root);
    await ready();
    for (let round = 0; round < 10; round++) {
      fs.renameSync(path.join(root, "a"), path.join(root, "c"));
      fs.renameSync(path.join(root, "b"), path.join(root, "a"));
      fs.renameSync(path.join(root, "c"), path.join(root, "b"));
    }
    hints.length = 0;
    await until(() => {
      fs.appendFileSync(path.join(root, "a/sub/inA"), "more");
      fs.appendFileSync(path.join(root, "b/sub/inB"), "more");
      return ["a/sub/inA", "b/sub/inB"].every((name) => hints.includes(name));
    });
  });

  test("a deep tree that comes at once: what was written before its folders were watched is looked at", async () => {
    const root = tempFolder();
    const { hints, ready } = watch(root);
    await ready();
    const there = (): boolean =>
      Array.from({ length: 50 }, (_, i) => i).every((i) =>
        hints.some((hint) => `new/d${i}/e/f`.startsWith(`${hint}/`) || hint === `new/d${i}/e/f`),
      );
    for (let i = 0; i < 50; i++) make(root, { [`new/d${i}/e/f`]: "x" });
    await until(there);
    await until(() => {
      make(root, { "new/d49/e/later": `${hints.length}` });
      return hints.includes("new/d49/e/later");
    });
  });
});

describe.runIf(process.platform === "linux")("where nothing can be watched", () => {
  test.each(["folders", "chokidar"] as const)(
    "by %s: no watches left is said in words, with the setting that allows more",
    async (backend) => {
      limitWatches(0);
      const { hints } = await watching(tempFolder(), { backend });
      const [first] = hints.filter(({ code }) => code !== undefined);
      expect(first).toMatchObject({ path: "", code: "ENOSPC" });
      expect(first?.reason).toMatch(
        /^the system has no watches left for 1 of 1 folders: the whole folder is walked every 5 s instead; sysctl fs\.inotify\.max_user_watches=\d+ allows more$/,
      );
    },
  );
});

describe("mounts", () => {
  const all = parseMounts(
    [
      "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
      "21 20 8:1 /home/ann/data /srv/data rw - ext4 /dev/sda1 rw",
      "22 20 8:2 / /mnt/with\\040blank rw - ext4 /dev/sdb1 rw",
      "23 22 8:2 /sub /home/ann/data/inner rw - ext4 /dev/sdb1 rw",
    ].join("\n"),
  );

  test("below a folder are found, with their names as they are", () => {
    expect(mountsBelow("/home/ann", all)).toEqual(["data/inner"]);
    expect(mountsBelow("/mnt", all)).toEqual(["with blank"]);
    expect(mountsBelow("/srv/data", all)).toEqual([]);
    expect(mountsBelow("/", all)).toEqual(["srv/data", "mnt/with blank", "home/ann/data/inner"]);
    expect(devicesBelow("/mnt", all)).toEqual(new Map([["with blank", "8:2"]]));
    // The later one hides the earlier one.
    const again = [...all, ...parseMounts("24 22 8:9 / /mnt/with\\040blank rw - ext4 /dev/sdc1 rw")];
    expect(devicesBelow("/mnt", again)).toEqual(new Map([["with blank", "8:9"]]));
  });

  test("other paths to a place, through bind mounts", () => {
    expect(aliases("/srv/data/x", all)).toEqual(["/home/ann/data/x"]);
    expect(aliases("/home/ann/data/x", all)).toEqual(["/srv/data/x"]);
    expect(aliases("/home/ann", all)).toEqual([]);
    expect(aliases("/mnt/with blank/sub/y", all)).toEqual(["/home/ann/data/inner/y"]);
    expect(aliases("/home/ann/data/inner", all)).toEqual(["/mnt/with blank/sub"]);
  });
});
