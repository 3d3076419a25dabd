/** Sequences of calls that no program would make: the addon lives on, and touches no memory that is not its own. */
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
// @ts-expect-error it has no types
import { include_dir as headers } from "node-api-headers";
import { describe, expect, test } from "vitest";
import { addon } from "../../../src/native/addon.js";
import { PATIENCE_MS } from "../../support/limits.js";
import { tempFolder } from "../../support/sync-rig.js";

const BINARY = path.resolve(`dist/native/linux-${process.arch}.node`);
const SCRIPT = path.resolve("test/support/native-sequences.cjs");

/** The runtime of AddressSanitizer, where there is gcc with it. CI requires it. */
function sanitizer(): string | undefined {
  const { stdout, status } = spawnSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" });
  if (status === 0 && path.isAbsolute(stdout.trim())) return fs.realpathSync(stdout.trim());
  if (process.env.CONFUNDO_REQUIRE_ASAN === "1") throw new Error("gcc with libasan is not installed");
  return undefined;
}

function run(binary: string, seed: number, count: number, env: NodeJS.ProcessEnv = {}) {
  const args = ["--expose-gc", SCRIPT, binary, String(seed), String(count)];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env }, timeout: PATIENCE_MS });
}

describe.skipIf(addon() === null)("sequences of calls", () => {
  test("crash nothing, and callbacks are called", () => {
    let callbacks = 0;
    for (let seed = 1; seed <= 5; seed++) {
      const { status, signal, stdout, stderr } = run(BINARY, seed, 4000);
      expect({ seed, status, signal, stderr }).toEqual({ seed, status: 0, signal: null, stderr: "" });
      callbacks += Number(stdout.split(" ")[0]);
    }
    expect(callbacks).toBeGreaterThan(100);
  });

  const library = sanitizer();
  test.skipIf(library === undefined)(
    "touch no memory that is not the addon's (AddressSanitizer, UndefinedBehaviorSanitizer)",
    () => {
      const folder = tempFolder();
      const binary = path.join(folder, "asan.node");
      const sources = fs.readdirSync("src/native").filter((name) => name.endsWith(".c"));
      const flags =
        "-std=gnu11 -D_GNU_SOURCE -g -O1 -fPIC -shared -fno-omit-frame-pointer -fsanitize=address,undefined".split(" ");
      execFileSync("gcc", [...flags, `-I${headers}`, "-o", binary, ...sources], { cwd: "src/native" });
      const env = {
        LD_PRELOAD: library,
        ASAN_OPTIONS: "detect_leaks=0:exitcode=99:abort_on_error=0:handle_segv=1:allocator_may_return_null=1",
        UBSAN_OPTIONS: "halt_on_error=1:exitcode=99:print_stacktrace=1",
      };
      for (let seed = 1; seed <= 4; seed++) {
        const { status, signal, stderr } = run(binary, seed, 2500, env);
        expect({ seed, status, signal, stderr: stderr.slice(0, 4000) }).toEqual({
          seed,
          status: 0,
          signal: null,
          stderr: "",
        });
      }
    },
    300_000,
  );
});
