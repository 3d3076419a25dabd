/** The codes of {@link ProtocolError}; each is a heading in docs/errors.md. */
export type ProtocolErrorCode = "ERR_UNKNOWN_EDITION" | "ERR_CONNECTION_EXISTS";

/**
 * A mistake of the program that uses the core. What a peer does wrong never throws: it is dropped, or it closes that
 * peer's connection (see `Connection.failure`).
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
