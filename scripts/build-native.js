// `node scripts/build-native.js [--strict] [ARCHITECTURE...]`: compiles src/native into dist/native/linux-ARCHITECTURE.node.
//
// Without architectures, for this machine's. A missing compiler is reported in a line, and is an error with --strict only:
// without the addon everything works, more slowly. Nothing is compiled or downloaded where the package is installed.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { include_dir as headers } from "node-api-headers";

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const SOURCES = path.join(ROOT, "src/native");
const BUILT = path.join(ROOT, "dist/native");
/** Compilers for other machines, by what Debian and others call them. */
const TRIPLES = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };
// Symbols are bound when the addon is loaded: one that is missing makes loading fail, and nothing later.
const FLAGS =
  "-std=gnu11 -D_GNU_SOURCE -O2 -fPIC -shared -fvisibility=hidden -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Wall -Wextra -Werror -s -Wl,-z,now,-z,relro,-z,noexecstack";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { strict: { type: "boolean" } } });
for (const architecture of positionals.length > 0 ? positionals : [process.arch]) build(architecture);

function build(architecture) {
  const compiler = compilersFor(architecture).find((name) => spawnSync(name, ["--version"]).status === 0);
  if (compiler === undefined) {
    const missing = `No C compiler for linux-${architecture}`;
    if (!values.strict) {
      console.error(`${missing}: built without its addon, which makes UDP faster.`);
      return;
    }
    console.error(`${missing} (tried ${compilersFor(architecture).join(", ") || "none"}). ${adviceFor(architecture)}`);
    process.exitCode = 1;
    return;
  }
  fs.mkdirSync(BUILT, { recursive: true });
  const built = path.join(BUILT, `linux-${architecture}.node`);
  // A file that is in use must not be written to: the new one takes its name.
  const unfinished = `${built}.${process.pid}`;
  const sources = fs.readdirSync(SOURCES).filter((name) => name.endsWith(".c"));
  const args = [...FLAGS.split(" "), `-I${headers}`, "-o", unfinished, ...sources];
  const { status } = spawnSync(compiler, args, { cwd: SOURCES, stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0) fs.renameSync(unfinished, built);
  else process.exitCode = 1;
}

function adviceFor(architecture) {
  if (process.platform !== "linux") return "The package is packed on Linux.";
  const debian = architecture === process.arch ? "gcc" : `gcc-${TRIPLES[architecture]?.replace("_", "-")}`;
  return `The package holds the addons of all architectures: install one (Debian: apt-get install ${debian}), then pack again.`;
}

function compilersFor(architecture) {
  if (process.platform !== "linux") return [];
  const own = architecture === process.arch ? [process.env.CC, "cc", "gcc", "clang"] : [];
  return [...own, TRIPLES[architecture] && `${TRIPLES[architecture]}-gcc`].filter(Boolean);
}
