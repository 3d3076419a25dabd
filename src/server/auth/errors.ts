/** The codes of {@link AuthError}; each is a heading in docs/errors.md. */
export type AuthErrorCode =
  | "ERR_UNAUTHENTICATED"
  | "ERR_FORBIDDEN"
  | "ERR_RATE_LIMITED"
  | "ERR_CODE"
  | "ERR_NOT_FOUND"
  | "ERR_EXISTS"
  | "ERR_INVALID"
  | "ERR_RESUMPTION_REUSED";

/** A refusal of the authentication service, in words for people and a stable `code` for programs. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly code: AuthErrorCode;
  /** With ERR_RATE_LIMITED: milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(code: AuthErrorCode, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}
