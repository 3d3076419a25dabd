import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { IgnoreRules } from "../../../src/sync/ignore.js";
import { RuleSet } from "../../../src/sync/rules.js";
import { make, tempFolder } from "../../support/sync-rig.js";

const FILLERS = Array.from({ length: 100 }, (_, i) => `unlike anything ${i}`);

describe("many rules", () => {
  test("decide as few do: which rule it is, too", () => {
    const part = fc.constantFrom("a", "ab", "b.log", "*", "a*", "*b", "*.log", "?", "[ab]", "[!a]b", "**", "\\a", "B");
    const pattern = fc
      .record({
        not: fc.constantFrom("", "", "!"),
        start: fc.constantFrom("", "/", "**/"),
        parts: fc.array(part, { minLength: 1, maxLength: 3 }),
        end: fc.constantFrom("", "/", "/**", " "),
      })
      .map(({ not, start, parts, end }) => `${not}${start}${parts.join("/")}${end}`);
    const name = fc.constantFrom("a", "ab", "b.log", "b", "B", "xab", "unlike anything 7");
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
    fc.assert(
      fc.property(
        fc.array(pattern, { maxLength: 6 }),
        path,
        fc.boolean(),
        fc.boolean(),
        (rules, asked, folder, fold) => {
          const few = new RuleSet("f", rules, fold).decides(asked, folder);
          const many = new RuleSet("f", [...rules, ...FILLERS], fold).decides(asked, folder);
          if (many?.pattern.startsWith("unlike")) expect(asked).toContain("unlike anything 7");
          else expect(many).toEqual(few);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test.each<[string, (i: number) => string]>([
    ["names", (i) => `file-${i}.tmp`],
    ["suffixes", (i) => `*.ext${i}`],
    ["prefixes", (i) => `tmp${i}-*`],
    ["paths", (i) => `/packages/p${i}/node_modules/`],
    ["parts of names", (i) => `*part${i}*`],
    ["one after another taken back", (i) => (i % 2 === 0 ? `x${i}` : `!x${i}`)],
  ])("100,000 %s are read and asked about for 300 files", (_, pattern) => {
    const folder = tempFolder();
    const lines = Array.from({ length: 100_000 }, (__, i) => pattern(i));
    make(folder, { ".confundoignore": lines.join("\n") });
    const { ignores } = new IgnoreRules(folder);
    const began = process.cpuUsage();
    for (let i = 0; i < 300; i++) ignores(`packages/p/file number ${i}.txt`, false);
    const { user } = process.cpuUsage(began);
    // It is about the order: minutes, once. CPU time, as other programs may run.
    expect(user / 1e6).toBeLessThan(10);
    expect(
      ignores(
        pattern(99_998)
          .replaceAll("*", "")
          .replace(/^\/|\/$/g, ""),
        true,
      ),
    ).toBe(true);
    expect(ignores("something else", false)).toBe(false);
  });
});
