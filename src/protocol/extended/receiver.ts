import { steps } from "../../invariant/index.js";
import {
  ADMITTED_WINDOW_BYTES,
  EXTENDED_BLOCK_BYTES,
  MAX_EXTENDED_GAPS,
  MAX_SACK_BLOCKS,
  MIN_RECEIVE_WINDOW_BYTES,
  WINDOW_GROWTH,
} from "../limits.js";
import type { Memory } from "../memory.js";
import { ReceiveBudget } from "../receive-budget.js";
import { type Range, ReceiveBuffer } from "../receive-buffer.js";
import { toPosition, toSequence } from "../sequence.js";
import { bytesPerAck, MAX_ACK_DELAY_MS } from "./ack-policy.js";
import { SEQUENCE_MODULUS } from "./sender.js";
import {
  ACK_BYTES,
  DATA_HEADER_BYTES,
  FIN,
  joinedPackets,
  type Packet,
  type PacketWriter,
  SACK_BLOCK_BYTES,
} from "./wire.js";

const NEVER: number = Number.POSITIVE_INFINITY;

/** At the start every second segment is acknowledged, so that the peer's window opens quickly (RFC 9293 section 3.8.6.3). */
const QUICK_SEGMENTS = 64;
/** The share of the window that a reader must free before the peer is told without other occasion. */
const WINDOW_UPDATE_SHARE = 8;

/** What an acknowledgement reports, for all connections: nothing calls back in between. */
const blocks = new Uint32Array(2 * MAX_SACK_BLOCKS);

/** The receiving side of an extended connection: reassembly, and when and what to acknowledge. */
export class Receiver {
  readonly buffer: ReceiveBuffer;
  isn = 0;
  /** The FIN has arrived behind everything else. */
  finReceived = false;
  /** An acknowledgement is to be sent now. */
  ackDue = false;
  /** One is to be sent by then. */
  ackAt: number = NEVER;
  bytesReceived = 0;
  /** How often there was no room for what came. */
  overflows = 0;
  #finPosition = NEVER;
  #segments = 0;
  #unacknowledged = 0;
  #acknowledgedAt = 0;
  #echo = 0;
  #echoArrivedAt = 0;
  /** Position that the advertised window reaches to. Every peer counts on the least window. */
  #advertisedEnd: number = 1 + MIN_RECEIVE_WINDOW_BYTES;
  readonly #budget: ReceiveBudget;
  #admitted = false;
  /** Where the last segment was put; its range is reported first (RFC 2018 section 4). */
  #newest = 0;
  /** Ranges are reported in turns where there are more than fit. */
  #turn = 0;
  #duplicateStart = 0;
  #duplicateEnd = 0;

  constructor(windowBytes: number, memory: Memory, budget: ReceiveBudget = new ReceiveBudget()) {
    this.buffer = new ReceiveBuffer(windowBytes, memory, EXTENDED_BLOCK_BYTES, MAX_EXTENDED_GAPS, budget);
    this.buffer.windowBytes = this.buffer.promisedEnd = MIN_RECEIVE_WINDOW_BYTES;
    this.#budget = budget;
  }

  /** The peer may have more than the least window. */
  get admitted(): boolean {
    return this.#admitted;
  }

  /** Admits the peer: see {@link admitted}. It is told so at once where it has sent something. */
  admit(): void {
    if (this.#admitted) return;
    this.#admitted = true;
    this.buffer.windowBytes = this.#windowBytes();
    if (this.#segments > 0 && !this.finReceived) this.ackDue = true;
  }

  /** The next position expected. */
  get next(): number {
    return this.buffer.nextOffset + (this.finReceived ? 2 : 1);
  }

  /**
   * Takes a packet's data, and its FIN. `segmentBytes`: the length of those that were joined to it, see `joinedPackets`. True:
   * there is something new to read, or the end.
   */
  receive(packet: Packet, segmentBytes: number, now: number): boolean {
    const { buffer } = this;
    const fin = (packet.bits & FIN) !== 0;
    const packets = joinedPackets(packet, segmentBytes);
    const position = toPosition(packet.sequence, this.isn, SEQUENCE_MODULUS, buffer.nextOffset + 1);
    const offset = position - 1;
    const end = offset + packet.dataEnd - packet.dataAt;
    // What was there already is told of packet by packet: the sender reckons with duplicates.
    if (packets > 1 && !buffer.misses(offset, end)) return this.#receiveApart(packet, segmentBytes, now);
    if (this.#contradicts(offset, end, fin)) return this.#refuse();
    this.#echo = packet.time;
    this.#echoArrivedAt = now;
    const quick = this.#segments < QUICK_SEGMENTS;
    this.#segments += packets;
    const before = buffer.nextOffset;
    const gapsBefore = buffer.ahead.length;
    if (end > offset && !this.#insert(offset, end, packet)) {
      this.overflows++;
      return this.#refuse();
    }
    if (fin) this.#finPosition = end + 1;
    const finished = !this.finReceived && buffer.nextOffset + 1 === this.#finPosition;
    if (finished) this.finReceived = true;
    // RFC 5681 section 4.2: what makes, fills or shortens a gap, at either of its ends, is acknowledged at once.
    const gaps =
      gapsBefore !== buffer.ahead.length ||
      (gapsBefore > 0 && (buffer.nextOffset > before || this.#beginsRange(offset)));
    this.#unacknowledged += end - offset;
    const lastBytes = end - offset - (packets - 1) * (segmentBytes - DATA_HEADER_BYTES);
    this.#schedule(lastBytes, quick, fin || gaps, now);
    this.bytesReceived += buffer.nextOffset - before;
    return finished || buffer.nextOffset > before;
  }

  #receiveApart(packet: Packet, segmentBytes: number, now: number): boolean {
    const { sequence, dataAt, dataEnd } = packet;
    const step = segmentBytes - DATA_HEADER_BYTES;
    let isNew = false;
    for (let at = dataAt; at < dataEnd; at += step) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      packet.sequence = (sequence + at - dataAt) % SEQUENCE_MODULUS;
      packet.dataAt = at;
      packet.dataEnd = Math.min(at + step, dataEnd);
      if (this.receive(packet, 0, now)) isNew = true;
    }
    return isNew;
  }

  /** Call after reading: whether the peer should hear how much room there is now. */
  afterRead(): void {
    // Not for a few bytes: no silly windows (RFC 9293 section 3.8.6.2.2).
    const freed = this.#windowEnd() - this.#advertisedEnd;
    if (freed >= this.buffer.windowBytes / WINDOW_UPDATE_SHARE && !this.finReceived) this.ackDue = true;
  }

  /** Bytes that an acknowledgement takes in a packet. */
  ackBytes(maxBlocks: number): number {
    const others = (this.#duplicateStart > 0 ? 1 : 0) + (this.#finIsAhead() ? 1 : 0);
    return ACK_BYTES + SACK_BLOCK_BYTES * Math.min(maxBlocks, others + this.buffer.ahead.length);
  }

  writeAck(writer: PacketWriter, maxBlocks: number, now: number): void {
    const { next } = this;
    const windowEnd = this.#windowEnd();
    const duplicate = this.#duplicateStart > 0;
    const count = this.#collectBlocks(maxBlocks);
    const delayMs = this.#segments === 0 ? NEVER : now - this.#echoArrivedAt;
    writer.ack(
      toSequence(next, this.isn, SEQUENCE_MODULUS),
      Math.max(0, windowEnd - next),
      this.#echo,
      delayMs,
      blocks,
      count,
      duplicate,
    );
    this.#advertisedEnd = windowEnd;
    this.buffer.promisedEnd = windowEnd - 1;
    this.#duplicateStart = 0;
    this.#unacknowledged = 0;
    this.#acknowledgedAt = now;
    this.ackDue = false;
    this.ackAt = NEVER;
  }

  /** False: there is no room for it. */
  #insert(offset: number, end: number, packet: Packet): boolean {
    const { buffer } = this;
    if (end <= buffer.nextOffset || end <= (buffer.ahead[buffer.aheadIndex(offset)]?.end ?? 0)) {
      this.#duplicateStart = offset + 1;
      this.#duplicateEnd = end + 1;
      this.ackDue = true;
      return true;
    }
    const start = Math.max(offset, buffer.nextOffset);
    this.#newest = start;
    return buffer.insert(start, packet.datagram, true, packet.dataAt + start - offset, packet.dataEnd);
  }

  /** What came at `offset` made a range there, or made one begin earlier. */
  #beginsRange(offset: number): boolean {
    const { buffer } = this;
    return buffer.ahead[buffer.aheadIndex(offset)]?.start === offset;
  }

  /** Before the beginning, behind the FIN, another FIN, or a FIN before what has arrived. */
  #contradicts(offset: number, end: number, fin: boolean): boolean {
    if (offset < 0 || end >= this.#finPosition) return true;
    if (!fin) return false;
    const { ahead, nextOffset } = this.buffer;
    return this.#finPosition === NEVER ? end < (ahead.at(-1)?.end ?? nextOffset) : end + 1 !== this.#finPosition;
  }

  /** The FIN has arrived, and is missing what comes directly before it. */
  #finIsAhead(): boolean {
    if (this.#finPosition === NEVER || this.finReceived) return false;
    return (this.buffer.ahead.at(-1)?.end ?? 0) + 1 !== this.#finPosition;
  }

  /** A peer that is confused, or does not keep to the window, gets its acknowledgement and nothing else. */
  #refuse(): boolean {
    this.ackDue = true;
    return false;
  }

  #schedule(lastBytes: number, quick: boolean, atOnce: boolean, now: number): void {
    const enough = quick ? 2 * lastBytes : bytesPerAck(lastBytes, now - this.#acknowledgedAt);
    if (atOnce || this.#unacknowledged >= enough) this.ackDue = true;
    else if (this.ackAt === NEVER) this.ackAt = now + MAX_ACK_DELAY_MS;
  }

  /** What was offered is not taken back. */
  #windowEnd(): number {
    const { buffer } = this;
    buffer.windowBytes = this.#windowBytes();
    return Math.max(this.#advertisedEnd, buffer.readOffset + buffer.windowBytes + 1);
  }

  /** A window grows with what is read, up to the capacity and to what the budget leaves. */
  #windowBytes(): number {
    const { readOffset, capacityBytes } = this.buffer;
    if (!this.#admitted) return MIN_RECEIVE_WINDOW_BYTES;
    const grownBytes = Math.max(ADMITTED_WINDOW_BYTES, WINDOW_GROWTH * readOffset);
    return Math.floor(Math.min(capacityBytes, grownBytes, this.#budget.windowBytes));
  }

  /** The duplicate, if there was one (RFC 2883 section 4), the newest range, then others in turns. */
  #collectBlocks(maxBlocks: number): number {
    const { ahead } = this.buffer;
    let count = 0;
    if (this.#duplicateStart > 0) this.#put(count++, this.#duplicateStart, this.#duplicateEnd);
    if (count < maxBlocks && this.#finIsAhead()) this.#put(count++, this.#finPosition, this.#finPosition + 1);
    if (ahead.length === 0 || count === maxBlocks) return count;
    const newest = this.buffer.aheadIndex(this.#newest);
    if (newest >= 0) this.#putRange(count++, ahead[newest] as Range);
    for (let tries = 0; tries < ahead.length && count < maxBlocks; tries++) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      this.#turn = this.#turn + 1 < ahead.length ? this.#turn + 1 : 0;
      if (this.#turn !== newest) this.#putRange(count++, ahead[this.#turn] as Range);
    }
    return count;
  }

  /** Offsets become positions; a FIN that follows directly belongs to the range. */
  #putRange(index: number, { start, end }: Readonly<Range>): void {
    this.#put(index, start + 1, end + (end + 1 === this.#finPosition ? 2 : 1));
  }

  #put(index: number, start: number, end: number): void {
    blocks[2 * index] = toSequence(start, this.isn, SEQUENCE_MODULUS);
    blocks[2 * index + 1] = toSequence(end, this.isn, SEQUENCE_MODULUS);
  }
}
