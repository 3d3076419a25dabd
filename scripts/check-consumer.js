// `npm run check:package`, second half: the packed package as a program has it.
//
// A TypeScript project with `skipLibCheck: false` imports every subpath of the package, with its dependencies beside it and none of
// our development dependencies but TypeScript and @types/node. A small program is bundled with esbuild and Rollup, as an ES module
// and as CommonJS, and runs with the addon beside the bundle. See docs/bundlers.md. Nothing of an invariant is in the package.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { rollup } from "rollup";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const { name, exports, version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
/** What a program that is written in TypeScript for Node has of its own. */
const OWN = ["typescript", "@types/node", "undici-types"];
const ADDON = `linux-${process.arch}.node`;

/** Prints the tier of a connection over which "hello" has gone and come back. */
const PROGRAM = `
import { connect, createServer } from ${JSON.stringify(name)};
const server = createServer((socket) => socket.pipe(socket));
server.listen(0, "127.0.0.1", () => {
  const socket = connect({ port: server.address().port, host: "127.0.0.1" });
  socket.on("data", (bytes) => console.log(String(bytes), socket.stats.tier));
  socket.on("end", () => server.close());
  socket.end("hello");
});
`;

const folder = mkdtempSync(join(tmpdir(), "consumer-"));
try {
  install();
  checkInvariants();
  checkTypes();
  await checkBundles();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Unpacks the package, and links what `npm install` would install with it. */
function install() {
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, name), { recursive: true });
  execFileSync("npm", ["pack", ROOT, "--ignore-scripts", "--silent"], { cwd: folder });
  execFileSync("tar", ["-xzf", `${name}-${version}.tgz`, "-C", join(modules, name), "--strip-components=1"], {
    cwd: folder,
  });
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  for (const [path, { dev, optional }] of Object.entries(packages)) {
    // Nested ones come with their parents.
    const isTopLevel = path.startsWith("node_modules/") && path.lastIndexOf("node_modules/") === 0;
    const dependency = path.slice("node_modules/".length);
    if (!isTopLevel || ((dev === true || optional === true) && !OWN.includes(dependency))) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(join(ROOT, path), join(folder, path));
  }
}

/** Checks for tests cost nothing in the package: neither their conditions nor their texts are in it. */
function checkInvariants() {
  const texts = ["InvariantError", "CONFUNDO_ASSERTIONS", "invariant broken"];
  for (const file of globSync("src/**/*.ts", { cwd: ROOT })) {
    const source = readFileSync(join(ROOT, file), "utf8");
    for (const [call] of source.matchAll(/\binvariant\([^;]*;/g)) {
      // The longest piece of the message between its expressions.
      const pieces = call.split(/["`]|\$\{[^}]*\}/).map((piece) => piece.trim());
      texts.push(pieces.slice(1, -1).reduce((longest, piece) => (piece.length > longest.length ? piece : longest), ""));
    }
  }
  const long = texts.filter((text) => text.length > 8);
  const files = globSync("node_modules/*/dist/**/*.js", { cwd: folder });
  if (long.length < 15 || files.length < 10)
    throw new Error(`${long.length} texts and ${files.length} files are too few`);
  for (const file of files) {
    const code = readFileSync(join(folder, file), "utf8");
    const found = long.find((text) => code.includes(text));
    if (found !== undefined) throw new Error(`${file} has an invariant in it: ${found}`);
  }
  console.log(`invariants: none of ${long.length} in ${files.length} files`);
}

function checkTypes() {
  const subpaths = Object.keys(exports).filter((subpath) => !subpath.endsWith(".json"));
  const lines = subpaths.map((subpath, i) => `export * as m${i} from "${name}${subpath.slice(1)}";`);
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n');
  writeFileSync(join(folder, "all.ts"), `${lines.join("\n")}\n`);
  const options = ["--strict", "--noEmit", "--skipLibCheck", "false", "--preserveSymlinks", "--module", "nodenext"];
  const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  run(process.execPath, [compiler, ...options, "--target", "es2023", "--types", "node", "all.ts"]);
  console.log(`types: ${subpaths.length} subpaths with skipLibCheck false`);
}

async function checkBundles() {
  writeFileSync(join(folder, "app.js"), PROGRAM);
  const bundlers = { esbuild: withEsbuild, Rollup: withRollup };
  for (const [bundler, bundle] of Object.entries(bundlers)) {
    for (const format of ["esm", "cjs"]) {
      // Away from node_modules: what the bundle lacks, it cannot find there.
      const place = mkdtempSync(join(tmpdir(), "bundle-"));
      try {
        const file = join(place, format === "esm" ? "app.mjs" : "app.cjs");
        const warnings = await bundle(format, file);
        if (warnings.length > 0) throw new Error(`${bundler}, ${format}: ${warnings.join("\n")}`);
        const native = join(folder, "node_modules", name, "dist", "native");
        checkRun(`${bundler}, ${format}`, file, null);
        if (existsSync(join(native, ADDON))) {
          cpSync(native, join(place, "native"), { recursive: true });
          checkRun(`${bundler}, ${format}, addon`, file, "segmented");
        }
      } finally {
        rmSync(place, { recursive: true, force: true });
      }
    }
  }
}

async function withEsbuild(format, outfile) {
  const common = { entryPoints: [join(folder, "app.js")], bundle: true, platform: "node", logLevel: "silent" };
  const { warnings } = await build({ ...common, format, outfile });
  return warnings.map(({ text }) => text);
}

/** Without a plugin Rollup finds no packages, and leaves the import as it is: this one is the least there can be. */
async function withRollup(format, file) {
  const warnings = [];
  const resolve = {
    name: "package",
    resolveId: (id) => (id === name ? join(folder, "node_modules", name, exports["."].default) : null),
  };
  const onwarn = ({ message }) => warnings.push(message);
  const bundle = await rollup({ input: join(folder, "app.js"), external: /^node:/, plugins: [resolve], onwarn });
  await bundle.write({ format, file });
  await bundle.close();
  return warnings;
}

function checkRun(what, file, tier) {
  const output = run(process.execPath, [file]).trim();
  const [text, used] = output.split(" ");
  if (text !== "hello" || (tier !== null && used !== tier) || output.includes("\n"))
    throw new Error(`${what}: ${output}`);
  console.log(`${what}: runs, tier ${used}`);
}

/** Fails with all that was printed, to stderr too. */
function run(command, args) {
  try {
    return execFileSync(command, args, {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 120_000,
    });
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`);
  }
}
