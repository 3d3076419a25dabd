/**
 * Sends a large file such that what the mirror has of it is only named: at first in an older version, whose chunks are
 * known, and then anywhere. Chunks are offered some way ahead of what is sent, so that answers come while others are under
 * way; content waits in memory for its answer and is read once.
 *
 * Cutting costs time, so that a new file is asked about only where that is likely to pay: the start is, while the other end
 * prepares for the file; where the mirror has nothing, ever longer stretches are sent as they are.
 */
import { chunkHash, chunkLength, chunkRecord, type Matcher, MOST_CHUNK_BYTES } from "./chunk.js";
import { type Deferred, deferred } from "./deferred.js";
import {
  ALWAYS_ASKED_BYTES,
  EDITED_CHUNKS,
  FIRST_UNASKED_BYTES,
  MAX_COPIED_CHUNKS,
  MAX_DATA_BYTES,
  MAX_OFFERED_BYTES,
  MOST_UNASKED_BYTES,
  MOST_UNASKED_FILES,
  OFFER_ON_BYTES,
  OFFERED_CHUNKS,
  PATIENT_FILES,
  PROBE_BYTES,
  SAMPLE_BYTES,
  SAMPLE_SHARE,
} from "./limits.js";
import { isKnown } from "./offered.js";

export interface HoleSteps {
  /** Bytes of the hole that comes next in the file, which is named and not read; 0 where data comes. */
  readonly zeros: () => number;
  /** Bytes that come next in the file before there may be a hole. */
  readonly data: () => number;
  /** Passes over so many bytes of a hole. */
  readonly skip: (bytes: number) => Promise<void>;
  /** So many zeros come next. Resolves when there is room for more. */
  readonly send: (bytes: number) => Promise<void>;
}

export interface AskingOptions {
  /** Bytes of the file. */
  readonly size: number;
  /** An older version of which the other end has told what it consists of. Default: there is none. */
  readonly matcher?: Matcher | undefined;
  /** Whether the other end knows what an offer is. */
  readonly offers: boolean;
  /** The number of the first chunk offered: they go on from those of the older version. */
  readonly first: number;
  /** Fills the buffer with what comes next of it. */
  readonly fill: (buffer: Buffer) => Promise<void>;
  /** Holes of the file. Default: there are none. */
  readonly holes?: HoleSteps | undefined;
  /** Offers chunks; the answers are given to {@link Asking.known} in the same order. */
  readonly offer: (records: Buffer) => void;
  /** So many chunks of the older version, or of those that were offered, come next. */
  readonly copy: (first: number, count: number, bytes: number) => void;
  /** This comes next. Resolves when there is room for more. */
  readonly send: (content: Buffer) => Promise<void>;
  /** Nothing up to there is needed. */
  readonly skip: (offset: number) => Promise<void>;
  /** All up to there comes next, read and sent without asking. */
  readonly pass: (offset: number) => Promise<void>;
  /** Throws when there is no use in going on. */
  readonly check: () => void;
}

/** Says which new files are worth asking about: those of one round, one after the other. Pure. */
export class Curiosity {
  /** Files in a row of which the mirror had nothing. */
  #misses = 0;
  #unasked = 0;

  asks(size: number): boolean {
    if (size >= ALWAYS_ASKED_BYTES) return true;
    const every = Math.min(2 ** Math.floor(this.#misses / PATIENT_FILES), MOST_UNASKED_FILES);
    this.#unasked = (this.#unasked + 1) % every;
    return this.#unasked === 0;
  }

  learn(found: boolean): void {
    this.#misses = found ? 0 : this.#misses + 1;
  }
}

interface Chunk {
  readonly number: number;
  readonly content: Buffer;
  readonly hash: number;
  /** Whether the mirror has it; `undefined` until it has answered. */
  known: boolean | undefined;
  /** Zeros of a hole, in place of content. */
  readonly zeros?: number;
}

const NOTHING = Buffer.alloc(0);
const BLOCK_BYTES: number = 4 * MOST_CHUNK_BYTES;

export class Asking {
  readonly #options: AskingOptions;
  /** Cut and not sent, in order. */
  readonly #queue: Chunk[] = [];
  #queuedBytes = 0;
  /** Offered and not answered, in order, in groups as they were offered. */
  readonly #asked: Chunk[][] = [];
  #batch: Chunk[] = [];
  /** Chunks that come next and are not named yet. */
  #run = { first: 0, count: 0, bytes: 0 };
  #next: number;
  /** How many in a row the older version has not. */
  #unmatched = 0;
  #block: Buffer = NOTHING;
  /** Read and not cut. */
  #view: Buffer = NOTHING;
  /** Up to where the file was read. */
  #offset = 0;
  /** Up to where it is worth asking. */
  #until: number;
  #unasked = FIRST_UNASKED_BYTES;
  #answer: Deferred | undefined;
  #closed = false;
  #found = false;

  constructor(options: AskingOptions) {
    this.#options = options;
    this.#next = options.first;
    const sample = Math.min(PROBE_BYTES, Math.max(SAMPLE_BYTES, Math.floor(options.size / SAMPLE_SHARE)));
    this.#until = options.matcher === undefined ? sample : Number.POSITIVE_INFINITY;
  }

  /** Whether the mirror had something of what was offered. */
  get found(): boolean {
    return this.#found;
  }

  /** Offers what the file begins with, before it is known from where on it is needed. */
  async sample(): Promise<void> {
    while (this.#cutOffset < Math.min(this.#until, this.#options.size)) await this.#cut();
    this.#offerBatch();
  }

  /** What was offered first of all that is not answered. Returns false where nothing was. */
  known(bits: Uint8Array): boolean {
    const chunks = this.#asked.shift();
    if (chunks === undefined || bits.length !== Math.ceil(chunks.length / 8)) return false;
    for (const [i, chunk] of chunks.entries()) chunk.known = isKnown(bits, i);
    const hit = chunks.findLast(({ known }) => known);
    if (hit !== undefined) {
      this.#found = true;
      this.#until = Math.max(this.#until, this.#cutOffset + OFFER_ON_BYTES);
      this.#unasked = FIRST_UNASKED_BYTES;
    }
    this.#answer?.resolve();
    this.#answer = undefined;
    return true;
  }

  /** There will be no more answers. */
  close(): void {
    this.#closed = true;
    this.#answer?.resolve();
  }

  /** Sends the file from `start` on. Resolves when all of it is sent. */
  async run(start: number): Promise<void> {
    const { size, pass } = this.#options;
    if (start > 0) await this.#skipTo(start);
    for (;;) {
      await this.#ask();
      if (this.#cutOffset >= size) return;
      await this.#sendView();
      const to = Math.min(size, this.#offset + this.#unasked);
      await pass(to);
      this.#offset = to;
      if (to >= size) return;
      this.#unasked = Math.min(this.#unasked * 2, MOST_UNASKED_BYTES);
      this.#until = to + PROBE_BYTES;
    }
  }

  get #cutOffset(): number {
    return this.#offset - this.#view.length;
  }

  /** Asks and sends, until there is nothing more to read, or asking does not pay. */
  async #ask(): Promise<void> {
    const { size, check } = this.#options;
    for (;;) {
      check();
      const more = this.#cutOffset < Math.min(this.#until, size);
      if (more && this.#queuedBytes < MAX_OFFERED_BYTES) await this.#cut();
      else {
        this.#offerBatch();
        if (this.#queue[0] === undefined) return this.#name();
        if (this.#queue[0].known === undefined) {
          this.#name();
          await this.#answered();
        }
      }
      await this.#sendReady();
    }
  }

  /** Cuts one chunk off. */
  async #cut(): Promise<void> {
    const { matcher, offers } = this.#options;
    await this.#fillView();
    if (this.#view.length === 0) return await this.#cutHole();
    const { length, hash, index } = matcher?.next(this.#view) ?? cutFrom(this.#view);
    const content = this.#view.subarray(0, length);
    this.#view = this.#view.subarray(length);
    this.#unmatched = index === undefined ? this.#unmatched + 1 : 0;
    // What was edited a little is new: only what is more than that may be from somewhere else.
    const plain = !offers || (matcher !== undefined && this.#unmatched <= EDITED_CHUNKS);
    const known = index !== undefined ? true : plain ? false : undefined;
    const chunk: Chunk = { number: index ?? (plain ? -1 : this.#next++), content, hash, known };
    this.#queue.push(chunk);
    this.#queuedBytes += length;
    if (known !== undefined) return;
    this.#batch.push(chunk);
    if (this.#batch.length >= OFFERED_CHUNKS) this.#offerBatch();
  }

  /** Reads as much as the next chunk may have: less where a hole comes, or the file ends. */
  async #fillView(): Promise<void> {
    const { size, holes } = this.#options;
    while (this.#view.length < MOST_CHUNK_BYTES && this.#offset < size) {
      if ((holes?.zeros() ?? 0) > 0) return;
      await this.#read();
    }
  }

  async #cutHole(): Promise<void> {
    const { holes } = this.#options;
    const zeros = holes?.zeros() ?? 0;
    if (zeros === 0) return;
    await holes?.skip(zeros);
    this.#offset += zeros;
    this.#queue.push({ number: -1, content: NOTHING, hash: 0, known: true, zeros });
  }

  /** Into a new block where chunks of the one before are waiting. */
  async #read(): Promise<void> {
    const { size, fill, holes } = this.#options;
    const left = this.#view.length;
    const wanted = Math.max(this.#until - this.#offset, MOST_CHUNK_BYTES);
    const before = holes?.data() ?? size;
    const bytes = Math.min(BLOCK_BYTES - left, wanted, size - this.#offset, before);
    if (this.#queue.length > 0 || this.#block.length < left + bytes) {
      const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, Math.max(left + bytes, size - this.#cutOffset)));
      this.#view.copy(block);
      this.#block = block;
    } else this.#block.set(this.#view);
    await fill(this.#block.subarray(left, left + bytes));
    this.#view = this.#block.subarray(0, left + bytes);
    this.#offset += bytes;
  }

  #offerBatch(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#asked.push(batch);
    this.#options.offer(Buffer.concat(batch.map(({ content, hash }) => chunkRecord(content.length, hash))));
  }

  async #answered(): Promise<void> {
    if (this.#closed) return;
    this.#answer ??= deferred();
    await this.#answer.promise;
  }

  /** Sends what was answered, in order. */
  async #sendReady(): Promise<void> {
    let taken = 0;
    for (const { number, content, known, zeros = 0 } of this.#queue) {
      if (known === undefined) break;
      taken++;
      if (zeros > 0) {
        this.#name();
        await this.#options.holes?.send(zeros);
        continue;
      }
      this.#queuedBytes -= content.length;
      const { first, count, bytes } = this.#run;
      const goesOn = known && number === first + count && number !== this.#options.first && count < MAX_COPIED_CHUNKS;
      if (goesOn) this.#run = { first, count: count + 1, bytes: bytes + content.length };
      else this.#name();
      if (known && !goesOn) this.#run = { first: number, count: 1, bytes: content.length };
      if (!known) await this.#options.send(content);
    }
    this.#queue.splice(0, taken);
  }

  #name(): void {
    const { first, count, bytes } = this.#run;
    if (count > 0) this.#options.copy(first, count, bytes);
    this.#run = { first: 0, count: 0, bytes: 0 };
  }

  /** What was read to find the end of a chunk, and is not asked about. */
  async #sendView(): Promise<void> {
    const view = this.#view;
    this.#view = NOTHING;
    for (let at = 0; at < view.length; at += MAX_DATA_BYTES)
      await this.#options.send(view.subarray(at, at + MAX_DATA_BYTES));
  }

  /** The other end has the file up to there: of what was read, nothing is needed but what is behind. */
  async #skipTo(start: number): Promise<void> {
    const uncut = Buffer.concat([...this.#queue.map(({ content }) => content), this.#view]);
    this.#view = uncut.subarray(Math.min(uncut.length, uncut.length - (this.#offset - start)));
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    await this.#options.skip(Math.max(start, this.#offset));
    this.#offset = Math.max(start, this.#offset);
    this.#until = Math.max(this.#until, start + PROBE_BYTES);
  }
}

function cutFrom(view: Buffer): ReturnType<Matcher["next"]> {
  const length = chunkLength(view);
  return { length, hash: chunkHash(view.subarray(0, length)), index: undefined };
}
