/** The shapes that go over the wire: they validate what comes in, and they are the OpenAPI document. */
import { z } from "@hono/zod-openapi";
import { FOLDER_GRACE_MS, MAX_FOLDER_GRACE_MS } from "../limits.js";
import { mirrorNameProblem } from "../name.js";
import { HeldDeletesSchema } from "./deletes-schemas.js";

/** Bounds of what is taken from the network. */
export const MAX_PAGE = 500;
const DEFAULT_PAGE = 100;
const MAX_NAME = 200;
const MAX_PASSWORD = 1000;
const MAX_PATH = 4096;
const MAX_SCOPES = 100;
const MAX_EXPIRY_S = 10 * 365 * 86_400;

const time = (what: string) => z.number().openapi({ description: `${what} Milliseconds since 1970.` });
const bytes = z.number().int().nonnegative();
const id = z.string().min(1).max(MAX_NAME);
const role = z.enum(["admin", "user"]);
const access = z.enum(["read", "write"]);
const sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .openapi({ description: "SHA-256, lower-case hex." });

export const folderName = z
  .string()
  .min(1)
  .max(MAX_NAME)
  .superRefine((name, context) => {
    const problem = mirrorNameProblem(name);
    if (problem !== undefined) context.addIssue({ code: "custom", message: `cannot be a folder's name: ${problem}` });
  })
  .openapi({ description: "The mirror's name.", example: "photos" });

const filePath = z
  .string()
  .min(1)
  .max(MAX_PATH)
  .openapi({ description: "Inside the folder, `/` between the parts.", example: "2026/summer.jpg" });

export const ProblemSchema = z
  .object({
    type: z.literal("about:blank"),
    title: z.string().openapi({ example: "Not Found" }),
    status: z.number().int().openapi({ example: 404 }),
    code: z.string().openapi({ description: "Stable; each is explained in docs/errors.md.", example: "ERR_NOT_FOUND" }),
    detail: z.string().openapi({ description: "For people." }),
    errors: z.array(z.object({ at: z.string().openapi({ example: "body.name" }), detail: z.string() })).optional(),
  })
  .openapi("Problem");

export const PageQuery = z.object({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(MAX_PAGE)
    .default(DEFAULT_PAGE)
    .openapi({ description: `At most this many, up to ${MAX_PAGE}.` }),
  after: z.string().min(1).max(MAX_PATH).optional().openapi({ description: "The `next` of the page before." }),
});

/** Of lists that are ordered by number. */
export const NumberedPageQuery = PageQuery.extend({
  after: z
    .string()
    .regex(/^\d{1,15}$/)
    .optional()
    .openapi({ description: "The `next` of the page before." }),
});

/** A page of a list. `next` is null at the end. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    next: z.string().nullable().openapi({ description: "Ask for `after=` this to go on; null at the end." }),
  });
}

export const FolderParam = z.object({ folder: folderName });
export const FileParam = z.object({
  folder: folderName,
  path: filePath.openapi({ description: "Inside the folder. Slashes may be written as they are or as %2F." }),
});
export const IdParam = z.object({ id });
export const NameParam = z.object({ name: id });

const grants = z.array(z.object({ name: folderName, access })).max(MAX_SCOPES);
const named = { id, name: z.string(), role };

export const UserSchema = z
  .object({
    ...named,
    createdAt: time("When it was made."),
    folders: grants.openapi({ description: "What it may do with which folder; an administrator needs none." }),
  })
  .openapi("User");

const scope = z.object({
  folder: folderName.nullable().openapi({ description: "Null: every folder the user may see." }),
  access: z.enum(["read", "write", "metrics"]).openapi({
    description:
      "`metrics` (with `folder` null, alone, of an administrator): the token reads /metrics and can do nothing else.",
  }),
});

export const TokenSchema = z
  .object({
    id,
    kind: z.enum(["api", "session"]).openapi({ description: "`session` is made by a login." }),
    name: z.string(),
    userId: z.string(),
    scopes: z.array(scope),
    createdAt: time("When it was made."),
    expiresAt: time("Null: never.").nullable(),
    revokedAt: time("When it was revoked.").nullable(),
    lastUsedAt: time("When it was used last.").nullable(),
  })
  .openapi("Token");

export const LoginRequest = z
  .object({
    name: z.string().min(1).max(MAX_NAME),
    password: z.string().min(1).max(MAX_PASSWORD),
  })
  .strict()
  .openapi("LoginRequest");

export const LoginResponse = z
  .object({
    token: z.string().openapi({ description: "For `Authorization: Bearer`. Told once; also set as a cookie." }),
    expiresAt: time("When the session ends.").nullable(),
    user: z.object(named),
  })
  .openapi("LoginResponse");

export const MeSchema = z
  .object({
    user: z.object(named),
    token: TokenSchema,
    folders: z
      .array(z.object({ name: z.string(), access }))
      .nullable()
      .openapi({ description: "Null: every folder." }),
  })
  .openapi("Me");

const newPassword = z.string().min(8).max(MAX_PASSWORD).openapi({ description: "At least 8 characters." });

export const NewUser = z
  .object({
    name: z.string().min(1).max(MAX_NAME),
    password: newPassword,
    role: role.default("user"),
    folders: grants.default([]),
  })
  .strict()
  .openapi("NewUser");

export const NewGrant = z.object({ access }).strict().openapi("NewGrant");

export const NewPassword = z
  .object({
    password: newPassword,
    oldPassword: z
      .string()
      .min(1)
      .max(MAX_PASSWORD)
      .optional()
      .openapi({ description: "The password so far. Needed to set one's own." }),
    endTokens: z
      .boolean()
      .default(false)
      .openapi({ description: "Whether the user's API tokens end too, as the sessions do." }),
  })
  .strict()
  .openapi("NewPassword");

const expiresIn = z.number().int().min(1).max(MAX_EXPIRY_S);

export const NewToken = z
  .object({
    name: z.string().min(1).max(MAX_NAME),
    user: z.string().min(1).max(MAX_NAME).optional().openapi({ description: "Default: who asks." }),
    scopes: z.array(scope).min(1).max(MAX_SCOPES),
    expiresIn: expiresIn
      .nullable()
      .default(90 * 86_400)
      .openapi({ description: "Seconds; null: never." }),
  })
  .strict()
  .openapi("NewToken");

export const CreatedToken = z
  .object({ token: z.string().openapi({ description: "Told once." }), record: TokenSchema })
  .openapi("CreatedToken");

export const DeviceSchema = z
  .object({
    id,
    name: z.string(),
    pin: z.string().openapi({ description: "SHA-256 of its public key (SPKI), base64url." }),
    role,
    createdAt: time("When it was paired."),
    lastSeenAt: time("When it was connected last.").nullable(),
    revokedAt: time("When it was revoked.").nullable(),
    folders: grants.openapi({ description: "What it may do with which folder; an administrator's device needs none." }),
    connected: z.boolean().openapi({ description: "Whether it mirrors now." }),
  })
  .openapi("Device");

export const InvitationSchema = z
  .object({
    id,
    folder: z.string().nullable().openapi({ description: "Null: any folder, as an administrator." }),
    access,
    createdAt: time("When it was made."),
    expiresAt: time("Until when it is good."),
    usedAt: time("When it was used.").nullable(),
    usedBy: z.string().nullable().openapi({ description: "The id of the device it made known." }),
    withdrawnAt: time("When it was withdrawn.").nullable(),
  })
  .openapi("Invitation");

export const DeviceChange = z
  .object({ name: z.string().min(1).max(64).openapi({ description: "At most 64 characters, all of them visible." }) })
  .strict()
  .openapi("DeviceChange");

export const NewInvitation = z
  .object({
    folder: folderName.nullable(),
    access: access.default("write"),
    expiresIn: expiresIn
      .max(30 * 86_400)
      .default(3600)
      .openapi({ description: "Seconds, at most 30 days." }),
  })
  .strict()
  .openapi("NewInvitation");

export const CreatedInvitation = z
  .object({
    invitation: InvitationSchema,
    address: z.string().openapi({
      description: "For `confundo mirror FOLDER ADDRESS` on another machine. Carries a one-time code: told once.",
      example: "confundo://mirror.example:5000/photos#AbCd",
    }),
  })
  .openapi("CreatedInvitation");

const limits = {
  quotaBytes: bytes.nullable().openapi({ description: "How much it may hold. Null: what the server says." }),
  storageLimitBytes: bytes.nullable().openapi({
    description:
      "How much with its versions and unfinished uploads. Null: three times its own quota, or what the server says.",
  }),
  maxEntries: z
    .number()
    .int()
    .positive()
    .nullable()
    .openapi({ description: "How many entries. Null: what the server says." }),
};

export const FolderSchema = z
  .object({
    name: z.string(),
    state: z.enum(["idle", "syncing", "settled", "awaiting-approval", "held", "deleted"]).openapi({
      description:
        "`idle`: nobody mirrors to it now. `settled`: in step with its client. `awaiting-approval`: its client holds deletes back, see heldDeletes. `held`: restored, and closed to clients until it is resumed. `deleted`: until `purgeAt` it can be restored.",
    }),
    access,
    files: z.number().int().openapi({ description: "Files and links." }),
    entries: z.number().int().openapi({ description: "Files, links and directories." }),
    bytes,
    versions: z.number().int().openapi({ description: "Kept versions." }),
    versionBytes: bytes.openapi({ description: "What kept versions take, each content once." }),
    unfinishedBytes: bytes.openapi({ description: "What unfinished uploads take." }),
    storageBytes: bytes.openapi({ description: "All of it, and 4096 bytes for each entry and version." }),
    ...limits,
    limits: z
      .object({ quotaBytes: bytes.nullable(), storageBytes: bytes.nullable(), entries: z.number().int().nullable() })
      .openapi({ description: "The limits in force: the folder's own, or else those of the server. Null: none." }),
    createdAt: time("When it was made."),
    changedAt: time("When something in it changed last.").nullable(),
    heldAt: time("When it was closed to clients by a restore.").nullable(),
    deletedAt: time("When it was deleted.").nullable(),
    purgeAt: time("When its content is removed for good.").nullable(),
    heldDeletes: HeldDeletesSchema.nullable(),
    rootHash: sha256.nullable().openapi({ description: "Over all entries, at the last time it was in step." }),
  })
  .openapi("Folder");

export const NewFolder = z
  .object({
    name: folderName,
    quotaBytes: limits.quotaBytes.default(null),
    storageLimitBytes: limits.storageLimitBytes.default(null),
    maxEntries: limits.maxEntries.default(null),
  })
  .strict()
  .openapi("NewFolder");

export const FolderChange = z
  .object(limits)
  .partial()
  .strict()
  .refine((change) => Object.keys(change).length > 0, "nothing is to be changed")
  .openapi("FolderChange");

export const FoldersQuery = PageQuery.extend({
  deleted: z
    .enum(["true", "false"])
    .default("false")
    .openapi({ description: "`true`: those that are deleted and can be restored. For administrators." }),
});

export const DeletionQuery = z.object({
  grace: z.coerce
    .number()
    .int()
    .min(0)
    .max(MAX_FOLDER_GRACE_MS / 1000)
    .default(FOLDER_GRACE_MS / 1000)
    .openapi({ description: "How long it can be restored, in seconds; 0: not at all. Default 30 days." }),
});

const entryShape = {
  path: z.string(),
  kind: z.enum(["file", "directory", "link"]),
  size: bytes,
  mode: z.number().int().openapi({ description: "Permission bits." }),
  modifiedAt: time("Modification time."),
  sha256: sha256.nullable().openapi({ description: "Of files; null while it is not known." }),
  target: z.string().nullable().openapi({ description: "Of links: where it points." }),
  version: z.number().int().openapi({ description: "Counts from 1 for each path." }),
  storedAt: time("When it came to be as it is."),
};

export const EntrySchema = z.object(entryShape).openapi("Entry");

export const VersionSchema = z
  .object({
    ...entryShape,
    endedAt: time("When it was replaced or deleted."),
    why: z.enum(["replaced", "deleted", "moved", "changed"]).openapi({
      description: "`changed`: only its modification time or permissions are others since.",
    }),
    movedTo: z.string().nullable().openapi({ description: "The path that it got, where it was moved." }),
  })
  .openapi("Version");

export const EntriesQuery = PageQuery.extend({
  path: z
    .string()
    .max(MAX_PATH)
    .default("")
    .openapi({ description: "The directory whose entries are listed; empty for the top." }),
});

export const VersionsQuery = PageQuery.extend({
  path: z
    .string()
    .max(MAX_PATH)
    .default("")
    .openapi({ description: "A file, a directory with `/` at its end, or empty for everything." }),
});

export const ContentQuery = z.object({
  version: z.coerce
    .number()
    .int()
    .min(1)
    .optional()
    .openapi({ description: "A kept version instead of the present one." }),
  inline: z
    .enum(["true", "false"])
    .default("false")
    .openapi({ description: "Let a browser show it, where its type is harmless, instead of saving it." }),
});

export const UploadQuery = z.object({
  modifiedAt: z.coerce
    .number()
    .min(0)
    .max(8.64e15)
    .optional()
    .openapi({ description: "Its modification time, milliseconds since 1970. Default: now." }),
  executable: z.enum(["true", "false"]).default("false"),
});

export const RestoreBody = z
  .object({
    path: filePath.nullable().default(null).openapi({ description: "Null: the whole folder (with `at`)." }),
    version: z.number().int().min(1).optional(),
    at: time("What was there at that time.").int().nonnegative().optional(),
  })
  .strict()
  .refine(
    ({ path, version, at }) => (version === undefined) !== (at === undefined) && (path !== null || at !== undefined),
    {
      message: "say either version (with a path) or at",
    },
  )
  .openapi("Restore");

export const RestoredSchema = z
  .object({
    changed: z.number().int().openapi({ description: "`files` and `removed` together." }),
    files: z.number().int().openapi({ description: "Files and links that were put in place." }),
    bytes,
    removed: z.number().int().openapi({ description: "Entries that were not there then; they are versions now." }),
    unchanged: z.number().int(),
  })
  .openapi("Restored");

export const ConnectionSchema = z
  .object({
    cwnd: bytes.openapi({ description: "The congestion window of what the server sends, bytes." }),
    ssthresh: z.number().nullable().openapi({ description: "The slow start threshold; null before there was a loss." }),
    bytesInFlight: bytes,
    smoothedRttMs: z.number(),
    minRttMs: z.number(),
    bytesSent: bytes,
    bytesReceived: bytes,
    datagramsSent: z.number().int(),
    datagramsReceived: z.number().int(),
    retransmissions: z.number().int(),
    timeouts: z.number().int(),
    tier: z.string(),
    edition: z.string(),
  })
  .openapi("Connection");

export const SessionSchema = z
  .object({
    id,
    folder: z.string(),
    device: z.string().nullable().openapi({ description: "The device's id." }),
    label: z.string(),
    peer: z.string().openapi({ description: "Address and port." }),
    openedAt: time("When it was opened."),
    state: z.enum(["syncing", "settled"]),
    heldDeletes: HeldDeletesSchema.nullable(),
    connection: ConnectionSchema.nullable(),
  })
  .openapi("Session");

export const ActiveTransferSchema = z
  .object({
    id,
    session: z.string().nullable(),
    folder: z.string(),
    path: z.string(),
    bytes,
    size: bytes.nullable(),
    startedAt: time("When it began."),
  })
  .openapi("ActiveTransfer");

export const TransferSchema = z
  .object({
    id,
    folder: z.string(),
    device: z.string().nullable(),
    path: z.string(),
    bytes,
    startedAt: time("When it began."),
    endedAt: time("When it ended."),
    outcome: z.enum(["stored", "failed"]),
    code: z.string().nullable(),
  })
  .openapi("Transfer");

export const TransfersQuery = NumberedPageQuery.extend({ folder: folderName.optional() });

export const StatisticsSchema = z
  .object({
    startedAt: time("When the server began."),
    version: z.string().openapi({ description: "Of the program." }),
    folders: z.number().int(),
    files: z.number().int(),
    bytes,
    versionBytes: bytes,
    sessions: z.number().int(),
    transfers: z.number().int(),
    subscribers: z.number().int(),
    memoryBytes: bytes
      .nullable()
      .openapi({ description: "Resident memory of the server; null for who is no administrator." }),
    lastEvent: z.number().int().openapi({ description: "The number of the newest event." }),
  })
  .openapi("Statistics");

export const AuditSchema = z
  .object({
    id: z.number().int(),
    at: time("When."),
    actor: z.string(),
    action: z.string(),
    target: z.string().nullable(),
    outcome: z.enum(["ok", "refused"]),
    address: z.string().nullable(),
    detail: z.string().nullable(),
  })
  .openapi("AuditEntry");

export const EventsQuery = z.object({
  after: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .openapi({ description: "The number of the last event that was received: those after it come first." }),
  live: z
    .enum(["true", "false"])
    .default("true")
    .openapi({ description: "Whether connections and transfers are told too, about once a second." }),
});

export const HealthSchema = z.object({ status: z.literal("ok") }).openapi("Health");
