/** What this user's programs keep for all of their connections: the device's own key, and the keys of known servers. */
import fs from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { isPin } from "./code.js";
import { SecureError } from "./errors.js";
import { createSecret, ownFolder, readSecret, stateFolder, writeSecret } from "./files.js";
import { createIdentity, type Identity, identityFromKey } from "./identity.js";

/** What is remembered of a server. */
export interface KnownServer {
  readonly pin: string;
  /** The pin of the device that it was paired with. */
  readonly device: string;
  /** SHA-256 of the pairing code that was used last, hex: it need not be sent again. */
  readonly codeHash?: string;
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

  /** How the device calls itself when it pairs. */
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
}

function parseKnown(text: string): KnownServer | undefined {
  try {
    const { pin, device, codeHash } = JSON.parse(text) as Record<string, unknown>;
    if (typeof pin !== "string" || !isPin(pin) || typeof device !== "string") return undefined;
    return { pin, device, ...(typeof codeHash === "string" ? { codeHash } : {}) };
  } catch {
    return undefined;
  }
}
