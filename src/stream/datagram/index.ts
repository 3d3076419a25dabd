import { openConnectedSocket } from "./connected.js";
import { socketOptions } from "./options.js";
import { openServerSocket } from "./shared.js";
import type { DatagramHandlers, DatagramSocket, SharedDatagramSocket, Tier } from "./types.js";
import { bind, connect, createUdp, type UdpOptions } from "./udp.js";

export { patienceMs } from "./moderation.js";
export type { DatagramAddress, DatagramHandlers, DatagramSocket, SharedDatagramSocket, Tier } from "./types.js";

export interface ConnectedOptions {
  /** IP addresses: names are looked up before. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  /** The highest tier to use. `auto`, the default, is the highest there is. */
  readonly tier?: Tier | "auto" | undefined;
  /** A datagram that leaves before anything else is done: while it travels there is time to look for the best tier. */
  readonly first?: Uint8Array | undefined;
  readonly handlers: DatagramHandlers;
}

export interface SharedOptions {
  readonly address: string;
  readonly port: number;
  readonly ipv6Only?: boolean | undefined;
  /** The highest tier for the sockets of peers. */
  readonly tier?: Tier | "auto" | undefined;
  readonly handlers: DatagramHandlers;
}

/**
 * A client's socket, connected to its server.
 * @throws the error of bind(2) or connect(2)
 */
export async function openConnected(options: ConnectedOptions): Promise<DatagramSocket> {
  const { remoteAddress, remotePort, first, handlers } = options;
  const type = remoteAddress.includes(":") ? "udp6" : "udp4";
  const udp = createUdp({ type });
  await bind(udp, options.localAddress ?? (type === "udp6" ? "::" : "0.0.0.0"), options.localPort ?? 0);
  await connect(udp, remoteAddress, remotePort);
  // What goes wrong with it is a loss, as with all others.
  if (first !== undefined) await new Promise((resolve) => udp.send(first, resolve));
  return openConnectedSocket(udp, handlers, { address: remoteAddress, port: remotePort }, highest(options.tier));
}

/**
 * A server's socket.
 * @throws the error of bind(2)
 */
export function openShared(options: SharedOptions): Promise<SharedDatagramSocket> {
  const { address, port, handlers, ipv6Only = false } = options;
  const udp: UdpOptions = address.includes(":") ? { type: "udp6", ipv6Only } : { type: "udp4" };
  return openServerSocket(udp, address, port, highest(options.tier), socketOptions(), handlers);
}

function highest(tier: Tier | "auto" = "auto"): Tier {
  return tier === "auto" ? "segmented" : tier;
}
