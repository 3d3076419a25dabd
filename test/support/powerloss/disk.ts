/** A disk that remembers the order of its writes, and what it would hold had the power failed at any moment. Linux, as root. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Program, Rig } from "../program.js";
import { Random } from "../random.js";

export type FileSystem = "ext4" | "xfs" | "btrfs";

const SOURCE = path.join(path.dirname(fileURLToPath(import.meta.url)), "logfs.c");
/** What a write that is to fail holds, see {@link RecordedDisk.failMarked}. */
export const MARKER = "!!POISON-BLOCK!!";
const SIZE = 640 * 1024 * 1024;
const HEADER_BYTES = 32;
const WRITE = 1;
/** Writes reach a disk in pieces of this size. */
const UNIT = 4096;
const MAKE: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ["mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
  xfs: ["mkfs.xfs", "-q", "-K"],
  btrfs: ["mkfs.btrfs", "-q", "-K"],
};

function run(file: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${file} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout.trim();
}

/** Why such a disk cannot be made here; `undefined` where it can. */
export function cannotRecord(fileSystem: FileSystem): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "only root of Linux can";
  if (!fs.existsSync("/dev/fuse") || !fs.existsSync("/dev/loop-control")) return "there is no FUSE, or no loop device";
  if (spawnSync("pkg-config", ["--exists", "fuse3"]).status !== 0) return "libfuse3-dev is not installed";
  if (spawnSync("which", [MAKE[fileSystem][0] as string]).status !== 0)
    return `${MAKE[fileSystem][0]} is not installed`;
  return undefined;
}

interface Logged {
  readonly number: number;
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  /** Where its data is in the log. */
  readonly at: number;
}

export class RecordedDisk {
  /** Where it is mounted. */
  readonly mount: string;
  readonly #dir: string;
  readonly #fileSystem: FileSystem;
  readonly #program: Program;
  #device: string | undefined;

  private constructor(dir: string, fileSystem: FileSystem, program: Program) {
    this.#dir = dir;
    this.#fileSystem = fileSystem;
    this.#program = program;
    this.mount = path.join(dir, "mount");
  }

  /** Makes a disk for `work`, which has closed what it has opened there when it ends. */
  static async using(rig: Rig, fileSystem: FileSystem, work: (disk: RecordedDisk) => Promise<void>): Promise<void> {
    const disk = await RecordedDisk.#open(rig, fileSystem);
    try {
      await work(disk);
    } finally {
      await disk.close();
    }
  }

  static async #open(rig: Rig, fileSystem: FileSystem): Promise<RecordedDisk> {
    const dir = rig.folder();
    const flags = run("pkg-config", "--cflags", "--libs", "fuse3").split(/\s+/);
    run("gcc", "-O2", "-o", path.join(dir, "logfs"), SOURCE, ...flags);
    for (const name of ["fuse", "mount", "image"]) fs.mkdirSync(path.join(dir, name));
    const files = ["fuse", "backing", "log", "ctl"].map((name) => path.join(dir, name));
    const program = rig.spawn(path.join(dir, "logfs"), [...files, String(SIZE)]);
    const disk = new RecordedDisk(dir, fileSystem, program);
    const file = path.join(dir, "fuse", "disk");
    while (!fs.existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 20));
    disk.#device = run("losetup", "-f", "--show", file);
    const [make = "", ...options] = MAKE[fileSystem];
    run(make, ...options, disk.#device);
    run("mount", disk.#device, disk.mount);
    run("sync", "-f", disk.mount);
    return disk;
  }

  /** How many writes and flushes have reached the disk. */
  get records(): number {
    return this.#control(0);
  }

  /** Bytes that were written to the disk so far. */
  get written(): number {
    const log = fs.openSync(path.join(this.#dir, "log"), "r");
    const bytes = readLog(log).reduce((sum, { type, length }) => sum + (type === WRITE ? length : 0), 0);
    fs.closeSync(log);
    return bytes;
  }

  /** How many writes have failed. */
  get failed(): number {
    return this.#control(4);
  }

  /** So many of the next writes that hold {@link MARKER} fail with EIO. */
  failMarked(writes: number): void {
    const value = Buffer.alloc(8);
    value.writeBigInt64LE(BigInt(writes));
    const fd = fs.openSync(path.join(this.#dir, "ctl"), "r+");
    fs.writeSync(fd, value, 0, 8, 16);
    fs.closeSync(fd);
  }

  #control(field: number): number {
    return Number(fs.readFileSync(path.join(this.#dir, "ctl")).readBigInt64LE(field * 8));
  }

  /** Unmounts it. What it would have held can be looked at from then on, see {@link images}. */
  async close(): Promise<void> {
    if (this.#device === undefined) return;
    const device = this.#device;
    this.#device = undefined;
    const patiently = async (file: string, ...args: string[]): Promise<void> => {
      for (let tries = 50; spawnSync(file, args).status !== 0 && tries > 0; tries--) {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    await patiently("umount", this.mount);
    spawnSync("losetup", ["-d", device]);
    await patiently("umount", path.join(this.#dir, "fuse"));
    await this.#program.exited;
  }

  /**
   * Calls `look` with the disk mounted as it may have been after each of these moments, in rising order: all that was written before the
   * last flush, and of what came after it none, all, or a part.
   */
  async images(
    moments: readonly number[],
    seed: number,
    look: (mount: string, moment: number) => Promise<void>,
  ): Promise<void> {
    const log = fs.openSync(path.join(this.#dir, "log"), "r");
    const durable = fs.openSync(path.join(this.#dir, "durable"), "w+");
    fs.ftruncateSync(durable, SIZE);
    const records = readLog(log);
    const random = new Random(seed);
    const image = path.join(this.#dir, "torn");
    const mount = path.join(this.#dir, "image");
    const data = ({ at, length }: Logged): Buffer => {
      const buffer = Buffer.allocUnsafe(length);
      fs.readSync(log, buffer, 0, length, at);
      return buffer;
    };
    let done = 0;
    for (const moment of [...moments].sort((a, b) => a - b)) {
      const until = records.findLastIndex(({ number }) => number <= moment) + 1;
      const flushed = records.slice(0, until).findLastIndex(({ type }) => type !== WRITE) + 1;
      for (const record of records.slice(done, Math.max(done, flushed))) {
        if (record.type === WRITE) fs.writeSync(durable, data(record), 0, record.length, record.offset);
      }
      done = Math.max(done, flushed);
      run("cp", "--sparse=always", path.join(this.#dir, "durable"), image);
      const share = [0, 0.1, 0.5, 0.9, 1][random.integer(0, 4)] as number;
      const fd = fs.openSync(image, "r+");
      for (const record of records.slice(flushed, until)) {
        if (record.type !== WRITE) continue;
        const content = data(record);
        for (let at = 0; at < content.length; at += UNIT) {
          if (random.chance(share))
            fs.writeSync(fd, content, at, Math.min(UNIT, content.length - at), record.offset + at);
        }
      }
      fs.closeSync(fd);
      run("mount", "-o", this.#fileSystem === "xfs" ? "loop,nouuid" : "loop", image, mount);
      try {
        await look(mount, moment);
      } finally {
        run("umount", mount);
      }
    }
    fs.closeSync(durable);
    fs.closeSync(log);
  }
}

function readLog(log: number): Logged[] {
  const records: Logged[] = [];
  const header = Buffer.alloc(HEADER_BYTES);
  for (let at = 0; fs.readSync(log, header, 0, HEADER_BYTES, at) === HEADER_BYTES; ) {
    const type = header.readUInt32LE(4);
    const [number, offset, length] = [8, 16, 24].map((field) => Number(header.readBigUInt64LE(field))) as [
      number,
      number,
      number,
    ];
    records.push({ number, type, offset, length, at: at + HEADER_BYTES });
    at += HEADER_BYTES + (type === WRITE ? length : 0);
  }
  return records;
}
