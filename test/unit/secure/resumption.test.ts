import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Duplex } from "node:stream";
import { connect as connectTls, createSecureContext } from "node:tls";
import { describe, expect, test } from "vitest";
import { DeviceState } from "../../../src/secure/device.js";
import {
  createIdentity,
  type KnownAgain,
  MIRROR_PROTOCOL,
  Resumptions,
  resumeClient,
  resumptionOf,
  type Secured,
  secureClient,
  secureServer,
} from "../../../src/secure/index.js";
import { RESUMED_MOST_MS } from "../../../src/secure/resumption.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { tempFolder } from "../../support/sync-rig.js";

const server = createIdentity({ commonName: "server" });
const device = createIdentity({ commonName: "device" });

/** Both ends of a connection with keys, and what each can connect with the next time. */
async function shown(resumptions: Resumptions): Promise<KnownAgain> {
  const pair = linkedPair();
  const [theirs, ours] = await Promise.all([
    secureServer(pair.server, { identity: server, resumptions }),
    secureClient(pair.client, { identity: device, protocol: MIRROR_PROTOCOL, check: () => {} }),
  ]);
  return remembered(resumptions, theirs, ours);
}

function remembered(resumptions: Resumptions, theirs: Secured, ours: Secured): KnownAgain {
  resumptions.remember(theirs.stream, theirs.pin, theirs.shownMs);
  return { ...resumptionOf(ours.stream), pin: ours.pin, shownMs: ours.shownMs ?? 0 };
}

function resumed(resumptions: Resumptions, resumption: KnownAgain, pair = linkedPair()) {
  return Promise.all([
    secureServer(pair.server, { identity: server, resumptions }),
    resumeClient(pair.client, { identity: device, protocol: MIRROR_PROTOCOL, resumption }),
  ]);
}

function counting({ client, server }: { client: Duplex; server: Duplex }): () => number {
  let bytes = 0;
  for (const end of [client, server]) end.on("data", (chunk: Buffer) => (bytes += chunk.length));
  return () => bytes;
}

describe("ends that have shown each other their keys", () => {
  test("know each other the next time, and the time after, in under a kilobyte", async () => {
    const resumptions = new Resumptions();
    let resumption = await shown(resumptions);
    const ids = new Set([resumption.id]);
    for (let i = 0; i < 3; i++) {
      const pair = linkedPair();
      const bytes = counting(pair);
      const [theirs, ours] = await resumed(resumptions, resumption, pair);
      expect([theirs.pin, ours.pin]).toEqual([device.pin, server.pin]);
      expect(theirs.stream.getPeerX509Certificate()).toBeUndefined();
      expect(ours.stream.getEphemeralKeyInfo()).toMatchObject({ name: "X25519" });
      ours.stream.write("hello");
      expect(await new Promise((resolve) => theirs.stream.once("data", (data) => resolve(String(data))))).toBe("hello");
      expect(bytes()).toBeLessThan(1000);
      resumption = remembered(resumptions, theirs, ours);
      ids.add(resumption.id);
    }
    expect(ids.size).toBe(4);
  });

  test("show them again to a server that has forgotten, or when it is too long ago", async () => {
    let now = 0;
    const resumptions = new Resumptions(() => now);
    const resumption = await shown(resumptions);
    for (const forgets of [new Resumptions(), resumptions]) {
      now = RESUMED_MOST_MS;
      await expect(resumed(forgets, resumption)).rejects.toMatchObject({ code: "ERR_TLS" });
    }
  });

  test("are not taken for others: a secret that is another one, a server that does not have it", async () => {
    const resumptions = new Resumptions();
    const resumption = await shown(resumptions);
    const wrong = { ...resumption, secret: randomBytes(32) };
    const pair = linkedPair();
    const answers = await Promise.allSettled([
      secureServer(pair.server, { identity: server, resumptions }),
      resumeClient(pair.client, { identity: device, protocol: MIRROR_PROTOCOL, resumption: wrong }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const other = linkedPair();
    const impostor = createIdentity();
    const serving = secureServer(other.server, { identity: impostor, resumptions: new Resumptions() }).catch(() => {});
    await expect(
      resumeClient(other.client, { identity: device, protocol: MIRROR_PROTOCOL, resumption }),
    ).rejects.toMatchObject({ code: "ERR_TLS" });
    await serving;
  });

  test("whoever has seen the name of a secret and has no key gets nowhere, whatever else is offered", async () => {
    const resumptions = new Resumptions();
    const { id } = await shown(resumptions);
    for (const ciphers of ["TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]) {
      const pair = linkedPair();
      const secureContext = createSecureContext({ ciphers, minVersion: "TLSv1.3" });
      const pskCallback = () => ({ identity: id, psk: randomBytes(32) });
      const thief = { socket: pair.client, secureContext, rejectUnauthorized: false, pskCallback };
      connectTls({ ...thief, ALPNProtocols: [MIRROR_PROTOCOL] }).on("error", () => {});
      const answer = secureServer(pair.server, { identity: server, resumptions });
      await expect(answer).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(TLS|UNAUTHENTICATED)$/) });
    }
  });

  test("a secret works once: its second use is told from others, and voids all secrets of that device", async () => {
    const resumptions = new Resumptions();
    const stolen = await shown(resumptions);
    const other = await shown(resumptions);
    const [first] = await resumed(resumptions, stolen);
    expect(first.reused).toBe(false);
    const next = { ...resumptionOf(first.stream), pin: server.pin, shownMs: 0 };
    resumptions.remember(first.stream, first.pin, first.shownMs);
    expect(resumptions.find(next.id)).toBeDefined();
    const [second] = await resumed(resumptions, stolen);
    expect(second).toMatchObject({ pin: device.pin, reused: true });
    expect(resumptions.find(next.id)).toBeUndefined();
    expect(resumptions.find(other.id)).toBeUndefined();
    await expect(resumed(resumptions, other)).rejects.toMatchObject({ code: "ERR_TLS" });
  });

  test("whoever knows only the name of a used secret cannot have it reported as stolen", async () => {
    const resumptions = new Resumptions();
    const used = await shown(resumptions);
    const [first] = await resumed(resumptions, used);
    resumptions.remember(first.stream, first.pin, first.shownMs);
    const next = resumptionOf(first.stream);
    const pair = linkedPair();
    const wrong = { ...used, secret: randomBytes(32) };
    const answers = await Promise.allSettled([
      secureServer(pair.server, { identity: server, resumptions }),
      resumeClient(pair.client, { identity: device, protocol: MIRROR_PROTOCOL, resumption: wrong }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(resumptions.find(next.id)).toBeDefined();
  });

  test("a server remembers so many, the newest", async () => {
    const resumptions = new Resumptions();
    const pair = linkedPair();
    const [{ stream }] = await Promise.all([
      secureServer(pair.server, { identity: server }),
      secureClient(pair.client, { identity: device, protocol: MIRROR_PROTOCOL, check: () => {} }),
    ]);
    const numbered = (number: number) =>
      ({
        exportKeyingMaterial: () => Buffer.alloc(40, Buffer.from([number >> 8, number & 255])),
      }) as unknown as typeof stream;
    for (let i = 1; i <= 5000; i++) resumptions.remember(numbered(i), "more");
    expect(resumptions.find(resumptionOf(numbered(5000 - 4096)).id)).toBeUndefined();
    expect(resumptions.find(resumptionOf(numbered(5001 - 4096)).id)?.pin).toBe("more");
    expect(resumptions.find(resumptionOf(numbered(5000)).id)?.pin).toBe("more");
    resumptions.clear();
    const last = { ...resumptionOf(numbered(5000)), pin: "more", shownMs: 0 };
    expect(resumptions.find(last.id)).toBeUndefined();
    expect(resumptions.use(last)).toBe("forgotten");
  });
});

describe("what a device keeps for the next time", () => {
  const setUp = () => {
    const state = new DeviceState(path.join(tempFolder(), "state"));
    const known = { pin: server.pin, device: state.identity.pin };
    state.remember("host", 5000, known);
    const resumption = { id: "aWQ", secret: randomBytes(32), pin: server.pin, shownMs: 7 };
    state.keepResumption("host", 5000, resumption);
    const [name = ""] = fs
      .readdirSync(path.join(state.folder, "servers"))
      .filter((file) => file.endsWith("resumption"));
    return { state, known, resumption, file: path.join(state.folder, "servers", name) };
  };

  test("only its owner may read, and it is for that server and that key only", () => {
    const { file } = setUp();
    expect(fs.statSync(file).mode & 0o777).toBe(process.platform === "win32" ? 0o666 : 0o600);
    for (const [port, server] of [
      [5001, {}],
      [5000, undefined],
      [5000, { pin: device.pin }],
      [5000, { device: device.pin }],
    ] as const) {
      const { state, known } = setUp();
      expect(state.takeResumption("host", port, server && { ...known, ...server })).toBeUndefined();
    }
    const { state, known, resumption } = setUp();
    expect(state.takeResumption("HOST", 5000, known)).toMatchObject(resumption);
    state.keepResumption("host", 5000, resumption);
    state.forget("host", 5000);
    expect(state.takeResumption("host", 5000, known)).toBeUndefined();
  });

  test("it is taken once, whoever takes it, and nothing is left of it", () => {
    const { state, known, resumption, file } = setUp();
    const other = new DeviceState(state.folder);
    expect(other.takeResumption("host", 5000, known)).toMatchObject(resumption);
    expect(state.takeResumption("host", 5000, known)).toBeUndefined();
    expect(fs.readdirSync(path.dirname(file)).filter((name) => name.includes("resumption"))).toEqual([]);
  });

  test.each([
    ["empty", () => ""],
    ["cut off", (text: string) => text.slice(0, -20)],
    ["of another form", () => '{"id":5}'],
    ["with a secret that is cut off", (text: string) => text.replace(/"secret":"..../, '"secret":"')],
    ["no JSON", () => "\0\0\0"],
  ])("%s, it is nothing", (_, damage) => {
    const { state, known, file } = setUp();
    fs.writeFileSync(file, damage(fs.readFileSync(file, "utf8")));
    expect(state.takeResumption("host", 5000, known)).toBeUndefined();
  });
});
