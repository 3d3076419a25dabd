/** What is deleted, left alone, ignored, unreadable or spoiled. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { type Mirrored, OBEDIENT, tell } from "../../support/mirrored.js";
import { random, STATE, until } from "../../support/program.js";

/** Longer than events are waited for, shorter than anything else: to see that nothing happens. */
const A_WHILE_MS = 1500;

function many(folder: string, count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${folder}/${i}`, `${i}`]));
}

describe("deletes", () => {
  tell([
    [
      "an unmounted (emptied) source is not mirrored as deletion",
      async (m) => {
        m.write({ ...many("d", 20), a: "1" });
        await m.mirrored();
        fs.renameSync(m.folder, `${m.folder}-unmounted`);
        fs.mkdirSync(m.folder);
        const { code, stderr } = await m.once();
        fs.rmdirSync(m.folder);
        fs.renameSync(`${m.folder}-unmounted`, m.folder);
        expect({ code, stderr }).toEqual({
          code: 1,
          stderr: expect.stringMatching(/^ERROR: .*--allow-mass-delete.*\(ERR_MASS_DELETE\)\n$/),
        });
        expect(m.differences()).toEqual([]);
      },
    ],
    [
      "a source that is unmounted while it is followed, and mounted again",
      async (m) => {
        m.write({ ...many("d", 20), a: "1" });
        const following = await m.follow();
        fs.renameSync(m.folder, `${m.folder}-unmounted`);
        fs.mkdirSync(m.folder);
        await sleep(A_WHILE_MS);
        expect(m.names().length).toBe(22);
        fs.rmdirSync(m.folder);
        fs.renameSync(`${m.folder}-unmounted`, m.folder);
        m.write({ a: "2" });
        await m.equal();
        expect(following.program.ended).toBe(false);
      },
    ],
    [
      "a source folder that vanishes while it is followed, and comes back",
      async (m) => {
        m.write({ ...many("d", 20), a: "1" });
        const following = await m.follow();
        fs.renameSync(m.folder, `${m.folder}-away`);
        await following.program.printed(/"ERR_FOLDER"/);
        expect(m.names().length).toBe(22);
        fs.renameSync(`${m.folder}-away`, m.folder);
        m.write({ b: "new" });
        await m.equal();
      },
    ],
    [
      "most files are gone: it stops and asks, and goes on when told so",
      async (m) => {
        m.write({ ...many("d", 150), ...many("e", 20) });
        await m.mirrored();
        fs.rmSync(m.at("d"), { recursive: true });
        const stopped = await m.once();
        expect(stopped).toMatchObject({ code: 1, stdout: "" });
        expect(stopped.stderr).toMatch(/150 of its 170 files.*--allow-mass-delete.*\(ERR_MASS_DELETE\)/);
        expect(m.names().length).toBe(172);
        await m.mirrored("--allow-mass-delete");
        await m.equal();
      },
    ],
    [
      "a folder that is emptied while following, however few its files: nothing is deleted, and it goes on with what comes",
      async (m) => {
        m.write({ a: "1", "d/b": "2", "d/c": "3" });
        const following = await m.follow();
        for (const name of ["a", "d"]) fs.rmSync(m.at(name), { recursive: true });
        await following.program.printed(/"code":"ERR_MASS_DELETE","message":"[^"]*--allow-mass-delete/);
        await sleep(A_WHILE_MS);
        expect(m.names()).toEqual(["a", "d", "d/b", "d/c"]);
        m.write({ "d/b": "built anew" });
        await m.equal();
        await following.leave();
      },
    ],
    [
      "the last file is deleted while following",
      async (m) => {
        m.write({ a: "1" });
        const following = await m.follow();
        fs.rmSync(m.at("a"));
        await m.equal();
        await following.leave();
      },
    ],
    [
      "a tree of 300 files that moves is no loss",
      async (m) => {
        m.write(many("d/e", 300));
        const following = await m.follow();
        fs.renameSync(m.at("d"), m.at("f"));
        await m.equal();
        await following.leave();
      },
    ],
    [
      "--no-delete leaves what is gone here, and still sends what is new",
      async (m) => {
        m.write({ a: "1", "d/b": "2" });
        const following = await m.follow("--no-delete");
        fs.rmSync(m.at("d"), { recursive: true });
        fs.renameSync(m.at("a"), m.at("c"));
        m.write({ e: "3" });
        await until(
          () => fs.readFileSync(m.there("e"), "utf8") === "3" && fs.readFileSync(m.there("c"), "utf8") === "1",
        );
        await sleep(200);
        expect(m.names()).toEqual(["a", "c", "d", "d/b", "e"]);
        await following.leave();
      },
    ],
  ]);
});

describe("ignore rules", () => {
  tell([
    [
      ".confundoignore with a negation at depth, anchors, and a file that takes back what the one above said",
      async (m) => {
        m.write({
          ".confundoignore": "*.log\n/build\ntmp/\n!keep.log\n**/cache/*\n!**/cache/kept\n",
          "a.log": "-",
          "keep.log": "+",
          "d/b.log": "-",
          "d/keep.log": "+",
          "build/x": "-",
          "d/build/x": "+",
          "tmp/x": "-",
          "d/tmp/x": "-",
          "d/e/tmp": "+",
          "cache/x": "-",
          "d/cache/kept": "+",
          "d/cache/x": "-",
          "s/.confundoignore": "!*.log\nkeep.log\n",
          "s/c.log": "+",
          "s/keep.log": "-",
        });
        await m.mirrored();
        const files = [...m.snapshot()].filter(([, { kind }]) => kind === "file").map(([name]) => name);
        const wanted = ["keep.log", "d/keep.log", "d/build/x", "d/e/tmp", "d/cache/kept", "s/c.log"];
        expect(files.sort()).toEqual([".confundoignore", "s/.confundoignore", ...wanted].sort());
      },
    ],
    [
      "rules that change while it runs: what is no longer ignored arrives, what is ignored now is left alone",
      async (m) => {
        m.write({ ".confundoignore": "*.tmp\n", "a.tmp": "1", "b.log": "1", "d/c.tmp": "1" });
        const following = await m.follow();
        expect(m.names()).toEqual([".confundoignore", "b.log", "d"]);
        m.write({ ".confundoignore": "*.log\n" });
        await until(() => m.names().includes("d/c.tmp"));
        await until(() => fs.readFileSync(m.there(".confundoignore"), "utf8") === "*.log\n");
        m.write({ "b.log": "changed", "a.tmp": "changed", "d/new.log": "2" });
        await until(() => fs.readFileSync(m.there("a.tmp"), "utf8") === "changed");
        expect(fs.readFileSync(m.there("b.log"), "utf8")).toBe("1");
        expect(m.names()).toEqual([".confundoignore", "a.tmp", "b.log", "d", "d/c.tmp"]);
        fs.rmSync(m.at(".confundoignore"));
        await m.equal();
        await following.leave();
      },
    ],
    [
      "--delete-ignored removes at the destination what is ignored",
      async (m) => {
        m.write({ "a.log": "1", "d/b.log": "2", c: "3" });
        await m.mirrored();
        m.write({ "only there.log": "4" }, m.copy);
        await m.mirrored("--ignore", "*.log");
        expect(m.names()).toEqual(["a.log", "c", "d", "d/b.log", "only there.log"]);
        await m.mirrored("--ignore", "*.log", "--delete-ignored");
        expect(m.names()).toEqual(["c", "d"]);
      },
    ],
    [
      "a folder with ignored files at the destination is deleted here: they stay, with the folders they are in",
      async (m) => {
        m.write({ "d/a": "1", "d/e/b": "2", c: "3" });
        await m.mirrored();
        m.write({ "d/e/kept.log": "4" }, m.copy);
        fs.rmSync(m.at("d"), { recursive: true });
        const { code } = await m.once("--ignore", "*.log");
        expect(code).toBe(0);
        expect(m.names()).toEqual(["c", "d", "d/e", "d/e/kept.log"]);
      },
    ],
    [
      "a file renamed to an ignored name goes, and one renamed from it comes",
      async (m) => {
        m.write({ a: "1", "b.log": "2" });
        const following = await m.follow("--ignore", "*.log");
        fs.renameSync(m.at("a"), m.at("a.log"));
        fs.renameSync(m.at("b.log"), m.at("b"));
        await until(() => m.names().join() === "b");
        await following.leave();
      },
    ],
    [
      ".gitignore counts when asked for, and not otherwise",
      async (m) => {
        m.write({ ".gitignore": "node_modules/\n", "node_modules/x": "1", a: "1" });
        await m.mirrored("--gitignore");
        expect(m.names()).toEqual([".gitignore", "a"]);
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "explain says which rule decides",
      async (m) => {
        m.write({ ".confundoignore": "*.log\n!keep.log\n", "d/.confundoignore": "x\n" });
        const explained = async (name: string): Promise<string> =>
          (await m.rig.run(["explain", m.folder, name])).stdout;
        expect(await explained("d/a.log")).toMatch(/\*\.log/);
        expect(await explained("d/keep.log")).toMatch(/!keep\.log/);
        expect(await explained("d/x")).toMatch(/d\/\.confundoignore/);
      },
    ],
  ]);
});

describe("what cannot be read", () => {
  tell([
    [
      "an unreadable file and folder: the rest goes on, --once exits 1 and lists them, their old versions stay",
      async (m) => {
        m.write({ a: "1", secret: "1", "closed/in": "1" });
        await m.mirrored();
        m.write({ a: "22", secret: "22", "closed/in": "22", z: "new" });
        fs.chmodSync(m.at("secret"), 0);
        fs.chmodSync(m.at("closed"), 0);
        const { code, stderr } = await m.onceWith({ via: OBEDIENT });
        fs.chmodSync(m.at("closed"), 0o755);
        expect(code).toBe(1);
        expect(stderr).toMatch(/^ERROR: secret: .*\(EACCES\)$/m);
        expect(stderr).toMatch(/^ERROR: closed: .*\(EACCES\)$/m);
        const there = (name: string): string => fs.readFileSync(m.there(name), "utf8");
        expect([there("a"), there("z"), there("secret"), there("closed/in")]).toEqual(["22", "new", "1", "1"]);
        fs.chmodSync(m.at("secret"), 0o644);
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "an unreadable file that becomes readable while followed arrives",
      async (m) => {
        m.write({ secret: "1", a: "1" });
        fs.chmodSync(m.at("secret"), 0);
        const program = m.rig.start(["mirror", m.folder, m.address, "--json"], { via: OBEDIENT });
        await program.printed(/"type":"failed","path":"secret"/);
        await program.printed(/"type":"synced"/);
        expect(m.names()).toEqual(["a"]);
        fs.chmodSync(m.at("secret"), 0o600);
        await m.equal();
      },
    ],
  ]);
});

type Spoil = readonly [name: string, spoil: (m: Mirrored) => void];

const spoils: Spoil[] = [
  ["a changed file", (m) => fs.appendFileSync(m.there("a"), "!")],
  ["a deleted file", (m) => fs.rmSync(m.there("d/b"))],
  ["a deleted folder", (m) => fs.rmSync(m.there("d"), { recursive: true })],
  ["everything deleted", (m) => fs.rmSync(m.copy, { recursive: true })],
  ["an added file and folder", (m) => m.write({ "new/x": "1", y: "2" }, m.copy)],
  ["another time", (m) => fs.utimesSync(m.there("a"), 1, 1)],
  ["another executable bit", (m) => fs.chmodSync(m.there("a"), 0o755)],
  [
    "a link that points elsewhere",
    (m) => {
      fs.rmSync(m.there("l"));
      fs.symlinkSync("/", m.there("l"));
    },
  ],
  [
    "a file that became a folder",
    (m) => {
      fs.rmSync(m.there("a"));
      m.write({ "a/b/c": "x" }, m.copy);
    },
  ],
  [
    "a folder that became a file",
    (m) => {
      fs.rmSync(m.there("d"), { recursive: true });
      m.write({ d: "x" }, m.copy);
    },
  ],
  ["a renamed file", (m) => fs.renameSync(m.there("a"), m.there("z"))],
  [
    "two files swapped",
    (m) => {
      fs.renameSync(m.there("a"), m.there("t"));
      fs.renameSync(m.there("d/b"), m.there("a"));
      fs.renameSync(m.there("t"), m.there("d/b"));
    },
  ],
];

describe("the destination was tampered with: the next run repairs", () => {
  tell(
    spoils.map(([name, spoil]) => [
      name,
      async (m) => {
        m.write({ a: "1", "d/b": "22", "d/large": random(300_000), "d/e/": "" });
        fs.symlinkSync("a", m.at("l"));
        await m.mirrored();
        spoil(m);
        expect(m.differences().length).toBeGreaterThan(0);
        await m.mirrored();
        await m.equal();
      },
    ]),
  );
});

describe("changes while nobody follows", () => {
  tell([
    [
      "edits, renames, deletions and new files between two runs",
      async (m) => {
        m.write({ a: "1", "d/b": "2", "d/c": "3", e: "4", "f/g": "5" });
        await m.mirrored();
        m.write({ a: "2", "new/x": "1" });
        fs.renameSync(m.at("d"), m.at("moved"));
        fs.rmSync(m.at("e"));
        fs.renameSync(m.at("f/g"), m.at("g"));
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "a rewrite that keeps size and time, between two runs",
      async (m) => {
        m.write({ a: "one", b: "two" });
        await m.mirrored();
        const { atime, mtime } = fs.statSync(m.at("a"));
        m.write({ a: "eno" });
        fs.utimesSync(m.at("a"), atime, mtime);
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "the index of earlier runs is damaged, emptied or cut off: it is made anew",
      async (m) => {
        const state = m.rig.folder();
        beOnTheSameMachine(state);
        m.write({ a: "1", ...many("d", 30) });
        const run = () => m.onceWith({ env: { XDG_STATE_HOME: state } });
        expect(await run()).toMatchObject({ code: 0, stderr: "" });
        const files = fs
          .readdirSync(state, { recursive: true, encoding: "utf8" })
          .map((name) => path.join(state, name));
        const index = files.filter((name) => name.endsWith(".index"));
        expect(index.length).toBeGreaterThan(0);
        const spoilers: ((file: string) => void)[] = [
          (file) => fs.writeFileSync(file, random(5000)),
          (file) => fs.truncateSync(file, 0),
          (file) => fs.truncateSync(file, Math.floor(fs.statSync(file).size / 2) + 3),
        ];
        for (const [i, spoil] of spoilers.entries()) {
          for (const file of index) spoil(file);
          m.write({ a: `${i}2`, "d/7": `changed ${i}` });
          expect(await run()).toMatchObject({ code: 0, stderr: "" });
          await m.equal();
        }
      },
    ],
  ]);
});

/** With a state of its own, a client is somebody else, unless it finds the notes of the servers that run here. */
function beOnTheSameMachine(state: string): void {
  const [from, to] = [STATE, state].map((folder) => path.join(folder, "confundo", "running")) as [string, string];
  fs.mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const name of fs.readdirSync(from)) {
    // Those of other tests' servers may vanish meanwhile.
    if (fs.existsSync(path.join(from, name))) fs.copyFileSync(path.join(from, name), path.join(to, name));
  }
}
