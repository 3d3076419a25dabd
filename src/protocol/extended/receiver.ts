import { EXTENDED_BLOCK_BYTES, MAX_EXTENDED_GAPS, MAX_SACK_BLOCKS } from "../limits.js";
import { type Range, ReceiveBuffer } from "../receive-buffer.js";
import { toPosition, toSequence } from "../sequence.js";
import { MAX_ACK_DELAY_MS, SEQUENCE_MODULUS } from "./sender.js";
import { ACK_BYTES, type Packet, type PacketWriter, SACK_BLOCK_BYTES } from "./wire.js";

const NEVER: number = Number.POSITIVE_INFINITY;

/** At the start every second segment is acknowledged, so that the peer's window opens quickly (RFC 9293 section 3.8.6.3). */
const QUICK_SEGMENTS = 64;
/** Later one acknowledgement for so many bytes will do; a peer whose window is full asks for one (PING). */
const BYTES_PER_ACK: number = 24 * 1024;
/** The share of the window that a reader must free before the peer is told without other occasion. */
const WINDOW_UPDATE_SHARE = 8;

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
  #finPosition = NEVER;
  #segments = 0;
  #unacknowledged = 0;
  #echo = 0;
  #echoArrivedAt = 0;
  /** Position that the advertised window reaches to. */
  #advertisedEnd = 0;
  readonly #blocks = new Uint32Array(2 * MAX_SACK_BLOCKS);
  /** Where the last segment was put; its range is reported first (RFC 2018 section 4). */
  #newest = 0;
  /** Ranges are reported in turns where there are more than fit. */
  #turn = 0;
  #duplicateStart = -1;
  #duplicateEnd = 0;

  constructor(windowBytes: number) {
    this.buffer = new ReceiveBuffer(windowBytes, EXTENDED_BLOCK_BYTES, MAX_EXTENDED_GAPS);
  }

  /** The next position expected. */
  get next(): number {
    return this.buffer.nextOffset + (this.finReceived ? 2 : 1);
  }

  /** Takes a packet's data, and its FIN. True: there is something new to read, or the end. */
  receive(packet: Packet, fin: boolean, now: number): boolean {
    const { buffer } = this;
    const position = toPosition(packet.sequence, this.isn, SEQUENCE_MODULUS, buffer.nextOffset + 1);
    const offset = position - 1;
    const end = offset + packet.data.length;
    this.#echo = packet.time;
    this.#echoArrivedAt = now;
    this.#segments++;
    if (end > this.#finPosition - 1) return this.#refuse();
    const before = buffer.nextOffset;
    const gapsBefore = buffer.ahead.length;
    if (packet.data.length > 0) this.#insert(offset, end, packet.data);
    if (fin && this.#finPosition === NEVER) this.#finPosition = position + packet.data.length;
    const finished = !this.finReceived && buffer.nextOffset + 1 === this.#finPosition;
    if (finished) this.finReceived = true;
    this.#schedule(packet.data.length, fin || gapsBefore !== buffer.ahead.length, now);
    this.bytesReceived += buffer.nextOffset - before;
    return finished || buffer.nextOffset > before;
  }

  /** Call after reading: whether the peer should hear how much room there is now. */
  afterRead(): void {
    const freed = this.#windowEnd() - this.#advertisedEnd;
    const { capacityBytes } = this.buffer;
    const advertised = this.#advertisedEnd - this.next;
    if (freed >= capacityBytes / WINDOW_UPDATE_SHARE || (freed > 0 && advertised < BYTES_PER_ACK)) this.ackDue = true;
  }

  /** Bytes that an acknowledgement takes in a packet. */
  ackBytes(maxBlocks: number): number {
    const duplicate = this.#duplicateStart >= 0 ? 1 : 0;
    return ACK_BYTES + SACK_BLOCK_BYTES * Math.min(maxBlocks, duplicate + this.buffer.ahead.length);
  }

  writeAck(writer: PacketWriter, maxBlocks: number, now: number): void {
    const { next } = this;
    const windowEnd = this.#windowEnd();
    const duplicate = this.#duplicateStart >= 0;
    const count = this.#collectBlocks(maxBlocks);
    const delayMs = this.#segments === 0 ? 0 : now - this.#echoArrivedAt;
    writer.ack(
      toSequence(next, this.isn, SEQUENCE_MODULUS),
      Math.max(0, windowEnd - next),
      this.#echo,
      delayMs,
      this.#blocks,
      count,
      duplicate,
    );
    this.#advertisedEnd = windowEnd;
    this.#duplicateStart = -1;
    this.#unacknowledged = 0;
    this.ackDue = false;
    this.ackAt = NEVER;
  }

  #insert(offset: number, end: number, data: Uint8Array): void {
    const { buffer } = this;
    if (end <= buffer.nextOffset || this.#isAhead(offset, end)) {
      this.#duplicateStart = offset + 1;
      this.#duplicateEnd = end + 1;
      this.ackDue = true;
      return;
    }
    const start = Math.max(offset, buffer.nextOffset);
    buffer.insert(start, offset < start ? data.subarray(start - offset) : data, true);
    this.#newest = start;
  }

  #isAhead(offset: number, end: number): boolean {
    return this.buffer.ahead.some((range) => range.start <= offset && end <= range.end);
  }

  /** Data behind the FIN: a peer that does that is confused, and gets its acknowledgement and nothing else. */
  #refuse(): boolean {
    this.ackDue = true;
    return false;
  }

  #schedule(bytes: number, atOnce: boolean, now: number): void {
    this.#unacknowledged += bytes;
    const enough = this.#segments <= QUICK_SEGMENTS ? 2 * bytes : Math.max(2 * bytes, BYTES_PER_ACK);
    if (atOnce || this.#unacknowledged >= enough) this.ackDue = true;
    else if (this.ackAt === NEVER) this.ackAt = now + MAX_ACK_DELAY_MS;
  }

  #windowEnd(): number {
    return this.buffer.readOffset + this.buffer.capacityBytes + 1;
  }

  /** The duplicate, if there was one (RFC 2883 section 4), the newest range, then others in turns. */
  #collectBlocks(maxBlocks: number): number {
    const { ahead } = this.buffer;
    let count = 0;
    const put = (start: number, end: number) => {
      this.#blocks[2 * count] = toSequence(start, this.isn, SEQUENCE_MODULUS);
      this.#blocks[2 * count + 1] = toSequence(end, this.isn, SEQUENCE_MODULUS);
      count++;
    };
    if (this.#duplicateStart >= 0) put(this.#duplicateStart, this.#duplicateEnd);
    if (ahead.length === 0) return count;
    const newest = ahead.findIndex((range) => range.start <= this.#newest && this.#newest < range.end);
    if (newest >= 0) put((ahead[newest] as Range).start + 1, (ahead[newest] as Range).end + 1);
    for (let tries = 0; tries < ahead.length && count < maxBlocks; tries++) {
      this.#turn = this.#turn + 1 < ahead.length ? this.#turn + 1 : 0;
      if (this.#turn === newest) continue;
      const range = ahead[this.#turn] as Range;
      put(range.start + 1, range.end + 1);
    }
    return count;
  }
}
