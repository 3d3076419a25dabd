// `npm run check:package`, last part: libraries that take a `net.Socket` or a `net.Server` of the program's own, over the packed package.
//
// The programs of test/libraries are type-checked against the libraries' own types and run, each over a connection of ours. webpack
// bundles a program as check-consumer.js has esbuild and Rollup do it. The libraries come from the npm registry into a temporary
// folder, by the lock of test/libraries, so that `npm ci` of the package does not bring them. With three versions of rxjs, a peer, a
// folder is mirrored.
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { checkBundler, install, ROOT, run, TSC, unpack } from "./consumer.js";

/** The least version of rxjs that the package accepts, which is the first with types for ES modules, and later ones. */
const RXJS = ["7.5", "7.6", "7.8"];

const folder = mkdtempSync(join(tmpdir(), "libraries-"));
try {
  cpSync(join(ROOT, "test", "libraries"), folder, { recursive: true });
  run(folder, "npm", ["ci", "--ignore-scripts", "--omit=optional", "--prefer-offline", "--no-audit", "--no-fund"]);
  unpack(folder);
  const programs = readdirSync(folder).filter((file) => file.endsWith(".ts"));
  const options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--allowImportingTsExtensions"];
  run(folder, process.execPath, [TSC, ...options, "--target", "es2023", "--types", "node", ...programs]);
  const libraries = programs.filter((file) => file !== "support.ts");
  for (const file of libraries) run(folder, process.execPath, [file]);
  console.log(`libraries: ${libraries.map((file) => basename(file, ".ts")).join(", ")} type-check and run`);
  for (const version of RXJS) checkRxjs(version);
  await checkBundler("webpack", folder, withWebpack);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** A program mirrors a folder with the rxjs that it has: a second copy beside it would be another Observable. */
function checkRxjs(version) {
  const place = mkdtempSync(join(tmpdir(), "rxjs-"));
  try {
    install(place, ["rxjs"]);
    cpSync(join(folder, "node_modules", `rxjs-${version}`), join(place, "node_modules", "rxjs"), { recursive: true });
    cpSync(join(folder, "rxjs", "mirror.ts"), join(place, "mirror.ts"));
    writeFileSync(join(place, "package.json"), '{ "type": "module" }\n');
    const strict = ["--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "false", "--preserveSymlinks"];
    const options = ["--noEmit", "--module", "nodenext", "--target", "es2023", "--types", "node"];
    run(place, process.execPath, [TSC, ...strict, ...options, "mirror.ts"]);
    run(place, process.execPath, ["mirror.ts"]);
    console.log(`rxjs ${version}: a mirror type-checks and runs`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function withWebpack(app, format, file) {
  const webpack = createRequire(join(folder, "package.json"))("webpack");
  const isModule = format === "esm";
  const compiler = webpack({
    context: folder,
    entry: app,
    target: "node",
    mode: "production",
    output: {
      path: dirname(file),
      filename: basename(file),
      module: isModule,
      chunkFormat: isModule ? "module" : "commonjs",
    },
  });
  const stats = await new Promise((resolve, reject) => {
    compiler.run((error, result) => (error === null ? resolve(result) : reject(error)));
  });
  await new Promise((resolve) => compiler.close(resolve));
  const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
  return [...errors, ...warnings].map(({ message }) => message);
}
