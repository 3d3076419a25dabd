import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { Remembered } from "./remembered.js";
import type { DatagramAddress } from "./types.js";

/** Asked of the kernel for every UDP socket. It may give less: net.core.rmem_max and wmem_max are its limits on Linux. */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

export interface UdpOptions {
  readonly type: "udp4" | "udp6";
  readonly ipv6Only?: boolean;
  readonly reuseAddr?: boolean;
  readonly reusePort?: boolean;
}

export function createUdp(options: UdpOptions): Socket {
  return createSocket({ ...options, lookup: knownAddress });
}

/**
 * All addresses here are IP addresses. Without this, node:dgram takes each through the resolver, a turn of the event loop
 * for every datagram of a socket that is not connected. With it, `bind` and `connect` are done when they return.
 */
function knownAddress(
  address: string,
  options: unknown,
  callback: (error: null, address: string, family: number) => void,
): void {
  const done = typeof options === "function" ? (options as typeof callback) : callback;
  done(null, address, address.includes(":") ? 6 : 4);
}

/** @throws the error of bind(2), with the socket closed */
export async function bind(udp: Socket, address: string, port: number): Promise<void> {
  const listening = once(udp, "listening");
  // exclusive: a worker of node:cluster has its sockets to itself, as descriptors of another process are of no use.
  udp.bind({ address, port, exclusive: true });
  try {
    await listening;
  } catch (error) {
    udp.close();
    throw error;
  }
}

/**
 * Binds before it returns, which `knownAddress` makes possible.
 * @throws the error of bind(2), with the socket closed
 */
export function bindNow(udp: Socket, address: string, port: number): void {
  let failure: Error | null = null;
  const onError = (error: Error) => {
    failure = error;
  };
  udp.on("error", onError);
  udp.bind({ address, port, exclusive: true });
  udp.off("error", onError);
  if (failure === null) return;
  udp.close();
  throw failure;
}

/** @throws the error of connect(2), with the socket closed */
export async function connect(udp: Socket, address: string, port: number): Promise<void> {
  const connected = once(udp, "connect");
  udp.connect(port, address);
  try {
    await connected;
  } catch (error) {
    udp.close();
    throw error;
  }
}

/** Whether all of it worked at once. When not, the socket is closed. */
export function bindAndConnectNow(udp: Socket, local: DatagramAddress, address: string, port: number): boolean {
  const ignore = () => {};
  udp.on("error", ignore);
  try {
    udp.bind({ address: local.address, port: local.port, exclusive: true });
    udp.connect(port, address);
    udp.remoteAddress();
    udp.off("error", ignore);
    return true;
  } catch {
    udp.close();
    return false;
  }
}

/** Asking for one takes a socket. */
const routes = new Remembered<string | null>();

/** The address that datagrams to `remoteAddress` leave from, by the routes of this machine. No datagram is sent. */
export function localAddressTowards(
  remoteAddress: string,
  now: number = performance.now(),
  ask: (remoteAddress: string) => string | null = askForRoute,
): string | null {
  return routes.get(remoteAddress, now, () => ask(remoteAddress));
}

/** Routes do not depend on it, and no datagram is sent. */
export const ANY_PORT = 9;

export function askForRoute(remoteAddress: string): string | null {
  const type = remoteAddress.includes(":") ? "udp6" : "udp4";
  const udp = createUdp({ type });
  const anyPort: DatagramAddress = { address: type === "udp6" ? "::" : "0.0.0.0", port: 0, family: "IPv4" };
  if (!bindAndConnectNow(udp, anyPort, remoteAddress, ANY_PORT)) return null;
  const { address } = udp.address();
  udp.close();
  return address;
}

export function addressOf(udp: Socket): DatagramAddress {
  const { address, port, family } = udp.address();
  return { address, port, family: family === "IPv6" ? "IPv6" : "IPv4" };
}

export function enlargeBuffers(udp: Socket): void {
  try {
    udp.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    udp.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch {
    // Some systems refuse instead of giving what they allow. What is there will do.
  }
}
