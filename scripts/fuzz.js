/**
 * Coverage-guided fuzzing: `npm run fuzz` lists the targets, `npm run fuzz TARGET [SECONDS] [SEED]` fuzzes one (default: 60 s).
 *
 * Inputs are mutated, and those that reach something new are mutated further. Coverage is V8's own precise block coverage of `src`,
 * with counts in powers of two, through node:inspector: it needs no build and no native code. (@jazzer.js/fuzzer 4.0.0 has its
 * binaries inside its package, but they need glibc 2.38, which Debian 12 does not have.)
 *
 * What reached something new is kept in test/fuzz/corpus/TARGET.txt, the least set of inputs that reaches as much, one a line in base64.
 * The test suite replays it. An input that makes the target throw, or takes more than two seconds, is made smaller, printed, and
 * added to the corpus, so that the suite fails until that is mended.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector";
import { registerHooks } from "node:module";

const MOST_BYTES = 4096;
/** Inputs between two looks at what was reached, which take some 5 ms each, and ten times as long on a busy machine. */
const BATCH = 250;
const TOO_LONG_MS = 2000;
const INTERESTING = [0, 1, 2, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 129, 200, 254, 255];

// Node strips types, and wants to be told that ./x.js is ./x.ts here.
registerHooks({
  resolve(specifier, context, next) {
    const ts = specifier.replace(/\.js$/, ".ts");
    const own =
      specifier.startsWith(".") && context.parentURL !== undefined && !context.parentURL.includes("node_modules");
    if (own && ts !== specifier && existsSync(new URL(ts, context.parentURL))) return next(ts, context);
    return next(specifier, context);
  },
});
globalThis.CONFUNDO_ASSERTIONS = true;

const { TARGETS } = await import("../test/fuzz/targets.ts");
const [name = "", seconds = "60", seed = String(Date.now() % 1e9)] = process.argv.slice(2);
const target = TARGETS[name];
if (target === undefined) {
  console.log(`npm run fuzz TARGET [SECONDS] [SEED]\ntargets: ${Object.keys(TARGETS).join(", ")}`);
  process.exit(name === "" ? 0 : 2);
}

let state = Number(seed) >>> 0;
/** A whole number below `most` (mulberry32). */
function random(most) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) % most;
}

const session = new Session();
session.connect();
const post = (method, parameters) => {
  let answer;
  session.post(method, parameters, (error, result) => {
    if (error !== null) throw new Error(`${method}: ${error.message}`);
    answer = result;
  });
  return answer;
};
post("Profiler.enable");
post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

/** Numbers of features: of each 16 characters of a script that may run, and of how often a function ran, in powers of two. */
const CELL = 16;
const COUNTS = 1 << 24;
const scripts = new Map();
const counts = new Map();
let cells = 0;

function cellsOf(url, functions) {
  let script = scripts.get(url);
  if (script === undefined) {
    const length = Math.max(...functions.map(({ ranges }) => ranges[0].endOffset));
    script = { first: cells, ran: new Uint8Array(length + 1) };
    cells += Math.ceil(length / CELL) + 1;
    scripts.set(url, script);
  }
  return script;
}

/** What has run since the last call. Blocks say nothing by themselves: one that ran as often as what is around it is not listed. */
function takeFeatures() {
  const features = [];
  for (const { url, functions } of post("Profiler.takePreciseCoverage").result) {
    if (!url.includes("/src/")) continue;
    const { first, ran } = cellsOf(url, functions);
    ran.fill(0);
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      const [{ startOffset, count }] = ranges;
      if (count === 0) continue;
      const key = `${url}:${startOffset}:${Math.min(Math.floor(Math.log2(count)), 6)}`;
      const number = counts.get(key) ?? COUNTS + counts.size;
      counts.set(key, number);
      features.push(number);
    }
    for (let at = 0; at < ran.length; at += CELL) if (ran[at] === 1) features.push(first + at / CELL);
  }
  return features;
}

/** Its error, or `undefined`. */
async function run(input) {
  const began = performance.now();
  try {
    await target.run(input);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const ms = performance.now() - began;
  return ms > TOO_LONG_MS ? new Error(`it took ${Math.round(ms)} ms`) : undefined;
}

const mostBytes = target.maxBytes ?? MOST_BYTES;

/** @type {((input: Uint8Array) => Uint8Array)[]} */
const MUTATIONS = [
  (input) => changed(input, (at) => input[at] ^ (1 << random(8))),
  (input) => changed(input, () => random(256)),
  (input) => changed(input, () => INTERESTING[random(INTERESTING.length)]),
  (input) => changed(input, (at) => input[at] + random(17) - 8),
  (input) => replaced(input, random(input.length + 1), 0, bytes(1 + random(8))),
  (input) => replaced(input, random(input.length + 1), random(Math.min(16, input.length) + 1), []),
  (input) => replaced(input, random(input.length + 1), random(64), []),
  (input) => {
    const from = random(input.length + 1);
    return replaced(input, random(input.length + 1), 0, input.slice(from, from + 1 + random(64)));
  },
  (input) => {
    const width = 1 << random(4);
    const value = random(2) === 0 ? 0 : 0xff;
    return replaced(input, random(input.length + 1), width, Array(width).fill(value));
  },
  (input) => {
    const { input: other } = corpus[random(corpus.length)];
    const from = random(other.length + 1);
    const length = 1 + random(Math.max(1, other.length - from));
    return replaced(input, random(input.length + 1), random(2) * length, other.slice(from, from + length));
  },
  (input) => {
    const { input: other } = corpus[random(corpus.length)];
    return Uint8Array.from([...input.slice(0, random(input.length + 1)), ...other.slice(random(other.length + 1))]);
  },
];

function bytes(count) {
  return Array.from({ length: count }, () => random(256));
}

function changed(input, value) {
  if (input.length === 0) return Uint8Array.of(random(256));
  const copy = input.slice();
  const at = random(copy.length);
  copy[at] = value(at);
  return copy;
}

function replaced(input, at, count, by) {
  return Uint8Array.from([...input.slice(0, at), ...by, ...input.slice(at + count)]);
}

function mutated(input) {
  let mutant = input;
  for (let count = 1 << random(5); count > 0; count--) mutant = MUTATIONS[random(MUTATIONS.length)](mutant);
  return mutant.slice(0, mostBytes);
}

const file = new URL(`../test/fuzz/corpus/${name}.txt`, import.meta.url);
const known = existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
/** @type {{ input: Uint8Array, features: number[] }[]} */
const corpus = [];
const seen = new Set();
let found = 0;

/** Keeps the input if it reaches something new. */
async function consider(input) {
  takeFeatures();
  const error = await run(input);
  const features = takeFeatures();
  if (error !== undefined) return report(input, error);
  if (features.every((feature) => seen.has(feature)) && corpus.length > 0) return;
  for (const feature of features) seen.add(feature);
  corpus.push({ input, features });
}

function reachedNewCode() {
  return takeFeatures().some((feature) => feature < COUNTS && !seen.has(feature));
}

/** Keeps those of the inputs that reach new code. Few do, so that they are found by halves instead of one by one. */
async function considerNew(inputs) {
  if (inputs.length === 1) return consider(inputs[0]);
  const middle = Math.ceil(inputs.length / 2);
  for (const half of [inputs.slice(0, middle), inputs.slice(middle)]) {
    takeFeatures();
    for (const input of half) {
      const error = await run(input);
      if (error !== undefined) await report(input, error);
    }
    if (reachedNewCode()) await considerNew(half);
  }
}

async function report(input, error) {
  found++;
  const same = async (candidate) => (await run(candidate))?.message === error.message;
  let smallest = input;
  for (let width = Math.ceil(smallest.length / 2); width >= 1; width = Math.floor(width / 2)) {
    for (let at = 0; at < smallest.length; ) {
      const candidate = replaced(smallest, at, width, []);
      if (await same(candidate)) smallest = candidate;
      else at += width;
    }
  }
  const line = Buffer.from(smallest).toString("base64");
  console.error(`${name}: ${line}\n${error.stack}`);
  save([...known, line]);
  process.exit(1);
}

/** The least inputs, about, that reach all that was reached: the shortest first, and then only those that add something. */
function least() {
  const covered = new Set();
  const kept = [];
  for (const { input, features } of corpus.toSorted((a, b) => a.input.length - b.input.length)) {
    if (features.every((feature) => covered.has(feature))) continue;
    for (const feature of features) covered.add(feature);
    kept.push(Buffer.from(input).toString("base64"));
  }
  return kept;
}

function save(lines) {
  writeFileSync(file, `${[...new Set(lines)].sort((a, b) => a.length - b.length || (a < b ? -1 : 1)).join("\n")}\n`);
}

// The first run of anything also reaches what happens once.
for (const input of target.seeds()) await run(input);
for (const input of [...target.seeds(), ...known.map((line) => new Uint8Array(Buffer.from(line, "base64")))])
  await consider(input);
const seeds = corpus.length;
const until = Date.now() + Number(seconds) * 1000;
let runs = 0;
while (Date.now() < until) {
  const batch = Array.from({ length: BATCH }, () => mutated(corpus[random(corpus.length)].input));
  takeFeatures();
  for (const input of batch) {
    const error = await run(input);
    if (error !== undefined) await report(input, error);
    runs++;
  }
  // Of a batch that reached new code, those that did are searched for; of others two, for how often they reach what is known.
  if (reachedNewCode()) await considerNew(batch);
  else for (const input of batch.slice(0, 2)) await consider(input);
}
if (found === 0) save(least());
console.log(
  `${name}: ${runs} inputs in ${seconds} s (seed ${seed}), ${seeds} known, ${corpus.length - seeds} new, ${seen.size} features`,
);
process.exit(0);
