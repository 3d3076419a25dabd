/**
 * Every bound of the sync engine, in one place. The wire limits are part of the protocol (docs/sync-protocol.md): a
 * peer that passes one ends its session before the memory is spent.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

// The wire.

/** The version of the protocol this package speaks. */
export const PROTOCOL_VERSION = 2;
/** What a peer of this version may be able to do besides (bits of HELLO and WELCOME): {@link FEATURES} is all of it. */
export const FEATURE_MOVES = 1;
export const FEATURE_DELTAS = 2;
export const FEATURE_PACKED = 4;
/** A MOVE from a path to itself: a comparison by hash. */
export const FEATURE_CHECKS = 8;
/** OFFER and KNOWN: chunks that the mirror has anywhere are not sent. */
export const FEATURE_OFFERS = 16;
/** A listing of folders whose hashes differ. */
export const FEATURE_FOLDERS = 32;
/** CLAIM, DELETES and APPROVE: whose the mirror is, and deletes that are held back until they are approved. */
export const FEATURE_GUARD = 64;
/** Times up to 2486, instead of 2262. */
export const FEATURE_TIMES = 128;
/** PLACE: where the server keeps its mirrors. */
export const FEATURE_PLACE = 256;
/** HOLE: zeros that need not be sent. */
export const FEATURE_HOLES = 512;
export const FEATURES: number =
  FEATURE_MOVES |
  FEATURE_DELTAS |
  FEATURE_PACKED |
  FEATURE_CHECKS |
  FEATURE_OFFERS |
  FEATURE_FOLDERS |
  FEATURE_GUARD |
  FEATURE_TIMES |
  FEATURE_PLACE |
  FEATURE_HOLES;
/** In the mode of a file or folder: all of its bits count. Otherwise only whether it is executable. */
export const MODE_COUNTS = 0x8000;
/** The permission bits that travel: of files, and of folders besides set-group-ID and sticky. Never set-user-ID. */
export const FILE_MODE = 0o777;
export const FOLDER_MODE = 0o3777;
/** What a mirror's file system keeps (bits of WELCOME). */
export const KEEPS_EXECUTABLE = 1;
export const KEEPS_FOLDER_TIMES = 2;
export const KEEPS_LINK_TIMES = 4;
/** … and that something is known of what the mirror's files consist of. */
export const KNOWS_CHUNKS = 8;
/** … and that it keeps old versions, which a CLONE can bring back. */
export const KEEPS_VERSIONS = 16;
/** `CNFS`, the first four bytes of a HELLO's payload. */
export const HELLO_MAGIC = 0x434e_4653;
/** Type (1 byte) and payload length (4 bytes). */
export const FRAME_HEADER_BYTES = 5;
/** Frames that travel compressed as one, before that. */
export const MAX_PACKED_BYTES: number = 512 * KIB;
/** Chunks in one CHUNKS message. */
export const MAX_CHUNKS = 20_000;
/** Files smaller than this, or larger, are always sent whole. */
export const MIN_DELTA_BYTES: number = 512 * KIB;
export const MAX_DELTA_BYTES: number = 64 * 1024 * MIB;
/** Old chunks in one COPY message: so much work the other end can begin with while the rest is looked for. */
export const MAX_COPIED_CHUNKS = 64;
/** Chunks in one OFFER message. */
export const MAX_OFFER_CHUNKS = 64;
/** Chunks of one file that the mirror has and that were not copied yet. */
export const MAX_FOUND_CHUNKS = 1024;
/** A whole path inside the folder, as UTF-8. */
export const MAX_PATH_BYTES = 4096;
/** One part of a path, as UTF-8: what the common file systems hold. */
export const MAX_SEGMENT_BYTES = 255;
/** What a symbolic link points to, as UTF-8. */
export const MAX_TARGET_BYTES = 4096;
/** The name of a mirror, as UTF-8. */
export const MAX_NAME_BYTES = 200;
/** Client and instance identifiers, labels. */
export const MAX_ID_BYTES = 256;
/** The text of an error message. */
export const MAX_MESSAGE_BYTES = 2048;
/** A file up to this size travels in one message with its hash. */
export const MAX_INLINE_BYTES: number = 128 * KIB;
/** Content in one DATA message. */
export const MAX_DATA_BYTES: number = 256 * KIB;
/** Zeros in one HOLE message: as much work at a time for the receiver. */
export const MAX_HOLE_BYTES: number = 64 * MIB;
/** A file is asked for holes where at least so much of it is not allocated. */
export const LEAST_SPARSE_BYTES: number = 64 * KIB;
/** Smaller holes are read. */
export const LEAST_HOLE_BYTES: number = 16 * KIB;
/** One batch of a listing. */
export const MAX_LISTING_BYTES: number = 256 * KIB;
/** Of a hash in a listing. */
export const LISTED_HASH_BYTES = 8;
/** Folders that are asked for in one LOOK message. */
export const MAX_ASKED_FOLDERS = 60;
/** A mirror with fewer entries is listed as a whole. */
export const LEAST_ENTRIES_BY_FOLDER = 200;
/** Acknowledgements in one DONE message. */
export const MAX_DONE_IDS = 4096;
/** Entries in a whole listing; a tree with more is refused by the client. */
export const MAX_LISTED_ENTRIES = 10_000_000;

// The sending side.

/** Operations sent and not yet answered. */
export const MAX_UNANSWERED = 8192;
/** Small files read ahead at once. */
export const MAX_SMALL_READS = 16;
/** Small files read without letting others have their turn. */
export const READS_IN_A_ROW = 32;
/** Two small files in a row that take this long to read wait for a disk: then so many are read by other threads. */
export const SLOW_READ_MS = 3;
export const SLOW_READS = 64;
/** Large files announced and not yet durable; less than the receiver's {@link MAX_OPEN_FILES}. */
export const MAX_LARGE_SENDS = 16;
/** Folders of which the names are remembered, where a file system takes several for one. */
export const MAX_KNOWN_FOLDERS = 256;
/** … of which so many send their content at a time. */
export const MAX_LARGE_STREAMS = 2;
/** So much of the start of a new file is offered to see whether the mirror has some of it; of a larger one … */
export const SAMPLE_BYTES: number = 256 * KIB;
/** … this part, up to {@link PROBE_BYTES}. */
export const SAMPLE_SHARE = 8;
/** Content that was offered and is not sent yet, of one file: how far its sender may be ahead of the answers. */
export const MAX_OFFERED_BYTES: number = 8 * MIB;
/** Chunks offered together: enough to be cheap, few enough for the other end to begin early. */
export const OFFERED_CHUNKS = 16;
/** Smaller new files are asked about ever less often where none of the last … */
export const ALWAYS_ASKED_BYTES: number = 4 * MIB;
/** … so many had anything that the mirror has: then every second, of twice as many every fourth … */
export const PATIENT_FILES = 16;
/** … up to one in so many. */
export const MOST_UNASKED_FILES = 16;
/** Of a file with an older version, so many new chunks in a row are sent without asking: an edit, most likely. */
export const EDITED_CHUNKS = 3;
/** After a chunk that the mirror has, so much more is offered. */
export const OFFER_ON_BYTES: number = 4 * MIB;
/** Where the mirror has none, so much is sent without asking … */
export const FIRST_UNASKED_BYTES: number = MIB;
/** … then twice as much each time, up to this … */
export const MOST_UNASKED_BYTES: number = 64 * MIB;
/** … and so much is offered in between. Cuts need two or three chunks to be where they are in another file. */
export const PROBE_BYTES: number = MIB;
/** Memory of DATA messages kept for the next ones. Each stream reads one while another is on its way. */
export const MAX_SPARE_FRAMES: number = 3 * MAX_LARGE_STREAMS;
/** A large file in transfer is checked for changes every so many bytes. */
export const CHANGE_CHECK_BYTES: number = 16 * MIB;
/** Frames collected before they are written to the stream as one chunk. */
export const COALESCE_BYTES: number = 32 * KIB;
/**
 * A file is read only when its last change is this old: below it, time stamps cannot tell two changes apart. They are those
 * of a clock that ticks at least every 10 ms on Linux (CONFIG_HZ), every 15.6 ms on Windows.
 */
export const REST_MS: number = process.platform === "linux" ? 12 : 20;
/** A file this small is not looked for among those that vanished unless its inode says that it is one of them. */
export const LEAST_GUESSED_MOVE_BYTES = 1024;
/** Content from this size on is copied at the mirror, where a file there holds it already. */
export const LEAST_COPIED_BYTES: number = 4 * KIB;
/** Small files remembered that the mirror held and may keep as old versions. */
export const MAX_GONE = 16_384;
/** So much new content makes it worth asking whether it was moved here from somewhere that was not looked at. */
export const LEAST_SOUGHT_MOVE_BYTES: number = 256 * KIB;
/** Of a file that has changed so often while it was read, a copy is sent. */
export const CHANGES_BEFORE_COPY = 2;
/** While a folder is followed, each of its files is read again within this time. */
export const SCRUB_SOURCE_MS: number = 30 * 24 * 3600 * 1000;
/** What a file counts for then, besides its bytes. */
export const SCRUB_FILE_BYTES: number = 64 * KIB;
/** After each piece of a large file, so that it is read at 32 MiB/s at most. */
export const SCRUB_PIECE_PAUSE_MS = 8;
/** Timers can be set for 24 days at most. */
export const MAX_SCRUB_WAIT_MS = 60_000;
/** A file that stays open for writing is sent, as a version that it was as a whole, after this long. */
export const SETTLE_OPEN_MS = 5000;
/** Bytes a second that a large file which keeps changing is rewritten with, averaged over a minute. */
export const REWRITE_RATE: number = 10_000_000;
/** Over this time it is averaged. Milliseconds. */
export const PACE_WINDOW_MS = 60_000;
/** A new version of a file of this size begins as a clone of the one before, where the file system has clones. */
export const LEAST_CLONED_BYTES: number = 256 * 1024;
/** Smaller files are sent whenever they have changed. */
export const LEAST_PACED_BYTES: number = 1 << 20;
/** Of more files that keep changing, those that were rewritten longest ago are forgotten. */
export const MAX_PACED_FILES = 10_000;
/** Whether files are still open for writing is checked after this long, then twice as long, … */
export const FIRST_OPEN_CHECK_MS = 10;
/** … up to this, and ten times as long … */
export const MOST_OPEN_CHECK_MS = 50;
/** … where there are more of them than this. */
export const MANY_OPEN_FILES = 200;
/** Where the system does not say whether a file is open, one that has become empty replaces content after this long. */
export const EMPTIED_REST_MS = 2000;
/** Larger ones are not copied, unless by reference. */
export const MAX_COPIED_BYTES: number = 1024 * MIB;
/** How long a file is given to stand still for a copy. */
export const COPY_TRIES_MS = 500;
/** Times a file that keeps changing is sent anew before a one-time mirror gives it up. */
export const MAX_CHANGED_ROUNDS = 12;
/** Walks one after the other "until two agree", of a folder that changes all the time. */
export const MAX_WALKS_IN_A_ROW = 4;
/** While changes never end, all that was there when a round began is reported as `synced` at most this often. */
export const SYNCED_EVERY_MS = 1000;

/** Descriptors that are left to everything that is not counted: connections, the database, scans. */
export const RESERVED_DESCRIPTORS = 5;
/** What failed as there were no descriptors left is tried again after this long, then twice as long, … */
export const EXHAUSTED_RETRY_MS = 100;

// The receiving side.

/** Operations accepted and not yet durable; then the receiver stops reading. */
export const MAX_PENDING_OPERATIONS = 8192;
/** Content accepted and not yet on disk; then the receiver stops reading. */
export const MAX_PENDING_BYTES: number = 8 * MIB;
/** Memory of DATA messages kept for the next ones: a session that is receiving has as much of it written at a time. */
export const MAX_SPARE_PAYLOADS = 32;
/** Large files one client may have open at once. */
export const MAX_OPEN_FILES = 64;
/** Files and folders flushed one by one, at a time; for more than this, the whole file system is, where it can be. */
export const FEW_FLUSHES = 16;
/** Contents compared by hash at once. */
export const MAX_COMPARISONS = 4;
/** A large file is flushed in the background every so many bytes, so that its end does not wait for all of it. */
export const FLUSH_EVERY_BYTES: number = 32 * MIB;
/** What has been flushed of a new file this large is not kept in memory, in the place of what somebody may want to read. */
export const LEAST_UNCACHED_BYTES: number = 256 * MIB;
/** So much is read of files whose hash is not known, to answer with one hash for all instead of a listing. */
export const MAX_HASHED_BYTES: number = 64 * MIB;
/** While a client follows, the mirror is looked at so often … */
export const SCRUB_MS = 60_000;
/** … and looked at this often. */
export const LOOK_EVERY_MS = 10_000;
/** … and so much of its content is read again each time. */
export const SCRUB_BYTES: number = 64 * MIB;
/** Looking at the whole mirror may take this part of a session's time. */
export const LOOKING_SHARE = 0.05;
/** Chunk lists kept per mirror. */
export const MAX_CHUNK_LISTS = 4096;
/** Files larger than this are written down as sources of chunks. Smaller ones travel in one message, without asking. */
export const LEAST_SOURCE_BYTES: number = MAX_INLINE_BYTES;
/** … at most so many, per mirror … */
export const MAX_CHUNK_SOURCES = 65_536;
/** … with so many characters in their paths. */
export const MAX_SOURCE_PATH_CHARS: number = 8 * MIB;
/** Their log is written anew when more than half of it and this many more records are about nothing. */
export const SPARE_SOURCE_RECORDS = 4096;
/** Buckets, of 16 chunks and 256 bytes, of a mirror's table of chunks: from 16,384 chunks (1 GiB of content) … */
export const LEAST_TABLE_BUCKETS = 1024;
/** … to 4 million (256 GiB of content, and 64 MiB on the disk). */
export const MOST_TABLE_BUCKETS: number = 256 * 1024;
/** Files kept open that chunks were found in, per mirror. */
export const MAX_OPEN_SOURCES = 32;
/** Files that wait to be written down; others are found by the next look at the mirror. */
export const MAX_WAITING_SOURCES = 4096;
/** Between two pieces of content that are cut while somebody is being served. */
export const BUSY_PAUSE_MS = 40;
/** New folders whose permissions and times have not come yet, per session. More of them stay closed to group and others. */
export const MAX_MADE_FOLDERS = 65_536;
/** Contents held for later moves, per session. */
export const MAX_HELD = 65_536;
/** Interrupted large files are kept this long for their client to come back. */
export const PARTIAL_KEEP_MS: number = 7 * 24 * 3600 * 1000;
/** Interrupted large files kept per mirror. */
export const MAX_PARTIALS = 64;

// Both.

/** A side that has sent nothing for this long sends a PING (the classic transport aborts after 10 s of silence). */
export const PING_MS = 3000;
/** A peer that has sent nothing for this long is lost: longer than the transport's 30 s, whose error says more. */
export const SILENCE_MS = 40_000;
/** A tick that comes so many times its interval late shows that this process stood still. */
export const LATE_TICKS = 3;
/** How long the first message (HELLO, WELCOME) may take: longer than the transport waits, whose error says more. */
export const HANDSHAKE_MS = 12_000;
/** How long a peer may take to answer BYE. */
export const GOODBYE_MS = 5000;
/** … when we were unsubscribed and nobody waits for it. */
export const UNSUBSCRIBED_GOODBYE_MS = 1000;
/** How long `liveMirror.stop()` waits for what is pending, unless told. */
export const STOP_MS = 10_000;
/** How long what was written last may take to leave before a stream is destroyed. */
export const LINGER_MS = 2000;
/** How long an older session of the same client has to prove that it lives before a new process takes over. */
export const PROBE_MS = 1500;

// Following.

/** Where more paths than this wait to be looked at at a time, a walk follows. */
export const BURST_HINTS = 1000;
/** Where more than this come one after the other, they gather until that is over … */
export const GATHERING_HINTS = 100;
/** … for at most this long. */
export const GATHER_MS = 200;
/** More are not remembered: a walk takes their place. */
export const MAX_WAITING_HINTS = 32_768;
/** A change is sent when its path has rested for this long; one that is changed again at once gets twice as much … */
export const SETTLE_MS = 10;
/** … up to this. */
export const MOST_REST_MS = 1000;
/** What never rests is looked at all the same after this long. */
export const NEVER_RESTS_MS = 500;
/** The pulse by which a program notices that it stood still … */
export const HEARTBEAT_MS = 1000;
/** … if for this long. */
export const LEAST_DISRUPTION_MS = 2000;
/** Beyond this many hints, looking once more is a walk. */
export const RECHECK_HINTS = 200;
/** After the events rest for this long, what they named is looked at once more. */
export const RECHECK_MS = 1000;
/** Files with several names that are watched one by one. */
export const MAX_LINKED_WATCHES = 2048;
/** The folder is watched anew when its ignore rules rest for this long after a change. */
export const RULES_REST_MS = 100;
/** The folder is walked this often in any case, a small one more often: a walk takes about a hundredth of the time. */
export const WALK_EVERY_MS = 60_000;
export const WALK_EVERY_LEAST_MS = 5000;
/** What an entry adds to the time between two walks. */
export const WALK_EVERY_MS_AN_ENTRY = 1;
/** … and this often when the system has no watches left. */
export const WALK_EVERY_UNWATCHED_MS = 5000;

/** The mounts below a watched folder are read this often. */
export const MOUNTS_EVERY_MS = 2000;
/** A folder that is not watched this long after it was found is a watch that was lost. */
export const SURVEY_GRACE_MS = 1000;

// The index.

/** Records held before they are written … */
export const INDEX_FLUSH_RECORDS = 512;
/** … and for how long. */
export const INDEX_FLUSH_MS = 500;
/** An index is made anew when more than half of it and this many more records are about nothing. */
export const INDEX_SPARE_RECORDS = 4096;
/**
 * After the machine has started again, the index does not vouch for files that were changed for so long before it was closed, or
 * before the newest record where it was not: Linux writes to the disk what has been changed for 30 s.
 */
export const CLEAN_END_MS = 60_000;
export const UNCLEAN_END_MS: number = 5 * 60_000;
/** For so long after that a file that has become empty in those minutes does not replace content. */
export const EMPTY_AFTER_CRASH_MS: number = 10 * 60_000;

// Bandwidth.

/** What a limited sender passes on in one go. */
export const SLICE_BYTES: number = 16 * KIB;
/** What it has not sent for so long may follow at once. */
export const MAX_BURST_MS = 100;

// Deletes.

/** What is missing while a folder is followed is deleted at the destination when nothing more was for this long … */
export const DELETE_REST_MS = 250;
/** … or after this long in any case: until then, it counts as one loss. */
export const DELETE_REST_MOST_MS = 2000;
/** Losing up to this many files is never asked about; more is when they are more than half. */
export const MASS_DELETE_FILES = 100;
/** A loss counts for this long, together with those before and after it. */
export const LOSS_WINDOW_MS = 600_000;
/** Scans in a row that have to miss the same files before they are called lost, where folders change during the scans. */
export const RESTLESS_LOOKS = 8;
/** Paths of deletes that are held back which a person is shown. */
export const HELD_SAMPLE = 20;
/** Files remembered as added within the window. */
export const MAX_FRESH = 100_000;
/** Mount points below a folder that are remembered. */
export const MAX_MOUNT_POINTS = 1000;

/** What the mirror holds is compared anew because it is not what it should be: so many times, and then this often. */
export const DIVERGED_AT_ONCE = 5;
export const DIVERGED_EVERY_MS = 300_000;

/** Lost files that are listed beside the index, for the next run; more are counted. */
export const MAX_REMEMBERED_LOSSES = 5_000;
/** Files that have come within the window, for the next run; the newest. */
export const MAX_REMEMBERED_FRESH = 5_000;

/** Files that have come are written down this often, for the next run; losses at once. */
export const REMEMBER_EVERY_MS = 5000;

/** How long a mirror that is to end by itself (`once`) goes on without a connection. */
export const ONCE_TIMEOUT_MS = 60_000;

/** The first pause before connecting again; each later one is twice as long. */
export const BACKOFF_FIRST_MS = 250;
/** … up to this. */
export const BACKOFF_MOST_MS = 15_000;
