/** Nothing that a UDP socket gives is longer, merged or not. */
const LARGEST_READ = 65_535;

/**
 * Where every datagram is read, one after the other. It is more than twice as large as any of them, by which the core
 * knows that the memory is only borrowed: a receiver that gets a buffer for each read has, besides what it reads, those
 * buffers as garbage, and its memory grows by half.
 */
let room: Buffer | null = null;

/**
 * Reads one datagram, null when `read` says with a length below 0 that there is none. Its memory is the receiver's until
 * the next call.
 * @throws what `read` throws
 */
export function nextDatagram(
  fd: number,
  read: (fd: number, into: Uint8Array, bytes: number) => number,
): Uint8Array | null {
  room ??= Buffer.allocUnsafeSlow(2 * LARGEST_READ + 2);
  const length = read(fd, room, LARGEST_READ);
  return length < 0 ? null : room.subarray(0, length);
}
