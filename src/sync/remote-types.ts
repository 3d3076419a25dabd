/** What a pusher needs of the side that it pushes to. */
import type { Observable } from "rxjs";
import type { HeldDeletes } from "./delete-guard.js";
import type { Comparison, Entry } from "./entry.js";
import type { SyncError } from "./errors.js";
import type { Place } from "./place.js";
import type { Operation } from "./plan.js";
import type { Relation } from "./wire.js";

/** What became of one operation, or how far it is. */
export type Outcome =
  /** Durable at the mirror. `sha256` is the content's, where it was known. */
  | { readonly type: "done"; readonly operation: Operation; readonly sha256?: Uint8Array }
  | { readonly type: "failed"; readonly operation: Operation; readonly error: SyncError }
  /** Not carried out because the file here is another version by now: look at it again. */
  | { readonly type: "changed"; readonly operation: Operation }
  /** Not carried out because another program has the file here open for writing. */
  | { readonly type: "open"; readonly operation: Operation }
  /** Content handed to the connection, in bytes since the last such outcome for this file. */
  | { readonly type: "sent"; readonly operation: Operation; readonly bytes: number }
  /** So many bytes of a large file were there from an earlier attempt. */
  | { readonly type: "resumed"; readonly operation: Operation; readonly offset: number }
  /** So many bytes are taken from what the mirror has, in bytes since the last such outcome for this file. */
  | { readonly type: "reused"; readonly operation: Operation; readonly bytes: number }
  /** Of a large file, so many bytes are a hole: neither read nor sent. */
  | { readonly type: "hole"; readonly operation: Operation; readonly bytes: number };

/** Anything that a folder can be pushed to. {@link openRemote} gives one over a Duplex; you may write your own. */
export interface Remote {
  /**
   * What the mirror holds, as far as it has confirmed; kept up to date by {@link apply}. A pusher replaces an entry
   * that it found equal by the local one, which knows its version.
   */
  readonly entries: Map<string, Entry>;
  readonly comparison: Comparison;
  /** Where the mirror is kept, to refuse to mirror that to itself. */
  readonly place?: Place | undefined;
  /** Whether it takes `rename`, `hold` and `move` operations. Default false. */
  readonly moves?: boolean | undefined;
  /**
   * Carries out operations as if in order, reading file contents from `folder`. Emits one `done`, `failed`, `changed` or
   * `open` for each. Errors only when the mirror is lost altogether; unsubscribing stops it. Files that are open for writing
   * and have changed within `settleOpenMs` (default 0) are not read.
   */
  apply(folder: string, operations: readonly Operation[], settleOpenMs?: number): Observable<Outcome>;
  /** Tells the mirror that everything is equal now. Where it is a promise, nothing is applied until it has resolved. */
  settled(): unknown;
  /** The root hash of all that was equal then, in hex, where it is known. */
  readonly root?: string | undefined;
  /** Whose the mirror is, where it knows; and what that client calls itself. */
  readonly relation?: Relation | undefined;
  readonly owner?: string | undefined;
  /** Tells the mirror that it is this folder's from now on. */
  claim?(source: string): void;
  /** Tells the mirror which deletes are held back, or that none are. */
  holds?(held: HeldDeletes | undefined): void;
  /** What people say at the mirror of deletes that are held back. */
  readonly approvals$?: Observable<Approval>;
  /** Resolves when the remote is lost, also while nothing is applied, with the reason where there is one. Never rejects. */
  readonly closed?: Promise<SyncError | undefined>;
}

/** What a person says of deletes that are held back. */
export interface Approval {
  /** {@link HeldDeletes.id} */
  readonly id: string;
  /** Whether to carry them out. Otherwise they stay held back. */
  readonly approved: boolean;
}

export interface RemoteOptions {
  /** Which mirror at the server. One path segment. */
  readonly name: string;
  /** Stable for this folder on this machine; at most 256 bytes. */
  readonly clientId: string;
  /** Stable for this running client. */
  readonly instanceId: string;
  /** Who this is, for people. */
  readonly label?: string | undefined;
  /** Tells this folder from every other one, wherever it is moved to; at most 256 bytes. Default: nothing is said of it. */
  readonly source?: string | undefined;
  /** The instance id of an earlier run of this client that has certainly ended: its session is over at once. */
  readonly replaces?: string | undefined;
  /**
   * What the mirror should hold, with the hashes of files as far as they are known, each folder before what is in it: where
   * it does, nothing is listed, and the map becomes the remote's {@link Remote.entries}; where it does in part, only the rest
   * is. Called when the server is being greeted.
   */
  readonly expected?: (() => Promise<Map<string, Entry> | undefined>) | undefined;
  /** Whether the mirror is to read all of its content before it says what it holds. */
  readonly verify?: (() => boolean) | undefined;
  /** Whether to give the session up (`ERR_DIVERGED`) when the mirror turns out to be another one. Default: no. */
  readonly mayDiverge?: (() => boolean) | undefined;
  /** Keep all permission bits, not only the executable one. Default false. */
  readonly perms?: boolean | undefined;
  readonly pingMs?: number | undefined;
  readonly silenceMs?: number | undefined;
  readonly handshakeMs?: number | undefined;
}

/** A {@link Remote} over a Duplex. */
export interface RemoteSession extends Remote {
  /** Bytes handed to the connection so far, everything counted. */
  readonly bytesSent: number;
  /** Also resolves, without a reason, when it was {@link close}d. */
  readonly closed: Promise<SyncError | undefined>;
  /** Takes leave of the server; resolves when it has done so too, or did not within `graceMs` (default 5000). */
  close(graceMs?: number): Promise<void>;
  /** Ends at once. */
  destroy(): void;
}
