import type { RemoteInfo, Socket } from "node:dgram";
import { openConnectedSocket } from "./connected.js";
import { countListeners, findDescriptor } from "./descriptor.js";
import { MOST_PEERS } from "./limits.js";
import { LocalSockets, localAddresses } from "./local-sockets.js";
import { PortableSocket } from "./portable.js";
import { SHARES_PORT, TELLS_CONNECTED_APART } from "./reuse-port.js";
import type {
  DatagramAddress,
  DatagramHandlers,
  DatagramSocket,
  SharedDatagramSocket,
  SharedOptions,
  Tier,
} from "./types.js";
import { addressOf, bind, bindAndConnectNow, bindNow, createUdp, type UdpOptions } from "./udp.js";

/** A server's socket of node:dgram. With the tier `descriptor` peers get sockets of their own beside it. */
export class ServerSocket extends PortableSocket implements SharedDatagramSocket {
  readonly #tierOfPeers: Tier;
  readonly #udpOptions: UdpOptions;
  readonly #peers = new Set<DatagramSocket>();
  /** Null unless this one is bound to all addresses. */
  readonly #locals: LocalSockets | null;

  constructor(
    udp: Socket,
    handlers: DatagramHandlers,
    udpOptions: UdpOptions,
    tierOfPeers: Tier,
    locals: LocalSockets | null,
  ) {
    super(udp, handlers, null);
    this.#udpOptions = udpOptions;
    this.#tierOfPeers = tierOfPeers;
    this.#locals = locals;
  }

  get tierOfPeers(): Tier {
    return this.#tierOfPeers;
  }

  override send(
    bytes: Uint8Array,
    segmentBytes: number,
    remotePort: number,
    remoteAddress: string,
    localAddress = "",
  ): boolean {
    const local = localAddress === "" ? undefined : this.#locals?.at(localAddress);
    if (local !== undefined) return local.send(bytes, segmentBytes, remotePort, remoteAddress);
    return super.send(bytes, segmentBytes, remotePort, remoteAddress);
  }

  openPeer(remoteAddress: string, remotePort: number, localAddress = ""): DatagramSocket | null {
    if (this.closed || this.#tierOfPeers === "dgram" || this.#peers.size >= MOST_PEERS) return null;
    const remote = { address: remoteAddress, port: remotePort };
    // Where processes share the port, outside their group, whose members decide by their number who gets a datagram.
    const sharing = this.#udpOptions.reusePort ? { reuseAddr: true, reusePort: false } : SHARES_PORT;
    const udp = createUdp({ ...this.#udpOptions, ...sharing });
    const bound = this.address();
    const local = localAddress === "" ? bound : { ...bound, address: localAddress };
    if (!bindAndConnectNow(udp, local, remoteAddress, remotePort)) return null;
    const peer = openConnectedSocket(udp, this.handlers, remote, this.#tierOfPeers, localAddress);
    if (peer.tier === "dgram") {
      // No faster than the shared socket.
      peer.close();
      return null;
    }
    this.#peers.add(peer);
    peer.onClosed = () => this.#peers.delete(peer);
    return peer;
  }

  override ref(): void {
    super.ref();
    this.#locals?.setRef(true);
  }

  override unref(): void {
    super.unref();
    this.#locals?.setRef(false);
  }

  override close(): void {
    for (const peer of this.#peers) peer.close();
    this.#locals?.close();
    super.close();
  }

  protected override receive(bytes: Uint8Array, from: RemoteInfo): void {
    // Its address has no socket yet.
    this.#locals?.follow();
    super.receive(bytes, from);
  }
}

/**
 * Binds a server's socket, and where `address` is that of all interfaces one more for each address of this machine.
 * @throws the error of bind(2), EADDRINUSE for a second server
 */
export function openServerSocket(
  options: SharedOptions,
  addresses: typeof localAddresses = localAddresses,
): ServerSocket {
  const { address, port, reusePort = false, tier, handlers } = options;
  const udpOptions = udpOptionsFor(options);
  if (reusePort) checkSharing(options);
  const udp = createUdp(udpOptions);
  bindNow(udp, address, port);
  const bound = addressOf(udp);
  const finds = tier !== "dgram" && TELLS_CONNECTED_APART && findDescriptor(bound, null) !== null;
  const tierOfPeers = finds ? "descriptor" : "dgram";
  const isWildcard = address === "0.0.0.0" || address === "::";
  if (tierOfPeers === "dgram" && !isWildcard) return new ServerSocket(udp, handlers, udpOptions, "dgram", null);
  if (reusePort) {
    const locals = isWildcard ? new LocalSockets(bound, udpOptions, handlers, addresses) : null;
    locals?.follow();
    return new ServerSocket(udp, handlers, udpOptions, tierOfPeers, locals);
  }
  // What lets others have the port comes at bind or never. It was free: that is known from the first socket. A program of another
  // user that takes it in between makes the next one fail; nothing takes it from then on.
  udp.close();
  const reusing = createUdp({ ...udpOptions, ...SHARES_PORT });
  bindNow(reusing, address, bound.port);
  if (hasOtherListeners(bound)) {
    // Two servers that start in the same moment may both find the port free. Then neither gets it.
    reusing.close();
    throw addressInUse(bound);
  }
  const locals = isWildcard ? new LocalSockets(bound, udpOptions, handlers, addresses) : null;
  locals?.follow();
  return new ServerSocket(reusing, handlers, udpOptions, tierOfPeers, locals);
}

/**
 * The server's socket where {@link sharesPortsAtOnce} is false: one for all peers, of the tier `dgram`. Bound to all addresses, it
 * sends from the one that the system chooses.
 * @throws the error of bind(2)
 */
export async function openServerSocketLater(options: SharedOptions): Promise<ServerSocket> {
  const udpOptions = udpOptionsFor(options);
  const udp = createUdp(udpOptions);
  await bind(udp, options.address, options.port);
  return new ServerSocket(udp, options.handlers, udpOptions, "dgram", null);
}

/**
 * A server that does not share its port has sockets of its own there by SO_REUSEPORT, which alone would let in whoever asks for that.
 * Those that share have SO_REUSEADDR as well, and so a socket that asks for nothing else is refused by the others only.
 * @throws EADDRINUSE
 */
export function checkSharing({ address, port, ipv6Only = false }: SharedOptions): void {
  if (process.platform !== "linux" || port === 0) return;
  const udp = createUdp({ type: address.includes(":") ? "udp6" : "udp4", ipv6Only, reuseAddr: true });
  bindNow(udp, address, port);
  udp.close();
}

function udpOptionsFor({ address, ipv6Only = false, reusePort = false }: SharedOptions): UdpOptions {
  const sharing = reusePort ? { reusePort, reuseAddr: true } : {};
  return address.includes(":") ? { type: "udp6", ipv6Only, ...sharing } : { type: "udp4", ...sharing };
}

/** False where the system does not say. */
function hasOtherListeners(bound: DatagramAddress): boolean {
  try {
    return process.platform === "linux" && countListeners(bound) > 1;
  } catch {
    return false;
  }
}

function addressInUse({ address, port }: DatagramAddress): NodeJS.ErrnoException {
  const error = new Error(`bind EADDRINUSE ${address}:${port}`);
  return Object.assign(error, { code: "EADDRINUSE", syscall: "bind", address, port });
}
