import { getSystemErrorMessage } from "node:util";
import { CommanderError } from "commander";
import { plainMessage, withCode } from "../text/plain-message.js";
import { sentence } from "../text/sentence.js";
import { escapeInvisible, visibleName } from "../text/visible.js";

/** Errors whose message already says everything to a person; of others the name and code are shown too. */
interface Described {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly path?: string;
  readonly syscall?: string;
  readonly errno?: number;
  readonly failures?: readonly { readonly path: string; readonly code: string; readonly message: string }[];
}

/** A mistake on the command line: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly code = "ERR_USAGE";
}

/** Exit codes: 0 done, 1 failed, 2 wrong usage. */
export function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof UsageError ? 2 : 1;
}

/** Prints `ERROR: …` to stderr, behind `prefix`; a stack trace only where CONFUNDO_DEBUG asks for one. */
export function printError(error: unknown, prefix = ""): void {
  // commander has printed its own already.
  if (!(error instanceof CommanderError)) process.stderr.write(`${prefix}ERROR: ${escaped(describe(error))}\n`);
  for (const { path, code, message } of (error as Described).failures ?? []) {
    process.stderr.write(`ERROR: ${shownPath(path)}: ${escaped(`${sentence(message, path)} (${code})`)}\n`);
  }
  if (process.env.CONFUNDO_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

export function printWarning(message: string): void {
  process.stderr.write(`WARNING: ${escaped(message)}\n`);
}

/** A path or name in one line; quoted and escaped where it has a character that cannot be seen, or that deceives. */
export const shownPath: (path: string) => string = visibleName;

/** Whatever others had a say in, in one line. */
export const escaped: (text: string) => string = escapeInvisible;

/** One line for people, also for what the file system says. */
export function describe(error: unknown): string {
  const { name, code, path, syscall, errno, message } = (error ?? {}) as Described;
  switch (path === undefined ? undefined : code) {
    case "ENOENT":
      if (syscall === "mkdir") return `The folder ${path} cannot be made there. Give another place. (ENOENT)`;
      return `${path} does not exist. (ENOENT)`;
    case "EACCES":
    case "EPERM":
      return `No permission for ${path}. (${code})`;
    case "EISDIR":
      return `${path} is a folder, and a file was expected. (EISDIR)`;
    case "ENOTDIR":
    case "EEXIST":
      return `${path} is not a folder, and one was expected. (${code})`;
    case "ENOSPC":
      return `No space is left for ${path}. Free some and try again. (ENOSPC)`;
    case "EMFILE":
      return `${path} cannot be opened: this program has as many files open as it may have. Allow more with ulimit -n. (EMFILE)`;
    default:
      if (name === "ConfundoError") return withCode(plainMessage(error), code ?? "");
      if (path !== undefined && syscall !== undefined && errno !== undefined)
        return `${path}: ${sentence(getSystemErrorMessage(errno))} (${code})`;
      return CODED.has(name ?? "") ? `${sentence(message ?? "", path)} (${code})` : (message ?? String(error));
  }
}

/** Classes whose messages are followed by the code. */
const CODED: ReadonlySet<string> = new Set(["SyncError", "SecureError", "AuthError", "DatabaseError", "VersionError"]);
