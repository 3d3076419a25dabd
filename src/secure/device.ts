/** What this user's programs keep for all of their connections: the device's own key, and the keys of known servers. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { isPin } from "./code.js";
import { SecureError } from "./errors.js";
import { createSecret, ownFolder, readSecret, replaceSecret, stateFolder, writeSecret } from "./files.js";
import { createIdentity, type Identity, identityFromKey } from "./identity.js";
import { type KnownAgain, SECRET_BYTES } from "./resumption.js";

/** What is remembered of a server. */
export interface KnownServer {
  readonly pin: string;
  /** The pin of the device that it was paired with. */
  readonly device: string;
  /** SHA-256 of the pairing code that was used last, hex: it need not be sent again. */
  readonly codeHash?: string;
  /** The name that the server was told, where one was chosen. */
  readonly name?: string;
}

/** The device's state in a folder. Several programs may use it at once. */
export class DeviceState {
  readonly folder: string;
  #identity: Identity | undefined;

  /** `folder`: by default `$XDG_STATE_HOME/confundo`. Nothing is read or made before it is needed. */
  constructor(folder: string = stateFolder()) {
    this.folder = folder;
  }

  /**
   * The device's own; made at the first call.
   * @throws SecureError ERR_STATE
   */
  get identity(): Identity {
    this.#identity ??= this.#readIdentity();
    return this.#identity;
  }

  /** The device's name when it pairs and no other was chosen: that of its host. */
  get name(): string {
    return hostname().slice(0, 64) || "device";
  }

  /** @throws SecureError ERR_STATE when what is kept cannot be read */
  known(host: string, port: number): KnownServer | undefined {
    const file = this.#serverFile(host, port);
    const text = readSecret(file);
    if (text === undefined) return undefined;
    const server = parseKnown(text);
    if (server !== undefined) return server;
    throw new SecureError(
      "ERR_STATE",
      `${file} is damaged: it should hold the key of ${host}:${port}. Delete it and pair again.`,
    );
  }

  remember(host: string, port: number, server: KnownServer): void {
    ownFolder(this.folder);
    ownFolder(join(this.folder, "servers"));
    writeSecret(this.#serverFile(host, port), `${JSON.stringify(server)}\n`);
  }

  forget(host: string, port: number): void {
    fs.rmSync(this.#serverFile(host, port), { force: true });
    this.forgetResumption(host, port);
  }

  /**
   * Takes what was agreed on with a server to connect without certificates the next time: it is good once, so it is
   * forgotten before it is used, and of several programs one gets it. `undefined` where there is nothing, or it was agreed
   * on with another key of the device, or of the server than the one that is known. It only saves bytes: damaged, it is none.
   */
  takeResumption(host: string, port: number, server: KnownServer | undefined): KnownAgain | undefined {
    if (server === undefined || server.device !== this.identity.pin) return undefined;
    const file = this.#resumptionFile(host, port);
    const taken = `${file}.${randomBytes(6).toString("hex")}`;
    try {
      fs.renameSync(file, taken);
    } catch {
      return undefined;
    }
    try {
      const kept = parseResumption(readSecret(taken) ?? "");
      return kept?.pin === server.pin && kept.device === server.device ? kept : undefined;
    } catch {
      return undefined;
    } finally {
      fs.rmSync(taken, { force: true });
    }
  }

  keepResumption(host: string, port: number, { id, secret, pin, shownMs }: KnownAgain): void {
    const kept = { id, secret: secret.toString("base64url"), pin, shownMs, device: this.identity.pin };
    try {
      replaceSecret(this.#resumptionFile(host, port), `${JSON.stringify(kept)}\n`);
    } catch {
      // Then keys are shown again.
    }
  }

  forgetResumption(host: string, port: number): void {
    fs.rmSync(this.#resumptionFile(host, port), { force: true });
  }

  #readIdentity(): Identity {
    ownFolder(this.folder);
    const file = join(this.folder, "device.key");
    const options = { commonName: this.name };
    const kept = readSecret(file) ?? createSecret(file, createIdentity(options).key);
    try {
      return identityFromKey(kept, options);
    } catch (error) {
      throw new SecureError(
        "ERR_STATE",
        `${file} is damaged: ${(error as Error).message}. Restore it, or delete it and pair again.`,
      );
    }
  }

  #serverFile(host: string, port: number): string {
    return join(this.folder, "servers", `${encodeURIComponent(host.toLowerCase())}_${port}.json`);
  }

  #resumptionFile(host: string, port: number): string {
    return join(this.folder, "servers", `${encodeURIComponent(host.toLowerCase())}_${port}.resumption`);
  }
}

function parseResumption(text: string): (KnownAgain & { readonly device: string }) | undefined {
  const { id, secret, pin, shownMs, device } = JSON.parse(text) as Record<string, unknown>;
  const texts = typeof id === "string" && typeof secret === "string" && typeof pin === "string";
  if (!texts || typeof device !== "string" || typeof shownMs !== "number") return undefined;
  const bytes = Buffer.from(secret, "base64url");
  return bytes.length === SECRET_BYTES ? { id, secret: bytes, pin, shownMs, device } : undefined;
}

function parseKnown(text: string): KnownServer | undefined {
  try {
    const { pin, device, codeHash, name } = JSON.parse(text) as Record<string, unknown>;
    if (typeof pin !== "string" || !isPin(pin) || typeof device !== "string") return undefined;
    const code = typeof codeHash === "string" ? { codeHash } : {};
    return { pin, device, ...code, ...(typeof name === "string" ? { name } : {}) };
  } catch {
    return undefined;
  }
}
