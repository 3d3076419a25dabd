// `npm run test:runtimes [-- --keep FOLDER] [NAME@VERSION...]`: runs a server and a client under other runtimes than Node.
//
// The packages `deno` and `bun` (or those that are named) are installed into a temporary folder, or into FOLDER where they are not
// installed again: they are no dependencies. What runs is the packed package with its dependencies, as a program would have it.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PROGRAM = join(ROOT, "scripts", "runtimes", "echo.js");
const LIMIT_MS = 120_000;
const ARGUMENTS = { deno: ["run", "--allow-all"], bun: ["run"] };

const { values, positionals } = parseArgs({ allowPositionals: true, options: { keep: { type: "string" } } });
const wanted = positionals.length > 0 ? positionals : Object.keys(ARGUMENTS);
const folder = values.keep === undefined ? mkdtempSync(join(tmpdir(), "runtimes-")) : resolve(values.keep);
try {
  mkdirSync(folder, { recursive: true });
  install();
  let failed = !(await run("node", process.execPath, []));
  for (const spec of wanted) {
    const name = spec.replace(/@.*$/, "");
    const isGood = await run(name, join(folder, "node_modules", ".bin", name), ARGUMENTS[name] ?? []);
    failed ||= !isGood;
  }
  if (failed) process.exitCode = 1;
} finally {
  if (values.keep === undefined) rmSync(folder, { recursive: true, force: true });
}

function install() {
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  const npm = (...args) =>
    execFileSync("npm", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  // --ignore-scripts: the package is built already, and may lack the addon of the other architecture here.
  const packed = npm("pack", ROOT, "--ignore-scripts", "--silent").trim();
  npm("install", "--no-audit", "--no-fund", "--silent", `./${packed}`, ...wanted);
  copyFileSync(PROGRAM, join(folder, "echo.js"));
}

/** Prints what the program reports in a line, and all of its output when it fails. */
function run(name, command, args) {
  return new Promise((done) => {
    const child = spawn(command, [...args, join(folder, "echo.js")], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    child.on("error", (error) => (output += error.message));
    child.on("close", (status) => {
      clearTimeout(timer);
      const isGood = status === 0 && /^ok /m.test(output);
      console.log(`${name}: ${isGood ? output.trim() : `FAILED (exit ${status})\n${output}`}`);
      done(isGood);
    });
  });
}
