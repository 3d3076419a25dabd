/** What strangers, and those who found a token, try on the HTTP interface: each with its refusal, and honest ones beside it unharmed. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type HttpServer, type Listening, serveHttp } from "../../support/http-client.js";
import { Rig, until } from "../../support/program.js";
import { Random } from "../../support/random.js";

const rig = new Rig();
const JSON_TYPE = { "content-type": "application/json" };
let http: HttpServer;
let events: Listening;
let home: string;
let folder: string;

beforeAll(async () => {
  [home, folder] = [rig.folder(), rig.folder()];
  http = await serveHttp(rig, home, "--quota", "5M");
  fs.writeFileSync(path.join(folder, "file.txt"), "honest");
  const client = rig.start(["mirror", folder, `confundo://127.0.0.1:${http.port}/docs`]);
  await client.printed(/synced/);
  events = await http.listen();
});
afterAll(() => rig.end());

let written = 0;

/** A change of the mirrored folder arrives, is told to who listens, and is read over HTTP. */
async function unharmed(): Promise<void> {
  const name = `after-${written++}`;
  fs.writeFileSync(path.join(folder, name), name);
  await events.hears(({ type, data }) => type === "file.stored" && data.path === name);
  const got = await http.ask(`/api/v1/folders/docs/files/${name}`);
  expect(await got.text()).toBe(name);
}

/** Sends bytes as they are, with the administrator's token in the place of TOKEN; all that comes back. */
async function raw(request: string): Promise<string> {
  const socket = net.connect(http.httpPort, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(request.replace("TOKEN", http.token));
  return text(socket).catch(() => "");
}

function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
}

async function makeToken(access: "read" | "write"): Promise<{ token: string; id: string }> {
  const body = JSON.stringify({ name: access, scopes: [{ folder: "docs", access }] });
  const made = await http.ask("/api/v1/tokens", { method: "POST", headers: JSON_TYPE, body });
  const { token, record } = (await made.json()) as { token: string; record: { id: string } };
  return { token, id: record.id };
}

test("no path leads out of a mirror", async () => {
  fs.writeFileSync(path.join(home, "secret.txt"), "top secret");
  fs.symlinkSync("/etc", path.join(home, "docs", "link"));
  fs.symlinkSync(path.join(home, "secret.txt"), path.join(home, "docs", "secret-link"));
  const files = "/api/v1/folders/docs/files";
  const targets = [
    `${files}/../../secret.txt`,
    `${files}/..%2f..%2fsecret.txt`,
    `${files}/%2e%2e/secret.txt`,
    `${files}/%2e%2e%2fsecret.txt`,
    `${files}/a/../../secret.txt`,
    `${files}//etc/passwd`,
    `${files}/%2fetc%2fpasswd`,
    `${files}/..%5c..%5csecret.txt`,
    `${files}/file.txt%00.jpg`,
    `${files}/link/passwd`,
    `${files}/secret-link`,
    `${files}/./file.txt/..`,
    "/api/v1/folders/../files/secret.txt",
    "/api/v1/folders/%2e%2e/files/etc/passwd",
    "/api/v1/folders/.confundo/files/identity.key",
    "/api/v1/folders/.confundo/files/database.sqlite",
    "/api/v1/folders/%2econfundo/entries",
    "/api/v1/folders/docs%2f..%2f.confundo/files/identity.key",
    "/../../../../etc/passwd",
    "/assets/..%2f..%2f..%2fetc/passwd",
  ];
  const before = fs.readdirSync(home).sort();
  const passwords = fs.readFileSync("/etc/passwd", "utf8");
  for (const target of targets) {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const content = method === "PUT" ? "Content-Length: 4\r\n\r\nevil" : "\r\n";
      const answer = await raw(
        `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n${content}`,
      );
      expect(answer).not.toMatch(/root:|top secret|PRIVATE KEY|SQLite format/);
      // The client finds the links and compares anew. Until it is back, names in the mirror may be written: a backslash is a letter
      // of one here, and the names of the links are to be had, in their place.
      const isName = method !== "GET" && /%5c|link/.test(target);
      const refused = (status: number) => (status >= 400 && status < 500) || (isName && status >= 200 && status < 300);
      if (target.startsWith("/api"))
        expect([method, target, statusOf(answer)]).toEqual([method, target, expect.toSatisfy(refused)]);
    }
  }
  expect(fs.readFileSync(path.join(home, "secret.txt"), "utf8")).toBe("top secret");
  expect(fs.readFileSync("/etc/passwd", "utf8")).toBe(passwords);
  expect(fs.readdirSync(home).sort()).toEqual(before);
  // The client may have deleted them.
  fs.rmSync(path.join(home, "docs", "link"), { force: true, recursive: true });
  fs.rmSync(path.join(home, "docs", "secret-link"), { force: true });
  await unharmed();
});

test("a stolen token that may read writes nothing, sees nothing else, and is worthless once revoked", async () => {
  const { token, id } = await makeToken("read");
  expect((await http.ask("/api/v1/folders/docs/files/file.txt", { token })).status).toBe(200);
  const tries: [string, string, string?][] = [
    ["PUT", "/api/v1/folders/docs/files/file.txt", "evil"],
    ["DELETE", "/api/v1/folders/docs/files/file.txt"],
    ["POST", "/api/v1/folders/docs/restore", `{"at":0}`],
    ["POST", "/api/v1/folders/docs/resume"],
    ["POST", "/api/v1/tokens", `{"name":"more","scopes":[{"folder":null,"access":"write"}]}`],
    ["POST", "/api/v1/users", `{"name":"eve","password":"0123456789","role":"admin"}`],
    ["PUT", "/api/v1/users/admin/password", `{"password":"0123456789"}`],
    ["POST", "/api/v1/invitations", `{"folder":null}`],
    ["PATCH", "/api/v1/folders/docs", `{"quotaBytes":0}`],
    ["GET", "/api/v1/users"],
    ["GET", "/api/v1/devices"],
    ["GET", "/api/v1/audit"],
    ["GET", "/metrics"],
  ];
  for (const [method, where, body] of tries) {
    const answer = await http.ask(where, {
      token,
      method,
      headers: JSON_TYPE,
      ...(body === undefined ? {} : { body }),
    });
    expect([method, where, answer.status]).toEqual([method, where, 403]);
  }
  const address = `${http.url.replace("http", "ws")}/api/v1/events`;
  const thief = new WebSocket(address, { headers: { authorization: `Bearer ${token}` } });
  const closed = new Promise<number>((resolve) => thief.on("close", resolve));
  await new Promise((resolve) => thief.on("open", resolve));
  expect((await http.ask(`/api/v1/tokens/${id}`, { method: "DELETE" })).status).toBe(204);
  expect(await closed).toBe(4401);
  expect((await http.ask("/api/v1/folders/docs/files/file.txt", { token })).status).toBe(401);
  expect(fs.readFileSync(path.join(home, "docs", "file.txt"), "utf8")).toBe("honest");
  await unharmed();
});

test("guessing passwords and tokens ends soon, and locks nobody else out", async () => {
  const statuses = new Map<number, number>();
  let retryAfter: string | null = null;
  for (let i = 0; i < 60; i++) {
    const body = JSON.stringify({ name: "admin", password: `guess ${i}` });
    const answer = await http.ask("/api/v1/login", { token: null, method: "POST", headers: JSON_TYPE, body });
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    retryAfter ??= answer.headers.get("retry-after");
  }
  expect([...statuses.keys()].sort()).toEqual([401, 429]);
  expect(statuses.get(401)).toBeLessThan(30);
  expect(Number(retryAfter)).toBeGreaterThan(0);
  for (let i = 0; i < 20; i++) {
    const answer = await http.ask("/api/v1/me", { token: randomBytes(32).toString("base64url") });
    expect([401, 429]).toContain(answer.status);
  }
  expect((await http.ask("/api/v1/me")).status).toBe(200);
  await unharmed();
});

test("pages of other sites get nothing done with a browser's cookie", async () => {
  const cookie = `confundo_session=${http.token}`;
  for (const from of [
    { origin: "https://evil.example" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
  ]) {
    for (const [method, where] of [
      ["GET", "/api/v1/users"],
      ["POST", "/api/v1/logout"],
      ["DELETE", "/api/v1/folders/docs/files/file.txt"],
    ] as const) {
      const answer = await http.ask(where, { token: null, method, headers: { cookie, ...from } });
      expect([method, where, answer.status]).toEqual([method, where, 403]);
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    }
  }
  const preflight = await http.ask("/api/v1/users", {
    token: null,
    method: "OPTIONS",
    headers: { origin: "https://evil.example", "access-control-request-method": "GET" },
  });
  expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([403, null]);
  const socket = new WebSocket(`${http.url.replace("http", "ws")}/api/v1/events`, {
    headers: { cookie, origin: "https://evil.example" },
  });
  socket.on("error", () => {});
  const status = await new Promise((resolve) =>
    socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode)),
  );
  expect(status).toBe(403);
  const rebound = await raw(
    "GET /api/v1/users HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n\r\n",
  );
  expect(statusOf(rebound)).toBe(421);
  await unharmed();
});

describe("more than there is room for", () => {
  test.each([
    ["a body of 10 MB", `Content-Length: 10000000\r\n\r\n${"x".repeat(100_000)}`, 413],
    ["a body without end", `Transfer-Encoding: chunked\r\n\r\n${`10000\r\n${"x".repeat(65_536)}\r\n`.repeat(20)}`, 413],
    [
      "headers without end",
      `${Array.from({ length: 300 }, (_, i) => `X-${i}: ${"x".repeat(100)}`).join("\r\n")}\r\n\r\n`,
      431,
    ],
  ])("%s is refused", async (_, rest, status) => {
    const answer = await raw(
      `POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n${rest}`,
    );
    expect(statusOf(answer)).toBe(status);
    await unharmed();
  });

  test("a file without end stops at the quota, and what was there stays", async () => {
    await http.ask("/api/v1/folders", { method: "POST", headers: JSON_TYPE, body: JSON.stringify({ name: "drop" }) });
    const at = "/api/v1/folders/drop/files/file";
    expect((await http.ask(at, { method: "PUT", body: "before" })).status).toBe(201);
    const block = Buffer.alloc(1 << 16);
    let sent = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        sent += block.length;
        controller.enqueue(block);
      },
    });
    const request = { method: "PUT", body: endless, duplex: "half" } as RequestInit;
    const answer = await http.ask(at, request).then(
      ({ status }) => status,
      () => "cut off",
    );
    expect([507, "cut off"]).toContain(answer);
    expect(sent).toBeLessThan(200_000_000);
    expect(await (await http.ask(at)).text()).toBe("before");
    await until(
      () =>
        !fs.existsSync(path.join(home, ".confundo/uploads")) ||
        fs.readdirSync(path.join(home, ".confundo/uploads")).length === 0,
    );
    await unharmed();
  });
});

test("connections that say nothing, little or nonsense keep nobody out", async () => {
  const beginnings = [
    "",
    "G",
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "\u0016\u0003\u0001\u0002",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  ];
  const sockets = Array.from({ length: 500 }, (_, i) => {
    const socket = net.connect(http.httpPort, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(beginnings[i % beginnings.length] as string);
    return socket;
  });
  for (let i = 0; i < 20; i++) expect((await http.ask("/healthz")).status).toBe(200);
  await unharmed();
  for (const socket of sockets) socket.destroy();
});

test("a thousand requests of random bytes harm nobody", async () => {
  const random = new Random(5);
  const request = (): Buffer => {
    const noise = Buffer.from(random.bytes(random.integer(1, 300)));
    const path = noise.toString("latin1").replace(/[\r\n ]/g, "_");
    const head = `GET /api/v1/${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`;
    return random.chance(0.5) ? noise : Buffer.from(head, "latin1");
  };
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const socket = net.connect(http.httpPort, "127.0.0.1");
        socket.on("error", () => {});
        socket.end(request());
        const answer = await text(socket).catch(() => "");
        if (answer !== "") expect(statusOf(answer)).toBeLessThan(500);
      }),
    );
  }
  await unharmed();
  expect(http.server.ended).toBe(false);
});
