import { CommanderError } from "commander";

/** Errors whose message already says everything to a person; of others the name and code are shown too. */
interface Described {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly path?: string;
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

/** Prints `ERROR: …` to stderr; a stack trace only where CONFUNDO_DEBUG asks for one. */
export function printError(error: unknown): void {
  // commander has printed its own already.
  if (!(error instanceof CommanderError)) process.stderr.write(`ERROR: ${escaped(describe(error))}\n`);
  for (const { path, code, message } of (error as Described).failures ?? []) {
    process.stderr.write(`ERROR: ${shownPath(path)}: ${escaped(`${sentence(message)} (${code})`)}\n`);
  }
  if (process.env.CONFUNDO_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

export function printWarning(message: string): void {
  process.stderr.write(`WARNING: ${escaped(message)}\n`);
}

/** What would break a line, move about on a terminal, or turn around what is read. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A path in one line; quoted and escaped where it has something unprintable. */
export function shownPath(path: string): string {
  return path.search(UNPRINTABLE) === -1 ? path : escaped(JSON.stringify(path));
}

/** Whatever others had a say in, in one line. */
export function escaped(text: string): string {
  return text.replace(UNPRINTABLE, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** One line for people, also for what the file system says. */
export function describe(error: unknown): string {
  const { name, code, path, message } = (error ?? {}) as Described;
  switch (path === undefined ? undefined : code) {
    case "ENOENT":
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
    default:
      return CODED.has(name ?? "") ? `${sentence(message ?? "")} (${code})` : (message ?? String(error));
  }
}

/** Classes whose messages are followed by the code. */
const CODED: ReadonlySet<string> = new Set(["SyncError", "SecureError", "AuthError", "DatabaseError", "VersionError"]);

/** A message that was written as a part of one, as a sentence. */
export function sentence(message: string): string {
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`;
}
