import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import tsupConfig from "../tsup.config.js";

/** Holds the house to docs/architecture.md. */

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
/** A hint that a file has two subjects, not a wall: shorter by cutting words helps nobody. */
const LONGEST_FILE = 820;

/** What each folder of src may import: folders below it, and packages. `*` stands for any package and node:*. */
const MAY_IMPORT: Record<string, { folders: string[]; packages: string[] }> = {
  // For whatever shows names and errors to people.
  text: { folders: [], packages: [] },
  // Checks that are left out of a built package.
  invariant: { folders: [], packages: [] },
  protocol: { folders: ["invariant"], packages: [] },
  // Folders that are made.
  files: { folders: [], packages: ["node:"] },
  native: { folders: [], packages: ["node:"] },
  stream: { folders: ["protocol", "native"], packages: ["node:"] },
  sync: { folders: ["native", "text", "invariant", "files"], packages: ["node:", "rxjs", "chokidar", "ignore"] },
  secure: { folders: ["stream", "files"], packages: ["node:"] },
  server: { folders: ["stream", "sync", "secure", "text", "invariant", "files"], packages: ["*"] },
  // The page in the browser: of the server it imports types only, which leave nothing behind.
  dashboard: { folders: ["server", "text"], packages: ["preact", "uplot", "uqr", "vite", "zod"] },
  cli: { folders: ["", "stream", "sync", "secure", "server", "text", "files"], packages: ["*"] },
  // src/index.ts, the public face, which the command line uses as anybody else would.
  "": { folders: ["protocol", "stream"], packages: [] },
};

/** The package's own subpaths, as a user imports them. They count as the folder behind them. */
const OWN_SUBPATHS: Record<string, string> = {
  confundo: "",
  "confundo/protocol": "protocol",
  "confundo/secure": "secure",
  "confundo/sync": "sync",
  "confundo/server": "server",
};

/** Time, randomness and effects: the core is told them. */
const IMPURE = [
  /\bDate\b/,
  /\bperformance\b/,
  /\bMath\.random\b/,
  /\bcrypto\b/,
  /\b(set|clear)(Timeout|Interval|Immediate)\b/,
  /\bqueueMicrotask\b/,
  /\bprocess\b/,
  /\bglobalThis\b/,
  /\bBuffer\b/,
  /\bconsole\b/,
  /["']node:/,
];

/** What is built by vite: its page's script, its configuration, and what TypeScript is told of other files. */
const DASHBOARD_ENTRIES = ["main.tsx", "vite.config.ts", "assets.d.ts"].map((name) => `src/dashboard/${name}`);

const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .map((name) => posix.join("src", ...name.split(sep)))
  .filter((name) => /\.tsx?$/.test(name))
  .sort();

const sources = new Map(files.map((file) => [file, readFileSync(join(ROOT, file), "utf8")]));

describe.each(Object.keys(MAY_IMPORT))("src/%s", (folder) => {
  test("imports only downwards", () => {
    const wrong = files
      .filter((file) => folderOf(file) === folder)
      .flatMap((file) => importsOf(file).map((specifier) => `${file} imports ${specifier}`));
    expect(wrong.filter((line) => !allowed(folder, line))).toEqual([]);
  });
});

test("every folder of src has its rule", () => {
  expect([...new Set(files.map(folderOf))].filter((folder) => !(folder in MAY_IMPORT))).toEqual([]);
});

test("src/dashboard imports nothing of the server but types", () => {
  const imports = files
    .filter((file) => folderOf(file) === "dashboard")
    .flatMap((file) => [...(sources.get(file) as string).matchAll(/^import .*\bfrom "(?:\.\.\/)+server\/.*$/gm)])
    .map(([line]) => line);
  expect(imports.length).toBeGreaterThan(0);
  expect(imports.filter((line) => !line.startsWith("import type "))).toEqual([]);
});

test("src/protocol has no clock, no randomness and no effects of its own", () => {
  const found = files
    .filter((file) => folderOf(file) === "protocol")
    .flatMap((file) => {
      const code = withoutComments(sources.get(file) as string);
      return IMPURE.filter((pattern) => pattern.test(code)).map((pattern) => `${file}: ${pattern.source}`);
    });
  expect(found).toEqual([]);
});

test("folders are made by makeFolder: Node's own recursive mkdir never returns where the system refuses with ENOENT", () => {
  const found = files.filter((file) =>
    /mkdir(Sync)?\([^)]*recursive: true/.test(withoutComments(sources.get(file) ?? "")),
  );
  expect(found).toEqual([]);
});

test("only src/cli/signals.ts listens for signals", () => {
  const found = files.filter((file) =>
    /\.(on|once|addListener)\("SIG|fromEvent\(process/.test(sources.get(file) ?? ""),
  );
  expect(found).toEqual([]);
});

test("every source file is reached from an entry point", () => {
  const entries = [...Object.values(tsupConfigEntries()), ...DASHBOARD_ENTRIES];
  const reached = new Set<string>();
  const visit = (file: string): void => {
    if (reached.has(file) || !sources.has(file)) return;
    reached.add(file);
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith(".")) visit(resolve(file, specifier));
    }
  };
  for (const entry of entries) visit(entry);
  expect(files.filter((file) => !reached.has(file))).toEqual([]);
});

test(`no file is longer than ${LONGEST_FILE} lines`, () => {
  const long = [...sources]
    .map(([file, source]) => `${file}: ${source.split("\n").length - 1}`)
    .filter((line) => Number(line.split(": ")[1]) > LONGEST_FILE);
  expect(long).toEqual([]);
});

describe("the checks see what they are for", () => {
  test.each([
    ["protocol", "src/protocol/a.ts imports node:fs"],
    ["protocol", "src/protocol/a.ts imports ../stream/socket.js"],
    ["stream", "src/stream/a.ts imports ../sync/index.js"],
    ["stream", "src/stream/a.ts imports confundo/server"],
    ["sync", "src/sync/a.ts imports ../stream/index.js"],
    ["sync", "src/sync/a.ts imports pino"],
    ["secure", "src/secure/a.ts imports ../server/index.js"],
    ["server", "src/server/a.ts imports ../cli/main.js"],
  ])("%s: %s is wrong", (folder, line) => {
    expect(allowed(folder, line)).toBe(false);
  });

  test.each([
    ["protocol", "src/protocol/congestion/a.ts imports ../limits.js"],
    ["stream", "src/stream/a.ts imports ../protocol/index.js"],
    ["sync", "src/sync/a.ts imports node:fs/promises"],
    ["sync", "src/sync/a.ts imports rxjs/operators"],
    ["cli", "src/cli/a.ts imports confundo/sync"],
  ])("%s: %s is right", (folder, line) => {
    expect(allowed(folder, line)).toBe(true);
  });
});

function allowed(folder: string, line: string): boolean {
  const [file, specifier] = line.split(" imports ") as [string, string];
  const rule = MAY_IMPORT[folder] as { folders: string[]; packages: string[] };
  const own = OWN_SUBPATHS[specifier];
  if (own !== undefined) return own === folder || rule.folders.includes(own) || folder === "cli";
  if (specifier.startsWith(".")) {
    const target = folderOf(resolve(file, specifier));
    return target === folder || rule.folders.includes(target);
  }
  return rule.packages.some(
    (name) => name === "*" || (name.endsWith(":") ? specifier.startsWith(name) : isOf(specifier, name)),
  );
}

function isOf(specifier: string, name: string): boolean {
  return specifier === name || specifier.startsWith(`${name}/`);
}

/** The folder of src a file is in, "" for src itself. */
function folderOf(file: string): string {
  const parts = file.split("/");
  return parts.length > 2 ? (parts[1] as string) : "";
}

function importsOf(file: string): string[] {
  const source = withoutComments(sources.get(file) ?? "");
  const pattern = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)["']([^"']+)["']/g;
  return [...source.matchAll(pattern)].map((match) => match[1] as string);
}

function resolve(file: string, specifier: string): string {
  const path = posix.join(posix.dirname(file), specifier);
  return [".ts", ".tsx"].map((ending) => path.replace(/\.js$/, ending)).find((name) => sources.has(name)) ?? path;
}

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

function tsupConfigEntries(): Record<string, string> {
  const { entry } = tsupConfig as { entry: Record<string, string> };
  return Object.fromEntries(
    Object.entries(entry).map(([name, file]) => [name, relative("", file).split(sep).join("/")]),
  );
}
