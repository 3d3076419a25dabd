/** What fuzzing has found worth keeping (`npm run fuzz TARGET`), once more, with the seeds. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { TARGETS } from "./targets.js";

const folder = new URL("corpus/", import.meta.url);

describe.each(Object.entries(TARGETS))("%s", (name, target) => {
  test("takes its seeds and its corpus", async () => {
    const file = new URL(`${name}.txt`, folder);
    expect(existsSync(file)).toBe(true);
    const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
    expect(lines.length).toBeGreaterThan(0);
    for (const input of target.seeds()) await target.run(input);
    for (const line of lines) {
      try {
        await target.run(new Uint8Array(Buffer.from(line, "base64")));
      } catch (error) {
        throw new Error(`${name}: ${line}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
});

test("every corpus is that of a target", () => {
  const names = readdirSync(folder).map((file) => file.replace(/\.txt$/, ""));
  expect(names.sort()).toEqual(Object.keys(TARGETS).sort());
});
