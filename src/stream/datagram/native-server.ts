import { type Addon, IPV6_ONLY, REUSE_ADDRESS, REUSE_PORT } from "../../native/addon.js";
import { MOST_PEERS } from "./limits.js";
import { bindNative, connectNative, NativeSocket } from "./native.js";
import { TELLS_CONNECTED_APART } from "./reuse-port.js";
import type { DatagramHandlers, DatagramSocket, SharedDatagramSocket, SharedOptions, Tier } from "./types.js";
import { ANY_PORT } from "./udp.js";

const NO_HANDLERS: DatagramHandlers = {
  onDatagram: () => {},
  onBatchEnd: () => {},
  onHint: () => {},
  onRefused: () => {},
};

/** A server's socket of our addon. Peers get sockets of their own beside it. */
export class NativeServerSocket extends NativeSocket implements SharedDatagramSocket {
  readonly #native: Addon;
  readonly #flags: number;
  readonly #sharesPort: boolean;
  readonly #peers = new Set<DatagramSocket>();

  /** @throws the error of bind(2), EADDRINUSE for a second server */
  constructor(native: Addon, { address, port, ipv6Only = false, reusePort = false, handlers }: SharedOptions) {
    const flags = ipv6Only ? IPV6_ONLY : 0;
    const sharing = reusePort ? REUSE_PORT | REUSE_ADDRESS : 0;
    super(native, bindNative(native, { address, port }, flags | sharing), handlers, null);
    this.#sharesPort = reusePort;
    if (reusePort) this.#preferPeers(flags | sharing);
    this.#native = native;
    this.#flags = flags;
  }

  get tierOfPeers(): Tier {
    return this.tier;
  }

  /**
   * SO_REUSEPORT lets two sockets have one port if both ask for it and are the same user's: at no moment can another user's
   * program take it, as it could with SO_REUSEADDR. The shared socket asks only for the moment, as otherwise a second server of
   * the same user would not be told EADDRINUSE.
   */
  openPeer(address: string, port: number, localAddress = ""): DatagramSocket | null {
    if (this.closed || this.#peers.size >= MOST_PEERS || !TELLS_CONNECTED_APART) return null;
    // Where processes share the port, both have SO_REUSEADDR instead: a peer's socket must not join the group.
    if (!this.#sharesPort && this.udp.allowReuse(true) < 0) return null;
    const peer = this.#connect(address, port, localAddress);
    if (!this.#sharesPort) this.udp.allowReuse(false);
    if (peer === null) return null;
    this.#peers.add(peer);
    peer.onClosed = () => this.#peers.delete(peer);
    return peer;
  }

  override close(): void {
    for (const peer of this.#peers) peer.close();
    super.close();
  }

  /**
   * Linux looks for connected sockets behind a group of SO_REUSEPORT only once the group has had a connected one. Peers' own
   * sockets are outside the group, as those in it decide by their number who gets a datagram.
   */
  #preferPeers(flags: number): void {
    try {
      connectNative(
        this.#native,
        this.address(),
        { address: this.#anyPeer(), port: ANY_PORT },
        flags,
        NO_HANDLERS,
      ).close();
    } catch {
      // No route: where the port is bound to all addresses, peers are found first anyway.
    }
  }

  #anyPeer(): string {
    const { address } = this.address();
    return address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
  }

  #connect(address: string, port: number, localAddress: string): NativeSocket | null {
    const bound = this.address();
    const local = localAddress === "" ? bound : { address: localAddress, port: bound.port };
    const flags = this.#flags | (this.#sharesPort ? REUSE_ADDRESS : REUSE_PORT);
    try {
      return connectNative(this.#native, local, { address, port }, flags, this.handlers, localAddress);
    } catch {
      // No route, or no more descriptors.
      return null;
    }
  }
}
