import {
  type ControllerName,
  DEFAULT_EDITION,
  Endpoint,
  type ExtendedOptions,
  editionNamed,
  type Mac,
} from "../../src/protocol/index.js";
import { Random } from "./random.js";
import type { SimulatedKind, VariantOptions } from "./scenarios.js";
import type { HostOptions } from "./simulation.js";

/** The least window there is; a variant may ask for less and gets this. */
const LEAST_WINDOW_BYTES = 64 * 1024;

export interface ExtendedHostOptions extends VariantOptions {
  readonly congestion?: ControllerName;
  readonly maxDatagramBytes?: number;
  readonly windowBytes?: number;
  readonly silenceTimeoutMs?: number;
  /** Falls back to the classic edition. */
  readonly required?: boolean;
  readonly timerTickMs?: number;
  readonly seed?: number;
  /** A server spends no memory on SYNs. Default true. */
  readonly verifies?: boolean;
}

/** Stands for a cryptographic hash where nobody attacks: FNV-1a, its bits mixed. */
export function keyedHash(key: number): Mac {
  return (text, words) => {
    let hash = 0x811c9dc5 ^ key;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    for (let i = 0; i < words.length; i++) {
      hash = Math.imul(hash ^ (hash >>> 15) ^ i, 0x2c1b3c6d);
      hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
      words[i] = hash ^ (hash >>> 15);
    }
  };
}

/** A host that speaks the extended edition, with others only unless that is all it is to speak. */
export function extendedHost(options: ExtendedHostOptions = {}): HostOptions {
  const {
    accept,
    congestion = "bbr",
    maxDatagramBytes = 1472,
    windowBytes = 1024 * 1024,
    required = true,
    verifies = true,
  } = options;
  const receiveBufferBytes = Math.max(LEAST_WINDOW_BYTES, options.receiveBufferBytes ?? windowBytes);
  const random = new Random((options.seed ?? 0) + (accept === undefined ? 0xc11e47 : 0x5e17e7));
  const extended: ExtendedOptions = {
    random: () => random.next(),
    required,
    windowBytes: receiveBufferBytes,
    maxDatagramBytes: () => maxDatagramBytes,
    congestion,
    ...(accept !== undefined && verifies ? { mac: keyedHash(options.seed ?? 0) } : {}),
  };
  return {
    endpoint: new Endpoint({
      edition: editionNamed(DEFAULT_EDITION),
      accept: accept !== undefined,
      extended,
      silenceTimeoutMs: options.silenceTimeoutMs,
    }),
    segmentBytes: 1,
    receiveBufferBytes,
    ...(options.timerTickMs === undefined ? {} : { timerTickMs: options.timerTickMs }),
    ...(accept === undefined ? {} : { accept }),
  };
}

/** The extended edition with one congestion controller: datagrams and windows of several sizes. */
export function extendedKind(congestion: ControllerName): SimulatedKind {
  const sizes = [
    { maxDatagramBytes: 1200, windowBytes: LEAST_WINDOW_BYTES, verifies: false },
    { maxDatagramBytes: 1472, windowBytes: 1024 * 1024 },
    { maxDatagramBytes: 1472, windowBytes: 16 * 1024 * 1024, timerTickMs: 1 },
    // More than the path takes.
    { maxDatagramBytes: 65_507, windowBytes: 256 * 1024 },
  ];
  return {
    name: `extended, ${congestion}`,
    variants: sizes.map((size) => ({
      segmentBytes: 1,
      interestingLengths: [0, 1, 1177, 1178, 1179, 1182, 1454, 65_536, 2 * 65_536],
      host: (options) => extendedHost({ ...size, congestion, ...options }),
    })),
  };
}
