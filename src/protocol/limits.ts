/**
 * Every queue, window and table of the core has its limit here, so that a reader can add up what a peer can make us hold.
 */

/** Bytes of the header in front of every datagram's data. */
export const HEADER_BYTES = 12;

/** The largest UDP payload over IPv4: 65,535 less the IP and UDP headers (RFC 768). What a receiver must have room for. */
export const MAX_DATAGRAM_BYTES = 65_507;

/** Connection IDs have 16 bits; 0 stands for "none yet", so one endpoint holds at most this many connections. */
export const MAX_CONNECTION_ID: number = 0xffff;

/** What one connection buffers for its reader, in and out of order together, unless told otherwise. */
export const DEFAULT_RECEIVE_BUFFER_BYTES: number = 256 * 1024;

/** Gaps that one connection keeps track of while it waits for missing data. A packet that would make one more is not kept. */
export const MAX_RECEIVE_GAPS = 512;

/** Received and written bytes are gathered in blocks of this size, so that small packets and writes cost no object each. */
export const BLOCK_BYTES: number = 16 * 1024;
