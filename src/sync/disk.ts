/** What Node lacks of a file system: times to the nanosecond, leases, holes, one flush for many files. Where there is our addon. */
import fs from "node:fs";
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { addon } from "../native/addon.js";

/** Sets the modification time of an open file or folder, in nanoseconds since 1970. */
export function setTime(fd: number, mtimeNs: bigint): void {
  if (addon()?.setTime(fd, mtimeNs) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.futimesSync(fd, time, time);
}

/** Sets the modification time of what stands at `path`, of a link its own. */
export function setTimeAt(path: string | Buffer, mtimeNs: bigint): void {
  if (addon()?.setTimeAt(path, mtimeNs, false) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.lutimesSync(path, time, time);
}

/** As {@link setTimeAt}, of what a path leads to: a folder named by its descriptor. */
export function setTimeOf(path: string, mtimeNs: bigint): void {
  if (addon()?.setTimeAt(path, mtimeNs, true) === 0) return;
  const time = nodeTime(mtimeNs);
  fs.utimesSync(path, time, time);
}

/** Whether times are set to the nanosecond. */
export function setsExactTimes(): boolean {
  return addon() !== null;
}

/** Whether {@link flushFileSystem} can be called. */
export function canFlushFileSystem(): boolean {
  return addon() !== null;
}

/** Makes everything durable that was written to the file system of an open file or folder until now (syncfs). */
export async function flushFileSystem(fd: number): Promise<void> {
  const result = (await addon()?.flushFileSystem(fd)) ?? -constants.errno.ENOSYS;
  if (result === 0) return;
  const code = getSystemErrorName(result);
  throw Object.assign(new Error(`the file system could not write everything (${code})`), { code });
}

/**
 * Lets a part of an open file go from the system's memory, as far as it is on the disk: nobody is expected to read it soon.
 * A hint, which changes no content.
 */
export function uncache(fd: number, from: number, bytes: number): void {
  addon()?.uncache(fd, from, bytes);
}

const { EAGAIN, ENXIO } = constants.errno;

/**
 * Whether an open file is open for writing anywhere on this machine, by a read lease: `undefined` where the system gives
 * none (another system, file system or owner).
 */
export function isOpenForWriting(fd: number): boolean | undefined {
  const result = addon()?.checkWriters(fd);
  return result === 0 ? false : result === -EAGAIN ? true : undefined;
}

/** The next stretch of an open file that is not a hole, from `from` on; `undefined` where the system does not say. */
export function nextData(fd: number, from: number, size: number): { start: number; end: number } | undefined {
  const native = addon();
  if (native === null || from >= size) return undefined;
  const start = native.seek(fd, from, true);
  if (start === -ENXIO) return { start: size, end: size };
  if (start < 0) return undefined;
  const end = native.seek(fd, start, false);
  return end < 0 ? undefined : { start: Math.min(start, size), end: Math.min(end, size) };
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
