/** The codes of {@link SecureError}; each is a heading in docs/errors.md. */
export type SecureErrorCode =
  /** The peer's key is another one than the one that is known. */
  | "ERR_SERVER_KEY"
  /** The server is not known here, and there is no pairing address. */
  | "ERR_NOT_PAIRED"
  /** The pairing code is no code, or the server did not take it. */
  | "ERR_CODE"
  /** The handshake failed, or what followed is not what it should be. */
  | "ERR_TLS"
  /** Without TLS only this machine can be listened to. */
  | "ERR_INSECURE"
  /** The certificate for HTTPS and its key cannot be used. */
  | "ERR_CERTIFICATE"
  /** Keys or what is known of servers cannot be kept safely where they are. */
  | "ERR_STATE"
  /** What a server says to a device that it does not know, has revoked, or has heard from too often. */
  | "ERR_UNAUTHENTICATED"
  | "ERR_FORBIDDEN"
  | "ERR_RATE_LIMITED"
  | "ERR_TOO_MANY"
  /** A secret for connecting again was used a second time. */
  | "ERR_RESUMPTION_REUSED"
  | (string & {});

/** Trying again later, with nothing changed, can help after these. */
const RETRYABLE: ReadonlySet<string> = new Set([
  "ERR_TLS",
  "ERR_RATE_LIMITED",
  "ERR_UNAVAILABLE",
  "ERR_TOO_MANY",
  "ERR_RESUMPTION_REUSED",
]);

/** What kept two ends from trusting each other. `message` is for people; `code` is stable. */
export class SecureError extends Error {
  override readonly name = "SecureError";
  readonly code: SecureErrorCode;

  constructor(code: SecureErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }

  /** Whether connecting again later can help. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}
