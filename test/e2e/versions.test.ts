import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { openDatabase } from "../../src/server/index.js";
import { contents, REPOSITORY, test, until } from "../support/program.js";

describe("versions, beside a running server", () => {
  test("an encrypted folder is brought back by one command, and stays so until it is resumed", async ({ rig }) => {
    const home = rig.folder();
    const folder = rig.folder();
    const { port } = await rig.serve(home);
    const beside = (...args: string[]) => rig.run([...args, "--dir", home]);
    const copy = path.join(home, "m");
    fs.mkdirSync(path.join(folder, "docs"));
    for (const name of ["docs/a", "docs/b", "c"]) fs.writeFileSync(path.join(folder, name), `text of ${name}`);
    const client = rig.start(["mirror", folder, `confundo://127.0.0.1:${port}/m`, "--allow-mass-delete"]);
    await client.printed(/synced/);
    await until(() => contents(copy).c === contents(folder).c);
    const before = contents(copy);
    const files = (found: Record<string, string>) => Object.entries(found).filter(([, kind]) => kind !== "folder");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const then = new Date().toISOString();

    for (const name of ["docs/a", "docs/b", "c"]) {
      fs.writeFileSync(path.join(folder, `${name}.locked`), "encrypted");
      fs.rmSync(path.join(folder, name));
    }
    await until(() => fs.existsSync(path.join(copy, "c.locked")) && !fs.existsSync(path.join(copy, "docs/b")));
    const restored = await beside("restore", "m", ".", "--at", then);
    expect(restored).toMatchObject({ code: 0, stderr: "" });
    expect(restored.stdout).toMatch(/^restored m as it was at .*: 3 put in place \(\d+ B\), 3 removed, 0 unchanged\n/);
    expect(restored.stdout).toContain("confundo resume m");
    expect(files(contents(copy))).toEqual(files(before));
    await client.printed(/ERR_FOLDER_HELD/);
    expect(files(contents(copy))).toEqual(files(before));

    const log = await beside("log", "m", "c");
    expect(log.stdout).toMatch(/present {3}v2 .* c\n.* deleted {3}v1 .* c\n/);
    expect((await beside("log")).stdout).toMatch(/^m: 3 files, .*, ON HOLD since /);
    const to = rig.folder();
    expect(await beside("restore", "m", "docs/a.locked", "--to", to)).toMatchObject({ code: 0 });
    expect(fs.readFileSync(path.join(to, "a.locked"), "utf8")).toBe("encrypted");

    expect((await beside("resume", "m")).stdout).toBe("m is not on hold any more\n");
    await until(() => fs.existsSync(path.join(copy, "c.locked")) && files(contents(copy)).length === 3);
    await client.interrupt();
    fs.appendFileSync(path.join(copy, "c.locked"), " by hand");
    expect((await beside("reindex")).stdout).toMatch(/^m: 3 files \(\d+ B\); 0 added, 1 changed, 0 removed\n$/);
    expect((await beside("reindex", "m")).stdout).toMatch(/0 added, 0 changed, 0 removed\n$/);
  });

  test("a log is as long as it is asked to be", async ({ rig }) => {
    const home = rig.folder();
    fs.mkdirSync(path.join(home, ".confundo"));
    const database = await openDatabase({ path: path.join(home, ".confundo", "database.sqlite") });
    const put = { do: "put", folder: "m", path: "d/f", kind: "file", mode: 0o644, mtimeNs: 1n, target: null } as const;
    await database.folders.ensure("m");
    const version = (i: number) => ({ ...put, size: i, sha256: null });
    for (let i = 0; i < 2500; i += 100) {
      const changes = Array.from({ length: 100 }, (_, j) => [
        version(i + j),
        { ...version(i + j), do: "retire", why: "replaced" } as const,
      ]);
      await database.files.apply(changes.flat(), i);
    }
    await database.close();
    const lines = async (...args: string[]): Promise<number> =>
      (await rig.run(["log", ...args, "--json", "--dir", home])).stdout.split("\n").filter(Boolean).length;
    expect(await lines("m", "--limit", "100000")).toBe(2500);
    expect(await lines("m", "d", "--limit", "2100")).toBe(2100);
    expect(await lines("m", "d/f", "--limit", "100000")).toBe(2501);
    expect(await lines("m")).toBe(100);
  });

  test("what cannot be done is told", async ({ rig }) => {
    const home = rig.folder();
    await rig.serve(home);
    const beside = (...args: string[]) => rig.run([...args, "--dir", home]);
    expect(await beside("restore", "none", "x")).toMatchObject({
      code: 1,
      stderr: 'ERROR: There is no mirror "none" here. (ERR_NO_FOLDER)\n',
    });
    expect(await beside("restore", "m", "x", "--at", "someday")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^ERROR: someday is no time/),
    });
    expect(await beside("restore", "m", "../x")).toMatchObject({ code: 2 });
    expect(await beside("log", "none")).toMatchObject({ code: 1, stderr: expect.stringMatching(/ERR_NO_FOLDER/) });
    expect(await rig.run(["serve", home, "--keep", "forever"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^ERROR: forever /),
    });
    expect(await rig.run(["serve", home, "--quota", "much"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^ERROR: much /),
    });
  });

  test("a quota refuses what does not fit, and what was there stays", async ({ rig }) => {
    const home = rig.folder();
    const folder = rig.folder();
    const { port } = await rig.serve(home, "0", "--quota", "10K");
    const mirror = () => rig.run(["mirror", folder, `confundo://127.0.0.1:${port}/m`, "--once"]);
    fs.writeFileSync(path.join(folder, "f"), Buffer.alloc(8000));
    expect(await mirror()).toMatchObject({ code: 0 });
    fs.writeFileSync(path.join(folder, "g"), Buffer.alloc(8000));
    expect(await mirror()).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/ERROR: g: .*may hold 10 KiB.* \(ERR_QUOTA\)\n$/),
    });
    expect(fs.readdirSync(path.join(home, "m"))).toEqual(["f"]);
  });

  test("a storage limit and a number of entries can be set beside a running server, and count at once", async ({
    rig,
  }) => {
    const home = rig.folder();
    const folder = rig.folder();
    const { port } = await rig.serve(home, "0", "--storage-limit", "1M", "--max-entries", "3");
    const mirror = () => rig.run(["mirror", folder, `confundo://127.0.0.1:${port}/m`, "--once"]);
    for (const name of ["a", "b"]) fs.writeFileSync(path.join(folder, name), name);
    for (let i = 0; i < 6; i++) {
      fs.writeFileSync(path.join(folder, "large"), randomBytes(300 * 1024));
      expect(await mirror()).toMatchObject({ code: 0 });
    }
    const audit = await rig.run(["log", "m", "large", "--dir", home, "--json"]);
    expect(audit.stdout.trim().split("\n").length).toBeLessThan(4);
    fs.mkdirSync(path.join(folder, "d"));
    expect(await mirror()).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/ERROR: d: .*--max-entries.* \(ERR_QUOTA\)\n$/),
    });
    const quota = (...args: string[]) => rig.run(["quota", ...args, "--dir", home]);
    expect(await quota("m", "--max-entries", "4", "--quota", "2M")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^m: content \S+ \S+ of 2\.?0? MiB, storage .* of 6\.?0? MiB, entries 3 of 4, versions /,
      ),
    });
    while ((await mirror()).code !== 0);
    expect(await quota("m", "--storage-limit", "1M")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/less than/),
    });
    expect(await quota("--quota", "1M")).toMatchObject({ code: 2 });
    expect(JSON.parse((await quota("--json")).stdout)).toMatchObject({ name: "m", entries: 4, maxEntries: 4 });
  });
});

test("the server is killed at random moments, and nothing that was acknowledged is lost", async ({ rig }) => {
  const soak = rig.spawn(process.execPath, [path.join(REPOSITORY, "scripts", "soak-kill.js"), "3", "2026"]);
  expect(await soak.exited).toMatchObject({ code: 0, stderr: "" });
  expect(soak.stdout).toMatch(/^3 kills, /m);
});
