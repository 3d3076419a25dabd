import type { BlockList, LookupFunction } from "node:net";
import type {
  Connection,
  ConnectionStats,
  ControllerName,
  EditionName,
  ShortSegments,
  TraceSink,
} from "../protocol/index.js";
import type { Clock } from "./clock.js";
import type { Tier } from "./datagram/index.js";
import type { SocketDriver } from "./unconnected.js";

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
  /** Taken as in `node:net` and not used: the first sign of life is asked for after 3 s. */
  readonly keepAliveInitialDelay?: number | undefined;
  /** Send small writes at once instead of gathering them while something is in flight (Nagle). Default false. */
  readonly noDelay?: boolean | undefined;
  /**
   * The extended edition: true offers it to, or accepts it from, whoever speaks it, and falls back to the classic edition
   * otherwise; `required` fails instead of falling back; false speaks classic only. Default true.
   */
  readonly extended?: boolean | "required" | undefined;
  /**
   * A peer that says nothing for this many milliseconds is given up (ETIMEDOUT), at least 100. In the extended edition the lower
   * of both ends' counts. Default: 30 s in the extended edition, 10 s in the classic ones and for a handshake.
   */
  readonly silenceTimeoutMs?: number | undefined;
  /** Congestion control of the extended edition. Default `bbr`. */
  readonly congestion?: ControllerName | undefined;
  /** The highest way to move datagrams that may be used: see docs/architecture.md. Default `auto`. */
  readonly tier?: Tier | "auto" | undefined;
  /**
   * The largest datagram to send, in bytes of UDP payload, at least 528: smaller values are taken for that. Default: what the
   * network interface takes. What the path carries is found out up to this size.
   */
  readonly maxDatagramBytes?: number | undefined;
  /** @internal Default: the system's. */
  readonly clock?: Clock | undefined;
}

/** Gets what arrives in a buffer of the program's instead of as `data`, as in `node:net`. */
export interface OnReadOptions {
  /** One buffer for all, or a function that gives one for each call. */
  readonly buffer: Uint8Array | (() => Uint8Array);
  /** Gets the number of bytes and the buffer that they are in. With false it pauses the socket until `resume()`. */
  readonly callback: (bytesRead: number, buffer: Uint8Array) => boolean;
}

/** Options of `new ConfundoSocket()`; `connect()` takes those that concern the connection, too. */
export interface SocketConstructorOptions extends SocketOptions {
  /** The course edition to speak. Default `fiu-2023`. */
  readonly edition?: EditionName | undefined;
  /** Bytes that wait for a reader in the stream before no more are taken from the connection. Default: Node's, 64 KiB. */
  readonly highWaterMark?: number | undefined;
  /** The same for the reader's side alone. */
  readonly readableHighWaterMark?: number | undefined;
  /** Default: what arrives is emitted as `data`. */
  readonly onread?: OnReadOptions | undefined;
  /**
   * False for a connection that only sends: the peer need not send a FIN of its own (some course servers do not), and the
   * socket has no readable side. Default true.
   */
  readonly readable?: boolean | undefined;
  /** Destroys the socket with an `AbortError` (code ABORT_ERR) when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Addresses that are not connected to: ERR_IP_BLOCKED. */
  readonly blockList?: BlockList | undefined;
  /**
   * `foreground`: `close` is emitted only after the 2 s (extended edition: 4 s) in which late FINs are answered. Default
   * `background`: that is done after `close`, without keeping the process alive.
   */
  readonly finWait?: "background" | "foreground" | undefined;
  /** When segments that are not full are sent. Default `nagle`; `never` sends full ones only, but the last. */
  readonly shortSegments?: ShortSegments | undefined;
  /** What is buffered for the reader, in bytes; more is not accepted from the peer. Default 256 KiB. */
  readonly receiveBufferBytes?: number | undefined;
  /** Gets each line of the course programs' log. */
  readonly trace?: TraceSink | undefined;
}

export interface ConnectOptions extends SocketConstructorOptions {
  readonly port: number;
  /** Host name or IP address. Default `localhost`. */
  readonly host?: string | undefined;
  /** Only IPv4 (4) or IPv6 (6) addresses of the host; 0, the default, for either. */
  readonly family?: number | undefined;
  /** Local port to send from. Default: any. */
  readonly localPort?: number | undefined;
  /** Local address to send from. Default: as the route says. */
  readonly localAddress?: string | undefined;
  /**
   * True goes on trying for as long as a handshake may take although nothing listens there yet. Default false: ECONNREFUSED, at
   * the first refusal of this machine's own addresses and at the third in a row of others.
   */
  readonly retryRefused?: boolean | undefined;
  /** Resolves host names, as `dns.lookup` does; it may answer with one address or an array of them. Default `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined;
  /** Flags for `lookup`, as `dns.lookup` takes them. */
  readonly hints?: number | undefined;
  /** False asks a `lookup` of the program's for one address only. Every address that there is is tried in any case. */
  readonly autoSelectFamily?: boolean | undefined;
  /** Emits `timeout` after so many milliseconds without activity, as `setTimeout()` does. Default 0: never. */
  readonly timeout?: number | undefined;
}

/** @internal What a socket's connection comes with. */
export interface SocketParts {
  readonly connection: Connection;
  readonly driver: SocketDriver;
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
