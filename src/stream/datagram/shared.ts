import type { Socket } from "node:dgram";
import { openConnectedSocket } from "./connected.js";
import { countListeners, findDescriptor } from "./descriptor.js";
import { SO_REUSEADDR, SOL_SOCKET, type SocketOptions } from "./options.js";
import { PortableSocket } from "./portable.js";
import type { DatagramAddress, DatagramHandlers, DatagramSocket, SharedDatagramSocket, Tier } from "./types.js";
import { addressOf, bind, bindAndConnectNow, createUdp, type UdpOptions } from "./udp.js";

/**
 * Sockets of peers beside the shared one. Before Linux 6.13 the kernel looks for a datagram's socket among all on its
 * port, one after the other, and making one takes time in proportion everywhere.
 */
const MOST_PEERS = 256;

/** What lets more sockets bind to the shared socket's port. */
interface Reuse {
  readonly tier: Tier;
  /** Null where the shared socket was bound with SO_REUSEADDR, so that it needs no change. */
  readonly options: SocketOptions | null;
  readonly fd: number;
}

/** A server's socket. Peers get their own sockets beside it where the tier allows. */
export class ServerSocket extends PortableSocket implements SharedDatagramSocket {
  readonly #reuse: Reuse;
  readonly #udpOptions: UdpOptions;
  readonly #peers = new Set<DatagramSocket>();

  constructor(udp: Socket, handlers: DatagramHandlers, udpOptions: UdpOptions, reuse: Reuse) {
    super(udp, handlers, null);
    this.#udpOptions = udpOptions;
    this.#reuse = reuse;
  }

  override get tier(): Tier {
    return this.#reuse.tier;
  }

  openPeer(remoteAddress: string, remotePort: number): DatagramSocket | null {
    if (this.closed || this.#reuse.tier === "dgram" || this.#peers.size >= MOST_PEERS) return null;
    const remote = { address: remoteAddress, port: remotePort };
    const udp = this.#bindBeside(remoteAddress, remotePort);
    if (udp === null) return null;
    const peer = openConnectedSocket(udp, this.handlers, remote, this.#reuse.tier);
    if (peer.tier === "dgram") {
      // No faster than the shared socket.
      peer.close();
      return null;
    }
    this.#peers.add(peer);
    peer.onClosed = () => this.#peers.delete(peer);
    return peer;
  }

  override close(): void {
    for (const peer of this.#peers) peer.close();
    super.close();
  }

  /**
   * SO_REUSEADDR lets two sockets have one port if both ask for it. The shared socket asks only for the moment, as
   * otherwise any program could take the port from it unnoticed, and a second server would not be told EADDRINUSE.
   */
  #bindBeside(remoteAddress: string, remotePort: number): Socket | null {
    const { options, fd } = this.#reuse;
    const udp = createUdp({ ...this.#udpOptions, reuseAddr: true });
    if (options !== null && !options.set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) {
      udp.close();
      return null;
    }
    const done = bindAndConnectNow(udp, this.address(), remoteAddress, remotePort);
    options?.set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
    return done ? udp : null;
  }
}

/**
 * Binds a server's socket.
 * @throws the error of bind(2), EADDRINUSE for a second server
 */
export async function openServerSocket(
  udpOptions: UdpOptions,
  address: string,
  port: number,
  tier: Tier,
  options: SocketOptions | null,
  handlers: DatagramHandlers,
): Promise<ServerSocket> {
  const udp = createUdp(udpOptions);
  await bind(udp, address, port);
  const bound = addressOf(udp);
  const found = tier === "dgram" ? null : findDescriptor(bound, null);
  if (found === null) {
    return new ServerSocket(udp, handlers, udpOptions, { tier: "dgram", options: null, fd: -1 });
  }
  if (tier === "segmented" && options !== null) {
    return new ServerSocket(udp, handlers, udpOptions, { tier: "segmented", options, fd: found.fd });
  }
  // Without setsockopt, SO_REUSEADDR comes at bind or never. The port was free: that is known from the first socket.
  udp.close();
  const reusing = createUdp({ ...udpOptions, reuseAddr: true });
  await bind(reusing, address, bound.port);
  if (countListeners(bound) > 1) {
    // Two servers that start in the same moment may both find the port free. Then neither gets it.
    reusing.close();
    throw addressInUse(bound);
  }
  return new ServerSocket(reusing, handlers, udpOptions, { tier: "descriptor", options: null, fd: -1 });
}

function addressInUse({ address, port }: DatagramAddress): NodeJS.ErrnoException {
  const error = new Error(`bind EADDRINUSE ${address}:${port}`);
  return Object.assign(error, { code: "EADDRINUSE", syscall: "bind", address, port });
}
