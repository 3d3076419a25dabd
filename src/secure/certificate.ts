/** Self-signed certificates: X.509 in DER (RFC 5280) over node:crypto, with Ed25519 (RFC 8410) or ECDSA P-256. */
import { createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

export interface CertificateOptions {
  /** For people: what the certificate says it belongs to. Default `confundo`. */
  readonly commonName?: string | undefined;
  /** Host names and IP addresses that it is good for (SubjectAltName), for browsers. Default none. */
  readonly hosts?: readonly string[] | undefined;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const GENERALIZED_TIME = 0x18;
/** GeneralName of RFC 5280, 4.2.1.6. */
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;

/** AlgorithmIdentifiers: id-Ed25519 (RFC 8410, 3), ecdsa-with-SHA256 (RFC 5758, 3.2). */
const ALGORITHMS: Readonly<Record<string, { identifier: string; digest: string | null }>> = {
  ed25519: { identifier: "300506032b6570", digest: null },
  ec: { identifier: "300a06082a8648ce3d040302", digest: "sha256" },
};
const COMMON_NAME = "0603550403";
const SUBJECT_ALT_NAME = "0603551d11";
const VERSION_3 = "a003020102";
/** Pins count here, not dates: RFC 5280, 4.1.2.5 has this one for "no well-defined expiration date". */
const NEVER = "99991231235959Z";
const ALWAYS = "20200101000000Z";

/**
 * A certificate for the key, signed by itself, as PEM.
 * @throws TypeError for a key that is neither Ed25519 nor of an elliptic curve
 */
export function selfSigned(privateKey: KeyObject, options: CertificateOptions = {}): string {
  const algorithm = ALGORITHMS[privateKey.asymmetricKeyType ?? ""];
  if (algorithm === undefined) throw new TypeError(`No certificate is made for ${privateKey.asymmetricKeyType} keys.`);
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, hex(COMMON_NAME), utf8(options.commonName ?? "confundo"))));
  const toBeSigned = der(
    SEQUENCE,
    hex(VERSION_3),
    serialNumber(),
    hex(algorithm.identifier),
    name,
    der(SEQUENCE, der(GENERALIZED_TIME, Buffer.from(ALWAYS)), der(GENERALIZED_TIME, Buffer.from(NEVER))),
    name,
    createPublicKey(privateKey).export({ type: "spki", format: "der" }),
    extensions(options.hosts ?? []),
  );
  const signature = der(BIT_STRING, Buffer.from([0]), sign(algorithm.digest, toBeSigned, privateKey));
  const certificate = der(SEQUENCE, toBeSigned, hex(algorithm.identifier), signature).toString("base64");
  const lines = certificate.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function extensions(hosts: readonly string[]): Buffer {
  if (hosts.length === 0) return Buffer.alloc(0);
  const names = hosts.map((host) =>
    isIP(host) === 0 ? der(DNS_NAME, Buffer.from(host)) : der(IP_ADDRESS, addressBytes(host)),
  );
  return der(0xa3, der(SEQUENCE, der(SEQUENCE, hex(SUBJECT_ALT_NAME), der(OCTET_STRING, der(SEQUENCE, ...names)))));
}

/** Positive, and of at most 20 bytes (RFC 5280, 4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return der(0x02, bytes);
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  // A URL writes every IPv6 address in one way; `::` is where the zeros are.
  const [head = "", tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return hex([...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join(""));
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

function utf8(text: string): Buffer {
  return der(UTF8_STRING, Buffer.from(text));
}

function hex(digits: string): Buffer {
  return Buffer.from(digits, "hex");
}
