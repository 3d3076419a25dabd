/** Who a device or a server is: a key of its own, the certificate that carries it in TLS, and the pin others know it by. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { type CertificateOptions, selfSigned } from "./certificate.js";
import { SecureError } from "./errors.js";

export interface Identity {
  /** The private key, PKCS #8 in PEM. */
  readonly key: string;
  /** The self-signed certificate in PEM. Another one for the same key is as good. */
  readonly cert: string;
  /** SHA-256 of the public key's SubjectPublicKeyInfo, base64url: what the other side remembers. */
  readonly pin: string;
}

export interface IdentityOptions extends CertificateOptions {
  /** Default Ed25519. Browsers take P-256 only. */
  readonly type?: "ed25519" | "p256" | undefined;
}

/** A new key, and a certificate for it. */
export function createIdentity(options: IdentityOptions = {}): Identity {
  const { privateKey } =
    options.type === "p256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
  return identityOf(privateKey, options);
}

/**
 * The identity behind a private key in PEM, with a new certificate.
 * @throws SecureError ERR_STATE when it is no such key
 */
export function identityFromKey(pem: string, options: CertificateOptions = {}): Identity {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new SecureError("ERR_STATE", "it is no private key in PEM", { cause });
  }
  if (key.asymmetricKeyType !== "ed25519" && key.asymmetricKeyType !== "ec") {
    throw new SecureError("ERR_STATE", `it is a key for ${key.asymmetricKeyType}, not for Ed25519`);
  }
  return identityOf(key, options);
}

/** SHA-256 of the SubjectPublicKeyInfo, base64url (as in RFC 7469, 2.4). */
export function pinOf(publicKey: KeyObject): string {
  const info = publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(info).digest("base64url");
}

function identityOf(privateKey: KeyObject, options: CertificateOptions): Identity {
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: selfSigned(privateKey, options),
    pin: pinOf(createPublicKey(privateKey)),
  };
}
