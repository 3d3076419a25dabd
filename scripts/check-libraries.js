// `npm run check:package`, last part: libraries that take a `net.Socket` or a `net.Server` of the program's own, over the packed package.
//
// The programs of test/libraries are type-checked against the libraries' own types and run, each over a connection of ours. webpack
// bundles a program as check-consumer.js has esbuild and Rollup do it. The libraries come from the npm registry into a temporary
// folder, by the lock of test/libraries, so that `npm ci` of the package does not bring them.
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { checkBundler, ROOT, run, TSC, unpack } from "./consumer.js";

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
  await checkBundler("webpack", folder, withWebpack);
} finally {
  rmSync(folder, { recursive: true, force: true });
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
