import { invariant, steps } from "../invariant/index.js";
import { BLOCK_BYTES, MAX_RECEIVE_GAPS } from "./limits.js";
import { type Memory, PORTABLE_MEMORY } from "./memory.js";

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
 * Reassembles a direction's data, addressed by offset in the stream, within a fixed number of bytes.
 *
 * What comes while the reader keeps up is handed on as it is, and so is what must wait, if it is long and fills memory of its
 * own. The rest is copied into blocks: a reader gets up to a block at once however small the packets were, and a peer that
 * sends single bytes makes us hold no more than one that sends full segments. A connection that is quiet holds no block.
 */
export class ReceiveBuffer {
  readonly capacityBytes: number;
  /** Offset of the next byte a reader gets. */
  readOffset = 0;
  /** Offset of the next byte missing: what the cumulative acknowledgement says. */
  nextOffset = 0;
  /** What arrived ahead of `nextOffset`: disjoint, not touching, in order. */
  #ahead: Range[] = [];
  /** By their number in the stream; none until the reader falls behind. */
  #blocks: Map<number, Uint8Array> | null = null;
  readonly #blockBytes: number;
  readonly #maxGaps: number;
  readonly #memory: Memory;
  /** Chunks in memory of their own, in order: the first of what is readable, and all of it while the reader keeps up. */
  #direct: Uint8Array[] = [];
  /** Offset behind them. */
  #directEnd = 0;

  constructor(
    capacityBytes: number,
    memory: Memory = PORTABLE_MEMORY,
    blockBytes: number = BLOCK_BYTES,
    maxGaps: number = MAX_RECEIVE_GAPS,
  ) {
    this.capacityBytes = capacityBytes;
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
    const direct = this.#direct.reduce((bytes, chunk) => bytes + chunk.length, 0);
    return (this.#blocks?.size ?? 0) * this.#blockBytes + direct;
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
    if (end > this.readOffset + this.capacityBytes) return false;
    if (CONFUNDO_ASSERTIONS) this.#check();
    const start = offset > next ? offset : next;
    const freshFrom = from + start - offset;
    if (start > next || this.#ahead.length > 0) return this.#insertAhead(start, end, bytes, freshFrom);
    if (start === this.readOffset) {
      // Nothing else waits for the reader.
      this.#blocks?.clear();
      this.#keep(this.#owned(bytes, freshFrom, to, lent), end);
    } else if (lent && start === this.#directEnd && fillsItsMemory(bytes, to - freshFrom)) {
      this.#keep(bytes.subarray(freshFrom, to), end);
    } else {
      this.#gatherDirect();
      this.#store(start, bytes, freshFrom, to);
    }
    this.nextOffset = end;
    return true;
  }

  #keep(chunk: Uint8Array, end: number): void {
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
    this.#store(this.readOffset, chunk, 0, chunk.length);
  }

  /** The next bytes in order, at most a block of them, or null. The reader owns them. */
  read(): Uint8Array | null {
    if (this.readOffset === this.nextOffset) return null;
    const direct = this.#direct.shift();
    if (direct !== undefined) {
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
    if (to === blockBytes) this.#blocks?.delete(key);
    return bytes;
  }

  /** Gives back a block that is kept only to be filled up, as an idle connection should. */
  trim(): void {
    if (this.readOffset === this.nextOffset && this.#ahead.length === 0) this.#blocks = null;
  }

  /** Forgets everything that is buffered. */
  clear(): void {
    this.#direct = [];
    this.#blocks = null;
    this.#ahead = [];
    this.readOffset = this.nextOffset;
  }

  /** `bytes` has what lies at `start` at `from`. */
  #insertAhead(start: number, end: number, bytes: Uint8Array, from: number): boolean {
    const ahead = this.#ahead;
    const first = this.#firstReaching(start);
    let last = first;
    while (last < ahead.length && (ahead[last] as Range).start <= end) last++;
    if (first === last && ahead.length >= this.#maxGaps && start > this.nextOffset) return false;

    // Bytes that are there already may have been handed out with their block's memory: only the gaps are written.
    let at = start;
    for (let i = first; i < last; i++) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const range = ahead[i] as Range;
      if (at < range.start) this.#store(at, bytes, from + at - start, from + range.start - start);
      at = Math.max(at, range.end);
    }
    if (at < end) this.#store(at, bytes, from + at - start, from + end - start);

    const merged = { start, end };
    if (first < last) {
      merged.start = Math.min(start, (ahead[first] as Range).start);
      merged.end = Math.max(end, (ahead[last - 1] as Range).end);
    }
    if (merged.start <= this.nextOffset) {
      this.nextOffset = merged.end;
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
    this.#blocks.set(key, block);
    return block;
  }
}

function fillsItsMemory(bytes: Uint8Array, length: number): boolean {
  return length >= DIRECT_BYTES && length >= (1 - WASTED_SHARE) * bytes.buffer.byteLength;
}
