import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { NEVER } from "rxjs";
import { describe, expect, onTestFinished, test } from "vitest";
import { mirrorNameProblem, serve } from "../../../src/server/index.js";
import { connect as connectConfundo } from "../../../src/stream/index.js";
import { openRemote, type RemoteOptions } from "../../../src/sync/index.js";
import {
  contents,
  event,
  follow,
  make,
  mirrorOnce,
  ofType,
  tempFolder,
  testHome,
  until,
} from "../../support/sync-rig.js";

const quiet = { watch: () => NEVER };

function client(more: Partial<RemoteOptions> = {}): RemoteOptions {
  return { name: "m", clientId: "client", instanceId: "run", ...more };
}

describe("one mirror, one client", () => {
  test("a second client is told who is there, and does not try again", async () => {
    const { connect } = testHome();
    const { events } = follow(tempFolder(), () => connect(), { ...quiet, label: "anna's laptop" });
    await event(events, "synced");
    await expect(mirrorOnce(tempFolder(), () => connect())).rejects.toMatchObject({
      code: "ERR_MIRROR_BUSY",
      message: expect.stringContaining("anna's laptop"),
      retryable: false,
    });
    await expect(mirrorOnce(tempFolder(), () => connect(), { name: "another" })).resolves.toBeDefined();
  });

  test("the same folder twice at once: the second finds the first alive", async () => {
    const { connect } = testHome();
    const folder = tempFolder();
    const { events, seen } = follow(folder, () => connect(), quiet);
    await event(events, "synced");
    await expect(mirrorOnce(folder, () => connect())).rejects.toMatchObject({ code: "ERR_MIRROR_BUSY" });
    expect(ofType(seen, "retrying")).toEqual([]);
  });

  test("a client that comes back replaces its older session at once, though that one is alive", async () => {
    const rig = testHome({ probeMs: 60_000 });
    const old = await openRemote(rig.connect(), client());
    const fresh = await openRemote(rig.connect(), client());
    await expect(old.closed).resolves.toMatchObject({ code: "ERR_REPLACED", retryable: false });
    expect(rig.home.sessions).toBe(1);
    await fresh.close();
  });

  test("another run of the same client takes over when the older one does not answer", async () => {
    const rig = testHome({ probeMs: 30 });
    await openRemote(rig.connect(), client());
    rig.pairs[0]?.client.removeAllListeners("data");
    rig.pairs[0]?.client.pause();
    const fresh = await openRemote(rig.connect(), client({ instanceId: "after kill -9" }));
    await until(() => rig.home.sessions === 1);
    await fresh.close();
  });

  test("the mirror is free again when its client has left, or was lost", async () => {
    const rig = testHome();
    const first = await openRemote(rig.connect(), client());
    await first.close();
    await openRemote(rig.connect(), client({ clientId: "second" }));
    rig.pairs[1]?.cut();
    await until(() => rig.home.sessions === 0);
    const third = await openRemote(rig.connect(), client({ clientId: "third" }));
    await third.close();
  });

  test("many at once on one free name: one gets in, the others hear that it is busy", async () => {
    const rig = testHome();
    const all = Array.from({ length: 8 }, (_, i) => openRemote(rig.connect(), client({ clientId: `client ${i}` })));
    const results = await Promise.allSettled(all);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results) if (result.status === "rejected") expect(result.reason.code).toBe("ERR_MIRROR_BUSY");
  });
});

describe("a home", () => {
  test("that closes tells its clients to come back later, and takes no more", async () => {
    const rig = testHome();
    const remote = await openRemote(rig.connect(), client());
    await rig.home.close();
    await expect(remote.closed).resolves.toMatchObject({ code: "ERR_SERVER_CLOSING", retryable: true });
    await expect(openRemote(rig.connect(), client())).rejects.toMatchObject({ code: "ERR_SERVER_CLOSING" });
  });

  test("does not write where the mirror's place is taken by a link or a file", async () => {
    const rig = testHome();
    const outside = tempFolder();
    make(rig.dir, { m: { link: outside }, n: "a file" });
    const folder = tempFolder();
    make(folder, { f: "x" });
    for (const name of ["m", "n"]) {
      await expect(mirrorOnce(folder, () => rig.connect(), { name })).rejects.toMatchObject({
        code: "ERR_MIRROR_ROOT",
      });
    }
    expect(contents(outside)).toEqual({});
  });

  test("reports what its sessions do", async () => {
    const rig = testHome();
    const folder = tempFolder();
    make(folder, { f: "12345" });
    await mirrorOnce(folder, () => rig.connect(), { label: "me" });
    await until(() => rig.events.some(({ type }) => type === "closed"));
    expect(rig.events).toEqual([
      { type: "opened", name: "m", label: "me", peer: "test", device: null },
      {
        type: "stored",
        name: "m",
        path: "f",
        bytes: 5,
        entry: {
          kind: "file",
          path: "f",
          size: 5,
          mtimeNs: fs.statSync(path.join(folder, "f"), { bigint: true }).mtimeNs,
          executable: false,
          mode: fs.statSync(path.join(folder, "f")).mode & 0o7777,
          sha256: createHash("sha256").update("12345").digest("hex"),
        },
        peer: "test",
        device: null,
      },
      { type: "settled", name: "m", entries: 1, peer: "test", device: null },
      { type: "closed", name: "m", peer: "test", device: null },
    ]);
  });

  test.each([
    ["photos", true],
    ["My Documents (2)", true],
    ["日本語", true],
    ["", false],
    [".confundo", false],
    ["..", false],
    ["a/b", false],
    ["a\\b", false],
    ["C:", false],
    ["nul", false],
    ["x ", false],
    ["tab\t", false],
  ])("a mirror called %j: %s", (name, fine) => {
    expect(mirrorNameProblem(name) === undefined).toBe(fine);
  });
});

describe("serve", () => {
  test("keeps mirrors on a Confundo port", async () => {
    const dir = tempFolder();
    const serving = await serve({ dir, port: 0, insecure: true });
    onTestFinished(() => serving.close());
    expect(serving.address.address).toBe("127.0.0.1");
    const { port } = serving.address;
    const folder = tempFolder();
    make(folder, { "a/f": "1", "an empty folder": null, large: Buffer.alloc(600_000, "abc") });
    const dial = () => connectConfundo({ host: "127.0.0.1", port, noDelay: true });
    const events = await mirrorOnce(folder, dial);
    expect(contents(path.join(dir, "m"))).toEqual(contents(folder));
    expect(ofType(events, "synced").at(-1)).toMatchObject({ files: 2, failed: 0 });
    const following = follow(folder, dial);
    await event(following.events, "watching");
    fs.writeFileSync(path.join(folder, "a/f"), "edited");
    await event(following.events, "pushed", (pushed) => pushed.path === "a/f");
    following.subscription.unsubscribe();
    await until(() => serving.home.sessions === 0);
  });

  test("says when the port is taken", async () => {
    const serving = await serve({ dir: tempFolder(), port: 0, insecure: true });
    onTestFinished(() => serving.close());
    const again = serve({ dir: tempFolder(), port: serving.address.port, insecure: true });
    await expect(again).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});
