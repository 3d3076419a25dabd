import type { Connection, ConnectionStats, ControllerName } from "../protocol/index.js";
import type { Clock } from "./clock.js";
import type { Tier } from "./datagram/index.js";
import type { Driver } from "./driver.js";

/** How often a silent connection with keep-alive asks for a sign of life: three tries within the 10 s of silence. */
export const KEEP_ALIVE_MS = 3000;

export interface AddressInfo {
  address: string;
  family: "IPv4" | "IPv6";
  port: number;
}

/** What both `connect` and a server decide about a socket. */
export interface SocketOptions {
  /**
   * Keep the writing side open when the peer has ended. Default false: the socket ends itself, as in `node:net`.
   */
  readonly allowHalfOpen?: boolean | undefined;
  /**
   * Ask a silent peer for a sign of life every 3 s, so that an idle connection lives on. Default false. The extended edition
   * always does.
   */
  readonly keepAlive?: boolean | undefined;
  /** Send small writes at once instead of gathering them while something is in flight (Nagle). Default false. */
  readonly noDelay?: boolean | undefined;
  /**
   * The extended edition: true offers it to, or accepts it from, whoever speaks it, and falls back to the classic edition
   * otherwise; `required` fails instead of falling back; false speaks classic only. Default true.
   */
  readonly extended?: boolean | "required" | undefined;
  /** Congestion control of the extended edition. Default `bbr`. */
  readonly congestion?: ControllerName | undefined;
  /** The highest way to move datagrams that may be used: see docs/architecture.md. Default `auto`. */
  readonly tier?: Tier | "auto" | undefined;
  /** The largest datagram to try, in bytes of UDP payload. Default: what the network interface takes. */
  readonly maxDatagramBytes?: number | undefined;
  /** @internal Default: the system's. */
  readonly clock?: Clock | undefined;
}

/** @internal What a socket is made from. */
export interface SocketParts extends SocketOptions {
  readonly connection: Connection;
  readonly driver: Driver;
  /** False: nothing is expected from the peer but its FIN. */
  readonly readable: boolean;
  /** Emit `close` only after FIN-WAIT instead of leaving that to the background. */
  readonly foregroundFinWait: boolean;
  readonly host: string;
  readonly port: number;
  /** What the kernel said of the peer, if it did. */
  readonly kernelHint: () => NodeJS.ErrnoException | null;
  readonly localAddress: () => AddressInfo | null;
  readonly currentTier: () => Tier;
}

export interface SocketStats extends ConnectionStats {
  /** How datagrams reach the kernel: `dgram`, `descriptor` or `segmented`. */
  readonly tier: Tier;
  /** What is spoken: `extended`, or a course's edition. */
  readonly edition: Connection["edition"];
  /** The congestion window, the slow start threshold, and what was sent and is not acknowledged, in bytes. */
  readonly cwnd: number;
  readonly ssthresh: number;
  readonly bytesInFlight: number;
}

/** @internal A copy of all that a connection counts. */
export function socketStats(connection: Connection, tier: Tier): SocketStats {
  const { stats, edition, cwnd, ssthresh, bytesInFlight } = connection;
  return { ...stats, tier, edition, cwnd, ssthresh, bytesInFlight };
}
