import type { Clock } from "../clock.js";

/**
 * How datagrams reach the kernel, from what works everywhere to what is fastest:
 * - `dgram`: node:dgram alone.
 * - `descriptor`: Linux. Connected sockets are written and drained through their descriptor.
 * - `segmented`: Linux with our addon. A burst of equal datagrams is one write (UDP_SEGMENT) and mostly one read (UDP_GRO),
 *   of many that are not equal each read takes several; and what a connected socket sends is never fragmented.
 */
export type Tier = "dgram" | "descriptor" | "segmented";

export interface DatagramAddress {
  readonly address: string;
  readonly port: number;
  readonly family: "IPv4" | "IPv6";
}

export interface DatagramHandlers {
  /**
   * One datagram, or after `enableCoalescing()` several back to back. The memory is the receiver's to keep where the bytes
   * take more than half of their ArrayBuffer, and otherwise only until the call returns. `segmentBytes`: packets so long, of
   * which the last may have been shorter, were joined; 0: none were. `localAddress` is the address of this machine that it
   * came to, for answers to leave from; empty where the socket is bound to a single one.
   */
  onDatagram(
    bytes: Uint8Array,
    remoteAddress: string,
    remotePort: number,
    segmentBytes: number,
    localAddress: string,
  ): void;
  /** After the `onDatagram` calls of one wake-up. */
  onBatchEnd(): void;
  /**
   * The kernel refuses datagrams of `bytes` or more to this peer (EMSGSIZE), and takes those of `limitBytes` as far as is known;
   * 0 for not known. May be called while `send` is.
   */
  onRefused(remoteAddress: string, remotePort: number, bytes: number, limitBytes: number): void;
  /** What the kernel said of the network. Nothing has failed for good: it helps to explain a silence. */
  onHint(error: NodeJS.ErrnoException, remoteAddress?: string, remotePort?: number): void;
}

export interface SharedOptions {
  readonly address: string;
  readonly port: number;
  readonly ipv6Only?: boolean | undefined;
  /** Share the port with other processes that ask for it too. Default false. */
  readonly reusePort?: boolean | undefined;
  /** The highest tier to use. `auto`, the default, is the highest there is. */
  readonly tier?: Tier | "auto" | undefined;
  readonly handlers: DatagramHandlers;
}

export interface DatagramSocket {
  /** What is in use. It sinks from `segmented` to `descriptor` when the kernel will not segment for a device. */
  readonly tier: Tier;
  /** Bytes handed to `send` that were given up, as the kernel refused them or had no room for long. */
  readonly droppedBytes: number;
  address(): DatagramAddress;
  /** The largest datagram worth trying to this peer: the MTU of the interface that leads there, less the headers. */
  maxDatagramBytes(remoteAddress: string): number;
  /**
   * Sends `bytes`: datagrams of `segmentBytes` each, back to back, where the last may be shorter. A connected socket
   * sends to its peer whatever the address. They leave from `localAddress`, one that {@link DatagramHandlers.onDatagram} has
   * reported; empty or left out: from where the system says. Network errors are never thrown: they are losses, and hints where they
   * say something.
   * @returns whether the memory is free again. When false the kernel had no room: the rest waits, its memory must stay
   * as it is, and sending more before a while has passed is of little use.
   */
  send(
    bytes: Uint8Array,
    segmentBytes: number,
    remotePort: number,
    remoteAddress: string,
    localAddress?: string,
  ): boolean;
  /**
   * From now on datagrams that come in a dense stream may be delivered so many ms late by this clock, together with those
   * behind them: that saves a wake-up for each. 0 for at once, as without it. Only the tier `segmented` makes use of it.
   */
  bePatient(patienceMs: number, clock: Clock): void;
  /**
   * From now on datagrams that arrived together may be delivered back to back as one. They are of the extended edition if
   * packets in them are to be joined: of consecutive ones that are nothing but data, the first is made longer. Returns
   * whether they may.
   */
  enableCoalescing(join: boolean): boolean;
  ref(): void;
  unref(): void;
  close(): void;
}

export interface SharedDatagramSocket extends DatagramSocket {
  /** The tier of the sockets that `openPeer` gives. The shared one's own is `dgram` where theirs is `descriptor`. */
  readonly tierOfPeers: Tier;
  /**
   * A socket of its own for one peer on the same local port: the kernel then hands that peer's datagrams to it. They and
   * strays come through the shared socket's handlers. Null where that is not possible: use the shared socket.
   * Closing the shared socket closes these too. `localAddress` is the one that the peer's datagrams come to, as reported.
   */
  openPeer(remoteAddress: string, remotePort: number, localAddress?: string): DatagramSocket | null;
}
