import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { contents, type Program, REPOSITORY, type Rig, random, test, until } from "../support/program.js";

// Many programs at once, on machines that do other things, too.
interface Block {
  readonly language: string;
  readonly code: string;
}

/** The code blocks of the README, in order. */
const BLOCKS: Block[] = [
  ...fs.readFileSync(path.join(REPOSITORY, "README.md"), "utf8").matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm),
].map(([, language = "", code = ""]) => ({ language, code }));
const SHELL = BLOCKS.filter(({ language }) => language === "sh").map(({ code }) => code.trimEnd());
const PROGRAMS = BLOCKS.filter(({ language }) => language === "ts").map(({ code }) => code);

/** What follows a shell block as what it prints. */
function output(first: string): string[] {
  const block = BLOCKS.find(({ language, code }) => language === "" && code.startsWith(first));
  return (block?.code ?? "").trimEnd().split("\n");
}

/** The command of the README that begins so, with another port. */
function command(begin: string, port: string): string {
  const found = SHELL.find((code) => code.startsWith(begin)) ?? "";
  return found.replace(/\b500[01]\b/, port);
}

/** As a fresh clone after `npm ci` and the build, but that nothing in it is the repository's own but by links. */
function clone(rig: Rig): string {
  const root = rig.folder();
  for (const name of ["bin", "examples", "scripts", "package.json"]) {
    fs.cpSync(path.join(REPOSITORY, name), path.join(root, name), { recursive: true, verbatimSymlinks: true });
  }
  for (const name of ["dist", "node_modules"]) fs.symlinkSync(path.join(REPOSITORY, name), path.join(root, name));
  return root;
}

/** Runs a line as typed into a shell in `cwd`, in a process group of its own that ends with the test. */
function type(rig: Rig, cwd: string, line: string): Program {
  const env = {
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH}`,
    npm_config_cache: path.join(cwd, ".npm"),
    npm_config_offline: "true",
    npm_config_update_notifier: "false",
    // What the user has configured is nothing to this test.
    npm_config_userconfig: path.join(cwd, ".npmrc"),
    npm_config_loglevel: "error",
  };
  return rig.spawn("sh", ["-c", line], { cwd, env, group: true });
}

async function freePort(): Promise<string> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  await new Promise<void>((closed) => socket.close(() => closed()));
  return `${port}`;
}

describe.concurrent("the README", () => {
  test("has the blocks that are tried here, and no others", () => {
    expect(SHELL.map((code) => code.split(" ").slice(0, 3).join(" "))).toEqual([
      "npm ci &&",
      "npm ci &&",
      "npx confundo serve",
      "npx confundo mirror",
      "npx confundo receive",
      "npx confundo send",
    ]);
    expect(PROGRAMS).toHaveLength(2);
    expect(SHELL.slice(0, 2)).toEqual(["npm ci && npm start", "npm ci && npm test"]);
    const { scripts } = JSON.parse(fs.readFileSync(path.join(REPOSITORY, "package.json"), "utf8"));
    expect(scripts).toMatchObject({ start: "node scripts/start.js", test: "vitest run" });
  });

  test("its programs compile", async ({ rig }) => {
    const root = clone(rig);
    for (const [i, code] of PROGRAMS.entries()) fs.writeFileSync(path.join(root, `program-${i}.ts`), code);
    const { compilerOptions } = JSON.parse(fs.readFileSync(path.join(REPOSITORY, "tsconfig.json"), "utf8"));
    // As a user has it: what "confundo" is says its package.json.
    fs.writeFileSync(
      path.join(root, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...compilerOptions, paths: undefined }, include: ["program-*.ts"] }),
    );
    const tsc = path.join(REPOSITORY, "node_modules/typescript/bin/tsc");
    expect(await rig.spawn(process.execPath, [tsc, "-p", root]).exited).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "",
    });
  });

  test("the stream in code runs", async ({ rig }) => {
    const root = clone(rig);
    fs.writeFileSync(path.join(root, "stream.ts"), PROGRAMS[0] as string);
    const { size } = fs.statSync(path.join(root, "package.json"));
    const { code, stdout, stderr } = await rig.spawn(process.execPath, ["stream.ts"], { cwd: root }).exited;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n").sort()).toEqual([
      `acknowledged, every byte of them: ${size}`,
      `received ${size} bytes`,
    ]);
  });

  test("a mirrored folder, by the commands and by the program", async ({ rig }) => {
    const root = clone(rig);
    const port = await freePort();
    const server = type(rig, root, command("npx confundo serve", port));
    await server.printed(new RegExp(`listening on 127\\.0\\.0\\.1:${port}\n`));
    const client = type(rig, root, command("npx confundo mirror", port));
    await client.printed(/synced: \d+ files/);
    const [folder, copy] = [path.join(root, "examples"), path.join(root, "mirrors/examples")];
    expect(contents(copy)).toEqual(contents(folder));
    fs.writeFileSync(path.join(folder, "new"), "followed");
    await until(() => fs.readFileSync(path.join(copy, "new"), "utf8") === "followed");

    // As a reader has it who goes on: what was started before still runs.
    fs.writeFileSync(path.join(root, "mirror.ts"), (PROGRAMS[1] as string).replace("5000", port));
    const program = rig.spawn(process.execPath, ["mirror.ts"], { cwd: root });
    await program.printed(/^\d+ files in \d+(\.\d+)? s\n/);
    const second = path.join(root, "mirrors/examples-by-library");
    expect(contents(second)).toEqual(contents(folder));
    fs.writeFileSync(path.join(folder, "newer"), "followed, too");
    await program.printed(/\n1 files in \d+(\.\d+)? s\n/);
    expect(contents(second)).toEqual(contents(folder));
    expect(program.stderr).toBe("");

    // The same mirror as another program's: it says so, and ends.
    const busy = (PROGRAMS[1] as string).replace("5000", port).replace("examples-by-library", "examples");
    fs.writeFileSync(path.join(root, "busy.ts"), busy);
    expect(await rig.spawn(process.execPath, ["busy.ts"], { cwd: root }).exited).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringMatching(/^the mirror "examples" is in use by .*\n$/),
    });
    expect(await client.interrupt()).toMatchObject({ stderr: "" });
  });

  test("a classic course transfer, with the log as printed there", async ({ rig }) => {
    const root = clone(rig);
    const port = await freePort();
    const server = type(rig, root, command("npx confundo receive", port));
    await server.printed(new RegExp(`listening on \\S+:${port}\n`));
    const { code, stdout, stderr } = await type(rig, root, command("npx confundo send", port)).exited;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const log = output("SEND 50000");
    expect(stdout.split("\n").slice(0, log.length)).toEqual(log);
    expect(fs.readFileSync(path.join(root, "received/1.file"))).toEqual(
      fs.readFileSync(path.join(root, "package.json")),
    );
    await server.interrupt();
  });
});

describe.concurrent("npm start", () => {
  test.for(["SIGINT", "SIGTERM"] as const)(
    "mirrors the sample, says where and what to try, follows, ends at %s",
    async (signal, { rig }) => {
      const root = clone(rig);
      const start = rig.spawn(process.execPath, ["scripts/start.js"], { cwd: root, env: { INIT_CWD: root } });
      await start.printed(/Ctrl-C ends both\.\n/);
      // What the README shows of it, but for numbers that differ from run to run.
      for (const line of output("$ confundo serve")) {
        const pattern = line
          .replace(/[.$|]/g, "\\$&")
          .replace(/:\d+/, ":\\d+")
          .replace(/\d+\\.\d s/, "\\d+\\.\\d s");
        expect(start.stdout).toMatch(new RegExp(`^${pattern}$`, "m"));
      }
      const [, copy = ""] = /The mirror is in (.*)\n/.exec(start.stdout) ?? [];
      expect(copy).toBe(path.join(root, "demo-mirror/sample-folder"));
      const folder = path.join(root, "examples/sample-folder");
      expect(contents(copy)).toEqual(contents(folder));

      // What is to be tried is tried as it stands.
      const [, write = "", read = ""] = /Try in another terminal:\n {2}(.*)\n {2}(.*)\n/.exec(start.stdout) ?? [];
      expect((await type(rig, root, write).exited).code).toBe(0);
      await start.printed(/sent +hello\.txt/);
      // The shell makes the file before it writes to it: on a busy machine the empty one may be sent first.
      await until(() => fs.readFileSync(path.join(copy, "hello.txt"), "utf8") === "hello\n");
      expect(await type(rig, root, read).exited).toMatchObject({ code: 0, stdout: "hello\n" });

      const processes = spawnSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).stdout.trim().split("\n");
      const pairs = processes.map((line) => line.trim().split(/\s+/));
      const children = pairs.filter(([, parent]) => parent === `${start.child.pid}`).map(([pid]) => pid);
      expect(children).toHaveLength(2);
      expect(await start.kill(signal)).toMatchObject({ code: 0, signal: null, stderr: "" });
      for (const pid of children) expect(() => process.kill(Number(pid), 0)).toThrow("ESRCH");
    },
  );

  test("a folder of one's own, named from where one is; a second start continues", async ({ rig }) => {
    const root = clone(rig);
    const here = rig.folder();
    fs.mkdirSync(path.join(here, "my photos/2024"), { recursive: true });
    fs.writeFileSync(path.join(here, "my photos/2024/a.raw"), random(100_000));
    for (const line of ["synced: 1 files, 97.7 KiB sent", "synced: 0 files, 0 B sent"]) {
      const start = rig.spawn(process.execPath, [path.join(root, "scripts/start.js"), "my photos"], {
        cwd: root,
        env: { INIT_CWD: here },
      });
      await start.printed(/Ctrl-C ends both\.\n/);
      expect(start.stdout).toContain(line);
      expect(contents(path.join(root, "demo-mirror/my photos"))).toEqual(contents(path.join(here, "my photos")));
      const [, write = ""] = /Try in another terminal:\n {2}(.*)\n/.exec(start.stdout) ?? [];
      expect((await type(rig, here, write).exited).code).toBe(0);
      await start.printed(/sent +hello\.txt/);
      fs.rmSync(path.join(here, "my photos/hello.txt"));
      await start.printed(/deleted +hello\.txt/);
      await start.kill("SIGINT");
    }
  });

  test("what is not a folder", async ({ rig }) => {
    const root = clone(rig);
    const start = rig.spawn(process.execPath, ["scripts/start.js", "package.json"], {
      cwd: root,
      env: { INIT_CWD: root },
    });
    expect(await start.exited).toMatchObject({
      code: 1,
      stdout: "",
      stderr: `ERROR: ${root}/package.json is not a folder. Give one: npm start -- FOLDER\n`,
    });
  });
});
