/**
 * Strangers at the port of a server, and devices that misbehave once they are in: each is refused as expected, and an honest
 * device beside it, which mirrors all the while, is unharmed. In one process, over real sockets.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import {
  askToPair,
  connectSecurely,
  createCode,
  createIdentity,
  DeviceState,
  MIRROR_PROTOCOL,
  PAIR_PROTOCOL,
  parsePairingCode,
  secureClient,
} from "../../src/secure/index.js";
import { openDatabase, type Serving, serve } from "../../src/server/index.js";
import { type ConfundoSocket, connect } from "../../src/stream/index.js";
import { encode } from "../../src/sync/index.js";
import { PROTOCOL_VERSION } from "../../src/sync/limits.js";
import { event, follow, tempFolder, until } from "../support/sync-rig.js";

const LOCAL = { kind: "local" } as const;

interface Siege extends Serving {
  readonly port: number;
  readonly dir: string;
  /** Codes of connections that came to nothing. */
  readonly refused: string[];
  readonly codes: (name: string) => Promise<string>;
  /** Whether a change of the honest device's folder still arrives, in the same session as ever. */
  readonly unharmed: () => Promise<void>;
}

/** A server with an honest device that mirrors to `honest`. */
async function siege(): Promise<Siege> {
  const dir = tempFolder();
  const refused: string[] = [];
  const serving = await serve({
    dir,
    port: 0,
    stateFolder: tempFolder(),
    onRefused: (_, { code }) => refused.push(code),
  });
  onTestFinished(() => serving.close());
  const { port } = serving.address;
  const state = new DeviceState(tempFolder());
  const codes = async (folder: string): Promise<string> => {
    const { code } = await serving.auth.invite(LOCAL, { folder, access: "write", expiresInMs: 60_000 });
    return new URL(serving.pairingAddress(folder, code)).hash.slice(1);
  };
  const code = await codes("honest");
  const folder = tempFolder();
  fs.writeFileSync(path.join(folder, "first"), "1");
  const honest = follow(folder, (signal) => connectSecurely({ host: "127.0.0.1", port, code, state, signal }), {
    name: "honest",
  });
  await event(honest.events, "synced");
  let changes = 0;
  const unharmed = async (): Promise<void> => {
    const [name, content] = [`change-${++changes}`, randomBytes(50_000)];
    fs.writeFileSync(path.join(folder, name), content);
    await until(() => fs.readFileSync(path.join(dir, "honest", name)).equals(content));
    expect(honest.seen.filter(({ type }) => type === "retrying")).toEqual([]);
  };
  return { ...serving, port, dir, refused, codes, unharmed };
}

const sockets: ConfundoSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function dial({ port }: Siege): Promise<ConfundoSocket> {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  sockets.push(socket);
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** A device's way in, up to the pairing or the greeting. */
async function enter(at: Siege, protocol: typeof MIRROR_PROTOCOL | typeof PAIR_PROTOCOL, identity = createIdentity()) {
  const { stream } = await secureClient(await dial(at), { identity, protocol, check: () => {} });
  stream.on("error", () => {});
  return stream;
}

/** What a peer says until it gives a reason, ends or breaks off. */
function heard(stream: Duplex): Promise<string> {
  let text = "";
  return new Promise((resolve) => {
    stream.on("data", (chunk) => {
      text += chunk;
      if (/ERR_.*[a-z]/.test(text)) resolve(text);
    });
    stream.once("end", () => resolve(text)).once("close", () => resolve(text));
  });
}

const HELLO = hello("stolen");

describe("before anybody has shown who they are", () => {
  test.each<[string, (socket: ConfundoSocket) => void]>([
    ["noise", (socket) => socket.write(randomBytes(5000))],
    ["the mirror protocol in the clear", (socket) => socket.write(HELLO)],
    [
      "a TLS record that is longer than any may be",
      (socket) => socket.write(Buffer.from([22, 3, 1, 255, 255, 1, 2, 3])),
    ],
    ["a greeting that never ends", endless],
    ["a greeting that breaks off", (socket) => socket.end(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]))],
  ])("%s: refused, nothing is written", async (_, attack) => {
    const at = await siege();
    const socket = await dial(at);
    attack(socket);
    await until(() => at.refused.length > 0);
    expect(at.refused).toEqual(["ERR_TLS"]);
    await at.unharmed();
    expect(fs.readdirSync(at.dir).sort()).toEqual([".confundo", "honest"]);
  });

  test("forty silent connections, and forty that dribble", async () => {
    const at = await siege();
    const silent = await Promise.all(Array.from({ length: 40 }, () => dial(at)));
    const dribbling = await Promise.all(Array.from({ length: 40 }, () => dial(at)));
    for (const socket of dribbling) socket.write(Buffer.from([22]));
    await at.unharmed();
    for (const socket of dribbling) socket.write(Buffer.from([3]));
    await at.unharmed();
    expect(silent.every(({ destroyed }) => !destroyed)).toBe(true);
  });
});

describe("with a key that the server does not know", () => {
  test("the mirror protocol: told so, and no folder is made", async () => {
    const at = await siege();
    const stream = await enter(at, MIRROR_PROTOCOL);
    stream.write(HELLO);
    expect(await heard(stream)).toMatch(/ERR_UNAUTHENTICATED/);
    expect(fs.existsSync(path.join(at.dir, "stolen"))).toBe(false);
    await at.unharmed();
  });

  test("a used code is refused to others; guesses at codes are, and soon are not even looked at", async () => {
    // The budget refills with time, which 25 guesses take much of on a slow machine.
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const at = await siege();
    const code = await at.codes("shared");
    const first = await enter(at, PAIR_PROTOCOL);
    await askToPair(first, { code: parsePairingCode(code).code, name: "first" });
    const answers: string[] = [];
    for (let i = 0; i < 25; i++) {
      const guess = i === 0 ? parsePairingCode(code).code : createCode();
      const asking = askToPair(await enter(at, PAIR_PROTOCOL), { code: guess, name: "guess" });
      answers.push(await asking.catch(({ code }) => code));
    }
    expect(answers).toEqual([...Array(20).fill("ERR_CODE"), ...Array(5).fill("ERR_RATE_LIMITED")]);
    const log = await at.database.audit.list({ limit: 1000 });
    expect(log.filter(({ outcome }) => outcome === "refused")).toHaveLength(21);
    expect(await at.auth.devices(LOCAL)).toHaveLength(2);
    // A device that is known is never limited, from the same address either.
    await at.unharmed();
    const more = await enter(at, PAIR_PROTOCOL);
    const oneMore = askToPair(more, { code: createCode(), name: "" });
    await expect(oneMore).rejects.toMatchObject({ code: "ERR_RATE_LIMITED" });
    // Who shows an unknown key only has a budget of its own.
    const again = await enter(at, PAIR_PROTOCOL);
    await expect(askToPair(again, { code: null, name: "" })).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
  });

  test.each([
    ["longer than it may be", Buffer.from([0xff, 0xff, 0x7b])],
    ["that breaks off", Buffer.from([0, 100, 0x7b])],
    ["nested deeply", Buffer.concat([Buffer.from([1, 0]), Buffer.alloc(256, "[")])],
  ])("a pairing request %s", async (_, bytes) => {
    const at = await siege();
    const stream = await enter(at, PAIR_PROTOCOL);
    stream.end(bytes);
    await until(() => at.refused.length > 0);
    expect(at.refused).toEqual(["ERR_TLS"]);
    await at.unharmed();
  });
});

describe("a device that was let in", () => {
  async function paired(at: Siege): Promise<Duplex> {
    const stream = await enter(at, PAIR_PROTOCOL);
    await askToPair(stream, { code: parsePairingCode(await at.codes("mine")).code, name: "mine" });
    return stream;
  }

  test.each<[string, (stream: Duplex) => void, RegExp]>([
    ["asks for another's folder", (stream) => stream.write(hello("honest")), /ERR_FORBIDDEN/],
    ["asks for a folder above", (stream) => stream.write(hello("../x")), /ERR_MIRROR_NAME/],
    [
      "announces four gigabytes",
      (stream) => stream.write(Buffer.from([1, 255, 255, 255, 255])),
      /ERR_PROTOCOL.*4294967295 bytes/,
    ],
    ["says what there is no word for", (stream) => stream.write(Buffer.from([200, 0, 0, 0, 1, 0])), /ERR_PROTOCOL/],
    ["writes outside of its folder", outside, /ERR_UNSAFE_PATH/],
  ])("and %s is refused", async (_, attack, answer) => {
    const at = await siege();
    const stream = await paired(at);
    const answers = heard(stream);
    attack(stream);
    expect(await answers).toMatch(answer);
    await at.unharmed();
    expect(fs.existsSync(path.join(at.dir, "x"))).toBe(false);
    stream.destroy();
  });

  test("and is revoked by another process while it is connected: its session ends, the others go on", async () => {
    const at = await siege();
    const state = new DeviceState(tempFolder());
    const code = await at.codes("mine");
    const folder = tempFolder();
    const { port } = at;
    const mine = follow(folder, (signal) => connectSecurely({ host: "127.0.0.1", port, code, state, signal }), {
      name: "mine",
    });
    await event(mine.events, "synced");
    // As `confundo revoke` does it.
    const beside = await openDatabase({ path: at.state.database });
    onTestFinished(() => beside.close());
    const device = await beside.devices.byPin(state.identity.pin);
    await beside.devices.revoke(device?.id ?? "", Date.now());
    await beside.events.append([{ type: "device.revoked", folder: null, data: { id: device?.id } }]);
    const ended = new Promise((_, reject) => mine.events.subscribe({ error: reject }));
    await expect(ended).rejects.toMatchObject({ code: "ERR_FORBIDDEN" });
    await expect(connectSecurely({ host: "127.0.0.1", port, code, state })).rejects.toMatchObject({
      code: "ERR_FORBIDDEN",
    });
    await at.unharmed();
  });
});

function hello(name: string): Buffer {
  return encode({ type: "hello", version: PROTOCOL_VERSION, name, clientId: "c", instanceId: "i", label: "" });
}

function outside(stream: Duplex): void {
  stream.write(hello("mine"));
  stream.write(encode({ type: "mkdir", id: 1, path: "../x" } as Parameters<typeof encode>[0]));
}

/** Handshake records that announce a message of 16 MiB, and as many as are taken. */
function endless(socket: ConfundoSocket): void {
  const record = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(0x4000)]);
  record.set([1, 0xff, 0xff, 0xff], 5);
  const more = (): void => {
    while (!socket.destroyed && socket.write(record));
  };
  socket.on("drain", more);
  more();
}
