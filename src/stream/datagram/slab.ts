import { readSync } from "node:fs";

/** Nothing that a UDP socket gives is longer, merged or not. */
const LARGEST_READ = 65_535;

/**
 * Where every datagram is read, one after the other. It is more than twice as large as any of them, by which the core
 * knows that the memory is only borrowed: a receiver that gets a buffer for each read has, besides what it reads, those
 * buffers as garbage, and its memory grows by half.
 */
let room: Buffer | null = null;

/**
 * Reads one datagram. Its memory is the receiver's until the next call.
 * @throws EAGAIN when there is none, or what else the kernel says
 */
export function nextDatagram(fd: number): Uint8Array {
  room ??= Buffer.allocUnsafeSlow(2 * LARGEST_READ + 2);
  return room.subarray(0, readSync(fd, room, 0, LARGEST_READ, null));
}
