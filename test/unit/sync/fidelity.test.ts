/** What a mirror keeps besides contents: names, times, permissions. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { setTimeAt, setTimeOf } from "../../../src/sync/disk.js";
import { follow, make, mirrorOnce, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";

const onLinux = describe.runIf(process.platform === "linux");

/** Everything about a folder, told by another program. */
function listing(folder: string, what = "%P %y %s %T@ %l"): string {
  return execFileSync("find", [".", "-mindepth", "1", "-printf", `${what}\\0`], { cwd: folder, encoding: "latin1" })
    .split("\0")
    .sort()
    .join("\n");
}

onLinux("a mirror", () => {
  test("keeps times to the nanosecond, of files, folders and links, before 1970 and after 2038", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, {
      "a/b/f": "1",
      "a/old": "2",
      "a/new": "3",
      l: { link: "nowhere" },
      empty: null,
      large: Buffer.alloc(200_000),
    });
    const at = (name: string): string => path.join(folder, name);
    setTimeAt(at("a/b/f"), 1_700_000_000_123_456_789n);
    setTimeAt(at("a/old"), -1_234_567_890_987_654_321n);
    setTimeAt(at("a/new"), 4_102_444_800_000_000_001n);
    setTimeAt(at("large"), 1_600_000_000_000_000_007n);
    setTimeAt(at("l"), 1_500_000_000_111_111_111n);
    setTimeOf(at("empty"), 1_400_000_000_222_222_222n);
    setTimeOf(at("a/b"), 1_300_000_000_333_333_333n);
    setTimeOf(at("a"), -1n);
    await mirrorOnce(folder, () => rig.connect());
    expect(listing(rig.at())).toBe(listing(folder));
    // Equal: there is nothing to say.
    const events = await mirrorOnce(folder, () => rig.connect());
    expect(ofType(events, "planned").every(({ files, touched, links }) => files + touched + links === 0)).toBe(true);
  });

  test("keeps the times of folders whose files change, here or there", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, { "a/b/f": "1", "a/g": "2" });
    setTimeOf(path.join(folder, "a/b"), 1_000_000_000_000_000_001n);
    const { events: _, seen } = follow(folder, () => rig.connect());
    await until(() => ofType(seen, "synced").length > 0 && listing(rig.at()) === listing(folder));
    // In place: the folder here has not changed.
    fs.writeFileSync(path.join(folder, "a/b/f"), "longer");
    await until(() => listing(rig.at()) === listing(folder));
    expect(fs.statSync(path.join(rig.at(), "a/b"), { bigint: true }).mtimeNs).toBe(1_000_000_000_000_000_001n);
    fs.writeFileSync(path.join(folder, "a/b/another"), "one");
    fs.rmSync(path.join(folder, "a/g"));
    await until(() => listing(rig.at()) === listing(folder));
  });

  test("keeps all permissions where it is asked to, and otherwise whether a file is executable, granting others no more than the source", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, { "d/secret": "1", "d/script": { content: "2", executable: true }, e: null, plain: "3" });
    make(folder, { large: Buffer.alloc(200_000) });
    for (const [name, mode] of Object.entries({ "d/secret": 0o600, "d/script": 0o710, plain: 0o444, large: 0o640 })) {
      fs.chmodSync(path.join(folder, name), mode);
    }
    fs.chmodSync(path.join(folder, "e"), 0o2775);
    fs.chmodSync(path.join(folder, "d"), 0o555);
    const perms = (where: string): string => listing(where, "%P %m");
    await mirrorOnce(folder, () => rig.connect());
    expect(perms(rig.at())).toContain("d/script 710");
    expect(perms(rig.at())).toContain("large 640");
    await mirrorOnce(folder, () => rig.connect(), { perms: true });
    expect(perms(rig.at())).toBe(perms(folder));
    fs.chmodSync(path.join(folder, "d"), 0o750);
    fs.chmodSync(path.join(folder, "plain"), 0o4755);
    await mirrorOnce(folder, () => rig.connect(), { perms: true });
    // Whoever may write to a mirror must not leave a program there that runs as somebody else.
    expect(perms(rig.at())).toBe(perms(folder).replace("plain 4755", "plain 755"));
  });

  test("keeps names byte for byte, and targets of links", async () => {
    const rig = testHome();
    const folder = tempFolder();
    const name = (...parts: (string | number[])[]): Buffer =>
      Buffer.concat([folder, "/", ...parts].map((part) => Buffer.from(part as string)));
    fs.mkdirSync(name("latin-", [0xe9]));
    fs.writeFileSync(name("latin-", [0xe9], "/", [0xff, 0xfe]), "deep");
    fs.writeFileSync(name("\u00e9"), "NFC");
    fs.writeFileSync(name("e\u0301"), "NFD");
    fs.writeFileSync(name("new\nline"), "1");
    fs.writeFileSync(name("back\\slash"), "2");
    fs.writeFileSync(name([0xff].concat(Array(254).fill(0xfe))), "255 bytes");
    fs.writeFileSync(name("\u{10ffff}\ufffd"), Buffer.alloc(200_000));
    fs.symlinkSync(Buffer.from([0x78, 0xff]), name("link-", [0x80]));
    const deep = Array.from({ length: 40 }, (_, i) => `level ${i}`).join("/");
    make(folder, { [`${deep}/f`]: "40 levels" });
    await mirrorOnce(folder, () => rig.connect());
    expect(listing(rig.at())).toBe(listing(folder));
    fs.renameSync(name("latin-", [0xe9]), name("utf-8"));
    fs.rmSync(name([0xff].concat(Array(254).fill(0xfe))));
    await mirrorOnce(folder, () => rig.connect());
    expect(listing(rig.at())).toBe(listing(folder));
    expect(rig.staged()).toEqual([]);
  });

  test("leaves holes where there were some, also at the end", async () => {
    const rig = testHome();
    const folder = tempFolder();
    const fd = fs.openSync(path.join(folder, "sparse"), "w");
    fs.writeSync(fd, "begins", 0);
    fs.writeSync(fd, "middle", 8 * 1024 * 1024);
    fs.ftruncateSync(fd, 16 * 1024 * 1024);
    fs.closeSync(fd);
    await mirrorOnce(folder, () => rig.connect());
    expect(listing(rig.at())).toBe(listing(folder));
    const copy = path.join(rig.at(), "sparse");
    expect(fs.readFileSync(copy).equals(fs.readFileSync(path.join(folder, "sparse")))).toBe(true);
    expect(fs.statSync(copy).blocks * 512).toBeLessThan(2 * 1024 * 1024);
  });
});
