// `npm run check:package`, second part: the packed package as a program has it.
//
// A TypeScript project with `skipLibCheck: false` imports every subpath of the package, with its dependencies beside it and none of
// our development dependencies but TypeScript and @types/node. A small program is bundled with esbuild and Rollup, as an ES module
// and as CommonJS, and runs with the addon beside the bundle. See docs/bundlers.md. Nothing of an invariant is in the package.
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { rollup } from "rollup";
import { checkBundler, exports, install, name, ROOT, run, TSC } from "./consumer.js";

const folder = mkdtempSync(join(tmpdir(), "consumer-"));
try {
  install(folder);
  checkInvariants();
  checkTypes();
  await checkBundler("esbuild", folder, withEsbuild);
  await checkBundler("Rollup", folder, withRollup);
} finally {
  rmSync(folder, { recursive: true, force: true });
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
  const long = texts.filter((text) => text.length >= 18);
  const files = globSync("node_modules/*/dist/**/*.js", { cwd: folder });
  if (long.length < 12 || files.length < 10)
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
  run(folder, process.execPath, [TSC, ...options, "--target", "es2023", "--types", "node", "all.ts"]);
  console.log(`types: ${subpaths.length} subpaths with skipLibCheck false`);
}

async function withEsbuild(app, format, outfile) {
  const { warnings } = await build({
    entryPoints: [app],
    bundle: true,
    platform: "node",
    logLevel: "silent",
    format,
    outfile,
  });
  return warnings.map(({ text }) => text);
}

/** Without a plugin Rollup finds no packages, and leaves the import as it is: this one is the least there can be. */
async function withRollup(app, format, file) {
  const warnings = [];
  const resolve = {
    name: "package",
    resolveId: (id) => (id === name ? join(folder, "node_modules", name, exports["."].default) : null),
  };
  const onwarn = ({ message }) => warnings.push(message);
  const bundle = await rollup({ input: app, external: /^node:/, plugins: [resolve], onwarn });
  await bundle.write({ format, file });
  await bundle.close();
  return warnings;
}
