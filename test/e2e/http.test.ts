import fs from "node:fs";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect } from "vitest";
import { selfSigned } from "../support/certificate.js";
import { serveHttp } from "../support/http-client.js";
import { PATIENCE_MS } from "../support/limits.js";
import { random, sha256, test, until } from "../support/program.js";

describe("a mirror over HTTP", () => {
  test("is seen as it happens, read, restored, and cut off when its device is revoked", async ({ rig }) => {
    const folder = rig.folder();
    fs.writeFileSync(path.join(folder, "a.bin"), random(3_000_000));
    const http = await serveHttp(rig, rig.folder());
    const events = await http.listen();
    const client = rig.start(["mirror", folder, `confundo://127.0.0.1:${http.port}/photos`]);
    await client.printed(/synced/);

    const stored = await events.hears(({ type }) => type === "file.stored");
    expect(stored).toMatchObject({ folder: "photos", data: { path: "a.bin", bytes: 3_000_000 } });
    await events.hears(({ type, data }) => {
      const [session] = (data.sessions ?? []) as {
        folder: string;
        state: string;
        connection: { bytesReceived: number };
      }[];
      return type === "sessions" && session?.state === "settled" && session.connection.bytesReceived > 3_000_000;
    });
    const got = await http.ask("/api/v1/folders/photos/files/a.bin");
    expect(got.headers.get("etag")).toBe(`"${sha256(path.join(folder, "a.bin"))}"`);
    expect(Buffer.from(await got.arrayBuffer()).equals(fs.readFileSync(path.join(folder, "a.bin")))).toBe(true);
    // The client's own folder is what counts.
    const put = await http.ask("/api/v1/folders/photos/files/b", { method: "PUT", body: "x" });
    expect([put.status, ((await put.json()) as { code: string }).code]).toEqual([409, "ERR_MIRROR_BUSY"]);

    fs.writeFileSync(path.join(folder, "a.bin"), "spoilt");
    await events.hears(({ type, data }) => type === "file.stored" && data.bytes === 6);
    const body = JSON.stringify({ path: "a.bin", version: 1 });
    const restored = await http.ask("/api/v1/folders/photos/restore", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    expect(await restored.json()).toMatchObject({ changed: 1, bytes: 3_000_000 });
    expect(await (await http.ask("/api/v1/folders/photos")).json()).toMatchObject({ state: "held", bytes: 3_000_000 });
    await client.printed(/on hold/);

    const devices = (await (await http.ask("/api/v1/devices")).json()) as { items: { id: string }[] };
    const revoked = await http.ask(`/api/v1/devices/${devices.items[0]?.id}`, { method: "DELETE" });
    expect(revoked.status).toBe(204);
    expect((await client.exited).code).toBe(1);
    expect(client.stderr).toMatch(/revoked/);
  });

  test("deletes that its client holds back are approved, once, for what was shown", async ({ rig }) => {
    const [home, folder] = [rig.folder(), rig.folder()];
    for (let i = 0; i < 200; i++) fs.writeFileSync(path.join(folder, `f${i}`), `${i}`);
    const http = await serveHttp(rig, home);
    const client = rig.start(["mirror", folder, `confundo://127.0.0.1:${http.port}/photos`]);
    await client.printed(/following/);
    for (let i = 0; i < 150; i++) fs.rmSync(path.join(folder, `f${i}`));
    type Shown = { state: string; heldDeletes: { id: string; files: number; paths: string[] } | null };
    const shown = async (): Promise<Shown> => (await (await http.ask("/api/v1/folders/photos")).json()) as Shown;
    await expect.poll(async () => (await shown()).heldDeletes?.files, { timeout: PATIENCE_MS }).toBe(150);
    const { state, heldDeletes } = await shown();
    expect({ state, sample: heldDeletes?.paths[0] }).toEqual({ state: "awaiting-approval", sample: "f0" });
    expect(fs.readdirSync(path.join(home, "photos"))).toHaveLength(200);
    const approve = (id = "") =>
      http.ask("/api/v1/folders/photos/approve", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ id }),
      });
    expect((await approve("f00")).status).toBe(412);
    expect((await approve(heldDeletes?.id)).status).toBe(200);
    await client.printed(/the deletes were approved/);
    await until(() => fs.readdirSync(path.join(home, "photos")).length === 50);
    await expect.poll(async () => (await shown()).state, { timeout: PATIENCE_MS }).toBe("settled");
    expect((await approve(heldDeletes?.id)).status).toBe(404);
    expect(await client.interrupt()).toMatchObject({ code: 0 });
  });

  test("a single file goes in and out while nobody mirrors", async ({ rig }) => {
    const home = rig.folder();
    const http = await serveHttp(rig, home, "--quota", "1M");
    const headers = { "content-type": "application/json" };
    await http.ask("/api/v1/folders", { method: "POST", headers, body: JSON.stringify({ name: "docs" }) });
    const at = "/api/v1/folders/docs/files/sub/note.txt";
    const once = { method: "PUT", headers: { "if-none-match": "*" }, body: "first" };
    expect((await http.ask(at, once)).status).toBe(201);
    expect((await http.ask(at, once)).status).toBe(412);
    expect(fs.readFileSync(path.join(home, "docs/sub/note.txt"), "utf8")).toBe("first");
    expect((await http.ask(at, { method: "PUT", body: "second" })).status).toBe(200);
    expect(await (await http.ask(`${at}?version=1`)).text()).toBe("first");
    const large = await http.ask("/api/v1/folders/docs/files/large", { method: "PUT", body: random(1_100_000) });
    expect([large.status, ((await large.json()) as { code: string }).code]).toEqual([507, "ERR_QUOTA"]);
    expect(fs.readdirSync(path.join(home, "docs"))).toEqual(["sub"]);
    expect((await http.ask(at, { method: "DELETE" })).status).toBe(204);
    expect((await http.ask(at)).status).toBe(404);
    expect(await (await http.ask(`${at}?version=2`)).text()).toBe("second");
  });
});

describe("confundo serve --http", () => {
  test("a port that is taken: a warning where it was nobody's wish, an error where it was", async ({ rig }) => {
    const taken = net.createServer();
    // Where somebody else has it already, that is as good.
    await new Promise<void>((resolve) => taken.once("error", () => resolve()).listen(5080, "127.0.0.1", resolve));
    try {
      const server = rig.start(["serve", rig.folder(), "--port", "0"]);
      await server.printed(
        /WARNING: There is no dashboard\. HTTP cannot be served at 127\.0\.0\.1, port 5080: .*--no-http/,
      );
      await server.printed(/try: confundo mirror/);
      const { code, stderr } = await rig.run(["serve", rig.folder(), "--port", "0", "--http", "127.0.0.1:5080"]);
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/^ERROR: .*another program has that port.*--http.*\(EADDRINUSE\)\n$/),
      ]);
    } finally {
      taken.close();
    }
  });

  test("elsewhere than on loopback it is HTTPS, with the server's own certificate or one that is given", async ({
    rig,
  }) => {
    const get = (url: string, options: https.RequestOptions) =>
      new Promise<string>((resolve, reject) => {
        https.get(`${url}/healthz`, options, (answer) => resolve(text(answer))).on("error", reject);
      });
    const home = rig.folder();
    const { server } = await rig.serve(home, "0", "--http", "0.0.0.0:0");
    const [, port] = await server.printed(/dashboard: https:\/\/127\.0\.0\.1:(\d+)\/\n/);
    const ca = fs.readFileSync(path.join(home, ".confundo/http.crt"), "utf8");
    expect(await get(`https://localhost:${port}`, { ca })).toBe(`{"status":"ok"}`);
    expect(await get(`https://127.0.0.1:${port}`, { ca })).toBe(`{"status":"ok"}`);

    const { key, cert } = selfSigned("mirror.example");
    const [certFile, keyFile] = [path.join(home, "cert.pem"), path.join(home, "key.pem")];
    fs.writeFileSync(certFile, cert);
    fs.writeFileSync(keyFile, key);
    const given = ["--http", "127.0.0.1:0", "--http-cert", certFile];
    const second = await rig.serve(rig.folder(), "0", ...given, "--http-key", keyFile);
    const [, url = ""] = await second.server.printed(/dashboard: (https:\S+)\/\n/);
    expect(await get(url, { ca: cert, servername: "mirror.example" })).toBe(`{"status":"ok"}`);
    for (const wrong of [[], ["--http-key", certFile]]) {
      const { code, stderr } = await rig.run(["serve", rig.folder(), "--port", "0", ...given, ...wrong]);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^ERROR: .*(--http-key|no certificate).*\n$/)]);
    }
  });
});
