import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changedFileMode, changedFolderMode, fileMode, folderMode, grantsMore } from "../../../src/sync/modes.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { event, follow, mirrorOnce, tempFolder, testHome, until } from "../../support/sync-rig.js";

const mode = (file: string): string => (fs.statSync(file).mode & 0o7777).toString(8);

describe("permissions at the mirror", () => {
  const anyMode = fc.nat(0o777);
  const permissions = fc.record({ executable: fc.boolean(), sourceMode: fc.option(anyMode, { nil: undefined }) });

  test("never grant group and others more than the source, whatever was there, and the owner can always read and write", () => {
    fc.assert(
      fc.property(permissions, anyMode, ({ executable, sourceMode }, present) => {
        const file = sourceMode === undefined ? { executable } : { executable, sourceMode };
        const source = sourceMode ?? 0;
        expect(grantsMore(fileMode(file), source)).toBe(false);
        expect(fileMode(file) & 0o700).toBe(executable ? 0o700 : 0o600);
        expect(grantsMore(folderMode(file), source)).toBe(false);
        expect(folderMode(file) & 0o700).toBe(0o700);
        // What somebody closed at the server stays closed.
        const before = present | 0o600;
        for (const changed of [changedFileMode(before, file), changedFolderMode(before | 0o700, file)]) {
          expect(grantsMore(changed & 0o666, before)).toBe(false);
          if (sourceMode !== undefined) expect(grantsMore(changed, source)).toBe(false);
        }
        expect((changedFileMode(before, file) & 0o100) !== 0).toBe(executable);
      }),
    );
  });

  test("are those of the source as far as the umask allows: small and large files, copies, folders", async () => {
    const { at, connect } = testHome();
    const folder = tempFolder();
    const shared = randomBytes(20_000);
    for (const [i, bits] of [0o600, 0o640, 0o644, 0o700, 0o750, 0o755, 0o400].entries()) {
      const name = path.join(folder, `d${bits.toString(8)}`);
      fs.mkdirSync(name);
      fs.writeFileSync(path.join(name, "small"), `small ${i}`, { mode: bits });
      fs.writeFileSync(path.join(name, "copy"), shared, { mode: bits });
      fs.writeFileSync(path.join(name, "large"), randomBytes(200_000), { mode: bits });
      fs.chmodSync(name, bits | 0o700);
    }
    await mirrorOnce(folder, () => connect());
    const expected = {
      "600": "600",
      "640": "640",
      "644": "644",
      "700": "700",
      "750": "750",
      "755": "755",
      "400": "600",
    };
    for (const [bits, there] of Object.entries(expected)) {
      for (const name of ["small", "copy", "large"]) {
        expect([bits, name, mode(path.join(at(), `d${bits}`, name))]).toEqual([bits, name, there]);
      }
      const folderBits = (Number.parseInt(bits, 8) | 0o700).toString(8);
      expect(mode(path.join(at(), `d${bits}`))).toBe(folderBits);
    }
  });

  test("follow a source that is closed later, and what is only closed at the server stays so", async () => {
    const { at, connect } = testHome();
    const folder = tempFolder();
    for (const name of ["a", "b", "run"]) fs.writeFileSync(path.join(folder, name), name, { mode: 0o644 });
    fs.chmodSync(path.join(folder, "run"), 0o755);
    fs.mkdirSync(path.join(folder, "d"), { mode: 0o755 });
    const { events, subscription } = follow(folder, () => connect());
    await event(events, "synced");
    expect(mode(path.join(at(), "a"))).toBe("644");
    fs.chmodSync(path.join(at(), "b"), 0o600);
    fs.chmodSync(path.join(folder, "a"), 0o600);
    fs.chmodSync(path.join(folder, "run"), 0o700);
    fs.chmodSync(path.join(folder, "d"), 0o700);
    await until(() => mode(path.join(at(), "a")) === "600" && mode(path.join(at(), "run")) === "700");
    await until(() => mode(path.join(at(), "d")) === "700");
    // Only its owner's bit is needed for that.
    fs.chmodSync(path.join(folder, "b"), 0o755);
    await until(() => mode(path.join(at(), "b")) === "700");
    subscription.unsubscribe();
  });

  test("follow one that was closed while no client ran, where it is listed or compared", async () => {
    const { at, connect } = testHome();
    const folder = tempFolder();
    const index = path.join(tempFolder(), "index");
    fs.writeFileSync(path.join(folder, "a"), "a", { mode: 0o644 });
    fs.writeFileSync(path.join(folder, "b"), "b", { mode: 0o644 });
    await mirrorOnce(folder, () => connect(), { index });
    fs.chmodSync(path.join(folder, "a"), 0o600);
    await mirrorOnce(folder, () => connect(), { index });
    expect([mode(path.join(at(), "a")), mode(path.join(at(), "b"))]).toEqual(["600", "644"]);
  });

  test("are the owner's alone while a large file is on its way, and where the client does not say what they are", async () => {
    const { dir, at, connect } = testHome();
    const client = rawClient(connect());
    client.say(hello());
    await client.hear("welcome");
    client.say({ type: "put", id: 1, path: "large", size: 10, mtimeNs: 1n, executable: false, sourceMode: 0o644 });
    await client.hear("have", 1);
    const staging = path.join(dir, ".confundo", "staging", "m");
    const [partial] = fs.readdirSync(staging);
    expect(mode(path.join(staging, partial as string))).toBe("600");
    expect([mode(staging), mode(at()), mode(path.join(dir, ".confundo"))]).toEqual(["700", "700", "700"]);
    client.say({ type: "mkdir", id: 2, path: "d" });
    await client.done(2);
    expect(mode(path.join(at(), "d"))).toBe("700");
  });
});
