import { X509Certificate } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  announceLocally,
  createCode,
  createIdentity,
  createSecret,
  DeviceState,
  formatPairingCode,
  identityFromKey,
  isCode,
  localCode,
  ownFolder,
  parsePairingCode,
  pinOf,
  readSecret,
  writeSecret,
} from "../../../src/secure/index.js";
import { temporaryFolder } from "../../support/temp.js";

describe("an identity", () => {
  test.each(["ed25519", "p256"] as const)("of %s has a certificate signed by itself, and a pin of its key", (type) => {
    const hosts = ["localhost", "10.0.0.7", "2001:db8::5", "::ffff:10.0.0.8"];
    const { cert, key, pin } = createIdentity({ type, commonName: "Grüße", hosts });
    const certificate = new X509Certificate(cert);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.subject).toBe("CN=Grüße");
    expect(certificate.subjectAltName).toBe(
      "DNS:localhost, IP Address:10.0.0.7, IP Address:2001:DB8:0:0:0:0:0:5, IP Address:0:0:0:0:0:FFFF:A00:8",
    );
    expect(certificate.validToDate.getUTCFullYear()).toBe(9999);
    expect(pinOf(certificate.publicKey)).toBe(pin);
    expect(identityFromKey(key).pin).toBe(pin);
  });

  test("is not read from what is no key", () => {
    expect(() => identityFromKey("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")).toThrow(
      expect.objectContaining({ code: "ERR_STATE" }),
    );
  });
});

describe("a pairing code", () => {
  test("carries a one-time code and a pin, in letters that shells leave alone", () => {
    const pairing = { code: createCode(), pin: createIdentity().pin };
    const text = formatPairingCode(pairing);
    expect(text).toMatch(/^[\w-]{66}$/);
    expect(parsePairingCode(text)).toEqual(pairing);
    expect(isCode(pairing.code)).toBe(true);
  });

  test.each([
    ["empty", ""],
    ["short", "AQ"],
    ["not base64url", "!".repeat(66)],
    ["cut off", formatPairingCode({ code: createCode(), pin: createIdentity().pin }).slice(0, 65)],
    ["of another version", `A${"A".repeat(65)}`],
  ])("that is %s is refused", (_, text) => {
    expect(() => parsePairingCode(text)).toThrow(expect.objectContaining({ code: "ERR_CODE" }));
  });
});

describe("secrets", () => {
  test("are their owner's, and whoever is first decides", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a", "secret");
    ownFolder(join(folder.path, "a"));
    expect(readSecret(path)).toBeUndefined();
    expect(createSecret(path, "first")).toBe("first");
    expect(createSecret(path, "second")).toBe("first");
    writeSecret(path, "third");
    expect(readSecret(path)).toBe("third");
    expect(fs.statSync(path).mode & 0o777).toBe(0o600);
    expect(fs.statSync(join(folder.path, "a")).mode & 0o777).toBe(0o700);
    expect(fs.readdirSync(join(folder.path, "a"))).toEqual(["secret"]);
  });

  test("that others may read are refused, and so are links", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "secret");
    fs.writeFileSync(path, "x", { mode: 0o644 });
    expect(() => readSecret(path)).toThrow(/chmod 600/);
    fs.rmSync(path);
    fs.symlinkSync("/etc/hostname", path);
    expect(() => readSecret(path)).toThrow(expect.objectContaining({ code: "ERR_STATE" }));
  });

  test("a folder that was open is closed; a file in its place is refused", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "state");
    fs.mkdirSync(path, { mode: 0o755 });
    ownFolder(path);
    expect(fs.statSync(path).mode & 0o777).toBe(0o700);
    fs.writeFileSync(join(path, "f"), "");
    expect(() => ownFolder(join(path, "f"))).toThrow();
  });
});

describe("a device's state", () => {
  test("keeps one key, and what it knows of servers", async () => {
    await using folder = await temporaryFolder();
    const state = new DeviceState(join(folder.path, "state"));
    const { pin } = state.identity;
    expect(new DeviceState(state.folder).identity.pin).toBe(pin);
    expect(state.known("h", 5000)).toBeUndefined();
    const server = { pin: createIdentity().pin, device: pin };
    state.remember("h", 5000, server);
    expect(state.known("H", 5000)).toEqual(server);
    expect(state.known("h", 5001)).toBeUndefined();
    state.forget("h", 5000);
    expect(state.known("h", 5000)).toBeUndefined();
  });

  test("that is damaged says which file, and what to do", async () => {
    await using folder = await temporaryFolder();
    const state = new DeviceState(folder.path);
    writeSecret(join(folder.path, "device.key"), "no key");
    expect(() => state.identity).toThrow(/device\.key is damaged.*delete it and pair again/);
    state.remember("../h", 1, { pin: "no pin", device: "" });
    expect(() => state.known("../h", 1)).toThrow(/servers\/\.\.%2Fh_1\.json is damaged.*pair again/);
  });
});

describe("a server of the same user on the same machine", () => {
  test("is known by its pin, as long as it runs", async () => {
    await using folder = await temporaryFolder();
    const runtime = join(folder.path, "run");
    const codeFile = join(folder.path, "code");
    const [code, { pin }] = [createCode(), createIdentity()];
    writeSecret(codeFile, `${code}\n`);
    expect(localCode(pin, runtime)).toBeUndefined();
    const withdraw = announceLocally(pin, codeFile, runtime);
    expect(localCode(pin, runtime)).toBe(code);
    expect(localCode(createIdentity().pin, runtime)).toBeUndefined();
    expect(localCode("../../etc/passwd", runtime)).toBeUndefined();
    fs.chmodSync(codeFile, 0o644);
    expect(localCode(pin, runtime)).toBeUndefined();
    fs.chmodSync(codeFile, 0o600);
    fs.chmodSync(join(runtime, "running"), 0o755);
    expect(localCode(pin, runtime)).toBeUndefined();
    fs.chmodSync(join(runtime, "running"), 0o700);
    withdraw();
    expect(localCode(pin, runtime)).toBeUndefined();
  });

  test("notes of servers that were killed are swept away", async () => {
    await using folder = await temporaryFolder();
    const stale = join(folder.path, "running", `${createIdentity().pin}.json`);
    ownFolder(join(folder.path, "running"));
    writeSecret(stale, JSON.stringify({ codeFile: "x", pid: 2 ** 22 + 1 }));
    announceLocally(createIdentity().pin, "x", folder.path)();
    expect(fs.readdirSync(join(folder.path, "running"))).toEqual([]);
  });
});
