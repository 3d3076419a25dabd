import { ProtocolError } from "./errors.js";

/** The courses' editions of the classic protocol, by course and year. */
export type EditionName = "ucla-2017" | "ucla-2019" | "uno-2020" | "fiu-2019" | "fiu-2020" | "fiu-2021" | "fiu-2023";

/** One course edition as data. Sizes are bytes, times milliseconds. */
export interface Edition {
  readonly name: EditionName;
  /** Data in a full segment: the MSS. A datagram is this and the 12 bytes of the header. */
  readonly segmentBytes: number;
  /** Sequence numbers run from 0 to modulus - 1 and wrap: the pages' "maximum" is itself a valid number. */
  readonly modulus: number;
  readonly clientIsn: number;
  readonly serverIsn: number;
  /** The congestion window at the start and after a timeout. */
  readonly initialCwnd: number;
  readonly initialSsthresh: number;
  /** The congestion window never grows beyond this: half the sequence space, as in the reference programs. */
  readonly maxCwnd: number;
  /** The SYN|ACK counts as an acknowledgement that grows cwnd. */
  readonly synAckGrowsCwnd: boolean;
  /** Some servers of this edition answer a SYN with an ACK and then a SYN of their own. */
  readonly splitHandshake: boolean;
  /** Fixed, without backoff. */
  readonly retransmitTimeoutMs: number;
  /** How long late FINs are answered after everything is done. */
  readonly finWaitMs: number;
  /** A peer that says nothing for so long is given up, before and after the handshake. */
  readonly silenceTimeoutMs: number;
}

export const DEFAULT_EDITION: EditionName = "fiu-2023";

/** All editions by name. Source: the course pages (UCLA CS 118, UNO CSCI 3550, FIU CNT 4713) and the reference programs. */
export const EDITIONS: Readonly<Record<EditionName, Edition>> = {
  "ucla-2017": early("ucla-2017", { synAckGrowsCwnd: true }),
  "ucla-2019": early("ucla-2019", {}),
  "uno-2020": early("uno-2020", {}),
  "fiu-2019": early("fiu-2019", { splitHandshake: true }),
  "fiu-2020": early("fiu-2020", {
    modulus: 204_801,
    clientIsn: 42,
    // Slow start still adds one segment of 512 bytes at a time.
    initialCwnd: 1024,
    initialSsthresh: 15_000,
    maxCwnd: 102_400,
    splitHandshake: true,
  }),
  "fiu-2021": early("fiu-2021", {
    segmentBytes: 412,
    modulus: 40_001,
    clientIsn: 77,
    initialCwnd: 412,
    initialSsthresh: 12_000,
    maxCwnd: 20_000,
    splitHandshake: true,
  }),
  "fiu-2023": early("fiu-2023", {
    segmentBytes: 412,
    modulus: 50_001,
    clientIsn: 50_000,
    initialCwnd: 412,
    initialSsthresh: 12_000,
    maxCwnd: 25_000,
    splitHandshake: true,
  }),
};

export const EDITION_NAMES: readonly EditionName[] = Object.keys(EDITIONS) as EditionName[];

/**
 * The edition of that name.
 * @throws ProtocolError ERR_UNKNOWN_EDITION, listing the known names.
 */
export function editionNamed(name: string): Edition {
  if (!Object.hasOwn(EDITIONS, name)) {
    throw new ProtocolError(
      "ERR_UNKNOWN_EDITION",
      `There is no edition ${JSON.stringify(name)}. The known editions are ${EDITION_NAMES.join(", ")}.`,
    );
  }
  return EDITIONS[name as EditionName];
}

/** The first course's numbers, which most editions share, with what an edition changes. */
function early(name: EditionName, changes: Partial<Edition>): Edition {
  return Object.freeze({
    name,
    segmentBytes: 512,
    modulus: 102_401,
    clientIsn: 12_345,
    serverIsn: 4321,
    initialCwnd: 512,
    initialSsthresh: 10_000,
    maxCwnd: 51_200,
    synAckGrowsCwnd: false,
    splitHandshake: false,
    retransmitTimeoutMs: 500,
    finWaitMs: 2000,
    silenceTimeoutMs: 10_000,
    ...changes,
  });
}
