/** Errors as the interface tells them: RFC 9457 problem details, with the stable codes of docs/errors.md. */
import { STATUS_CODES } from "node:http";
import { HTTPException } from "hono/http-exception";
import { sentence } from "../../text/sentence.js";

export type ProblemCode =
  | "ERR_REQUEST"
  | "ERR_UNAUTHENTICATED"
  | "ERR_FORBIDDEN"
  | "ERR_CROSS_SITE"
  | "ERR_NOT_FOUND"
  | "ERR_TIMEOUT"
  | "ERR_PRECONDITION"
  | "ERR_TOO_LARGE"
  | "ERR_MEDIA_TYPE"
  | "ERR_RANGE"
  | "ERR_HOST"
  | "ERR_UPGRADE"
  | "ERR_RATE_LIMITED"
  | "ERR_TOO_MANY"
  | "ERR_DATABASE"
  | "ERR_INTERNAL"
  | (string & {});

/** The HTTP status of each code. One that is missing here is a defect of ours: 500. */
const STATUS: Readonly<Record<string, number>> = {
  ERR_REQUEST: 400,
  ERR_INVALID: 400,
  ERR_TIME: 400,
  ERR_UNSAFE_PATH: 400,
  ERR_NAME: 400,
  ERR_NAME_TAKEN: 409,
  ERR_MIRROR_NAME: 400,
  ERR_CODE: 400,
  ERR_CHECKSUM: 400,
  ERR_UNAUTHENTICATED: 401,
  ERR_FORBIDDEN: 403,
  ERR_CROSS_SITE: 403,
  ERR_NOT_FOUND: 404,
  ERR_NO_FOLDER: 404,
  ERR_NO_VERSION: 404,
  ERR_NOTHING_HELD: 404,
  ERR_TIMEOUT: 408,
  ERR_MIRROR_BUSY: 409,
  ERR_FOLDER_HELD: 409,
  ERR_FOLDER_DELETED: 409,
  ERR_PATH_BUSY: 409,
  ERR_NOT_A_FOLDER: 409,
  ENOTEMPTY: 409,
  EISDIR: 409,
  ERR_PRECONDITION: 412,
  ERR_TOO_LARGE: 413,
  ERR_MEDIA_TYPE: 415,
  ERR_RANGE: 416,
  ERR_HOST: 421,
  ERR_UPGRADE: 426,
  ERR_RATE_LIMITED: 429,
  ERR_TOO_MANY: 503,
  ERR_EXISTS: 409,
  ERR_DATABASE: 503,
  ERR_DATABASE_UNAVAILABLE: 503,
  ERR_SERVER_CLOSING: 503,
  ERR_VERSION_DAMAGED: 500,
  ERR_QUOTA: 507,
  ENOSPC: 507,
  EDQUOT: 507,
};

/** Of errors that others threw without one of our codes, by status. */
const CODE_OF_STATUS: Readonly<Record<number, ProblemCode>> = {
  400: "ERR_REQUEST",
  401: "ERR_UNAUTHENTICATED",
  403: "ERR_FORBIDDEN",
  404: "ERR_NOT_FOUND",
  408: "ERR_TIMEOUT",
  413: "ERR_TOO_LARGE",
  415: "ERR_MEDIA_TYPE",
};

/** A part of the request that is not as it should be. */
export interface Flaw {
  /** Where, such as `body.name` or `query.limit`. */
  readonly at: string;
  readonly detail: string;
}

/** Thrown by routes; becomes the answer. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: ProblemCode;
  readonly flaws: readonly Flaw[];
  readonly headers: Readonly<Record<string, string>>;

  /** `message` is for people: what happened and what to do. */
  constructor(
    code: ProblemCode,
    message: string,
    { flaws = [], headers = {} }: { flaws?: readonly Flaw[]; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.code = code;
    this.flaws = flaws;
    this.headers = headers;
  }
}

/** The body of an answer that is an error. */
export interface ProblemDetails {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors?: readonly Flaw[];
}

/** Any thrown value as an answer. Of what is our own defect nothing is told but that it is one. */
export function problemDetails(error: unknown): ProblemDetails {
  const { code, message } = nameProblem(error);
  const status = STATUS[code] ?? 500;
  const flaws = error instanceof Problem && error.flaws.length > 0 ? { errors: error.flaws } : {};
  return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, code, detail: message, ...flaws };
}

export function problemHeaders(error: unknown): Record<string, string> {
  const { code, retryAfterMs } = (error ?? {}) as { code?: unknown; retryAfterMs?: unknown };
  const headers: Record<string, string> = { "Content-Type": "application/problem+json", "Cache-Control": "no-store" };
  if (code === "ERR_UNAUTHENTICATED") headers["WWW-Authenticate"] = 'Bearer realm="confundo"';
  if (code === "ERR_RATE_LIMITED") {
    headers["Retry-After"] = String(
      typeof retryAfterMs === "number" ? Math.max(1, Math.ceil(retryAfterMs / 1000)) : 60,
    );
  }
  return error instanceof Problem ? { ...headers, ...error.headers } : headers;
}

function nameProblem(error: unknown): { code: ProblemCode; message: string } {
  if (error instanceof HTTPException) {
    const code = CODE_OF_STATUS[error.status] ?? "ERR_INTERNAL";
    return { code, message: sentence(error.message) };
  }
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code !== "string" || STATUS[code] === undefined || typeof message !== "string") {
    return { code: "ERR_INTERNAL", message: "The server failed to do that. Its log says why." };
  }
  if (code.startsWith("ERR_DATABASE")) return { code, message: "The database does not answer. Try again later." };
  return { code, message: sentence(message) };
}
