import type { readSync } from "node:fs";

/** Nothing that a UDP socket gives is longer, merged or not. */
const LARGEST_READ = 65_535;
const SLAB_BYTES = 256 * 1024;
/** Smaller datagrams move out of the slab, as the last one kept of a slab keeps all of it. */
const SMALL_BYTES = 4096;
const SMALL_SLAB_BYTES = 32 * 1024;

let slab = Buffer.allocUnsafeSlow(0);
let slabUsed = 0;
let smallSlab = Buffer.allocUnsafeSlow(0);
let smallSlabUsed = 0;

/**
 * Reads one datagram into memory that is the receiver's to keep.
 * @throws the error of read(2)
 */
export function nextDatagram(fd: number, read: typeof readSync): Uint8Array {
  if (slab.length - slabUsed < LARGEST_READ) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    slabUsed = 0;
  }
  const length = read(fd, slab, slabUsed, LARGEST_READ, null);
  if (length <= SMALL_BYTES) return small(length);
  slabUsed += length;
  return slab.subarray(slabUsed - length, slabUsed);
}

function small(length: number): Uint8Array {
  if (smallSlab.length - smallSlabUsed < length) {
    smallSlab = Buffer.allocUnsafeSlow(SMALL_SLAB_BYTES);
    smallSlabUsed = 0;
  }
  slab.copy(smallSlab, smallSlabUsed, slabUsed, slabUsed + length);
  smallSlabUsed += length;
  return smallSlab.subarray(smallSlabUsed - length, smallSlabUsed);
}
