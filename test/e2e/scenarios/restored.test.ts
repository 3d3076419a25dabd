/** Getting back exactly what was: permissions, times, and what a file was called before. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { type Mirrored, tell } from "../../support/mirrored.js";
import { until } from "../../support/program.js";

/** Permissions and modification time to the microsecond, of everything. */
function attributes(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const { mode, mtimeNs } = fs.lstatSync(path.join(folder, name), { bigint: true });
    found[name] = `${(mode & 0o777n).toString(8)} ${mtimeNs / 1000n}`;
  }
  return found;
}

function run(m: Mirrored, command: string, ...more: string[]) {
  return m.rig.run([command, m.name, ...more, "--dir", m.shared.home]);
}

describe("restore", () => {
  tell([
    [
      "brings back permissions, executable bits and times of files and folders, in place and elsewhere",
      async (m) => {
        m.write({ "d/e/f": "1", "d/script": "#!/bin/sh", "d/gone": "3", "empty/": "" });
        fs.chmodSync(m.at("d/script"), 0o750);
        fs.chmodSync(m.at("d/e/f"), 0o640);
        fs.chmodSync(m.at("d/e"), 0o750);
        for (const [i, name] of ["d/e/f", "d/script", "d/gone", "d/e", "d", "empty"].entries()) {
          fs.utimesSync(m.at(name), 1_500_000_000 + i, 1_500_000_000.25 + i);
        }
        await m.mirrored("--perms");
        const before = attributes(m.copy);
        await sleep(1100);
        const at = new Date().toISOString();
        await sleep(1100);
        fs.chmodSync(m.at("d/script"), 0o640);
        fs.chmodSync(m.at("d/e"), 0o700);
        fs.rmSync(m.at("d/gone"));
        fs.rmdirSync(m.at("empty"));
        m.write({ "d/e/new": "4", "d/e/f": "changed" });
        await m.mirrored("--perms");
        expect(attributes(m.copy)).not.toEqual(before);
        const back = path.join(m.rig.folder(), "back");
        expect(await run(m, "restore", ".", "--at", at, "--to", back)).toMatchObject({ code: 0, stderr: "" });
        expect(attributes(back)).toEqual(before);
        expect(await run(m, "restore", ".", "--at", at)).toMatchObject({ code: 0, stderr: "" });
        expect(attributes(m.copy)).toEqual(before);
        expect(fs.readFileSync(m.there("d/e/f"), "utf8")).toBe("1");
      },
    ],
    [
      "a file of a folder that is not there any more comes back with the folders above it, as they were",
      async (m) => {
        m.write({ "d/e/f": "1", "d/e/g": "2", "d/other": "3", kept: "4" });
        fs.chmodSync(m.at("d/e"), 0o750);
        fs.chmodSync(m.at("d"), 0o710);
        for (const [i, name] of ["d/e/f", "d/e", "d"].entries())
          fs.utimesSync(m.at(name), 1_500_000_000, 1_500_000_000 + i);
        await m.mirrored("--perms");
        const before = attributes(m.copy);
        await sleep(1100);
        const at = new Date().toISOString();
        await sleep(1100);
        fs.rmSync(m.at("d"), { recursive: true });
        await m.mirrored("--perms", "--allow-mass-delete");
        for (const more of [["d/e/f"], ["d/e/f", "--at", at], ["d/e/f", "--version", "1"]]) {
          expect(await run(m, "restore", ...more)).toMatchObject({ code: 0, stderr: "" });
          const { d, "d/e": e, "d/e/f": f, kept } = before;
          expect(attributes(m.copy)).toEqual({ d, "d/e": e, "d/e/f": f, kept });
          expect(await run(m, "resume")).toMatchObject({ code: 0 });
          await m.mirrored("--perms", "--allow-mass-delete");
          expect(m.names()).toEqual(["kept"]);
        }
      },
    ],
    [
      "a change of permissions is a version without content, and log shows what a renamed file was called before",
      async (m) => {
        m.write({ "a.txt": "x".repeat(5000) });
        const following = await m.follow();
        fs.chmodSync(m.at("a.txt"), 0o755);
        await until(() => (fs.statSync(m.there("a.txt")).mode & 0o100) !== 0);
        fs.renameSync(m.at("a.txt"), m.at("b.txt"));
        await until(() => m.names().join() === "b.txt");
        fs.mkdirSync(m.at("sub"));
        fs.renameSync(m.at("b.txt"), m.at("sub/c.txt"));
        await until(() => m.names().join() === "sub,sub/c.txt");
        await following.leave();
        await until(() => !fs.existsSync(m.there("b.txt")));
        const { code, stdout } = await run(m, "log", "sub/c.txt");
        expect(code).toBe(0);
        const lines = stdout
          .trim()
          .split("\n")
          .map((line) => line.replace(/^\S+ \S+\s+/, "").split(/\s+/));
        expect(lines.map(([what, , , , name]) => `${what} ${name}`)).toEqual([
          "present sub/c.txt",
          "moved b.txt",
          "moved a.txt",
          "changed a.txt",
        ]);
      },
    ],
  ]);
});
