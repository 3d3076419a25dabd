import type { Socket } from "node:dgram";
import type { AddressInfo } from "./socket.js";

/** Asked of the kernel for every UDP socket, as one window's datagrams must fit. The kernel may give less. */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

export function enlargeBuffers(udp: Socket): void {
  try {
    udp.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    udp.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch {
    // Some systems refuse instead of giving what they allow. What is there will do.
  }
}

/** The bound address. */
export function addressInfo(udp: Socket): AddressInfo {
  const { address, port, family } = udp.address();
  return { address, port, family: family === "IPv6" ? "IPv6" : "IPv4" };
}
