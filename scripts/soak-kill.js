// `npm run soak:kill [-- TRIALS [SEED]]`: the server is killed (SIGKILL) at random moments under load.
//
// A client follows a folder in which files are made, replaced, deleted and renamed. Each trial: a burst of changes; a random
// moment later the server is killed; it is started again. Then every file at the server is whole (it carries its own hash);
// what the client was told to be stored, before the kill, is there; what was replaced or deleted is kept as a version; and
// when the client has caught up, the database says of every file what is on the disk. Default: 200 trials.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openDatabase } from "../dist/server/index.js";

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const TRIALS = Number(process.argv[2] ?? 200);
const SEED = Number(process.argv[3] ?? Date.now() % 1_000_000);
const LONGEST_MS = 60_000;
const FILES = 120;
const BURST = 25;

const work = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-soak-")));
const folder = path.join(work, "folder");
const home = path.join(work, "home");
const copy = path.join(home, "load");
const env = { ...process.env, NODE_OPTIONS: "", XDG_STATE_HOME: path.join(work, "state") };
const children = new Set();
process.once("SIGINT", () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  fs.rmSync(work, { recursive: true, force: true, maxRetries: 3 });
});

// mulberry32: the trial that fails can be run again.
let state = SEED;
function random(below) {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
}

/** Content that says itself which it is and whether it is whole. */
let contents = 0;
function content(size) {
  const body = Buffer.alloc(size, `${SEED}/${contents} `);
  const head = `${++contents} ${createHash("sha256").update(body).digest("hex")}\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function numberOf(bytes, where) {
  const end = bytes.indexOf(10);
  const [number, hash] = bytes.subarray(0, end).toString().split(" ");
  const whole =
    createHash("sha256")
      .update(bytes.subarray(end + 1))
      .digest("hex") === hash;
  if (!whole) throw new Error(`${where} is not whole`);
  return Number(number);
}

function start(...args) {
  const child = spawn(process.execPath, [path.join(ROOT, "bin", "confundo.js"), ...args], { stdio: "pipe", env });
  children.add(child);
  child.text = "";
  child.lines = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop();
    child.lines.push(...parts);
    child.text += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => (child.text += text));
  child.ended = new Promise((resolve) => child.once("close", resolve)).then(() => children.delete(child));
  return child;
}

async function until(condition, what, ...programs) {
  const deadline = performance.now() + LONGEST_MS;
  while (!(await holds(condition))) {
    const dead = programs.find((program) => !children.has(program));
    if (dead !== undefined) throw new Error(`waited for: ${what}; it ended instead:\n${dead.text.slice(-2000)}`);
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(30);
  }
}

/** What is looked at may go while it is looked at: then it does not hold yet. */
async function holds(condition) {
  try {
    return await condition();
  } catch (error) {
    if (error.code === "ENOENT") return false;
    throw error;
  }
}

async function serve(port) {
  const server = start("serve", home, "--port", port, "--no-http");
  await until(() => /listening on .*:\d+\n/.test(server.text), "the server listens", server);
  return { server, port: /listening on .*:(\d+)\n/.exec(server.text)[1] };
}

/** What the client's folder holds, by path. */
function tree(at) {
  const found = new Map();
  for (const entry of fs.readdirSync(at, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    found.set(path.relative(at, file), file);
  }
  return found;
}

function sizeAtRandom() {
  return random(12) === 0 ? 150_000 + random(300_000) : random(3000);
}

/** Changes each path at most once; says what the folder will hold of those it touches (null: nothing). */
function burst() {
  const expected = new Map();
  const paths = [...tree(folder).keys()].sort();
  for (let step = 0; step < BURST; step++) {
    const old = paths[random(paths.length)];
    const fresh = `d${random(8)}/f${contents}-${step}`;
    const kind = random(10);
    if (kind < 4 || old === undefined || expected.has(old)) {
      write(fresh, content(sizeAtRandom()), expected);
    } else if (kind < 7) write(old, content(sizeAtRandom()), expected);
    else if (kind < 9 && paths.length > FILES / 2) {
      fs.rmSync(path.join(folder, old));
      expected.set(old, null);
    } else {
      const number = numberOf(fs.readFileSync(path.join(folder, old)), old);
      fs.mkdirSync(path.dirname(path.join(folder, fresh)), { recursive: true });
      fs.renameSync(path.join(folder, old), path.join(folder, fresh));
      expected.set(old, null);
      expected.set(fresh, number);
    }
  }
  return expected;
}

function write(name, bytes, expected) {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  // Half a file is never in the folder: every copy of it has to be whole.
  fs.writeFileSync(path.join(work, "next"), bytes);
  fs.renameSync(path.join(work, "next"), file);
  expected.set(name, contents);
}

/** The paths of which the client was told, in these lines, that they are as they should be. */
function acknowledged(lines) {
  const done = new Set();
  for (const line of lines) {
    const event = JSON.parse(line);
    if (event.type === "pushed" || event.type === "deleted") done.add(event.path);
    if (event.type === "moved") done.add(event.path).add(event.from);
  }
  return done;
}

/** Whether the last of what was told about paths is that all are in step. */
function isSettled(lines) {
  const last = lines.findLast((line) => !/^\{"type":"(progress|notice|watching|walking|scanned)"/.test(line));
  return last?.startsWith('{"type":"synced"');
}

function checkDisk(before, expected, done) {
  const there = tree(copy);
  const numbers = new Map();
  for (const [name, file] of there) {
    let bytes;
    try {
      bytes = fs.readFileSync(file);
    } catch (error) {
      // The client is connected again and goes on.
      if (error.code === "ENOENT") continue;
      throw error;
    }
    numbers.set(name, numberOf(bytes, `the server's ${name}`));
  }
  let acknowledgedFiles = 0;
  for (const name of new Set([...before.keys(), ...expected.keys()])) {
    const now = numbers.get(name) ?? null;
    const wanted = expected.has(name) ? expected.get(name) : before.get(name);
    if (done.has(name) || !expected.has(name)) {
      acknowledgedFiles++;
      if (now !== wanted) throw new Error(`${name} was acknowledged as ${wanted}, and is ${now} after the kill`);
    } else if (now !== wanted && now !== (before.get(name) ?? null)) {
      throw new Error(`${name} is ${now}: neither ${before.get(name)} nor ${wanted}`);
    }
  }
  return acknowledgedFiles;
}

const hashOf = (file) => createHash("sha256").update(fs.readFileSync(file)).digest("hex");

/** What the database says of the folder is what is on the disk. */
async function agrees(database) {
  const there = new Map([...tree(copy)].map(([name, file]) => [name, hashOf(file)]));
  for await (const row of database.files.all("load")) {
    if (row.kind !== "file") continue;
    if (there.get(row.path) !== row.sha256)
      return `${row.path} is ${row.sha256} there, and ${there.get(row.path)} on the disk`;
    there.delete(row.path);
  }
  const [left] = there.keys();
  return left === undefined ? undefined : `${left} is not in the database`;
}

async function untilAgreed(database, server) {
  let difference = "";
  const asked = async () => {
    difference = (await agrees(database)) ?? "";
    return difference === "";
  };
  await until(asked, "the database agrees", server).catch((error) => {
    throw new Error(`${error.message}: ${difference}`);
  });
}

/** Of all that was replaced or deleted, and has no other name now, a version is kept with its content. */
async function checkVersions(database, replaced) {
  for (const [name, sha256] of replaced) {
    const versions = await database.versions.list("load", name, { limit: 1000 });
    if (!versions.some((version) => version.sha256 === sha256))
      throw new Error(`no version of ${name} with ${sha256} is kept`);
    const object = path.join(home, ".confundo/versions/objects", sha256.slice(0, 2), sha256);
    if (fs.existsSync(object)) {
      if (hashOf(object) !== sha256) throw new Error(`what is kept of ${name} is not what it was`);
    } else if ((await database.files.holding(sha256)).length === 0) throw new Error(`the content of ${name} is gone`);
  }
}

async function main() {
  console.log(`seed ${SEED}: ${TRIALS} trials`);
  fs.mkdirSync(folder);
  let { server, port } = await serve("0");
  for (let made = 0; made < FILES; made++) write(`d${made % 8}/f${made}`, content(sizeAtRandom()), new Map());
  const client = start("mirror", folder, `confundo://127.0.0.1:${port}/load`, "--json", "--allow-mass-delete");
  const inStep = () => {
    const [a, b] = [folder, copy].map((at) =>
      [...tree(at)]
        .map(([name, file]) => `${name} ${hashOf(file)}`)
        .sort()
        .join("\n"),
    );
    return a === b;
  };
  await until(() => fs.existsSync(copy), "the client connects", server, client);
  let database;
  let checked = 0;
  let midway = 0;
  for (let trial = 1; trial <= TRIALS; trial++) {
    // Also what the client is told of it: an answer that comes later would count for the next burst.
    await until(() => isSettled(client.lines) && inStep(), "the copy equals the folder", server, client);
    database ??= await openDatabase({ path: path.join(home, ".confundo/database.sqlite") });
    await untilAgreed(database, server);
    const before = new Map([...tree(folder)].map(([name, file]) => [name, numberOf(fs.readFileSync(file), name)]));
    const hashes = new Map([...tree(folder)].map(([name, file]) => [name, hashOf(file)]));
    client.lines.splice(0, client.lines.length - 1);
    const expected = burst();
    await sleep(random(400));
    server.kill("SIGKILL");
    await server.ended;
    // What the client had heard of it by then.
    const done = acknowledged(client.lines);
    if ([...expected.keys()].some((name) => done.has(name)) && [...expected.keys()].some((name) => !done.has(name)))
      midway++;
    const atOnce = tree(copy);
    for (const [name, file] of atOnce) numberOf(fs.readFileSync(file), `the server's ${name}`);
    checked += checkDisk(before, expected, done);
    ({ server } = await serve(port));
    await until(() => isSettled(client.lines) && inStep(), "the copy equals the folder again", server, client);
    const replaced = [...hashes].filter(([name]) => expected.has(name));
    await untilAgreed(database, server);
    await checkVersions(database, replaced);
    if (trial % 10 === 0 || trial === TRIALS) {
      console.log(
        `${trial} kills, ${midway} in the middle of a burst; ${checked} acknowledged files were there and whole`,
      );
    }
  }
  await database?.close();
  for (const child of [client, server]) child.kill("SIGTERM");
  await Promise.all([client.ended, server.ended]);
}

await main();
process.exit(0);
