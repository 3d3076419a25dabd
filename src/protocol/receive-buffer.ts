import { invariant, steps } from "../invariant/index.js";
import { BLOCK_BYTES, MAX_RECEIVE_GAPS, MIN_RECEIVE_WINDOW_BYTES, SPARSE_BYTES, SPARSE_MULTIPLE } from "./limits.js";
import { type Memory, PORTABLE_MEMORY } from "./memory.js";
import { ReceiveBudget } from "./receive-budget.js";

/** Received bytes from `start` to `end`, apart from what is in order. */
export interface Range {
  start: number;
  end: number;
}

/** A lone chunk shorter than this is put into a block when more comes before the reader does. */
const DIRECT_BYTES = 4096;
/** What wastes no more of its memory than this share may wait for the reader as it is, behind others. */
const WASTED_SHARE = 1 / 8;

/**
 * Reassembles a direction's data, addressed by offset in the stream, within a number of bytes, and within a budget that it may
 * share with others.
 *
 * What comes while the reader keeps up is handed on as it is, and so is what must wait, if it is long and fills memory of its
 * own. The rest is copied into blocks: a reader gets up to a block at once however small the packets were, and a peer that
 * sends single bytes makes us hold no more than one that sends full segments. A connection that is quiet holds no block.
 */
export class ReceiveBuffer {
  readonly capacityBytes: number;
  /** What may lie behind the reader at the moment, at most {@link capacityBytes}. */
  windowBytes: number;
  /** Data before this offset is taken in any case: the peer has been told so. */
  promisedEnd = 0;
  /** Offset of the next byte a reader gets. */
  readOffset = 0;
  /** Offset of the next byte missing: what the cumulative acknowledgement says. */
  nextOffset = 0;
  /** What arrived ahead of `nextOffset`: disjoint, not touching, in order. */
  #ahead: Range[] = [];
  /** By their number in the stream; none until the reader falls behind. */
  #blocks: Map<number, Uint8Array> | null = null;
  /** Of the blocks that there are. */
  #blockBytes: number;
  readonly #largeBlockBytes: number;
  readonly #maxGaps: number;
  readonly #memory: Memory;
  /** Chunks in memory of their own, in order: the first of what is readable, and all of it while the reader keeps up. */
  #direct: Uint8Array[] = [];
  /** Offset behind them. */
  #directEnd = 0;
  /** Bytes that have come ahead of `nextOffset`. */
  #aheadBytes = 0;
  /** Memory that is taken, and counted in the budget. */
  #takenBytes = 0;
  /** Null once nothing more comes. */
  #budget: ReceiveBudget | null;

  constructor(
    capacityBytes: number,
    memory: Memory = PORTABLE_MEMORY,
    blockBytes: number = BLOCK_BYTES,
    maxGaps: number = MAX_RECEIVE_GAPS,
    budget: ReceiveBudget = new ReceiveBudget(),
  ) {
    this.capacityBytes = this.windowBytes = capacityBytes;
    this.#budget = budget;
    this.#largeBlockBytes = blockBytes;
    this.#memory = memory;
    this.#blockBytes = blockBytes;
    this.#maxGaps = maxGaps;
  }

  /** What arrived ahead of `nextOffset`, in order. */
  get ahead(): readonly Readonly<Range>[] {
    return this.#ahead;
  }

  /** Which of the ranges ahead has the byte at `offset`, -1 for none. */
  aheadIndex(offset: number): number {
    const index = this.#firstReaching(offset + 1);
    const range = this.#ahead[index];
    return range !== undefined && range.start <= offset ? index : -1;
  }

  /** Whether nothing of what lies from `start` to before `end` is there yet. */
  misses(start: number, end: number): boolean {
    if (start < this.nextOffset) return false;
    const range = this.#ahead[this.#firstReaching(start + 1)];
    return range === undefined || range.start >= end;
  }

  /** Bytes that wait for the reader. */
  get readableBytes(): number {
    return this.nextOffset - this.readOffset;
  }

  /** The memory that is held at the moment, for tests and statistics. */
  get allocatedBytes(): number {
    return this.#takenBytes;
  }

  /**
   * Keeps what is new of `bytes` from `from` to before `to`. False when there was something new but no room for it. `lent`:
   * what takes more than half of its ArrayBuffer is ours from now on, and need not be copied; what is a small part of one
   * always is.
   */
  insert(offset: number, bytes: Uint8Array, lent = false, from = 0, to: number = bytes.length): boolean {
    const end = offset + to - from;
    const next = this.nextOffset;
    // Nothing is no range: it would be told the peer, and take the place of one.
    if (end <= next || from === to) return true;
    if (end > this.readOffset + this.windowBytes && end > this.promisedEnd) return false;
    if (CONFUNDO_ASSERTIONS) this.#check();
    const start = offset > next ? offset : next;
    const freshFrom = from + start - offset;
    if (start > next || this.#ahead.length > 0) {
      return this.#hasRoom(start, end) && this.#insertAhead(start, end, bytes, freshFrom);
    }
    if (start === this.readOffset) {
      // Nothing else waits for the reader.
      this.#dropBlocks();
      this.#keep(this.#owned(bytes, freshFrom, to, lent), end);
    } else if (!this.#hasRoom(start, end)) {
      return false;
    } else if (lent && start === this.#directEnd && fillsItsMemory(bytes, to - freshFrom)) {
      this.#keep(bytes.subarray(freshFrom, to), end);
    } else {
      this.#gatherDirect();
      this.#store(start, bytes, freshFrom, to);
    }
    this.nextOffset = end;
    return true;
  }

  /**
   * Whether there is memory for what lies from `start` to `end`. What is in order is always taken up to the least window, and
   * otherwise while the budget lasts; what is ahead, unless too little data takes too much memory.
   */
  #hasRoom(start: number, end: number): boolean {
    const inOrder = start === this.nextOffset;
    if (inOrder && end - this.readOffset <= MIN_RECEIVE_WINDOW_BYTES) return true;
    if (this.#budget?.isSpent) {
      this.#budget.refusals++;
      return false;
    }
    if (inOrder || this.#takenBytes <= SPARSE_BYTES) return true;
    const usedBytes = this.nextOffset - this.readOffset + this.#aheadBytes + end - start;
    return (
      this.#takenBytes <= SPARSE_BYTES + SPARSE_MULTIPLE * usedBytes ||
      (this.#hasBlock(start) && this.#hasBlock(end - 1))
    );
  }

  #hasBlock(offset: number): boolean {
    return this.#blocks?.has(Math.floor(offset / this.#blockBytes)) ?? false;
  }

  /** Memory is taken, or given back where `bytes` is negative. */
  #take(bytes: number): void {
    if (this.#budget === null) return;
    this.#takenBytes += bytes;
    this.#budget.usedBytes += bytes;
  }

  #dropBlocks(): void {
    if (this.#blocks === null || this.#blocks.size === 0) return;
    this.#take(-this.#blocks.size * this.#blockBytes);
    this.#blocks.clear();
  }

  #keep(chunk: Uint8Array, end: number): void {
    this.#take(chunk.length);
    this.#direct.push(chunk);
    this.#directEnd = end;
  }

  #owned(bytes: Uint8Array, from: number, to: number, lent: boolean): Uint8Array {
    const length = to - from;
    const isOurs = lent && 2 * length > bytes.buffer.byteLength;
    if (isOurs || length < DIRECT_BYTES) {
      const part = length === bytes.length ? bytes : bytes.subarray(from, to);
      return isOurs ? part : new Uint8Array(part);
    }
    const copy = this.#memory.allocate(length);
    this.#memory.copy(bytes, from, to, copy, 0);
    return copy;
  }

  #gatherDirect(): void {
    const [chunk] = this.#direct;
    if (chunk === undefined || this.#direct.length > 1 || chunk.length >= DIRECT_BYTES) return;
    this.#direct = [];
    this.#take(-chunk.length);
    this.#store(this.readOffset, chunk, 0, chunk.length);
  }

  /** The next bytes in order, at most a block of them, or null. The reader owns them. */
  read(): Uint8Array | null {
    if (this.readOffset === this.nextOffset) return null;
    const direct = this.#direct.shift();
    if (direct !== undefined) {
      this.#take(-direct.length);
      this.readOffset += direct.length;
      return direct;
    }
    const blockBytes = this.#blockBytes;
    const key = Math.floor(this.readOffset / blockBytes);
    const from = this.readOffset - key * blockBytes;
    const to = Math.min(this.nextOffset - key * blockBytes, blockBytes);
    const bytes = this.#block(key).subarray(from, to);
    this.readOffset = key * blockBytes + to;
    // The rest of a block is filled by what comes next: a fresh one for each read would cost, and pin, a block a packet.
    if (to === blockBytes && this.#blocks?.delete(key)) this.#take(-blockBytes);
    return bytes;
  }

  /** Gives back a block that is kept only to be filled up, as an idle connection should. */
  trim(): void {
    if (this.readOffset !== this.nextOffset || this.#ahead.length > 0) return;
    this.#dropBlocks();
    this.#blocks = null;
  }

  /** Forgets everything that is buffered. */
  clear(): void {
    this.#dropAhead();
    this.#dropBlocks();
    this.#take(-this.#takenBytes);
    this.#direct = [];
    this.#blocks = null;
    this.readOffset = this.nextOffset;
  }

  /**
   * Nothing more comes: what is ahead is given back at once, and what is in order, which may still be read, counts no more in
   * the budget, as a reader may forget it.
   */
  close(): void {
    this.#dropAhead();
    this.#take(-this.#takenBytes);
    this.#budget = null;
  }

  /** The blocks that nobody has got a part of are given back without waiting for the garbage collector. */
  #dropAhead(): void {
    this.#ahead = [];
    this.#aheadBytes = 0;
    const last = Math.floor((this.nextOffset - 1) / this.#blockBytes);
    for (const [key, block] of this.#blocks ?? []) {
      if (key <= last) continue;
      this.#blocks?.delete(key);
      this.#take(-this.#blockBytes);
      this.#memory.release?.(block);
    }
  }

  /** `bytes` has what lies at `start` at `from`. */
  #insertAhead(start: number, end: number, bytes: Uint8Array, from: number): boolean {
    const ahead = this.#ahead;
    const first = this.#firstReaching(start);
    let last = first;
    while (last < ahead.length && (ahead[last] as Range).start <= end) last++;
    if (first === last && ahead.length >= this.#maxGaps && start > this.nextOffset) return false;
    const next = this.nextOffset;

    // Bytes that are there already may have been handed out with their block's memory: only the gaps are written.
    let at = start;
    for (let i = first; i < last; i++) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const range = ahead[i] as Range;
      if (at < range.start) {
        this.#aheadBytes += range.start - at;
        this.#store(at, bytes, from + at - start, from + range.start - start);
      }
      at = Math.max(at, range.end);
    }
    if (at < end) {
      this.#aheadBytes += end - at;
      this.#store(at, bytes, from + at - start, from + end - start);
    }

    const merged = { start, end };
    if (first < last) {
      merged.start = Math.min(start, (ahead[first] as Range).start);
      merged.end = Math.max(end, (ahead[last - 1] as Range).end);
    }
    if (merged.start <= this.nextOffset) {
      this.nextOffset = merged.end;
      this.#aheadBytes -= merged.end - next;
      ahead.splice(first, last - first);
    } else {
      ahead.splice(first, last - first, merged);
    }
    return true;
  }

  /** What is ahead is disjoint, not touching and in order, behind what is in order, and within the buffer. */
  #check(): void {
    if (!CONFUNDO_ASSERTIONS) return;
    const { readOffset, nextOffset, capacityBytes } = this;
    let aheadBytes = 0;
    for (const { start, end } of this.#ahead) aheadBytes += end - start;
    invariant(aheadBytes === this.#aheadBytes, `${this.#aheadBytes} bytes ahead, and ranges of ${aheadBytes}`);
    const directBytes = this.#direct.reduce((bytes, chunk) => bytes + chunk.length, 0);
    const taken = (this.#blocks?.size ?? 0) * this.#blockBytes + directBytes;
    invariant(this.#budget === null || taken === this.#takenBytes, `${taken} bytes are taken, not ${this.#takenBytes}`);
    invariant(readOffset <= nextOffset, `${readOffset} was read and ${nextOffset} has come`);
    invariant(nextOffset - readOffset <= capacityBytes, `${nextOffset - readOffset} bytes of ${capacityBytes}`);
    invariant(this.#ahead.length <= this.#maxGaps, `${this.#ahead.length} ranges ahead`);
    let before = nextOffset;
    for (const { start, end } of this.#ahead) {
      invariant(before < start && start < end, `a range from ${start} to ${end} behind ${before}`);
      before = end;
    }
    invariant(this.#ahead.length === 0 || before <= readOffset + capacityBytes, "more is ahead than there is room for");
  }

  /** Index of the first range that ends at or behind `offset`. Most data arrives behind everything else. */
  #firstReaching(offset: number): number {
    const ahead = this.#ahead;
    let low = 0;
    let high = ahead.length;
    if (high > 0 && (ahead[high - 1] as Range).end < offset) return high;
    while (low < high) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const middle = (low + high) >> 1;
      if ((ahead[middle] as Range).end < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts `bytes`, from `from` to before `to`, where `offset` is. */
  #store(offset: number, bytes: Uint8Array, from: number, to: number): void {
    if (this.#blocks === null || this.#blocks.size === 0) {
      // A small window is not to be exceeded by far by the blocks that it begins and ends in.
      const isSmall = this.windowBytes <= MIN_RECEIVE_WINDOW_BYTES;
      this.#blockBytes = isSmall ? Math.min(BLOCK_BYTES, this.#largeBlockBytes) : this.#largeBlockBytes;
    }
    const blockBytes = this.#blockBytes;
    while (from < to) {
      const key = Math.floor(offset / blockBytes);
      const at = offset - key * blockBytes;
      const part = Math.min(to - from, blockBytes - at);
      this.#memory.copy(bytes, from, from + part, this.#block(key), at);
      from += part;
      offset += part;
    }
  }

  #block(key: number): Uint8Array {
    this.#blocks ??= new Map();
    const known = this.#blocks.get(key);
    if (known !== undefined) return known;
    const block = this.#memory.allocate(this.#blockBytes);
    this.#take(this.#blockBytes);
    this.#blocks.set(key, block);
    return block;
  }
}

function fillsItsMemory(bytes: Uint8Array, length: number): boolean {
  return length >= DIRECT_BYTES && length >= (1 - WASTED_SHARE) * bytes.buffer.byteLength;
}
