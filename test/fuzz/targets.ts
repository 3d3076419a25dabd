/**
 * What is fuzzed: every decoder of bytes that come from the network or from a file that may be damaged. A target takes any bytes and
 * throws only where the program has a bug; an error that the decoder reports is what it is for. Seeds are valid inputs.
 */

import { fileTargets } from "./file-targets.js";
import { framesTarget, mirrorTarget } from "./mirror-targets.js";
import { packetTarget } from "./packet-target.js";
import { connectionTarget, endpointTarget } from "./protocol-targets.js";
import { textTargets } from "./text-targets.js";

export interface Target {
  readonly run: (bytes: Uint8Array) => void | Promise<void>;
  readonly seeds: () => Uint8Array[];
  /** Inputs are at most so long. Default 4096. */
  readonly maxBytes?: number;
}

export const TARGETS: Readonly<Record<string, Target>> = {
  packet: packetTarget,
  endpoint: endpointTarget,
  connection: connectionTarget,
  frames: framesTarget,
  mirror: mirrorTarget,
  ...fileTargets,
  ...textTargets,
};
