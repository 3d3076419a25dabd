import { parsePairingCode, type SecureError } from "../secure/index.js";
import { mirrorNameProblem } from "../server/name.js";
import { DEFAULT_PORT } from "./options.js";
import { UsageError } from "./report.js";

/** Where a mirror is. */
export interface MirrorAddress {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  /** What stands behind the `#` of a pairing address. */
  readonly code?: string;
}

/**
 * Reads `confundo://HOST:PORT/NAME`, perhaps with `#CODE`.
 * @throws UsageError that says what is wrong with it
 */
export function parseAddress(text: string): MirrorAddress {
  const form = "An address looks like confundo://HOST:PORT/NAME";
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new UsageError(`${text} is not an address. ${form}.`);
  }
  if (url.protocol !== "confundo:" || url.hostname === "") throw new UsageError(`${text} is not an address. ${form}.`);
  let name: string;
  try {
    name = decodeURIComponent(url.pathname.replace(/^\//, "").replace(/\/$/, ""));
  } catch {
    throw new UsageError(`The name in ${text} is badly encoded: a % needs two hexadecimal digits behind it.`);
  }
  const problem = name === "" ? "it is missing" : mirrorNameProblem(name);
  if (problem !== undefined) throw new UsageError(`The name in ${text} is not one for a mirror: ${problem}. ${form}.`);
  const port = url.port === "" ? DEFAULT_PORT : Number(url.port);
  if (port === 0) throw new UsageError(`The port in ${text} is 0: give the one that the server listens on.`);
  const code = url.hash.slice(1);
  checkCode(code, text.split("#")[0] ?? "");
  return { host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port, name, ...(code === "" ? {} : { code }) };
}

/** Codes are for those who are given them: none is repeated in a message. */
function checkCode(code: string, address: string): void {
  if (code === "") return;
  try {
    parsePairingCode(code);
  } catch (error) {
    throw new UsageError(`${address}#…: ${(error as SecureError).message}`);
  }
}
