import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { Subject } from "rxjs";
import { describe, expect, onTestFinished, test } from "vitest";
import { everything, type Hint } from "../../../src/sync/index.js";
import { contents, event, follow, make, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";
import { VirtualTime } from "../../support/virtual-time.js";

/** A watcher in the hands of the test: no event comes but those it sends. */
function ownWatcher() {
  const hints = new Subject<Hint>();
  let folder = "";
  let subscribed = 0;
  return {
    get subscribed() {
      return subscribed;
    },
    say: (...paths: string[]): void => {
      for (const name of paths) hints.next({ folder, path: name, reason: "change" });
    },
    fail: (code: string): void => hints.next({ ...everything(folder, "no watches left"), code }),
    watch: (watched: string) => {
      folder = watched;
      subscribed++;
      return hints;
    },
  };
}

describe("following with the real watcher", () => {
  test("edits, new things, renames, deletions, replacements", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { "a/f": "1", "b/g": "2", c: "3", l: { link: "c" } });
    const { events } = follow(folder, () => connect());
    await event(events, "watching");
    const arrived = (): Promise<void> =>
      until(() => JSON.stringify(contents(at())) === JSON.stringify(contents(folder)));
    await arrived();

    fs.writeFileSync(path.join(folder, "a/f"), "edited");
    await arrived();
    fs.appendFileSync(path.join(folder, "a/f"), " and more");
    make(folder, { "new/deep/er/file": "x", "new/empty": null, "~back~": "y", "e\u0301 é": "z" });
    await arrived();
    fs.renameSync(path.join(folder, "new"), path.join(folder, "renamed"));
    fs.renameSync(path.join(folder, "c"), path.join(folder, "b/c"));
    await arrived();
    fs.rmSync(path.join(folder, "renamed"), { recursive: true });
    fs.rmSync(path.join(folder, "a"), { recursive: true });
    fs.writeFileSync(path.join(folder, "a"), "a file now");
    fs.rmSync(path.join(folder, "l"));
    make(folder, { "l/is/a/folder": "now" });
    fs.chmodSync(path.join(folder, "b/g"), 0o755);
    await arrived();
    for (let i = 0; i < 20; i++) {
      fs.writeFileSync(path.join(folder, "swap.tmp"), `version ${i}`);
      fs.renameSync(path.join(folder, "swap.tmp"), path.join(folder, "swapped"));
    }
    await arrived();
    expect(fs.readFileSync(path.join(at(), "swapped"), "utf8")).toBe("version 19");
  });

  test("a burst of thousands of files", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    const { events } = follow(folder, () => connect());
    await event(events, "watching");
    for (let i = 0; i < 3000; i++) make(folder, { [`d${i % 30}/f${i}`]: `${i}` });
    const count = (): number => fs.readdirSync(at(), { recursive: true }).length;
    await until(() => count() === 3030);
    fs.rmSync(path.join(folder, "d7"), { recursive: true });
    await until(() => count() === 3030 - 101);
    expect(contents(at())).toEqual(contents(folder));
  });
});

describe("following", () => {
  test("a hint is only a hint: what a watcher names is looked up, with all that is near it", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    const watcher = ownWatcher();
    make(folder, { "a/f": "1" });
    const { events, seen } = follow(folder, () => connect(), { watch: watcher.watch });
    await event(events, "synced");
    // Named is a file whose folder nobody has heard of.
    make(folder, { "new/deep/file": "x", "new/other": "not named" });
    watcher.say("new/deep/file");
    await event(events, "pushed", (pushed) => pushed.path === "new/deep/file");
    expect(Object.keys(contents(at()))).toEqual(["a", "a/f", "new", "new/deep", "new/deep/file"]);
    // Named is something below what is a file by now, and a path that was never there.
    fs.rmSync(path.join(folder, "new"), { recursive: true });
    fs.writeFileSync(path.join(folder, "new"), "file");
    watcher.say("new/deep", "never/there");
    await until(() => fs.lstatSync(path.join(at(), "new"), { throwIfNoEntry: false })?.isFile() ?? false);
    expect(Object.keys(contents(at()))).toEqual(["a", "a/f", "new"]);
    expect(ofType(seen, "failed")).toEqual([]);
  });

  test("what a watcher named is looked at once more when it rests; what it never named, on a walk now and then", async () => {
    const { connect } = testHome();
    const folder = tempFolder();
    const watcher = ownWatcher();
    make(folder, { f: "1" });
    const options = { watch: watcher.watch, recheckMs: 60, walkEveryMs: 300, settleMs: 5 };
    const { events } = follow(folder, () => connect(), options);
    await event(events, "synced");
    make(folder, { g: "1" });
    watcher.say("g");
    await event(events, "pushed", (pushed) => pushed.path === "g");
    make(folder, { g: "22" });
    await event(events, "pushed", (pushed) => pushed.path === "g" && pushed.bytes === 2);
    make(folder, { unnamed: "x" });
    await event(events, "walking", ({ reason }) => reason === "a walk now and then");
    await event(events, "pushed", (pushed) => pushed.path === "unnamed");
  });

  test("a rewrite that keeps size and time is noticed", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    const watcher = ownWatcher();
    make(folder, { f: "before" });
    const old = new Date(1_600_000_000_000);
    fs.utimesSync(path.join(folder, "f"), old, old);
    const { events } = follow(folder, () => connect(), { watch: watcher.watch });
    await event(events, "synced");
    fs.writeFileSync(path.join(folder, "f"), "after!");
    fs.utimesSync(path.join(folder, "f"), old, old);
    watcher.say("f");
    await until(() => fs.readFileSync(path.join(at(), "f"), "utf8") === "after!");
  });

  test("a watcher that runs out of watches is reported with what would help", async () => {
    const { connect } = testHome();
    const watcher = ownWatcher();
    const { events } = follow(tempFolder(), () => connect(), { watch: watcher.watch });
    await event(events, "synced");
    watcher.fail("ENOSPC");
    await event(events, "notice", ({ code, message }) => code === "ENOSPC" && message === "no watches left");
    await event(events, "walking", ({ reason }) => reason === "no watches left");
  });

  test("a folder that vanishes deletes nothing, and is followed again when it is back", async () => {
    const { connect, at } = testHome();
    const parent = tempFolder();
    const folder = path.join(parent, "disk");
    make(folder, { f: "precious" });
    const watcher = ownWatcher();
    const { events } = follow(folder, () => connect(), { watch: watcher.watch, retryMs: 50 });
    await event(events, "synced");
    fs.renameSync(folder, path.join(parent, "unmounted"));
    watcher.say("f");
    await event(events, "notice", ({ code }) => code === "ERR_FOLDER");
    expect(Object.keys(contents(at()))).toEqual(["f"]);
    fs.renameSync(path.join(parent, "unmounted"), folder);
    make(folder, { g: "back" });
    await event(events, "pushed", (pushed) => pushed.path === "g");
  });

  test("what is in the way there, and nobody knew of, makes it compare anew", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    const watcher = ownWatcher();
    const { events } = follow(folder, () => connect(), { watch: watcher.watch, backoff: { firstMs: 10 } });
    await event(events, "synced");
    make(at(), { "f/in the way": "x" });
    make(folder, { f: "x" });
    watcher.say("f");
    await event(events, "retrying", ({ code }) => code === "ERR_DIVERGED");
    await event(events, "pushed", (pushed) => pushed.path === "f");
    expect(contents(at())).toEqual(contents(folder));
  });

  test("a lost connection is opened again with one watcher for all, and what happened meanwhile arrives", async () => {
    const rig = testHome();
    const folder = tempFolder();
    const watcher = ownWatcher();
    make(folder, { f: "1" });
    const { events, seen } = follow(folder, () => rig.connect(), { watch: watcher.watch, backoff: { firstMs: 20 } });
    await event(events, "synced");
    rig.pairs[0]?.cut();
    make(folder, { g: "meanwhile" });
    fs.rmSync(path.join(folder, "f"));
    await event(events, "connected", ({ reconnected }) => reconnected);
    await event(events, "deleted");
    await event(events, "pushed", (pushed) => pushed.path === "g");
    expect(Object.keys(contents(rig.at()))).toEqual(["g"]);
    expect(watcher.subscribed).toBe(1);
    expect(ofType(seen, "retrying")).toMatchObject([{ attempt: 2, delayMs: expect.any(Number) }]);
    for (const one of seen) expect(JSON.parse(JSON.stringify(one))).toEqual(one);
  });

  test("a server that goes and comes back on the same port", async () => {
    const folder = tempFolder();
    make(folder, { f: "1" });
    const dir = tempFolder();
    const start = async (port: number) => {
      const rig = testHome({ dir });
      const server = net.createServer({ allowHalfOpen: true }, (socket) => rig.home.handle(socket));
      await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
      onTestFinished(() => void server.close());
      return { rig, server, port: (server.address() as net.AddressInfo).port };
    };
    const first = await start(0);
    const dial = () => net.connect(first.port, "127.0.0.1");
    const { events } = follow(folder, dial, { watch: ownWatcher().watch, backoff: { firstMs: 20, mostMs: 40 } });
    await event(events, "synced");
    first.server.close();
    await first.rig.home.close();
    await event(events, "retrying", ({ code }) => code === "ERR_SERVER_CLOSING");
    await event(events, "retrying", ({ code }) => code === "ERR_CONNECT");
    make(folder, { g: "2" });
    await start(first.port);
    await event(events, "pushed", (pushed) => pushed.path === "g");
  });

  test("an idle mirror stays connected by its pings", async () => {
    using time = new VirtualTime();
    const rig = testHome({ pingMs: 20, silenceMs: 100 });
    const folder = tempFolder();
    const watcher = ownWatcher();
    const { scheduler, clocks } = time;
    const options = { watch: watcher.watch, pingMs: 20, silenceMs: 100, scheduler, clocks };
    const { events, seen, subscription } = follow(folder, () => rig.connect(), options);
    await time.run(event(events, "synced"));
    await time.run(new Promise((resolve) => setTimeout(resolve, 4000)));
    make(folder, { f: "still there" });
    watcher.say("f");
    await time.run(event(events, "pushed"));
    subscription.unsubscribe();
    expect(ofType(seen, "retrying")).toEqual([]);
    expect(rig.events.filter(({ type }) => type === "closed")).toEqual([]);
  });

  test.each(["connecting", "connected", "scanned", "planned", "progress", "pushed", "synced"] as const)(
    "unsubscribing at %s leaves nothing behind",
    async (moment) => {
      const rig = testHome();
      const folder = tempFolder();
      make(folder, { "a/f": "1", large: Buffer.alloc(1024 * 1024) });
      const { events, subscription } = follow(folder, () => rig.connect());
      await event(events, moment);
      subscription.unsubscribe();
      await until(
        () => rig.home.sessions === 0 && rig.pairs.every(({ client, server }) => client.destroyed && server.destroyed),
      );
      expect(rig.staged().every((name) => name.endsWith(".partial"))).toBe(true);
    },
  );
});
