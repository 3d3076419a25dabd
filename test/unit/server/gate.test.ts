import fs from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  connectSecurely,
  createCode,
  createIdentity,
  DeviceState,
  MIRROR_PROTOCOL,
  secureClient,
} from "../../../src/secure/index.js";
import { Gate } from "../../../src/server/gate.js";
import type { Visitor } from "../../../src/server/home.js";
import { createAuth, LimitCounters, openDatabase, serve } from "../../../src/server/index.js";
import { MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS, SHARES } from "../../../src/server/limits.js";
import type { ConfundoSocket } from "../../../src/stream/index.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { tempFolder } from "../../support/sync-rig.js";

async function gateRig() {
  const database = await openDatabase({ path: ":memory:" });
  onTestFinished(() => database.close());
  const limits = new LimitCounters();
  const admitted: Visitor[] = [];
  const refused: string[] = [];
  const gate = new Gate({
    identity: createIdentity(),
    auth: createAuth({ database, limits }),
    localCode: createCode(),
    limits,
    admit: (_, visitor) => void admitted.push(visitor),
    onRefused: (_, { code }) => void refused.push(code),
  });
  onTestFinished(() => gate.close());
  /** A connection from an address, as the stream layer gives it. */
  const enter = (address: string) => {
    const { client, server } = linkedPair();
    client.on("error", () => {});
    gate.enter(
      Object.assign(server, {
        remoteAddress: address,
        remotePort: 1,
        stats: {},
        admit: () => {},
      }) as unknown as ConfundoSocket,
    );
    return { client, server };
  };
  return { database, limits, gate, admitted, refused, enter };
}

describe("connections that have not shown who they are", () => {
  test("have a share for each address, of which the oldest makes way", async () => {
    const { gate, limits, enter } = await gateRig();
    const first = enter("192.0.2.1");
    for (let i = 1; i < MAX_HANDSHAKES_PER_ADDRESS; i++) enter("192.0.2.1");
    expect(first.server.destroyed).toBe(false);
    enter("192.0.2.1");
    expect(first.server.destroyed).toBe(true);
    expect(gate.guests).toBe(MAX_HANDSHAKES_PER_ADDRESS);
    expect(limits.of("handshakesPerAddress")).toBe(1);
  });

  test("are bounded in all", async () => {
    const { gate, limits, enter } = await gateRig();
    const first = enter("192.0.2.1");
    for (let i = 1; i <= MAX_HANDSHAKES; i++) enter(`192.0.2.${i % 200}`);
    expect(first.server.destroyed).toBe(true);
    expect(gate.guests).toBe(MAX_HANDSHAKES);
    expect(limits.of("handshakes")).toBe(1);
  });
});

test("a device has so many sessions, and another one is let in when one has ended", async () => {
  const { database, limits, admitted, refused, enter } = await gateRig();
  const identity = createIdentity();
  await database.devices.create({ name: "reader", pin: identity.pin, role: "user" });
  const connect = async (who = identity) => {
    const { client } = enter("192.0.2.1");
    const { stream } = await secureClient(client, { identity: who, protocol: MIRROR_PROTOCOL, check: () => {} });
    stream.on("end", () => stream.end()).resume();
  };
  const { perDevice } = SHARES.sessions;
  for (let i = 0; i < perDevice; i++) await connect();
  await expect.poll(() => admitted.length).toBe(perDevice);
  await connect();
  await expect.poll(() => refused).toEqual(["ERR_TOO_MANY"]);
  expect(limits.of("sessionsPerDevice")).toBe(1);
  // Others are not in its way, nor it in theirs.
  const other = createIdentity();
  await database.devices.create({ name: "other", pin: other.pin, role: "user" });
  await connect(other);
  await expect.poll(() => admitted.length).toBe(perDevice + 1);
  admitted[0]?.leave?.();
  await connect();
  await expect.poll(() => admitted.length).toBe(perDevice + 2);
});

describe("a secret that resumes connections", () => {
  async function setUp() {
    const dir = tempFolder();
    const refused: string[] = [];
    const server = await serve({
      dir: path.join(dir, "home"),
      port: 0,
      stateFolder: path.join(dir, "owner"),
      onRefused: (_, { code }) => void refused.push(code),
    });
    let closing: Promise<void> | undefined;
    const close = () => (closing ??= server.close());
    onTestFinished(close);
    const { port } = server.address;
    const state = new DeviceState(path.join(dir, "device"));
    const [, code = ""] = (server.first?.pairingAddress ?? "").split("#");
    const connect = async (of = state, with_: string | undefined = undefined) => {
      const stream = await connectSecurely({
        host: "127.0.0.1",
        port,
        state: of,
        ...(with_ === undefined ? {} : { code: with_ }),
      });
      onTestFinished(() => void stream.on("error", () => {}).destroy());
      return stream;
    };
    const servers = path.join(state.folder, "servers");
    const secret = path.join(servers, `127.0.0.1_${port}.resumption`);
    return { dir, server, close, refused, state, code, connect, secret };
  }

  test("is used once; that it was stolen is found out, audited, and of no use to the thief", async () => {
    const { dir, server, refused, state, code, connect, secret } = await setUp();
    (await connect(state, code)).destroy();
    // The thief copies the secret and what goes with it, but not the key.
    const loot = new DeviceState(path.join(dir, "thief"));
    fs.cpSync(path.join(state.folder, "servers"), path.join(loot.folder, "servers"), { recursive: true });
    const kept = JSON.parse(fs.readFileSync(path.join(loot.folder, "servers", path.basename(secret)), "utf8"));
    const rewrite = (file: string, value: object) =>
      fs.writeFileSync(file, `${JSON.stringify(value)}\n`, { mode: 0o600 });
    // Its programs look whether the secret is of their own key: that is easily helped.
    const asOwn = path.join(loot.folder, "servers", path.basename(secret));
    rewrite(asOwn, { ...kept, device: loot.identity.pin });
    const known = asOwn.replace(".resumption", ".json");
    rewrite(known, { ...JSON.parse(fs.readFileSync(known, "utf8")), device: loot.identity.pin });

    const thief = await connect(loot);
    expect(thief.getPeerX509Certificate()).toBeUndefined();
    // As with node:net, a socket that nobody reads does not close.
    const thiefClosed = new Promise((resolve) => thief.resume().once("close", resolve));
    // The device comes back with the same secret: it is refused, and so is all that the thief got by it.
    const again = await connect(state);
    expect(again.getPeerX509Certificate()).toBeUndefined();
    await expect.poll(() => refused).toContain("ERR_RESUMPTION_REUSED");
    await thiefClosed;
    const [entry] = (await server.database.audit.list({ limit: 5 })).filter(({ action }) => action === "device.resume");
    expect(entry).toMatchObject({
      outcome: "refused",
      actor: `device:${state.name}`,
      address: "127.0.0.1",
      detail: expect.stringMatching(/^ERR_RESUMPTION_REUSED/),
    });
    // The device shows its key and goes on; the thief has none that the server knows.
    const shown = await connect(state);
    expect(shown.getPeerX509Certificate()).toBeDefined();
    await expect(connect(loot)).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
  });

  test("is in one hand only, however many programs of the device connect at once", async () => {
    const { server, refused, state, code, connect } = await setUp();
    (await connect(state, code)).destroy();
    for (let i = 0; i < 3; i++) await Promise.all(Array.from({ length: 5 }, () => connect(state)));
    expect(refused).not.toContain("ERR_RESUMPTION_REUSED");
    const audited = await server.database.audit.list({ limit: 100 });
    expect(audited.filter(({ action }) => action === "device.resume")).toEqual([]);
  });

  test("that was not shown to anybody is kept for the next time", async () => {
    const { close, state, code, connect, secret } = await setUp();
    (await connect(state, code)).destroy();
    await close();
    await expect(connect(state)).rejects.toThrow();
    expect(fs.existsSync(secret)).toBe(true);
  });
});

test("a device is called what it says, or what an administrator says", async () => {
  const dir = tempFolder();
  const server = await serve({ dir: path.join(dir, "home"), port: 0, stateFolder: path.join(dir, "owner") });
  onTestFinished(() => server.close());
  const { port } = server.address;
  const state = new DeviceState(path.join(dir, "device"));
  const [, code = ""] = (server.first?.pairingAddress ?? "").split("#");
  const connect = async (more: { code?: string; deviceName?: string }) => {
    const stream = await connectSecurely({ host: "127.0.0.1", port, state, ...more });
    stream.on("error", () => {}).destroy();
  };
  const nameNow = async () => (await server.auth.devices({ kind: "local" })).map(({ name }) => name);
  await connect({ code, deviceName: "laptop" });
  expect(await nameNow()).toEqual(["laptop"]);
  await server.auth.renameDevice({ kind: "local" }, "laptop", "of Ann");
  // It has said so before: the administrator's name stays.
  await connect({ deviceName: "laptop" });
  await connect({});
  expect(await nameNow()).toEqual(["of Ann"]);
  await connect({ deviceName: "tablet" });
  expect(await nameNow()).toEqual(["tablet"]);
  await connect({ deviceName: "evil\u202e" });
  expect(await nameNow()).toEqual(["tablet"]);
  const renames = (await server.database.audit.list({ limit: 50 })).filter(({ action }) => action === "device.rename");
  expect(renames.map(({ actor, detail }) => [actor, detail])).toEqual([
    ["device:of Ann", "of Ann: tablet"],
    ["local", "laptop: of Ann"],
  ]);
});
