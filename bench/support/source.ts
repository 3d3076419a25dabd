/** The bytes that are sent: random, the same in every process, without work while the clock runs. */
import { createCipheriv, createHash } from "node:crypto";

export const MEBIBYTE: number = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** Chunks begin at ever other places of a pool, so that their order shows in the hash. */
const STRIDE_BYTES = 40_961;

let pool: Buffer | null = null;

function randomPool(): Buffer {
  pool ??= createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(MEBIBYTE));
  return pool;
}

export function* source(bytes: number): Generator<Uint8Array> {
  const from = randomPool();
  for (let sent = 0, at = 0; sent < bytes; sent += CHUNK_BYTES) {
    yield from.subarray(at, at + Math.min(CHUNK_BYTES, bytes - sent));
    at = (at + STRIDE_BYTES) % (from.length - CHUNK_BYTES);
  }
}

const hashes = new Map<number, string>();

/** sha256 of `source(bytes)`. */
export function expectedHash(bytes: number): string {
  const known = hashes.get(bytes);
  if (known !== undefined) return known;
  const hash = createHash("sha256");
  for (const chunk of source(bytes)) hash.update(chunk);
  const digest = hash.digest("hex");
  hashes.set(bytes, digest);
  return digest;
}
