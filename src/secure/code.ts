/**
 * The part of a pairing address behind the `#`: base64url of one version byte, the one-time code and the server's pin. It is
 * given from person to person; the `#` part of an address is never sent anywhere by what opens addresses.
 */
import { randomBytes } from "node:crypto";
import { SecureError } from "./errors.js";

export interface PairingCode {
  /** The one-time code, 128 bits, base64url. */
  readonly code: string;
  /** The server's pin. */
  readonly pin: string;
}

const VERSION = 1;
const CODE_BYTES = 16;
const PIN_BYTES = 32;

/** A new one-time code. */
export function createCode(): string {
  return randomBytes(CODE_BYTES).toString("base64url");
}

/** Whether it has the form of a one-time code. */
export function isCode(text: string): boolean {
  return bytesOf(text, CODE_BYTES) !== undefined;
}

/** Whether it has the form of a pin. */
export function isPin(text: string): boolean {
  return bytesOf(text, PIN_BYTES) !== undefined;
}

export function formatPairingCode({ code, pin }: PairingCode): string {
  const parts = [Buffer.from([VERSION]), Buffer.from(code, "base64url"), Buffer.from(pin, "base64url")];
  return Buffer.concat(parts).toString("base64url");
}

/** @throws SecureError ERR_CODE */
export function parsePairingCode(text: string): PairingCode {
  const bytes = bytesOf(text, 1 + CODE_BYTES + PIN_BYTES);
  if (bytes === undefined) {
    throw new SecureError("ERR_CODE", "The code behind the # is incomplete or changed. Copy the whole address again.");
  }
  if (bytes[0] !== VERSION) {
    throw new SecureError(
      "ERR_CODE",
      `The code is of version ${bytes[0]}, which this program is too old for. Update it.`,
    );
  }
  return {
    code: bytes.subarray(1, 1 + CODE_BYTES).toString("base64url"),
    pin: bytes.subarray(1 + CODE_BYTES).toString("base64url"),
  };
}

/** Of several spellings of the same bytes only the usual one counts. */
function bytesOf(text: string, length: number): Buffer | undefined {
  if (text.length !== Math.ceil((length * 4) / 3)) return undefined;
  const bytes = Buffer.from(text, "base64url");
  return bytes.length === length && bytes.toString("base64url") === text ? bytes : undefined;
}
