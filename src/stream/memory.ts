import type { Memory } from "../protocol/index.js";

const { copy } = Buffer.prototype;

/** Node's: room that is not cleared first, and copies without an object for each part. */
export const NODE_MEMORY: Memory = {
  // Not from the pool: what a reader keeps would keep others' bytes with it.
  allocate: (bytes) => Buffer.allocUnsafeSlow(bytes),
  copy: (source, from, to, target, at) => {
    copy.call(source, target, at, from, to);
  },
  release: (bytes) => {
    (bytes.buffer as ArrayBuffer & { transfer(length: number): ArrayBuffer }).transfer(0);
  },
};
