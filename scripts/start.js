// `npm start [-- FOLDER]`: a server on this machine, a folder mirrored to it, and the mirror followed, by the real commands.
import { spawn } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
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
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) process.on(signal, () => stop(0));
let stopping = false;

const server = run("serve", home, "--port", "0", "--http", "127.0.0.1:0");
const port = await listening(server);
const mirror = run("mirror", folder, `confundo://127.0.0.1:${port}/${encodeURIComponent(name)}`);
show(mirror, (line) => {
  if (line.startsWith("synced")) explainOnce();
});

/** A name for the mirror out of the folder's: a server takes no leading dots. */
function mirrorName(path) {
  return basename(path).replace(/^\.+/, "") || "mirror";
}

function run(...args) {
  console.log(`$ confundo ${args.map(shown).join(" ")}`);
  // In a process group of its own: Ctrl-C is for us, who end them in order.
  const detached = process.platform !== "win32";
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"], detached });
  child.command = args[0];
  child.ended = new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
  children.push(child);
  child.ended.then(stop);
  return child;
}

/** Paths as one would type them here. */
function shown(arg) {
  const short = isAbsolute(arg) ? relative(here, arg) || "." : arg;
  const text = short.startsWith(join("..", "..")) ? arg : short;
  if (/^[\w@%+=:,./\\-]+$/.test(text)) return text;
  return process.platform === "win32" ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The port that the server prints, as soon as it has said where it listens and what it keeps. */
function listening(child) {
  return new Promise((found) => {
    show(child, (line) => {
      const match = /^try: .*:(\d+)\/NAME$/.exec(line);
      if (match) found(match[1]);
    });
  });
}

/** Prints its lines, and who says them. */
function show(child, onLine) {
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on("line", (line) => {
      // What we try ourselves, and explain, need not be said.
      if (!/^(try: |following )/.test(line)) console.log(`  ${child.command.padEnd(6)} | ${line}`);
      onLine(line);
    });
  }
}

let explained = false;
function explainOnce() {
  if (explained) return;
  explained = true;
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

/** Ends the mirror, which takes its leave of the server, then the server. */
async function stop(code) {
  if (stopping) return;
  stopping = true;
  process.exitCode = code;
  for (const child of children.toReversed()) {
    child.kill("SIGTERM");
    await child.ended;
  }
}
