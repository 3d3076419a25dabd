import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { EDITION_NAMES, EDITIONS } from "../src/protocol/index.js";

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

describe("docs/errors.md", () => {
  const headings = new Set([...read("docs/errors.md").matchAll(/^### (\S+)$/gm)].map(([, code]) => code));

  /** The members of a union of string literals that is declared under this name. */
  function codesOf(file: string, type: string): string[] {
    const declaration = new RegExp(`type ${type} =([^;]+);`).exec(read(file))?.[1] ?? "";
    return [...declaration.matchAll(/"([A-Z_]+)"/g)].map(([, code]) => code as string);
  }

  test.each([
    ["src/protocol/errors.ts", "ProtocolErrorCode"],
    ["src/stream/errors.ts", "ConfundoErrorCode"],
    ["src/secure/errors.ts", "SecureErrorCode"],
    ["src/server/auth/errors.ts", "AuthErrorCode"],
    ["src/sync/errors.ts", "SyncErrorCode"],
    ["src/server/database/errors.ts", "DatabaseErrorCode"],
    ["src/server/http/problem.ts", "ProblemCode"],
    ["src/server/versions/errors.ts", "VersionErrorCode"],
  ])("has a heading for every code of %s", (file, type) => {
    const codes = codesOf(file, type);
    expect(codes.length).toBeGreaterThan(1);
    expect(codes.filter((code) => !headings.has(code))).toEqual([]);
  });

  test("has a heading for every ERR_ code that stands anywhere in src", () => {
    const sources = readdirSync(new URL("../src", import.meta.url), { recursive: true, encoding: "utf8" });
    const used = sources
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => [...read(`src/${file}`).matchAll(/code(?: =|:) "(ERR_[A-Z_]+)"/g)].map(([, code]) => code));
    expect(used.filter((code) => !headings.has(code as string))).toEqual([]);
  });
});

test("docs/editions.md tells the numbers that the code has", () => {
  const rows = [...read("docs/editions.md").matchAll(/^\| `([a-z0-9-]+)`.*$/gm)];
  expect(rows.map(([, name]) => name)).toEqual(EDITION_NAMES);
  for (const [row, name] of rows) {
    const edition = EDITIONS[name as keyof typeof EDITIONS];
    const numbers = [...row.slice(row.indexOf("|", 2)).matchAll(/\d+/g)].map(Number);
    expect(numbers, row).toEqual([
      edition.segmentBytes + 12,
      edition.segmentBytes,
      edition.modulus - 1,
      edition.clientIsn,
      edition.serverIsn,
      edition.initialCwnd,
      edition.initialSsthresh,
      edition.maxCwnd,
    ]);
  }
});

test("every link between our pages leads somewhere", () => {
  const pages = [
    "README.md",
    "CONTRIBUTING.md",
    ...readdirSync(new URL("../docs", import.meta.url)).map((file) => `docs/${file}`),
  ];
  for (const page of pages.filter((file) => file.endsWith(".md"))) {
    for (const [, target] of read(page).matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      const base = page.includes("/") ? "docs/" : "";
      const linked = new URL(`../${base}${target}`, import.meta.url);
      expect(statSync(linked, { throwIfNoEntry: false }), `${page} links to ${target}`).toBeDefined();
    }
  }
});
