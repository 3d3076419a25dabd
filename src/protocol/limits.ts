/**
 * Every queue, window and table of the core has its limit here, so that a reader can add up what a peer can make us hold.
 */

/** Bytes of the header in front of every datagram's data. */
export const HEADER_BYTES = 12;

/** The largest UDP payload over IPv4: 65,535 less the IP and UDP headers (RFC 768). What a receiver must have room for. */
export const MAX_DATAGRAM_BYTES = 65_507;

/** Connection IDs have 16 bits; 0 stands for "none yet", so one endpoint holds at most this many connections. */
export const MAX_CONNECTION_ID: number = 0xffff;

/** For how long, and of how many connections that have ended, the SYN is remembered. Every edition's clients repeat theirs after 500 ms. */
export const LATE_SYN_MS = 400;
export const MAX_ENDED_SYNS = 4096;

/** A server that verifies addresses: buckets that limit their handshakes, ended connections it remembers, unanswered classic ones. */
export const HANDSHAKE_BUCKETS = 4096;
export const MAX_SPENT_COOKIES = 16_384;
export const MAX_HALF_OPEN = 4096;

/** SYN|ACKs of different servers, all with its nonce, among which a client looks for the one that answers. */
export const MAX_CANDIDATES = 4;

/** For how long a client that requires or expects the extended edition passes over plain SYN|ACKs, after the first. */
export const FALLBACK_WAIT_MS = 3000;

/** For how long a server that has closed answers clients whose SYN it has answered before. */
export const HANDSHAKE_LINGER_MS = 3000;

/** Connections beyond a server's own limit that are ended at once, at a time; more are refused without being accepted. */
export const MAX_DROPPED_CONNECTIONS = 1024;

/** Stateless resets that an endpoint sends: after a restart each client needs one, and repeats what it has sent. */
export const STATELESS_RESETS_PER_SECOND = 1024;
export const STATELESS_RESETS_AT_ONCE = 4096;

/** What one connection buffers for its reader, in and out of order together, unless told otherwise. */
export const DEFAULT_RECEIVE_BUFFER_BYTES: number = 256 * 1024;

/** Gaps that one connection keeps track of while it waits for missing data. A packet that would make one more is not kept. */
export const MAX_RECEIVE_GAPS = 512;

/** Received and written bytes are gathered in blocks of this size, so that small packets and writes cost no object each. */
export const BLOCK_BYTES: number = 16 * 1024;

/** What an extended connection buffers for its reader: the receive window, unless told otherwise. */
export const DEFAULT_RECEIVE_WINDOW_BYTES: number = 16 * 1024 * 1024;

/** The least receive window: peers count on it for their first flight, and have no more until they are admitted. */
export const MIN_RECEIVE_WINDOW_BYTES: number = 64 * 1024;

/** The receive window of a peer that has just been admitted, and the multiple of what its reader has read that it grows to. */
export const ADMITTED_WINDOW_BYTES: number = 4 * 1024 * 1024;
export const WINDOW_GROWTH = 4;

/** What all connections of a process may hold for their readers together, and the share of the rest that one of them may offer. */
export const DEFAULT_RECEIVE_BUDGET_BYTES: number = 256 * 1024 * 1024;
export const RECEIVE_BUDGET_SHARE = 8;

/**
 * A connection may hold so much memory for data out of order, and beyond it this multiple of the data: single bytes far apart
 * take a block each.
 */
export const SPARSE_BYTES: number = 256 * 1024;
export const SPARSE_MULTIPLE = 16;

/** The extended edition's blocks, as much as a read from the kernel brings, and its gaps: its windows are larger. */
export const EXTENDED_BLOCK_BYTES: number = 64 * 1024;
export const MAX_EXTENDED_GAPS = 4096;

/** Ranges that one acknowledgement reports, and how many of them fit beside data. */
export const MAX_SACK_BLOCKS = 32;
export const MAX_SACK_BLOCKS_WITH_DATA = 4;

/** What may be in flight at most, whatever the controller and the peer believe; a socket holds two of these and a chunk. */
export const MAX_WINDOW_BYTES: number = 64 * 1024 * 1024;
export const MAX_SENT_SEGMENTS = 65_536;

/**
 * What one datagram may make a sender do, in visits of segments: below a millisecond, however much is in flight. What is left of
 * an acknowledgement then follows {@link RESUME_AFTER_MS} later; ranges beyond that are passed over, as the peer repeats them.
 */
export const MAX_DATAGRAM_STEPS = 8192;
export const RESUME_AFTER_MS = 1;

/** Segments that are looked at to find one that is lost, or the last that is missing, before another one is taken instead. */
export const MAX_SEARCH_STEPS = 1024;

/** Packets in one datagram that are read; what follows them is passed over. Our own datagrams have one or two. */
export const MAX_DATAGRAM_PACKETS = 64;

/** Parameters of a packet that are read, padding not counted; what follows them is passed over. There are two so far. */
export const MAX_PARAMETERS = 64;

/** A peer's window is taken for no more than this: a quarter of the sequence space. */
export const MAX_PEER_WINDOW_BYTES: number = 1024 * 1024 * 1024;

/** The size that every path is taken to carry (RFC 8899 section 5.1.2 BASE_PLPMTU), in bytes of UDP payload. */
export const BASE_DATAGRAM_BYTES = 1200;

/**
 * The least size that a path must carry (RFC 8899 section 5.1.2 MIN_PLPMTU), in bytes of UDP payload: IP packets of 576 bytes,
 * which every IPv4 host accepts (RFC 1122 section 3.3.2), less the longer headers, those of IPv6.
 */
export const MIN_DATAGRAM_BYTES: number = 576 - 40 - 8;

/** Equal datagrams that are encoded, and can be sent, at once (UDP_MAX_SEGMENTS of Linux), and their bytes in all. */
export const MAX_BURST_DATAGRAMS = 64;
export const MAX_BURST_BYTES = 65_000;
