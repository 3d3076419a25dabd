// `npm start [-- FOLDER]`: a server on this machine, a folder mirrored to it, and the mirror followed, by the real commands.
import { spawn } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, "bin", "confundo.js");
// npm runs scripts in the package's folder; INIT_CWD is where the user is.
const here = process.env.INIT_CWD ?? process.cwd();
const folder = process.argv[2] === undefined ? join(root, "examples", "sample-folder") : resolve(here, process.argv[2]);
const home = join(root, "demo-mirror");
const name = mirrorName(folder);

if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
  console.error(`ERROR: ${folder} is not a folder. Give one: npm start -- FOLDER`);
  process.exit(1);
}
mkdirSync(home, { recursive: true });

const children = [];
const server = run("serve", home, "--port", "0");
const [host, port] = await listening(server);
const address = `confundo://${host}:${port}/${name}`;
const mirror = run("mirror", folder, address);
let explained = false;
show(mirror, (line) => {
  if (explained || !/^synced|in step/i.test(line)) return;
  explained = true;
  explain();
});

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop(0));
for (const child of children) child.on("exit", (code) => stop(code ?? 1));

/** A name for the mirror out of the folder's: a server takes no leading dots. */
function mirrorName(path) {
  return basename(path).replace(/^\.+/, "") || "mirror";
}

function run(...args) {
  console.log(`$ confundo ${args.map((arg) => shown(arg)).join(" ")}`);
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  return child;
}

/** Paths as one would type them here. */
function shown(arg) {
  const short = arg.startsWith("/") ? relative(here, arg) || "." : arg;
  return short.startsWith("../..") ? arg : short;
}

/** The address that the server prints. */
function listening(child) {
  return new Promise((found) => {
    show(child, (line) => {
      const match = /listening on (?:confundo:\/\/)?(\S+):(\d+)/.exec(line);
      if (match) found([match[1], match[2]]);
    });
  });
}

function show(child, onLine) {
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on("line", (line) => {
      console.log(`  ${line}`);
      onLine(line);
    });
  }
}

function explain() {
  console.log(`
The mirror is in ${join(home, name)}
It follows ${folder}

Try in another terminal:
  echo hello > ${join(shown(folder), "hello.txt")}
  cat ${join(shown(home), name, "hello.txt")}

Your own folder: npm start -- FOLDER
Ctrl-C ends both.
`);
}

let stopping = false;
function stop(code) {
  if (stopping) return;
  stopping = true;
  for (const child of children) child.kill("SIGTERM");
  process.exitCode = code;
}
