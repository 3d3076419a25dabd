/** What is in a folder is seen as it is, whatever is done to it: by the watcher, by scans, by reading. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { Mirrored, type Scenario, tell, tellChanges } from "../../support/mirrored.js";
import { bound, followWithMounts, mayUnshare } from "../../support/mount-namespace.js";
import { eventually } from "../../support/patience.js";

/** Mounting takes privileges. */
function mayMount(): boolean {
  const place = fs.mkdtempSync("/tmp/may-mount-");
  try {
    execFileSync("mount", ["--bind", place, place], { stdio: "ignore" });
    execFileSync("umount", [place]);
    return true;
  } catch {
    return false;
  } finally {
    fs.rmdirSync(place);
  }
}

/** A folder whose own name is not UTF-8, and what is in it. */
function odd(m: Mirrored, ...names: string[]): Buffer {
  return Buffer.from([path.join(m.folder, "od\xe9d"), ...names].join("/"), "latin1");
}

describe("watching by chokidar:", () =>
  tellChanges([
    [
      "a folder whose name is not UTF-8: its changes are seen, and its ignore file is read",
      (m) => {
        fs.mkdirSync(odd(m));
        fs.mkdirSync(odd(m, "sub"));
        fs.writeFileSync(odd(m, "a"), "1");
      },
      async (m) => {
        fs.writeFileSync(odd(m, "a"), "changed");
        fs.writeFileSync(odd(m, "sub", "b"), "new");
      },
    ],
    [
      "files are deleted one by one from a large folder while others are written",
      (m) => m.write(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`large/${i}`, ""]))),
      async (m) => {
        for (let i = 0; i < 100; i++) {
          fs.rmSync(m.at(`large/${i}`));
          fs.writeFileSync(m.at(`large/${i + 200}`), `${i}`);
          await sleep(2);
        }
      },
    ],
    [
      "folders are swapped, and then written to",
      (m) => m.write({ "a/x/f": "1", "b/x/f": "2" }),
      async (m) => {
        fs.renameSync(m.at("a"), m.at("c"));
        fs.renameSync(m.at("b"), m.at("a"));
        fs.renameSync(m.at("c"), m.at("b"));
        await m.equal();
        m.write({ "a/x/f": "one", "b/x/f": "another" });
      },
    ],
  ]));

/** Each version that stands at the destination while `write` is under way, by its size. */
async function sizesSeen(place: string, write: () => Promise<void>): Promise<number[]> {
  const seen: number[] = [];
  const look = (): void => {
    const size = fs.statSync(place, { throwIfNoEntry: false })?.size;
    if (size !== undefined && size !== seen.at(-1)) seen.push(size);
  };
  const timer = setInterval(look, 5);
  await write();
  clearInterval(timer);
  look();
  return seen;
}

const PIECE = Buffer.alloc(200 * 1024, 7);

describe.runIf(process.platform === "linux")("a folder whose name is not UTF-8", () =>
  tell([
    [
      "has its ignore file heeded, and names of 255 bytes raise no complaint",
      async (m) => {
        fs.mkdirSync(odd(m));
        fs.writeFileSync(odd(m, ".confundoignore"), "secret\n");
        fs.writeFileSync(odd(m, "secret"), "1");
        fs.writeFileSync(odd(m, "public"), "2");
        fs.mkdirSync(odd(m, "\xe9".repeat(255)));
        fs.writeFileSync(odd(m, "\xe9".repeat(255), "\xff".repeat(255)), "3");
        const following = await m.follow();
        fs.writeFileSync(odd(m, "\xe9".repeat(255), "new"), "4");
        await eventually(() => expect(m.names().filter((name) => name.endsWith("/new"))).toHaveLength(1));
        expect(m.names()).toHaveLength(7 - 1);
        expect(m.names().some((name) => name.endsWith("secret"))).toBe(false);
        expect(following.events.filter(({ type }) => type === "notice" || type === "failed")).toEqual([]);
        await following.leave();
      },
    ],
  ]),
);

describe("a folder and the server's home", () =>
  tell([
    [
      "the home is in the folder: refused, with the --ignore that helps, and doctor says so",
      async (m) => {
        const home = m.at("deep/mirrors");
        fs.mkdirSync(home, { recursive: true });
        m.write({ file: "1" });
        const { port } = await m.rig.serve(home);
        const address = `confundo://127.0.0.1:${port}/self`;
        const refused = await m.rig.run(["mirror", m.folder, address]);
        expect(refused.code).toBe(1);
        expect(refused.stderr).toMatch(/--ignore '\/deep\/mirrors'.*ERR_RECURSION/s);
        const doctor = await m.rig.run(["doctor", m.folder]);
        expect(doctor.stdout).toMatch(
          /PROBLEM {2}1 directories in or above[^\n]*\n +deep\/mirrors \(--ignore '\/deep\/mirrors'/,
        );
        const allowed = await m.rig.run(["mirror", m.folder, address, "--once", "--ignore", "/deep/mirrors"]);
        expect(allowed).toMatchObject({ code: 0, stderr: "" });
        expect(fs.readdirSync(path.join(home, "self")).sort()).toEqual(["deep", "file"]);
      },
    ],
    [
      "the folder is in the home, given by a link: refused",
      async (m) => {
        fs.mkdirSync(path.join(m.shared.home, `${m.name}-in`));
        const link = path.join(m.rig.folder(), "link");
        fs.symlinkSync(path.join(m.shared.home, `${m.name}-in`), link);
        const { code, stderr } = await m.rig.run(["mirror", link, m.address]);
        expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining("ERR_RECURSION") });
      },
    ],
  ]));

describe.runIf(mayUnshare())("a folder and the server's home that contain one another through a bind mount", () =>
  tell([
    [
      "the home is mounted in the folder: refused, with the --ignore that helps, and doctor says so",
      async (m) => {
        m.write({ file: "1", "deep/mirrors/": "" });
        const via = bound(m.shared.home, m.at("deep/mirrors"));
        for (const more of [[], ["--once"]]) {
          const refused = await m.rig.run(["mirror", m.folder, m.address, ...more], { via });
          expect(refused.code).toBe(1);
          expect(refused.stderr).toMatch(/--ignore '\/deep\/mirrors'.*ERR_RECURSION/s);
        }
        const doctor = await m.rig.run(["doctor", m.folder], { via });
        expect(doctor.stdout).toMatch(/PROBLEM[^\n]*\n +deep\/mirrors \(--ignore '\/deep\/mirrors'/);
        const allowed = await m.onceWith({ via }, "--ignore", "/deep/mirrors");
        expect(allowed).toMatchObject({ code: 0, stderr: "" });
        expect(m.names()).toEqual(["deep", "file"]);
      },
    ],
    [
      "the folder is in the home, and mounted elsewhere: refused",
      async (m) => {
        const inside = path.join(m.shared.home, `${m.name}-in`, "deeper");
        m.write({ file: "1" }, inside);
        const { code, stderr } = await m.onceWith({ via: bound(inside, m.folder) });
        expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining("ERR_RECURSION") });
        expect(m.names()).toEqual([]);
      },
    ],
    [
      "the home is mounted in the folder while it is followed: nothing of it is mirrored",
      async (m) => {
        m.write({ file: "1", "inner/": "" });
        const { program, mount } = await followWithMounts(m);
        mount("mount", "--bind", m.shared.home, m.at("inner"));
        await program.printed(/ERR_RECURSION/);
        expect(m.names()).toEqual(["file", "inner"]);
      },
    ],
  ]),
);

const SHARED_MEMORY = "/dev/shm";

/** A folder on tmpfs, where a store through a memory map changes no time stamp. */
async function inMemory(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(`${SHARED_MEMORY}/confundo-`);
  try {
    await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const MAPPER = `import mmap,sys
f=open(sys.argv[1],'r+b')
m=mmap.mmap(f.fileno(),0)
for line in sys.stdin:
  m[:]=line[:-1].encode()
  print('stored',flush=True)`;

/** A program that stores through a map: once, with a time stamp, and then, as the page is dirty, without. */
async function mapped(file: string, use: (store: (content: string) => Promise<void>) => Promise<void>): Promise<void> {
  const program = spawn("python3", ["-c", MAPPER, file], { stdio: ["pipe", "pipe", "inherit"] });
  const store = async (content: string): Promise<void> => {
    program.stdin.write(`${content}\n`);
    await once(program.stdout, "data");
  };
  try {
    await store(fs.readFileSync(file, "utf8"));
    const stamp = (): bigint => fs.statSync(file, { bigint: true }).ctimeNs;
    const before = stamp();
    await use(async (content) => {
      await store(content);
      expect(stamp()).toBe(before);
    });
  } finally {
    program.kill();
  }
}

describe.runIf(fs.existsSync(SHARED_MEMORY))("a store through a memory map, which leaves no trace", () =>
  tell([
    ...["--checksum", "--verify"].map(
      (option): Scenario => [
        `is found by ${option}`,
        (m) =>
          inMemory(async (folder) => {
            fs.writeFileSync(path.join(folder, "map"), "before");
            fs.writeFileSync(path.join(folder, "other"), "1");
            const command = ["mirror", folder, m.address, "--once", "--json", "--settle-open", "0"];
            const mirror = (...more: string[]) => m.rig.run([...command, ...more]);
            await mapped(path.join(folder, "map"), async (store) => {
              expect(await mirror()).toMatchObject({ code: 0 });
              await store("silent");
              const plain = await mirror();
              expect(plain.stdout).not.toContain('"type":"pushed"');
              const thorough = await mirror(option);
              expect(thorough.stdout.match(/"type":"pushed","path":"[^"]*"/g)).toEqual([
                '"type":"pushed","path":"map"',
              ]);
              expect(fs.readFileSync(m.there("map"), "utf8")).toBe("silent");
            });
          }),
      ],
    ),
    [
      "is found by --scrub while following, with a notice",
      (m) =>
        inMemory(async (folder) => {
          for (const name of ["map", "a", "b"]) fs.writeFileSync(path.join(folder, name), "before");
          fs.writeFileSync(path.join(folder, "large"), Buffer.alloc(1_000_000, 1));
          await mapped(path.join(folder, "map"), async (store) => {
            const program = m.rig.start(["mirror", folder, m.address, "--json", "--scrub", "2s", "--settle-open", "0"]);
            await program.printed(/"type":"synced"/);
            await store("silent");
            await program.printed(/"code":"ERR_SILENT_CHANGE"[^\n]*"path":"map"/);
            await eventually(() => expect(fs.readFileSync(m.there("map"), "utf8")).toBe("silent"));
            expect(program.stdout.match(/ERR_SILENT_CHANGE/g)).toHaveLength(1);
            await program.interrupt();
          });
        }),
    ],
  ]),
);

describe.runIf(process.platform === "linux")("a sparse file", () =>
  tell([
    [
      "is read and sent hole by hole, and has holes at the destination",
      async (m) => {
        const size = 1024 ** 3;
        const pieces = [0, 700_000_000, 700_300_000, size - 5000].map((at, i) => ({
          at,
          piece: Buffer.alloc(5000, i + 1),
        }));
        const fd = fs.openSync(m.at("image"), "w");
        fs.ftruncateSync(fd, size);
        for (const { at, piece } of pieces) fs.writeSync(fd, piece, 0, piece.length, at);
        fs.closeSync(fd);
        m.write({ zeros: "" });
        fs.truncateSync(m.at("zeros"), 300_000_000);
        const { code, stdout } = await m.once("--json");
        expect(code).toBe(0);
        const synced = stdout.split("\n").filter((line) => line.includes('"type":"synced"'));
        expect(JSON.parse(synced[0] as string).bytesSent).toBeLessThan(4_000_000);
        expect(JSON.parse(synced[0] as string).bytesReused).toBe(0);
        // A few bytes more, where there was a hole.
        pieces.push({ at: 900_000_000, piece: Buffer.from("later") });
        const changed = fs.openSync(m.at("image"), "r+");
        fs.writeSync(changed, "later", 900_000_000);
        fs.closeSync(changed);
        const again = await m.once("--json");
        expect(again.code).toBe(0);
        const later = again.stdout.split("\n").find((line) => line.includes('"type":"synced"'));
        expect(JSON.parse(later as string).bytesSent).toBeLessThan(500_000);
        expect(JSON.parse(later as string).bytesReused).toBeLessThan(4_000_000);
        const copy = fs.openSync(m.there("image"), "r");
        expect(fs.fstatSync(copy).size).toBe(size);
        expect(fs.fstatSync(copy).blocks * 512).toBeLessThan(4_000_000);
        for (const { at, piece } of pieces) {
          const found = Buffer.alloc(piece.length);
          fs.readSync(copy, found, 0, found.length, at);
          expect(found.equals(piece)).toBe(true);
        }
        fs.closeSync(copy);
        expect(fs.statSync(m.there("zeros"))).toMatchObject({ size: 300_000_000, blocks: 0 });
      },
    ],
  ]),
);

/** 600 small files in 30 folders, and 12 large ones. */
function manyFiles(m: Mirrored): void {
  for (let i = 0; i < 600; i++) m.write({ [`d${i % 30}/f${i}`]: `${i}` });
  for (let i = 0; i < 12; i++) m.write({ [`large${i}`]: Buffer.alloc(300_000, i) });
}

const LOW_LIMIT = ["prlimit", "--nofile=40:40"];

describe.runIf(process.platform === "linux")("40 file descriptors", () =>
  tell([
    [
      "at the client: everything arrives, without a failure",
      async (m) => {
        const program = m.rig.start(["mirror", m.folder, m.address, "--json"], { via: LOW_LIMIT });
        await program.printed(/"type":"synced"/);
        manyFiles(m);
        await m.equal();
        expect(program.stdout).not.toContain("EMFILE");
        await program.interrupt();
      },
    ],
    [
      "at the server: everything arrives, and what failed meanwhile names the server",
      async (m) => {
        const home = m.rig.folder();
        const server = m.rig.start(["serve", home, "--port", "0", "--no-http"], { via: LOW_LIMIT });
        const [, port = ""] = await server.printed(/listening on \S+:(\d+)\n/);
        const limited = new Mirrored(m.rig, { home, port, server });
        const following = await limited.follow();
        manyFiles(limited);
        await limited.equal();
        for (const { code, message } of following.of("failed")) {
          expect({ code, message }).toEqual({
            code: "EMFILE",
            message: "the server has as many files open as it may have (40); ulimit -n allows more",
          });
        }
        await following.leave();
      },
    ],
  ]),
);

describe("the folder is a link", () =>
  tell([
    [
      "that comes to lead to another release while it is followed: that one is mirrored, with a notice",
      async (m) => {
        m.write({ "release-1/a": "1", "release-1/b": "2", "release-2/a": "one", "release-2/c": "3" });
        fs.symlinkSync("release-1", m.at("current"));
        const program = m.rig.start(["mirror", m.at("current"), m.address, "--json"]);
        await program.printed(/"type":"synced"/);
        expect(m.names()).toEqual(["a", "b"]);
        fs.symlinkSync("release-2", m.at("next"));
        fs.renameSync(m.at("next"), m.at("current"));
        await program.printed(/"code":"ERR_FOLDER_MOVED"/);
        await eventually(() => expect(m.names()).toEqual(["a", "c"]));
        fs.writeFileSync(m.at("release-2/later"), "4");
        await eventually(() => expect(m.names()).toEqual(["a", "c", "later"]));
        expect(fs.readFileSync(m.there("a"), "utf8")).toBe("one");
        await program.interrupt();
      },
    ],
    [
      "that comes to lead nowhere, or is removed: that is said once, and nothing is deleted",
      async (m) => {
        m.write({ "release-1/a": "1", "release-2/a": "2" });
        fs.symlinkSync("release-1", m.at("current"));
        const program = m.rig.start(["mirror", m.at("current"), m.address, "--json"]);
        await program.printed(/"type":"synced"/);
        fs.rmSync(m.at("current"));
        await program.printed(/leads nowhere now/);
        fs.writeFileSync(m.at("release-1/later"), "still followed");
        await eventually(() => expect(m.names()).toEqual(["a", "later"]));
        fs.symlinkSync("nowhere", m.at("current"));
        fs.rmSync(m.at("release-1/later"));
        await eventually(() => expect(m.names()).toEqual(["a"]));
        fs.symlinkSync("release-2", m.at("next"));
        fs.renameSync(m.at("next"), m.at("current"));
        await eventually(() => expect(fs.readFileSync(m.there("a"), "utf8")).toBe("2"));
        await program.interrupt();
        expect(program.stdout.match(/leads nowhere now/g)).toHaveLength(1);
      },
    ],
  ]));

describe.runIf(process.platform === "linux")("modification times", () =>
  tell([
    [
      "up to the end of what the file system holds are kept, and nothing ends",
      async (m) => {
        m.write({ far: "1", farther: "2", early: "3", "d/f": "4" });
        fs.symlinkSync("far", m.at("link"));
        const touch = (name: string, when: string): void => void execFileSync("touch", ["-h", "-d", when, m.at(name)]);
        touch("far", "2300-01-01T00:00:00.123456789Z");
        touch("farther", "2446-05-01T00:00:00Z");
        touch("early", "1902-01-01T00:00:00Z");
        touch("d", "2400-01-01T00:00:00Z");
        touch("link", "2263-01-01T00:00:00Z");
        const following = await m.follow();
        await m.equal();
        touch("early", "2299-12-31T23:59:59Z");
        await m.equal();
        await following.leave();
        const again = await m.once("--json");
        expect(again).toMatchObject({ code: 0 });
        expect(again.stdout).not.toContain('"type":"pushed"');
      },
    ],
  ]),
);

describe.runIf(process.platform === "linux")("an ignore file of 100,000 lines", () =>
  tell([
    [
      "holds nothing up",
      async (m) => {
        m.write({ ".confundoignore": Array.from({ length: 100_000 }, (_, i) => `skip-${i}.tmp\n`).join("") });
        m.write(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`f${i}`, `${i}`])));
        m.write({ "skip-77777.tmp": "1" });
        await m.mirrored();
        expect(m.names()).toHaveLength(301);
      },
    ],
  ]),
);

describe.runIf(process.platform === "linux")("a file that is open for writing", () =>
  tell([
    [
      "by a slow writer: only the whole arrives",
      async (m) => {
        const following = await m.follow();
        const sizes = await sizesSeen(m.there("slow"), async () => {
          const fd = fs.openSync(m.at("slow"), "w");
          for (let i = 0; i < 10; i++) {
            fs.writeSync(fd, PIECE);
            await sleep(150);
          }
          fs.closeSync(fd);
          await m.equal();
        });
        expect(sizes).toEqual([10 * PIECE.length]);
        await following.leave();
      },
    ],
    [
      "truncated, and written a while later: it is never empty at the destination",
      async (m) => {
        m.write({ f: "before" });
        const following = await m.follow();
        await m.equal();
        const sizes = await sizesSeen(m.there("f"), async () => {
          const fd = fs.openSync(m.at("f"), "w");
          await sleep(400);
          fs.writeSync(fd, "afterwards");
          fs.closeSync(fd);
          await m.equal();
        });
        expect(sizes).toEqual([6, 10]);
        await following.leave();
      },
    ],
    [
      "truncated, and written a while later, where leases are not to be had: it is never empty at the destination either",
      async (m) => {
        // A lease takes the file's owner, or a capability; others than root own what they write here.
        const isRoot = process.getuid?.() === 0;
        m.write({ f: "before" });
        if (isRoot) fs.chownSync(m.at("f"), 1234, 1234);
        const via = isRoot ? ["setpriv", "--bounding-set=-lease"] : [];
        const program = m.rig.start(["mirror", m.folder, m.address], { via });
        await program.printed(/following/);
        const sizes = await sizesSeen(m.there("f"), async () => {
          const fd = fs.openSync(m.at("f"), "w");
          await sleep(400);
          fs.writeSync(fd, "afterwards");
          fs.closeSync(fd);
          await m.equal();
        });
        expect(sizes).toEqual([6, 10]);
        expect(await program.interrupt()).toMatchObject({ code: 0, stderr: "" });
      },
    ],
    [
      "that is never closed: arrives in versions that were the whole file, every --settle-open",
      async (m) => {
        const following = await m.follow("--settle-open", "1s");
        const fd = fs.openSync(m.at("log"), "w");
        let lines = 0;
        const began = performance.now();
        const writing = setInterval(() => fs.writeSync(fd, `${String(++lines).padStart(9, "0")}\n`), 20);
        try {
          for (let versions = 1; versions <= 3; versions++) {
            await following.program.printed(new RegExp(`("type":"pushed","path":"log"[^]*){${versions}}`));
            const content = fs.readFileSync(m.there("log"), "utf8");
            expect(content).toBe(
              Array.from({ length: content.length / 10 }, (_, i) => `${String(i + 1).padStart(9, "0")}\n`).join(""),
            );
          }
          // Each has waited for as long.
          expect(performance.now() - began).toBeGreaterThan(2 * 900);
        } finally {
          clearInterval(writing);
          fs.closeSync(fd);
        }
        await m.equal();
        await following.leave();
      },
    ],
    [
      "and rests, is sent by --once without waiting; one that changes, as it was at one moment",
      async (m) => {
        m.write({ resting: "1" });
        fs.utimesSync(m.at("resting"), 1, 1);
        const fd = fs.openSync(m.at("changing"), "w");
        fs.writeSync(fd, "so far");
        expect(await m.once("--settle-open", "300ms")).toMatchObject({ code: 0 });
        expect(m.names()).toEqual(["changing", "resting"]);
        fs.closeSync(fd);
      },
    ],
  ]),
);

if (process.platform === "linux" && mayMount()) {
  describe("mounts:", () =>
    tell([
      [
        "a bind mount that appears: its content is seen, with one notice",
        async (m) => {
          const other = m.rig.folder();
          m.write({ "data/hidden": "1", keep: "2" });
          fs.writeFileSync(path.join(other, "seen"), "3");
          const following = await m.follow();
          execFileSync("mount", ["--bind", other, m.at("data")]);
          try {
            await following.program.printed(/"code":"ERR_NO_EVENTS"/);
            await m.equal();
            fs.writeFileSync(path.join(other, "later"), "4");
            await m.equal();
            expect(following.of("notice").filter(({ code }) => code === "ERR_NO_EVENTS")).toHaveLength(1);
            const doctor = await m.rig.run(["doctor", m.folder]);
            expect(doctor.stdout).toMatch(/warning {2}1 paths are mounts[^\n]*\n +data\n/);
          } finally {
            await following.leave();
            execFileSync("umount", [m.at("data")]);
          }
        },
      ],
    ]));
}
