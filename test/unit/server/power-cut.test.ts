/** Versions through power cuts: the order in which they are made durable, and what the next start makes of what is left. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Database, openDatabase } from "../../../src/server/index.js";
import { ContentStore } from "../../../src/server/versions/content.js";
import { Keeper, type Keeping } from "../../../src/server/versions/keeper.js";
import { type FileLayer, receive, Storage, SYSTEM_FILES } from "../../../src/sync/index.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { make, mirrorOnce, tempFolder } from "../../support/sync-rig.js";

const onLinux = test.runIf(process.platform === "linux");
const sha256 = (content: string): string => createHash("sha256").update(content).digest("hex");

/** The system's files, with a line for each call: what it does, and to what below `dir`. */
function recorder(dir: string) {
  const calls: string[] = [];
  const of = (place: string | Buffer | number): string => {
    const full =
      typeof place === "number"
        ? fs.readlinkSync(`/proc/self/fd/${place}`)
        : path.join(fs.realpathSync(path.dirname(String(place))), path.basename(String(place)));
    return path.relative(dir, full).replace(/\d+-[0-9a-f]{8}\b/, "RUN");
  };
  const noted =
    <Places extends (string | Buffer | number)[], Result>(call: string, carryOut: (...places: Places) => Result) =>
    (...places: Places): Result => {
      calls.push([call, ...places.map(of)].join(" "));
      return carryOut(...places);
    };
  const files: FileLayer = {
    fsync: noted("fsync", SYSTEM_FILES.fsync),
    fdatasync: noted("fsync", SYSTEM_FILES.fdatasync),
    fsyncNow: noted("fsync", SYSTEM_FILES.fsyncNow),
    canSyncfs: () => false,
    syncfs: SYSTEM_FILES.syncfs,
    clone: SYSTEM_FILES.clone,
    rename: noted("rename", SYSTEM_FILES.rename),
    link: noted("link", SYSTEM_FILES.link),
    remove: noted("remove", SYSTEM_FILES.remove),
  };
  return { calls, files };
}

async function rig(files?: FileLayer, dir = tempFolder()) {
  const database = await openDatabase({ path: ":memory:" });
  onTestFinished(() => database.close());
  const keeper = await started(dir, database, files);
  onTestFinished(() => keeper.close());
  const connect = () => {
    const { client, server } = linkedPair();
    let keeping: Keeping | undefined;
    receive(server, {
      onEvent: (event) => keeping?.onEvent(event),
      admit: async ({ name }) => {
        keeping = await keeper.open(name, null);
        const { archive, end, onRecorded, room } = keeping;
        const staging = path.join(dir, ".confundo", "staging", name);
        const storage = new Storage(path.join(dir, name), staging, {
          archive,
          ...(files === undefined ? {} : { files }),
        });
        return { storage, release: end, onRecorded, room };
      },
    });
    return client;
  };
  const folder = tempFolder();
  return { dir, database, keeper, folder, mirrored: () => mirrorOnce(folder, connect) };
}

async function started(dir: string, database: Database, files?: FileLayer): Promise<Keeper> {
  const keeper = new Keeper({ dir, database, files, lookMs: 0 });
  await keeper.start();
  await keeper.recovered();
  return keeper;
}

const log = async (database: Database): Promise<string[]> =>
  (await database.versions.list("m", "", { limit: 100 }))
    .map(({ path, why, sha256 }) => `${path} ${why} ${sha256}`)
    .sort();

onLinux(
  "what is replaced is durable under incoming before the rename, and among the objects before it leaves there",
  async () => {
    const dir = tempFolder();
    const { calls, files } = recorder(dir);
    const { folder, mirrored, keeper } = await rig(files, dir);
    make(folder, { small: "one", large: Buffer.alloc(300_000, 1), link: { link: "a" }, leaving: "x" });
    await mirrored();
    fs.rmSync(path.join(folder, "link"));
    fs.rmSync(path.join(folder, "leaving"));
    make(folder, { small: "two", large: Buffer.alloc(300_000, 2), link: { link: "b" } });
    calls.length = 0;
    await mirrored();
    await keeper.settled();
    await keeper.content.release();
    const at = (pattern: RegExp, from = 0): number => {
      const found = calls.findIndex((call, i) => i >= from && pattern.test(call));
      expect(found, `${pattern} in\n${calls.join("\n")}`).toBeGreaterThanOrEqual(0);
      return found;
    };
    for (const name of ["small", "large"]) {
      const linked = at(new RegExp(`^link m/${name} \\.confundo/versions/incoming/RUN/\\d+$`));
      const journal = at(/^fsync \.confundo\/versions\/incoming\/RUN\/journal$/, linked);
      const folderFlushed = at(/^fsync \.confundo\/versions\/incoming\/RUN$/, linked);
      const replaced = at(new RegExp(`^rename \\.confundo/staging/m/\\S+ m/${name}$`));
      expect(Math.max(journal, folderFlushed)).toBeLessThan(replaced);
      at(/^fsync m$/, replaced);
      const id = (calls[linked] as string).split("/").at(-1);
      const kept = at(new RegExp(`^link \\.confundo/versions/incoming/RUN/${id} \\.confundo/versions/objects/../`));
      const object = (calls[kept] as string).split(" ")[2] as string;
      const flushed = at(new RegExp(`^fsync ${path.dirname(object)}$`), kept);
      const removed = at(new RegExp(`^remove \\.confundo/versions/incoming/RUN/${id}$`));
      expect(flushed).toBeLessThan(removed);
      expect(at(/^fsync \.confundo\/versions\/objects$/)).toBeLessThan(removed);
    }
    // The symbolic link has a line in the journal only.
    const link = at(/^rename \.confundo\/staging\/m\/\S+ m\/link$/);
    expect(at(/^fsync \.confundo\/versions\/incoming\/RUN\/journal$/)).toBeLessThan(link);
    // What is deleted is never without a name.
    const renamed = at(/^rename m\/leaving \.confundo\/versions\/incoming\/RUN\/\d+$/);
    at(/^fsync \.confundo\/versions\/incoming\/RUN$/, renamed);
  },
);

/** The folder of the run of a program that is killed, as its successor finds it. */
function orphaned(dir: string): string {
  const incoming = path.join(dir, ".confundo/versions/incoming");
  const [run = ""] = fs.readdirSync(incoming);
  const dead = path.join(incoming, run.replace(/^\d+/, "999999999"));
  fs.renameSync(path.join(incoming, run), dead);
  return dead;
}

test("content whose line in the journal was lost is a version all the same", async () => {
  const { dir, database, folder, mirrored, keeper } = await rig();
  make(folder, { f: "one", g: "kept" });
  await mirrored();
  await keeper.settled();
  while ((await database.files.unclean()).length > 0) await keeper.settled();
  const killed = new ContentStore(path.join(dir, ".confundo/versions"));
  killed.retire(path.join(dir, "m/f"), { folder: "m", path: "f", why: "deleted", at: 5 });
  fs.writeFileSync(path.join(dir, "m/f"), "two");
  fs.rmSync(path.join(orphaned(dir), "journal"));
  await database.files.markUnclean("m");
  const next = await started(dir, database);
  expect(await log(database)).toEqual([`f replaced ${sha256("one")}`]);
  expect(fs.readFileSync(next.content.find(sha256("one")) ?? "", "utf8")).toBe("one");
  expect(fs.readdirSync(path.join(dir, ".confundo/versions/incoming"))).toEqual([]);
  await next.close();
});

test("a version of the database whose place among the objects was lost gets it again", async () => {
  const { dir, database, folder, mirrored, keeper } = await rig();
  make(folder, { f: "one" });
  await mirrored();
  make(folder, { f: "two" });
  await mirrored();
  await keeper.settled();
  const run = orphaned(dir);
  const journal = path.join(run, "journal");
  const [, name = ""] = /"run":"([^"]+)"/.exec(fs.readFileSync(journal, "utf8")) ?? [];
  fs.writeFileSync(journal, fs.readFileSync(journal, "utf8").replaceAll(name, path.basename(run)));
  fs.rmSync(path.join(dir, ".confundo/versions/objects"), { recursive: true });
  const next = await started(dir, database);
  expect(await log(database)).toEqual([`f replaced ${sha256("one")}`]);
  expect(fs.readFileSync(next.content.find(sha256("one")) ?? "", "utf8")).toBe("one");
  await next.close();
});

test("what was to be replaced and was not is no version", async () => {
  const { dir, database, folder, mirrored, keeper } = await rig();
  make(folder, { f: "one", l: { link: "a" } });
  await mirrored();
  await keeper.settled();
  const killed = new ContentStore(path.join(dir, ".confundo/versions"));
  for (const name of ["f", "l"]) killed.link(path.join(dir, "m", name), { folder: "m", path: name, at: 5 });
  await killed.flush();
  const run = orphaned(dir);
  const journal = path.join(run, "journal");
  const [, name = ""] = /"run":"([^"]+)"/.exec(fs.readFileSync(journal, "utf8")) ?? [];
  fs.writeFileSync(journal, fs.readFileSync(journal, "utf8").replaceAll(name, path.basename(run)));
  const next = await started(dir, database);
  expect(await log(database)).toEqual([]);
  expect(fs.readdirSync(path.join(dir, ".confundo/versions/incoming"))).toEqual([]);
  await next.close();
});

test("a journal that could not be flushed is written again as a whole, and nothing passes before that", async () => {
  const dir = path.join(tempFolder(), "versions");
  const EIO = Object.assign(new Error("i/o error"), { code: "EIO" });
  let failing = true;
  const flushed: string[] = [];
  const content = new ContentStore(dir, {
    files: {
      ...SYSTEM_FILES,
      fdatasync: async (fd) => {
        if (failing) throw EIO;
        flushed.push(fs.fstatSync(fd).size > 0 ? "journal" : "nothing");
      },
    },
  });
  const folder = tempFolder();
  make(folder, { a: "1", b: "2" });
  content.retire(path.join(folder, "a"), { folder: "m", path: "a", why: "deleted", at: 1 });
  await expect(content.flush()).rejects.toBe(EIO);
  await expect(content.flush()).rejects.toBe(EIO);
  failing = false;
  content.retire(path.join(folder, "b"), { folder: "m", path: "b", why: "deleted", at: 2 });
  await content.flush();
  expect(flushed).toEqual(["journal"]);
  const [run = ""] = fs.readdirSync(path.join(dir, "incoming"));
  const journals = fs
    .readdirSync(path.join(dir, "incoming", run))
    .filter((name) => name.startsWith("journal"))
    .sort();
  expect(journals).toHaveLength(3);
  const last = fs.readFileSync(path.join(dir, "incoming", run, journals.at(-1) as string), "utf8");
  expect(
    last
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { path: string }).path),
  ).toEqual(["a", "b"]);
  await content.close();
});

test("what the database has stays under incoming where the objects cannot be flushed", async () => {
  const dir = path.join(tempFolder(), "versions");
  const EIO = Object.assign(new Error("i/o error"), { code: "EIO" });
  const content = new ContentStore(dir, {
    files: {
      ...SYSTEM_FILES,
      canSyncfs: () => false,
      fsync: async (fd) => {
        if (fs.readlinkSync(`/proc/self/fd/${fd}`).includes("objects")) throw EIO;
      },
    },
  });
  const folder = tempFolder();
  make(folder, { a: "1" });
  const retired = content.retire(path.join(folder, "a"), { folder: "m", path: "a", why: "deleted", at: 1 });
  content.keep(retired, sha256("1"));
  content.settle(retired);
  await expect(content.close()).rejects.toBe(EIO);
  const [run = ""] = fs.readdirSync(path.join(dir, "incoming"));
  expect(fs.readdirSync(path.join(dir, "incoming", run)).sort()).toEqual(["0", "journal"]);
});
