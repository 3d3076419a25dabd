/** Odd names, odd kinds, odd permissions, odd places: followed as well as anything else. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { Mirrored, OBEDIENT, serve, tell, tellChanges } from "../../support/mirrored.js";
import { random, until } from "../../support/program.js";

const KIB = 1024;

/** A path of bytes in the folder. */
function bytes(m: Mirrored, ...names: (string | number[])[]): Buffer {
  const parts = names.map((name) => Buffer.from(name as string));
  return Buffer.concat([Buffer.from(m.folder), ...parts.flatMap((part) => [Buffer.from("/"), part])]);
}

const BAD = [0x62, 0xff, 0x61];
const WORSE = [0xc3, 0x28, 0xe9];

describe("names that are not UTF-8:", () =>
  tellChanges([
    ["a file is made", () => {}, (m) => fs.writeFileSync(bytes(m, BAD), "1")],
    [
      "a file is changed",
      (m) => fs.writeFileSync(bytes(m, BAD), "1"),
      (m) => fs.writeFileSync(bytes(m, BAD), "another"),
    ],
    [
      "a file is renamed, to a name that is UTF-8 and back",
      (m) => {
        fs.writeFileSync(bytes(m, BAD), "1");
        m.write({ good: "2" });
      },
      (m) => {
        fs.renameSync(bytes(m, BAD), m.at("\ufffd"));
        fs.renameSync(m.at("good"), bytes(m, BAD));
      },
    ],
    [
      "a file is deleted",
      (m) => {
        fs.writeFileSync(bytes(m, BAD), "1");
        m.write({ other: "2" });
      },
      (m) => fs.rmSync(bytes(m, BAD)),
    ],
    [
      "a folder is made and filled, renamed, and changed below",
      (m) => {
        fs.mkdirSync(bytes(m, BAD));
        fs.writeFileSync(bytes(m, BAD, "in"), "1");
        fs.writeFileSync(bytes(m, BAD, WORSE), "2");
      },
      (m) => {
        fs.renameSync(bytes(m, BAD), bytes(m, WORSE));
        fs.writeFileSync(bytes(m, WORSE, WORSE), "changed");
        fs.mkdirSync(bytes(m, WORSE, BAD));
        fs.writeFileSync(bytes(m, WORSE, BAD, "deep"), "3");
      },
    ],
    ["a link's target is bytes, too", () => {}, (m) => fs.symlinkSync(Buffer.from(WORSE), bytes(m, "link"))],
    [
      "two names that a careless reader takes for one",
      (m) => fs.writeFileSync(bytes(m, [0xff]), "1"),
      (m) => {
        fs.writeFileSync(bytes(m, [0xfe]), "2");
        fs.writeFileSync(m.at("\ufffd"), "3");
      },
    ],
  ]));

describe.runIf(process.platform === "linux")("a folder whose own name is not UTF-8", () =>
  tell([
    [
      "is mirrored as the shell names it, and from within, with its ignore file",
      async (m) => {
        const odd = bytes(m, BAD);
        fs.mkdirSync(odd);
        const write = (name: string, content: string): void => fs.writeFileSync(bytes(m, BAD, name), content);
        write("a", "1");
        write("secret", "2");
        write(".confundoignore", "secret\n");
        const named = (...more: string[]) => {
          const shell = `f="$0/$(printf 'b\\377a')"; exec "$1" "$2" mirror "$f" "$3" ${more.join(" ")}`;
          return m.rig.start([m.address], { via: ["sh", "-c", shell, m.folder] });
        };
        expect(await named("--once").exited).toMatchObject({ code: 0, stderr: "" });
        expect(m.names()).toEqual([".confundoignore", "a"]);
        write("b", "3");
        const within = ["sh", "-c", `cd "$0/$(printf 'b\\377a')" && exec "$@"`, m.folder];
        const { code, stderr } = await m.rig.run(["mirror", ".", m.address, "--once"], { via: within });
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
        expect(m.names()).toEqual([".confundoignore", "a", "b"]);
        const following = named();
        await following.printed(/following/);
        write("c", "4");
        await until(() => fs.existsSync(m.there("c")));
        expect(await following.interrupt()).toMatchObject({ code: 0, stderr: "" });
      },
    ],
  ]),
);

describe("kinds:", () =>
  tellChanges([
    [
      "a link becomes a dangling one, and points to a folder",
      (m) => {
        m.write({ a: "1", "d/x": "2" });
        fs.symlinkSync("a", m.at("l"));
        fs.symlinkSync("a", m.at("k"));
      },
      (m) => {
        for (const [name, target] of [
          ["l", "nowhere"],
          ["k", "d"],
        ] as const) {
          fs.rmSync(m.at(name));
          fs.symlinkSync(target, m.at(name));
        }
      },
    ],
    [
      "what a link points to changes, and is not taken for the link",
      (m) => {
        m.write({ "d/x": "1" });
        fs.symlinkSync("d", m.at("l"));
      },
      (m) => m.write({ "l/x": "changed through the link", "d/y": "2" }),
    ],
    [
      "a file becomes a FIFO and a file again",
      (m) => m.write({ a: "1", b: "2" }),
      async (m) => {
        fs.rmSync(m.at("a"));
        execFileSync("mkfifo", [m.at("a")]);
        await until(() => !fs.existsSync(m.there("a")));
        fs.rmSync(m.at("a"));
        m.write({ a: "a file again" });
      },
    ],
    [
      "two folders and a file take each other's places",
      (m) => m.write({ "a/x": "1", "b/x": "2", c: "3" }),
      (m) => {
        fs.renameSync(m.at("a"), m.at("t"));
        fs.renameSync(m.at("c"), m.at("a"));
        fs.renameSync(m.at("b"), m.at("c"));
        fs.renameSync(m.at("t"), m.at("b"));
      },
    ],
    [
      "a folder takes the place of its own parent",
      (m) => m.write({ "a/b/c/x": "1", "a/y": "2" }),
      (m) => {
        fs.renameSync(m.at("a/b"), m.at("t"));
        fs.rmSync(m.at("a"), { recursive: true });
        fs.renameSync(m.at("t"), m.at("a"));
      },
    ],
    [
      "a folder goes into one that is made in its place",
      (m) => m.write({ "a/x": "1", "a/d/y": "2" }),
      (m) => {
        fs.renameSync(m.at("a"), m.at("t"));
        fs.mkdirSync(m.at("a"));
        fs.renameSync(m.at("t"), m.at("a/a"));
      },
    ],
    [
      "only the time of a folder, and of a link, changes",
      (m) => {
        m.write({ "d/x": "1" });
        fs.symlinkSync("d", m.at("l"));
      },
      (m) => {
        fs.utimesSync(m.at("d"), 1e9, 1e9);
        fs.lutimesSync(m.at("l"), 1e9, 1e9);
      },
    ],
  ]));

describe("a user who is not root, at both ends", () => {
  tell([
    [
      "read-only folders and files arrive, change, move and go",
      async ({ rig }) => {
        const home = path.join(rig.folder(), "home");
        const server = rig.start(["serve", home, "--port", "0", "--no-http"], { via: OBEDIENT });
        const [, port = ""] = await server.printed(/listening on \S+:(\d+)\n/);
        const m = new Mirrored(rig, { home, server, port });
        m.write({ "locked/in/a": "1", "locked/b": "2", c: "3", "moves/d": "4" });
        const modes = (mode: number) => {
          for (const name of ["locked/in", "locked"]) if (fs.existsSync(m.at(name))) fs.chmodSync(m.at(name), mode);
        };
        modes(0o555);
        fs.chmodSync(m.at("c"), 0o444);
        const program = m.rig.start(["mirror", m.folder, m.address, "--perms"], { via: OBEDIENT });
        await m.equal({ modes: true });
        modes(0o755);
        m.write({ "locked/in/a": "changed", "locked/new": "5" });
        fs.rmSync(m.at("locked/b"));
        fs.renameSync(m.at("moves"), m.at("locked/moved"));
        modes(0o500);
        await m.equal({ modes: true });
        fs.chmodSync(m.at("c"), 0o644);
        m.write({ c: "changed" });
        modes(0o700);
        fs.rmSync(m.at("locked"), { recursive: true });
        await m.equal({ modes: true });
        expect(await program.interrupt()).toMatchObject({ code: 0, stderr: "" });
      },
    ],
    [
      "a folder that cannot be looked into, and what becomes readable, while following",
      async (m) => {
        m.write({ "d/a": "1", b: "2" });
        fs.chmodSync(m.at("d"), 0o000);
        const program = m.rig.start(["mirror", m.folder, m.address, "--json"], { via: OBEDIENT });
        await program.printed(/"type":"failed","path":"d","code":"EACCES"/);
        m.write({ b: "changed" });
        await until(() => fs.readFileSync(m.there("b"), "utf8") === "changed");
        fs.chmodSync(m.at("d"), 0o755);
        await m.equal();
      },
    ],
  ]);
});

describe("where events do not reach", () => {
  tell([
    [
      "the system has too few watches: it says which sysctl helps, and nothing is missed",
      async (m) => {
        for (let i = 0; i < 8; i++) m.write({ [`d${i}/e/x`]: `${i}` });
        const few = ["unshare", "--user", "--map-root-user", "sh", "-c"];
        const script = 'echo 4 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"';
        const program = m.rig.start(["mirror", m.folder, m.address], { via: [...few, script] });
        await program.printed(/sysctl fs\.inotify\.max_user_watches=\d+/);
        await m.equal();
        m.write({ "d7/e/x": "changed", "d6/new/deep/y": "new" });
        fs.rmSync(m.at("d5"), { recursive: true });
        await m.equal();
        await program.interrupt();
      },
    ],
    [
      "the folder is given as a link, relatively, and with a slash at its end",
      async (m) => {
        m.write({ "d/a": "1" });
        const base = m.rig.folder();
        fs.symlinkSync(m.folder, path.join(base, "link"));
        const program = m.rig.start(["mirror", "link/", m.address, "--json"], { cwd: base });
        await program.printed(/"type":"watching"/);
        await m.equal();
        m.write({ "d/b": "2", c: "3" });
        await m.equal();
        await program.interrupt();
      },
    ],
    [
      "a file is mapped to memory and written to there, without an event",
      async (m) => {
        m.write({ a: Buffer.alloc(64 * KIB, 1), b: "1" });
        const following = await m.follow();
        const script =
          "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nm[5:10]=b'hello'\nm.flush()";
        execFileSync("python3", ["-c", script, m.at("a")]);
        m.write({ b: "changed" });
        await m.equal();
        await following.leave();
      },
    ],
  ]);
});

describe("writing goes on and on", () => {
  tell([
    [
      "--once ends while a file is appended to for ever, with a version that was whole",
      async (m) => {
        m.write({ log: "line 0\n", a: "1" });
        let writes = true;
        let i = 0;
        const writing = (async () => {
          while (writes) {
            fs.appendFileSync(m.at("log"), `line ${++i}\n`);
            await sleep(1);
          }
        })();
        const { code } = await m.once();
        writes = false;
        await writing;
        expect(code).toBe(0);
        const version = fs.readFileSync(m.there("log"), "utf8");
        expect(fs.readFileSync(m.at("log"), "utf8").startsWith(version)).toBe(true);
        expect(version).toMatch(/\n$/);
      },
    ],
    [
      "a large file is replaced by a rename while it is sent: each version that is seen is whole",
      async (m) => {
        const whole = new Set<string>();
        const put = (i: number): void => {
          const content = Buffer.alloc(3 * 1024 * KIB, random(1000));
          content.writeUInt32BE(i, content.length - 4);
          whole.add(content.toString("latin1"));
          fs.writeFileSync(m.at("a.tmp"), content);
          fs.renameSync(m.at("a.tmp"), m.at("a"));
        };
        put(0);
        const following = await m.follow("--bandwidth", "20M");
        for (let i = 1; i <= 8; i++) {
          put(i);
          await sleep(60);
          expect(whole.has(fs.readFileSync(m.there("a"), "latin1"))).toBe(true);
        }
        await m.equal();
        await following.leave();
      },
    ],
    [
      "a folder of the destination is swapped for a link to outside while a large file goes there",
      async (m) => {
        const outside = m.rig.folder();
        m.write({ "d/small": "1", x: "1" });
        const following = await m.follow("--bandwidth", "2M");
        m.write({ "d/large": random(1500 * KIB) });
        await following.program.printed(/"type":"sending","path":"d\/large"/);
        fs.renameSync(m.there("d"), m.there("was d"));
        fs.symlinkSync(outside, m.there("d"));
        await following.program.printed(
          /"path":"d\/large","code":"ERR_NOT_A_FOLDER"|"type":"pushed","path":"d\/large"/,
        );
        expect(fs.readdirSync(outside)).toEqual([]);
        await following.program.interrupt();
        await m.mirrored();
        await m.equal();
        expect(fs.readdirSync(outside)).toEqual([]);
      },
    ],
  ]);
});

describe("the disk of the destination", () => {
  tell([
    [
      "has no room for one file: it is named, the rest arrives, and what was there stays",
      async ({ rig }) => {
        const home = path.join(rig.folder(), "home");
        const { port, server } = await rig.serve(home, "0", "--quota", "200K");
        const m = new Mirrored(rig, { home, server, port });
        m.write({ a: "1", big: random(50 * KIB) });
        await m.mirrored();
        const before = fs.readFileSync(m.there("big"));
        m.write({ a: "2", big: random(400 * KIB), z: "3" });
        const { code, stderr } = await m.once();
        expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^ERROR: big: .*\(ERR_QUOTA\)$/m) });
        expect(fs.readFileSync(m.there("big")).equals(before)).toBe(true);
        expect(m.leftovers()).toEqual([]);
        m.write({ big: random(60 * KIB) });
        await m.mirrored();
        await m.equal();
      },
    ],
    [
      "another serve starts after kill -9 of the first, on the same folder, and the client goes on by itself",
      async ({ rig }) => {
        const home = path.join(rig.folder(), "home");
        const first = await serve(rig, home);
        const m = new Mirrored(rig, first);
        m.write({ a: "1", "d/b": random(300 * KIB) });
        await m.follow();
        await first.server.kill("SIGKILL");
        m.write({ a: "2" });
        await serve(rig, home, first.port);
        await m.equal();
      },
    ],
  ]);
});
