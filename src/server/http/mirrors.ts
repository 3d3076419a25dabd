/** What the HTTP interface needs of the mirrors. The home implements it; tests of the interface bring their own. */
import type { FileHandle } from "node:fs/promises";
import type { HeldDeletes } from "../../sync/index.js";
import type { FileRecord, Folder, FolderLimits } from "../database/types.js";
import type { DeletesAnswer } from "../held-deletes.js";
import type { Limits } from "../versions/quota.js";
import type { QuotaFigures } from "../versions/room.js";

/** How a connection does. Counters since it began; sizes in bytes, times in milliseconds. */
export interface ConnectionFigures {
  /** The congestion window of what we send. */
  readonly cwnd: number;
  /** Null before there was a loss. */
  readonly ssthresh: number | null;
  readonly bytesInFlight: number;
  /** The smoothed and the least round trip; 0 where none was measured. */
  readonly smoothedRttMs: number;
  readonly minRttMs: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly datagramsSent: number;
  readonly datagramsReceived: number;
  readonly retransmissions: number;
  readonly timeouts: number;
  /** How datagrams reach the kernel: `dgram`, `descriptor` or `segmented`. */
  readonly tier: string;
  /** What is spoken: `extended` or the name of a course's edition. */
  readonly edition: string;
}

/** A client that is connected now and mirrors a folder. */
export interface LiveSession {
  readonly id: string;
  readonly folder: string;
  /** The device's id; null for a client without one (`--insecure`). */
  readonly device: string | null;
  /** What the client calls itself. */
  readonly label: string;
  /** Its address and port. */
  readonly peer: string;
  readonly openedAt: number;
  /** `syncing` until the client says that the mirror is in step. */
  readonly state: "syncing" | "settled";
  /** Deletes that it holds back until somebody approves them. */
  readonly heldDeletes: HeldDeletes | null;
  /** Null where the connection tells none. */
  readonly connection: ConnectionFigures | null;
}

/** A file that is on its way in. */
export interface LiveTransfer {
  /** Of the session, or of the upload over HTTP. */
  readonly id: string;
  readonly session: string | null;
  readonly folder: string;
  readonly path: string;
  /** What has arrived, of `size` (null where it was not announced). */
  readonly bytes: number;
  readonly size: number | null;
  readonly startedAt: number;
}

/** A file's content, open: whatever happens to its name, these bytes stay. Whoever gets it closes `handle`. */
export interface OpenFile {
  readonly handle: FileHandle;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
  /** Of these bytes, hex. */
  readonly sha256: string;
}

/** What must be there for a change to be made: RFC 9110 section 13. `absent`: nothing. A list: a file with one of these hashes. */
export type Expected = "anything" | "absent" | "present" | readonly string[];

export interface Upload {
  readonly folder: string;
  readonly path: string;
  readonly content: AsyncIterable<Uint8Array>;
  /** Bytes, where it was announced. */
  readonly size: number | null;
  /** What its hash should be, hex, where that was said. Another one: `ERR_CHECKSUM`. */
  readonly sha256: string | null;
  readonly expected: Expected;
  /** Milliseconds since 1970; default: now. */
  readonly modifiedAt: number | null;
  readonly executable: boolean;
  /** For the audit log and the events, such as `user:NAME`. */
  readonly actor: string;
  /** Whether it is an administrator's, for whom room is kept. Default false. */
  readonly administrator?: boolean;
}

export type RestoreRequest = { readonly folder: string; readonly actor: string } & (
  | { readonly path: string; readonly version: number }
  /** `path` null: the whole folder. */
  | { readonly path: string | null; readonly at: number }
);

export interface Restored {
  /** `files` and `removed` together. */
  readonly changed: number;
  /** Files and links that were put in place, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Entries that were not there then, and are kept as versions now. */
  readonly removed: number;
  readonly unchanged: number;
}

export interface Removal {
  readonly folder: string;
  readonly path: string;
  readonly expected: Expected;
  readonly actor: string;
}

/** What a folder takes on the disk, and the limits in force. */
export interface FolderStorage {
  /** What counts towards the storage limit. */
  readonly bytes: number;
  readonly unfinishedBytes: number;
  readonly limits: Limits;
}

/**
 * Rejects with errors that carry a `code`: `ERR_UNSAFE_PATH`, `ERR_NOT_A_FOLDER`, `ERR_QUOTA`, `ERR_PRECONDITION`,
 * `ERR_NOT_FOUND`, `ERR_MIRROR_BUSY` (a client mirrors into the folder now, and what is changed there beside it would be undone).
 */
export interface Mirrors {
  sessions(): readonly LiveSession[];
  transfers(): readonly LiveTransfer[];
  /** Tells the client to come back later. False: there is none. */
  endSession(id: string): boolean;
  /** The file as it is, or a kept version of it. Undefined where there is no such file (a folder or link is none). */
  open(folder: string, path: string, version?: number): Promise<OpenFile | undefined>;
  /** Puts a file in its place in one step, with the folders above it. What was there is kept as a version. */
  place(upload: Upload): Promise<{ readonly record: FileRecord; readonly created: boolean }>;
  /** A file, a link or an empty folder. */
  remove(removal: Removal): Promise<void>;
  /** Then no client may change the folder, which would undo it, until {@link resume}. */
  restore(request: RestoreRequest): Promise<Restored>;
  storage(folder: Folder): FolderStorage;
  /** Sets limits of a folder that exists, also for the sessions that change it now. */
  setLimits(folder: string, limits: Partial<FolderLimits>): Promise<Folder>;
  quotaFigures(): QuotaFigures;
  /**
   * Tells the client of a folder whether to carry out the deletes that it holds back; which they are. Rejects with
   * `ERR_NOTHING_HELD` or `ERR_PRECONDITION`.
   */
  answerDeletes(answer: DeletesAnswer): Promise<HeldDeletes>;
  /** Clients may change the folder again. False: they could. */
  resume(folder: string): Promise<boolean>;
  /** Ends its sessions and hides it; after `graceMs` its content is removed. */
  deleteFolder(folder: string, graceMs: number): Promise<Folder>;
  /** Brings a deleted folder back. Rejects with `ERR_NO_FOLDER` where none is kept. */
  undeleteFolder(folder: string): Promise<Folder>;
}
