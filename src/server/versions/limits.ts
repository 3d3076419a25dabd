/** Limits of what a folder may take on the server's disk, and of the work that keeps it within them. */

/**
 * Bytes that every entry and every kept version count besides their content: a block of the file system, which is about what the
 * inode, the name and the database's rows take.
 */
export const ENTRY_COST_BYTES = 4096;
/** The storage limit of a folder that has a quota and no storage limit of its own, as a multiple of the quota. */
export const STORAGE_PER_QUOTA = 3;
/** The least storage limit that follows from a quota: the entries of a very small one have to fit. */
export const LEAST_STORAGE_BYTES = 1 << 20;
/** Of the storage limit, the part that is freed beyond what is needed, so that old versions are not deleted one by one. */
export const FREED_AHEAD = 1 / 32;
/** Old versions looked at together when room is made. */
export const EVICTION_BATCH = 500;
/** The least time between two audit entries about deleted versions of one folder. */
export const EVICTION_AUDIT_MS = 60_000;
/** Between the first new version and the look at whether there are too many. Milliseconds. */
export const TRIM_DELAY_MS = 1000;
/** How often it is looked at whether the disk is nearly full. Milliseconds. */
export const SPACE_CHECK_MS = 10_000;
/** Versions make way where less than this is free on their disk: 256 MiB. */
export const MIN_FREE_BYTES: number = 256 << 20;
/** How long a change waits for room, which the database has to be there for, before it fails with `ERR_DATABASE_UNAVAILABLE`. */
export const ROOM_WAIT_MS = 10_000;
/**
 * How long a session waits for its folder to be compared with the database after an unclean end, before it is refused with
 * `ERR_UNAVAILABLE` and tries again: less than the time in which a client expects an answer.
 */
export const FOLDER_CHECK_WAIT_MS = 6000;
/**
 * Bytes that may wait to be written to the database, in memory and in files; then clients wait until half of it is written. Around
 * 200,000 changes.
 */
export const MAX_WRITE_BEHIND_BYTES: number = 64 << 20;
/** A session does not wait for longer than this for what the database knows: what it asked for is sent instead. */
export const VERSION_LOOKUP_MS = 250;
