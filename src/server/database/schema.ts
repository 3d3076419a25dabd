/** The tables as the queries see them. Columns have underscores in the database. */
import type { Generated } from "kysely";
import type { Access, FileKind, Grant, Role, Token, Transfer, Version } from "./types.js";

export interface FileRow {
  folder: string;
  path: string;
  kind: FileKind;
  size: number;
  mode: number;
  /** Decimal, as it does not fit what both databases and JavaScript call a number. */
  mtimeNs: string;
  sha256: string | null;
  target: string | null;
  version: number;
  storedAt: number;
}

export interface Schema {
  users: { id: string; name: string; role: Role; passwordHash: string; createdAt: number };
  devices: {
    id: string;
    name: string;
    pin: string;
    role: Role;
    createdAt: number;
    lastSeenAt: number | null;
    revokedAt: number | null;
  };
  grants: { subject: Grant["subject"]; subjectId: string; folder: string; access: Access };
  invitations: {
    id: string;
    codeHash: string;
    folder: string | null;
    access: Access;
    createdAt: number;
    expiresAt: number;
    usedAt: number | null;
    usedBy: string | null;
    withdrawnAt: number | null;
  };
  tokens: {
    id: string;
    kind: Token["kind"];
    name: string;
    userId: string;
    hash: string;
    /** JSON. */
    scopes: string;
    createdAt: number;
    expiresAt: number | null;
    revokedAt: number | null;
    lastUsedAt: number | null;
  };
  folders: {
    name: string;
    createdAt: number;
    quotaBytes: number | null;
    storageLimitBytes: number | null;
    maxEntries: number | null;
    files: number;
    bytes: number;
    entries: number;
    versions: number;
    versionBytes: number;
    changedAt: number | null;
    rootHash: string | null;
    heldAt: number | null;
    deletedAt: number | null;
    purgeAt: number | null;
    unclean: number;
  };
  files: FileRow & { parent: string };
  versions: FileRow & {
    endedAt: number;
    why: Version["why"];
    movedTo: string | null;
    /** Counts the versions of all folders in the order in which they were added, whatever the clock said. */
    number: number;
    /** When it ended by the clock that never jumps, see HomeClock. */
    endedSeen: number;
  };
  transfers: {
    id: Generated<number>;
    folder: string;
    device: string | null;
    path: string;
    bytes: number;
    startedAt: number;
    endedAt: number;
    outcome: Transfer["outcome"];
    code: string | null;
  };
  audit: {
    id: Generated<number>;
    at: number;
    actor: string;
    action: string;
    target: string | null;
    outcome: "ok" | "refused";
    address: string | null;
    detail: string | null;
  };
  events: { id: Generated<number>; at: number; type: string; folder: string | null; data: string };
  /** What there is one of, such as the number of the last event that is not kept any more. */
  facts: { name: string; value: string };
}
