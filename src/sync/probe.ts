/** What a file system keeps of a file, a folder and a link, found out by trying. */
import fs from "node:fs";
import { setsExactTimes, setTime, setTimeAt } from "./disk.js";
import { LATEST_NS } from "./times.js";

const { O_CREAT, O_EXCL, O_WRONLY } = fs.constants;
const WANTED_NS = 1_700_000_001_123_456_789n;
const MAX_ROUNDING_NS = 2_000_000_000n;

export interface Keeps {
  readonly executable: boolean;
  readonly folderTimes: boolean;
  readonly linkTimes: boolean;
  readonly mtimeToleranceNs: bigint;
  /** The latest modification time that the file system keeps, where that is not all of the range. */
  readonly latestNs?: bigint;
}

/** Tries at `place`, where nothing is, and nothing will be. */
export function probe(place: string): Keeps {
  try {
    const fd = fs.openSync(place, O_CREAT | O_EXCL | O_WRONLY, 0o600);
    try {
      setTime(fd, WANTED_NS);
      const { mtimeNs, mode } = fs.fstatSync(fd, { bigint: true });
      const off = mtimeNs > WANTED_NS ? mtimeNs - WANTED_NS : WANTED_NS - mtimeNs;
      const executable = process.platform !== "win32" && (mode & 0o100n) === 0n;
      return {
        executable,
        folderTimes: process.platform !== "win32",
        linkTimes: keepsLinkTimes(`${place}-link`),
        mtimeToleranceNs: toleranceOf(off),
        ...latestOf(fd),
      };
    } finally {
      fs.closeSync(fd);
    }
  } finally {
    fs.rmSync(place, { force: true });
  }
}

/** Of one time that was set: coarser ones are counted with a margin. */
function toleranceOf(offNs: bigint): bigint {
  if (offNs === 0n && setsExactTimes()) return 0n;
  if (offNs < 1000n) return 1000n;
  return offNs < 1_000_000_000n ? offNs * 2n : 2_000_000_000n;
}

/** The latest time that is kept, such as that of ext4 in 2446: the system sets what is later to that. */
function latestOf(fd: number): { latestNs?: bigint } {
  try {
    setTime(fd, LATEST_NS);
  } catch {
    return {};
  }
  const { mtimeNs } = fs.fstatSync(fd, { bigint: true });
  // Any other time is not the end of a range: it was rounded, or wrapped around.
  return mtimeNs > WANTED_NS && mtimeNs < LATEST_NS - MAX_ROUNDING_NS ? { latestNs: mtimeNs } : {};
}

function keepsLinkTimes(place: string): boolean {
  try {
    fs.symlinkSync("x", place);
    setTimeAt(place, WANTED_NS);
    return fs.lstatSync(place, { bigint: true }).mtimeNs / 1000n === WANTED_NS / 1000n;
  } catch {
    return false;
  } finally {
    fs.rmSync(place, { force: true });
  }
}
