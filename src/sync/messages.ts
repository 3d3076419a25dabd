/** What the two ends of a mirror can say to each other (docs/sync-protocol.md). wire.ts has it as bytes. */
import type { HeldDeletes } from "./delete-guard.js";
import type { Entry, Kind } from "./entry.js";
import type { Place } from "./place.js";

/** What makes one version of a file. `mtimeNs` in nanoseconds since 1970, `size` in bytes. */
export interface FileIdentity {
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly executable: boolean;
  /** Permission bits, where they are to be kept. */
  readonly mode?: number;
  /** Permission bits of the source otherwise: group and others are to get no more. */
  readonly sourceMode?: number;
}

export interface Hello {
  readonly type: "hello";
  /** The highest version of the protocol that the client speaks. */
  readonly version: number;
  /** Which mirror. */
  readonly name: string;
  /** The same for every run on the same folder of the same machine. */
  readonly clientId: string;
  /** The same for every connection of one running client. */
  readonly instanceId: string;
  /** Who this is, for people. */
  readonly label: string;
  /** The instance id of an earlier run on the same folder that has certainly ended. */
  readonly replaces?: string;
  /** What the client can do besides: bits of limits.ts. Left out: nothing. */
  readonly features?: number;
  /** Tells the client's folder from every other one, wherever it is moved to. */
  readonly source?: string;
}

/** Whose a mirror is, to a client: nobody has claimed it, it is this folder's, or another one's at the same place or elsewhere. */
export type Relation = "nobody" | "same" | "place" | "another";

export interface Welcome {
  readonly type: "welcome";
  /** The version both speak from here on. */
  readonly version: number;
  /** Whether the mirror's file system keeps executable bits. */
  readonly executable: boolean;
  /** … and modification times of folders, and of links themselves. */
  readonly folderTimes: boolean;
  readonly linkTimes: boolean;
  /** How far apart a time set and the time read back can be at the mirror. */
  readonly mtimeToleranceNs: bigint;
  /** Whether anything is known of what the mirror's files, or their old versions, consist of. */
  readonly chunks?: boolean;
  /** Whether what goes is kept, so that a CLONE can bring it back. */
  readonly versions?: boolean;
  /** What both can do besides; nothing else may be used. Left out: nothing. */
  readonly features?: number;
  /** Whose the mirror is, where the server knows; and what that client calls itself. */
  readonly relation?: Relation;
  readonly owner?: string;
  /** The latest modification time that the mirror's file system keeps, where it is less than the whole range. */
  readonly latestNs?: bigint;
}

/** Client to server: one step, answered by DONE or FAIL with its `id`. */
export type Request =
  | { readonly type: "mkdir"; readonly id: number; readonly path: string }
  | {
      readonly type: "link";
      readonly id: number;
      readonly path: string;
      readonly target: string;
      readonly mtimeNs: bigint;
    }
  | { readonly type: "remove"; readonly id: number; readonly path: string; readonly kind: Kind }
  /** Of a folder the size is 0. */
  | ({ readonly type: "touch"; readonly id: number; readonly kind: "file" | "directory" } & FileIdentity)
  | SmallFile
  /** A folder with all it holds gets another name, which nothing may have. */
  | { readonly type: "rename"; readonly id: number; readonly path: string; readonly from: string }
  /** Keep what the file holds now, for a MOVE that names this id. */
  | { readonly type: "hold"; readonly id: number; readonly path: string }
  | MovedFile
  /** The file at `path` is to hold what the one at `from` holds, if that is so. */
  | ({
      readonly type: "clone";
      readonly id: number;
      readonly from: string;
      readonly sha256: Uint8Array;
    } & FileIdentity)
  /** A large file: answered by HAVE, then its DATA from there and END, or ABORT. */
  | ({ readonly type: "put"; readonly id: number } & FileIdentity)
  /** As PUT, but first CHUNKS say what the file at `base` consists of, and COPY takes from it. */
  | ({ readonly type: "delta"; readonly id: number; readonly base: string } & FileIdentity);

export interface SmallFile {
  readonly type: "file";
  readonly id: number;
  readonly path: string;
  readonly mtimeNs: bigint;
  readonly executable: boolean;
  readonly mode?: number;
  readonly sourceMode?: number;
  readonly sha256: Uint8Array;
  readonly content: Uint8Array;
}

/** The file at `from`, or what was held under the id `held` (not 0), becomes the file at `path`. */
export interface MovedFile extends FileIdentity {
  readonly type: "move";
  readonly id: number;
  readonly from: string;
  readonly held: number;
  readonly sha256: Uint8Array;
}

export type Message =
  | Hello
  | Welcome
  | Request
  /** Server to client: the session ends, and why. */
  | { readonly type: "error"; readonly code: string; readonly message: string }
  /**
   * With the root hash that the client expects, or none; `verify`: read all content first; `folders`: what is in the
   * mirror's folder is enough to begin with.
   */
  | {
      readonly type: "list";
      readonly root: Uint8Array;
      readonly verify: boolean;
      readonly perms: boolean;
      readonly folders?: boolean;
    }
  /** Client to server: what is in those folders? */
  | { readonly type: "look"; readonly folders: readonly string[] }
  /** Server to client: the folders among what was listed last, with the first bytes of their hashes, or zeros. */
  | {
      readonly type: "folders";
      readonly folders: readonly { readonly path: string; readonly hash: Uint8Array }[];
    }
  /** Server to client, instead of a listing: the root is that, with so many entries. */
  | { readonly type: "same"; readonly count: number }
  | { readonly type: "entries"; readonly entries: readonly Entry[] }
  | { readonly type: "listed"; readonly count: number }
  | { readonly type: "have"; readonly id: number; readonly offset: number }
  | { readonly type: "data"; readonly id: number; readonly content: Uint8Array }
  /** So many zeros of the file, in place of DATA. */
  | { readonly type: "hole"; readonly id: number; readonly bytes: number }
  /** Records of chunk.ts. */
  | { readonly type: "chunks"; readonly id: number; readonly records: Uint8Array }
  /** Records of chunk.ts: what comes next in the new file, perhaps. Answered by KNOWN, each in its turn. */
  | { readonly type: "offer"; readonly id: number; readonly records: Uint8Array }
  /** A bit for each chunk of an OFFER (offered.ts): whether the mirror has it. */
  | { readonly type: "known"; readonly id: number; readonly bits: Uint8Array }
  /** So many chunks of the base, or of those that were offered, come next in the new file. */
  | { readonly type: "copy"; readonly id: number; readonly first: number; readonly count: number }
  | { readonly type: "end"; readonly id: number; readonly sha256: Uint8Array }
  | { readonly type: "abort"; readonly id: number }
  /** The steps are durable. */
  | { readonly type: "done"; readonly ids: readonly number[] }
  | { readonly type: "fail"; readonly id: number; readonly code: string; readonly message: string }
  /** Client to server: everything is equal now, so many entries. */
  | { readonly type: "settled"; readonly entries: number; readonly root: Uint8Array }
  /** Client to server: the mirror is this folder's from now on. */
  | { readonly type: "claim"; readonly source: string }
  /** Client to server: so many deletes are held back until they are approved; none any more where it is 0. */
  | ({ readonly type: "deletes" } & HeldDeletes)
  /** Server to client: somebody approves the deletes of that id, or wants them kept back. */
  | { readonly type: "approve"; readonly id: string; readonly approved: boolean }
  /** Server to client: the mirror's root hash, when it was looked at. */
  /** Server to client: where the mirror is kept. */
  | ({ readonly type: "place" } & Place)
  | { readonly type: "root"; readonly root: Uint8Array }
  | { readonly type: "ping"; readonly token: number }
  | { readonly type: "pong"; readonly token: number }
  | { readonly type: "bye" }
  /** Whole frames, `bytes` of them, compressed. A decoder gives what is in it instead. */
  | { readonly type: "packed"; readonly bytes: number; readonly content: Uint8Array };
