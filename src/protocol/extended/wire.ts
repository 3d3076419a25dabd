import { steps } from "../../invariant/index.js";
import type { ResetReason } from "../connection.js";
import { HEADER_BYTES, MAX_PARAMETERS } from "../limits.js";
import { ACK, encodeHeader, FIN, type Header, SYN } from "../packet.js";

/**
 * The packets of the extended edition (docs/protocol.md): the classic 12 bytes, whose second word is the receiver's
 * verification tag and whose unused bits tell which parts follow, then the packet's length, then the parts.
 */

/** Nine bits that nobody sends by chance, and a version: what a SYN offers in the 13 bits that the classic edition does not use. */
const MAGIC_BITS: number = 0x14b << 7;
const OFFER_MASK = 0xfff8;
export const OFFER_BITS: number = MAGIC_BITS | (2 << 3);

/**
 * The first version, whose SYN|ACK anybody could forge. A server that speaks nothing but this edition accepts it with a tag and an
 * ID that stand for nothing, and refuses the introduction that follows: there is no shorter way to tell its client why.
 */
const FIRST_VERSION_BITS: number = MAGIC_BITS | (1 << 3);
const FIRST_VERSION_TAG = 0;
const FIRST_VERSION_ID = 0xffff;

/** The bits of a SYN|ACK that the classic edition does not use are a part of what a client must show that it has received. */
export const PROOF_BITS = 0xfff8;

/** Part bits, in the order in which the parts follow the length. Every packet of the edition has {@link EXTENDED}. */
export const EXTENDED = 0x8000;
/**
 * The client introduces itself: the tag that it wants to be addressed by, which is its initial sequence number too; then the nonce of
 * its SYN, and the last two bytes of the SYN|ACK, which prove with the tag and the ID that it has received that.
 */
export const HELLO = 0x4000;
/** Answer this one: path validation and path MTU discovery. What follows the nonce is padding. */
export const PROBE = 0x2000;
/** The answer: the nonce, and how long the probe was when it arrived. */
export const PROBE_ANSWER = 0x1000;
/** The connection is gone, for a reason. */
export const RESET = 0x0800;
/** Acknowledge at once. */
export const PING = 0x0400;
/** Data, to the end of the packet, behind the time at which it was sent. */
export const DATA = 0x0200;

/**
 * What a side tells of itself at the handshake: see {@link PARAMETER}. In a packet of its own, which takes it to the end, or
 * behind the nonce of a probe, where others take it for padding.
 */
export const PARAMETERS = 0x0100;
/** Bits that later versions may give a part: those we know are taken, and what is left of the packet is passed over. */
const RESERVED = 0x00f0;

/**
 * Set by the receiving host itself, in a packet that others were joined to (see {@link joinedPackets}). It is sent as 0; what joins
 * packets takes it off those that come with it.
 */
export const JOINED = 0x0008;

/**
 * A parameter: its number, how many bytes its value has, then the value. Unknown numbers are passed over. A padding is one
 * byte, without a length.
 */
export const PARAMETER = {
  padding: 0,
  /** The silence timeout in ms, 32 bits. */
  silenceTimeout: 1,
  /** A server's stateless reset token, 128 bits (RFC 9000 section 10.3). */
  resetToken: 2,
} as const;
export const RESET_TOKEN_BYTES = 16;
const SILENCE_TIMEOUT_BYTES = 4;
const PARAMETER_HEADER_BYTES = 2;
/** What both sides' parameters take in a packet of their own. */
export const CLIENT_PARAMETER_BYTES = 14 + PARAMETER_HEADER_BYTES + SILENCE_TIMEOUT_BYTES;
export const SERVER_PARAMETER_BYTES: number = CLIENT_PARAMETER_BYTES + PARAMETER_HEADER_BYTES + RESET_TOKEN_BYTES;

/** The code of a stateless reset, which is followed by the token. */
const STATELESS_RESET = 4;
/** Whatever is answered with a stateless reset must be longer, so that two endpoints never answer each other for ever. */
export const STATELESS_RESET_BYTES: number = 14 + 2 + RESET_TOKEN_BYTES;

/** Sequence, tag, connection ID, bits and length. */
export const EXTENDED_HEADER_BYTES = 14;
export const DATA_HEADER_BYTES: number = EXTENDED_HEADER_BYTES + 4;
export const HELLO_BYTES = 10;
export const ACK_BYTES = 16;
export const SACK_BLOCK_BYTES = 8;
export const PROBE_BYTES = 8;
export const PROBE_ANSWER_BYTES = 10;
/** A probe is at least as long as its answer. */
export const MIN_PROBE_PACKET_BYTES: number = EXTENDED_HEADER_BYTES + PROBE_ANSWER_BYTES;

/** Times travel in microseconds, in 32 bits; how long an acknowledgement was held back in units of 8 microseconds. */
const TIME_MODULUS = 0x1_0000_0000;
const DELAY_UNIT_US = 8;
const MAX_UINT16 = 0xffff;
/** Held back for longer than can be told, or nothing to echo: no round trip can be measured with it. */
const NO_DELAY = MAX_UINT16;
/** How much later than it was a wire time may look, as fractions of a microsecond do not travel. */
const TIME_GRAIN_MS = 0.001;

/** Why a connection was reset, by its code. */
export const RESET_REASONS: readonly ResetReason[] = [
  "unknown",
  "aborted",
  "unread",
  "silent",
  "restarted",
  "path-mtu",
  "refused",
  "version",
];

/** Whether the bits of a SYN offer this version of the extended edition. */
export function isOffer(bits: number): boolean {
  return (bits & OFFER_MASK) === OFFER_BITS;
}

/** Whether the bits of a SYN offer the first version of the extended edition, which is not spoken any more. */
export function isFirstVersion(bits: number): boolean {
  return (bits & OFFER_MASK) === FIRST_VERSION_BITS;
}

/** The SYN|ACK that makes a client of the first version introduce itself; `acknowledgement` is the classic one. */
export function encodeFirstVersionSynAck(acknowledgement: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  encodeHeader(bytes, FIRST_VERSION_TAG, acknowledgement, FIRST_VERSION_ID, SYN | ACK | FIRST_VERSION_BITS);
  return bytes;
}

/** Whether a client of the first version introduces itself, which {@link encodeFirstVersionSynAck} asked it to. */
export function isFirstVersionHello({ acknowledgement, connectionId, bits }: Header): boolean {
  return acknowledgement === FIRST_VERSION_TAG && connectionId === FIRST_VERSION_ID && (bits & (HELLO | SYN)) === HELLO;
}

/** Answers a SYN of this edition where no connections are taken any more. Who has not seen the SYN does not know its nonce. */
export function encodeSynRefusal(nonce: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  encodeHeader(bytes, 0, nonce, 0, ACK | OFFER_BITS);
  return bytes;
}

/** Whether a datagram with the nonce of a SYN refuses it. */
export function isSynRefusal({ bits, connectionId }: Header): boolean {
  return bits === (ACK | OFFER_BITS) && connectionId === 0;
}

/** A packet taken apart. One record is reused: keep none of it by reference. */
export interface Packet {
  sequence: number;
  tag: number;
  bits: number;
  /** HELLO: the client's tag, the nonce of its SYN, and the last word of the SYN|ACK. */
  helloTag: number;
  helloNonce: number;
  helloProof: number;
  /**
   * ACK: the next sequence number expected, the free receive buffer, what is echoed, and how long it was held back, Infinity
   * where no round trip can be measured with it.
   */
  acknowledgement: number;
  windowBytes: number;
  echo: number;
  delayMs: number;
  /** ACK: selectively acknowledged ranges, `blocks[2 * i]` to `blocks[2 * i + 1]`; the first is a duplicate if so marked. */
  blockCount: number;
  blocks: Uint32Array;
  firstIsDuplicate: boolean;
  /** PROBE and PROBE_ANSWER */
  nonceHigh: number;
  nonceLow: number;
  probeBytes: number;
  /** RESET */
  resetCode: number;
  /** PARAMETERS: they lie in the datagram from here to before there. */
  parametersAt: number;
  parametersEnd: number;
  /** DATA */
  time: number;
  /** The datagram that it came in; its data lies there from `dataAt` to before `dataEnd`. */
  datagram: Uint8Array;
  dataAt: number;
  dataEnd: number;
}

export function emptyPacket(): Packet {
  return {
    sequence: 0,
    tag: 0,
    bits: 0,
    helloTag: 0,
    helloNonce: 0,
    helloProof: 0,
    acknowledgement: 0,
    windowBytes: 0,
    echo: 0,
    delayMs: 0,
    blockCount: 0,
    blocks: new Uint32Array(2 * 255),
    firstIsDuplicate: false,
    nonceHigh: 0,
    nonceLow: 0,
    probeBytes: 0,
    resetCode: 0,
    parametersAt: 0,
    parametersEnd: 0,
    time: 0,
    datagram: NO_BYTES,
    dataAt: 0,
    dataEnd: 0,
  };
}

const NO_BYTES = new Uint8Array(0);

/** Takes apart the packet at `at`. Returns where the next one begins, 0 when there is no valid packet here. */
export function decodePacket(datagram: Uint8Array, at: number, packet: Packet): number {
  if (datagram.length - at < EXTENDED_HEADER_BYTES) return 0;
  const bits = uint16(datagram, at + 10);
  const end = at + uint16(datagram, at + 12);
  if ((bits & EXTENDED) === 0 || (bits & SYN) !== 0 || end > datagram.length) return 0;
  // A shorter length would lead back into this packet, or to it for ever.
  if (end - at < EXTENDED_HEADER_BYTES) return 0;
  packet.sequence = uint32(datagram, at);
  packet.tag = uint32(datagram, at + 4);
  packet.bits = bits;
  packet.datagram = datagram;
  packet.dataAt = packet.dataEnd = 0;
  packet.parametersAt = packet.parametersEnd = 0;
  packet.blockCount = 0;
  return decodeParts(datagram, at + EXTENDED_HEADER_BYTES, end, packet) ? end : 0;
}

/**
 * How many packets were joined to this one, itself included. `segmentBytes`: the length of each but the last, which may have
 * been shorter; 0 where none were joined in this datagram. A longer one beside them that nothing was joined to is one.
 */
export function joinedPackets({ bits, dataAt, dataEnd }: Packet, segmentBytes: number): number {
  const dataBytes = segmentBytes - DATA_HEADER_BYTES;
  if (dataBytes <= 0 || (bits & ~PING) !== (EXTENDED | DATA | JOINED)) return 1;
  return Math.max(1, Math.ceil((dataEnd - dataAt) / dataBytes));
}

function decodeParts(bytes: Uint8Array, from: number, end: number, packet: Packet): boolean {
  const { bits } = packet;
  let at = from;
  if (bits & HELLO) {
    if (end - at < HELLO_BYTES) return false;
    packet.helloTag = uint32(bytes, at);
    packet.helloNonce = uint32(bytes, at + 4);
    packet.helloProof = uint16(bytes, at + 8);
    at += HELLO_BYTES;
  }
  if (bits & ACK) {
    at = decodeAck(bytes, at, end, packet);
    if (at === 0) return false;
  }
  if (bits & (PROBE | PROBE_ANSWER)) {
    const answer = (bits & PROBE) === 0;
    if (end - at < (answer ? PROBE_ANSWER_BYTES : PROBE_BYTES)) return false;
    packet.nonceHigh = uint32(bytes, at);
    packet.nonceLow = uint32(bytes, at + 4);
    packet.probeBytes = answer ? uint16(bytes, at + 8) : end - from + EXTENDED_HEADER_BYTES;
    if ((bits & PARAMETERS) !== 0) {
      packet.parametersAt = at + (answer ? PROBE_ANSWER_BYTES : PROBE_BYTES);
      packet.parametersEnd = end;
    }
    // Padding takes the rest of a probe.
    return (bits & DATA) === 0;
  }
  if (bits & RESET) {
    if (end - at < 2) return false;
    packet.resetCode = uint16(bytes, at);
    return true;
  }
  if (bits & DATA) {
    if (end - at < 4) return false;
    packet.time = uint32(bytes, at);
    packet.dataAt = at + 4;
    packet.dataEnd = end;
    return true;
  }
  if (bits & PARAMETERS) {
    packet.parametersAt = at;
    packet.parametersEnd = end;
    return true;
  }
  return at === end || (bits & RESERVED) !== 0;
}

/** What a peer has told of itself; 0 and null where it has not. */
export interface Parameters {
  readonly silenceTimeoutMs: number;
  readonly resetToken: Uint8Array | null;
}

/** The parameters of a packet; what is cut short or unknown is passed over, and so is all behind {@link MAX_PARAMETERS}. */
export function readParameters({ datagram, parametersAt, parametersEnd }: Packet): Parameters {
  let silenceTimeoutMs = 0;
  let resetToken: Uint8Array | null = null;
  let read = 0;
  for (let at = parametersAt; at < parametersEnd && read < MAX_PARAMETERS; ) {
    const number = datagram[at] as number;
    if (number === PARAMETER.padding) {
      at++;
      continue;
    }
    if (CONFUNDO_ASSERTIONS) steps.taken++;
    read++;
    const value = at + PARAMETER_HEADER_BYTES;
    const next = value + (datagram[at + 1] ?? 0);
    if (next > parametersEnd) break;
    if (number === PARAMETER.silenceTimeout && next - value === SILENCE_TIMEOUT_BYTES) {
      silenceTimeoutMs = uint32(datagram, value);
    } else if (number === PARAMETER.resetToken && next - value === RESET_TOKEN_BYTES) {
      resetToken = datagram.slice(value, next);
    }
    at = next;
  }
  return { silenceTimeoutMs, resetToken };
}

/** Answers a packet for a connection that is not known (RFC 9000 section 10.3). `tag` is that packet's. */
export function encodeStatelessReset(tag: number, connectionId: number, token: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(STATELESS_RESET_BYTES);
  const writer = new PacketWriter();
  writer.begin(bytes, 0, 0, tag, connectionId, RESET);
  writer.uint16(STATELESS_RESET);
  bytes.set(token, writer.at);
  writer.skip(token.length);
  writer.end();
  return bytes;
}

/** What a client shows in its HELLO, see {@link HELLO}. One record is reused: keep none of it by reference. */
export interface Introduction {
  tag: number;
  nonce: number;
  proof: number;
}

/** The introduction in a datagram that begins with a HELLO; false where it is cut short. */
export function readHello(datagram: Uint8Array, hello: Introduction): boolean {
  const at = EXTENDED_HEADER_BYTES;
  if (datagram.length < at + HELLO_BYTES) return false;
  hello.tag = uint32(datagram, at);
  hello.nonce = uint32(datagram, at + 4);
  hello.proof = uint16(datagram, at + 8);
  return true;
}

/** The client's tag in a HELLO of any version; null where it is cut short. */
export function readHelloTag(datagram: Uint8Array): number | null {
  return datagram.length < EXTENDED_HEADER_BYTES + 4 ? null : uint32(datagram, EXTENDED_HEADER_BYTES);
}

/** Refuses the client of a HELLO, whose tag that has. It is shorter than the HELLO. */
export function encodeRefusal(helloTag: number, connectionId: number, reason: ResetReason): Uint8Array {
  const bytes = new Uint8Array(EXTENDED_HEADER_BYTES + 2);
  const writer = new PacketWriter();
  writer.begin(bytes, 0, 0, helloTag, connectionId, RESET);
  writer.uint16(RESET_REASONS.indexOf(reason));
  writer.end();
  return bytes;
}

/** Whether a datagram is a stateless reset with this token. How long that takes does not depend on the token. */
export function isStatelessReset(datagram: Uint8Array, token: Uint8Array): boolean {
  if (datagram.length !== STATELESS_RESET_BYTES) return false;
  const at = STATELESS_RESET_BYTES - RESET_TOKEN_BYTES;
  let difference = (uint16(datagram, 10) ^ (EXTENDED | RESET)) | (uint16(datagram, at - 2) ^ STATELESS_RESET);
  for (let i = 0; i < RESET_TOKEN_BYTES; i++) difference |= (datagram[at + i] as number) ^ (token[i] as number);
  return difference === 0;
}

function decodeAck(bytes: Uint8Array, at: number, end: number, packet: Packet): number {
  if (end - at < ACK_BYTES) return 0;
  packet.acknowledgement = uint32(bytes, at);
  packet.windowBytes = uint32(bytes, at + 4);
  packet.echo = uint32(bytes, at + 8);
  const delay = uint16(bytes, at + 12);
  packet.delayMs = delay === NO_DELAY ? Number.POSITIVE_INFINITY : (delay * DELAY_UNIT_US) / 1000;
  packet.blockCount = bytes[at + 14] as number;
  packet.firstIsDuplicate = ((bytes[at + 15] as number) & 1) !== 0;
  at += ACK_BYTES;
  if (end - at < packet.blockCount * SACK_BLOCK_BYTES) return 0;
  for (let i = 0; i < 2 * packet.blockCount; i++, at += 4) packet.blocks[i] = uint32(bytes, at);
  if (CONFUNDO_ASSERTIONS) steps.taken += packet.blockCount;
  return at;
}

/** Writes a packet part by part. One writer is reused for all packets. */
export class PacketWriter {
  #out: Uint8Array = NO_BYTES;
  #start = 0;
  #at = 0;

  begin(out: Uint8Array, start: number, sequence: number, tag: number, connectionId: number, bits: number): void {
    this.#out = out;
    this.#start = start;
    this.#at = start;
    this.uint32(sequence);
    this.uint32(tag);
    this.uint16(connectionId);
    this.uint16(EXTENDED | bits);
    this.#at += 2;
  }

  /**
   * Begins another packet of a burst with the last one's header, `headerBytes` long, which differs in the number only. That is a
   * few ns more than writing it when that is optimized, and a tenth of the time before.
   */
  repeat(start: number, sequence: number, headerBytes: number): void {
    this.#out.copyWithin(start, this.#start, this.#start + headerBytes);
    this.#start = this.#at = start;
    this.uint32(sequence);
    this.#at = start + headerBytes;
  }

  /** Bytes written of the packet so far. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** Where the next byte goes, for data that is copied in by somebody else; say with `skip` how much that was. */
  get at(): number {
    return this.#at;
  }

  skip(bytes: number): void {
    this.#at += bytes;
  }

  /** Zeros up to a packet of `length` bytes. */
  pad(length: number): void {
    this.#out.fill(0, this.#at, this.#start + length);
    this.#at = this.#start + length;
  }

  parameters(silenceTimeoutMs: number, resetToken: Uint8Array | null): void {
    this.uint8(PARAMETER.silenceTimeout);
    this.uint8(SILENCE_TIMEOUT_BYTES);
    this.uint32(silenceTimeoutMs);
    if (resetToken === null) return;
    this.uint8(PARAMETER.resetToken);
    this.uint8(RESET_TOKEN_BYTES);
    this.#out.set(resetToken, this.#at);
    this.#at += RESET_TOKEN_BYTES;
  }

  nonce(high: number, low: number): void {
    this.uint32(high);
    this.uint32(low);
  }

  /** `blocks` holds `blockCount` pairs. */
  ack(
    acknowledgement: number,
    windowBytes: number,
    echo: number,
    delayMs: number,
    blocks: Uint32Array,
    blockCount: number,
    firstIsDuplicate: boolean,
  ): void {
    this.uint32(acknowledgement);
    this.uint32(windowBytes);
    this.uint32(echo);
    this.uint16(Math.min(NO_DELAY, Math.round((delayMs * 1000) / DELAY_UNIT_US)));
    this.uint8(blockCount);
    this.uint8(firstIsDuplicate ? 1 : 0);
    for (let i = 0; i < 2 * blockCount; i++) this.uint32(blocks[i] as number);
  }

  /** Fills in the length and returns it. */
  end(): number {
    const length = this.#at - this.#start;
    this.#out[this.#start + 12] = length >>> 8;
    this.#out[this.#start + 13] = length;
    return length;
  }

  uint8(value: number): void {
    this.#out[this.#at++] = value;
  }

  // Locals: a transfer is often over before these are optimized, and until then each use of a field is a call.

  uint16(value: number): void {
    const out = this.#out;
    const at = this.#at;
    out[at] = value >>> 8;
    out[at + 1] = value;
    this.#at = at + 2;
  }

  uint32(value: number): void {
    const out = this.#out;
    const at = this.#at;
    out[at] = value >>> 24;
    out[at + 1] = value >>> 16;
    out[at + 2] = value >>> 8;
    out[at + 3] = value;
    this.#at = at + 4;
  }
}

/** A time in ms as it travels. */
export function toWireTime(ms: number): number {
  return Math.floor(ms * 1000) % TIME_MODULUS;
}

/** How many ms ago, seen from `now`, a time was that travelled. */
export function wireTimeAge(now: number, time: number): number {
  const age = toWireTime(now) - time;
  return (age < 0 ? age + TIME_MODULUS : age) / 1000;
}

/** The time that travelled, on our clock again: at or little after the one that was meant, never before it. */
export function fromWireTime(now: number, time: number): number {
  return now - wireTimeAge(now, time) + TIME_GRAIN_MS;
}

export { ACK, FIN, SYN };

function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

function uint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}
