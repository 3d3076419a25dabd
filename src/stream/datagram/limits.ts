/** What may wait in a socket when the kernel has no room. Beyond it datagrams are lost, as in any other full queue. */
export const QUEUE_BYTES: number = 4 * 1024 * 1024;

/**
 * Sockets of peers beside a server's own. Before Linux 6.13 the kernel looks for a datagram's socket among all on its port,
 * one after the other, and making one takes time in proportion everywhere.
 */
export const MOST_PEERS = 256;

/**
 * Sockets of a process that are used through their descriptor. Each search for one reads the kernel's table of all UDP
 * sockets: with thousands of connections the searches alone would take minutes.
 */
export const MOST_DESCRIPTORS = 512;

/** Addresses of this machine that have a socket of their own beside one that is bound to all, in the tiers without the addon. */
export const MOST_LOCAL_ADDRESSES = 64;

/** Servers that a process remembers for speaking the extended edition. */
export const MAX_KNOWN_SERVERS = 1024;
