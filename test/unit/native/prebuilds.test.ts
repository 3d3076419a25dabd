import { execFile } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../support/temp.js";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const BUILT = join(ROOT, "dist", "native");
const OTHER = process.arch === "x64" ? "arm64" : "x64";

/** Runs the build of addons with nothing on the path but `compilers`, shell scripts by their names. */
async function prebuild(
  compilers: Record<string, string>,
  ...args: string[]
): Promise<{ code: number; stderr: string }> {
  await using folder = await temporaryFolder();
  const { path } = folder;
  for (const [name, script] of Object.entries(compilers)) {
    writeFileSync(join(path, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(path, name), 0o755);
  }
  const command = [join(ROOT, "scripts", "build-native.js"), ...args];
  const options = { env: { PATH: path } };
  return await promisify(execFile)(process.execPath, command, options).then(
    ({ stderr }) => ({ code: 0, stderr }),
    ({ code, stderr }) => ({ code, stderr }),
  );
}

/** What is built, with the times at which that was. */
function built(): string[] {
  return readdirSync(BUILT).map((name) => `${name} ${statSync(join(BUILT, name)).mtimeMs}`);
}

describe.skipIf(process.platform !== "linux")("addons for the package", () => {
  it("cannot be made without a compiler for each architecture, whose name the error tells", async () => {
    const { code, stderr } = await prebuild({}, "--strict", OTHER);
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`No C compiler for linux-${OTHER} \\(tried \\S+-linux-gnu-gcc\\)`));
    expect(stderr).toMatch(/apt-get install gcc-(aarch64|x86-64)-linux-gnu\)/);
  });

  it("fail where a compiler does, and leave what there was", async () => {
    const before = built();
    const failing = 'if [ "$1" = --version ]; then exit 0; fi\necho "no such header" >&2; exit 1';
    const { code, stderr } = await prebuild({ cc: failing }, process.arch);
    expect(code).toBe(1);
    expect(stderr).toContain("no such header");
    expect(built()).toEqual(before);
  });

  it("are left out of a build without a compiler, which says so and does not fail", async () => {
    const before = built();
    const { code, stderr } = await prebuild({}, process.arch);
    expect(code).toBe(0);
    expect(stderr).toContain(`No C compiler for linux-${process.arch}: built without its addon`);
    expect(built()).toEqual(before);
  });

  it("are made of a strict build before anything is packed", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    expect(scripts.prepack).toBe("npm run --silent build && npm run --silent prebuilds");
    expect(scripts.prebuilds).toBe("node scripts/build-native.js --strict x64 arm64");
  });
});
