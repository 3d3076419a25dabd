import { addon } from "../../native/addon.js";
import { openConnectedSocket } from "./connected.js";
import { sharesPortsAtOnce } from "./features.js";
import { askForRoute as askNativeForRoute, connectNative } from "./native.js";
import { NativeServerSocket } from "./native-server.js";
import { checkSharing, openServerSocket, openServerSocketLater } from "./shared.js";
import type { DatagramHandlers, DatagramSocket, SharedDatagramSocket, SharedOptions, Tier } from "./types.js";
import { askForRoute, bind, connect, createUdp } from "./udp.js";

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

/**
 * A client's socket, connected to its server.
 * @throws the error of bind(2) or connect(2)
 */
export async function openConnected(options: ConnectedOptions): Promise<DatagramSocket> {
  const { remoteAddress, remotePort, localPort = 0, first, handlers } = options;
  const isIpv6 = remoteAddress.includes(":");
  const local = { address: options.localAddress ?? (isIpv6 ? "::" : "0.0.0.0"), port: localPort };
  const remote = { address: remoteAddress, port: remotePort };
  const native = nativeFor(options.tier);
  if (native !== null) {
    const socket = connectNative(native, local, remote, 0, handlers);
    if (first !== undefined) socket.send(first, first.length, remotePort, remoteAddress, "");
    return socket;
  }
  const udp = createUdp({ type: isIpv6 ? "udp6" : "udp4" });
  await bind(udp, local.address, localPort);
  await connect(udp, remoteAddress, remotePort);
  // What goes wrong with it is a loss, as with all others.
  if (first !== undefined) await new Promise((resolve) => udp.send(first, resolve));
  return openConnectedSocket(udp, handlers, remote, options.tier);
}

/**
 * A server's socket.
 * @throws the error of bind(2)
 */
export function openShared(options: SharedOptions): SharedDatagramSocket {
  const native = nativeFor(options.tier);
  if (native === null) return openServerSocket(options);
  if (options.reusePort) checkSharing(options);
  return new NativeServerSocket(native, options);
}

/** A server's socket, given to `opened` before this returns where the runtime can bind so fast. */
export function openSharedSoon(
  options: SharedOptions,
  opened: (udp: SharedDatagramSocket) => void,
  failed: (error: Error) => void,
): void {
  if (nativeFor(options.tier) === null && !sharesPortsAtOnce()) {
    openServerSocketLater(options).then(opened, failed);
    return;
  }
  let udp: SharedDatagramSocket;
  try {
    udp = openShared(options);
  } catch (error) {
    failed(error as Error);
    return;
  }
  opened(udp);
}

/** The address of this machine that datagrams to `remoteAddress` leave from by the routes of now; null where there is no route. */
export function routeTo(remoteAddress: string): string | null {
  const native = nativeFor();
  return native === null ? askForRoute(remoteAddress) : askNativeForRoute(native, remoteAddress);
}

/** Whether sockets are our addon's where nothing else is asked for. */
export function usesAddon(): boolean {
  return nativeFor() !== null;
}

function nativeFor(tier: Tier | "auto" = "auto") {
  return tier === "auto" || tier === "segmented" ? addon() : null;
}
