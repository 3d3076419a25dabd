import { readdirSync, readFileSync } from "node:fs";
import { filter, firstValueFrom } from "rxjs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { REST_OF_PATH } from "../../../../src/server/http/router.js";
import { LimitCounters } from "../../../../src/server/limits.js";
import { ApiRig, hex, MODIFIED_AT, PASSWORD } from "../../../support/api-rig.js";
import { eventually } from "../../../support/patience.js";

let rig: ApiRig;
beforeEach(async () => {
  rig = await ApiRig.start();
});
afterEach(() => rig[Symbol.asyncDispose]());

async function code(response: Response): Promise<[number, string]> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = (await response.json()) as { status: number; code: string; title: string; detail: string };
  expect(problem.status).toBe(response.status);
  expect(problem.title).not.toBe("");
  expect(problem.detail).toMatch(/^[A-Z"].*[.!?]$/s);
  return [response.status, problem.code];
}

describe("sessions", () => {
  test("a login is a token for programs and a cookie for browsers, and ends with a logout", async () => {
    const response = await rig.ask("POST", "/api/v1/login", {
      token: null,
      json: { name: "admin", password: PASSWORD },
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const { token, user } = (await response.json()) as { token: string; user: { name: string } };
    expect(user.name).toBe("admin");
    const cookie = response.headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/^confundo_session=[\w-]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict$/);

    const byCookie = await rig.ask("GET", "/api/v1/me", {
      token: null,
      headers: { cookie: cookie.split(";")[0] as string },
    });
    expect(await byCookie.json()).toMatchObject({ user: { name: "admin", role: "admin" }, folders: null });

    expect((await rig.ask("POST", "/api/v1/logout", { token })).status).toBe(204);
    expect(await code(await rig.ask("GET", "/api/v1/me", { token }))).toEqual([401, "ERR_UNAUTHENTICATED"]);
  });

  test("over HTTPS the cookie is secure, and browsers are told to stay there", async () => {
    await using secure = await ApiRig.start({ secure: true });
    const response = await secure.ask("POST", "/api/v1/login", {
      token: null,
      json: { name: "admin", password: PASSWORD },
    });
    const cookie = response.headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/^__Host-confundo_session=[\w-]+; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    const sent = cookie.split(";")[0] ?? "";
    const me = (cookie: string) => secure.ask("GET", "/api/v1/me", { token: null, headers: { cookie } });
    expect((await me(sent)).status).toBe(200);
    // One that another host of the domain could have set counts for nothing.
    expect((await me(sent.replace("__Host-", ""))).status).toBe(401);
    expect(response.headers.get("strict-transport-security")).toMatch(/max-age/);
  });

  test("a wrong password, and no token, and one that is none", async () => {
    const wrong = await rig.ask("POST", "/api/v1/login", { token: null, json: { name: "admin", password: "wrong" } });
    expect(await code(wrong)).toEqual([401, "ERR_UNAUTHENTICATED"]);
    const none = await rig.ask("GET", "/api/v1/folders", { token: null });
    expect(none.headers.get("www-authenticate")).toMatch(/^Bearer/);
    expect(await code(none)).toEqual([401, "ERR_UNAUTHENTICATED"]);
    for (const authorization of ["Basic YWRtaW46", "Bearer", "Bearer a b", `Bearer ${"x".repeat(5000)}`]) {
      const odd = await rig.ask("GET", "/api/v1/folders", { token: null, headers: { authorization } });
      expect(await code(odd)).toEqual([401, "ERR_UNAUTHENTICATED"]);
    }
  });
});

test("a token is asked for once in a while, and not taken for good after it was revoked by whomever", async () => {
  const token = await rig.user("ann");
  const asked = vi.spyOn(rig.database.tokens, "byHash");
  for (let i = 0; i < 5; i++) expect((await rig.ask("GET", "/api/v1/me", { token })).status).toBe(200);
  expect(asked).toHaveBeenCalledTimes(1);
  const me = (await (await rig.ask("GET", "/api/v1/me", { token })).json()) as { token: { id: string } };
  await rig.ask("DELETE", `/api/v1/tokens/${me.token.id}`);
  expect((await rig.ask("GET", "/api/v1/me", { token })).status).toBe(401);
  // As a program beside the server does.
  await rig.user("ben");
  const other = await rig.token("ben", [{ folder: null, access: "write" }]);
  expect((await rig.ask("GET", "/api/v1/me", { token: other })).status).toBe(200);
  const told = firstValueFrom(rig.database.events.live$.pipe(filter(({ type }) => type === "token.revoked")));
  await rig.auth.setPassword({ kind: "local" }, "ben", "another password");
  const tokens = await rig.database.tokens.list((await rig.database.users.byName("ben"))?.id);
  const record = tokens.find(({ kind }) => kind === "api");
  await rig.auth.revokeToken({ kind: "local" }, record?.id as string);
  await told;
  expect((await rig.ask("GET", "/api/v1/me", { token: other })).status).toBe(401);
});

describe("who may what", () => {
  test("only administrators administer, and a narrow token of one is none", async () => {
    const user = await rig.user("ann", "user", { photos: "write" });
    const narrow = await rig.token("admin", [{ folder: null, access: "read" }]);
    for (const token of [user, narrow]) {
      for (const [method, path, json] of [
        ["GET", "/api/v1/users"],
        ["POST", "/api/v1/users", { name: "eve", password: "0123456789", role: "admin" }],
        ["DELETE", "/api/v1/users/admin"],
        ["PUT", "/api/v1/users/admin/password", { password: "0123456789" }],
        ["PUT", "/api/v1/users/ann/folders/photos", { access: "write" }],
        ["GET", "/api/v1/devices"],
        ["DELETE", "/api/v1/devices/x"],
        ["GET", "/api/v1/invitations"],
        ["POST", "/api/v1/invitations", { folder: null }],
        ["POST", "/api/v1/folders", { name: "mine" }],
        ["PATCH", "/api/v1/folders/photos", { quotaBytes: 0 }],
        ["DELETE", "/api/v1/sessions/x"],
        ["GET", "/api/v1/audit"],
        ["GET", "/api/v1/transfers"],
        ["POST", "/api/v1/tokens", { name: "wider", user: "admin", scopes: [{ folder: null, access: "write" }] }],
      ] as const) {
        const response = await rig.ask(method, path, { token, ...(json === undefined ? {} : { json }) });
        expect([method, path, ...(await code(response))]).toEqual([method, path, 403, "ERR_FORBIDDEN"]);
      }
    }
    expect((await rig.database.users.list()).map(({ name }) => name).sort()).toEqual(["admin", "ann"]);
  });

  test("a folder that one may not see is one that there is not", async () => {
    await rig.database.folders.ensure("secret");
    const ann = await rig.user("ann", "user", { photos: "read" });
    const list = (await (await rig.ask("GET", "/api/v1/folders", { token: ann })).json()) as { items: object[] };
    expect(list.items).toMatchObject([{ name: "photos", access: "read", state: "idle" }]);
    for (const name of ["secret", "missing"]) {
      for (const [method, rest] of [
        ["GET", ""],
        ["GET", "/entries"],
        ["GET", "/files/a"],
        ["PUT", "/files/a"],
        ["DELETE", "/files/a"],
        ["GET", "/versions"],
      ] as const) {
        const response = await rig.ask(method, `/api/v1/folders/${name}${rest}`, { token: ann });
        const problem = (await response.json()) as { code: string; detail: string };
        expect([response.status, problem.code]).toEqual([404, "ERR_NOT_FOUND"]);
        expect(problem.detail).toBe(`There is no folder "${name}".`);
      }
    }
  });

  test("a path may have any character, line breaks too", async () => {
    for (const name of ["two\nlines", "a\r\nb", "evil\u202egpj.exe", "sep\u2028arated", "d/x\ny/\n"]) {
      const at = `/api/v1/folders/photos/files/${name.split("/").map(encodeURIComponent).join("/")}`;
      expect((await rig.ask("PUT", at, { body: name })).status).toBe(201);
      expect(rig.mirrors.files.has(`photos/${name}`)).toBe(true);
      const got = await rig.ask("GET", at);
      expect([got.status, await got.text()]).toEqual([200, name]);
      expect(got.headers.get("content-disposition")).not.toMatch(/[^\x20-\x7e]/);
      expect((await rig.ask("DELETE", at)).status).toBe(204);
    }
  });

  test("who may read may not write", async () => {
    rig.mirrors.files.set("photos/a", Buffer.from("before"));
    const ann = await rig.user("ann", "user", { photos: "read" });
    const put = await rig.ask("PUT", "/api/v1/folders/photos/files/a", { token: ann, body: "after" });
    expect(await code(put)).toEqual([403, "ERR_FORBIDDEN"]);
    const remove = await rig.ask("DELETE", "/api/v1/folders/photos/files/a", { token: ann });
    expect(await code(remove)).toEqual([403, "ERR_FORBIDDEN"]);
    const json = { path: "a", version: 1 };
    const restore = await rig.ask("POST", "/api/v1/folders/photos/restore", { token: ann, json });
    expect(await code(restore)).toEqual([403, "ERR_FORBIDDEN"]);
    expect(rig.mirrors.files.get("photos/a")?.toString()).toBe("before");
    expect(rig.mirrors.restored).toEqual([]);
  });
});

describe("administration", () => {
  test("users, their folders and passwords", async () => {
    const json = { name: "ann", password: "0123456789", folders: [{ name: "photos", access: "read" }] };
    const made = await rig.ask("POST", "/api/v1/users", { json });
    expect(made.status).toBe(201);
    expect(await made.json()).toMatchObject({
      name: "ann",
      role: "user",
      folders: [{ name: "photos", access: "read" }],
    });
    expect(await code(await rig.ask("POST", "/api/v1/users", { json }))).toEqual([409, "ERR_EXISTS"]);
    const put = await rig.ask("PUT", "/api/v1/users/ann/folders/photos", { json: { access: "write" } });
    expect(put.status).toBe(204);
    const list = (await (await rig.ask("GET", "/api/v1/users")).json()) as { items: Record<string, unknown>[] };
    expect(list.items.find(({ name }) => name === "ann")).toMatchObject({
      folders: [{ name: "photos", access: "write" }],
    });
    expect(JSON.stringify(list)).not.toMatch(/passwordHash|argon2|scrypt/);
    expect((await rig.ask("DELETE", "/api/v1/users/ann/folders/photos")).status).toBe(204);
    expect((await rig.ask("PUT", "/api/v1/users/ann/password", { json: { password: "another one" } })).status).toBe(
      204,
    );
    const login = { token: null, json: { name: "ann", password: "another one" } };
    expect((await rig.ask("POST", "/api/v1/login", login)).status).toBe(200);
    expect((await rig.ask("DELETE", "/api/v1/users/ann")).status).toBe(204);
    expect(await code(await rig.ask("DELETE", "/api/v1/users/ann"))).toEqual([404, "ERR_NOT_FOUND"]);
  });

  test("tokens are told once, listed without their secret, and revoked", async () => {
    const json = { name: "backup", scopes: [{ folder: "photos", access: "read" }], expiresIn: 3600 };
    const login = await rig.ask("POST", "/api/v1/login", { token: null, json: { name: "admin", password: PASSWORD } });
    const { token: session } = (await login.json()) as { token: string };
    const made = (await (await rig.ask("POST", "/api/v1/tokens", { token: session, json })).json()) as {
      token: string;
      record: { id: string; expiresAt: number; createdAt: number };
    };
    expect(made.record.expiresAt - made.record.createdAt).toBe(3_600_000);
    expect((await rig.ask("GET", "/api/v1/folders/photos", { token: made.token })).status).toBe(200);
    const list = await (await rig.ask("GET", "/api/v1/tokens")).text();
    expect(list).toContain(made.record.id);
    expect(list).not.toContain(made.token);
    expect(list).not.toContain(hex(made.token));
    expect((await rig.ask("DELETE", `/api/v1/tokens/${made.record.id}`)).status).toBe(204);
    const after = await rig.ask("GET", "/api/v1/folders/photos", { token: made.token });
    expect(await code(after)).toEqual([401, "ERR_UNAUTHENTICATED"]);
  });

  test("invitations carry the pairing address; devices are listed and revoked", async () => {
    const made = await rig.ask("POST", "/api/v1/invitations", { json: { folder: "photos", expiresIn: 600 } });
    expect(made.status).toBe(201);
    const { address, invitation } = (await made.json()) as { address: string; invitation: { access: string } };
    expect(address).toMatch(/^confundo:\/\/127\.0\.0\.1:5000\/photos#[\w-]{22}$/);
    expect(invitation.access).toBe("write");
    const code = address.split("#")[1] as string;
    const device = await rig.auth.pair(code, { name: "laptop", pin: "p".repeat(43) }, { address: "127.0.0.1" });
    const devices = await (await rig.ask("GET", "/api/v1/devices")).json();
    expect(devices).toMatchObject({
      items: [{ name: "laptop", connected: false, revokedAt: null, folders: [{ name: "photos", access: "write" }] }],
    });
    expect((await rig.ask("DELETE", `/api/v1/devices/${device.id}`)).status).toBe(204);
    expect((await rig.database.devices.byId(device.id))?.revokedAt).not.toBeNull();
    const invitations = await (await rig.ask("GET", "/api/v1/invitations")).text();
    expect(invitations).not.toContain(code);
    expect(invitations).not.toContain("codeHash");
  });

  test("folders are made once, and get a quota", async () => {
    const made = await rig.ask("POST", "/api/v1/folders", { json: { name: "docs", quotaBytes: 1000 } });
    expect([made.status, await made.json()]).toMatchObject([201, { name: "docs", quotaBytes: 1000, files: 0 }]);
    expect(await code(await rig.ask("POST", "/api/v1/folders", { json: { name: "docs" } }))).toEqual([
      409,
      "ERR_EXISTS",
    ]);
    const changed = await rig.ask("PATCH", "/api/v1/folders/docs", { json: { quotaBytes: null } });
    expect(await changed.json()).toMatchObject({ quotaBytes: null });
    expect(await code(await rig.ask("PATCH", "/api/v1/folders/none", { json: { quotaBytes: 1 } }))).toEqual([
      404,
      "ERR_NOT_FOUND",
    ]);
    for (const name of ["", ".hidden", "a/b", "..", "con", "x".repeat(300), 7]) {
      expect(await code(await rig.ask("POST", "/api/v1/folders", { json: { name } }))).toEqual([400, "ERR_REQUEST"]);
    }
  });
});

describe("lists", () => {
  test("go on where the page before ended, each entry once", async () => {
    const put = (path: string) =>
      ({
        do: "put",
        folder: "photos",
        path,
        kind: "file",
        size: 1,
        mode: 0o644,
        mtimeNs: 1_500_000n,
        sha256: hex(path),
        target: null,
      }) as const;
    const directory = { ...put("dir"), kind: "directory", sha256: null } as const;
    const paths = Array.from({ length: 23 }, (_, i) => `dir/${String(i).padStart(2, "0")}`);
    await rig.database.files.apply([directory, ...paths.map(put)], 5);
    const seen: string[] = [];
    let after: string | null = "";
    while (after !== null) {
      const query = new URLSearchParams({ path: "dir", limit: "10", ...(after === "" ? {} : { after }) });
      const response = await rig.ask("GET", `/api/v1/folders/photos/entries?${query}`);
      const page = (await response.json()) as { items: { path: string; modifiedAt: number }[]; next: string | null };
      expect(page.items[0]).toMatchObject({ kind: "file", modifiedAt: 1.5, version: 1, storedAt: 5 });
      seen.push(...page.items.map(({ path }) => path));
      after = page.next;
    }
    expect(seen).toEqual(paths);
    expect(await code(await rig.ask("GET", "/api/v1/folders/photos/entries?path=dir/00"))).toEqual([
      404,
      "ERR_NOT_FOUND",
    ]);
    expect((await rig.ask("GET", "/api/v1/folders/photos")).status).toBe(200);
  });

  test("versions, newest first, over pages", async () => {
    const entry = { folder: "photos", path: "a", kind: "file", mode: 0o644, target: null, mtimeNs: 0n } as const;
    for (let i = 0; i < 5; i++) {
      const content = { ...entry, size: i, sha256: hex(String(i)) };
      await rig.database.files.apply([{ do: "put", ...content }], i * 10);
      if (i < 4) await rig.database.files.apply([{ do: "retire", ...content, why: "replaced" }], i * 10 + 5);
    }
    const sizes: number[] = [];
    let after: string | null = "";
    while (after !== null) {
      const query = new URLSearchParams({ path: "a", limit: "3", ...(after === "" ? {} : { after }) });
      const page = (await (await rig.ask("GET", `/api/v1/folders/photos/versions?${query}`)).json()) as {
        items: { size: number }[];
        next: string | null;
      };
      sizes.push(...page.items.map(({ size }) => size));
      after = page.next;
    }
    expect(sizes).toEqual([3, 2, 1, 0]);
  });

  test("the audit log and transfers", async () => {
    await rig.database.transfers.add(
      [1, 2, 3].map((i) => ({
        folder: "photos",
        device: null,
        path: `f${i}`,
        bytes: i,
        startedAt: i,
        endedAt: i + 1,
        outcome: "stored" as const,
        code: null,
      })),
    );
    const active = { id: "1", session: "s", folder: "photos", path: "big", bytes: 5, size: 10, startedAt: 1 };
    rig.mirrors.moving = [active];
    const first = (await (await rig.ask("GET", "/api/v1/transfers?folder=photos&limit=2")).json()) as {
      active: object[];
      items: { path: string }[];
      next: string;
    };
    expect(first).toMatchObject({ active: [active], items: [{ path: "f3" }, { path: "f2" }] });
    const second = await rig.ask("GET", `/api/v1/transfers?folder=photos&limit=2&after=${first.next}`);
    expect(await second.json()).toMatchObject({ items: [{ path: "f1" }], next: null });
    await rig.token("admin", [{ folder: null, access: "read" }]);
    const audit = await rig.ask("GET", "/api/v1/audit?limit=1");
    expect(await audit.json()).toMatchObject({ items: [{ action: "token.create", actor: "local", outcome: "ok" }] });
    expect(await code(await rig.ask("GET", "/api/v1/audit?after=x"))).toEqual([400, "ERR_REQUEST"]);
  });

  test.each(["limit=0", "limit=501", "limit=1e9", "limit=x", "limit=-1", "after=", `after=${"x".repeat(5000)}`])(
    "a page of %s is refused",
    async (query) => {
      const response = await rig.ask("GET", `/api/v1/folders?${query.slice(0, 6000)}`);
      expect(await code(response)).toEqual([400, "ERR_REQUEST"]);
    },
  );
});

describe("sessions of clients and sums", () => {
  const session = {
    id: "s1",
    folder: "photos",
    device: "d1",
    label: "laptop",
    peer: "127.0.0.1:1",
    openedAt: 1,
    state: "syncing",
    heldDeletes: null,
    connection: null,
  } as const;

  test("everybody sees those of the folders that he may see", async () => {
    rig.mirrors.live = [session, { ...session, id: "s2", folder: "secret" }];
    const ann = await rig.user("ann", "user", { photos: "read" });
    const mine = await rig.ask("GET", "/api/v1/sessions", { token: ann });
    expect(await mine.json()).toEqual({ items: [session] });
    const all = (await (await rig.ask("GET", "/api/v1/sessions")).json()) as { items: unknown[] };
    expect(all.items).toHaveLength(2);
    expect(await (await rig.ask("GET", "/api/v1/folders/photos")).json()).toMatchObject({ state: "syncing" });
    const sums = (await (await rig.ask("GET", "/api/v1/statistics", { token: ann })).json()) as Record<string, unknown>;
    expect(sums).toMatchObject({ folders: 1, sessions: 1, memoryBytes: null });
  });

  test("deletes that it holds back are shown and approved, as they were shown, by those who may write", async () => {
    const paths = ["a", "b"];
    const heldDeletes = { id: "f00", reason: "limit", files: 2, of: 3, deleted: 0, windowMs: 600_000, paths } as const;
    const approve = "/api/v1/folders/photos/approve";
    rig.mirrors.live = [session];
    expect(await code(await rig.ask("POST", approve, { json: { id: "f00" } }))).toEqual([404, "ERR_NOTHING_HELD"]);
    rig.mirrors.live = [{ ...session, heldDeletes }];
    const shown = await (await rig.ask("GET", "/api/v1/folders/photos")).json();
    expect(shown).toMatchObject({ state: "awaiting-approval", heldDeletes });
    expect(await code(await rig.ask("POST", approve, { json: { id: "bad" } }))).toEqual([412, "ERR_PRECONDITION"]);
    const ann = await rig.user("ann", "user", { photos: "read" });
    expect((await rig.ask("POST", approve, { token: ann, json: { id: "f00" } })).status).toBe(403);
    expect(rig.mirrors.answers).toEqual([]);
    const approved = await rig.ask("POST", approve, { json: { id: "f00" } });
    expect([approved.status, await approved.json()]).toEqual([200, heldDeletes]);
    await rig.ask("POST", approve, { json: { id: "f00", approved: false } });
    expect(rig.mirrors.answers.map((answer) => answer.approved)).toEqual([true, false]);
    const [last] = await rig.database.audit.list({ limit: 1 });
    expect(last).toMatchObject({ action: "deletes.keep", target: "photos", outcome: "ok" });
  });

  test("an administrator ends one", async () => {
    rig.mirrors.live = [session];
    expect((await rig.ask("DELETE", "/api/v1/sessions/s1")).status).toBe(204);
    expect(rig.mirrors.ended).toEqual(["s1"]);
    expect(await code(await rig.ask("DELETE", "/api/v1/sessions/s9"))).toEqual([404, "ERR_NOT_FOUND"]);
  });
});

describe("files", () => {
  const at = "/api/v1/folders/photos/files/dir/a%20b.txt";
  const content = Buffer.from("0123456789");
  beforeEach(() => rig.mirrors.files.set("photos/dir/a b.txt", content));
  afterEach(() => expect(rig.mirrors.opened.filter(({ closed }) => !closed)).toEqual([]));

  test("are sent with their hash as ETag, and so that nothing runs in a browser", async () => {
    const response = await rig.ask("GET", at);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("0123456789");
    expect(Object.fromEntries(response.headers)).toMatchObject({
      etag: `"${hex(content)}"`,
      "last-modified": new Date(MODIFIED_AT).toUTCString(),
      "content-length": "10",
      "content-type": "text/plain; charset=utf-8",
      "content-disposition": `attachment; filename="a b.txt"; filename*=UTF-8''a%20b.txt`,
      "accept-ranges": "bytes",
      "x-content-type-options": "nosniff",
      "content-security-policy": expect.stringContaining("sandbox"),
      "cache-control": "private, no-cache",
    });
    const slashes = await rig.ask("GET", "/api/v1/folders/photos/files/dir%2Fa%20b.txt");
    expect(await slashes.text()).toBe("0123456789");
  });

  test("HEAD, 304, 412, 206 and 416", async () => {
    const head = await rig.ask("HEAD", at);
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "10", ""]);
    const same = await rig.ask("GET", at, { headers: { "if-none-match": `"${hex(content)}"` } });
    expect([same.status, await same.text()]).toEqual([304, ""]);
    const other = await rig.ask("GET", at, { headers: { "if-match": `"${hex("x")}"` } });
    expect(await code(other)).toEqual([412, "ERR_PRECONDITION"]);
    const part = await rig.ask("GET", at, { headers: { range: "bytes=-3" } });
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 7-9/10", "789"]);
    const outside = await rig.ask("GET", at, { headers: { range: "bytes=10-" } });
    expect(outside.headers.get("content-range")).toBe("bytes */10");
    expect(await code(outside)).toEqual([416, "ERR_RANGE"]);
  });

  test("who goes away closes the file", async () => {
    rig.mirrors.files.set("photos/big", Buffer.alloc(2_000_000));
    const response = await rig.ask("GET", "/api/v1/folders/photos/files/big");
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect((await reader.read()).done).toBe(false);
    await reader.cancel();
    await eventually(() => expect(rig.mirrors.opened.at(-1)?.closed).toBe(true));
  });

  test("an older version, and none", async () => {
    rig.mirrors.files.set("photos/dir/a b.txt@1", Buffer.from("old"));
    expect(await (await rig.ask("GET", `${at}?version=1`)).text()).toBe("old");
    expect(await code(await rig.ask("GET", `${at}?version=9`))).toEqual([404, "ERR_NOT_FOUND"]);
    expect(await code(await rig.ask("GET", `${at}?version=0`))).toEqual([400, "ERR_REQUEST"]);
    expect(await code(await rig.ask("GET", "/api/v1/folders/photos/files/none"))).toEqual([404, "ERR_NOT_FOUND"]);
  });

  test("are put, new or in the place of one that is known", async () => {
    const to = "/api/v1/folders/photos/files/new/file.bin";
    const made = await rig.ask("PUT", to, { body: "one", headers: { "if-none-match": "*" } });
    expect([made.status, made.headers.get("etag")]).toEqual([201, `"${hex("one")}"`]);
    expect(await made.json()).toMatchObject({ path: "new/file.bin", size: 3, sha256: hex("one") });
    const again = await rig.ask("PUT", to, { body: "two", headers: { "if-none-match": "*" } });
    expect(await code(again)).toEqual([412, "ERR_PRECONDITION"]);
    const replaced = await rig.ask("PUT", to, { body: "two", headers: { "if-match": `"${hex("one")}"` } });
    expect(replaced.status).toBe(200);
    const late = await rig.ask("PUT", to, { body: "three", headers: { "if-match": `"${hex("one")}"` } });
    expect(await code(late)).toEqual([412, "ERR_PRECONDITION"]);
    expect(rig.mirrors.files.get("photos/new/file.bin")?.toString()).toBe("two");
  });

  test("what is put is checked against its digest, and is no part of a file", async () => {
    const digest = `sha-256=:${Buffer.from(hex("right"), "hex").toString("base64")}:`;
    const wrong = await rig.ask("PUT", at, { body: "wrong", headers: { "content-digest": digest } });
    expect(await code(wrong)).toEqual([400, "ERR_CHECKSUM"]);
    const right = await rig.ask("PUT", at, { body: "right", headers: { "content-digest": digest } });
    expect(right.status).toBe(200);
    const part = await rig.ask("PUT", at, { body: "x", headers: { "content-range": "bytes 0-0/10" } });
    expect(await code(part)).toEqual([400, "ERR_REQUEST"]);
    const packed = await rig.ask("PUT", at, { body: "x", headers: { "content-encoding": "gzip" } });
    expect(await code(packed)).toEqual([415, "ERR_MEDIA_TYPE"]);
  });

  test.each([
    ["ERR_QUOTA", 507],
    ["ENOSPC", 507],
    ["ERR_MIRROR_BUSY", 409],
    ["ERR_UNSAFE_PATH", 400],
    ["ERR_NOT_A_FOLDER", 409],
  ])("the refusal %s is a %i", async (refusal, status) => {
    rig.mirrors.refusal = Object.assign(new Error("for a reason"), { code: refusal });
    const response = await rig.ask("PUT", at, { body: "x" });
    expect(await response.clone().json()).toMatchObject({ detail: "For a reason." });
    expect(await code(response)).toEqual([status, refusal]);
  });

  test("a defect of ours tells nothing of itself", async () => {
    rig.mirrors.refusal = new Error("secret detail at /home/me");
    const response = await rig.ask("DELETE", at);
    expect(await response.clone().text()).not.toContain("secret");
    expect(await code(response)).toEqual([500, "ERR_INTERNAL"]);
  });

  test("are deleted and restored", async () => {
    expect((await rig.ask("DELETE", at)).status).toBe(204);
    expect(await code(await rig.ask("DELETE", at))).toEqual([404, "ERR_NOT_FOUND"]);
    const to = "/api/v1/folders/photos/restore";
    expect(await (await rig.ask("POST", to, { json: { path: "a", version: 3 } })).json()).toEqual({
      changed: 1,
      files: 1,
      removed: 0,
      unchanged: 0,
      bytes: 10,
    });
    expect((await rig.ask("POST", to, { json: { at: 1000 } })).status).toBe(200);
    expect(rig.mirrors.restored).toEqual([
      { folder: "photos", actor: "user:admin", path: "a", version: 3 },
      { folder: "photos", actor: "user:admin", path: null, at: 1000 },
    ]);
    for (const json of [{}, { path: "a" }, { version: 1 }, { path: "a", version: 1, at: 1 }, { path: "a", at: -1 }]) {
      expect(await code(await rig.ask("POST", to, { json }))).toEqual([400, "ERR_REQUEST"]);
    }
  });
});

describe("what comes in", () => {
  test.each([
    ["no JSON", "{", "application/json", 400, "ERR_REQUEST"],
    ["no object", "[]", "application/json", 400, "ERR_REQUEST"],
    ["something more", `{"name":"a","password":"b","admin":true}`, "application/json", 400, "ERR_REQUEST"],
    ["another type", "name=admin", "application/x-www-form-urlencoded", 415, "ERR_MEDIA_TYPE"],
    ["too much", JSON.stringify({ name: "x".repeat(70_000) }), "application/json", 413, "ERR_TOO_LARGE"],
    ["deep nesting", "[".repeat(30_000), "application/json", 400, "ERR_REQUEST"],
  ])("a body that is %s is refused", async (_, body, type, status, expected) => {
    const headers = { "content-type": type };
    const response = await rig.ask("POST", "/api/v1/login", { token: null, body, headers });
    expect(await code(response)).toEqual([status, expected]);
  });

  test("a body that is too large is counted", async () => {
    const limits = new LimitCounters();
    await using other = await ApiRig.start({ limits });
    const json = { name: "x".repeat(70_000) };
    expect((await other.ask("POST", "/api/v1/login", { token: null, json })).status).toBe(413);
    expect(limits.of("jsonBytes")).toBe(1);
  });

  test("what is wrong with a request is said", async () => {
    const response = await rig.ask("POST", "/api/v1/users", { json: { name: "ann", password: "short" } });
    const { errors } = (await response.json()) as { errors: { at: string }[] };
    expect(errors.map(({ at }) => at)).toEqual(["body.password"]);
  });

  test.each(["/api/v1/folders/%E0%A4%A", "/api/v1/folders/%zz", "/api/v1/folders?after=%ff"])(
    "an address that is not validly encoded is refused: %s",
    async (path) => expect(await code(await rig.ask("GET", path))).toEqual([400, "ERR_REQUEST"]),
  );

  test("other sites' pages, and other names for us", async () => {
    const json = { name: "admin", password: PASSWORD };
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site", origin: "http://localhost" },
      { origin: "https://evil.example" },
      { origin: "null" },
    ]) {
      const response = await rig.ask("POST", "/api/v1/login", { token: null, json, headers });
      expect(response.headers.get("set-cookie")).toBeNull();
      expect(await code(response)).toEqual([403, "ERR_CROSS_SITE"]);
      expect(await code(await rig.ask("GET", "/api/v1/folders", { headers }))).toEqual([403, "ERR_CROSS_SITE"]);
    }
    for (const headers of [{ "sec-fetch-site": "same-origin" }, { origin: "http://localhost" }]) {
      expect((await rig.ask("POST", "/api/v1/login", { token: null, json, headers })).status).toBe(200);
    }
    await using local = await ApiRig.start({ hosts: ["localhost", "127.0.0.1", "::1"] });
    for (const host of ["localhost:5080", "127.0.0.1:5080", "[::1]:5080", "LOCALHOST"]) {
      expect((await local.ask("GET", "/healthz", { headers: { host } })).status).toBe(200);
    }
    for (const host of ["evil.example", "127.0.0.1.evil.example:5080", "localhost.evil.example", ""]) {
      expect(await code(await local.ask("GET", "/healthz", { headers: { host } }))).toEqual([421, "ERR_HOST"]);
    }
  });

  test("an address with nothing at it, and a WebSocket that is none", async () => {
    expect(await code(await rig.ask("GET", "/nowhere.txt"))).toEqual([404, "ERR_NOT_FOUND"]);
    expect(await code(await rig.ask("GET", "/api/v1/nowhere"))).toEqual([404, "ERR_NOT_FOUND"]);
    expect(await code(await rig.ask("GET", "/api/v1/events"))).toEqual([426, "ERR_UPGRADE"]);
  });
});

describe("the system", () => {
  test("is alive, and ready while its database answers", async () => {
    expect(await (await rig.ask("GET", "/healthz", { token: null })).json()).toEqual({ status: "ok" });
    expect(await (await rig.ask("GET", "/readyz", { token: null })).json()).toEqual({ status: "ok" });
    vi.spyOn(rig.database, "ping").mockRejectedValue(new Error("away"));
    expect(await code(await rig.ask("GET", "/readyz", { token: null }))).toEqual([503, "ERR_DATABASE"]);
    expect((await rig.ask("GET", "/healthz", { token: null })).status).toBe(200);
  });

  test("has figures, whose labels are not made by clients", async () => {
    for (let i = 0; i < 20; i++) await rig.ask("GET", `/api/v1/folders/f${i}`);
    expect((await rig.ask("GET", "/api/v1/folders")).status).toBe(200);
    for (let i = 0; i < 20; i++) await rig.ask("GET", `/made/up/${i}.txt`, { token: null });
    await rig.ask("BREW", "/api/v1/folders");
    const figures = await rig.token("admin", [{ folder: null, access: "metrics" }]);
    const text = await (await rig.ask("GET", "/metrics", { token: figures })).text();
    expect(text).toContain(
      'confundo_http_requests_total{method="GET",route="/api/v1/folders/:folder",status="404"} 20',
    );
    expect(text).toContain('confundo_http_requests_total{method="GET",route="other",status="404"} 20');
    expect(text).toContain('route="/api/v1/folders",status="200"} 1');
    expect(text).toContain('method="OTHER"');
    expect(text).not.toMatch(/f19|made|BREW/);
    // Not even for programs on the same machine.
    expect(await code(await rig.ask("GET", "/metrics", { token: null }))).toEqual([401, "ERR_UNAUTHENTICATED"]);
    const ann = await rig.user("ann");
    expect(await code(await rig.ask("GET", "/metrics", { token: ann }))).toEqual([403, "ERR_FORBIDDEN"]);
  });

  test("its pages run nothing that is not its own", async () => {
    const { headers } = await rig.ask("GET", "/", { token: null });
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|http:|https:/);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-frame-options")).toBe("DENY");
  });
});

describe("the OpenAPI document", () => {
  test("has every route that there is, and only those", async () => {
    const document = (await (await rig.ask("GET", "/api/openapi.json", { token: null })).json()) as {
      paths: Record<string, Record<string, unknown>>;
    };
    const described = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const there = rig.app.routes
      .filter(({ method, path }) => method !== "ALL" && !path.includes("*") && path !== "/api/openapi.json")
      .map(({ method, path }) => `${method} ${path.replace(REST_OF_PATH, "").replace(/:(\w+)/g, "{$1}")}`);
    expect([...new Set(described)].sort()).toEqual([...new Set(there)].sort());
    expect(described.length).toBeGreaterThan(30);
  });

  test("is a valid one: its references lead somewhere, its parameters are in its paths, its operations answer", async () => {
    const document = (await (await rig.ask("GET", "/api/openapi.json", { token: null })).json()) as {
      openapi: string;
      info: { title: string; version: string };
      paths: Record<string, Record<string, Operation>>;
      components: Record<string, Record<string, unknown>>;
    };
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.info)).toEqual(expect.arrayContaining(["title", "version"]));
    for (const [, kind, name] of JSON.stringify(document).matchAll(/"#\/components\/(\w+)\/(\w+)"/g)) {
      expect(document.components[kind as string]?.[name as string]).toBeDefined();
    }
    for (const [path, item] of Object.entries(document.paths)) {
      expect(path).toMatch(/^(\/([\w.]+|\{\w+\}))+$/);
      for (const { parameters = [], responses, summary } of Object.values(item)) {
        const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        expect(parameters.filter((one) => one.in === "path").map(({ name }) => name)).toEqual(inPath);
        expect(parameters.filter((one) => one.in === "path").every(({ required }) => required === true)).toBe(true);
        expect(summary).toMatch(/^[A-Z]/);
        const statuses = Object.keys(responses);
        expect(statuses.some((status) => /^[123]\d\d$/.test(status))).toBe(true);
        expect(Object.values(responses).every(({ description }) => description !== "")).toBe(true);
      }
    }
  });

  interface Operation {
    readonly summary: string;
    readonly parameters?: { name: string; in: string; required?: boolean }[];
    readonly responses: Record<string, { description: string }>;
  }

  test("has the shapes that docs/api.md shows: the same fields, with the same words", async () => {
    const document = (await (await rig.ask("GET", "/api/openapi.json", { token: null })).json()) as {
      components: { schemas: Record<string, { properties?: Record<string, { enum?: string[] }> }> };
    };
    const page = readFileSync(new URL("../../../../docs/api.md", import.meta.url), "utf8");
    const [, block = ""] = /## Shapes\n\n```ts\n([\s\S]*?)```/.exec(page) ?? [];
    const shapes = new Map<string, Map<string, string>>();
    for (const [, name = "", base = "", body = ""] of block.matchAll(/^(\w+) +(?:(\w+) and )?\{([\s\S]*?)\}$/gm)) {
      const own = topLevel(body).map((field): [string, string] => {
        const [, key = "", type = ""] = /^(\w+)(?:: ([\s\S]*))?$/.exec(field) ?? [];
        return [key, type];
      });
      shapes.set(name, new Map([...(shapes.get(base) ?? []), ...own]));
    }
    expect(shapes.size).toBeGreaterThan(12);
    const shown: Record<string, string[]> = {};
    const there: Record<string, string[]> = {};
    for (const [name, fields] of shapes) {
      const { properties = {} } = document.components.schemas[name] ?? {};
      shown[name] = [...fields.keys()].sort();
      there[name] = Object.keys(properties).sort();
      for (const [field, { enum: words = [] }] of Object.entries(properties)) {
        const type = fields.get(field) ?? "";
        const said = [...type.matchAll(/"([^"]+)"/g)].map(([, word]) => word as string);
        // Where words are shown, they are all that there are; nested shapes have words of their own.
        if (said.length === 0 || /[{[]/.test(type)) continue;
        shown[`${name}.${field}`] = said;
        there[`${name}.${field}`] = words;
      }
    }
    expect(shown).toEqual(there);
  });

  test("and the events that docs/api.md lists are those that the server appends", () => {
    const page = readFileSync(new URL("../../../../docs/api.md", import.meta.url), "utf8");
    const [, table = ""] = /\| type \| data \| \|\n([\s\S]*?)\n\n/.exec(page) ?? [];
    const listed = [...table.matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, cell = ""]) =>
      [...cell.matchAll(/`([a-z.-]+)`/g)].map(([, type]) => type as string),
    );
    const source = new URL("../../../../src/server/", import.meta.url);
    const appended = readdirSync(source, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => [
        ...readFileSync(new URL(file, source), "utf8").matchAll(
          /(?:type: |^(?:export )?const [A-Z_]+ = |\blog\()"([a-z]+\.[a-z-]+)"/gm,
        ),
      ])
      .map(([, type]) => type as string)
      // The name of a fact beside the log.
      .filter((type) => type !== "events.pruned");
    expect(listed.filter((type) => type.includes(".")).sort()).toEqual([...new Set(appended)].sort());
  });

  test("is what docs/api.md says", () => {
    const page = readFileSync(new URL("../../../../docs/api.md", import.meta.url), "utf8");
    const routes = [...page.matchAll(/^\| (`[A-Z][^|]*) \|/gm)].flatMap(([, cell = ""]) => {
      const [, methods = "", path = ""] = /`([A-Z`, ]+?) (\/[^`?\s]*)/.exec(cell) ?? [];
      return methods.split(/[`, ]+/).map((method) => `${method} ${path.replace(/\/[A-Z]+(?=\/|$)/g, "/{}")}`);
    });
    const second = [...page.matchAll(/^\| `GET [^`]+`, `GET ([^`]+)` \|/gm)].map(([, path]) => `GET ${path}`);
    const there = rig.app.routes
      .filter(({ method, path }) => method !== "ALL" && !path.includes("*"))
      .map(({ method, path }) => `${method} ${path.replace(REST_OF_PATH, "").replace(/:(\w+)/g, "{}")}`);
    const told = new Set([...routes, ...second].filter((route) => !route.startsWith("HEAD")));
    expect([...told].sort()).toEqual([...new Set(there)].sort());
  });
});

/** Splits at the commas that are not inside of brackets. */
function topLevel(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const char of text) {
    if ("{[".includes(char)) depth++;
    if ("}]".includes(char)) depth--;
    if (char === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += char;
  }
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}
