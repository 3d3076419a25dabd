/** The range of times that all formats hold: 64 bits of nanoseconds from 1901-12-13 on, the range of XFS; ext4 ends in 2446. Pure. */

const SECOND_NS = 1_000_000_000n;
export const EARLIEST_NS: bigint = -(2n ** 31n) * SECOND_NS;
export const LATEST_NS: bigint = EARLIEST_NS + 2n ** 64n - 1n;
/** The latest time that peers without {@link FEATURE_TIMES} know, in 2262. */
export const LATEST_OLD_NS: bigint = 2n ** 63n - 1n;

/** The closest time within the range. */
export function clampTime(timeNs: bigint): bigint {
  return timeNs < EARLIEST_NS ? EARLIEST_NS : timeNs > LATEST_NS ? LATEST_NS : timeNs;
}

/** The year of a time, in UTC. */
export function yearOf(timeNs: bigint): number {
  return new Date(Number(timeNs / 1_000_000n)).getUTCFullYear();
}

/** A time as a signed number of 64 bits. Times up to 2262 are themselves; later ones are the negative numbers before 1901. */
export function timeToBits(timeNs: bigint): bigint {
  return BigInt.asIntN(64, timeNs);
}

export function timeFromBits(bits: bigint): bigint {
  return bits < EARLIEST_NS ? bits + 2n ** 64n : bits;
}
