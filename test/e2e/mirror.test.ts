import { createSocket } from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { describe, expect } from "vitest";
import { connectSecurely, DeviceState } from "../../src/secure/index.js";
import { connect } from "../../src/stream/index.js";
import { mirror } from "../../src/sync/index.js";
import { EventSchema } from "../support/event-schema.js";
import { PATIENCE_MS } from "../support/limits.js";
import { LossyProxy } from "../support/lossy-proxy.js";
import { contents, outline, type Program, type Rig, random, STATE, sha256, test, until } from "../support/program.js";

// Many programs at once, on machines that do other things, too.
const MEBIBYTE = 1024 * 1024;

interface Setup {
  /** The folder that is mirrored. */
  readonly folder: string;
  /** Where the server keeps mirrors. */
  readonly home: string;
  /** `home/m`. */
  readonly copy: string;
  readonly server: Program;
  readonly port: string;
  readonly address: string;
}

/** A server, and a folder to be mirrored to it as `m`. */
async function setUp(rig: Rig, tree: Record<string, string | Buffer> = {}): Promise<Setup> {
  const folder = rig.folder();
  const home = path.join(rig.folder(), "home");
  write(folder, tree);
  const { server, port } = await rig.serve(home);
  return { folder, home, copy: path.join(home, "m"), server, port, address: `confundo://127.0.0.1:${port}/m` };
}

function write(folder: string, tree: Record<string, string | Buffer>): void {
  for (const [name, content] of Object.entries(tree)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), content);
  }
}

/** Waits until the copy is what the folder is; says what differs where it never becomes so. */
async function expectEqual({ folder, copy }: Setup): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  const equal = (describe: typeof contents): boolean => isDeepStrictEqual(describe(copy), describe(folder));
  await until(() => performance.now() > deadline || (equal(outline) && equal(contents)));
  expect(contents(copy)).toEqual(contents(folder));
}

/** A way to the server that passes 8 MiB and then nothing, until it is opened: a transfer can be caught in its middle. */
async function gate({ port }: Setup): Promise<{ address: string; open(): void } & AsyncDisposable> {
  let left = 8 * MEBIBYTE;
  const filter = ({ length }: Buffer, direction: string): boolean => {
    if (direction === "toServer") left -= length;
    return left > 0;
  };
  const proxy = await LossyProxy.start({ seed: 1, targetPort: Number(port), filter });
  return {
    address: `confundo://127.0.0.1:${proxy.port}/m`,
    open: () => {
      left = Infinity;
    },
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}

/** Files that interrupted writes have left at the server. */
function leftovers({ home }: Setup): string[] {
  const staging = path.join(home, ".confundo", "staging");
  if (!fs.existsSync(staging)) return [];
  const names = fs.readdirSync(staging, { recursive: true, encoding: "utf8" });
  return names.filter((name) => fs.statSync(path.join(staging, name)).isFile());
}

/** Bytes of an unfinished large file that have arrived. */
function arrived(setup: Setup): number {
  const [partial] = leftovers(setup).filter((name) => name.endsWith(".partial"));
  return partial === undefined ? 0 : fs.statSync(path.join(setup.home, ".confundo", "staging", partial)).size;
}

function events(stdout: string): { type: string; [key: string]: unknown }[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

// What takes its time by protocol comes first, so that the others run beside it.
describe.concurrent("time passes", () => {
  test("--once gives up a server that is not there, after having tried and said so", async ({ rig }) => {
    const { server, port } = await rig.serve(rig.folder());
    await server.kill("SIGTERM");
    const absent = `confundo://127.0.0.1:${port}/m`;
    const exit = await rig.run(["mirror", rig.folder(), absent, "--once", "--timeout", "12s"]);
    expect(exit).toMatchObject({ code: 1, stdout: "" });
    const lines = exit.stderr.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    for (const line of lines)
      expect(line).toMatch(/^(ERROR: )?127\.0\.0\.1:\d+: no answer within 10 s\. .*ECONNREFUSED/);
    expect(lines[0]).toMatch(/Trying again in \d\.\d s\. \(ERR_CONNECT\)$/);
    expect(lines[1]).toMatch(/^ERROR: .*; given up after 12 s\. \(ERR_CONNECT\)$/);
  });

  test("an idle mirror is still connected after more than 10 s, and still notices", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1" });
    const client = rig.start(["mirror", setup.folder, setup.address, "--json"]);
    await client.printed(/"synced"/);
    await sleep(12_500);
    write(setup.folder, { a: "2", b: "new" });
    await expectEqual(setup);
    const { stdout, stderr, code } = await client.kill("SIGTERM");
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(events(stdout).filter(({ type }) => type === "connecting" || type === "retrying")).toHaveLength(1);
  });

  test("a client that is there before its server says so, and mirrors when the server comes", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1" });
    await setup.server.kill("SIGTERM");
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/Trying again/);
    await rig.serve(setup.home, setup.port);
    await expectEqual(setup);
    await client.printed(/synced: 1 files, 1 B sent/);
  });

  test("kill -9 of the server in the middle of a transfer", async ({ rig }) => {
    const setup = await setUp(rig, { "large.bin": random(32 * MEBIBYTE), "z/small": "small" });
    await using way = await gate(setup);
    const client = rig.start(["mirror", setup.folder, way.address]);
    await until(() => arrived(setup) > 4 * MEBIBYTE);
    await setup.server.kill("SIGKILL");
    way.open();
    expect(fs.existsSync(path.join(setup.copy, "large.bin"))).toBe(false);
    await rig.serve(setup.home, setup.port);
    await expectEqual(setup);
    await client.printed(/Trying again in \d/);
    await client.printed(/large\.bin goes on at \d+\.\d MiB of 32\.0 MiB that have arrived already/);
    await client.printed(/connected again, going on[\s\S]*synced: /);
    expect(leftovers(setup)).toEqual([]);
    write(setup.folder, { "z/small": "still followed" });
    await expectEqual(setup);
  });

  test("kill -9 of a server that is started again at once: its client does not wait for a silence", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1" });
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/synced/);
    const key = path.join(setup.home, ".confundo", "stateless-reset.key");
    const before = fs.readFileSync(key, "utf8");
    expect(fs.statSync(key).mode & 0o777).toBe(0o600);
    await setup.server.kill("SIGKILL");
    await rig.serve(setup.home, setup.port);
    expect(fs.readFileSync(key, "utf8")).toBe(before);
    await client.printed(/its program was restarted|ECONNREFUSED/);
    await client.printed(/connected again, going on/);
    write(setup.folder, { a: "2" });
    await expectEqual(setup);
  });

  test("a server that is restarted while following", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1" });
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/synced/);
    expect(await setup.server.kill("SIGTERM")).toMatchObject({ code: 0, stderr: "" });
    await client.printed(/The server is closing\. Trying again in 0\.\d s\. \(ERR_SERVER_CLOSING\)/);
    write(setup.folder, { a: "2", "while/away": "3" });
    await rig.serve(setup.home, setup.port);
    await client.printed(/connected again, going on/);
    await expectEqual(setup);
  });
});

describe.concurrent("kill -9 of the client", () => {
  test("in the middle of a large file: the next run goes on where it was, and nothing is left over", async ({
    rig,
  }) => {
    const setup = await setUp(rig, { "large.bin": random(32 * MEBIBYTE) });
    await using way = await gate(setup);
    const client = rig.start(["mirror", setup.folder, way.address]);
    await until(() => arrived(setup) > 4 * MEBIBYTE);
    await client.kill("SIGKILL");
    expect(contents(setup.copy)).toEqual({});
    const again = await rig.run(["mirror", setup.folder, setup.address, "--once"]);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toMatch(/^large\.bin goes on at \d+\.\d MiB of 32\.0 MiB/);
    expect(contents(setup.copy)).toEqual(contents(setup.folder));
    expect(leftovers(setup)).toEqual([]);
  });

  test("in the middle of many small files: what is there is complete, and the next run does the rest", async ({
    rig,
  }) => {
    const setup = await setUp(rig);
    for (let i = 0; i < 3000; i++) write(setup.folder, { [`${i % 30}/${i}`]: random(4000) });
    await using way = await gate(setup);
    const client = rig.start(["mirror", setup.folder, way.address]);
    await until(() => fs.readdirSync(setup.copy, { recursive: true }).length > 200);
    await client.kill("SIGKILL");
    const [there, wanted] = [contents(setup.copy), contents(setup.folder)];
    expect(Object.keys(there).length).toBeLessThan(3030);
    for (const [name, entry] of Object.entries(there)) expect(entry, name).toBe(wanted[name]);
    expect(await rig.run(["mirror", setup.folder, setup.address, "--once"])).toMatchObject({ code: 0, stderr: "" });
    expect(contents(setup.copy)).toEqual(wanted);
    expect(leftovers(setup)).toEqual([]);
  });
});

describe.concurrent("following", () => {
  test("edits, renames, deletions, a file that becomes a folder and back, links, the executable bit", async ({
    rig,
  }) => {
    const setup = await setUp(rig, { edited: "1", renamed: "r", deleted: "d", "dir/in": "x", "dir/sub/deep": "y" });
    const { folder } = setup;
    const at = (name: string): string => path.join(folder, name);
    const client = rig.start(["mirror", folder, setup.address]);
    await client.printed(/synced: 5 files, 5 B sent, 0 deleted/);
    expect(contents(setup.copy)).toEqual(contents(folder));
    const steps: (() => void)[] = [
      () => write(folder, { edited: "two", "new/empty": "" }),
      () => fs.renameSync(at("renamed"), at("dir/renamed to")),
      () => fs.rmSync(at("deleted")),
      () => fs.renameSync(at("dir"), at("moved")),
      () => fs.mkdirSync(at("empty/nested"), { recursive: true }),
      () => fs.symlinkSync("moved/in", at("link")),
      // A link that leads nowhere, and out of the folder, is mirrored as what it is.
      () => fs.symlinkSync("../../nowhere", at("dangling")),
      () => fs.chmodSync(at("edited"), 0o755),
      () => fs.chmodSync(at("edited"), 0o644),
      () => fs.utimesSync(at("edited"), 1_000_000_000, 1_000_000_000),
      () => {
        fs.rmSync(at("edited"));
        write(folder, { "edited/inside": "a file became a folder" });
      },
      () => {
        fs.rmSync(at("edited"), { recursive: true });
        write(folder, { edited: "and a file again" });
      },
      () => {
        fs.rmSync(at("moved"), { recursive: true });
        fs.symlinkSync("edited", at("moved"));
      },
      () => {
        fs.rmSync(at("moved"));
        write(folder, { "moved/again": "a link became a folder" });
      },
      () => {
        write(folder, { temporary: "replaced at once" });
        fs.renameSync(at("temporary"), at("edited"));
      },
      () => {
        for (const name of fs.readdirSync(folder)) if (name !== "edited") fs.rmSync(at(name), { recursive: true });
      },
      // The last of all may go, if it goes by itself.
      () => fs.rmSync(at("edited")),
    ];
    for (const step of steps) {
      step();
      await expectEqual(setup);
    }
    expect(contents(setup.copy)).toEqual({});
    expect(await client.kill("SIGINT")).toMatchObject({ code: 0, signal: null, stderr: "" });
    await setup.server.printed(/m: 127\.0\.0\.1:\d+ has disconnected/);
    expect(leftovers(setup)).toEqual([]);
  });

  test("names with spaces, quotes, newlines, emoji, and both forms of an é", async ({ rig }) => {
    const names = [
      " a b ",
      "it's",
      '"q"',
      "line\nbreak",
      "tab\t",
      "🦊/🐙 fox",
      "é".normalize("NFC"),
      "é".normalize("NFD"),
    ];
    const more = [
      "-rf",
      "~",
      "$(x)",
      "back\\slash",
      "..dots",
      "日本/語",
      "#%?&",
      "x".repeat(255),
      "\u202Ertl",
      ".hidden",
    ];
    const setup = await setUp(rig, Object.fromEntries([...names, ...more].map((name) => [name, name])));
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/synced: 18 files/);
    expect(contents(setup.copy)).toEqual(contents(setup.folder));
    // Told in one line each, whatever is in them.
    expect(client.stdout).toContain('sent     "line\\nbreak"\n');
    for (const name of names) fs.appendFileSync(path.join(setup.folder, name), "+");
    await expectEqual(setup);
    for (const name of names) fs.renameSync(path.join(setup.folder, name), path.join(setup.folder, `${name.at(-1)}2`));
    await expectEqual(setup);
  });

  test("at no time is a torn file to be seen while files are rewritten", async ({ rig }) => {
    const setup = await setUp(rig);
    const aside = rig.folder();
    const known = new Set<string>();
    const rewrite = (name: string, bytes: number): void => {
      // Replaced at once, so that each state of the source is one that may be seen.
      write(aside, { next: random(bytes) });
      known.add(sha256(path.join(aside, "next")));
      fs.renameSync(path.join(aside, "next"), path.join(setup.folder, name));
    };
    const names = ["small", "medium", "large"];
    const sizes = [5000, 300_000, 6_000_000];
    const rewriteAll = (): void => {
      for (const [i, name] of names.entries()) rewrite(name, (sizes[i] ?? 0) + known.size);
    };
    rewriteAll();
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/synced/);
    const seen = new Set<string>();
    for (let i = 0; seen.size < 20; i++) {
      if (i % 6 === 0) rewriteAll();
      for (const name of names) seen.add(sha256(path.join(setup.copy, name)));
      await sleep(15);
    }
    await expectEqual(setup);
    expect([...seen].filter((hash) => !known.has(hash))).toEqual([]);
  });

  test("a file that grows in place arrives as one of its versions, in the end as the last", async ({ rig }) => {
    const setup = await setUp(rig, { log: "" });
    const client = rig.start(["mirror", setup.folder, setup.address]);
    await client.printed(/synced/);
    for (let i = 0; i < 40; i++) {
      fs.appendFileSync(path.join(setup.folder, "log"), `${i}\n`.repeat(20_000));
      await sleep(20);
    }
    await expectEqual(setup);
  });

  test("what cannot be read is said, and the rest is mirrored", async ({ rig }) => {
    const setup = await setUp(rig, { good: "1" });
    const fifo = rig.spawn("mkfifo", [path.join(setup.folder, "fifo")]);
    await fifo.exited;
    const { code, stdout, stderr } = await rig.run(["mirror", setup.folder, setup.address, "--once"]);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: "WARNING: fifo: It is neither a file, a folder nor a symbolic link.\n",
    });
    expect(stdout).toMatch(/^synced: 1 files/);
    expect(Object.keys(contents(setup.copy))).toEqual(["good"]);
  });
});

describe.concurrent("options", () => {
  test("--once prints one line, ends with 0, and a second run has nothing to do", async ({ rig }) => {
    const setup = await setUp(rig, { a: "12345", "b/c": random(300_000) });
    const first = await rig.run(["mirror", setup.folder, setup.address, "--once"]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toMatch(/^synced: 2 files, 293\.0 KiB sent, 0 deleted, \d+\.\d s\n$/);
    expect(contents(setup.copy)).toEqual(contents(setup.folder));
    fs.rmSync(path.join(setup.folder, "a"));
    const second = await rig.run(["mirror", setup.folder, setup.address, "--once"]);
    expect(second.stdout).toMatch(/^synced: 0 files, 0 B sent, 1 deleted, \d+\.\d s\n$/);
    const third = await rig.run(["mirror", `${setup.folder}/`, setup.address, "--once"]);
    expect(third.stdout).toMatch(/^synced: 0 files, 0 B sent, 0 deleted, \d+\.\d s\n$/);
    expect(contents(setup.copy)).toEqual(contents(setup.folder));
  });

  test("--json prints one event a line, each as docs/events.md says", async ({ rig }) => {
    const setup = await setUp(rig, { "a\nb": "1", "large.bin": random(3 * MEBIBYTE) });
    const { code, stdout, stderr } = await rig.run(["mirror", setup.folder, setup.address, "--once", "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const all = events(stdout);
    const schema = new EventSchema();
    expect(
      all.flatMap(({ v, ...event }) => (v === schema.version ? schema.problems(event) : [`version ${v}`])),
    ).toEqual([]);
    const types = new Set(all.map(({ type }) => type));
    for (const type of ["connecting", "connected", "walking", "scanned", "planned", "queued", "progress"]) {
      expect(types).toContain(type);
    }
    expect(all.filter(({ type }) => type === "pushed").map(({ path: name }) => name)).toEqual(
      expect.arrayContaining(["a\nb", "large.bin"]),
    );
    expect(all.at(-1)).toMatchObject({ type: "synced", files: 2, bytesSent: 3 * MEBIBYTE + 1, deleted: 0, failed: 0 });
  });

  test("--dry-run tells and changes nothing, not even making the mirror", async ({ rig }) => {
    const setup = await setUp(rig, { "a/b": "1234", c: "" });
    const args = ["mirror", setup.folder, setup.address, "--dry-run"];
    expect(await rig.run(args)).toMatchObject({
      code: 0,
      stderr: "",
      stdout:
        "make folder  a\nsend  a/b\nsend  c\nwould send 2 files (4 B), make 1 folders and 0 links, update 0, delete 0\n",
    });
    expect(fs.existsSync(setup.copy)).toBe(false);
    write(setup.copy, { "only there": "stays" });
    const before = contents(setup.copy);
    expect((await rig.run([...args, "--once"])).stdout).toContain("delete  only there\n");
    expect(contents(setup.copy)).toEqual(before);
  });

  test("--no-delete leaves what is only at the destination", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1" });
    write(setup.copy, { "only/there": "stays", a: "old" });
    const exit = await rig.run(["mirror", setup.folder, setup.address, "--once", "--no-delete"]);
    expect(exit).toMatchObject({ code: 0, stderr: "" });
    expect(fs.readFileSync(path.join(setup.copy, "only/there"), "utf8")).toBe("stays");
    expect(fs.readFileSync(path.join(setup.copy, "a"), "utf8")).toBe("1");
    expect((await rig.run(["mirror", setup.folder, setup.address, "--once"])).stdout).toContain("2 deleted");
    expect(Object.keys(contents(setup.copy))).toEqual(["a"]);
  });

  test.for<[string, (folder: string, address: string) => string[]]>([
    [
      "behind, each with its own",
      (folder, to) => [folder, to, "--ignore", "*.log", "--ignore", "/build", "--ignore", "tmp/"],
    ],
    ["behind, several", (folder, to) => [folder, to, "--ignore", "*.log", "/build", "tmp/"]],
    [
      "before, each with its own",
      (folder, to) => ["--ignore", "*.log", "--ignore=/build", "--ignore", "tmp/", folder, to],
    ],
    ["before, several", (folder, to) => ["--ignore", "*.log", "/build", "tmp/", folder, to]],
    ["both", (folder, to) => ["--ignore", "*.log", folder, to, "/build", "--ignore", "tmp/"]],
  ])("--ignore %s", async ([, args], { rig }) => {
    const tree = { a: "1", "x.log": "2", "d/y.log": "3", "build/z": "4", "d/build": "5", "d/tmp/t": "6", tmp: "7" };
    const setup = await setUp(rig, tree);
    write(setup.copy, { "left.log": "stays", gone: "goes" });
    const exit = await rig.run(["mirror", "--once", "--allow-mass-delete", ...args(setup.folder, setup.address)]);
    expect(exit).toMatchObject({ code: 0, stderr: "" });
    expect(Object.keys(contents(setup.copy))).toEqual(["a", "d", "d/build", "left.log", "tmp"]);
  });
});

describe.concurrent("what goes wrong", () => {
  test("two clients on one name: the second is told who has it; it is free when the first has left", async ({
    rig,
  }) => {
    const setup = await setUp(rig, { a: "1" });
    const other = rig.folder();
    write(other, { b: "other" });
    const first = rig.start(["mirror", setup.folder, setup.address]);
    await first.printed(/synced/);
    const second = await rig.run(["mirror", other, setup.address]);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toMatch(/^ERROR: The mirror "m" is in use by .*\. \(ERR_MIRROR_BUSY\)\n$/);
    expect(second.stderr).toContain(setup.folder);
    expect(await rig.run(["mirror", other, `${setup.address}2`, "--once"])).toMatchObject({ code: 0, stderr: "" });
    expect(await first.kill("SIGTERM")).toMatchObject({ code: 0 });
    const refused = await rig.run(["mirror", other, setup.address, "--once"]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/--replace.*\(ERR_MIRROR_OWNER\)\n$/) });
    const replaced = await rig.run(["mirror", other, setup.address, "--once", "--replace"]);
    expect(replaced).toMatchObject({ code: 0, stderr: "" });
    expect(contents(setup.copy)).toEqual(contents(other));
  });

  test("an empty folder empties no mirror, unless told that it is meant", async ({ rig }) => {
    const setup = await setUp(rig);
    write(setup.copy, { "only/there": "1" });
    const args = ["mirror", setup.folder, setup.address, "--once"];
    const refused = await rig.run(args);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/^ERROR: .*--allow-mass-delete.* \(ERR_MASS_DELETE\)\n$/);
    expect(Object.keys(contents(setup.copy))).toEqual(["only", "only/there"]);
    expect((await rig.run([...args, "--allow-mass-delete"])).stdout).toMatch(/^synced: .* 2 deleted, /);
    expect(contents(setup.copy)).toEqual({});
  });

  test("twenty clients at once, each to its own name", async ({ rig }) => {
    const setup = await setUp(rig, Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`${i}`, random(5000)])));
    const runs = Array.from({ length: 20 }, (_, i) =>
      rig.run(["mirror", setup.folder, `${setup.address}${i}`, "--once"]),
    );
    for (const exit of await Promise.all(runs)) expect(exit).toMatchObject({ code: 0, stderr: "" });
    for (let i = 0; i < 20; i++) expect(contents(`${setup.copy}${i}`)).toEqual(contents(setup.folder));
  });

  test.for<[string, string, RegExp]>([
    [
      "no address",
      "somewhere",
      /^ERROR: somewhere is not an address\. An address looks like confundo:\/\/HOST:PORT\/NAME\.\n$/,
    ],
    ["another scheme", "http://h:1/m", /^ERROR: http:\/\/h:1\/m is not an address\./],
    ["no name", "confundo://h:1/", /^ERROR: The name in .* it is missing\./],
    ["a name above", "confundo://h:1/%2e%2e%2fup", /^ERROR: The name in .* it starts with a dot\./],
    ["two parts", "confundo://h:1/a/b", /^ERROR: The name in /],
    ["a bad escape", "confundo://h:1/%zz", /^ERROR: The name in .* is badly encoded/],
    ["port 0", "confundo://h:0/m", /^ERROR: The port in .* is 0/],
    ["a port too large", "confundo://h:65536/m", /^ERROR: .* is not an address\./],
  ])("%s for an address is a mistake of usage", async ([, address, message], { rig }) => {
    const { code, stdout, stderr } = await rig.run(["mirror", rig.folder(), address, "--once"]);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  test("an argument too many is a mistake of usage", async ({ rig }) => {
    const { code, stderr } = await rig.run(["mirror", rig.folder(), "confundo://h:1/m", "more"]);
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^ERROR: more is one argument too /),
    });
  });

  test("a folder that is none fails at once", async ({ rig }) => {
    const folder = rig.folder();
    write(folder, { file: "" });
    const [missing, file] = await Promise.all([
      rig.run(["mirror", path.join(folder, "missing"), "confundo://127.0.0.1:1/m"]),
      rig.run(["mirror", path.join(folder, "file"), "confundo://127.0.0.1:1/m"]),
    ]);
    expect(missing).toMatchObject({
      code: 1,
      stdout: "",
      stderr: `ERROR: ${folder}/missing does not exist. (ENOENT)\n`,
    });
    expect(file).toMatchObject({
      code: 1,
      stdout: "",
      stderr: `ERROR: ${folder}/file is not a folder, and one was expected. (ENOTDIR)\n`,
    });
  });

  test("serve: a port in use, a DIR that is a file, an unknown host", async ({ rig }) => {
    const { home, port } = await setUp(rig);
    write(home, { file: "" });
    const [used, file, host] = await Promise.all([
      rig.run(["serve", rig.folder(), "--port", port]),
      rig.run(["serve", path.join(home, "file"), "--port", "0"]),
      rig.run(["serve", rig.folder(), "--port", "0", "--host", "no-such-host.invalid"]),
    ]);
    for (const exit of [used, file, host]) expect(exit).toMatchObject({ code: 1, stdout: "" });
    expect(used.stderr).toMatch(/^ERROR: 127\.0\.0\.1:\d+: the UDP address is already in use\. .+ \(EADDRINUSE\)\n$/);
    expect(file.stderr).toMatch(/^ERROR: .*file is not a folder, and one was expected\. \(\w+\)\n$/);
    expect(host.stderr).toMatch(/^ERROR: no-such-host\.invalid: the host name could not be resolved \(E\w+\)\. .+\n$/);
  });

  test("a second serve on one DIR is told so; after kill -9 of the first it starts at once", async ({ rig }) => {
    const { home, port, server } = await setUp(rig);
    const second = await rig.run(["serve", home, "--port", "0"]);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toMatch(
      /^ERROR: Another confundo serve .*, last seen at 127\.0\.0\.1:\d+\. .*\(ERR_HOME_BUSY\)\n$/,
    );
    await server.kill("SIGKILL");
    const { server: third } = await rig.serve(home, port);
    expect(await third.interrupt()).toMatchObject({ code: 0, stderr: "" });
    await rig.serve(home, port);
  });

  test("serve listens on the loopback address, unless told otherwise", async ({ rig }) => {
    const { server } = await rig.serve(rig.folder());
    expect(server.stdout).toMatch(/^listening on 127\.0\.0\.1:\d+\n/);
    const { server: open } = await rig.serve(rig.folder(), "0", "--host", "0.0.0.0");
    expect(open.stdout).toMatch(/^listening on 0\.0\.0\.0:\d+\n/);
    expect(await server.kill("SIGTERM")).toMatchObject({ code: 0, stderr: "" });
    expect(await open.kill("SIGQUIT")).toMatchObject({ code: 0 });
  });

  test("what a client says of itself does nothing to the terminals that it is shown on", async ({ rig }) => {
    const setup = await setUp(rig);
    const label = "\u001b]0;title\u0007\nlistening on evil\u202e";
    const state = new DeviceState(path.join(STATE, "confundo"));
    const connect = () => connectSecurely({ port: Number(setup.port), host: "127.0.0.1", state });
    const first = mirror(setup.folder, { connect, name: "m", label }).subscribe();
    await setup.server.printed(/^[-\d]+ [:.\d]+ m: \\u001b\]0;title\\u0007\\u000alistening on evil\\u202e \(/m);
    const second = await rig.run(["mirror", rig.folder(), setup.address]);
    expect(second.stderr).toBe(
      'ERROR: The mirror "m" is in use by \\u001b]0;title\\u0007\\u000alistening on evil\\u202e. (ERR_MIRROR_BUSY)\n',
    );
    first.unsubscribe();
    await setup.server.printed(/has disconnected/);
  });

  test("hostile datagrams and hostile streams to the server's port stop nobody", async ({ rig }) => {
    const setup = await setUp(rig, { a: "1", b: random(2 * MEBIBYTE) });
    const raw = createSocket("udp4");
    raw.connect(Number(setup.port), "127.0.0.1");
    await once(raw, "connect");
    for (let size = 0; size < 1400; size += 3) raw.send(random(size));
    const garbage = connect({ port: Number(setup.port), host: "127.0.0.1", extended: "required" });
    garbage.on("error", () => {}).write(random(100_000));
    const mirrored = await rig.run(["mirror", setup.folder, setup.address, "--once"]);
    expect(mirrored).toMatchObject({ code: 0, stderr: "" });
    await setup.server.printed(/127\.0\.0\.1:\d+ was turned away: .* \(ERR_TLS\)/);
    raw.close();
    garbage.destroy();
    expect(contents(setup.copy)).toEqual(contents(setup.folder));
    expect(fs.readdirSync(setup.home).sort()).toEqual([".confundo", "m"]);
    expect(await setup.server.kill("SIGTERM")).toMatchObject({ code: 0, stderr: "" });
  });
});
