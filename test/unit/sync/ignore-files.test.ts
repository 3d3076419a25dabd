import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CONFUNDOIGNORE, GITIGNORE, IgnoreRules } from "../../../src/sync/ignore.js";
import {
  contents,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

function rulesOf(tree: { [file: string]: string }, patterns: string[] = [], gitignore = false) {
  const folder = tempFolder();
  make(folder, tree);
  const files = gitignore ? [GITIGNORE, CONFUNDOIGNORE] : [CONFUNDOIGNORE];
  return { folder, rules: new IgnoreRules(folder, { patterns, files }) };
}

describe("ignore files", () => {
  test("of one file the last rule that matches decides, and ! takes back", () => {
    const { rules } = rulesOf({ ".confundoignore": "# comment\n\n*.log\n!keep.log\n\\!odd\n\\#odd\nspace\\ \r\n" });
    expect(rules.ignores("a/b.log", false)).toBe(true);
    expect(rules.ignores("a/keep.log", false)).toBe(false);
    for (const name of ["!odd", "#odd", "space "]) expect(rules.ignores(name, false), name).toBe(true);
    expect(rules.ignores("# comment", false)).toBe(false);
  });

  test("deeper files decide before those above, and their patterns start at their folder", () => {
    const { rules } = rulesOf({ ".confundoignore": "*.o\n/top\n", "a/.confundoignore": "!*.o\n/top\nx/y\n" });
    expect(rules.ignores("m.o", false)).toBe(true);
    expect(rules.ignores("a/m.o", false)).toBe(false);
    expect(rules.ignores("top", false)).toBe(true);
    expect(rules.ignores("a/top", false)).toBe(true);
    expect(rules.ignores("b/top", false)).toBe(false);
    expect(rules.ignores("a/x/y", false)).toBe(true);
    expect(rules.ignores("x/y", false)).toBe(false);
  });

  test("the command line decides before all files, .confundoignore before the .gitignore beside it", () => {
    const tree = { ".gitignore": "g\nb\n", ".confundoignore": "!b\nc\n", "d/.gitignore": "!c\n" };
    const { rules } = rulesOf(tree, ["!g", "z"], true);
    expect(["g", "b", "c", "d/c", "z"].filter((name) => rules.ignores(name, false))).toEqual(["c", "z"]);
    expect(rulesOf(tree).rules.ignores("g", false)).toBe(false);
  });

  test("what is below an ignored folder is ignored, and no rule takes that back", () => {
    const { rules } = rulesOf({ ".confundoignore": "build\n!build/keep\n", "build/.confundoignore": "!*\n" });
    expect(rules.decide("build/keep", false)).toMatchObject({ ignored: true, matched: "build", rule: { line: 1 } });
  });

  test("a folder that the command line takes back is open, for all other rules", () => {
    const { rules } = rulesOf({ ".confundoignore": "build\n*.o\n" }, ["!build"]);
    expect(rules.ignores("build/x", false)).toBe(false);
    expect(rules.ignores("build/x.o", false)).toBe(true);
    expect(rules.ignores("build/build", false)).toBe(false);
  });

  test("says which rule decides", () => {
    const { rules } = rulesOf({ "a/.confundoignore": "x\n!y\n" }, ["*.tmp"]);
    const rule = { source: "a/.confundoignore", line: 2, pattern: "!y", negated: true };
    expect(rules.decide("a/b/y", false)).toEqual({ ignored: false, rule, matched: "a/b/y" });
    expect(rules.decide("t.tmp", false).rule).toMatchObject({ source: "--ignore", line: 1, pattern: "*.tmp" });
    expect(rules.decide("other", false)).toEqual({ ignored: false, matched: "other" });
  });

  test("a link or a pipe is no ignore file, and one that cannot be read is told", () => {
    const { folder, rules } = rulesOf({ all: "*\n", "c/.confundoignore": "*\n" });
    fs.symlinkSync("all", path.join(folder, ".confundoignore"));
    expect(rules.ignores("a", false)).toBe(false);
    if (process.platform === "win32" || process.getuid?.() === 0) return;
    fs.chmodSync(path.join(folder, "c/.confundoignore"), 0);
    const told: string[] = [];
    rules.onProblem = (file, { code }) => told.push(`${file} ${code}`);
    expect(rules.ignores("c/a", false)).toBe(false);
    expect(told).toEqual(["c/.confundoignore EACCES"]);
  });

  test("are read anew when told so, and say when they are others", () => {
    const { folder, rules } = rulesOf({ ".confundoignore": "a\n" });
    let changes = 0;
    rules.onChange = () => changes++;
    expect(rules.ignores("a", false)).toBe(true);
    make(folder, { ".confundoignore": "b\n" });
    expect(rules.ignores("a", false)).toBe(true);
    expect(rules.refresh(["x/y"])).toBe(false);
    expect(rules.refresh([".confundoignore"])).toBe(true);
    expect([rules.ignores("a", false), rules.ignores("b", false), changes]).toEqual([false, true, 1]);
    make(folder, { "sub/.confundoignore": "!b\n" });
    expect(rules.refresh(["sub"])).toBe(false);
    expect(rules.ignores("sub/b", false)).toBe(false);
    fs.rmSync(path.join(folder, "sub"), { recursive: true });
    expect(rules.refresh(undefined)).toBe(false);
    expect(rules.ignores("sub/b", false)).toBe(true);
    expect(changes).toBe(2);
  });
});

const hasGit = spawnSync("git", ["--version"]).status === 0;

describe.skipIf(!hasGit)("as git", () => {
  const name = fc.constantFrom("a", "b", "ab", "a.o", "b.log", ".c");
  const pattern = fc
    .record({
      not: fc.constantFrom("", "", "!"),
      start: fc.constantFrom("", "", "/", "**/"),
      parts: fc.array(fc.constantFrom("a", "b", "*", "?", "*.o", "[ab]", "[!a]", "**", "a*", "*b", "\\a"), {
        minLength: 1,
        maxLength: 3,
      }),
      end: fc.constantFrom("", "", "/", "/**", " "),
    })
    .map(({ not, start, parts, end }) => `${not}${start}${parts.join("/")}${end}`);
  const ruleFile = fc.array(pattern, { maxLength: 4 });
  const place = fc.constantFrom("", "a/", "a/b/", "ab/");
  const scene = fc.record({
    paths: fc.uniqueArray(
      fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/")),
      {
        minLength: 8,
        maxLength: 14,
      },
    ),
    rules: fc.dictionary(place, ruleFile, { maxKeys: 3 }),
  });

  test("git check-ignore says the same of every path", () => {
    const folder = tempFolder();
    execFileSync("git", ["init", "-q", folder]);
    fc.assert(
      fc.property(scene, ({ paths, rules }) => {
        for (const old of fs.readdirSync(folder)) {
          if (old !== ".git") fs.rmSync(path.join(folder, old), { recursive: true });
        }
        for (const [where, lines] of Object.entries(rules)) make(folder, { [`${where}.gitignore`]: lines.join("\n") });
        for (const one of paths) fs.mkdirSync(path.join(folder, one), { recursive: true });
        const isFolder = (one: string): boolean => fs.statSync(path.join(folder, one)).isDirectory();
        for (const one of paths) make(folder, { [`${one}/file`]: "" });
        const asked = [...new Set(paths.flatMap((one) => [one, `${one}/file`]))];
        const answer = spawnSync("git", ["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"], {
          cwd: folder,
          input: asked.join("\0"),
          encoding: "utf8",
        }).stdout.split("\0");
        const mine = new IgnoreRules(folder, { files: [GITIGNORE] });
        for (const [at, one] of asked.entries()) {
          const [source, line, rule = "", theirs] = answer.slice(at * 4, at * 4 + 4);
          expect(theirs).toBe(one);
          const ignored = rule !== "" && !rule.startsWith("!");
          const verdict = mine.decide(one, isFolder(one));
          expect(verdict.ignored, `${one}: git says ${source}:${line}:${rule}, we ${JSON.stringify(verdict)}`).toBe(
            ignored,
          );
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("a mirror with ignore files", () => {
  const tree = { ".confundoignore": "*.log\n", "a.log": "1", "d/b.log": "2", "d/c": "3", "e/keep.log": "4" };

  test("leaves out what they say, and leaves it alone at the destination unless told otherwise", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { ...tree, ".confundoignore": "" });
    await mirrorOnce(folder, () => connect());
    make(folder, { ".confundoignore": "*.log\n", "e/.confundoignore": "!keep.log\n", "d/new.log": "5" });
    await mirrorOnce(folder, () => connect());
    const files = (): string[] => Object.keys(contents(at()));
    expect(files()).toContain("a.log");
    expect(files()).not.toContain("d/new.log");
    await mirrorOnce(folder, () => connect(), { deleteIgnored: true });
    expect(files()).toEqual([".confundoignore", "d", "d/c", "e", "e/.confundoignore", "e/keep.log"]);
  });

  test(".gitignore counts on request only", async () => {
    const folder = tempFolder();
    make(folder, { ".gitignore": "out/\n", "out/x": "1", y: "2" });
    const plain = testHome();
    await mirrorOnce(folder, () => plain.connect());
    expect(Object.keys(contents(plain.at()))).toContain("out/x");
    const asked = testHome();
    await mirrorOnce(folder, () => asked.connect(), { gitignore: true });
    expect(Object.keys(contents(asked.at()))).toEqual([".gitignore", "y"]);
  });

  test("a change of a rule takes effect while running, also for folders that were not watched", async () => {
    const { connect, at } = testHome();
    const folder = tempFolder();
    make(folder, { ".confundoignore": "skip/\n", "skip/x": "1", y: "2" });
    const { events, seen } = follow(folder, () => connect(), { walkEveryMs: 60_000 });
    await event(events, "watching");
    await event(events, "synced");
    expect(Object.keys(contents(at()))).toEqual([".confundoignore", "y"]);
    make(folder, { ".confundoignore": "y\n" });
    await until(() => fs.existsSync(path.join(at(), "skip/x")));
    await event(events, "walking", ({ reason }) => reason === "the ignore rules have changed");
    make(folder, { "skip/z": "3", y: "changed" });
    await until(() => fs.existsSync(path.join(at(), "skip/z")));
    expect(fs.readFileSync(path.join(at(), "y"), "utf8")).toBe("2");
    expect(ofType(seen, "failed")).toEqual([]);
  });
});
