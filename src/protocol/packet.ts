import { HEADER_BYTES } from "./limits.js";

/** Header flags, the lowest bits of the last two bytes. The 13 bits above them are sent as 0 and ignored when received. */
export const FIN = 0b001;
export const SYN = 0b010;
export const ACK = 0b100;

const FLAG_BITS = ACK | SYN | FIN;

/** A decoded header. One record is reused for every packet, so keep none of it by reference. */
export interface Header {
  sequence: number;
  acknowledgement: number;
  connectionId: number;
  /** Any of {@link ACK}, {@link SYN}, {@link FIN}, or-ed. */
  flags: number;
  /** The last two bytes whole: the flags and the 13 bits that the classic protocol does not use. */
  bits: number;
}

export function emptyHeader(): Header {
  return { sequence: 0, acknowledgement: 0, connectionId: 0, flags: 0, bits: 0 };
}

/** Reads the header of a datagram into `header`; false, with `header` all zero, when the datagram is too short for one. */
export function decodeHeader(datagram: Uint8Array, header: Header): boolean {
  if (datagram.length < HEADER_BYTES) {
    header.sequence = header.acknowledgement = header.connectionId = header.flags = header.bits = 0;
    return false;
  }
  header.sequence = readUint32(datagram, 0);
  header.acknowledgement = readUint32(datagram, 4);
  header.connectionId = (byte(datagram, 8) << 8) | byte(datagram, 9);
  header.bits = (byte(datagram, 10) << 8) | byte(datagram, 11);
  header.flags = header.bits & FLAG_BITS;
  return true;
}

/** Writes a header to the first 12 bytes of `out`. `bits` are the flags, and the unused bits where they have a use. */
export function encodeHeader(
  out: Uint8Array,
  sequence: number,
  acknowledgement: number,
  connectionId: number,
  bits: number,
): void {
  writeUint32(out, 0, sequence);
  writeUint32(out, 4, acknowledgement);
  out[8] = connectionId >>> 8;
  out[9] = connectionId;
  out[10] = bits >>> 8;
  out[11] = bits;
}

/** Whether a header's numbers lie in the sequence space and its flags can stand together. */
export function makesSense(header: Header, modulus: number): boolean {
  if (header.sequence >= modulus) return false;
  if ((header.flags & ACK) !== 0 && header.acknowledgement >= modulus) return false;
  return (header.flags & (SYN | FIN)) !== (SYN | FIN);
}

/** Whether a server's packet answers a SYN: SYN|ACK or, from some servers, an ACK and then a SYN, in either order. */
export function answersSyn({ flags, sequence }: Header, acksOurs: boolean, modulus: number, split: boolean): boolean {
  if (sequence >= modulus) return false;
  if (flags === (SYN | ACK)) return acksOurs;
  return split && (flags === ACK ? acksOurs : flags === SYN);
}

// Shifts on the bytes themselves: a DataView for each packet costs ten times as much.

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((byte(bytes, at) << 24) | (byte(bytes, at + 1) << 16) | (byte(bytes, at + 2) << 8) | byte(bytes, at + 3)) >>> 0
  );
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
