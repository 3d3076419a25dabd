import { createHash, randomBytes } from "node:crypto";

const TOKEN_BYTES = 32;

/** A new opaque token: 256 bits, base64url. */
export function createToken(): string {
  return randomBytes(TOKEN_BYTES).toString("base64url");
}

/**
 * What is stored of a token or a code, hex. They are random and long, so that neither salt nor slowness would add anything; and
 * as rows are found by the hash, how long that takes tells nothing of the secret.
 */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
