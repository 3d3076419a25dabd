import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { Remembered } from "./remembered.js";

/** RFC 791 and RFC 8200 headers without options, and that of UDP (RFC 768). */
const IPV4_HEADERS = 20 + 8;
const IPV6_HEADERS = 40 + 8;
const ETHERNET_MTU = 1500;
/** The least MTU of IPv6, and below that of most tunnels. */
const SELDOM_LESS_MTU = 1280;
/** RFC 791: what every interface takes. */
const LEAST_MTU = 68;
/** An IPv4 packet has 16 bits for its length. */
const LARGEST_DATAGRAM = 65_535 - IPV4_HEADERS;

/** Of the interface between two addresses. All interfaces are asked for, and a file is read. */
const mtus = new Remembered<number>();

/**
 * The largest datagram that fits the interface a socket with this local address sends through, as it is or was some seconds
 * ago. Where that cannot be known it is Ethernet's. A path may be narrower: this is where a search for its MTU ends.
 */
export function maxDatagramBytes(
  localAddress: string,
  remoteAddress: string,
  now: number = performance.now(),
  ask: (localAddress: string, remoteAddress: string) => number = interfaceMtu,
): number {
  const local = unmapped(localAddress);
  const remote = unmapped(remoteAddress);
  const mtu = mtus.get(`${local} ${remote}`, now, () => ask(local, remote));
  // So seldom is it less that somebody may be about to change it.
  if (mtu < SELDOM_LESS_MTU) mtus.clear();
  return datagramBytes(mtu, remoteAddress);
}

/** The largest UDP payload that IP packets of `mtu` bytes to an address have room for. */
export function datagramBytes(mtu: number, remoteAddress: string): number {
  return Math.min(mtu - (unmapped(remoteAddress).includes(":") ? IPV6_HEADERS : IPV4_HEADERS), LARGEST_DATAGRAM);
}

/** A datagram was refused that should have fitted. */
export function askForMtusAnew(): void {
  mtus.clear();
}

/** `127.0.0.1` for `::ffff:127.0.0.1`, as a socket of both families sees IPv4 peers. */
export function unmapped(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice(7) : address;
}

function interfaceMtu(localAddress: string, remoteAddress: string): number {
  if (process.platform !== "linux") return ETHERNET_MTU;
  try {
    const name = interfaceOf(localAddress, remoteAddress);
    // An alias, as in `eth0:1`, is no device.
    const mtu = Number(readFileSync(`/sys/class/net/${name?.split(":")[0]}/mtu`, "latin1"));
    return Number.isInteger(mtu) && mtu >= LEAST_MTU ? mtu : ETHERNET_MTU;
  } catch {
    return ETHERNET_MTU;
  }
}

function interfaceOf(localAddress: string, remoteAddress: string): string | undefined {
  const all = Object.entries(networkInterfaces());
  const local = all.find(([, addresses]) => addresses?.some(({ address }) => sameAddress(address, localAddress)));
  // What goes to an address of this machine never leaves it, whichever interface has the address.
  const inside = all.some(([, addresses]) => addresses?.some(({ address }) => sameAddress(address, remoteAddress)));
  if (!inside && !localAddress.startsWith("127.")) return local?.[0];
  return all.find(([, addresses]) => addresses?.some(({ internal }) => internal))?.[0] ?? local?.[0];
}

function sameAddress(address: string, other: string): boolean {
  return address.split("%")[0] === other.split("%")[0];
}
