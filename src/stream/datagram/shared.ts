import type { Socket } from "node:dgram";
import { openConnectedSocket } from "./connected.js";
import { countListeners, findDescriptor } from "./descriptor.js";
import { MOST_PEERS } from "./limits.js";
import { PortableSocket } from "./portable.js";
import type {
  DatagramAddress,
  DatagramHandlers,
  DatagramSocket,
  SharedDatagramSocket,
  SharedOptions,
  Tier,
} from "./types.js";
import { addressOf, bind, bindAndConnectNow, createUdp, type UdpOptions } from "./udp.js";

/** A server's socket of node:dgram. With the tier `descriptor` peers get sockets of their own beside it. */
export class ServerSocket extends PortableSocket implements SharedDatagramSocket {
  readonly #tierOfPeers: Tier;
  readonly #udpOptions: UdpOptions;
  readonly #peers = new Set<DatagramSocket>();

  constructor(udp: Socket, handlers: DatagramHandlers, udpOptions: UdpOptions, tierOfPeers: Tier) {
    super(udp, handlers, null);
    this.#udpOptions = udpOptions;
    this.#tierOfPeers = tierOfPeers;
  }

  get tierOfPeers(): Tier {
    return this.#tierOfPeers;
  }

  openPeer(remoteAddress: string, remotePort: number): DatagramSocket | null {
    if (this.closed || this.#tierOfPeers === "dgram" || this.#peers.size >= MOST_PEERS) return null;
    const remote = { address: remoteAddress, port: remotePort };
    const udp = createUdp({ ...this.#udpOptions, reuseAddr: true });
    if (!bindAndConnectNow(udp, this.address(), remoteAddress, remotePort)) return null;
    const peer = openConnectedSocket(udp, this.handlers, remote, this.#tierOfPeers);
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
}

/**
 * Binds a server's socket.
 * @throws the error of bind(2), EADDRINUSE for a second server
 */
export async function openServerSocket(options: SharedOptions): Promise<ServerSocket> {
  const { address, port, ipv6Only = false, tier, handlers } = options;
  const udpOptions: UdpOptions = address.includes(":") ? { type: "udp6", ipv6Only } : { type: "udp4" };
  const udp = createUdp(udpOptions);
  await bind(udp, address, port);
  const bound = addressOf(udp);
  if (tier === "dgram" || findDescriptor(bound, null) === null) {
    return new ServerSocket(udp, handlers, udpOptions, "dgram");
  }
  // SO_REUSEADDR comes at bind or never. The port was free: that is known from the first socket.
  udp.close();
  const reusing = createUdp({ ...udpOptions, reuseAddr: true });
  await bind(reusing, address, bound.port);
  if (countListeners(bound) > 1) {
    // Two servers that start in the same moment may both find the port free. Then neither gets it.
    reusing.close();
    throw addressInUse(bound);
  }
  return new ServerSocket(reusing, handlers, udpOptions, "descriptor");
}

function addressInUse({ address, port }: DatagramAddress): NodeJS.ErrnoException {
  const error = new Error(`bind EADDRINUSE ${address}:${port}`);
  return Object.assign(error, { code: "EADDRINUSE", syscall: "bind", address, port });
}
