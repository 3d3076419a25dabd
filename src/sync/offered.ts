/** The chunks that a client has offered of one file on its way in: which of them the mirror has, and where. */
import { CHUNK_RECORD_BYTES, ChunkList, MOST_CHUNK_BYTES } from "./chunk.js";
import { SyncError } from "./errors.js";
import { MAX_FOUND_CHUNKS } from "./limits.js";
import type { FoundChunk, Reuse } from "./reuse.js";

export class Offered {
  readonly #reuse: Reuse;
  /** By number, in order, those that the mirror has and that are not copied yet. */
  readonly #found = new Map<number, FoundChunk>();
  #next: number;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** The first one offered has the number `first`. */
  constructor(reuse: Reuse, first: number) {
    this.#reuse = reuse;
    this.#next = first;
  }

  /** One bit for each chunk, the first one the highest of its byte: whether the mirror has it. */
  offer(records: Uint8Array): Promise<Buffer> {
    const list = new ChunkList(Buffer.from(records));
    const looking = this.#tail.then(() => this.#look(list));
    this.#tail = looking.catch(() => {});
    return looking;
  }

  /** Gives chunks out to be copied and then released; those before them are let go of. */
  take(first: number, count: number): FoundChunk[] {
    const taken: FoundChunk[] = [];
    for (const [number, chunk] of this.#found) {
      if (number >= first + count) break;
      this.#found.delete(number);
      if (number < first) this.#reuse.release(chunk);
      else taken.push(chunk);
    }
    if (taken.length === count) return taken;
    for (const chunk of taken) this.#reuse.release(chunk);
    throw new SyncError("ERR_CHECKSUM", "there are no such chunks");
  }

  release(chunk: FoundChunk): void {
    this.#reuse.release(chunk);
  }

  close(): void {
    this.#closed = true;
    for (const chunk of this.#found.values()) this.#reuse.release(chunk);
    this.#found.clear();
  }

  async #look(list: ChunkList): Promise<Buffer> {
    const bits = Buffer.alloc(Math.ceil(list.count / 8));
    for (let i = 0; i < list.count; i++) {
      const length = list.length(i);
      const number = this.#next++;
      if (this.#closed || this.#found.size >= MAX_FOUND_CHUNKS) continue;
      const chunk = await this.#reuse.find(list.hash(i), length);
      if (chunk === undefined) continue;
      if (this.#closed) {
        this.#reuse.release(chunk);
        continue;
      }
      this.#found.set(number, chunk);
      bits[i >> 3] = (bits[i >> 3] ?? 0) | (0x80 >> (i & 7));
    }
    return bits;
  }
}

/** What to copy for chunks that follow each other: those that do so in their source too are one stretch. */
export function stretches(
  chunks: readonly FoundChunk[],
): { readonly fd: number; readonly start: number; end: number }[] {
  const found: { fd: number; start: number; end: number }[] = [];
  for (const { source, offset, length } of chunks) {
    const last = found.at(-1);
    if (last?.fd === source.fd && last.end === offset) last.end += length;
    else found.push({ fd: source.fd, start: offset, end: offset + length });
  }
  return found;
}

/** Whether the bit of the chunk at `index` is set. */
export function isKnown(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0;
}

/** Whether these can be chunks of a file. */
export function areChunks(records: Uint8Array): boolean {
  const list = new ChunkList(Buffer.from(records));
  if (records.length % CHUNK_RECORD_BYTES !== 0) return false;
  return Array.from({ length: list.count }, (_, i) => list.length(i)).every((n) => n > 0 && n <= MOST_CHUNK_BYTES);
}
