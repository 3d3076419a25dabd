import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { type CFunction, cFunction } from "../../native/c-library.js";

/** setsockopt(2) for options of type int, dup(2) and recv(2). All that needs native code here. */
export interface SocketOptions {
  /** Returns whether the kernel took it. */
  set(fd: number, level: number, option: number, value: number): boolean;
  /** Another descriptor of the same socket, below 0 where there can be none. `fs.closeSync` closes it. */
  duplicate(fd: number): number;
  /**
   * Reads a datagram of at most so many bytes without waiting, and returns its length; -1 when there is none. Null where
   * only `fs.readSync` can: that throws at the end of what there is, which costs as much as several datagrams.
   * @throws what else the kernel says, an error with its `code`
   */
  readonly receive: ((fd: number, into: Uint8Array, bytes: number) => number) | null;
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

const MSG_DONTWAIT = 0x40;

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
  const fails = (...parameters: readonly (number | Uint8Array)[]) => {
    return (called: CFunction): boolean => called(-1, ...parameters) === -1;
  };
  const none = new Uint8Array(INT_BYTES);
  const parameters = ["int", "int", "int", "bytes", "uint"] as const;
  const setsockopt = cFunction("setsockopt", parameters, fails(SOL_UDP, UDP_SEGMENT, none, INT_BYTES));
  const dup = cFunction("dup", ["int"], fails());
  const recv = cFunction("recv", ["int", "bytes", "uint", "int"], fails(none, INT_BYTES, MSG_DONTWAIT));
  return setsockopt === null || dup === null ? null : toSocketOptions(setsockopt, dup, recv);
}

function toSocketOptions(setsockopt: CFunction, dup: CFunction, recv: CFunction | null): SocketOptions {
  const value = new Int32Array(1);
  const bytes = new Uint8Array(value.buffer);
  return {
    set(fd, level, option, number) {
      value[0] = number;
      return setsockopt(fd, level, option, bytes, INT_BYTES) === 0;
    },
    duplicate: (fd) => dup(fd),
    receive: recv?.errno === undefined ? null : toReceive(recv, recv.errno),
  };
}

function toReceive(recv: CFunction, errno: () => number): NonNullable<SocketOptions["receive"]> {
  return (fd, into, bytes) => {
    const length = recv(fd, into, bytes, MSG_DONTWAIT);
    if (length >= 0) return length;
    const error = errno();
    if (error === constants.errno.EAGAIN) return -1;
    const code = getSystemErrorName(-error);
    throw Object.assign(new Error(`recv ${code}`), { code, errno: -error, syscall: "recv" });
  };
}
