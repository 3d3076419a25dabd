import { type CFunction, cFunction } from "../../native/c-library.js";

/** setsockopt(2) for options of type int, and dup(2). All that needs native code here. */
export interface SocketOptions {
  /** Returns whether the kernel took it. */
  set(fd: number, level: number, option: number, value: number): boolean;
  /** Another descriptor of the same socket, below 0 where there can be none. `fs.closeSync` closes it. */
  duplicate(fd: number): number;
}

// The numbers are Linux's, the same on every architecture that Node runs on but for SOL_SOCKET on MIPS.
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const SOL_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
/** Both IP_PMTUDISC_PROBE and IPV6_PMTUDISC_PROBE: never fragment, and leave finding the path's MTU to us. */
const PMTUDISC_PROBE = 3;

const INT_BYTES = 4;
let loaded: SocketOptions | null | undefined;

/** Null where nothing that can call setsockopt is installed, or where this is not Linux. Looks once. */
export function socketOptions(): SocketOptions | null {
  if (loaded === undefined) loaded = findSocketOptions();
  return loaded;
}

/** Tests take the place of what is installed. `undefined` looks again. */
export function replaceSocketOptions(options: SocketOptions | null | undefined): void {
  loaded = options;
}

export function neverFragment(options: SocketOptions, fd: number, family: "IPv4" | "IPv6"): void {
  // An IPv6 socket speaks IPv4 too, to mapped addresses.
  options.set(fd, SOL_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
  if (family === "IPv6") options.set(fd, SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
}

function findSocketOptions(): SocketOptions | null {
  // No descriptor -1 exists: whatever says that this worked does not work.
  const dup = cFunction("dup", ["int"], (called) => called(-1) === -1);
  if (dup === null) return null;
  const works = (called: CFunction): boolean => !toSocketOptions(called, dup).set(-1, SOL_UDP, UDP_SEGMENT, 0);
  const setsockopt = cFunction("setsockopt", ["int", "int", "int", "bytes", "uint"], works);
  return setsockopt === null ? null : toSocketOptions(setsockopt, dup);
}

function toSocketOptions(setsockopt: CFunction, dup: CFunction): SocketOptions {
  const value = new Int32Array(1);
  const bytes = new Uint8Array(value.buffer);
  return {
    set(fd, level, option, number) {
      value[0] = number;
      return setsockopt(fd, level, option, bytes, INT_BYTES) === 0;
    },
    duplicate: (fd) => dup(fd),
  };
}
