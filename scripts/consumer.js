// The packed package in a temporary folder, as a program has it: for check-consumer.js and check-libraries.js.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const { name, exports, version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
export const TSC = join(ROOT, "node_modules", "typescript", "bin", "tsc");
/** Characters of an output that are shown of a program that failed. */
const MOST = 4000;
const ADDON = `linux-${process.arch}.node`;

/** What a program has of its own: those that are written in TypeScript for Node, and rxjs, which is a peer. */
const OWN = ["typescript", "@types/node", "undici-types", "rxjs", "tslib"];

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

/** Unpacks the package into the `node_modules` of a folder. */
export function unpack(folder) {
  const place = join(folder, "node_modules", name);
  mkdirSync(place, { recursive: true });
  execFileSync("npm", ["pack", ROOT, "--ignore-scripts", "--silent"], { cwd: folder });
  execFileSync("tar", ["-xzf", `${name}-${version}.tgz`, "-C", place, "--strip-components=1"], { cwd: folder });
}

/** Unpacks the package, and links what `npm install` would install with it, but for `others`, which the caller brings. */
export function install(folder, others = []) {
  unpack(folder);
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  for (const [path, { dev, optional }] of Object.entries(packages)) {
    // Nested ones come with their parents.
    const isTopLevel = path.startsWith("node_modules/") && path.lastIndexOf("node_modules/") === 0;
    const dependency = path.slice("node_modules/".length);
    if (!isTopLevel || others.includes(dependency)) continue;
    if ((dev === true || optional === true) && !OWN.includes(dependency)) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(join(ROOT, path), join(folder, path));
  }
}

/**
 * Bundles a small program in both formats and runs it, without the addon and with it. `bundle(app, format, file)` resolves to what
 * the bundler has warned of, lines of text.
 */
export async function checkBundler(bundler, folder, bundle) {
  const app = join(folder, "app.js");
  writeFileSync(app, PROGRAM);
  for (const format of ["esm", "cjs"]) {
    // Away from node_modules: what the bundle lacks, it cannot find there.
    const place = mkdtempSync(join(tmpdir(), "bundle-"));
    try {
      const file = join(place, format === "esm" ? "app.mjs" : "app.cjs");
      const warnings = await bundle(app, format, file);
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

function checkRun(what, file, tier) {
  const output = run(dirname(file), process.execPath, [file]).trim();
  const [text, used] = output.split(" ");
  if (text !== "hello" || (tier !== null && used !== tier) || output.includes("\n"))
    throw new Error(`${what}: ${output}`);
  console.log(`${what}: runs, tier ${used}`);
}

/** Fails with all that was printed, to stderr too. */
export function run(folder, command, args) {
  try {
    return execFileSync(command, args, {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 120_000,
    });
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout.slice(-MOST)}\n${error.stderr.slice(-MOST)}`);
  }
}
