import { getSystemErrorMessage } from "node:util";
import { exhaustionHint } from "../../sync/index.js";

export type DatabaseErrorCode =
  | "ERR_DATABASE_UNAVAILABLE"
  | "ERR_DATABASE_NEWER"
  | "ERR_DATABASE_DAMAGED"
  | "ERR_DATABASE"
  | "ERR_EXISTS";

/** The one error class of the database service. `code` is stable; `message` is for people. */
export class DatabaseError extends Error {
  override readonly name = "DatabaseError";
  readonly code: DatabaseErrorCode;

  constructor(code: DatabaseErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  /** Whether trying again later can help. */
  get retryable(): boolean {
    return this.code === "ERR_DATABASE_UNAVAILABLE";
  }
}

/** https://www.sqlite.org/rescode.html, the primary codes. */
const SQLITE: Readonly<Record<number, DatabaseErrorCode>> = {
  5: "ERR_DATABASE_UNAVAILABLE", // BUSY
  6: "ERR_DATABASE_UNAVAILABLE", // LOCKED
  8: "ERR_DATABASE_UNAVAILABLE", // READONLY
  10: "ERR_DATABASE_UNAVAILABLE", // IOERR
  11: "ERR_DATABASE_DAMAGED", // CORRUPT
  13: "ERR_DATABASE_UNAVAILABLE", // FULL
  14: "ERR_DATABASE_UNAVAILABLE", // CANTOPEN
  26: "ERR_DATABASE_DAMAGED", // NOTADB
};
const SQLITE_IOERR = 10;
const SQLITE_CANTOPEN = 14;
const SQLITE_CONSTRAINT_UNIQUE = 2067;
const SQLITE_CONSTRAINT_PRIMARYKEY = 1555;

/** Whether SQLite could not read, write or flush one of its files (SQLITE_IOERR and its extended codes). */
export function isIoError(error: unknown): boolean {
  const { errcode } = (error ?? {}) as { errcode?: unknown };
  return typeof errcode === "number" && (errcode & 0xff) === SQLITE_IOERR;
}

/** https://www.postgresql.org/docs/current/errcodes-appendix.html: class 08 and 57P are about the connection, 53 about resources. */
const POSTGRES_AWAY = /^(08|57P|53|25006)/;
const POSTGRES_UNIQUE = "23505";

/** Whatever a driver throws, as a {@link DatabaseError}; our own errors pass. `where` names the database for people. */
export function toDatabaseError(error: unknown, where: string): Error {
  if (error instanceof DatabaseError) return error;
  const { code, errcode, errno } = (error ?? {}) as { code?: unknown; errcode?: unknown; errno?: unknown };
  const message = typeof errno === "number" && errno < 0 ? getSystemErrorMessage(errno) : messageOf(error);
  const as = (kind: DatabaseErrorCode, reason = message): DatabaseError =>
    new DatabaseError(kind, `the database ${where}${REASON[kind]}: ${reason}`, error);
  if (typeof errcode === "number") {
    if (errcode === SQLITE_CONSTRAINT_UNIQUE || errcode === SQLITE_CONSTRAINT_PRIMARYKEY) return as("ERR_EXISTS");
    const kind = SQLITE[errcode & 0xff] ?? "ERR_DATABASE";
    // SQLite does not say why it cannot open a file.
    const hint = (errcode & 0xff) === SQLITE_CANTOPEN ? exhaustionHint() : undefined;
    return as(kind, hint);
  }
  if (code === POSTGRES_UNIQUE) return as("ERR_EXISTS");
  if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code)) {
    return as(POSTGRES_AWAY.test(code) ? "ERR_DATABASE_UNAVAILABLE" : "ERR_DATABASE");
  }
  // Of the socket (ECONNREFUSED, ENOENT of a Unix socket, …), or pg's own words for a connection that broke or never was.
  const away = (typeof code === "string" && /^E[A-Z]+$/.test(code)) || /connection|timeout|terminat/i.test(message);
  return as(away ? "ERR_DATABASE_UNAVAILABLE" : "ERR_DATABASE");
}

const REASON: Readonly<Record<DatabaseErrorCode, string>> = {
  ERR_DATABASE_UNAVAILABLE: " cannot be used now",
  ERR_DATABASE_NEWER: " is of a newer version of Confundo",
  ERR_DATABASE_DAMAGED: " is damaged",
  ERR_DATABASE: " refused",
  ERR_EXISTS: " has such an entry already",
};

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
