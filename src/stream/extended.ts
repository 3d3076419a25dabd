import { hash, randomBytes, randomFillSync } from "node:crypto";
import {
  BASE_DATAGRAM_BYTES,
  type Edition,
  type ExtendedOptions,
  HEADER_BYTES,
  MAX_BURST_BYTES,
  MAX_DATAGRAM_BYTES,
  type Mac,
  MIN_DATAGRAM_BYTES,
  RESET_TOKEN_BYTES,
} from "../protocol/index.js";
import type { SocketOptions } from "./socket-options.js";

/** FIPS 180-4. */
const SHA256_BLOCK_BYTES = 64;
const SHA256_BYTES = 32;

const UINT32 = 0x1_0000_0000;
const pool = new Uint32Array(256);
let left = 0;

/** Unguessable numbers in [0, 1), for tags and nonces. */
export function secureRandom(): number {
  if (left === 0) {
    randomFillSync(pool);
    left = pool.length;
  }
  return (pool[--left] as number) / UINT32;
}

/** A keyed hash with a key of its own. What is hashed behind the key has one form, so it cannot be extended into another. */
export function newMac(): Mac {
  const key = randomBytes(32).toString("hex");
  return (text, words) => {
    const digest = hash("sha256", key + text, "buffer");
    for (let i = 0; i < words.length; i++) words[i] = digest.readUInt32BE(4 * i);
  };
}

/** What {@link newResetTokens} takes for a key at least. */
const MIN_RESET_KEY_BYTES = 16;

/**
 * Computes stateless reset tokens from a server's key (RFC 9000 section 10.3.2), the connection's server tag and its ID. The
 * client's address is no part of it, as that may change.
 * @throws RangeError when the key is too short
 */
export function newResetTokens(
  key: string | Uint8Array = randomBytes(32),
): (tag: number, connectionId: number) => Uint8Array {
  if (key.length < MIN_RESET_KEY_BYTES) {
    throw new RangeError(
      `statelessResetKey is too short: ${key.length} bytes, and at least ${MIN_RESET_KEY_BYTES} are needed.`,
    );
  }
  const hmac = hmacSha256(typeof key === "string" ? Buffer.from(key) : key);
  return (tag, connectionId) => hmac(`confundo stateless reset ${tag} ${connectionId}`).subarray(0, RESET_TOKEN_BYTES);
}

/** HMAC-SHA-256 (RFC 2104) with one key: of short messages in a third of the time that `createHmac` takes. */
export function hmacSha256(key: Uint8Array): (message: string) => Buffer {
  const block = Buffer.alloc(SHA256_BLOCK_BYTES);
  block.set(key.length > SHA256_BLOCK_BYTES ? hash("sha256", key, "buffer") : key);
  const innerKey = block.map((byte) => byte ^ 0x36);
  const outer = Buffer.alloc(SHA256_BLOCK_BYTES + SHA256_BYTES);
  outer.set(block.map((byte) => byte ^ 0x5c));
  return (message) => {
    const inner = Buffer.allocUnsafe(SHA256_BLOCK_BYTES + Buffer.byteLength(message));
    inner.set(innerKey);
    inner.write(message, SHA256_BLOCK_BYTES);
    outer.set(hash("sha256", inner, "buffer"), SHA256_BLOCK_BYTES);
    return hash("sha256", outer, "buffer");
  };
}

/** What an endpoint is told of the extended edition; null where only the classic one is spoken. */
export function extendedOptions(
  options: SocketOptions & {
    readonly receiveBufferBytes?: number | undefined;
    readonly requireAdmission?: boolean | undefined;
  },
  pathBytes: (remoteAddress: string) => number,
): ExtendedOptions | null {
  const { extended = true, congestion, receiveBufferBytes, maxDatagramBytes = MAX_DATAGRAM_BYTES } = options;
  const { requireAdmission = false } = options;
  if (extended === false) return null;
  return {
    random: secureRandom,
    required: extended === "required",
    requireAdmission,
    // What was asked for is no reason to refuse a path, and 0 is one of which nothing is known.
    maxDatagramBytes: (address) =>
      Math.min(Math.max(MIN_DATAGRAM_BYTES, maxDatagramBytes), pathBytes(address) || BASE_DATAGRAM_BYTES),
    ...(congestion === undefined ? {} : { congestion }),
    ...(receiveBufferBytes === undefined ? {} : { windowBytes: receiveBufferBytes }),
  };
}

/** The room for one transmission: a burst of datagrams, or a single one of the largest size. */
export function transmissionBytes(edition: Edition, extended: ExtendedOptions | null): number {
  return extended === null ? HEADER_BYTES + edition.segmentBytes : Math.max(MAX_BURST_BYTES, MAX_DATAGRAM_BYTES);
}
