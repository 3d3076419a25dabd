/** Compression where it pays: zstd over whole frames, tried on a sample first, and left for a while when it is in vain. */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { malformed } from "./bytes.js";
import { MAX_PACKED_BYTES } from "./limits.js";

/** Fast: at this level it keeps up with most networks. */
const OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: 64 * 1024 };
/** Less than this is gone before it is compressed. */
const LEAST_BYTES = 512;
/** Of more than this, a sample is compressed first. */
const SAMPLED_BYTES = 16 * 1024;
const SAMPLE_BYTES = 4096;
/** What does not become smaller than this part of itself is sent as it is. */
const WORTHWHILE = 0.9;
/** At most so many pieces are sent as they are before another one is tried. */
const MOST_SKIPPED = 32;

/** Decides, piece by piece, whether to compress. */
export class Packer {
  #skip = 0;
  #patience = 0;

  /** `plain` compressed, or `undefined` where that does not pay. */
  pack(plain: Uint8Array): Buffer | undefined {
    if (plain.length < LEAST_BYTES || plain.length > MAX_PACKED_BYTES) return undefined;
    if (this.#skip > 0) {
      this.#skip--;
      return undefined;
    }
    const packed = shrinks(sample(plain)) ? zstdCompressSync(plain, OPTIONS) : undefined;
    if (packed !== undefined && packed.length < plain.length * WORTHWHILE) {
      this.#patience = 0;
      return packed;
    }
    this.#patience = Math.min(Math.max(1, this.#patience * 2), MOST_SKIPPED);
    this.#skip = this.#patience;
    return undefined;
  }
}

/** Throws `ERR_PROTOCOL` unless exactly so many bytes come out; never makes room for more. */
export function unpack(packed: Uint8Array, bytes: number): Buffer {
  if (bytes === 0 || bytes > MAX_PACKED_BYTES) throw malformed(`compressed frames of ${bytes} bytes`);
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(packed, { maxOutputLength: bytes, chunkSize: 64 * 1024 });
  } catch {
    throw malformed("compressed frames that cannot be read");
  }
  if (plain.length !== bytes) throw malformed("compressed frames of another length than announced");
  return plain;
}

function sample(plain: Uint8Array): Uint8Array {
  if (plain.length <= SAMPLED_BYTES) return new Uint8Array(0);
  const middle = (plain.length - SAMPLE_BYTES) >> 1;
  return plain.subarray(middle, middle + SAMPLE_BYTES);
}

function shrinks(sample: Uint8Array): boolean {
  return sample.length === 0 || zstdCompressSync(sample, OPTIONS).length < sample.length * WORTHWHILE;
}
