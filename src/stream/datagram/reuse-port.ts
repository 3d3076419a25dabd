/** How several sockets of one server have its port, and no program of another user can. */
import { release } from "node:os";
import type { UdpOptions } from "./udp.js";

/**
 * Whether the kernel hands no datagram of a stranger to a connected socket that has its port by SO_REUSEPORT: Linux from 5.4 on
 * ("udp: correct reuseport selection with connected sockets", acdcecc61285). Elsewhere peers have no sockets of their own.
 */
export const TELLS_CONNECTED_APART: boolean = process.platform === "linux" && isAtLeast(release(), 5, 4);

/**
 * What a socket asks for that shares its port with others of this program. With SO_REUSEPORT the kernel lets only sockets of the
 * same user do so (socket(7)); systems that do not know it, or mean another thing by it, have SO_REUSEADDR.
 */
export const SHARES_PORT: Pick<UdpOptions, "reusePort" | "reuseAddr"> =
  process.platform === "linux" ? { reusePort: true } : { reuseAddr: true };

export function isAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return first > major || (first === major && second >= minor);
}
