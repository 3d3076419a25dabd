import { BLOCK_BYTES, MAX_RECEIVE_GAPS } from "./limits.js";

/** Received bytes from `start` to `end`, apart from what is in order. */
interface Range {
  start: number;
  end: number;
}

/**
 * Reassembles a direction's data, addressed by offset in the stream, within a fixed number of bytes.
 *
 * Bytes are copied into blocks: a reader gets up to a block at once however small the packets were, and a peer that sends
 * single bytes makes us hold no more than one that sends full segments.
 */
export class ReceiveBuffer {
  readonly capacityBytes: number;
  /** Offset of the next byte a reader gets. */
  readOffset = 0;
  /** Offset of the next byte missing: what the cumulative acknowledgement says. */
  nextOffset = 0;
  /** What arrived ahead of `nextOffset`: disjoint, not touching, in order. */
  #ahead: Range[] = [];
  #blocks = new Map<number, Uint8Array>();

  constructor(capacityBytes: number) {
    this.capacityBytes = capacityBytes;
  }

  /** Bytes that wait for the reader. */
  get readableBytes(): number {
    return this.nextOffset - this.readOffset;
  }

  /** The memory that is held at the moment, for tests and statistics. */
  get allocatedBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  /** Keeps what is new of `bytes`. False when there was something new but no room for it. */
  insert(offset: number, bytes: Uint8Array): boolean {
    const end = offset + bytes.length;
    if (end <= this.nextOffset) return true;
    if (end > this.readOffset + this.capacityBytes) return false;
    const start = Math.max(offset, this.nextOffset);
    if (start === this.nextOffset && this.#ahead.length === 0) {
      this.#store(start, bytes.subarray(start - offset));
      this.nextOffset = end;
      return true;
    }
    return this.#insertAhead(start, end, bytes, offset);
  }

  /** The next bytes in order, at most a block of them, or null. The reader owns them. */
  read(): Uint8Array | null {
    if (this.readOffset === this.nextOffset) return null;
    const key = Math.floor(this.readOffset / BLOCK_BYTES);
    const from = this.readOffset - key * BLOCK_BYTES;
    const to = Math.min(this.nextOffset - key * BLOCK_BYTES, BLOCK_BYTES);
    const bytes = (this.#blocks.get(key) as Uint8Array).subarray(from, to);
    this.readOffset = key * BLOCK_BYTES + to;
    // The rest of a block is filled by what comes next: a fresh one for each read would cost, and pin, a block a packet.
    if (to === BLOCK_BYTES) this.#blocks.delete(key);
    return bytes;
  }

  /** Forgets everything that is buffered. */
  clear(): void {
    this.#blocks.clear();
    this.#ahead = [];
    this.readOffset = this.nextOffset;
  }

  #insertAhead(start: number, end: number, bytes: Uint8Array, offset: number): boolean {
    const ahead = this.#ahead;
    let first = 0;
    while (first < ahead.length && (ahead[first] as Range).end < start) first++;
    let last = first;
    while (last < ahead.length && (ahead[last] as Range).start <= end) last++;
    if (first === last && ahead.length >= MAX_RECEIVE_GAPS && start > this.nextOffset) return false;

    // Bytes that are there already may have been handed out with their block's memory: only the gaps are written.
    let at = start;
    for (let i = first; i < last; i++) {
      const range = ahead[i] as Range;
      if (at < range.start) this.#store(at, bytes.subarray(at - offset, range.start - offset));
      at = Math.max(at, range.end);
    }
    if (at < end) this.#store(at, bytes.subarray(at - offset));

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

  #store(offset: number, bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const key = Math.floor((offset + at) / BLOCK_BYTES);
      const from = offset + at - key * BLOCK_BYTES;
      const part = Math.min(bytes.length - at, BLOCK_BYTES - from);
      let block = this.#blocks.get(key);
      if (block === undefined) {
        block = new Uint8Array(BLOCK_BYTES);
        this.#blocks.set(key, block);
      }
      block.set(bytes.subarray(at, at + part), from);
      at += part;
    }
  }
}
