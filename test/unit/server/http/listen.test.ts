import { mkdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startHttp } from "../../../../src/server/http/listen.js";
import { atPace } from "../../../../src/server/http/pace.js";
import { LimitCounters } from "../../../../src/server/limits.js";
import { ApiRig, hex } from "../../../support/api-rig.js";
import { selfSigned } from "../../../support/certificate.js";
import { temporaryFolder } from "../../../support/temp.js";

let rig: ApiRig;
const open: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  rig = await ApiRig.start();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
  await rig[Symbol.asyncDispose]();
});

async function start(more: Partial<Parameters<typeof startHttp>[0]> = {}) {
  const serving = await startHttp({ ...rig.options, port: 0, ...more });
  open.push(serving);
  return serving;
}

/** What comes back for bytes that no client of ours would send. */
async function raw(port: number, request: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(request);
  return text(socket);
}

describe("over a real port", () => {
  const authorization = () => ({ authorization: `Bearer ${rig.adminToken}` });

  test("files come and go as they are", async () => {
    const { url } = await start();
    const content = Buffer.alloc(3_000_001, "0123456789abcdef");
    const at = `${url}/api/v1/folders/photos/files/a/big.bin`;
    const put = await fetch(at, { method: "PUT", body: content, headers: authorization() });
    expect([put.status, put.headers.get("etag")]).toEqual([201, `"${hex(content)}"`]);
    const got = await fetch(at, { headers: authorization() });
    expect(hex(Buffer.from(await got.arrayBuffer()))).toBe(hex(content));
    const part = await fetch(at, { headers: { ...authorization(), range: "bytes=1000000-2999999" } });
    expect([part.status, hex(Buffer.from(await part.arrayBuffer()))]).toEqual([206, hex(content.subarray(1e6, 3e6))]);
    const head = await fetch(at, { method: "HEAD", headers: authorization() });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "3000001"]);
    await expect.poll(() => rig.mirrors.opened.every(({ closed }) => closed)).toBe(true);
  });

  test("who is refused before all of a file was sent is told why", async () => {
    const { url } = await start();
    rig.mirrors.refusal = Object.assign(new Error("the quota is used up"), { code: "ERR_QUOTA" });
    const request = http.request(`${url}/api/v1/folders/photos/files/a`, { method: "PUT", headers: authorization() });
    request.on("error", () => {});
    request.write(Buffer.alloc(100_000));
    const response = await new Promise<http.IncomingMessage>((resolve) => request.on("response", resolve));
    expect(response.statusCode).toBe(507);
    expect(JSON.parse(await text(response))).toMatchObject({ code: "ERR_QUOTA" });
    request.destroy();
  });

  test.each([
    ["no HTTP", "\u0016\u0003\u0001 hello\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["no Host", "GET / HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["an odd Host", "GET / HTTP/1.1\r\nHost: a b/c@d\r\nConnection: close\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["too large a header", `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(40_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    [
      "two lengths",
      "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
      /^HTTP\/1\.1 400 /,
    ],
    [
      "a length and chunks",
      "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    [
      "an address that leaves",
      "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
      /^HTTP\/1\.1 (200|404) /,
    ],
    [
      "another scheme",
      "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    ["a tunnel", "CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", /^$/],
  ])("%s is refused, and others are served", async (_, request, answer) => {
    const { url, address } = await start();
    expect(await raw(address.port, request)).toMatch(answer);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  test.each([
    ["says nothing", ""],
    ["does not finish its headers", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    [
      "does not finish its body",
      "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{",
    ],
    [
      "sends a body to what takes none",
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
  ])("who %s, a byte at a time, is cut off", async (_, beginning) => {
    const { address } = await start({ headersMs: 200, bodyMs: 200 });
    const socket = net.connect(address.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(beginning);
    const drip = setInterval(
      () => beginning !== "" && socket.write(beginning.endsWith("\r\n\r\n") ? "1\r\nx\r\n" : "x"),
      20,
    );
    await new Promise((resolve) => socket.resume().on("close", resolve));
    clearInterval(drip);
  });

  test("what is cut off is counted by its limit", async () => {
    const limits = new LimitCounters();
    const { address } = await start({ limits, headersMs: 100, bodyMs: 100 });
    await raw(address.port, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(40_000)}\r\n\r\n`);
    expect(limits.of("headerBytes")).toBe(1);
    await raw(address.port, "GET / HTTP/1.1\r\nHost: ");
    expect(limits.of("headersMs")).toBe(1);
    const post = "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    await raw(address.port, `${post}Content-Length: 60\r\n\r\n{`);
    expect(limits.of("bodyMs")).toBe(1);
    const idle = await start({ limits, idleMs: 100 });
    await raw(idle.address.port, "");
    expect(limits.of("idleMs")).toBe(1);
  });

  test("a port that is taken is an error with its code", async () => {
    const { address } = await start();
    await expect(startHttp({ ...rig.options, port: address.port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  test("what is on its way when the server stops is finished, and idle connections do not hold it up", async () => {
    const { url, address, close } = await start();
    const idle = net.connect(address.port, "127.0.0.1");
    const kept = new http.Agent({ keepAlive: true });
    await new Promise((resolve) =>
      http.get(`${url}/healthz`, { agent: kept }, (answer) => answer.resume().on("end", resolve)),
    );
    const request = http.request(`${url}/api/v1/folders/photos/files/late`, {
      method: "PUT",
      headers: authorization(),
    });
    const answered = new Promise<http.IncomingMessage>((resolve) => request.on("response", resolve));
    request.write("first ");
    await expect.poll(() => request.socket?.bytesWritten ?? 0).toBeGreaterThan(0);
    const closed = close();
    request.end("last");
    expect((await answered).statusCode).toBe(201);
    await closed;
    expect(rig.mirrors.files.get("photos/late")?.toString()).toBe("first last");
    kept.destroy();
    idle.destroy();
  });

  test("elsewhere than on a loopback address it is HTTPS", async () => {
    const { key, cert } = selfSigned("mirror.example");
    const { url, address } = await start({ host: "0.0.0.0", tls: { key, cert } });
    expect(url).toMatch(/^https:/);
    const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const options = {
        port: address.port,
        host: "127.0.0.1",
        path: "/healthz",
        ca: cert,
        servername: "mirror.example",
      };
      https.get(options, resolve).on("error", reject);
    });
    expect([answer.statusCode, await text(answer)]).toEqual([200, `{"status":"ok"}`]);
    expect(answer.headers["strict-transport-security"]).toMatch(/max-age/);
  });
});

test("who sends a body too slowly is given up, and who waits for us is not", async () => {
  const never = async function* () {
    yield Buffer.alloc(10);
    await new Promise(() => {});
  };
  const read = async (source: AsyncIterable<Uint8Array>, pauseMs = 0) => {
    let bytes = 0;
    for await (const chunk of atPace(source, { windowMs: 30, leastBytes: 100 })) {
      bytes += chunk.length;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    return bytes;
  };
  await expect(read(never())).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
  const limits = new LimitCounters();
  const options = { windowMs: 30, onTooSlow: () => limits.add("fileWindowMs") };
  const all = atPace(never(), options);
  await all.next();
  await expect(all.next()).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
  expect(limits.of("fileWindowMs")).toBe(1);
  const ready = async function* () {
    for (let i = 0; i < 5; i++) yield Buffer.alloc(10);
  };
  expect(await read(ready(), 20)).toBe(50);
});

describe("the dashboard", () => {
  async function dashboard() {
    const folder = await temporaryFolder();
    mkdirSync(join(folder.path, "assets"));
    writeFileSync(join(folder.path, "index.html"), "<!doctype html><title>Confundo</title>".repeat(10));
    writeFileSync(join(folder.path, "assets", "index-Ab3dEf9_.js"), "let a = 1;\n".repeat(100));
    writeFileSync(join(folder.path, "favicon.svg"), "<svg/>");
    open.push({ close: async () => folder[Symbol.asyncDispose]() });
    return ApiRig.start({ dashboard: folder.path });
  }

  test("is one page at every address of its own, asked for anew, and its parts are kept for good", async () => {
    await using one = await dashboard();
    for (const path of ["/", "/folders/photos", "/audit"]) {
      const page = await one.ask("GET", path, { token: null });
      expect([page.status, page.headers.get("cache-control"), page.headers.get("content-type")]).toEqual([
        200,
        "no-cache",
        "text/html; charset=utf-8",
      ]);
      expect(await page.text()).toContain("<title>Confundo</title>");
    }
    const script = await one.ask("GET", "/assets/index-Ab3dEf9_.js", { token: null });
    expect(script.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect(script.headers.get("content-type")).toMatch(/javascript/);
    const headers = { "accept-encoding": "br, gzip" };
    const packed = await one.ask("GET", "/assets/index-Ab3dEf9_.js", { token: null, headers });
    expect(packed.headers.get("content-encoding")).toBe("gzip");
    expect(gunzipSync(Buffer.from(await packed.arrayBuffer())).toString()).toBe(await script.text());
    const etag = script.headers.get("etag") as string;
    const same = await one.ask("GET", "/assets/index-Ab3dEf9_.js", { token: null, headers: { "if-none-match": etag } });
    expect(same.status).toBe(304);
  });

  test("has no other files, and leaves the rest alone", async () => {
    await using one = await dashboard();
    for (const path of ["/assets/none.js", "/..%2f..%2fetc/passwd.txt", "/assets/..%2findex.html.bak", "/api/none"]) {
      expect((await one.ask("GET", path, { token: null })).status).toBe(404);
    }
    expect((await one.ask("GET", "/healthz", { token: null })).headers.get("content-type")).toMatch(/json/);
    expect((await one.ask("GET", "/api/v1/folders", { token: null })).status).toBe(401);
  });
});
