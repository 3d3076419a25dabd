// Runs Node's own tests of net, http, https, http2 and tls over Confundo: see CONTRIBUTING.md.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const USAGE = `Usage: npm run node-suites -- TEST_FOLDER [options]

TEST_FOLDER        the folder "test" of a Node checkout
--suite NAMES      comma-separated beginnings of test names (default: net,http,https,http2,tls)
--edition NAME     extended (default), a classic edition, or tcp: the control run with node:net
--only TEXT        only tests whose name contains this
--timeout SECONDS  time for one test (default: 20)
--jobs COUNT       tests at once (default: 2)
--out FILE         writes the results as JSON
--control FILE     the results of a control run: tests that failed there do not count
--before FILE      the results of an earlier run: prints what has changed
--verbose          prints the output of each failure`;

const SHIM = fileURLToPath(new URL("node-suites/shim.cjs", import.meta.url));
const KEPT_OUTPUT_CHARACTERS = 3000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    suite: { type: "string", default: "net,http,https,http2,tls" },
    edition: { type: "string", default: "extended" },
    only: { type: "string", default: "" },
    timeout: { type: "string", default: "20" },
    jobs: { type: "string", default: "2" },
    out: { type: "string" },
    control: { type: "string" },
    before: { type: "string" },
    verbose: { type: "boolean", default: false },
  },
});
if (positionals.length !== 1) {
  console.error(USAGE);
  process.exit(2);
}
const [testFolder] = positionals;
const suites = values.suite.split(",");
const control = readResults(values.control);
const before = readResults(values.before);
const scratch = mkdtempSync(join(tmpdir(), "node-suites-"));
const results = {};

try {
  const names = findTests();
  await Promise.all(Array.from({ length: Number(values.jobs) }, (_, thread) => work(names, thread + 1)));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(results, null, 1)}\n`);
report();

function readResults(file) {
  return file === undefined ? null : JSON.parse(readFileSync(file, "utf8"));
}

function findTests() {
  return ["parallel", "sequential"]
    .flatMap((folder) => readdirSync(join(testFolder, folder)).map((name) => `${folder}/${name}`))
    .filter((name) => suiteOf(name) !== undefined && name.includes(values.only))
    .sort();
}

function suiteOf(name) {
  const match = /^test-([a-z0-9]+)-.*\.m?js$/.exec(basename(name));
  return match !== null && suites.includes(match[1]) ? match[1] : undefined;
}

/** Takes tests from the list until it is empty. */
async function work(names, thread) {
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const result = await run(name, thread);
    results[name] = result;
    const counts = control === null || control[name]?.status === "pass";
    if (result.status !== "pass" && counts) {
      console.log(`${result.status} ${name} (${result.ms} ms)`);
      if (values.verbose) console.log(result.output);
    }
  }
}

function run(name, thread) {
  const file = join(testFolder, name);
  const folder = join(scratch, String(thread));
  mkdirSync(folder, { recursive: true });
  const env = {
    ...process.env,
    NODE_SUITES_EDITION: values.edition,
    NODE_TEST_DIR: folder,
    TEST_THREAD_ID: String(thread),
    TEST_SERIAL_ID: String(thread),
    NODE_SKIP_FLAG_CHECK: "1",
  };
  const startedAt = Date.now();
  const child = spawn(process.execPath, [...flagsOf(file), "--require", SHIM, file], {
    cwd: dirname(dirname(testFolder)),
    env,
    detached: true, // A process group of its own, which takes its children along when it is ended.
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (chunk) => {
    output = (output + chunk).slice(-KEPT_OUTPUT_CHARACTERS);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  return new Promise((resolve) => {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child.pid);
    }, Number(values.timeout) * 1000);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      endGroup(child.pid);
      const status = timedOut ? "timeout" : code === 0 ? "pass" : "fail";
      resolve({ status, code: code ?? signal, ms: Date.now() - startedAt, output: status === "pass" ? "" : output });
    });
  });
}

function flagsOf(file) {
  const flags = /\/\/ Flags:\s+(--.*)/.exec(readFileSync(file, "utf8").slice(0, 1500))?.[1] ?? "";
  return flags.split(/\s+/).filter((flag) => flag !== "");
}

function endGroup(pid) {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended, and so have its children.
  }
}

function report() {
  for (const suite of suites) {
    const names = Object.keys(results).filter((name) => suiteOf(name) === suite);
    const counted = control === null ? names : names.filter((name) => control[name]?.status === "pass");
    const passed = counted.filter((name) => results[name].status === "pass").length;
    const of = control === null ? "" : " of those that pass in the control run";
    console.log(`${suite}: ${passed} of ${counted.length}${of}`);
  }
  if (before === null) return;
  for (const name of Object.keys(results)) {
    const [was, is] = [before[name]?.status, results[name].status];
    if (was !== undefined && (was === "pass") !== (is === "pass")) console.log(`${was} -> ${is}: ${name}`);
  }
}
