import { DEFAULT_RECEIVE_BUFFER_BYTES, EDITIONS, type Edition, Endpoint } from "../../src/protocol/index.js";
import type { SimulatedKind, VariantOptions } from "./scenarios.js";
import type { HostOptions } from "./simulation.js";

/** The classic protocol in all its editions. */
export const CLASSIC: SimulatedKind = {
  name: "classic",
  variants: Object.values(EDITIONS).map((edition) => ({
    segmentBytes: edition.segmentBytes,
    interestingLengths: interestingLengths(edition),
    host: (options) => classicHost(edition, options),
  })),
};

/** A host that speaks one edition of the classic protocol. */
export function classicHost(edition: Edition, options: VariantOptions = {}): HostOptions {
  const { receiveBufferBytes = DEFAULT_RECEIVE_BUFFER_BYTES, accept } = options;
  return {
    endpoint: new Endpoint({ edition, accept: accept !== undefined, receiveBufferBytes }),
    segmentBytes: edition.segmentBytes,
    receiveBufferBytes,
    ...(accept === undefined ? {} : { accept }),
  };
}

function interestingLengths({ segmentBytes, maxCwnd, modulus }: Edition): number[] {
  return [0, 1, segmentBytes - 1, segmentBytes, segmentBytes + 1, maxCwnd, modulus - 1, modulus];
}
