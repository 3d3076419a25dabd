/** The HTTP interface of a home, as `serve` is told to open it. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import { isIP } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { dirname, join } from "node:path";
import { createSecureContext } from "node:tls";
import type { Logger } from "pino";
import {
  createIdentity,
  createSecret,
  isLoopback,
  readSecret,
  SecureError,
  selfSigned,
  writeSecret,
} from "../secure/index.js";
import { isWildcard } from "./addresses.js";
import type { HttpOptions, HttpServing } from "./http/index.js";

export interface WebOptions {
  /** Default 127.0.0.1: only programs on this machine. On an address that others reach it is HTTPS. */
  readonly host?: string;
  /** Default 5080; 0 takes a free one. */
  readonly port?: number;
  /** Files in PEM, for HTTPS. Default on addresses that others reach: a certificate of the home's own, which browsers ask about. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** IP addresses and networks (CIDR) of proxies whose Forwarded and X-Forwarded-For are taken. Default: none. */
  readonly trustProxy?: readonly string[];
  readonly logger?: Logger;
}

type Parts = Pick<
  HttpOptions,
  "auth" | "database" | "mirrors" | "pairingAddress" | "limits" | "connectionCounts" | "loopDelay" | "writeBehind"
> & {
  /** The home's own folder, for its certificate. */
  readonly stateFolder: string;
};

/** Rejects with what the system says of the port or the files, or a {@link SecureError} ERR_CERTIFICATE. */
export async function openWeb(options: WebOptions, { stateFolder, ...parts }: Parts): Promise<HttpServing> {
  const { host = "127.0.0.1", port = 5080, certFile, keyFile, logger, trustProxy = [] } = options;
  const tls =
    certFile !== undefined || keyFile !== undefined
      ? givenCertificate(certFile, keyFile)
      : isLoopback(host)
        ? undefined
        : ownCertificate(stateFolder, host);
  // Only who opens it pays for loading it.
  const { startHttp } = await import("./http/listen.js");
  const { root, version } = thisPackage();
  const dashboard = join(root, "dist", "dashboard");
  const more = { trustProxy, ...(tls === undefined ? {} : { tls }), ...(logger === undefined ? {} : { logger }) };
  try {
    return await startHttp({ ...parts, host, port, version, dashboard, ...more });
  } catch (error) {
    throw explained(error as NodeJS.ErrnoException, host, port);
  }
}

function explained(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const why = REASONS[error.code ?? ""];
  if (why === undefined) return error;
  const message = `HTTP cannot be served at ${host}, port ${port}: ${why}. Say another place with --http HOST:PORT, or --no-http. (${error.code})`;
  return Object.assign(new Error(message, { cause: error }), { code: error.code });
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has that port",
  EACCES: "this user may not have that port",
  EADDRNOTAVAIL: "that is no address of this machine",
  ENOTFOUND: "there is no such host",
};

function givenCertificate(certFile = "", keyFile = ""): { cert: string; key: string } {
  if (certFile === "" || keyFile === "") {
    throw new SecureError("ERR_CERTIFICATE", "A certificate needs its key: say both --http-cert and --http-key.");
  }
  const [cert, key] = [fs.readFileSync(certFile, "utf8"), fs.readFileSync(keyFile, "utf8")];
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new SecureError(
      "ERR_CERTIFICATE",
      `${certFile} and ${keyFile} are no certificate in PEM and its key: ${(error as Error).message}`,
    );
  }
  return { cert, key };
}

/**
 * Of a key of its own, as browsers do not take the Ed25519 ones that devices pin. It stays the same while it fits the
 * machine's names and addresses, so that a browser that was told to trust it goes on doing so.
 */
function ownCertificate(stateFolder: string, host: string): { cert: string; key: string } {
  const [keyFile, certFile] = [join(stateFolder, "http.key"), join(stateFolder, "http.crt")];
  const key = readSecret(keyFile) ?? createSecret(keyFile, createIdentity({ type: "p256" }).key);
  const hosts = [...new Set(["localhost", hostname(), ...(isWildcard(host) ? addresses() : [host])])];
  const known = readSecret(certFile);
  if (known !== undefined && covers(known, hosts)) return { cert: known, key };
  const cert = selfSigned(createPrivateKey(key), { commonName: "confundo server", hosts });
  writeSecret(certFile, cert);
  return { cert, key };
}

function covers(cert: string, hosts: readonly string[]): boolean {
  try {
    const certificate = new X509Certificate(cert);
    return hosts.every((host) => (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)));
  } catch {
    return false;
  }
}

function addresses(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return own.map(({ address }) => address.replace(/%.*$/, ""));
}

function thisPackage(): { root: string; version: string } {
  const require = createRequire(import.meta.url);
  const file = require.resolve("confundo/package.json");
  return { root: dirname(file), version: (require(file) as { version: string }).version };
}
