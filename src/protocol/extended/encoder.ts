import type { ConnectionStats, ResetReason } from "../connection.js";
import { HEADER_BYTES, MAX_SACK_BLOCKS, MAX_SACK_BLOCKS_WITH_DATA } from "../limits.js";
import { encodeHeader } from "../packet.js";
import { toSequence } from "../sequence.js";
import { traceReceived, traceSent } from "../trace.js";
import type { ExtendedConnectionOptions } from "./options.js";
import type { Nonce } from "./path-check.js";
import type { Receiver } from "./receiver.js";
import { SEQUENCE_MODULUS, type Sender } from "./sender.js";
import type { SentSegment } from "./sent-segments.js";
import {
  ACK,
  DATA,
  DATA_HEADER_BYTES,
  FIN,
  HELLO,
  MIN_PROBE_PACKET_BYTES,
  PARAMETERS,
  type Packet,
  PacketWriter,
  PING,
  PROBE,
  PROBE_ANSWER,
  PROOF_BITS,
  RESET,
  RESET_REASONS,
  STATELESS_RESET_BYTES,
  SYN,
  toWireTime,
} from "./wire.js";

/** Every packet of every connection is put together in the same place: nothing calls back in between. */
const writer = new PacketWriter();

/** Puts an extended connection's packets together, and logs them. Each method returns the packet's length. */
export class Encoder {
  /** What the peer wants to be addressed by, once it is known. */
  remoteTag: number;
  connectionId: number;
  /** The bits of the server's SYN|ACK that an introduction repeats. */
  proof: number;
  readonly #options: ExtendedConnectionOptions;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #stats: ConnectionStats;
  /** What the packet before has. */
  #lastBits = 0;

  constructor(options: ExtendedConnectionOptions, sender: Sender, receiver: Receiver, stats: ConnectionStats) {
    this.#options = options;
    this.remoteTag = options.remoteTag;
    this.connectionId = options.connectionId;
    this.proof = options.proof;
    this.#sender = sender;
    this.#receiver = receiver;
    this.#stats = stats;
  }

  synAck(out: Uint8Array): number {
    const { localTag, nonce } = this.#options;
    encodeHeader(out, localTag, nonce, this.connectionId, SYN | ACK | this.proof);
    this.#stats.datagramsSent++;
    return HEADER_BYTES;
  }

  reset(out: Uint8Array, reason: ResetReason): number {
    this.#begin(out, 0, RESET, this.#sender.sndNxt);
    writer.uint16(RESET_REASONS.indexOf(reason));
    return this.#finish(RESET, this.#sender.sndNxt, false);
  }

  /** Padded to `bytes`. */
  probe(out: Uint8Array, nonce: Nonce, bytes: number, introducing: boolean, telling: boolean): number {
    const bits = PROBE | (introducing ? HELLO : 0) | (telling ? PARAMETERS : 0);
    this.#begin(out, 0, bits, this.#sender.sndNxt);
    writer.nonce(nonce.high, nonce.low);
    if (telling) this.#writeParameters();
    const length = Math.max(bytes, MIN_PROBE_PACKET_BYTES);
    if (length > writer.length) writer.pad(length);
    return this.#finish(bits, this.#sender.sndNxt, false);
  }

  probeAnswer(out: Uint8Array, nonce: Nonce, probeBytes: number, telling: boolean): number {
    const bits = PROBE_ANSWER | (telling ? PARAMETERS : 0);
    this.#begin(out, 0, bits, this.#sender.sndNxt);
    writer.nonce(nonce.high, nonce.low);
    writer.uint16(probeBytes);
    if (telling) this.#writeParameters();
    return this.#finish(bits, this.#sender.sndNxt, false);
  }

  /** A packet behind the others of a datagram that tells our parameters. It is none of its own in the log. */
  parameters(out: Uint8Array, at: number): number {
    this.#lastBits = PARAMETERS;
    this.#begin(out, at, PARAMETERS, this.#sender.sndNxt);
    this.#writeParameters();
    return writer.end();
  }

  /** Asks for a sign of life, with a packet that is long enough to be answered with a stateless reset. */
  longPing(out: Uint8Array, at: number): number {
    const bits = PING | PARAMETERS;
    this.#lastBits = bits;
    this.#begin(out, at, bits, this.#sender.sndNxt);
    writer.pad(STATELESS_RESET_BYTES + 2);
    return this.#finish(bits, this.#sender.sndNxt, false);
  }

  #writeParameters(): void {
    const { silenceTimeoutMs, resetToken } = this.#options;
    writer.parameters(silenceTimeoutMs, resetToken);
  }

  /** What `bits` say: an introduction, an acknowledgement, data. */
  packet(out: Uint8Array, at: number, bits: number, segment: SentSegment | null, now: number): number {
    const sender = this.#sender;
    const start = segment?.start ?? sender.sndNxt;
    // Behind another one in the burst that is nothing but data, its header is the template.
    const repeats = at > 0 && bits === DATA && this.#lastBits === DATA;
    this.#lastBits = bits;
    if (repeats) writer.repeat(at, toSequence(start, this.#options.localTag, SEQUENCE_MODULUS), DATA_HEADER_BYTES);
    else this.#begin(out, at, bits, start);
    if ((bits & ACK) !== 0) {
      this.#receiver.writeAck(writer, segment === null ? MAX_SACK_BLOCKS : MAX_SACK_BLOCKS_WITH_DATA, now);
    }
    if (segment !== null) {
      if (!repeats) writer.uint32(toWireTime(now));
      const bytes = Math.min(segment.end, sender.dataEnd) - start;
      if (bytes > 0) sender.buffer.copy(start - 1, bytes, out, writer.at);
      writer.skip(bytes);
    }
    return this.#finish(bits, start, segment !== null && segment.transmissions > 1);
  }

  /** A line of the log for a packet that has arrived. */
  traceReceived({ sequence, acknowledgement, bits }: Packet): void {
    const { trace } = this.#options;
    const { cwnd, controller } = this.#sender;
    const header = {
      sequence,
      acknowledgement: bits & ACK ? acknowledgement : 0,
      connectionId: this.connectionId,
      flags: bits & (ACK | FIN),
    };
    trace?.(traceReceived(header, cwnd, controller.ssthresh));
  }

  #begin(out: Uint8Array, at: number, bits: number, position: number): void {
    const { localTag, nonce } = this.#options;
    const sequence = toSequence(position, localTag, SEQUENCE_MODULUS);
    writer.begin(out, at, sequence, this.remoteTag, this.connectionId, bits);
    if ((bits & HELLO) === 0) return;
    writer.uint32(localTag);
    writer.uint32(nonce);
    writer.uint16((this.proof & PROOF_BITS) | SYN | ACK);
  }

  #finish(bits: number, position: number, again: boolean): number {
    this.#stats.datagramsSent++;
    if (this.#options.trace !== null) this.#traceSent(bits, position, again);
    return writer.end();
  }

  #traceSent(bits: number, position: number, again: boolean): void {
    const { localTag, trace } = this.#options;
    const { cwnd, controller } = this.#sender;
    const sequence = toSequence(position, localTag, SEQUENCE_MODULUS);
    const acknowledgement = bits & ACK ? toSequence(this.#receiver.next, this.remoteTag, SEQUENCE_MODULUS) : 0;
    const header = { sequence, acknowledgement, connectionId: this.connectionId, flags: bits & (ACK | FIN) };
    trace?.(traceSent(header, cwnd, controller.ssthresh, again));
  }
}
