/** Of the garbage collector: what a program that moves much data through buffers needs. */
import { setFlagsFromString } from "node:v8";

/**
 * V8 begins to mark the whole heap for each few megabytes of buffers that have come and gone, since it counts those apart:
 * 140 times for a GiB, a quarter of the time at either end. Counted together with the heap, nearly all of them go with the
 * young generation, and as much memory is used. A V8 that does not have the flag would print an error.
 */
export function countBuffersWithHeap(v8Version: string = process.versions.v8): boolean {
  const known = v8Version.startsWith("14.");
  if (known) setFlagsFromString("--external-memory-accounted-in-global-limit");
  return known;
}
