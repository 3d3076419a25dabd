/** What can be asked for on the command line does what it says. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { Mirrored, tell } from "../../support/mirrored.js";
import { random, until } from "../../support/program.js";

const KIB = 1024;

/** Other content of the same size, with the time that was there. */
function rot(file: string): void {
  const { atime, mtime } = fs.statSync(file);
  const content = fs.readFileSync(file);
  const middle = content.length >> 1;
  content.writeUInt8(content.readUInt8(middle) ^ 1, middle);
  fs.writeFileSync(file, content);
  fs.utimesSync(file, atime, mtime);
}

function rootOf(stdout: string): unknown {
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return events.findLast(({ type }) => type === "synced").root;
}

describe("the destination is checked", () => {
  tell([
    [
      "--verify finds and repairs what rotted there with its size and time, in files small and large",
      async (m) => {
        m.write({ a: "small", "d/large": random(700 * KIB), b: "fine" });
        await m.mirrored();
        rot(m.there("a"));
        rot(m.there("d/large"));
        await m.mirrored("--verify");
        await m.equal();
      },
    ],
    [
      "--verify has nothing to do where all is well",
      async (m) => {
        m.write({ a: "1", "d/b": random(300 * KIB) });
        await m.mirrored();
        expect((await m.once("--verify")).stdout).toMatch(/^synced: 0 files, 0 B sent/);
      },
    ],
    [
      "what is spoiled there while following is repaired with the next change",
      async (m) => {
        m.write({ a: "small", "d/b": random(300 * KIB), "d/c": "3", e: "4" });
        const following = await m.follow();
        rot(m.there("a"));
        rot(m.there("d/b"));
        fs.rmSync(m.there("d/c"));
        m.write({ "stray/x": "?" }, m.copy);
        m.write({ e: "changed" });
        await m.equal();
        expect(following.of("retrying")).toMatchObject([{ code: "ERR_DIVERGED" }]);
        expect(following.program.ended).toBe(false);
      },
    ],
    [
      "what is spoiled there again and again, while nothing else happens, is repaired each time",
      async (m) => {
        m.write({ a: "small", "d/b": "2" });
        const following = await m.follow();
        rot(m.there("a"));
        await m.equal();
        fs.rmSync(m.there("d"), { recursive: true });
        await m.equal();
        await following.leave();
      },
    ],
    [
      "both ends agree on one hash of everything: equal for equal folders, and again after a change is taken back",
      async (m) => {
        const twin = new Mirrored(m.rig, m.shared);
        for (const each of [m, twin]) {
          each.write({ a: "1", "d/b": "22" });
          for (const name of ["a", "d/b", "d"]) fs.utimesSync(each.at(name), 1e9, 1e9);
        }
        const root = rootOf((await m.once("--json")).stdout);
        expect(root).toMatch(/^[0-9a-f]{64}$/);
        expect(rootOf((await twin.once("--json")).stdout)).toBe(root);
        m.write({ "d/b": "33" });
        fs.utimesSync(m.at("d/b"), 1e9, 1e9);
        expect(rootOf((await m.once("--json")).stdout)).not.toBe(root);
        m.write({ "d/b": "22" });
        fs.utimesSync(m.at("d/b"), 1e9, 1e9);
        expect(rootOf((await m.once("--json")).stdout)).toBe(root);
      },
    ],
  ]);
});

describe("--settle", () => {
  tell([
    [
      "a file that is written piece by piece is sent when it rests, and not before",
      async (m) => {
        const settleMs = 1000;
        m.write({ a: "", b: "1" });
        const following = await m.follow("--settle", `${settleMs}ms`);
        const pushes = (): number => following.of("pushed").filter((event) => event.path === "a").length;
        for (;;) {
          const [before, pushed] = [fs.readFileSync(m.there("a"), "utf8"), pushes()];
          const seen = new Set<string>();
          const began = performance.now();
          for (let i = 0; i < 8; i++) {
            fs.appendFileSync(m.at("a"), `${i}`);
            await sleep(30);
            seen.add(fs.readFileSync(m.there("a"), "utf8"));
          }
          const tookMs = performance.now() - began;
          await m.equal();
          // On a machine that is too busy to write in time, the file may have rested.
          if (tookMs > settleMs / 2) continue;
          expect([...seen]).toEqual([before]);
          await until(() => pushes() > pushed);
          expect(pushes()).toBe(pushed + 1);
          break;
        }
        await following.leave();
      },
    ],
    [
      "what never rests is sent all the same",
      async (m) => {
        m.write({ log: "" });
        const following = await m.follow("--settle", "200ms");
        let sent = false;
        const writing = (async () => {
          while (!sent) {
            fs.appendFileSync(m.at("log"), "line\n");
            await sleep(20);
          }
        })();
        await until(() => fs.statSync(m.there("log")).size > 0);
        sent = true;
        await writing;
        await m.equal();
        await following.leave();
      },
    ],
    [
      "a time that is none is a mistake of usage",
      async (m) => {
        expect(await m.once("--settle", "soon")).toMatchObject({ code: 2, stdout: "" });
      },
    ],
  ]);
});

describe("confundo.json", () => {
  tell([
    [
      "several folders in one process, each with its options; what fails in one stops no other",
      async (m) => {
        const base = m.rig.folder();
        const names = ["photos", "notes", "gone"];
        const at = (name: string) => `${m.address}-${name}`;
        m.write({ "photos/a.png": "1", "photos/a.tmp": "2", "notes/b": "3", "gone/c": "4" }, base);
        const mirrors = names.map((name) => ({ folder: name, address: at(name), ignore: ["*.tmp"], settle: "20ms" }));
        m.write({ "confundo.json": JSON.stringify({ mirrors }) }, base);
        const run = () => m.rig.run(["mirror", "--once", "--json"], { cwd: base });
        const first = await run();
        expect(first).toMatchObject({ code: 0, stderr: "" });
        const told = first.stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line));
        expect(new Set(told.map(({ mirror }) => mirror))).toEqual(new Set(names.map((name) => `${m.name}-${name}`)));
        fs.rmSync(path.join(base, "gone/c"));
        m.write({ "notes/b": "changed" }, base);
        const second = await run();
        expect(second.code).toBe(1);
        expect(second.stderr).toMatch(/ERR_MASS_DELETE[\s\S]*1 of 3 mirrors failed/);
        const there = (name: string) => fs.readdirSync(`${m.copy}-${name}`);
        expect([there("photos"), there("notes"), there("gone")]).toEqual([["a.png"], ["b"], ["c"]]);
        expect(fs.readFileSync(`${m.copy}-notes/b`, "utf8")).toBe("changed");
      },
    ],
    [
      "what is wrong in it is named, and nothing is done",
      async (m) => {
        const base = m.rig.folder();
        m.write(
          { "confundo.json": JSON.stringify({ mirrors: [{ folder: ".", address: m.address, ignored: [] }] }) },
          base,
        );
        const { code, stderr } = await m.rig.run(["mirror"], { cwd: base });
        expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/confundo\.json.*"ignored"/) });
        expect(fs.existsSync(m.copy)).toBe(false);
      },
    ],
  ]);
});

describe("looking beforehand", () => {
  tell([
    [
      "doctor names what cannot be mirrored, names that are one elsewhere, and files of another clock",
      async (m) => {
        m.write({ Readme: "1", readme: "2", "\u00e9": "3", "e\u0301": "4", late: "5" });
        fs.utimesSync(m.at("late"), 4e9, 4e9);
        const { code, stdout } = await m.rig.run(["doctor", m.folder, m.address]);
        expect(stdout).toMatch(/Readme = readme/);
        expect(stdout).toMatch(/late/);
        expect(stdout).toMatch(/inotify|watches/);
        expect(stdout).toMatch(/answers in \d+ ms/);
        expect(code).toBe(0);
      },
    ],
    [
      "--dry-run tells each step, and does none",
      async (m) => {
        m.write({ a: "1", "d/b": "2", c: "3" });
        await m.mirrored();
        const before = m.names();
        fs.renameSync(m.at("a"), m.at("moved"));
        // Before what goes, whose inode it would be given.
        m.write({ new: "4", "d/b": "22" });
        fs.rmSync(m.at("c"));
        const { code, stdout } = await m.once("--dry-run", "--json");
        expect(code).toBe(0);
        const planned = stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line))
          .find(({ type }) => type === "planned");
        const steps = planned.steps
          .map(({ do: what, path: at }: { do: string; path: string }) => `${what} ${at}`)
          .sort();
        expect(steps).toEqual(["move moved", "put d/b", "put new", "remove c"]);
        expect(m.names()).toEqual(before);
      },
    ],
    [
      "--bandwidth holds a transfer to its rate",
      async (m) => {
        m.write({ a: random(300 * KIB) });
        const following = await m.follow("--bandwidth", "200K");
        const [synced] = following.of("synced");
        expect(Number(synced?.seconds)).toBeGreaterThan(0.9);
        await m.equal();
        await following.leave();
      },
    ],
  ]);
});
