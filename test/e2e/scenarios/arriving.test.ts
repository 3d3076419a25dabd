/** What stands in a folder when it is mirrored arrives as it is. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { describe, expect } from "vitest";
import { type Mirrored, type Scenario, tell, test } from "../../support/mirrored.js";
import { random } from "../../support/program.js";

const KIB = 1024;
const MIB = 1024 * KIB;

type Tree = (mirrored: Mirrored) => void;

/** Mirrored twice: the second time there is nothing to do. */
function arrives(make: Tree): (mirrored: Mirrored) => Promise<void> {
  return async (mirrored) => {
    make(mirrored);
    await mirrored.mirrored();
    await mirrored.equal();
    expect((await mirrored.once()).stdout).toMatch(/^synced: 0 files, 0 B sent, 0 deleted, /);
    await mirrored.equal();
  };
}

const trees: [name: string, make: Tree][] = [
  ["an empty folder", () => {}],
  ["an empty file, and folders with nothing in them", (m) => m.write({ empty: "", "a/b/c/": "", "d/": "" })],
  [
    "files of every size around the bounds of messages, chunks and blocks",
    (m) => {
      const bounds = [1, 16 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, MIB];
      for (const bound of bounds) for (const off of [-1, 0, 1]) m.write({ [`${bound}${off}`]: random(bound + off) });
    },
  ],
  ["40 levels deep", (m) => m.write({ [`${"level/".repeat(40)}file`]: "deep" })],
  ["a name of 255 bytes, also in UTF-8", (m) => m.write({ ["x".repeat(255)]: "1", ["é".repeat(127)]: "2" })],
  ["a path of almost 4,096 bytes", (m) => m.write({ [`${`${"p".repeat(250)}/`.repeat(15)}end`]: "far" })],
  [
    "names with a newline, a tab, quotes, backslashes, blanks and an escape",
    (m) => {
      const names = ["line\nbreak", "tab\t", "'", '"', "`", "back\\slash", " ", "  lead", "trail ", "\u001b[2J", "\r"];
      for (const name of names) m.write({ [name]: name, [`folder ${name}/${name}`]: name });
    },
  ],
  [
    "names that look like options, patterns, paths and devices",
    (m) => {
      const names = [
        "-rf",
        "--delete",
        "*",
        "?",
        "[a]",
        "{b}",
        "!",
        "#",
        "~",
        "...",
        "..x",
        ". ",
        "$HOME",
        "%00",
        "con",
      ];
      for (const name of names) m.write({ [name]: name });
      m.write({ "nul.txt": "", "C:": "", "a:b": "", "|": "", "<>": "" });
    },
  ],
  ["names with NFC and NFD stand side by side", (m) => m.write({ "\u00e9": "composed", "e\u0301": "decomposed" })],
  [
    "names that differ only in case stand side by side",
    (m) => m.write({ File: "1", file: "2", FILE: "3", "D/x": "", "d/x": "" }),
  ],
  [
    "emoji, right-to-left, zero-width and private characters",
    (m) => m.write({ "🦊/👩‍👩‍👧": "", "\u202Eabc": "", "\u200b": "", "\ue000": "", "\u{10ffff}": "" }),
  ],
  [
    "names and links that are not UTF-8",
    (m) => {
      const at = (...bytes: number[]): Buffer => Buffer.concat([Buffer.from(`${m.folder}/`), Buffer.from(bytes)]);
      fs.writeFileSync(at(0xff, 0xfe), "1");
      fs.writeFileSync(at(0xe9), "Latin-1");
      fs.mkdirSync(at(0x66, 0x80));
      fs.writeFileSync(at(0x66, 0x80, 0x2f, 0xc3), "in a folder");
      fs.symlinkSync(Buffer.from([0xff, 0x2f, 0xe9]), at(0x6c));
      fs.writeFileSync(at(0xef, 0xbf, 0xbd), "the character that stands for what is none");
    },
  ],
  [
    "files named as editors, systems and we ourselves name temporary ones",
    (m) => {
      const names = [
        "a~",
        ".a.swp",
        ".#a",
        "#a#",
        "4913",
        "a.tmp",
        "a.part",
        ".DS_Store",
        "Thumbs.db",
        "a.partial",
        "a.new",
      ];
      for (const name of names) m.write({ [name]: name });
      m.write({
        ".confundo/staging/m/a.new": "x",
        ".confundo/chunks/x": "y",
        ".git/HEAD": "ref: x",
        "confundo.json": "{}",
      });
    },
  ],
  [
    "links to files, folders, nowhere, outside, themselves and each other",
    (m) => {
      m.write({ "target/in": "x" });
      const targets = [
        "target",
        "target/in",
        "./target//",
        "nowhere",
        "/etc/passwd",
        "/",
        "../..",
        "link 8",
        "link 9",
        "link 8",
      ];
      for (const [i, target] of targets.entries()) fs.symlinkSync(target, m.at(`link ${i}`));
      fs.symlinkSync("t".repeat(4000), m.at("long"));
      fs.symlinkSync("\u00e9\n\u202e ", m.at("odd"));
    },
  ],
  [
    "a sparse file",
    (m) => {
      const fd = fs.openSync(m.at("sparse"), "w");
      fs.writeSync(fd, "start", 0);
      fs.writeSync(fd, "middle", 3 * MIB + 77);
      fs.ftruncateSync(fd, 12 * MIB);
      fs.closeSync(fd);
      fs.writeFileSync(m.at("holes only"), "");
      fs.truncateSync(m.at("holes only"), 5 * MIB);
    },
  ],
  [
    "the executable bit, read-only files and folders",
    (m) => {
      m.write({ run: "#!/bin/sh\n", "read only": "x", "locked/in": "y", secret: "z" });
      fs.chmodSync(m.at("run"), 0o755);
      fs.chmodSync(m.at("read only"), 0o444);
      fs.chmodSync(m.at("secret"), 0o600);
      fs.chmodSync(m.at("locked"), 0o555);
    },
  ],
  [
    "modification times of 1970, 2000, 2038 and 2100",
    (m) => {
      for (const [i, second] of [0, 1, 946_684_800, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, 4_102_444_800.5].entries()) {
        m.write({ [`${i}`]: "x" });
        fs.utimesSync(m.at(`${i}`), second, second);
      }
    },
  ],
  [
    "times to the nanosecond, of files, folders and links, before 1970 and after 2038",
    (m) => {
      m.write({ "old/file": "1", "new/file": "2", exact: "3" });
      fs.symlinkSync("nowhere", m.at("link"));
      const touch = (name: string, time: string) => execFileSync("touch", ["-h", "-d", time, m.at(name)]);
      touch("old/file", "1901-12-25 04:05:06.123456789");
      touch("new/file", "2199-02-03 04:05:06.000000001");
      touch("exact", "2020-02-03 04:05:06.999999999");
      touch("link", "2010-02-03 04:05:06.100000003");
      touch("old", "1969-12-31 23:59:59.999999999");
      touch("new", "2038-01-19 03:14:08.000000001");
    },
  ],
  [
    "two names of one file (a hard link), and one file with the content of another",
    (m) => {
      m.write({ first: "shared", "copy of it": "shared", "large/one": random(600 * KIB), "d/": "" });
      fs.linkSync(m.at("first"), m.at("d/second"));
      fs.linkSync(m.at("large/one"), m.at("large/two"));
      fs.copyFileSync(m.at("large/one"), m.at("large/three"));
    },
  ],
  [
    "1,500 files in one folder",
    (m) => m.write(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`all/${i}`, `${i}`]))),
  ],
];

describe("arrives as it is:", () => tell(trees.map(([name, make]): Scenario => [name, arrives(make)])));

/** Mirrored with --perms: all twelve bits are to be equal. */
function keepsModes(make: Tree): (mirrored: Mirrored) => Promise<void> {
  return async (m) => {
    make(m);
    await m.mirrored("--perms");
    await m.equal({ modes: true });
    fs.chmodSync(m.at("600"), 0o640);
    fs.chmodSync(m.at("folder"), 0o705);
    await m.mirrored("--perms");
    await m.equal({ modes: true });
  };
}

describe("--perms", () => {
  tell([
    [
      "keeps all permission bits of files and folders, and takes a change of nothing else",
      keepsModes((m) => {
        for (const mode of ["600", "755", "444", "751", "777", "400"]) {
          m.write({ [mode]: mode });
          fs.chmodSync(m.at(mode), Number.parseInt(mode, 8));
        }
        m.write({ "folder/in": "1", "sticky/": "", "locked/in": "2" });
        fs.chmodSync(m.at("folder"), 0o750);
        fs.chmodSync(m.at("sticky"), 0o1777);
        fs.chmodSync(m.at("locked"), 0o555);
      }),
    ],
    [
      "does not give away set-user-ID, nor set-group-ID of files",
      async (m) => {
        m.write({ user: "1", group: "2" });
        fs.chmodSync(m.at("user"), 0o4755);
        fs.chmodSync(m.at("group"), 0o2750);
        await m.mirrored("--perms");
        const modes = ["user", "group"].map((name) => fs.statSync(m.there(name)).mode & 0o7777);
        expect(modes).toEqual([0o755, 0o750]);
        expect((await m.once("--perms")).stdout).toMatch(/^synced: 0 files, /);
      },
    ],
  ]);
});

describe("what is no file, folder or link", () => {
  tell([
    [
      "a FIFO and a socket are skipped and named, and the rest is mirrored",
      async (m) => {
        m.write({ "d/good": "1" });
        execFileSync("mkfifo", [m.at("d/fifo")]);
        const server = net.createServer().listen(m.at("socket"));
        await once(server, "listening");
        const { code, stderr, stdout } = await m.once();
        server.close();
        expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^synced: 1 files/) });
        expect(stderr).toMatch(/^WARNING: d\/fifo: .+$/m);
        expect(stderr).toMatch(/^WARNING: socket: .+$/m);
        expect(m.names()).toEqual(["d", "d/good"]);
      },
    ],
    [
      "a file that becomes a FIFO leaves nothing old behind that could be taken for it",
      async (m) => {
        m.write({ a: "1", b: "2" });
        await m.mirrored();
        fs.rmSync(m.at("a"));
        execFileSync("mkfifo", [m.at("a")]);
        expect(await m.once()).toMatchObject({ code: 0 });
        expect(m.names()).toEqual(["b"]);
      },
    ],
  ]);
});

describe("what stood at the destination before", () => {
  const foreign: [name: string, here: Record<string, string>, there: Record<string, string>][] = [
    ["other content of the same size", { a: "new" }, { a: "old" }],
    ["a folder where a file is to be", { a: "file" }, { "a/b/c": "x" }],
    ["a file where a folder is to be", { "a/b/c": "x" }, { a: "file" }],
    ["what nobody knows", { a: "1" }, { "x/y/z": "?", w: "!" }],
    ["the same name in another case", { Readme: "1" }, { readme: "2", README: "3" }],
  ];
  test.concurrent.for(foreign)("%s gives way", async ([, here, there], { mirrored }) => {
    mirrored.write(here);
    mirrored.write(there, mirrored.copy);
    await mirrored.mirrored("--allow-mass-delete");
    await mirrored.equal();
  });

  tell([
    [
      "a link to outside gives way, and what it points to is not touched",
      async (m) => {
        const outside = m.rig.folder();
        m.write({ file: "outside", "sub/file": "outside" }, outside);
        m.write({ "d/file": "inside", "d/sub/file": "inside", file: "inside" });
        fs.mkdirSync(m.copy);
        fs.symlinkSync(outside, m.there("d"));
        fs.symlinkSync(`${outside}/file`, m.there("file"));
        await m.mirrored();
        await m.equal();
        expect(fs.readFileSync(`${outside}/file`, "utf8")).toBe("outside");
        expect(fs.readFileSync(`${outside}/sub/file`, "utf8")).toBe("outside");
        expect(fs.readdirSync(outside)).toEqual(["file", "sub"]);
      },
    ],
    [
      "a FIFO gives way",
      async (m) => {
        m.write({ a: "file" });
        fs.mkdirSync(m.copy);
        execFileSync("mkfifo", [m.there("a")]);
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "a read-only file and a read-only folder give way",
      async (m) => {
        m.write({ a: "new", "d/e": "new" });
        m.write({ a: "old", "d/e": "old", "d/f": "gone" }, m.copy);
        fs.chmodSync(m.there("a"), 0o400);
        fs.chmodSync(m.there("d/e"), 0o400);
        await m.mirrored("--allow-mass-delete");
        await m.equal();
      },
    ],
  ]);
});
