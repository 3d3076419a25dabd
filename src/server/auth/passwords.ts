/**
 * Passwords as PHC strings (https://github.com/P-H-C/phc-string-format): argon2id where Node has it, else scrypt, with the
 * parameters of OWASP's Password Storage Cheat Sheet. What is stored says how it was made, so that both can be verified, and
 * that what was made in a weaker way can be made anew at a login.
 */
import crypto, { randomBytes, type ScryptOptions, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { MAX_HASHES_AT_ONCE, MAX_HASHES_WAITING } from "../limits.js";
import { AuthError } from "./errors.js";

const SALT_BYTES = 16;
const HASH_BYTES = 32;
const ARGON2 = { memory: 19_456, passes: 2, parallelism: 1 };
const SCRYPT = { logN: 17, r: 8, p: 1 };
const LEAST_CHARACTERS = 8;
const MOST_BYTES = 1024;

interface Phc {
  readonly id: string;
  readonly parameters: Readonly<Record<string, number>>;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** Whether this Node has argon2 (24.7 and later). */
const HAS_ARGON2 = typeof crypto.argon2 === "function";

const scrypt = promisify<string, Buffer, number, ScryptOptions, Buffer>(crypto.scrypt);

let running = 0;
const waiting: (() => void)[] = [];

/** @throws AuthError ERR_INVALID for a password that is too short or too long */
export function checkPassword(password: string): void {
  if ([...password].length < LEAST_CHARACTERS) {
    throw new AuthError("ERR_INVALID", `A password has at least ${LEAST_CHARACTERS} characters.`);
  }
  if (Buffer.byteLength(password) > MOST_BYTES) {
    throw new AuthError("ERR_INVALID", `A password has at most ${MOST_BYTES} bytes.`);
  }
}

/** A PHC string. `algorithm` is for tests. */
export async function hashPassword(
  password: string,
  algorithm: "argon2id" | "scrypt" = HAS_ARGON2 ? "argon2id" : "scrypt",
): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const { memory, passes, parallelism } = ARGON2;
  const { logN, r, p } = SCRYPT;
  const phc =
    algorithm === "argon2id"
      ? { id: "argon2id", parameters: { m: memory, t: passes, p: parallelism }, salt, hash: Buffer.alloc(HASH_BYTES) }
      : { id: "scrypt", parameters: { ln: logN, r, p }, salt, hash: Buffer.alloc(HASH_BYTES) };
  return format({ ...phc, hash: await derive(password, phc) });
}

/** In constant time for equal parameters. False, too, for a string that this program cannot verify. */
export async function verifyPassword(password: string, phcString: string): Promise<boolean> {
  const phc = parse(phcString);
  if (phc === undefined || Buffer.byteLength(password) > MOST_BYTES) return false;
  if (phc.id === "argon2id" && !HAS_ARGON2) {
    throw new AuthError(
      "ERR_UNAUTHENTICATED",
      "This password was stored with argon2id, which this Node does not have. Run the server with Node 24.7 or later, or set the " +
        "password anew with `confundo user passwd`.",
    );
  }
  return timingSafeEqual(await derive(password, phc), phc.hash);
}

/** Whether a new hash of the same password would be a stronger one. */
export function isOutdated(phcString: string): boolean {
  return HAS_ARGON2 && parse(phcString)?.id !== "argon2id";
}

async function derive(password: string, phc: Phc): Promise<Buffer> {
  await turn();
  try {
    return phc.id === "argon2id" ? await deriveArgon2(password, phc) : await deriveScrypt(password, phc);
  } finally {
    running--;
    waiting.shift()?.();
  }
}

async function turn(): Promise<void> {
  if (running >= MAX_HASHES_AT_ONCE) {
    if (waiting.length >= MAX_HASHES_WAITING) {
      throw new AuthError("ERR_RATE_LIMITED", "Too many logins at once. Try again in a few seconds.", 5000);
    }
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  running++;
}

function deriveArgon2(password: string, { parameters, salt, hash }: Phc): Promise<Buffer> {
  const { m = 0, t = 0, p = 0 } = parameters;
  const options = { message: password, nonce: salt, parallelism: p, tagLength: hash.length, memory: m, passes: t };
  return new Promise((resolve, reject) =>
    crypto.argon2("argon2id", options, (error, result) => (error === null ? resolve(result) : reject(error))),
  );
}

function deriveScrypt(password: string, { parameters, salt, hash }: Phc): Promise<Buffer> {
  const { ln = 0, r = 0, p = 0 } = parameters;
  const N = 2 ** ln;
  return scrypt(password, salt, hash.length, { N, r, p, maxmem: 256 * N * r });
}

function format({ id, parameters, salt, hash }: Phc): string {
  const version = id === "argon2id" ? "v=19$" : "";
  const list = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
  return `$${id}$${version}${list.join(",")}$${base64(salt)}$${base64(hash)}`;
}

function parse(text: string): Phc | undefined {
  const [, id, list, salt, hash] =
    /^\$(argon2id|scrypt)\$(?:v=19\$)?([a-z0-9=,]+)\$([\w+/]+)\$([\w+/]+)$/.exec(text) ?? [];
  if (id === undefined || list === undefined || salt === undefined || hash === undefined) return undefined;
  const parameters = Object.fromEntries(
    list
      .split(",")
      .map((item) => item.split("="))
      .map(([k, v]) => [k, Number(v)]),
  );
  return { id, parameters, salt: Buffer.from(salt, "base64"), hash: Buffer.from(hash, "base64") };
}

/** Without padding, as PHC strings have it. */
function base64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
