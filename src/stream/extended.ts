import { hash, randomBytes, randomFillSync } from "node:crypto";
import {
  BASE_DATAGRAM_BYTES,
  type Edition,
  type ExtendedOptions,
  HEADER_BYTES,
  MAX_BURST_BYTES,
  MAX_DATAGRAM_BYTES,
  type Mac,
} from "../protocol/index.js";
import type { SocketOptions } from "./socket-options.js";

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
  return (text) => hash("sha256", key + text, "buffer").readUInt32BE(0);
}

/** What an endpoint is told of the extended edition; null where only the classic one is spoken. */
export function extendedOptions(
  options: SocketOptions & { readonly receiveBufferBytes?: number | undefined },
  pathBytes: (remoteAddress: string) => number,
): ExtendedOptions | null {
  const { extended = true, congestion, receiveBufferBytes, maxDatagramBytes = MAX_DATAGRAM_BYTES } = options;
  if (extended === false) return null;
  return {
    random: secureRandom,
    required: extended === "required",
    maxDatagramBytes: (address) => Math.max(BASE_DATAGRAM_BYTES, Math.min(maxDatagramBytes, pathBytes(address))),
    ...(congestion === undefined ? {} : { congestion }),
    ...(receiveBufferBytes === undefined ? {} : { windowBytes: receiveBufferBytes }),
  };
}

/** The room for one transmission: a burst of datagrams, or a single one of the largest size. */
export function transmissionBytes(edition: Edition, extended: ExtendedOptions | null): number {
  return extended === null ? HEADER_BYTES + edition.segmentBytes : Math.max(MAX_BURST_BYTES, MAX_DATAGRAM_BYTES);
}
