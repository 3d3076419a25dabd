/** The addresses under which others reach a server that listens on all of them. */
import { isIPv4, isIPv6 } from "node:net";
import { hostname, networkInterfaces } from "node:os";

/**
 * Lists where a server that is bound to `address` is reached: that address, or for `0.0.0.0` and `::` those of this machine's
 * interfaces, of other machines first, IPv4 before IPv6, loopback last. Link-local ones are left out: they need an interface's name.
 */
export function reachableAddresses(address: string): string[] {
  if (!isWildcard(address)) return [address];
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const usable = own.filter((each) => !/^(fe80:|169\.254\.)/i.test(each.address));
  const rank = (each: (typeof own)[number]): number => (each.internal ? 2 : 0) + (each.family === "IPv4" ? 0 : 1);
  const served = usable.filter((each) => address === "::" || each.family === "IPv4");
  const sorted = served.sort((a, b) => rank(a) - rank(b)).map((each) => each.address.replace(/%.*$/, ""));
  return sorted.length > 0 ? [...new Set(sorted)] : [hostname()];
}

/** Whether a server at this address listens on all addresses of the machine. */
export function isWildcard(address: string): boolean {
  return (isIPv4(address) && address === "0.0.0.0") || (isIPv6(address) && /^[0:]+$/.test(address));
}
