import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { type Following, tell } from "../../support/mirrored.js";
import { followWithMounts } from "../../support/mount-namespace.js";
import { onTerminal, type Program, REPOSITORY, until } from "../../support/program.js";

function many(folder: string, count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${folder}/${i}`, `${i}`]));
}

/** The deletes that are held back last. */
function heldBy(following: Following) {
  const held = following.of("held").at(-1);
  return {
    id: String(held?.id),
    files: Number(held?.files),
    deleted: Number(held?.deleted),
    message: String(held?.message),
  };
}

describe("mass deletes", () => {
  tell([
    [
      "that go on for a while are said once, with their paths, and then how many they are by now",
      async (m) => {
        m.write({ ...many("d", 400), ...many("e", 20) });
        const program = m.rig.start(["mirror", m.folder, m.address]);
        await program.printed(/following/);
        const remove = (from: number, to: number): void => {
          for (let i = from; i < to; i++) fs.rmSync(m.at(`d/${i}`));
        };
        remove(0, 250);
        await until(() => program.stderr.includes("ERR_MASS_DELETE"));
        remove(250, 300);
        await until(() => / \d+ deletes are held back now\.\n/.test(program.stderr));
        remove(300, 400);
        await until(() => (program.stderr.match(/ deletes are held back now\.\n/g) ?? []).length > 1);
        expect(program.stderr.match(/ERR_MASS_DELETE/g)).toHaveLength(1);
        expect(program.stderr.match(/held back: d\//g)).toHaveLength(10);
        expect(await program.interrupt()).toMatchObject({ code: 0 });
      },
    ],
    [
      "150 of 170 files go one by one: what goes on is held back, and the message says what is gone and how it comes back",
      async (m) => {
        m.write({ ...many("d", 150), ...many("e", 20) });
        const following = await m.follow();
        const before = new Date();
        await sleep(1100);
        for (let i = 0; i < 150; i++) {
          fs.rmSync(m.at(`d/${i}`));
          // Some are deleted at the server before there are too many.
          if (i === 30) await until(() => !fs.existsSync(m.there("d/0")));
          await sleep(10);
        }
        await until(() => heldBy(following).files + heldBy(following).deleted === 150);
        const { deleted, files, message } = heldBy(following);
        expect(deleted).toBeGreaterThan(0);
        expect(deleted).toBeLessThanOrEqual(100);
        expect(message).toMatch(
          new RegExp(`lose 150 of its 170 files; ${deleted} of them were deleted already, the other ${files} are kept`),
        );
        expect(message).not.toMatch(/nothing was deleted/);
        expect(m.names().filter((name) => name.startsWith("d/"))).toHaveLength(files);
        const [, at = ""] = /confundo restore \S+ --at (\S+) --to FOLDER/.exec(message) ?? [];
        expect(Date.parse(at)).toBeGreaterThan(before.getTime());
        const back = path.join(m.rig.folder(), "back");
        const restored = await m.rig.run(["restore", m.name, "--at", at, "--to", back, "--dir", m.shared.home]);
        expect(restored).toMatchObject({ code: 0, stderr: "" });
        expect(fs.readdirSync(path.join(back, "d"))).toHaveLength(150);
        m.write({ "e/3": "edited" });
        await until(() => fs.readFileSync(m.there("e/3"), "utf8") === "edited");
        await following.leave();
      },
    ],
    [
      "400 of 450 files are removed: everything else goes on, and what comes back is not held back any more",
      async (m) => {
        m.write({ ...many("node_modules", 400), ...many("src", 50) });
        const following = await m.follow();
        fs.rmSync(m.at("node_modules"), { recursive: true });
        await following.program.printed(/"type":"held"/);
        expect(heldBy(following)).toMatchObject({ files: 400, deleted: 0 });
        m.write({ "src/7": "edited", "src/new": "1" });
        fs.renameSync(m.at("src/8"), m.at("src/eight"));
        await until(() => fs.readFileSync(m.there("src/7"), "utf8") === "edited" && m.names().includes("src/eight"));
        expect(m.names().filter((name) => name.startsWith("node_modules/"))).toHaveLength(400);
        expect(following.program.ended).toBe(false);
        m.write(many("node_modules", 400));
        await following.program.printed(/"type":"released"/);
        await m.equal();
        await following.leave();
      },
    ],
    [
      "deletes that are held back are approved at the server, once, for what was shown",
      async (m) => {
        m.write({ ...many("node_modules", 200), ...many("src", 50) });
        const following = await m.follow();
        const approve = (...more: string[]) => m.rig.run(["approve", m.name, "--dir", m.shared.home, ...more]);
        expect(await approve()).toMatchObject({ code: 1, stderr: expect.stringContaining("(ERR_NOTHING_HELD)") });
        fs.rmSync(m.at("node_modules"), { recursive: true });
        await following.program.printed(/"type":"held"/);
        const { id } = heldBy(following);
        expect(await approve("--id", "f00")).toMatchObject({ code: 1, stderr: expect.stringContaining(id) });
        expect(await approve("--keep")).toMatchObject({ code: 0, stdout: expect.stringMatching(/node_modules\/0\n/) });
        expect(m.names().filter((name) => name.startsWith("node_modules/"))).toHaveLength(200);
        const told = await approve("--json");
        expect(told).toMatchObject({ code: 0, stderr: "" });
        expect(JSON.parse(told.stdout)).toMatchObject({ id, files: 200 });
        expect(m.names().filter((name) => name.startsWith("node_modules/"))).toHaveLength(200);
        expect(await approve("--json")).toMatchObject({ code: 0, stdout: told.stdout });
        expect(await approve("--id", id)).toMatchObject({ code: 0, stderr: "" });
        await m.equal();
        await following.program.printed(/"type":"released".*"approved":true/);
        m.write(many("node_modules", 200));
        await m.equal();
        fs.rmSync(m.at("node_modules"), { recursive: true });
        await until(() => following.of("held").length === 2);
        expect(heldBy(following).id).not.toBe(id);
        expect(await approve("--id", id)).toMatchObject({
          code: 1,
          stderr: expect.stringContaining("ERR_PRECONDITION"),
        });
        expect(await approve()).toMatchObject({ code: 0, stderr: "" });
        await m.equal();
        await following.leave();
      },
    ],
    [
      "the person at the terminal is asked, and answers with y or n",
      async (m) => {
        m.write({ ...many("d", 150), ...many("e", 20) });
        await m.mirrored();
        fs.rmSync(m.at("d"), { recursive: true });
        const ask = async (answer: string, ...more: string[]): Promise<Program> => {
          const command = [
            process.execPath,
            path.join(REPOSITORY, "bin/confundo.js"),
            "mirror",
            m.folder,
            m.address,
            ...more,
          ];
          const terminal = m.rig.spawn("script", onTerminal(command), { stdin: "open" });
          await terminal.printed(/Delete 150 files at the destination\? \[y\/N\] /);
          terminal.child.stdin?.write(`${answer}\r`);
          return terminal;
        };
        expect((await (await ask("n", "--once")).exited).code).toBe(1);
        expect(m.names()).toHaveLength(172);
        const following = await ask("what?");
        await following.printed(/Please answer y or n/);
        m.write({ "e/1": "edited" });
        await until(() => fs.readFileSync(m.there("e/1"), "utf8") === "edited");
        following.child.stdin?.write("y\r");
        await m.equal();
        following.child.stdin?.write("\u0003");
        expect((await following.exited).code).toBe(0);
      },
    ],
    [
      "--max-delete sets the limit, and --delete-window how long deletes count together",
      async (m) => {
        m.write(many("d", 30));
        const following = await m.follow("--max-delete", "10%");
        fs.rmSync(m.at("d/1"));
        await until(() => !m.names().includes("d/1"));
        for (const i of [2, 3, 4]) fs.rmSync(m.at(`d/${i}`));
        await following.program.printed(/"type":"held"/);
        expect(heldBy(following)).toMatchObject({ files: 3, deleted: 1 });
        await following.leave();
        const short = await m.follow("--max-delete", "2", "--delete-window", "1s");
        expect(short.of("held")).toMatchObject([{ files: 3 }]);
        await short.leave();
        expect(await m.once("--max-delete", "2")).toMatchObject({
          code: 1,
          // The one that was deleted before counts, too.
          stderr: expect.stringMatching(/lose 4 of its/),
        });
        await m.mirrored("--max-delete", "4");
        await m.equal();
        expect(await m.once("--max-delete", "many")).toMatchObject({ code: 2 });
      },
    ],
    [
      "runs that follow each other count together: not 99 of 300 files with each, by --once or by a client that is restarted",
      async (m) => {
        m.write(many("d", 300));
        await m.mirrored();
        const remove = (from: number, to: number): void => {
          for (let i = from; i < to; i++) fs.rmSync(m.at(`d/${i}`));
        };
        remove(0, 99);
        await m.mirrored();
        remove(99, 198);
        const { code, stderr } = await m.once();
        expect({ code, stderr }).toEqual({
          code: 1,
          stderr: expect.stringMatching(/lose 198 of its 300 files; 99 of them were deleted already.*ERR_MASS_DELETE/),
        });
        const following = await m.follow();
        expect(heldBy(following)).toMatchObject({ files: 99, deleted: 99 });
        m.write(Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`d/${99 + i}`, `${99 + i}`])));
        await following.program.printed(/"type":"released"/);
        await following.leave();
        expect(m.names()).toHaveLength(202);
        // A window that is over does not count.
        remove(99, 198);
        await m.mirrored("--delete-window", "1s");
        await m.equal();
      },
    ],
    [
      "renamed links, and folders renamed to and fro quickly, are no loss",
      async (m) => {
        fs.mkdirSync(m.at("links"));
        for (let i = 0; i < 250; i++) fs.symlinkSync(`somewhere/${i}`, m.at(`links/${i}`));
        m.write(many("a/b", 300));
        const following = await m.follow();
        for (let i = 0; i < 250; i++) fs.renameSync(m.at(`links/${i}`), m.at(`links/new${i}`));
        for (let i = 0; i < 400; i++) {
          fs.renameSync(m.at(i % 2 === 0 ? "a" : "c"), m.at(i % 2 === 0 ? "c" : "a"));
          await sleep(5);
        }
        fs.renameSync(m.at("a"), m.at("z"));
        await m.equal();
        expect(following.of("held")).toEqual([]);
        expect(following.of("notice")).toEqual([]);
        await following.leave();
      },
    ],
    [
      "a folder of 300 files that becomes one file is not replaced before it is approved",
      async (m) => {
        m.write({ ...many("d", 300), a: "1" });
        const following = await m.follow();
        fs.rmSync(m.at("d"), { recursive: true });
        m.write({ d: "a file now" });
        await following.program.printed(/"type":"held"/);
        m.write({ a: "2" });
        await until(() => fs.readFileSync(m.there("a"), "utf8") === "2");
        expect(m.names().filter((name) => name.startsWith("d/"))).toHaveLength(300);
        await following.leave();
      },
    ],
  ]);
});

describe.runIf(process.platform === "linux")("disks below the folder", () => {
  tell([
    [
      "a disk that is unmounted takes nothing with it, and goes on when it is mounted again",
      async (m) => {
        m.write({ a: "1", "disk/": "" });
        const { program, mount, inside } = await followWithMounts(m);
        const source = m.rig.folder();
        m.write(many("", 30), source);
        mount("mount", "-t", "tmpfs", "none", m.at("disk"));
        m.write(many("disk", 30), inside);
        await until(() => m.names().filter((name) => name.startsWith("disk/")).length === 30);
        // A walk has seen it there.
        const seen = program.stdout.length;
        await program.printed(/"type":"scanned"/, seen);
        mount("umount", m.at("disk"));
        await program.printed(/"type":"held".*"reason":"unmounted"/);
        m.write({ a: "2" });
        await until(() => fs.readFileSync(m.there("a"), "utf8") === "2");
        expect(m.names().filter((name) => name.startsWith("disk/"))).toHaveLength(30);
        expect(program.ended).toBe(false);
        mount("mount", "-t", "tmpfs", "none", m.at("disk"));
        m.write(many("disk", 30), inside);
        await program.printed(/"type":"released"/);
        // Another disk, empty, that may have the device number of the one before, between two looks.
        const released = program.stdout.length;
        await program.printed(/"type":"scanned"/, released);
        mount("sh", "-c", 'umount "$1" && mount -t tmpfs none "$1"', "sh", m.at("disk"));
        await program.printed(/"type":"held".*"reason":"unmounted"/, released);
        expect(m.names().filter((name) => name.startsWith("disk/"))).toHaveLength(30);
        expect(await program.interrupt()).toMatchObject({ code: 0 });
        // The next run finds the empty folder, and knows what was there.
        const { code, stderr } = await m.once();
        expect({ code, stderr }).toEqual({
          code: 1,
          stderr: expect.stringMatching(/not mounted.*\(ERR_MASS_DELETE\)/),
        });
        expect(m.names().filter((name) => name.startsWith("disk/"))).toHaveLength(30);
      },
    ],
  ]);
});

describe("whose a mirror is", () => {
  tell([
    [
      "another folder is refused with both named, nothing is deleted, and --replace means it",
      async (m) => {
        m.write(many("mine", 90));
        await m.mirrored();
        const other = m.rig.folder();
        m.write({ x: "1", y: "2" }, other);
        const run = (...more: string[]) => m.rig.run(["mirror", other, m.address, ...more]);
        for (const more of [["--once"], [], ["--once", "--allow-mass-delete"]]) {
          const { code, stderr } = await run(...more);
          expect(code).toBe(1);
          for (const named of [m.folder, other, "--replace", "(ERR_MIRROR_OWNER)"]) expect(stderr).toContain(named);
        }
        await m.equal();
        expect(await run("--once", "--replace")).toMatchObject({ code: 0, stderr: "" });
        expect(m.names()).toEqual(["x", "y"]);
        expect(await m.once()).toMatchObject({ code: 1, stderr: expect.stringContaining("ERR_MIRROR_OWNER") });
      },
    ],
    [
      "the folder is known when it was moved, and by a client that was installed again",
      async (m) => {
        m.write(many("d", 10));
        await m.mirrored();
        const moved = `${m.folder}-moved`;
        fs.renameSync(m.folder, moved);
        fs.rmSync(path.join(moved, "d/3"));
        expect(await m.rig.run(["mirror", moved, m.address, "--once"])).toMatchObject({ code: 0, stderr: "" });
        expect(m.names()).not.toContain("d/3");
        const { stdout } = await m.rig.run(["invite", m.name, "--dir", m.shared.home]);
        fs.rmSync(path.join(moved, "d/4"));
        const env = { XDG_STATE_HOME: m.rig.folder() };
        expect(await m.rig.run(["mirror", moved, stdout.trim(), "--once"], { env })).toMatchObject({
          code: 0,
          stderr: "",
        });
        expect(m.names()).not.toContain("d/4");
        fs.renameSync(moved, m.folder);
      },
    ],
    [
      "the first sync into a mirror that holds something asks before it loses a file",
      async (m) => {
        m.write({ a: "1" });
        m.write({ a: "1", precious: "2" }, m.copy);
        expect(await m.once()).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/lose 1 of its 2.*ERR_MASS_DELETE/),
        });
        const following = await m.follow();
        m.write({ b: "2" });
        await until(() => m.names().includes("b"));
        expect(m.names()).toEqual(["a", "b", "precious"]);
        await following.leave();
        await m.mirrored("--allow-mass-delete");
        await m.equal();
      },
    ],
  ]);
});
