import fs from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { FolderWatch, type Watched } from "../../../src/sync/folder-watch.js";
import { type Hint, type WatchOptions, watchFolder } from "../../../src/sync/index.js";
import { make, tempFolder, until } from "../../support/sync-rig.js";

afterEach(() => vi.restoreAllMocks());

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

describe.runIf(process.platform === "linux")("watching folders", () => {
  function watch(root: string, queueEvents = 16_384, refreshMs = 60_000) {
    const hints: string[] = [];
    const told: Watched[] = [];
    const watcher = new FolderWatch(root, {
      ignore: () => false,
      queueEvents,
      refreshMs,
      onHint: (name) => hints.push(name),
      onWatching: (found) => told.push(found),
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
    const real = fs.watch;
    let left = 4;
    const limited = vi.spyOn(fs, "watch").mockImplementation(((...args: Parameters<typeof fs.watch>) => {
      if (left-- > 0) return real(...args);
      throw Object.assign(new Error("System limit for number of file watchers reached"), { code: "ENOSPC" });
    }) as typeof fs.watch);
    const { told, ready } = watch(root, 16_384, 30);
    await ready();
    expect(told[0]).toEqual({ reason: undefined, folders: 4, unwatched: 7, code: "ENOSPC" });
    limited.mockRestore();
    await until(() => told.at(-1)?.folders === 11);
    expect(told.at(-1)).toMatchObject({ reason: "folders that were not watched", unwatched: 0 });
  });

  test("no watches left is said in words, with the setting that allows more", async () => {
    const limited = () => {
      throw Object.assign(new Error("no watches"), { code: "ENOSPC" });
    };
    vi.spyOn(fs, "watch").mockImplementation(limited as unknown as typeof fs.watch);
    const { hints } = await watching(tempFolder(), {});
    const [first] = hints.filter(({ code }) => code !== undefined);
    expect(first).toMatchObject({ path: "", code: "ENOSPC" });
    expect(first?.reason).toMatch(
      /^the system has no watches left for 1 of 1 folders: the whole folder is walked every 5 s instead; sysctl fs\.inotify\.max_user_watches=\d+ allows more$/,
    );
  });
});
