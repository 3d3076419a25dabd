/**
 * Where room for bytes comes from, and how they are copied. JavaScript's own ways clear what is about to be overwritten, and
 * make an object of each part that is copied; a runtime may have cheaper ones.
 */
export interface Memory {
  /** Room whose content does not matter. */
  allocate(bytes: number): Uint8Array;
  /** Copies `source`, from `from` to before `to`, to where `at` is in `target`, which is other memory. */
  copy(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void;
  /** Gives room back that nothing refers to any more, at once. Without it the garbage collector does. */
  release?(bytes: Uint8Array): void;
}

/** What every JavaScript has. */
export const PORTABLE_MEMORY: Memory = {
  allocate: (bytes) => new Uint8Array(bytes),
  copy: (source, from, to, target, at) => target.set(source.subarray(from, to), at),
};
