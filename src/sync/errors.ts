import { getSystemErrorMap } from "node:util";
import { plainMessage } from "../text/plain-message.js";
import type { HeldDeletes } from "./delete-guard.js";

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
  | "ERR_MIRROR_OWNER"
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
  | "ERR_EMPTIED"
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
  | "ERR_CALLBACK"
  | "ERR_IGNORED"
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
  readonly held?: HeldDeletes;
}

/** The one error class of folder mirroring. `code` is stable; `message` is for people. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: SyncErrorCode;
  readonly path: string | undefined;
  readonly failures: readonly Failure[];
  readonly losses: Losses | undefined;
  readonly held: HeldDeletes | undefined;

  constructor(code: SyncErrorCode, message: string, options: SyncErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.path = options.path;
    this.failures = options.failures ?? [];
    this.losses = options.losses;
    this.held = options.held;
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

/** What a person is told who has to decide. `waits`: the deletes are held back until there is an answer. */
export function massDelete(folder: string, name: string | undefined, held: HeldDeletes, waits: boolean): SyncError {
  const { files, of, deleted, deletedSince } = held;
  const losses = { files: files + deleted, of };
  const what = {
    limit: `the mirror would lose ${losses.files} of its ${of} files`,
    empty: `${folder} holds no files, and the mirror holds ${of}, all of which would be deleted`,
    unfamiliar: `the mirror would lose ${files} of its ${of} files, and nothing says that they ever were in ${folder}`,
    unmounted: `the mirror would lose ${files} of its ${of} files, which are on a disk that is not mounted in ${folder} now, or another one is in its place`,
  }[held.reason];
  const since = new Date((deletedSince ?? 0) - 1000).toISOString();
  const mirror = name ?? "NAME";
  const gone =
    deleted === 0
      ? "nothing was deleted"
      : `${deleted} of them ${deleted === 1 ? "was" : "were"} deleted already, the other ${files === 1 ? "one is" : `${files} are`} kept; ` +
        "to get back what was deleted: " +
        `confundo restore ${mirror} --at ${since} --to FOLDER (at the server)`;
  const advice = "see whether the folder is complete (is its disk mounted?)";
  const approve = waits
    ? `approve it with \`confundo approve ${mirror}\` (at the server) or in the dashboard, or `
    : "";
  const answer = `where the loss is meant, ${approve}say so with --allow-mass-delete (allowMassDelete)`;
  return new SyncError("ERR_MASS_DELETE", `${what}; ${gone}; ${advice}; ${answer}`, { losses, held });
}

function describe(error: unknown): string {
  // Those of the transport say more than the system does.
  if ((error as Error | null)?.name === "ConfundoError") return plainMessage(error);
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
