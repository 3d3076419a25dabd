import { getSystemErrorMap } from "node:util";

/**
 * Every code a {@link SyncError} can carry. Failures of the file system keep the system's own code (`ENOSPC`,
 * `EACCES`, …), so the type stays open; these are the ones this package adds.
 */
export type SyncErrorCode =
  | "ERR_CONNECT"
  | "ERR_CONNECTION_LOST"
  | "ERR_PEER_SILENT"
  | "ERR_SERVER_CLOSING"
  | "ERR_PROTOCOL"
  | "ERR_VERSION"
  | "ERR_LIMIT"
  | "ERR_MIRROR_NAME"
  | "ERR_MIRROR_BUSY"
  | "ERR_MIRROR_ROOT"
  | "ERR_HOME_BUSY"
  | "ERR_REPLACED"
  | "ERR_DIVERGED"
  | "ERR_FOLDER"
  | "ERR_FORBIDDEN"
  | "ERR_QUOTA"
  | "ERR_FOLDER_HELD"
  | "ERR_FOLDER_DELETED"
  | "ERR_RESUMPTION_REUSED"
  | "ERR_TOO_MANY"
  | "ERR_DATABASE_UNAVAILABLE"
  | "ERR_UNSAFE_PATH"
  | "ERR_NAME"
  | "ERR_NAME_TAKEN"
  | "ERR_PATH_BUSY"
  | "ERR_NOT_A_FOLDER"
  | "ERR_CHECKSUM"
  | "ERR_CHANGED"
  | "ERR_OPEN"
  | "ERR_SILENT_CHANGE"
  | "ERR_TIME"
  | "ERR_RECURSION"
  | "ERR_FOLDER_MOVED"
  | "ERR_UNREADABLE"
  | "ERR_NO_DELETE"
  | "ERR_MASS_DELETE"
  | "ERR_UNSUPPORTED"
  | "ERR_PATTERN"
  | "ERR_NO_EVENTS"
  | "ERR_INCOMPLETE"
  | "ERR_INTERNAL"
  | (string & {});

/** Codes after which trying again later can help; every other code is final for a session. */
const RETRYABLE: ReadonlySet<string> = new Set([
  "ERR_CONNECT",
  "ERR_CONNECTION_LOST",
  "ERR_PEER_SILENT",
  "ERR_SERVER_CLOSING",
  "ERR_DIVERGED",
  "ERR_FOLDER_HELD",
  "ERR_DATABASE_UNAVAILABLE",
  // Of a server that cannot look up just now who somebody is, or has heard from them too often.
  "ERR_UNAVAILABLE",
  "ERR_RATE_LIMITED",
  "ERR_TOO_MANY",
  // The next connection shows the key.
  "ERR_RESUMPTION_REUSED",
]);

/** One path that could not be mirrored, and why. */
export interface Failure {
  readonly path: string;
  readonly code: SyncErrorCode;
  readonly message: string;
}

/** With `ERR_MASS_DELETE`: how many files the mirror would lose, of how many. */
export interface Losses {
  readonly files: number;
  readonly of: number;
}

export interface SyncErrorOptions {
  readonly cause?: unknown;
  /** The path inside the folder that the error is about, with `/` between its parts. */
  readonly path?: string;
  /** With `ERR_INCOMPLETE`: what could not be mirrored. */
  readonly failures?: readonly Failure[];
  /** With `ERR_MASS_DELETE`. */
  readonly losses?: Losses;
}

/** The one error class of folder mirroring. `code` is stable; `message` is for people. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: SyncErrorCode;
  readonly path: string | undefined;
  readonly failures: readonly Failure[];
  readonly losses: Losses | undefined;

  constructor(code: SyncErrorCode, message: string, options: SyncErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.path = options.path;
    this.failures = options.failures ?? [];
    this.losses = options.losses;
  }

  /** Whether connecting again later can help. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** The system's code of an error (`ENOENT`, …), or `undefined`. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/**
 * Any thrown value as a {@link SyncError}. System errors keep their code and get the system's description without the
 * absolute path that Node adds, so that a server does not tell its clients where it keeps things.
 */
export function toSyncError(error: unknown, fallback: SyncErrorCode = "ERR_INTERNAL", path?: string): SyncError {
  if (error instanceof SyncError) return error;
  const code = systemCode(error) ?? fallback;
  const options = path === undefined ? { cause: error } : { cause: error, path };
  return new SyncError(code, describe(error), options);
}

function describe(error: unknown): string {
  const errno = (error as { errno?: unknown } | null)?.errno;
  if (typeof errno === "number") {
    const known = getSystemErrorMap().get(errno);
    if (known !== undefined) return known[1];
  }
  return error instanceof Error ? error.message : String(error);
}

/** A text short enough for any message of the protocol. */
export function clip(text: string): string {
  return text.length > 500 ? `${text.slice(0, 499)}…` : text;
}
