// `npm run acceptance [-- FILES]`: a real folder, mirrored and followed by the built program, hash for hash.
//
// The folder is made of copies of node_modules until it has at least FILES files (default 20000). Then, each time until the
// copy equals the folder in every path, hash, link and executable bit: the first mirroring, with a kill -9 of the client in
// the middle; edits, renames and deletions while it is followed; a kill -9 of the server in the middle of a wave of changes;
// one of the client in another; changes made while nobody looks; deleting half of it. Prints what took how long.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const WANTED_FILES = Number(process.argv[2] ?? 20_000);
const LONGEST_MS = 600_000;

const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-acceptance-")));
const folder = path.join(work, "folder");
const home = path.join(work, "home");
const copy = path.join(home, "m");
const children = new Set();
let began = 0;

process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

/** Starts the built program; its lines are kept. */
function start(...args) {
  const child = spawn(process.execPath, [path.join(ROOT, "bin", "confundo.js"), ...args], { stdio: "pipe" });
  children.add(child);
  child.text = "";
  for (const output of [child.stdout, child.stderr])
    output.setEncoding("utf8").on("data", (text) => (child.text += text));
  child.ended = new Promise((resolve) => child.once("close", resolve)).then((code) => {
    children.delete(child);
    return code;
  });
  return child;
}

async function serve(port) {
  const server = start("serve", home, "--no-http", "--port", port);
  await until(() => /listening on .*:\d+\n/.test(server.text), "the server listens");
  return { server, port: /listening on .*:(\d+)\n/.exec(server.text)[1] };
}

async function until(condition, what) {
  const deadline = performance.now() + LONGEST_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(20);
  }
}

async function kill(child) {
  child.kill("SIGKILL");
  await child.ended;
}

/** Everything in a folder: kind, executable bit, size, link or hash, by path. */
function contents(root, withHashes) {
  const found = new Map();
  for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const full = path.join(entry.parentPath, entry.name);
    found.set(path.relative(root, full), describe(full, entry, withHashes));
  }
  return found;
}

function describe(full, entry, withHashes) {
  if (entry.isDirectory()) return "folder";
  if (entry.isSymbolicLink()) return `link to ${fs.readlinkSync(full)}`;
  const { mode, size } = fs.statSync(full);
  const hash = withHashes ? createHash("sha256").update(fs.readFileSync(full)).digest("hex") : "";
  return `${mode & 0o100 ? "executable" : "file"} of ${size} ${hash}`;
}

function differences(withHashes) {
  const [wanted, there] = [contents(folder, withHashes), contents(copy, withHashes)];
  const differing = [...wanted].filter(([name, what]) => there.get(name) !== what).map(([name]) => name);
  return { wanted, differing: [...differing, ...[...there.keys()].filter((name) => !wanted.has(name))] };
}

/** Waits until the copy looks equal, then compares hashes. */
async function equal(what, since) {
  const deadline = performance.now() + LONGEST_MS;
  for (;;) {
    await sleep(250);
    try {
      if (differences(false).differing.length === 0 && differences(true).differing.length === 0) break;
    } catch (error) {
      // What is looked at may vanish meanwhile.
      if (error.code !== "ENOENT") throw error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what}: differs in ${differences(true).differing.slice(0, 20)}`);
  }
  const { wanted } = differences(true);
  const hash = createHash("sha256");
  for (const name of [...wanted.keys()].sort()) hash.update(`${name}\0${wanted.get(name)}\0`);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  console.log(
    `${what.padEnd(58)} ${seconds.padStart(6)} s  ${wanted.size} entries, tree ${hash.digest("hex").slice(0, 12)}`,
  );
}

/** Files that the server has not put in their place (yet). */
function staged() {
  const staging = path.join(home, ".confundo", "staging");
  if (!fs.existsSync(staging)) return [];
  const entries = fs.readdirSync(staging, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
}

const filesOf = (root) =>
  [...contents(root, false)].filter(([, what]) => /^(file|executable)/.test(what)).map(([name]) => name);

/** Spread over the whole folder: every nth of its files, different ones for another offset. */
function some(count, offset) {
  const files = filesOf(folder).sort();
  const step = Math.max(1, Math.floor(files.length / count));
  return files.filter((_, i) => i % step === offset % step).slice(0, count);
}

function edit(names) {
  for (const [i, name] of names.entries()) {
    const full = path.join(folder, name);
    if (i % 3 === 0) fs.appendFileSync(full, `edited ${i}\n`);
    else if (i % 3 === 1) fs.writeFileSync(full, randomBytes(1000 + i));
    else {
      fs.writeFileSync(`${full}.new`, `replaced ${i}`);
      fs.renameSync(`${full}.new`, full);
    }
  }
}

function makeFolder() {
  let files = 0;
  for (let i = 0; i < 2 || files < WANTED_FILES; i++) {
    // Content that no other copy has is added to each, so that equal files at wrong places are noticed.
    fs.cpSync(path.join(ROOT, "node_modules"), path.join(folder, `copy-${i}`), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (name) => !fs.lstatSync(name).isFile() || fs.lstatSync(name).size < 20_000_000,
    });
    for (const name of filesOf(path.join(folder, `copy-${i}`)).filter((_, n) => n % 10 === 0)) {
      fs.appendFileSync(path.join(folder, `copy-${i}`, name), `\n// copy ${i}\n`);
    }
    files = filesOf(folder).length;
  }
  fs.mkdirSync(path.join(folder, "odd names/an empty folder"), { recursive: true });
  for (const name of [" a b ", "line\nbreak", '"quoted"', "🦊", "é".normalize("NFC"), "é".normalize("NFD"), "empty"]) {
    fs.writeFileSync(path.join(folder, "odd names", name), name === "empty" ? "" : name);
  }
  const bytes = filesOf(folder).reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);
  console.log(
    `${filesOf(folder).length} files, ${(bytes / 1024 / 1024).toFixed(0)} MiB, Node ${process.versions.node}\n`,
  );
}

async function main() {
  makeFolder();
  began = performance.now();
  let since = performance.now();
  let { server, port } = await serve("0");
  const address = `confundo://127.0.0.1:${port}/m`;
  const arrived = (share) => fs.existsSync(copy) && contents(copy, false).size > WANTED_FILES * share;

  let client = start("mirror", folder, address);
  await until(() => arrived(0.3), "a third has arrived");
  await kill(client);
  client = start("mirror", folder, address);
  await equal("mirrored, with a kill -9 of the client in the middle", since);

  since = performance.now();
  edit(some(500, 1));
  await equal("500 files edited or replaced", since);

  since = performance.now();
  for (const name of some(300, 2)) fs.renameSync(path.join(folder, name), path.join(folder, `${name}.renamed`));
  fs.renameSync(path.join(folder, "copy-0", ".bin"), path.join(folder, "binaries"));
  fs.renameSync(path.join(folder, "copy-1"), path.join(folder, "a whole copy, renamed"));
  await equal("300 files, a folder and a whole copy renamed", since);

  since = performance.now();
  for (const name of some(300, 3)) fs.rmSync(path.join(folder, name));
  await equal("300 files deleted", since);

  since = performance.now();
  edit(some(2000, 4));
  fs.writeFileSync(path.join(folder, "large.bin"), randomBytes(200 * 1024 * 1024));
  await until(() => staged().some((name) => name.endsWith(".partial")), "the large file is on its way");
  await kill(server);
  edit(some(200, 5));
  ({ server, port } = await serve(port));
  await equal("2000 edits and 200 MiB, with a kill -9 of the server", since);

  since = performance.now();
  edit(some(2000, 6));
  fs.writeFileSync(path.join(folder, "large.bin"), randomBytes(200 * 1024 * 1024));
  await until(() => staged().some((name) => name.endsWith(".partial")), "the large file is on its way");
  await kill(client);
  edit(some(300, 7));
  for (const name of some(300, 8)) fs.rmSync(path.join(folder, name));
  for (const name of some(300, 9)) fs.renameSync(path.join(folder, name), path.join(folder, `${name}.again`));
  client = start("mirror", folder, address);
  await equal("as many, with a kill -9 of the client, and more meanwhile", since);

  since = performance.now();
  fs.rmSync(path.join(folder, "a whole copy, renamed"), { recursive: true });
  await equal("a whole copy deleted", since);

  since = performance.now();
  fs.writeFileSync(path.join(folder, "last"), "still followed");
  await equal("still followed", since);

  client.kill("SIGINT");
  server.kill("SIGTERM", await client.ended);
  const codes = [await client.ended, await server.ended];
  if (codes.some((code) => code !== 0)) throw new Error(`exit codes ${codes}\n${client.text}\n${server.text}`);
  const left = staged();
  if (left.length > 0) throw new Error(`left over: ${left}`);
  console.log(`\nnothing left over; ${((performance.now() - began) / 1000).toFixed(0)} s in all`);
}

await main();
