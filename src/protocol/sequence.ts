/**
 * Inside the core every byte of a direction has an absolute position: 0 is the SYN, data begins at 1, the FIN follows the
 * last byte. Only here do positions meet the modular numbers of the wire.
 */

/** The wire's number for a position. */
export function toSequence(position: number, isn: number, modulus: number): number {
  return (isn + position) % modulus;
}

/**
 * The position nearest to `near` that a wire number can mean; it may be negative. Windows stay within half the sequence
 * space, so the nearest is the one that was meant.
 */
export function toPosition(sequence: number, isn: number, modulus: number, near: number): number {
  let distance = sequence - toSequence(near, isn, modulus);
  const half = modulus / 2;
  if (distance > half) distance -= modulus;
  else if (distance < -half) distance += modulus;
  return near + distance;
}
