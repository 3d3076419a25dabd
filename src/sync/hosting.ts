/** What a receiver is given by its host, and what it tells it. Plain data and callbacks. */
import type { HeldDeletes } from "./delete-guard.js";
import type { Kind } from "./entry.js";
import type { SyncError, SyncErrorCode } from "./errors.js";
import { fileMode, folderMode } from "./modes.js";
import type { Storage } from "./storage.js";
import type { FileIdentity, Hello, Relation } from "./wire.js";

/** One entry as it stands at the mirror now. */
export interface StoredEntry {
  readonly kind: Kind;
  readonly path: string;
  /** Bytes of content; of a link, of its target; 0 for a folder. */
  readonly size: number;
  readonly executable: boolean;
  /** Nanoseconds since 1970, where it is known. */
  readonly mtimeNs?: bigint;
  /** Permission bits; unknown of links. */
  readonly mode?: number;
  /** Of a file's content, in hex, where it is known. */
  readonly sha256?: string;
  /** Where a link points. */
  readonly target?: string;
}

/** What became durable, told right before the client is told. */
export type StepEvent =
  /** A file or link that was new or replaced, or a new folder. `bytes` is its size. */
  | { readonly type: "stored"; readonly path: string; readonly bytes: number; readonly entry: StoredEntry }
  /** The same content, perhaps with other attributes; its hash is known where it was compared. */
  | { readonly type: "changed"; readonly path: string; readonly entry: StoredEntry }
  | { readonly type: "removed"; readonly path: string; readonly kind: Kind }
  /** A file, or a folder with all it holds, has another name; what stood there is replaced. `entry` for files. */
  | {
      readonly type: "moved";
      readonly path: string;
      readonly from: string;
      readonly kind: Kind;
      readonly entry?: StoredEntry;
    };

/** What a receiver tells its host, for logs and for a database of files. Plain data. */
export type ReceiveEvent =
  | { readonly type: "opened"; readonly name: string; readonly label: string }
  | (StepEvent & { readonly name: string })
  | { readonly type: "failed"; readonly name: string; readonly path: string; readonly code: SyncErrorCode }
  | { readonly type: "settled"; readonly name: string; readonly entries: number }
  /** Both ends have found the same root hash (in hex) over all that the mirror holds. */
  | { readonly type: "agreed"; readonly name: string; readonly root: string }
  /** The client holds deletes back until they are approved, see {@link ReceiveSession.approve}; or none any more. */
  | { readonly type: "deletes"; readonly name: string; readonly held: HeldDeletes | null }
  /** Without a code the client took its leave. `name` is empty when it never said one. */
  | { readonly type: "closed"; readonly name: string; readonly code?: SyncErrorCode; readonly message?: string };

export interface ReceiveOptions {
  /**
   * Says where the client's mirror is kept, or throws a {@link SyncError} that it is told. `release` is called when
   * the session is over and nothing of it is being written any more.
   */
  readonly admit: (hello: Hello, session: ReceiveSession) => Promise<Admission>;
  readonly onEvent?: ((event: ReceiveEvent) => void) | undefined;
  /** Milliseconds; the defaults are those of limits.ts. */
  readonly pingMs?: number | undefined;
  readonly silenceMs?: number | undefined;
  readonly handshakeMs?: number | undefined;
  /** How often the mirror is looked at, and some of its content read, while nothing else is to be done. */
  readonly scrubMs?: number | undefined;
}

export interface Admission {
  readonly storage: Storage;
  readonly release: () => void;
  /** The client may look and compare, and nothing else: each of its steps fails with `ERR_FORBIDDEN`. Default false. */
  readonly readOnly?: boolean;
  /**
   * Called before an entry with so many bytes of content is accepted for `path`, in the place of what stands there, and before
   * anything is renamed to it. What it throws (a {@link SyncError} `ERR_QUOTA`) fails that step alone, and nothing has changed.
   */
  readonly admitBytes?: (path: string, bytes: number, what: Admitted) => Ticket | undefined;
  /** Called when the events of some steps were reported, before the client is told that these are done. */
  readonly onRecorded?: () => void;
  /** Where the host can take no more steps now: resolves when it can. Until then nothing more is read from the client. */
  readonly room?: () => Promise<void> | undefined;
  /** Whose the mirror is, see {@link Relation}, and what that client calls itself. Default: that is not known. */
  readonly relation?: Relation;
  readonly owner?: string;
  /** The client says that the mirror is its folder's from now on. */
  readonly claim?: (source: string) => void;
}

/** The kinds of steps that take room; links count as files. */
export type Admitted = "file" | "directory" | "rename";

/** Room that a host has reserved for a step. */
export interface Ticket {
  /** Resolves when there is room; `undefined`: there is. What it rejects with fails the step. */
  readonly ready?: Promise<void>;
  /** Called when the step is done or has failed, perhaps more than once. */
  readonly release: () => void;
}

/** A large file that is on its way. */
export interface Arriving {
  readonly path: string;
  /** What has been written, of `size`. */
  readonly bytes: number;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
}

export interface ReceiveSession {
  /** Resolves when the session is over and nothing of it is being written any more. Never rejects. */
  readonly closed: Promise<void>;
  /** Ends the session, telling the client why. */
  end(reason: SyncError): void;
  /** Whether the client answers within `ms`. */
  probe(ms: number): Promise<boolean>;
  /** Tells the client what a person says of the deletes that it holds back. */
  approve(id: string, approved: boolean): void;
  /** Files that come in pieces, as far as they are now. */
  arriving(): Arriving[];
}

export function storedFile(file: FileIdentity, sha256?: Uint8Array): StoredEntry {
  const { path, size, mtimeNs, executable } = file;
  const hash = sha256 === undefined ? {} : { sha256: Buffer.from(sha256).toString("hex") };
  return { kind: "file", path, size, mtimeNs, executable, mode: fileMode(file), ...hash };
}

export function storedFolder(folder: FileIdentity): StoredEntry {
  const { path, mtimeNs } = folder;
  return { kind: "directory", path, size: 0, executable: false, mtimeNs, mode: folderMode(folder) };
}
