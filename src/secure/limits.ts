/** Limits of what the other end of a connection can make us hold before it has shown who it is, and of what is remembered of it. */

/** A TLS handshake. One of ours is about 1.5 KiB either way, and 4 KiB with a key share for quantum computers. */
export const MAX_HANDSHAKE_BYTES: number = 32 * 1024;
export const MAX_HANDSHAKE_MS = 10_000;

/** The messages of the pairing exchange, and how long one may take. */
export const MAX_PAIRING_REQUEST_BYTES = 512;
export const MAX_PAIRING_ANSWER_BYTES = 2048;
export const MAX_PAIRING_MS = 10_000;

/** Secrets for connecting again that a server remembers; of more, the oldest are forgotten, and their devices show keys. */
export const MAX_RESUMPTIONS = 4096;
/** Secrets that were used, by which a server knows that one comes again; of more, the oldest are forgotten. */
export const MAX_USED_RESUMPTIONS = 16_384;
