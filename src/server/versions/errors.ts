export type VersionErrorCode =
  | "ERR_NO_FOLDER"
  | "ERR_NO_VERSION"
  | "ERR_NOTHING_HELD"
  | "ERR_PRECONDITION"
  | "ERR_VERSION_DAMAGED"
  | "ERR_TIME"
  | "ERR_RESTORE_EXISTS"
  | "ERR_INVALID";

/** What `restore` and `log` cannot do. `code` is stable; `message` is for people. */
export class VersionError extends Error {
  override readonly name = "VersionError";
  readonly code: VersionErrorCode;

  constructor(code: VersionErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
