/** What Node lacks of a file system: times to the nanosecond, and one flush for many files. Linux, where it can be called. */
import fs from "node:fs";
import { type CFunction, cFunction } from "../native/c-library.js";

/** Where a C `long` has 64 bits and the lowest byte comes first. */
const TIMESPEC_ARCHITECTURES: ReadonlySet<string> = new Set(["x64", "arm64", "riscv64", "loong64"]);
const UTIME_OMIT = 0x3fff_fffen;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

interface Calls {
  readonly futimens: CFunction | null;
  readonly utimensat: CFunction | null;
  readonly syncfs: CFunction | null;
}

let loaded: Calls | undefined;

function calls(): Calls {
  // No descriptor -1 exists: whatever says that this worked does not work.
  const fails = (result: number): boolean => result === -1;
  const timed = TIMESPEC_ARCHITECTURES.has(process.arch);
  loaded ??= {
    futimens: timed ? cFunction("futimens", ["int", "bytes"], (call) => fails(call(-1, timespecs(0n)))) : null,
    utimensat: timed
      ? cFunction("utimensat", ["int", "bytes", "bytes", "int"], (call) =>
          fails(call(-1, Buffer.from("x\0"), timespecs(0n), 0)),
        )
      : null,
    syncfs: cFunction("syncfs", ["int"], (call) => call.promised !== undefined && fails(call(-1))),
  };
  return loaded;
}

/** Tests do without what is installed; `true` looks again. */
export function useNativeCalls(use: boolean): void {
  loaded = use ? undefined : { futimens: null, utimensat: null, syncfs: null };
}

/** Sets the modification time of an open file or folder, in nanoseconds since 1970. */
export function setTime(fd: number, mtimeNs: bigint): void {
  if (calls().futimens?.(fd, timespecs(mtimeNs)) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.futimesSync(fd, time, time);
}

/** Sets the modification time of what stands at `path`, of a link its own. */
export function setTimeAt(path: string | Buffer, mtimeNs: bigint): void {
  const name = Buffer.concat([typeof path === "string" ? Buffer.from(path) : path, Buffer.alloc(1)]);
  if (calls().utimensat?.(AT_FDCWD, name, timespecs(mtimeNs), AT_SYMLINK_NOFOLLOW) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.lutimesSync(path, time, time);
}

/** As {@link setTimeAt}, of what a path leads to: a folder named by its descriptor. */
export function setTimeOf(path: string, mtimeNs: bigint): void {
  if (calls().utimensat?.(AT_FDCWD, Buffer.from(`${path}\0`), timespecs(mtimeNs), 0) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.utimesSync(path, time, time);
}

/** Whether times are set to the nanosecond. */
export function setsExactTimes(): boolean {
  return calls().futimens !== null && calls().utimensat !== null;
}

/** Whether {@link flushFileSystem} can be called. */
export function canFlushFileSystem(): boolean {
  return calls().syncfs !== null;
}

/** Makes everything durable that was written to the file system of an open file or folder until now (syncfs). */
export async function flushFileSystem(fd: number): Promise<void> {
  if ((await calls().syncfs?.promised?.(fd)) !== 0) {
    throw Object.assign(new Error("the file system could not write everything"), { code: "EIO" });
  }
}

/** `struct timespec[2]`: the time of the last access stays. */
function timespecs(mtimeNs: bigint): Uint8Array {
  const times = new BigInt64Array(4);
  const nanoseconds = ((mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  times[1] = UTIME_OMIT;
  times[2] = (mtimeNs - nanoseconds) / 1_000_000_000n;
  times[3] = nanoseconds;
  return new Uint8Array(times.buffer);
}

/** Node takes times before 1970 only as a Date. */
function nodeTime(mtimeNs: bigint): Date | number {
  return mtimeNs < 0n ? new Date(Number(mtimeNs / 1_000_000n)) : closestSeconds(mtimeNs);
}

/**
 * Node takes seconds as a float, some 240 ns apart today, and cuts what it makes of them off to nanoseconds. Of the
 * floats around the time, this is one that keeps at least its microsecond.
 */
export function closestSeconds(timeNs: bigint): number {
  const seconds = Number(timeNs) / 1e9;
  const step = 2 ** (Math.floor(Math.log2(Math.max(seconds, 1))) - 52);
  const microseconds = timeNs / 1000n;
  const keepsIt = (candidate: number): boolean => becomesNs(candidate) / 1000n === microseconds;
  return [seconds, seconds + step, seconds - step].find(keepsIt) ?? seconds;
}

function becomesNs(seconds: number): bigint {
  const whole = Math.trunc(seconds);
  return BigInt(whole) * 1_000_000_000n + BigInt(Math.trunc((seconds - whole) * 1e9));
}
