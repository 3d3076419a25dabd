import { steps } from "../invariant/index.js";
import { BLOCK_BYTES } from "./limits.js";
import { type Memory, PORTABLE_MEMORY } from "./memory.js";

/** Blocks kept for reuse, as many as a nearby peer's window takes: a fresh one must be collected, which costs more than filling it. */
const MAX_FREE_BLOCKS = 64;

/** The first block of a connection that has been quiet; each further one is twice as large, up to a whole block. */
const FIRST_BLOCK_BYTES = 1024;

/**
 * The bytes that were written and are not yet acknowledged, addressed by their offset in the stream.
 *
 * The newest chunk is borrowed from its writer until {@link own} copies what is left of it: a large chunk is sent from
 * where it is, and only the last window of it is ever copied.
 */
export class SendBuffer {
  /** Size of the blocks that are made from now on. */
  blockBytes: number = BLOCK_BYTES;
  /** Offset of the first byte still held. */
  start = 0;
  /** Offset behind the last byte held. */
  end = 0;
  /** Held bytes in order; the first begins `#skipped` bytes before {@link start}. */
  #chunks: Uint8Array[] = [];
  #skipped = 0;
  #borrowed = false;
  /** For each chunk the block that it lies in; null for a borrowed one. No two chunks share a block. */
  #blocks: (Uint8Array | null)[] = [];
  #free: Uint8Array[] = [];
  /** The block that owned chunks are gathered in, and how much of it is taken. It is always the last chunk's memory. */
  #block: Uint8Array | null = null;
  #blockUsed = 0;
  #nextBlockBytes = FIRST_BLOCK_BYTES;
  /** Where the last copy ended, as the next one usually begins there. */
  #cursorChunk = 0;
  #cursorOffset = 0;
  readonly #memory: Memory;

  constructor(memory: Memory = PORTABLE_MEMORY) {
    this.#memory = memory;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Appends a chunk by reference. The one before it must have been owned. */
  append(chunk: Uint8Array): void {
    if (this.#borrowed) throw new Error("append() before own(): the writer still lends the last chunk");
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#blocks.push(null);
    this.end += chunk.length;
    this.#borrowed = true;
  }

  /** Copies what is left of the borrowed chunk, so that its writer may use the memory again. */
  own(): void {
    if (!this.#borrowed) return;
    this.#borrowed = false;
    let rest = this.#chunks.pop() as Uint8Array;
    this.#blocks.pop();
    if (this.#chunks.length === 0) {
      rest = rest.subarray(this.#skipped);
      this.#skipped = 0;
    }
    this.#forgetCursor();
    while (rest.length > 0) rest = rest.subarray(this.#gather(rest));
  }

  /** Lets go of everything before `offset`. */
  release(offset: number): void {
    if (offset <= this.start) return;
    this.#skipped += offset - this.start;
    this.start = offset;
    let whole = 0;
    while (whole < this.#chunks.length && this.#skipped >= this.#chunk(whole).length) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      this.#skipped -= this.#chunk(whole).length;
      whole++;
    }
    if (whole > 0) {
      this.#chunks.splice(0, whole);
      for (const block of this.#blocks.splice(0, whole)) this.#recycle(block);
      if (this.#chunks.length === 0) {
        this.#borrowed = false;
        this.#blockUsed = 0;
      }
      this.#forgetCursor();
    }
  }

  /** Copies `length` held bytes from `offset` on into `out` at `at`. */
  copy(offset: number, length: number, out: Uint8Array, at: number): void {
    if (offset < this.#cursorOffset || this.#cursorChunk >= this.#chunks.length) this.#forgetCursor();
    let index = this.#cursorChunk;
    let chunkStart = this.#cursorOffset;
    while (length > 0) {
      if (CONFUNDO_ASSERTIONS) steps.taken++;
      const chunk = this.#chunk(index);
      const from = offset - chunkStart;
      if (from < chunk.length) {
        const part = Math.min(length, chunk.length - from);
        this.#memory.copy(chunk, from, from + part, out, at);
        offset += part;
        at += part;
        length -= part;
        if (length === 0) break;
      }
      chunkStart += chunk.length;
      index++;
    }
    this.#cursorChunk = index;
    this.#cursorOffset = chunkStart;
  }

  /** Copies the beginning of `bytes` behind what is held and says how much of it. */
  #gather(bytes: Uint8Array): number {
    if (this.#block === null || this.#blockUsed === this.#block.length) {
      this.#block = this.#free.pop() ?? this.#newBlock(bytes.length);
      this.#blockUsed = 0;
    }
    const from = this.#blockUsed;
    const taken = Math.min(bytes.length, this.#block.length - from);
    this.#memory.copy(bytes, 0, taken, this.#block, from);
    this.#blockUsed += taken;
    const last = this.#chunks.at(-1);
    if (from > 0 && last !== undefined && last.buffer === this.#block.buffer) {
      this.#chunks[this.#chunks.length - 1] = this.#block.subarray(last.byteOffset, this.#blockUsed);
    } else {
      this.#chunks.push(this.#block.subarray(from, this.#blockUsed));
      this.#blocks.push(this.#block);
    }
    return taken;
  }

  #newBlock(leastBytes: number): Uint8Array {
    while (this.#nextBlockBytes < leastBytes) this.#nextBlockBytes *= 2;
    const block = this.#memory.allocate(Math.min(this.#nextBlockBytes, this.blockBytes));
    this.#nextBlockBytes = 2 * block.length;
    return block;
  }

  #recycle(block: Uint8Array | null): void {
    if (block === null || block === this.#block || block.length < this.blockBytes) return;
    if (this.#free.length < MAX_FREE_BLOCKS) this.#free.push(block);
  }

  /** Gives back what is kept for reuse only, as an idle connection should. */
  trim(): void {
    this.#free = [];
    if (this.#chunks.length > 0) return;
    // Empty arrays keep the room that they have had.
    this.#chunks = [];
    this.#blocks = [];
    this.#block = null;
    this.#nextBlockBytes = FIRST_BLOCK_BYTES;
  }

  #chunk(index: number): Uint8Array {
    return this.#chunks[index] as Uint8Array;
  }

  #forgetCursor(): void {
    this.#cursorChunk = 0;
    this.#cursorOffset = this.start - this.#skipped;
  }
}
