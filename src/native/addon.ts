/**
 * Our addon, whose source is beside this file. The package holds its binaries: nothing is compiled or downloaded where it is
 * installed. Where there is none for the platform, or it cannot be loaded, everything goes on without it.
 */
import { dirname, join } from "node:path";

/** What functions that reach the kernel return: 0 or more, or a negative errno. A wrong argument is a TypeError. */
export type Result = number;

/** A UDP socket with a handle of its own on the event loop. It never fragments what it sends when it is connected. */
export interface Udp {
  /** `flags` are {@link IPV6_ONLY}, {@link REUSE_PORT} and {@link REUSE_ADDRESS}, or-ed. */
  bind(address: string, port: number, flags: number): Result;
  connect(address: string, port: number): Result;
  /** Whether another socket that wants to may bind to the port. */
  allowReuse(allow: boolean): Result;
  /**
   * Reads from now on whenever there is something. Until it is closed, a socket that was started is not collected.
   *
   * `onEvent` is called for each slot on its own, so that all that one datagram leads to is done before the next: for those
   * from `from` to `to` (not included) of the first `read`, which is what {@link read} returns. The room is not written to
   * before the last is told. `writable`: there is room to send again.
   */
  start(onEvent: (from: number, to: number, read: Result, writable: boolean) => void): Result;
  /**
   * From now on all slots of one read come in one call, which costs less. `join`: they have packets of the extended edition,
   * and consecutive ones that are nothing but data become one, as long as a packet can be. Slots may end up empty.
   */
  gather(join: boolean): void;
  /** What `onEvent` is called for from now on; for room to send it is called once. */
  waitFor(readable: boolean, writable: boolean): Result;
  /** Reads what is there into the {@link Addon.room} and returns how many slots of it are taken. */
  read(): Result;
  /** The address that the datagram in a slot came from. */
  sender(slot: number): string;
  /** The address of this machine that the datagram in a slot came to; empty unless the socket is bound to all of them. */
  local(slot: number): string;
  /** Sends datagrams of `segmentBytes`, the last of which may be shorter. Returns how many bytes the kernel has taken. */
  send(bytes: Uint8Array, segmentBytes: number): Result;
  /** `local` is the address of this machine that they leave from; empty or left out: the kernel chooses. */
  sendTo(bytes: Uint8Array, segmentBytes: number, address: string, port: number, local?: string): Result;
  /** The MTU of the route to the peer that the socket is connected to, as the kernel knows it now. */
  mtu(): Result;
  /** Whether the kernel takes a burst as one; `false` forbids that for good. */
  segments(allow: boolean): boolean;
  address(): [address: string, port: number] | Result;
  /** Whether it keeps the process alive, as it does at first. */
  setRef(ref: boolean): void;
  close(): void;
}

export interface Addon {
  readonly revision: number;
  readonly Udp: new () => Udp;
  /** The memory that every read writes into: a table of {@link TABLE_FIELDS} for each slot, and the slots. */
  room(): ArrayBuffer;
  /**
   * The memory that a slot has of its own, see {@link IS_APART}. It is the caller's from now on. Untaken, the next read writes
   * into it.
   */
  take(slot: number): Buffer | undefined;
  /** The modification time of an open file or folder, in nanoseconds since 1970. */
  setTime(fd: number, timeNs: bigint): Result;
  /** The same of what stands at a path, or of what a link there leads to. */
  setTimeAt(path: string | Uint8Array, timeNs: bigint, follow: boolean): Result;
  /** posix_fadvise(3), POSIX_FADV_DONTNEED: a part of an open file leaves the page cache, as far as it is on the disk. */
  uncache(fd: number, from: number, bytes: number): Result;
  /** -EAGAIN while the file is open for writing anywhere; another error where the system gives no read lease on it. */
  checkWriters(fd: number): Result;
  /** lseek(2), SEEK_DATA or SEEK_HOLE: where the next data or hole begins; -ENXIO where there is no data any more. */
  seek(fd: number, from: number, data: boolean): Result;
  /** syncfs(2) on a thread of its own. */
  flushFileSystem(fd: number): Promise<Result>;
}

export const IPV6_ONLY = 1;
export const REUSE_PORT = 2;
/** SO_REUSEADDR, for the clients' sockets beside a port that processes share: they must not join its group. */
export const REUSE_ADDRESS = 4;

/** As in datagrams.h: where the slots begin in the room, and how far they are apart. */
export const SLOTS_AT = 4096;
export const SLOT_BYTES: number = 65_536 + 2048;
/** The 32-bit numbers that the table has for a slot. */
export const TABLE_FIELDS = 5;
export const LENGTH = 0;
/**
 * The kernel has merged datagrams of so many bytes, the last of which may be shorter; 0 for a single one. After
 * `gather(true)` instead: the packets that were joined were so long, where the last may have been shorter; 0 for none.
 */
export const SEGMENT_BYTES = 1;
export const PORT = 2;
/**
 * {@link NEW_SENDER}: the address is another than that of the datagram before, or of the peer. {@link NEW_LOCAL}: the address
 * of this machine that it came to is another.
 */
export const NEW_ADDRESSES = 3;
export const NEW_SENDER = 1;
export const NEW_LOCAL = 2;
/** Not 0: it is not in the room. What is large has memory of its own after `gather()`, so that it need not be copied to be kept. */
export const IS_APART = 4;

/** As in addon.c: a binary that was built before is not used. */
const REVISION = 6;

/** The name of a CommonJS file, which a bundle may be; not defined in an ES module. */
declare const __filename: string;
let loaded: Addon | null | undefined;

/** Null where there is none. Looks once. */
export function addon(): Addon | null {
  if (loaded === undefined) loaded = find();
  return loaded;
}

/** Tests do without it; `true` looks again. */
export function useAddon(use: boolean): void {
  loaded = use ? undefined : null;
}

function find(): Addon | null {
  // Others than Node have only some of libuv.
  if (process.platform !== "linux" || "bun" in process.versions || "deno" in process.versions) return null;
  // The addon would use the network although Node's permission model forbids it.
  if (process.permission?.has("net") === false) return null;
  // Imported by its name, bundlers take it for theirs to resolve.
  const load = process.getBuiltinModule("node:module").createRequire(thisFile());
  for (const locate of [inPackage, besideBundle, inInstalledPackage]) {
    try {
      const found = load(locate(load)) as Addon;
      if (found.revision === REVISION) return found;
    } catch {
      // Not there, for another C library, or addons are not permitted.
    }
  }
  return null;
}

const FILE_NAME = `linux-${process.arch}.node`;

function inPackage(): string {
  return `#native/${FILE_NAME}`;
}

/**
 * A bundle has no `import.meta.url` in CommonJS, and there it may be that of where it was built. webpack takes `typeof __filename` for
 * "string" in an ES module, too, so that only using it tells.
 */
function thisFile(): string {
  try {
    return __filename;
  } catch {
    const url = import.meta.url as string | undefined;
    return url ?? `${process.cwd()}/bundle.js`;
  }
}

/** docs/bundlers.md: dist/native of the package is copied to beside the bundle. */
function besideBundle(): string {
  return `./native/${FILE_NAME}`;
}

function inInstalledPackage(load: NodeJS.Require): string {
  return join(dirname(load.resolve("confundo/package.json")), "dist", "native", FILE_NAME);
}
