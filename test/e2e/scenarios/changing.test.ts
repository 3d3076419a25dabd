/** Every change of a followed folder is noticed. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { type Change, type Mirrored, tell, tellChanges } from "../../support/mirrored.js";
import { random, until } from "../../support/program.js";

const KIB = 1024;
const MIB = 1024 * KIB;

function tree(content: Record<string, string | Buffer>): (mirrored: Mirrored) => void {
  return (mirrored) => mirrored.write(content);
}

/** Writes without another time than it had, nor another size. */
function rewriteSilently(file: string, content: string): void {
  const { atime, mtime, size } = fs.statSync(file);
  expect(content.length).toBe(size);
  fs.writeFileSync(file, content);
  fs.utimesSync(file, atime, mtime);
}

const contents: Change[] = [
  ["a file is edited", tree({ a: "1" }), tree({ a: "two" })],
  ["a file is appended to", tree({ a: random(MIB) }), (m) => fs.appendFileSync(m.at("a"), "more")],
  ["a file is emptied", tree({ a: "1" }), (m) => fs.truncateSync(m.at("a"))],
  ["a file is cut to its half", tree({ a: random(2 * MIB) }), (m) => fs.truncateSync(m.at("a"), MIB)],
  ["a file grows by a hole", tree({ a: "1" }), (m) => fs.truncateSync(m.at("a"), 3 * MIB)],
  [
    "something is put before a large file",
    tree({ a: random(3 * MIB) }),
    (m) => fs.writeFileSync(m.at("a"), Buffer.concat([random(1000), fs.readFileSync(m.at("a"))])),
  ],
  ["a rewrite of the same size in the same second arrives", tree({ a: "one" }), tree({ a: "two" })],
  ["an mtime put back is still noticed", tree({ a: "one" }), (m) => rewriteSilently(m.at("a"), "two")],
  [
    "a file is replaced by an older one of the same size",
    (m) => {
      m.write({ a: "new", b: "old" });
      fs.utimesSync(m.at("b"), 1_000_000_000, 1_000_000_000);
    },
    (m) => fs.renameSync(m.at("b"), m.at("a")),
  ],
  ["only the time changes", tree({ a: "1" }), (m) => fs.utimesSync(m.at("a"), 1e9, 1e9)],
  ["a time before 1970 is set", tree({ a: "1" }), (m) => fs.utimesSync(m.at("a"), new Date(-1e12), new Date(-1e12))],
  ["a file becomes executable", tree({ a: "1" }), (m) => fs.chmodSync(m.at("a"), 0o755)],
  [
    "a file is no longer executable",
    (m) => {
      m.write({ a: "1" });
      fs.chmodSync(m.at("a"), 0o755);
    },
    (m) => fs.chmodSync(m.at("a"), 0o644),
  ],
];

const names: Change[] = [
  ["a file is renamed", tree({ a: "1" }), (m) => fs.renameSync(m.at("a"), m.at("b"))],
  [
    "a file renamed only in case keeps its content",
    tree({ a: "1", D: "2" }),
    (m) => fs.renameSync(m.at("a"), m.at("A")),
  ],
  ["a folder is renamed only in case", tree({ "d/a": "1" }), (m) => fs.renameSync(m.at("d"), m.at("D"))],
  ["a name goes from NFC to NFD", tree({ "\u00e9": "1" }), (m) => fs.renameSync(m.at("\u00e9"), m.at("e\u0301"))],
  [
    "two files are swapped by renames",
    tree({ a: "1", b: "2" }),
    (m) => {
      fs.renameSync(m.at("a"), m.at("t"));
      fs.renameSync(m.at("b"), m.at("a"));
      fs.renameSync(m.at("t"), m.at("b"));
    },
  ],
  [
    "logs are rotated: 3 to 4, 2 to 3, 1 to 2, a new 1",
    tree({ "log.1": "newest", "log.2": "older", "log.3": "oldest" }),
    (m) => {
      for (const i of [3, 2, 1]) fs.renameSync(m.at(`log.${i}`), m.at(`log.${i + 1}`));
      m.write({ "log.1": "begun" });
    },
  ],
  [
    "two folders are swapped by renames",
    tree({ "a/x": "1", "a/s/y": "2", "b/x": "3" }),
    (m) => {
      fs.renameSync(m.at("a"), m.at("t"));
      fs.renameSync(m.at("b"), m.at("a"));
      fs.renameSync(m.at("t"), m.at("b"));
    },
  ],
  [
    "temporary file and rename, 20 times in a row",
    tree({ a: "0" }),
    (m) => {
      for (let i = 1; i <= 20; i++) {
        m.write({ "a.tmp": `version ${i}` });
        fs.renameSync(m.at("a.tmp"), m.at("a"));
      }
    },
  ],
  [
    "an editor keeps the old version beside, writes anew, and deletes it",
    tree({ a: "1" }),
    (m) => {
      fs.renameSync(m.at("a"), m.at("a~"));
      m.write({ a: "2" });
      fs.rmSync(m.at("a~"));
    },
  ],
  ["a folder moves into another one", tree({ "a/x": "1", "b/": "" }), (m) => fs.renameSync(m.at("a"), m.at("b/a"))],
  [
    "a folder moves, and what it holds changes at once",
    tree({ "a/x": "1", "a/y/z": "2" }),
    (m) => {
      fs.renameSync(m.at("a"), m.at("b"));
      m.write({ "b/x": "changed", "b/y/new": "3", "a/x": "another" });
      fs.rmSync(m.at("b/y/z"));
    },
  ],
  [
    "a folder moves out, and one from outside moves in",
    tree({ "a/x": "1", "a/y/z": "2" }),
    (m) => {
      const outside = m.rig.folder();
      m.write({ "in/deep/er/file": "3", "in/x": "4" }, outside);
      fs.renameSync(m.at("a"), `${outside}/out`);
      fs.renameSync(`${outside}/in`, m.at("a"));
    },
  ],
  [
    "a folder is deleted and made again at once, several times",
    tree({ "d/x": "0" }),
    (m) => {
      for (let i = 0; i < 5; i++) {
        fs.rmSync(m.at("d"), { recursive: true });
        m.write({ [`d/e${i}/x`]: `${i}`, "d/y": `${i}` });
      }
    },
  ],
  [
    "folders within folders are made and filled in one go",
    tree({ a: "1" }),
    (m) => {
      for (let i = 0; i < 30; i++) m.write({ [`n${i}/a/b/c/d/e/f/file`]: `${i}`, [`n${i}/a/b/x`]: "" });
    },
  ],
  [
    "a folder is renamed while a file in it is written to",
    tree({ "d/log": "begun\n" }),
    async (m) => {
      const fd = fs.openSync(m.at("d/log"), "a");
      for (let i = 0; i < 10; i++) {
        fs.writeSync(fd, `line ${i}\n`);
        if (i === 5) fs.renameSync(m.at("d"), m.at("e"));
        await sleep(20);
      }
      fs.closeSync(fd);
    },
  ],
  [
    "most of a small folder is deleted",
    tree({ a: "1", "d/b": "2", "d/c": "3" }),
    (m) => fs.rmSync(m.at("d"), { recursive: true }),
  ],
  [
    "an archive is unpacked",
    tree({ a: "1" }),
    (m) => {
      const outside = m.rig.folder();
      for (let i = 0; i < 200; i++) m.write({ [`p/${i % 20}/${i}`]: `${i}` }, outside);
      execFileSync("tar", ["-C", outside, "-cf", `${outside}/t.tar`, "p"]);
      execFileSync("tar", ["-C", m.folder, "-xf", `${outside}/t.tar`]);
    },
  ],
];

const kinds: [string, (m: Mirrored) => void][] = [
  ["file", (m) => m.write({ x: "a file" })],
  ["folder", (m) => m.write({ "x/y/z": "in a folder", "x/w": "1" })],
  ["link", (m) => fs.symlinkSync("other/y", m.at("x"))],
  ["link to outside", (m) => fs.symlinkSync("/etc", m.at("x"))],
];

const types: Change[] = kinds.flatMap(([from, before]) =>
  kinds
    .filter(([to]) => to !== from)
    .map(
      ([to, after]): Change => [
        `a ${from} becomes a ${to}`,
        (m) => {
          m.write({ "other/y": "1" });
          before(m);
        },
        (m) => {
          fs.rmSync(m.at("x"), { recursive: true });
          after(m);
        },
      ],
    ),
);

describe("content:", () => tellChanges(contents));
describe("names:", () => tellChanges(names));
describe("types:", () => tellChanges(types));

describe("links", () => {
  tell([
    [
      "a folder swapped for a link to outside is not followed",
      async (m) => {
        const outside = m.rig.folder();
        m.write({ secret: "not ours", "deep/secret": "neither" }, outside);
        m.write({ "d/secret": "ours" });
        const following = await m.follow();
        fs.renameSync(m.at("d"), m.at("e"));
        fs.symlinkSync(outside, m.at("d"));
        await m.equal();
        fs.appendFileSync(`${outside}/secret`, "!");
        m.write({ "e/secret": "ours, changed" });
        await m.equal();
        expect(m.names()).toEqual(["d", "e", "e/secret"]);
        await following.leave();
      },
    ],
    [
      "a folder of the destination swapped for a link to outside: nothing is written there",
      async (m) => {
        const outside = m.rig.folder();
        m.write({ file: "outside" }, outside);
        m.write({ "d/file": "1", "d/e/file": "2" });
        const following = await m.follow();
        fs.rmSync(m.there("d"), { recursive: true });
        fs.symlinkSync(outside, m.there("d"));
        m.write({ "d/file": "changed", "d/new": "new", "d/e/file": "changed too", after: "and this" });
        fs.chmodSync(m.at("d/file"), 0o755);
        await until(() => fs.readFileSync(m.there("after"), "utf8") === "and this");
        await following.program.interrupt();
        expect(fs.readdirSync(outside)).toEqual(["file"]);
        expect(fs.readFileSync(`${outside}/file`, "utf8")).toBe("outside");
        expect(fs.statSync(`${outside}/file`).mode & 0o111).toBe(0);
        await m.mirrored();
        await m.equal();
        expect(fs.readdirSync(outside)).toEqual(["file"]);
      },
    ],
  ]);
});

describe("files that never rest", () => {
  tell([
    [
      "a file is appended to all the time: what is seen of it was once the whole file",
      async (m) => {
        m.write({ log: "" });
        const following = await m.follow();
        let written = "";
        const seen = new Set<string>();
        for (let i = 0; i < 120; i++) {
          const line = `line ${i} ${"x".repeat(i * 7)}\n`;
          fs.appendFileSync(m.at("log"), line);
          written += line;
          seen.add(fs.readFileSync(m.there("log"), "latin1"));
          await sleep(15);
        }
        await m.equal();
        for (const version of seen) {
          expect(written.startsWith(version)).toBe(true);
          expect(version).toMatch(/^$|\n$/);
        }
        await following.leave();
      },
    ],
    [
      "a file is rewritten in place all the time, in two writes: half of it is never seen",
      async (m) => {
        const version = (i: number): Buffer => Buffer.alloc(200 * KIB, `${i % 10}`);
        m.write({ a: version(0) });
        const following = await m.follow();
        let torn = 0;
        for (let i = 1; i <= 40; i++) {
          const fd = fs.openSync(m.at("a"), "r+");
          fs.writeSync(fd, version(i), 0, 100 * KIB, 0);
          await sleep(2);
          fs.writeSync(fd, version(i), 0, 100 * KIB, 100 * KIB);
          fs.closeSync(fd);
          await sleep(i % 8 === 0 ? 150 : 10);
          const now = fs.readFileSync(m.there("a"));
          if (now.length !== 200 * KIB || (now[0] !== now.at(-1) && !wasWhole(now))) torn++;
        }
        await m.equal();
        expect(torn).toBe(0);
        await following.leave();
      },
    ],
    [
      "a file that shrinks, vanishes and comes back while it is being read",
      async (m) => {
        m.write({ big: random(6 * MIB), small: "1" });
        const following = await m.follow();
        for (let i = 0; i < 6; i++) {
          m.write({ big: random(6 * MIB - i), small: `${i}` });
          await sleep(60);
          fs.truncateSync(m.at("big"), MIB);
          await sleep(20);
          fs.rmSync(m.at("big"));
          fs.rmSync(m.at("small"));
        }
        m.write({ big: random(2 * MIB), small: "last" });
        await m.equal();
        await following.leave();
      },
    ],
  ]);
});

/** Between the two writes the file was, for a moment, the new half and the old one. */
function wasWhole(content: Buffer): boolean {
  const [first = 0, second = 0] = [content[0], content[100 * KIB]];
  const half = 100 * KIB;
  const uniform =
    content.subarray(0, half).every((byte) => byte === first) &&
    content.subarray(half).every((byte) => byte === second);
  return uniform && (first - second + 10) % 10 === 1;
}
