import type { EditionName } from "./editions.js";

/** What has happened since {@link Connection.signals} was last asked; or-ed. */
export const Signal = {
  /** The handshake is done. */
  connected: 1,
  /** `read()` has something, or `ended` became true. */
  readable: 2,
  /** After a `write()` that returned false: the window has room again. */
  writable: 4,
  /** The peer acknowledged every byte and the FIN. */
  finished: 8,
  /** Nothing more will come of this connection; `failure` says whether that was its regular end. */
  closed: 16,
  /** The peer's address has changed, and the new one is proven to be its. */
  moved: 32,
} as const;

/** Why a connection closed early. */
export type Failure =
  /** Nobody answered the handshake within the silence timeout. */
  | "handshake-timeout"
  /** The peer said nothing for the silence timeout, and has not acknowledged everything, or has not ended. */
  | "peer-silent"
  /** The same, where the peer has acknowledged every byte, and only the FIN is unacknowledged. */
  | "fin-unanswered"
  /** The peer has given the connection up and said so (extended edition only). */
  | "reset"
  /** Nothing listens at the peer's port: see `refuse()`. */
  | "refused"
  /** The peer speaks only the classic protocol, and the extended edition was required. */
  | "not-extended"
  /** The path to the peer carries no datagrams of the least size (extended edition), or of a segment (classic). */
  | "path-mtu"
  /** This side called `abort()`. */
  | "aborted";

/** What a peer that gives a connection up gives as its reason (extended edition only). */
export type ResetReason =
  /** Its program gave the connection up. */
  | "aborted"
  /** Data came that nobody there would read any more. */
  | "unread"
  /** It had heard nothing of us for the silence timeout. */
  | "silent"
  /** Its program does not know the connection: it was restarted (a stateless reset, RFC 9000 section 10.3). */
  | "restarted"
  /** The path carries no datagrams of the least size. */
  | "path-mtu"
  /** Its server takes no more connections: it is full, or closed. */
  | "refused"
  /** Its server speaks another version of the extended edition, and nothing else. */
  | "version"
  /** It gave none that we know. */
  | "unknown";

/** When a segment that is not full may leave. The last one of a stream always may. */
export type ShortSegments =
  /** When nothing else is in flight (Nagle, RFC 9293 section 3.7.4). */
  | "nagle"
  /** At once. */
  | "immediate"
  /** Never: a file's segments are all full but the last. */
  | "never";

/** Counters since the connection began. */
export interface ConnectionStats {
  datagramsSent: number;
  datagramsReceived: number;
  /** Datagrams that were sent again. */
  retransmissions: number;
  /** Retransmission timeouts. */
  timeouts: number;
  /** Datagrams with this connection's ID that made no sense to it. */
  dropped: number;
  /** Data bytes the peer acknowledged. */
  bytesAcknowledged: number;
  /** Data bytes received in order. */
  bytesReceived: number;
  /** Data that arrived when the reader had left no room for it. */
  overflows: number;
  /** The smoothed and the least round trip in milliseconds, 0 where none was measured (the classic edition measures none). */
  smoothedRttMs: number;
  minRttMs: number;
}

export function emptyStats(): ConnectionStats {
  return {
    datagramsSent: 0,
    datagramsReceived: 0,
    retransmissions: 0,
    timeouts: 0,
    dropped: 0,
    bytesAcknowledged: 0,
    bytesReceived: 0,
    overflows: 0,
    smoothedRttMs: 0,
    minRttMs: 0,
  };
}

/**
 * One connection of the protocol as a value that is told things and asked things. All time is an argument, in
 * milliseconds on any one monotonic clock. After every input its owner drains it in one order: `transmit` until it
 * returns 0, `deadline`, `signals`.
 */
export interface Connection {
  readonly role: "client" | "server";
  /** The edition that is spoken; until the handshake is done, the one to fall back to. */
  readonly edition: EditionName | "extended";
  /** The peer, as given to the endpoint: any string that stands for a host, and a port. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The address of this machine that the peer's datagrams come to, as given to the endpoint; empty where there is only one. */
  readonly localAddress: string;
  /** Where the datagrams that `transmit` encoded last are to go: usually the peer's address. */
  readonly sendAddress: string;
  readonly sendPort: number;
  /** The address of this machine that they are to leave from: usually {@link localAddress}. */
  readonly sendLocalAddress: string;
  /** The length of each of them but the last, which may be shorter. */
  readonly datagramBytes: number;
  /** 0 until it is known. */
  readonly connectionId: number;
  /** The congestion window in bytes. */
  readonly cwnd: number;
  /** The slow start threshold in bytes. */
  readonly ssthresh: number;
  /** Data bytes sent and not acknowledged. */
  readonly bytesInFlight: number;
  /** Data bytes written that have not arrived as far as is known, sent or not: selectively acknowledged ones do not count. */
  readonly bytesHeld: number;
  /** The value of `bytesHeld` at which `write()` says wait: the congestion window, or two of them (extended edition). */
  readonly highWaterMark: number;
  /** Data bytes waiting for `read()`. */
  readonly readableBytes: number;
  readonly connected: boolean;
  /** The peer's FIN has arrived behind everything that `read()` has returned or will return. */
  readonly ended: boolean;
  /**
   * The peer's FIN has arrived and everything of ours is acknowledged: neither side owes the other a packet. Nothing that
   * happens to the peer is a failure now.
   */
  readonly idle: boolean;
  readonly closed: boolean;
  readonly failure: Failure | null;
  /** With the failure `reset`: what the peer gave as its reason. */
  readonly resetReason: ResetReason | null;
  readonly stats: Readonly<ConnectionStats>;
  shortSegments: ShortSegments;
  /** A peer that says nothing for this many ms is given up: the lower of both ends' in the extended edition. */
  readonly silenceTimeoutMs: number;
  /** Asks a silent peer for a sign of life after this many ms, 0 for never. */
  keepAliveMs: number;

  /** Begins the handshake of a client. Data may be written before. */
  open(now: number): void;
  /** Handles what time has brought; does nothing before `deadline()`. */
  expire(now: number): void;
  /**
   * Takes bytes to send. True: they were copied, write on. False: the bytes not acknowledged have reached the high water
   * mark; the chunk is borrowed, and neither it may be changed nor anything written, until the `writable` signal.
   */
  write(chunk: Uint8Array, now: number): boolean;
  /** Sends a FIN after everything written. */
  end(now: number): void;
  /** Forgets the connection at once. The extended edition tells the peer; the classic one cannot, and its peer finds us silent. */
  abort(now: number): void;
  /** The kernel says that nothing listens at the peer's port (ICMP): the peer is gone, or never was. */
  refuse(now: number): void;
  /**
   * Nobody will read any more: what the peer still sends is dropped and not acknowledged, and once our FIN is
   * acknowledged there is nothing left to wait for.
   */
  discardInput(now: number): void;
  /**
   * The peer may have more than the least receive window from now on. Before that no peer of a server has. The classic edition has
   * one window for all.
   */
  admit(now: number): void;
  /** The next bytes in order, or null; makes room for more. The caller owns them. */
  read(): Uint8Array | null;
  /**
   * Encodes what is to be sent next into `out`: one datagram, or several back to back, of `datagramBytes` each but the
   * last. Returns their length in all, 0 when there is nothing to send now. `out` has room for the largest datagram.
   */
  transmit(out: Uint8Array, now: number): number;
  /**
   * This machine does not send datagrams of `bytes` or more to the peer (EMSGSIZE); `limitBytes`, below that, is the longest that
   * it may send, 0 where that is not known.
   */
  limitDatagrams(bytes: number, limitBytes: number, now: number): void;
  /**
   * The address of this machine that the connection sends from has changed: the peer is to learn the new one, which it checks
   * (RFC 9000 section 9), and the path is another. The classic edition has no way to tell it.
   */
  changeLocalAddress(now: number): void;
  /** When `expire` wants to be called: the earliest timer, Infinity for none. */
  deadline(): number;
  /** Takes and clears what has happened, as {@link Signal} bits. */
  signals(): number;
}

/** A client's connection, and what concerns its handshake only. */
export interface ClientConnection extends Connection {
  /**
   * How often the server has answered a SYN by saying that it takes no connections any more (extended edition only). The connection
   * goes on trying: its owner may give it up.
   */
  readonly refusals: number;
  /**
   * The server is known to speak the extended edition: only that is offered, and plain answers are passed over for 3 s, as anybody can
   * forge them. To be set before `open()`.
   */
  expectsExtended: boolean;
}
