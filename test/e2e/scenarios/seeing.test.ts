/** What is in a folder is seen as it is, whatever is done to it: by the watcher, by scans, by reading. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, vi } from "vitest";
import { type Mirrored, tell, tellChanges } from "../../support/mirrored.js";

vi.setConfig({ testTimeout: 60_000 });

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
