/** What a home keeps of itself under `DIR/.confundo/`, for its owner only: its key, its certificate, its settings. */
import { randomBytes, X509Certificate } from "node:crypto";
import fs from "node:fs";
import { dirname, join } from "node:path";
import {
  createIdentity,
  createSecret,
  type Identity,
  identityFromKey,
  ownFolder,
  pinOf,
  readSecret,
  SecureError,
  writeSecret,
} from "../secure/index.js";

/** In the mode of a folder in which anybody may make files. */
const STICKY = 0o1000;

/** What the commands beside the data have to know, and what `serve` was told last. */
export interface HomeSettings {
  /** `postgres://…`; without one, the database is `DIR/.confundo/database.sqlite`. */
  readonly database?: string;
  /** Where devices reach the server, for pairing addresses. */
  readonly host?: string;
  readonly port?: number;
}

const RESET_KEY_BYTES = 32;

/** The files of one home. Paths are absolute. */
export class HomeState {
  readonly dir: string;
  readonly folder: string;

  /** `dir` is the home's, and exists. Nothing is read or made before it is needed. */
  constructor(dir: string) {
    this.dir = dir;
    this.folder = join(dir, ".confundo");
  }

  get database(): string {
    return join(this.folder, "database.sqlite");
  }

  /** Where the code for programs of the same user is. */
  get localCode(): string {
    return join(this.folder, "local.code");
  }

  /** Whether a home has been here. */
  get exists(): boolean {
    return fs.existsSync(join(this.folder, "config.json")) || fs.existsSync(this.database);
  }

  /**
   * Makes the folder, and closes it and the home to others. A home that is somebody else's, or a shared place such as /tmp, stays
   * as it is.
   * @throws SecureError ERR_STATE
   */
  prepare(): void {
    ownFolder(this.folder);
    const { mode, uid } = fs.statSync(this.dir);
    const shared = (mode & STICKY) !== 0 || uid !== process.getuid?.() || dirname(this.dir) === this.dir;
    if (!shared && (mode & 0o077) !== 0) fs.chmodSync(this.dir, 0o700);
  }

  /**
   * The server's key and certificate, made at the first call.
   * @throws SecureError ERR_STATE when they are damaged, do not belong together, or the key is missing
   */
  identity(): Identity {
    const [keyFile, certificateFile] = [join(this.folder, "identity.key"), join(this.folder, "identity.crt")];
    const cert = readSecret(certificateFile);
    let key = readSecret(keyFile);
    if (key === undefined && cert !== undefined) {
      throw new SecureError(
        "ERR_STATE",
        `${keyFile} is missing, which is how devices know this server. Restore it from a backup. Or delete ${certificateFile}, ` +
          "too, for a new key: then every device has to be paired again.",
      );
    }
    key ??= createSecret(keyFile, createIdentity({ commonName: "confundo server" }).key);
    const identity = this.#read(keyFile, key);
    if (cert === undefined) return { ...identity, cert: createSecret(certificateFile, identity.cert) };
    if (pinIn(cert) !== identity.pin) {
      throw new SecureError(
        "ERR_STATE",
        `${certificateFile} is damaged, or of another key than ${keyFile}. Restore both from a backup. If the key is the right one, ` +
          "delete the certificate: it is made anew.",
      );
    }
    return { ...identity, cert };
  }

  /**
   * The key of the server's stateless resets, made at the first call: clients of a server that was killed and started again are
   * told at once. Servers behind one address can share it.
   * @throws SecureError ERR_STATE
   */
  statelessResetKey(): string {
    const file = join(this.folder, "stateless-reset.key");
    const key = readSecret(file) ?? createSecret(file, `${randomBytes(RESET_KEY_BYTES).toString("hex")}\n`);
    if (/^[0-9a-f]{64,}\n?$/.test(key)) return key.trim();
    throw new SecureError(
      "ERR_STATE",
      `${file} is damaged. Delete it: the server makes another, and clients of the old one find out by its silence.`,
    );
  }

  /** @throws SecureError ERR_STATE */
  settings(): HomeSettings {
    const file = join(this.folder, "config.json");
    const text = readSecret(file);
    if (text === undefined) return {};
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it is no object");
      const { database, host, port } = value as Record<string, unknown>;
      if (![database, host].every((one) => one === undefined || typeof one === "string"))
        throw new Error("its database or host is no text");
      const sound = port === undefined || (Number.isInteger(port) && Number(port) >= 0 && Number(port) <= 65_535);
      if (!sound) throw new Error("its port is none");
      return value;
    } catch (error) {
      throw new SecureError(
        "ERR_STATE",
        `${file} is damaged: ${(error as Error).message}. Delete it, and start the server again with its options.`,
      );
    }
  }

  saveSettings(settings: HomeSettings): void {
    writeSecret(join(this.folder, "config.json"), `${JSON.stringify(settings, null, 2)}\n`);
  }

  #read(file: string, key: string): Identity {
    try {
      return identityFromKey(key, { commonName: "confundo server" });
    } catch (error) {
      throw new SecureError("ERR_STATE", `${file} is damaged: ${(error as Error).message}. Restore it from a backup.`);
    }
  }
}

function pinIn(certificate: string): string | undefined {
  try {
    return pinOf(new X509Certificate(certificate).publicKey);
  } catch {
    return undefined;
  }
}
