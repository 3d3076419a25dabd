/** Invitations, folders, devices and tokens, as an administrator looks after them on the command line. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { eventually } from "../support/patience.js";
import {
  type Exit,
  onTerminal,
  Program,
  REPOSITORY,
  type Rig,
  type StartOptions,
  test,
  until,
} from "../support/program.js";

async function setUp(rig: Rig, ...more: string[]) {
  const env = { XDG_STATE_HOME: rig.folder() };
  const dir = path.join(rig.folder(), "home");
  const folder = rig.folder();
  fs.writeFileSync(path.join(folder, "a"), "content");
  const server = rig.start(["serve", dir, "--port", "0", ...more], { env });
  const [, port = ""] = await server.printed(/^try: .*:(\d+)\/NAME/m);
  const run = (args: string[], options: StartOptions = {}): Promise<Exit> =>
    rig.run(args, { ...options, env: { ...env, CONFUNDO_DIR: dir, ...options.env } });
  /** As another device on a machine of its own. */
  const device = async (
    address: string,
    ...options: string[]
  ): Promise<{ exit: Exit; env: { XDG_STATE_HOME: string } }> => {
    const own = { XDG_STATE_HOME: rig.folder() };
    return { exit: await rig.run(["mirror", folder, address, "--once", ...options], { env: own }), env: own };
  };
  const invite = async (name: string): Promise<string> => (await run(["invite", name])).stdout.trim();
  return { dir, folder, server, port, env, run, device, invite };
}

function codes({ stderr }: Exit): string[] {
  return [...stderr.matchAll(/\((ERR_\w+)\)/g)].map(([, code]) => code as string);
}

const DONE = { code: 0, stderr: "" };

describe.concurrent("on the command line", () => {
  test("invitations are listed and withdrawn, devices named, renamed, and asked about where two have one name", async ({
    rig,
  }) => {
    const { run, device, invite, port, folder, env, dir } = await setUp(rig, "--no-http");
    const [first, second, third] = [await invite("one"), await invite("two"), await invite("three")];
    const named = await device(first, "--device-name", "laptop");
    expect(named.exit).toMatchObject(DONE);
    const open = (await run(["invitations", "--json"])).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(open.map(({ folder, usedAt }) => [folder, usedAt !== null])).toEqual([
      [null, false],
      ["one", true],
      ["two", false],
      ["three", false],
    ]);
    expect(JSON.stringify(open)).not.toMatch(/codeHash/);
    const id = open.find(({ folder }) => folder === "two").id;
    expect(await run(["withdraw", id])).toMatchObject({ ...DONE, stdout: `withdrew ${id} (two)\n` });
    expect(codes(await run(["withdraw", id]))).toEqual(["ERR_NOT_FOUND"]);
    expect(codes(await run(["withdraw", "none"]))).toEqual(["ERR_NOT_FOUND"]);
    const refused = (await device(second)).exit;
    expect(codes(refused)).toEqual(["ERR_CODE"]);
    expect(refused.stderr).toMatch(/withdrawn/);
    const table = (await run(["invitations"])).stdout;
    expect(table).toMatch(/ one .* used .* by laptop\n/);
    expect(table).toMatch(/ two .* withdrawn /);
    expect(table).toMatch(/ three .* open\n/);

    // Another device takes the same name.
    expect((await device(third, "--device-name", "laptop")).exit).toMatchObject(DONE);
    const ambiguous = await run(["revoke", "laptop"]);
    expect(ambiguous.code).toBe(1);
    expect(ambiguous.stderr).toMatch(
      /Several devices are called "laptop"\. Say which by its id: \w+, \w+\. \(ERR_INVALID\)/,
    );
    // On a terminal it asks.
    const bin = path.join(REPOSITORY, "bin", "confundo.js");
    const command = [process.execPath, bin, "revoke", "laptop", "--dir", dir];
    const asking = new Program("script", onTerminal(command, { columns: 120 }), { env, stdin: "open" });
    await asking.printed(/Which one is meant/);
    asking.child.stdin?.write("\r");
    const [, revoked = ""] = await asking.printed(/revoked laptop \((\w+)\)/);
    await asking.exited;
    const left = (await run(["devices", "--json"])).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(left.filter(({ revokedAt }) => revokedAt === null).map(({ name }) => name)).toEqual(["laptop"]);
    expect(left.find(({ revokedAt }) => revokedAt !== null).id).toBe(revoked);

    const other = left.find(({ revokedAt }) => revokedAt === null).id;
    expect(await run(["device", "rename", other, "of Ann"])).toMatchObject(DONE);
    expect((await run(["devices"])).stdout).toMatch(/ of Ann /);
    expect(codes(await run(["device", "rename", other, "evil\u202e"]))).toEqual(["ERR_INVALID"]);
    const badName = ["mirror", folder, `confundo://127.0.0.1:${port}/one`, "--device-name", "a\u200bb"];
    expect(await run(badName)).toMatchObject({ code: 2, stderr: expect.stringContaining('"a\\u200bb"') });
  });

  test("a folder is deleted, restored as it was, and removed for good", async ({ rig }) => {
    const { run, dir, folder, port, env } = await setUp(rig, "--no-http");
    const address = `confundo://127.0.0.1:${port}/notes`;
    const client = rig.start(["mirror", folder, address], { env });
    await client.printed(/synced/);
    fs.writeFileSync(path.join(folder, "a"), "changed");
    await until(() => fs.readFileSync(path.join(dir, "notes", "a"), "utf8") === "changed");
    expect(codes(await run(["folder", "delete", "none"]))).toEqual(["ERR_NO_FOLDER"]);
    const deleted = await run(["folder", "delete", "notes", "--grace", "7d"]);
    expect(deleted).toMatchObject({
      ...DONE,
      stdout: expect.stringMatching(/^deleted notes; it can be restored until /),
    });
    expect(codes(await client.exited)).toEqual(["ERR_FOLDER_DELETED"]);
    expect(codes(await run(["mirror", folder, address, "--once"]))).toEqual(["ERR_FOLDER_DELETED"]);
    expect((await run(["folder", "list"])).stdout).not.toMatch(/notes/);
    expect((await run(["folder", "list", "--deleted"])).stdout).toMatch(/\nnotes +1 /);
    expect(codes(await run(["restore", "notes", "--at", "1s"]))).toEqual(["ERR_NO_FOLDER"]);

    expect(await run(["folder", "undelete", "notes"])).toMatchObject({ ...DONE, stdout: "restored notes\n" });
    expect(codes(await run(["folder", "undelete", "notes"]))).toEqual(["ERR_NO_FOLDER"]);
    expect(fs.readFileSync(path.join(dir, "notes", "a"), "utf8")).toBe("changed");
    expect((await run(["log", "notes", "a"])).stdout).toMatch(/replaced +v1 /);
    expect(await run(["mirror", folder, address, "--once"])).toMatchObject(DONE);

    expect(await run(["folder", "delete", "notes", "--grace", "0"])).toMatchObject({
      ...DONE,
      stdout: "deleted notes for good\n",
    });
    expect(fs.existsSync(path.join(dir, "notes"))).toBe(false);
    expect(codes(await run(["folder", "undelete", "notes"]))).toEqual(["ERR_NO_FOLDER"]);
    const beside = execFileSync("find", [path.join(dir, ".confundo"), "-name", "notes"], { encoding: "utf8" });
    expect(beside).toBe("");
    // A new one of that name is new.
    expect(await run(["mirror", folder, address, "--once"])).toMatchObject(DONE);
    expect((await run(["log", "notes"])).stdout).toBe("");
  });

  test("figures are for tokens made for them, and a password ends the tokens if that is asked for", async ({ rig }) => {
    const { run, server } = await setUp(rig, "--http", "127.0.0.1:0", "--trust-proxy", "127.0.0.1", "10.0.0.0/8");
    const [, url = ""] = await server.printed(/dashboard: (\S+)\/\n/);
    const get = async (token?: string, at = "/metrics") => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return (await fetch(`${url}${at}`, { headers })).status;
    };
    expect(await get()).toBe(401);
    const figures = (await run(["token", "create", "prometheus", "--metrics"])).stdout.trim();
    expect([await get(figures), await get(figures, "/api/v1/me")]).toEqual([200, 403]);
    expect((await run(["token", "list"])).stdout).toMatch(/ prometheus +admin +\(metrics\) /);
    expect((await run(["token", "create", "x", "--metrics", "--write"])).code).toBe(2);
    const reader = (await run(["token", "create", "reader"])).stdout.trim();
    expect([await get(reader), await get(reader, "/api/v1/me")]).toEqual([403, 200]);
    expect(await run(["user", "passwd", "admin"], { stdin: "a new password\n" })).toMatchObject(DONE);
    expect(await get(reader, "/api/v1/me")).toBe(200);
    expect(await run(["user", "passwd", "admin", "--end-tokens"], { stdin: "a newer password\n" })).toMatchObject(DONE);
    await eventually(async () => expect(await get(reader, "/api/v1/me")).toBe(401));
    // The proxy is believed.
    const body = JSON.stringify({ name: "nobody", password: "wrong" });
    const headers = { "content-type": "application/json", "x-forwarded-for": "203.0.113.9" };
    await fetch(`${url}/api/v1/login`, { method: "POST", headers, body });
    const login = { ...headers, "x-forwarded-for": "203.0.113.8", "x-forwarded-proto": "https" };
    const ok = await fetch(`${url}/api/v1/login`, {
      method: "POST",
      headers: login,
      body: JSON.stringify({ name: "admin", password: "a newer password" }),
    });
    expect(ok.headers.get("set-cookie")).toMatch(/^__Host-confundo_session=/);
    const { token } = (await ok.json()) as { token: string };
    const audit = await fetch(`${url}/api/v1/audit`, { headers: { authorization: `Bearer ${token}` } });
    const { items } = (await audit.json()) as { items: { action: string; address: string }[] };
    expect(items.filter(({ action }) => action === "login").map(({ address }) => address)).toEqual([
      "203.0.113.8",
      "203.0.113.9",
    ]);
  });

  test.each([
    [["serve", "--trust-proxy", "127.0.0.1", "10.0.0.0/8"], /Which folder is to be served/],
    [["serve", "dir", "--trust-proxy", "localhost"], /--trust-proxy localhost: that takes an IP address or a network/],
    [["serve", "dir", "other"], /other is one argument too many/],
  ])("%o is a mistake of usage", async (args, message) => {
    const bin = path.join(REPOSITORY, "bin", "confundo.js");
    const exit = await new Program(process.execPath, [bin, ...args]).exited;
    expect(exit.code).toBe(2);
    expect(exit.stderr).toMatch(message);
  });
});
