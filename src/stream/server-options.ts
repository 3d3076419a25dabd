import type { BlockList } from "node:net";
import type { DropCounts, EditionName, TraceSink } from "../protocol/index.js";
import type { SocketOptions } from "./socket-options.js";

export interface ServerOptions extends SocketOptions {
  /** The course edition to speak. Default `fiu-2023`. */
  readonly edition?: EditionName | undefined;
  /** Connections at once, without those that only wait for late FINs; further ones are ended at once (`drop`). Default and most 65,535. */
  readonly maxConnections?: number | undefined;
  /** What is buffered for each connection's reader, in bytes; more is not accepted from the peer. Default 256 KiB. */
  readonly receiveBufferBytes?: number | undefined;
  /**
   * Give peers of the extended edition a receive window of 64 KiB until `socket.admit()` is called, as a server does that must know
   * first who they are. Default false: until the program has read something of what they sent.
   */
  readonly requireAdmission?: boolean | undefined;
  /** Addresses whose connections are refused. */
  readonly blockList?: BlockList | undefined;
  /** Bytes that wait for a reader in each socket's stream before no more are taken from its connection. Default: Node's. */
  readonly highWaterMark?: number | undefined;
  /** Do not read from new sockets until they are resumed. Default false. */
  readonly pauseOnConnect?: boolean | undefined;
  /**
   * Emit `connection` already when a SYN arrives, as the course servers count and create files then. The socket is still
   * `connecting`. Default false: when the handshake is done.
   */
  readonly acceptAtSyn?: boolean | undefined;
  /**
   * Sends no address more bytes than came from it before it has proved to be a client's, and answers no more than
   * {@link handshakesPerSecond} of the extended edition's SYNs, without spending memory on them. Classic clients that have sent a SYN
   * only are limited to 4,096; `extended: "required"` drops them. With `acceptAtSyn`, which asks for a socket at the SYN, only the
   * first of these holds. False answers anybody, and repeats a classic SYN|ACK for 10 s. Default true. See docs/protocol.md.
   */
  readonly verifyAddresses?: boolean | undefined;
  /**
   * The connection IDs and initial sequence numbers of the server's classic connections. `random`: unguessable, so that a client that
   * acknowledges them has proved its address. `edition`: 1, 2, 3, … and 4321, as the course programs log them; anybody can guess them,
   * and so with `verifyAddresses` such a connection never gets more bytes than came from it. Default `random`; `edition` with
   * `acceptAtSyn` or without `verifyAddresses`.
   */
  readonly classicNumbers?: "random" | "edition" | undefined;
  /**
   * Handshakes that one address (one /64 of IPv6) may begin in a second without finishing them, and four times as many at once.
   * Further SYNs are dropped and counted, see {@link ServerStats}. Default 2,048.
   */
  readonly handshakesPerSecond?: number | undefined;
  /**
   * A secret of at least 16 bytes. A server that was started again tells clients of the old one at once that their connections are
   * gone (a stateless reset, RFC 9000 section 10.3) if it has the same key; several servers behind one address can share it.
   * Default: a new random key, which tells them of connections that this server has given up.
   */
  readonly statelessResetKey?: string | Uint8Array | undefined;
  /** Gets each line of the course programs' log. */
  readonly trace?: TraceSink | undefined;
}

export interface ListenOptions {
  /** Default 0: any free port. */
  readonly port?: number | undefined;
  /** Default: all interfaces, IPv6 and IPv4 where there is IPv6. */
  readonly host?: string | undefined;
  /** Taken as in `node:net` and not used: the limits of handshakes are options of the server. */
  readonly backlog?: number | undefined;
  /** Taken as in `node:net`: a worker of `node:cluster` always has its port to itself. See `reusePort`. */
  readonly exclusive?: boolean | undefined;
  /**
   * Share the port (SO_REUSEPORT) with other processes of the same user that ask for it too, such as workers of
   * `node:cluster`: the kernel gives each client to one of them. Default false. See docs/cluster.md.
   */
  readonly reusePort?: boolean | undefined;
  /** Only IPv6 on an IPv6 address. Default false. */
  readonly ipv6Only?: boolean | undefined;
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** The counters of a server since it began to listen. */
export interface ServerStats {
  readonly drops: Readonly<ServerDrops>;
  readonly statelessResets: Readonly<StatelessResetCounts>;
}

/** Counts datagrams that no connection received, and connections that the server did not take (`drop`), by reason. */
export interface ServerDrops extends DropCounts {
  /** Connections of addresses that are in `blockList`. */
  blockedAddress: number;
}

/**
 * Packets for connections that the server does not know, as after a restart: all count as {@link DropCounts.unknownConnection}, and
 * those of the extended edition are answered with a stateless reset.
 */
export interface StatelessResetCounts {
  /** Stateless resets sent. */
  readonly sent: number;
  /** Packets that were not answered because too many had been in the second before. */
  readonly suppressed: number;
}
