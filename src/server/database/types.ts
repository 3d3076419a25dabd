/**
 * The database service: what the mirror's home knows. One interface over SQLite and PostgreSQL; nobody else writes SQL.
 *
 * Times are milliseconds since 1970, ids are opaque strings made by the service unless given, hashes are lower-case hex.
 * Every method rejects with a `DatabaseError` where the database cannot be reached or used.
 */
import type { Observable } from "rxjs";

export type Role = "admin" | "user";
export type Access = "read" | "write";

/** One thing that a token is good for. `folder` null stands for all folders that its user may see. */
export interface TokenScope {
  readonly folder: string | null;
  /** `metrics` (with `folder` null) lets it read `/metrics` and do nothing else. */
  readonly access: Access | "metrics";
}

export interface User {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** PHC string. */
  readonly passwordHash: string;
  readonly createdAt: number;
}

/** A program with an Ed25519 key of its own. */
export interface Device {
  readonly id: string;
  /** For people: its host's name unless it says otherwise. */
  readonly name: string;
  /** SHA-256 of the public key's SubjectPublicKeyInfo, base64url. */
  readonly pin: string;
  /** An admin device may write every folder, and make new ones. */
  readonly role: Role;
  readonly createdAt: number;
  readonly lastSeenAt: number | null;
  readonly revokedAt: number | null;
}

/** What a device or a user may do with a folder. Admins need none. */
export interface Grant {
  readonly subject: "device" | "user";
  readonly subjectId: string;
  readonly folder: string;
  readonly access: Access;
}

/** A one-time code that pairs a device. `folder` null: any folder, as an administrator. */
export interface Invitation {
  readonly id: string;
  /** SHA-256 of the code, hex. */
  readonly codeHash: string;
  readonly folder: string | null;
  readonly access: Access;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly usedAt: number | null;
  readonly usedBy: string | null;
  /** When an administrator took the code back; null: never. */
  readonly withdrawnAt: number | null;
}

/** The `api` kind is made by hand, `session` by a login. */
export interface Token {
  readonly id: string;
  readonly kind: "api" | "session";
  readonly name: string;
  readonly userId: string;
  /** SHA-256 of the token, hex. */
  readonly hash: string;
  readonly scopes: readonly TokenScope[];
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  readonly lastUsedAt: number | null;
}

export interface Folder {
  readonly name: string;
  readonly createdAt: number;
  /** How much it may hold; null: what the server says for all folders. */
  readonly quotaBytes: number | null;
  /** How much it may take with its versions and unfinished uploads; null: what follows from the quota, or the server's. */
  readonly storageLimitBytes: number | null;
  /** How many files, links and directories it may hold; null: what the server says for all folders. */
  readonly maxEntries: number | null;
  /** Files and links. */
  readonly files: number;
  readonly bytes: number;
  /** Files, links and directories. */
  readonly entries: number;
  /** Kept versions. */
  readonly versions: number;
  /** Bytes that kept versions take, each content once. */
  readonly versionBytes: number;
  readonly changedAt: number | null;
  /** Root hash at the last time the folder was in step with its client, hex. */
  readonly rootHash: string | null;
  /** Since when no client may change it, because it was restored; null: they may. */
  readonly heldAt: number | null;
  /** When it was deleted; null: it was not. Until {@link purgeAt} it can be restored. */
  readonly deletedAt: number | null;
  /** When its content is removed for good. */
  readonly purgeAt: number | null;
}

/** Limits of one folder; see {@link Folder}. */
export type FolderLimits = Pick<Folder, "quotaBytes" | "storageLimitBytes" | "maxEntries">;

export type FileKind = "file" | "directory" | "link";

/** An entry of a folder as it is now. */
export interface FileRecord {
  readonly folder: string;
  readonly path: string;
  readonly kind: FileKind;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** Of files; null while it is not known. */
  readonly sha256: string | null;
  /** Of links. */
  readonly target: string | null;
  /** Counts from 1 for each path. */
  readonly version: number;
  readonly storedAt: number;
}

/** What a path was before it was replaced or deleted, moved, or given other attributes. Its content is kept by its sha256. */
export interface Version extends FileRecord {
  readonly endedAt: number;
  /** `changed`: only its modification time or permissions are others since. */
  readonly why: "replaced" | "deleted" | "moved" | "changed";
  /** The path that it got, where it was moved. */
  readonly movedTo: string | null;
  /** Counts the versions of all folders in the order in which they ended, whatever the clock said then. */
  readonly number: number;
}

/** A version before it has its numbers. */
export type NewVersion = Omit<Version, "version" | "movedTo" | "number"> & { readonly movedTo?: string | null };

export interface Transfer {
  readonly id: string;
  readonly folder: string;
  readonly device: string | null;
  readonly path: string;
  readonly bytes: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly outcome: "stored" | "failed";
  readonly code: string | null;
}

/**
 * Who did what to what. Never changed or deleted by the program but by age. Texts with characters that cannot be seen, or
 * that deceive, are quoted and escaped as JSON when they are added.
 */
export interface AuditEntry {
  readonly id: number;
  readonly at: number;
  /** `user:NAME`, `device:NAME`, `local` (the command line beside the data), `server` (by itself) or `anonymous`. */
  readonly actor: string;
  /** Such as `login`, `device.pair`, `device.revoke`, `restore`. */
  readonly action: string;
  readonly target: string | null;
  readonly outcome: "ok" | "refused";
  /** Of the peer, where there is one. */
  readonly address: string | null;
  readonly detail: string | null;
}

/**
 * Something that happened, numbered without gaps being promised, in the order in which it became visible. The log is the bus between processes: the
 * command line appends `device.revoked`, and the running server hears of it. Kept for a bounded time and number.
 */
export interface LoggedEvent {
  readonly id: number;
  readonly at: number;
  /** Such as `file.stored`, `file.deleted`, `folder.settled`, `device.revoked`, `grants.changed`, `session.opened`. */
  readonly type: string;
  readonly folder: string | null;
  /** Plain JSON. */
  readonly data: unknown;
}

export interface Page {
  /** At most this many, 1 to 1000. */
  readonly limit: number;
  /** Only what comes after this one: a path, an id or a name, whatever the list is ordered by. */
  readonly after?: string;
}

/**
 * One change of the file tables. Batched by the caller or the service; order within a folder is kept. `at` is when it
 * happened, where the changes of a batch differ.
 */
export type FileChange = { readonly at?: number } & (
  | ({ readonly do: "put" } & Omit<FileRecord, "version" | "storedAt">)
  /** What stood at the path was kept as a version, because it is about to be replaced or removed by a change that follows. */
  | ({ readonly do: "retire"; readonly movedTo?: string | null } & Omit<
      Version,
      "version" | "storedAt" | "endedAt" | "movedTo" | "number"
    >)
  /** A folder becomes a version by itself; a file does if it is retired first. */
  | { readonly do: "remove"; readonly folder: string; readonly path: string }
  /** A file or a whole tree; versions stay with the old path, and so does one of what moved away. */
  | { readonly do: "move"; readonly folder: string; readonly from: string; readonly path: string }
);

export interface Users {
  create(user: { name: string; role: Role; passwordHash: string }): Promise<User>;
  byName(name: string): Promise<User | undefined>;
  byId(id: string): Promise<User | undefined>;
  list(): Promise<User[]>;
  setPassword(id: string, passwordHash: string): Promise<void>;
  /** With its tokens and grants. */
  remove(id: string): Promise<void>;
}

export interface Devices {
  create(device: { name: string; pin: string; role: Role }): Promise<Device>;
  byPin(pin: string): Promise<Device | undefined>;
  byId(id: string): Promise<Device | undefined>;
  list(): Promise<Device[]>;
  seen(id: string, at: number): Promise<void>;
  setRole(id: string, role: Role): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  /** False where there is none, or it is revoked already. */
  revoke(id: string, at: number): Promise<boolean>;
}

export interface Grants {
  set(grant: Grant): Promise<void>;
  remove(grant: Omit<Grant, "access">): Promise<void>;
  of(subject: Grant["subject"], subjectId: string): Promise<Grant[]>;
}

export interface Invitations {
  create(invitation: Omit<Invitation, "id" | "usedAt" | "usedBy" | "withdrawnAt">): Promise<Invitation>;
  list(): Promise<Invitation[]>;
  /** Uses the code up, in one step: of two that come at once, one gets it. */
  take(codeHash: string, at: number): Promise<Invitation | undefined>;
  usedBy(id: string, deviceId: string): Promise<void>;
  /** Makes the code useless. False where there is none, or it was used or withdrawn already. */
  withdraw(id: string, at: number): Promise<boolean>;
  remove(id: string): Promise<void>;
}

export interface Tokens {
  create(token: Omit<Token, "id" | "revokedAt" | "lastUsedAt">): Promise<Token>;
  byHash(hash: string): Promise<Token | undefined>;
  list(userId?: string): Promise<Token[]>;
  used(id: string, at: number): Promise<void>;
  revoke(id: string, at: number): Promise<boolean>;
  /** Forgets the user's tokens of a kind that have ended before or at `now`, but for the newest `keep`. */
  trim(userId: string, kind: Token["kind"], now: number, keep: number): Promise<number>;
}

export interface Folders {
  /** Makes it where it is missing. One that is deleted stays so: `deletedAt` says it. */
  ensure(name: string, quotaBytes?: number | null): Promise<Folder>;
  /** Undefined, too, for a folder that is deleted. */
  byName(name: string): Promise<Folder | undefined>;
  /** Without those that are deleted. */
  list(): Promise<Folder[]>;
  /** Those that are deleted and not purged yet, by name. */
  deleted(): Promise<Folder[]>;
  /** Marks it as deleted, to be purged at `purgeAt`. False where there is none, or it is deleted already. */
  delete(name: string, deletedAt: number, purgeAt: number): Promise<boolean>;
  /** The deleted folders whose time is over at `elapsed`, see {@link Database.elapsed}. */
  overdue(elapsed: number): Promise<string[]>;
  /** Takes the mark away. False where it is not deleted. */
  undelete(name: string): Promise<boolean>;
  /**
   * Removes a deleted folder with everything that is known of it: files, versions, grants, transfers and events, so that a
   * later folder of that name inherits nothing. Its unused invitations are withdrawn. False where it is not deleted.
   */
  purge(name: string, at: number): Promise<boolean>;
  /** Sets those limits that are given. */
  setLimits(name: string, limits: Partial<FolderLimits>): Promise<void>;
  /** No client may change the folder until it is called with null. */
  hold(name: string, at: number | null): Promise<void>;
  settled(name: string, rootHash: string | null, at: number): Promise<void>;
}

export interface Files {
  apply(changes: readonly FileChange[], at: number): Promise<void>;
  byPath(folder: string, path: string): Promise<FileRecord | undefined>;
  /** What is directly in `directory` ("" for the top), by name. */
  list(folder: string, directory: string, page: Page): Promise<FileRecord[]>;
  /** Some of the files, of any folder, that hold this content now. */
  holding(sha256: string): Promise<FileRecord[]>;
  /** Everything in the folder, by path. */
  all(folder: string): AsyncIterable<FileRecord>;
  /** Whether the tables were left in the middle of something (a kill), so that they are to be made anew from the folder. */
  unclean(): Promise<string[]>;
  markUnclean(folder: string): Promise<void>;
  markClean(folder: string): Promise<void>;
}

export interface Versions {
  add(version: NewVersion): Promise<void>;
  /**
   * The last one first; of one path, of everything below a folder (`path` ending in "/"), or of all ("" or undefined). Without
   * folders that have got other attributes, which nearly every change in them does.
   */
  list(folder: string, path: string | undefined, page: Page): Promise<Version[]>;
  /** The last version of a file that was moved to the path, not after that time, as it was where it came from. */
  movedTo(folder: string, path: string, until: number): Promise<Version | undefined>;
  /** What the path was at that time, also where that is the present entry. Undefined: it was not there. */
  at(folder: string, path: string, time: number): Promise<Version | FileRecord | undefined>;
  /** The whole folder as it was at that time, by path. */
  treeAt(folder: string, time: number): AsyncIterable<Version | FileRecord>;
  /** The oldest, and of these only those that ended before `before` by {@link Database.elapsed}. Default: any. */
  oldest(folder: string, limit: number, before?: number): Promise<Version[]>;
  /**
   * Some of those beyond the newest `keep` of each path. Looks at the next of those that came since it was called last, and
   * marks them as looked at where none is beyond; `done` when there are no more. To be called again when those are removed.
   */
  beyond(folder: string, keep: number): Promise<{ readonly versions: Version[]; readonly done: boolean }>;
  /**
   * Some of those that are older than `olderMs` and not the last of their path within their `everyMs`, by {@link Database.elapsed}.
   * Looks at the next of those that came since it was called last with this rule, as {@link beyond} does; what one of them was the state
   * of becomes that of the version after it. Those that were moved stay.
   */
  thin(
    folder: string,
    rule: { readonly everyMs: number; readonly olderMs: number },
  ): Promise<{ readonly versions: Version[]; readonly done: boolean }>;
  remove(folder: string, versions: readonly { path: string; version: number }[]): Promise<void>;
  /** Which of these contents a version still needs. */
  needed(sha256s: readonly string[]): Promise<ReadonlySet<string>>;
}

export interface Transfers {
  add(transfers: readonly Omit<Transfer, "id">[]): Promise<void>;
  /** Newest first. */
  list(page: Page & { readonly folder?: string }): Promise<Transfer[]>;
}

export interface Audit {
  add(entry: Omit<AuditEntry, "id" | "at">): Promise<void>;
  /** Newest first. */
  list(page: Page): Promise<AuditEntry[]>;
}

export interface Events {
  append(events: readonly Omit<LoggedEvent, "id" | "at">[]): Promise<void>;
  /** In order; `gone` when some after `id` are not kept any more. */
  since(id: number, limit: number): Promise<{ readonly events: LoggedEvent[]; readonly gone: boolean }>;
  last(): Promise<number>;
  /** Hot: every event from now on, also of other processes (within a quarter of a second), in order, each once. */
  readonly live$: Observable<LoggedEvent>;
}

/** What a server has noted, in order, to be written together. */
export interface Batch {
  readonly changes: readonly FileChange[];
  readonly transfers: readonly Omit<Transfer, "id">[];
  readonly events: readonly Omit<LoggedEvent, "id" | "at">[];
  /** Root hashes that a folder and its client have agreed on. */
  readonly agreed: readonly { readonly folder: string; readonly root: string; readonly at: number }[];
  /** By the run of a program, the number of the last thing that is in the batch. */
  readonly positions: ReadonlyMap<string, number>;
}

/** Writes batches once, whatever fails in between: how far each run of a program has come is written with them. */
export interface Batches {
  /** Nothing happens where the positions say that it is written already. A batch with the move of a directory has no other change. */
  write(batch: Batch, at: number): Promise<void>;
  /** The number of the last thing of a run that is written; 0 for none. */
  position(run: string): Promise<number>;
  /** The run is over, and everything of it is written. */
  forget(run: string): Promise<void>;
}

export interface Database {
  readonly batches: Batches;
  readonly users: Users;
  readonly devices: Devices;
  readonly grants: Grants;
  readonly invitations: Invitations;
  readonly tokens: Tokens;
  readonly folders: Folders;
  readonly files: Files;
  readonly versions: Versions;
  readonly transfers: Transfers;
  readonly audit: Audit;
  readonly events: Events;
  /** The time that the home has seen, in milliseconds: it advances while a server runs, whatever the system's clock does. */
  elapsed(): number;
  /** Deletes events, transfers and audit entries that are too old or too many; it does so by itself once an hour. */
  prune(): Promise<void>;
  /** For `/readyz`: rejects where it does not answer. */
  ping(): Promise<void>;
  /** Writes what is batched, and closes. */
  close(): Promise<void>;
}
