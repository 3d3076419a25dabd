import fs from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { type Exit, type Program, type Rig, type StartOptions, test, until } from "../support/program.js";

// Many programs at once, on machines that do other things, too.
/** Somebody with a state folder of their own, as on a machine of their own. */
class Person {
  readonly env: { XDG_STATE_HOME: string };
  readonly #rig: Rig;

  constructor(rig: Rig) {
    this.#rig = rig;
    this.env = { XDG_STATE_HOME: rig.folder() };
  }

  run(args: readonly string[], options: StartOptions = {}): Promise<Exit> {
    return this.#rig.run(args, { ...options, env: { ...this.env, ...options.env } });
  }

  start(args: readonly string[]): Program {
    return this.#rig.start(args, { env: this.env });
  }

  mirror(folder: string, address: string): Promise<Exit> {
    return this.run(["mirror", folder, address, "--once"]);
  }
}

interface Setup {
  /** Whose the server is. */
  readonly owner: Person;
  readonly dir: string;
  readonly server: Program;
  readonly port: string;
  /** What is mirrored. */
  readonly folder: string;
  readonly address: (name: string) => string;
}

async function setUp(rig: Rig, ...more: string[]): Promise<Setup> {
  const owner = new Person(rig);
  const dir = path.join(rig.folder(), "home");
  const folder = rig.folder();
  fs.writeFileSync(path.join(folder, "a"), "content");
  return { owner, dir, folder, ...(await serve(owner, dir, "0", ...more)) };
}

async function serve(owner: Person, dir: string, port: string, ...more: string[]) {
  const server = owner.start(["serve", dir, "--port", port, ...more]);
  const [, bound = ""] = await server.printed(/^try: .*:(\d+)\/NAME/m);
  return { server, port: bound, address: (name: string) => `confundo://127.0.0.1:${bound}/${name}` };
}

async function invited({ owner, dir }: Setup, name: string, ...more: string[]): Promise<string> {
  const { code, stdout, stderr } = await owner.run(["invite", name, "--dir", dir, ...more]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^confundo:\/\/127\.0\.0\.1:\d+\/[\w-]+#[\w-]{66}\n$/);
  return stdout.trim();
}

function codes({ stderr }: Exit): string[] {
  return [...stderr.matchAll(/\((ERR_\w+)\)/g)].map(([, code]) => code as string);
}

const DONE = { code: 0, stderr: "" };

describe.concurrent("a first start", () => {
  test("makes everything for its owner only, tells the password and one address, and neither again", async ({
    rig,
  }) => {
    const setup = await setUp(rig);
    const { server, dir, owner } = setup;
    const [, address = ""] =
      /^pairing address: (confundo:\/\/127\.0\.0\.1:\d+\/mirror#[\w-]{66})$/m.exec(server.stdout) ?? [];
    expect(server.stdout).toMatch(/^administrator: admin\npassword: [\w-]{20}\n/m);
    const hidden = path.join(dir, ".confundo");
    expect(fs.statSync(hidden).mode & 0o777).toBe(0o700);
    const files = fs.readdirSync(hidden).filter((name) => fs.statSync(path.join(hidden, name)).isFile());
    expect(files).toEqual(expect.arrayContaining(["config.json", "database.sqlite", "identity.crt", "identity.key"]));
    for (const file of files) expect(fs.statSync(path.join(hidden, file)).mode & 0o777, file).toBe(0o600);
    // Any folder, for one device.
    const guest = new Person(rig);
    expect(await guest.mirror(setup.folder, address.replace("/mirror#", "/anything#"))).toMatchObject(DONE);
    expect(codes(await new Person(rig).mirror(setup.folder, address))).toEqual(["ERR_CODE"]);
    const key = fs.readFileSync(path.join(hidden, "identity.key"));
    await server.kill("SIGTERM");
    const again = await serve(owner, dir, setup.port);
    expect(again.server.stdout).not.toMatch(/password|#/);
    expect(fs.readFileSync(path.join(hidden, "identity.key"))).toEqual(key);
    expect(await guest.mirror(setup.folder, again.address("more"))).toMatchObject(DONE);
  });

  test("in a folder from before, whose hidden folder was open", async ({ rig }) => {
    const dir = rig.folder();
    fs.mkdirSync(path.join(dir, ".confundo/staging"), { recursive: true, mode: 0o755 });
    fs.mkdirSync(path.join(dir, "old"));
    fs.writeFileSync(path.join(dir, "old/a"), "content");
    const owner = new Person(rig);
    const { address } = await serve(owner, dir, "0");
    expect(fs.statSync(path.join(dir, ".confundo")).mode & 0o777).toBe(0o700);
    expect(fs.statSync(dir).mode & 0o777).toBe(0o700);
    // A mirror that was here before is mirrored to as ever, but not from within the folder of mirrors.
    const source = rig.folder();
    fs.cpSync(path.join(dir, "old"), source, { recursive: true, preserveTimestamps: true });
    expect(await owner.run(["mirror", source, address("old"), "--once"])).toMatchObject({ code: 0, stderr: "" });
    const inside = await owner.run(["mirror", path.join(dir, "old"), address("old"), "--once", "--dry-run"]);
    expect(inside).toMatchObject({ code: 1, stderr: expect.stringContaining("(ERR_RECURSION)") });
  });

  test("keeps the home, the database and all that it knows to itself, and so does the client", async ({ rig }) => {
    const dir = path.join(rig.folder(), "home");
    const owner = new Person(rig);
    const { address } = await serve(owner, dir, "0");
    const folder = rig.folder();
    fs.writeFileSync(path.join(folder, "open"), Buffer.alloc(1_000_000, 7), { mode: 0o644 });
    fs.writeFileSync(path.join(folder, "secret"), "secret", { mode: 0o600 });
    expect(await owner.mirror(folder, address("m"))).toMatchObject(DONE);
    fs.writeFileSync(path.join(folder, "secret"), "another");
    expect(await owner.mirror(folder, address("m"))).toMatchObject(DONE);
    expect(fs.statSync(dir).mode & 0o777).toBe(0o700);
    const modes = (name: string) => (fs.statSync(path.join(dir, "m", name)).mode & 0o777).toString(8);
    expect([modes("open"), modes("secret")]).toEqual(["644", "600"]);
    const states = [path.join(dir, ".confundo"), owner.env.XDG_STATE_HOME].flatMap((root) =>
      fs.readdirSync(root, { recursive: true, encoding: "utf8" }).map((name) => path.join(root, name)),
    );
    expect(states.length).toBeGreaterThan(10);
    // What is kept of a file has that file's permissions.
    const open = states.filter((file) => !file.includes("/objects/") && (fs.lstatSync(file).mode & 0o077) !== 0);
    expect(open).toEqual([]);
  });

  test("with a damaged key is refused, and says what to do", async ({ rig }) => {
    const { owner, dir, server } = await setUp(rig);
    await server.kill("SIGTERM");
    fs.truncateSync(path.join(dir, ".confundo/identity.key"), 40);
    const exit = await owner.run(["serve", dir, "--port", "0"]);
    expect(exit).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(/^ERROR: .*identity\.key is damaged.*backup\. \(ERR_STATE\)\n$/);
  });

  test("--insecure warns, and is for this machine only", async ({ rig }) => {
    const { server, owner, folder, address } = await setUp(rig, "--insecure");
    await server.printed(/^WARNING: --insecure/m);
    expect(await owner.run(["mirror", folder, address("m"), "--once", "--insecure"])).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^WARNING: --insecure/),
    });
    const open = await owner.run(["serve", rig.folder(), "--port", "0", "--host", "0.0.0.0", "--insecure"]);
    expect(codes(open)).toEqual(["ERR_INSECURE"]);
    const far = await owner.run(["mirror", folder, "confundo://192.0.2.1/m", "--insecure"]);
    expect(codes(far)).toEqual(["ERR_INSECURE"]);
  });
});

describe.concurrent("pairing", () => {
  test("one command pairs and mirrors; afterwards the plain address suffices, with and without the code", async ({
    rig,
  }) => {
    const setup = await setUp(rig);
    const guest = new Person(rig);
    expect(codes(await guest.mirror(setup.folder, setup.address("photos")))).toEqual(["ERR_NOT_PAIRED"]);
    const address = await invited(setup, "photos");
    for (const each of [address, setup.address("photos"), address]) {
      expect(await guest.mirror(setup.folder, each)).toMatchObject(DONE);
    }
    expect(fs.readFileSync(path.join(setup.dir, "photos/a"), "utf8")).toBe("content");
    const { stdout } = await setup.owner.run(["devices", "--json", "--dir", setup.dir]);
    expect(JSON.parse(stdout)).toMatchObject({ role: "user", folders: "photos", revokedAt: null });
  });

  test("programs of the server's own user need no code", async ({ rig }) => {
    const { owner, folder, address, dir } = await setUp(rig);
    expect(await owner.mirror(folder, address("m"))).toMatchObject(DONE);
    expect(await owner.run(["doctor", folder, address("m")])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/ok .*UDP goes through .*\n(?:.*\n)*ok .*127\.0\.0\.1:\d+ answers in \d+ ms/),
    });
    expect(fs.existsSync(path.join(dir, "m/a"))).toBe(true);
  });

  test("a code is for one device, its folder and its time", async ({ rig }) => {
    const setup = await setUp(rig);
    const [guest, other] = [new Person(rig), new Person(rig)];
    const address = await invited(setup, "photos");
    expect(await guest.mirror(setup.folder, address)).toMatchObject(DONE);
    const replayed = await other.mirror(setup.folder, address);
    expect(codes(replayed)).toEqual(["ERR_CODE"]);
    expect(replayed.stderr).toMatch(/used already/);
    expect(codes(await guest.mirror(setup.folder, setup.address("other")))).toEqual(["ERR_FORBIDDEN"]);
    expect(fs.existsSync(path.join(setup.dir, "other"))).toBe(false);
    const short = await invited(setup, "photos", "--expires", "1s");
    const began = Date.now();
    await until(() => Date.now() > began + 1000);
    const late = await other.mirror(setup.folder, short);
    expect(codes(late)).toEqual(["ERR_CODE"]);
    expect(late.stderr).toMatch(/expired/);
  });

  test("to look only: nothing is changed", async ({ rig }) => {
    const setup = await setUp(rig);
    expect(await setup.owner.mirror(setup.folder, setup.address("photos"))).toMatchObject(DONE);
    const guest = new Person(rig);
    const address = await invited(setup, "photos", "--read-only");
    fs.writeFileSync(path.join(setup.folder, "b"), "more");
    const exit = await guest.mirror(setup.folder, address);
    expect(exit.code).toBe(1);
    expect(codes(exit)).toContain("ERR_FORBIDDEN");
    expect(fs.readdirSync(path.join(setup.dir, "photos"))).toEqual(["a"]);
  });

  test("a server with another key is refused, with what that means; a new address mends it", async ({ rig }) => {
    const setup = await setUp(rig);
    const guest = new Person(rig);
    expect(await guest.mirror(setup.folder, await invited(setup, "m"))).toMatchObject(DONE);
    const before = await invited(setup, "m");
    await setup.server.kill("SIGTERM");
    const impostor = { ...setup, dir: path.join(rig.folder(), "other") };
    await serve(impostor.owner, impostor.dir, setup.port);
    for (const address of [setup.address("m"), before]) {
      const exit = await guest.mirror(setup.folder, address);
      expect(exit).toMatchObject({ code: 1, stdout: "" });
      expect(codes(exit)).toEqual(["ERR_SERVER_KEY"]);
      expect(exit.stderr).toMatch(/Nothing was sent/);
    }
    expect(fs.existsSync(path.join(impostor.dir, "m"))).toBe(false);
    expect(await guest.mirror(setup.folder, await invited(impostor, "m"))).toMatchObject(DONE);
    expect(await guest.mirror(setup.folder, setup.address("m"))).toMatchObject(DONE);
  });

  test("what is no code is a mistake of usage, and is not repeated", async ({ rig }) => {
    const exit = await rig.run(["mirror", rig.folder(), "confundo://127.0.0.1:1/m#AbCd"]);
    expect(exit).toMatchObject({ code: 2, stdout: "" });
    expect(exit.stderr).toMatch(/^ERROR: confundo:\/\/127\.0\.0\.1:1\/m#…: The code /);
  });
});

describe.concurrent("looking after it", () => {
  test("a revoked device's connection ends at once, and it gets in no more", async ({ rig }) => {
    const setup = await setUp(rig);
    const [guest, friend] = [new Person(rig), new Person(rig)];
    const live = guest.start(["mirror", setup.folder, await invited(setup, "m")]);
    await live.printed(/synced/);
    const beside = friend.start(["mirror", setup.folder, await invited(setup, "friends")]);
    await beside.printed(/synced/);
    const { stdout } = await setup.owner.run(["devices", "--json", "--dir", setup.dir]);
    const { id } = JSON.parse(stdout.split("\n")[0] ?? "");
    expect((await setup.owner.run(["revoke", id, "--dir", setup.dir])).stdout).toMatch(
      new RegExp(`^revoked .* \\(${id}\\)\n$`),
    );
    const exit = await live.exited;
    expect(exit.code).toBe(1);
    expect(codes(exit)).toEqual(["ERR_FORBIDDEN"]);
    const again = await guest.mirror(setup.folder, await invited(setup, "m"));
    expect(codes(again)).toEqual(["ERR_FORBIDDEN"]);
    // Who was beside it goes on.
    fs.writeFileSync(path.join(setup.folder, "later"), "x");
    await until(() => fs.existsSync(path.join(setup.dir, "friends/later")));
    expect(fs.existsSync(path.join(setup.dir, "m/later"))).toBe(false);
  });

  test("users and tokens, by the commands", async ({ rig }) => {
    const { owner, dir } = await setUp(rig);
    const run = (args: string[], stdin?: string): Promise<Exit> =>
      owner.run(args, { env: { CONFUNDO_DIR: dir }, ...(stdin === undefined ? {} : { stdin }) });
    expect(await run(["user", "add", "anna", "--folder", "photos"], "a password\n")).toMatchObject({
      ...DONE,
      stdout: "added anna\n",
    });
    expect(codes(await run(["user", "add", "anna"], "a password\n"))).toEqual(["ERR_EXISTS"]);
    expect(codes(await run(["user", "add", "bob"], "short\n"))).toEqual(["ERR_INVALID"]);
    expect(await run(["user", "add", "bob"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/No password came in/),
    });
    expect(await run(["user", "passwd", "anna"], "another password\n")).toMatchObject(DONE);
    expect((await run(["user", "list"])).stdout).toMatch(
      /^NAME .*\nadmin +admin +\(all\) .*\nanna +user +photos .*\n$/,
    );
    const token = await run(["token", "create", "ci", "--user", "anna", "--folder", "photos", "--expires", "30d"]);
    expect(token).toMatchObject({ ...DONE, stdout: expect.stringMatching(/^[\w-]{43}\n$/) });
    expect((await run(["token", "list"])).stdout).toMatch(/\n\w+ +ci +anna +photos \(read\) /);
    expect((await run(["token", "list", "--json"])).stdout).not.toMatch(/hash/);
    expect(await run(["token", "revoke", "ci"])).toMatchObject(DONE);
    expect(codes(await run(["token", "revoke", "ci"]))).toEqual(["ERR_NOT_FOUND"]);
    expect(await run(["user", "remove", "anna"])).toMatchObject(DONE);
    expect(codes(await run(["user", "remove", "admin"]))).toEqual(["ERR_INVALID"]);
  });

  test("the home that is meant: by --dir, by where one is, or the one served last", async ({ rig }) => {
    const { owner, dir } = await setUp(rig);
    for (const [args, cwd] of [
      [["--dir", dir], undefined],
      [[], dir],
      [[], rig.folder()],
    ] as const) {
      const exit = await owner.run(["devices", ...args], cwd === undefined ? {} : { cwd });
      expect(exit).toMatchObject({ ...DONE, stdout: expect.stringMatching(/^ID /) });
    }
    const elsewhere = await new Person(rig).run(["devices"], { cwd: rig.folder() });
    expect(elsewhere).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/--dir DIR.*CONFUNDO_DIR/) });
    const wrong = await owner.run(["devices", "--dir", rig.folder()]);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(/is no home of mirrors/) });
  });
});
