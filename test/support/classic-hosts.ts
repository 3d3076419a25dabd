import { DEFAULT_RECEIVE_BUFFER_BYTES, type Edition, Endpoint } from "../../src/protocol/index.js";
import type { Random } from "./random.js";
import type { Behaviour, HostOptions } from "./simulation.js";

/** A host that speaks one edition of the classic protocol. */
export function classicHost(
  edition: Edition,
  options: { receiveBufferBytes?: number; accept?: (client: string) => Behaviour } = {},
): HostOptions {
  const { receiveBufferBytes = DEFAULT_RECEIVE_BUFFER_BYTES, accept } = options;
  return {
    endpoint: new Endpoint({ edition, accept: accept !== undefined, receiveBufferBytes }),
    segmentBytes: edition.segmentBytes,
    receiveBufferBytes,
    ...(accept === undefined ? {} : { accept }),
  };
}

export const NOTHING = new Uint8Array(0);

/** Sends one stream, reads another. */
export function behaviour(sends: Uint8Array, expects: Uint8Array, changes: Partial<Behaviour> = {}): Behaviour {
  return {
    sends,
    expects,
    chunkBytes: 65_536,
    readEveryMs: 0,
    endsLast: false,
    shortSegments: "nagle",
    keepAliveMs: 0,
    ...changes,
  };
}

/** A stream length with the interesting ones in it. */
export function streamLength(random: Random, edition: Edition, most: number): number {
  const { segmentBytes, maxCwnd, modulus } = edition;
  const interesting = [0, 1, segmentBytes - 1, segmentBytes, segmentBytes + 1, maxCwnd, modulus - 1, modulus];
  const length = random.chance(0.4) ? random.pick(interesting) : random.integer(0, most);
  return Math.min(length, most);
}
