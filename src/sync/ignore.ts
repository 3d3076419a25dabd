/**
 * Patterns for what a mirror leaves alone, on both sides.
 *
 * - `*` matches within one part of a path, `**` across parts, `?` one character, `[a-z]` and `[!a-z]` a class,
 *   `\` takes the next character as it is.
 * - A pattern without a slash (`*.log`) matches a name at any depth; with one (`build/out`, `/dist`) it starts at
 *   the mirrored folder. A slash at the end (`cache/`) matches folders only.
 * - What is below an ignored folder is ignored with it.
 */
import { SyncError } from "./errors.js";
import { ancestorsOf } from "./path.js";

/** Whether to leave `path` alone. `directory` says whether it is a folder (a `cache/` pattern asks). */
export type Ignore = (path: string, directory: boolean) => boolean;

/** Ignores nothing. */
export const ignoreNothing: Ignore = () => false;

/** Compiles patterns into one predicate over paths. Throws a {@link SyncError} `ERR_PATTERN`. */
export function ignorePatterns(patterns: readonly string[]): Ignore {
  const rules = patterns.map(compile).filter((rule) => rule !== undefined);
  if (rules.length === 0) return ignoreNothing;
  const matches: Ignore = (path, directory) =>
    rules.some((rule) => (directory || !rule.foldersOnly) && rule.regexp.test(path));
  return (path, directory) => matches(path, directory) || ancestorsOf(path).some((ancestor) => matches(ancestor, true));
}

interface Rule {
  readonly regexp: RegExp;
  readonly foldersOnly: boolean;
}

function compile(pattern: string): Rule | undefined {
  const foldersOnly = pattern.endsWith("/");
  const trimmed = foldersOnly ? pattern.replace(/\/+$/, "") : pattern;
  if (trimmed === "") return undefined;
  const anchored = trimmed.includes("/");
  const source = `${anchored ? "^" : "(?:^|/)"}${globSource(trimmed.replace(/^\/+/, ""))}$`;
  try {
    return { regexp: new RegExp(source, "su"), foldersOnly };
  } catch (error) {
    throw new SyncError("ERR_PATTERN", `the pattern "${pattern}" cannot be understood`, { cause: error });
  }
}

function globSource(glob: string): string {
  let source = "";
  for (let i = 0; i < glob.length; ) {
    const rest = glob.slice(i);
    const token = /^(\/\*\*(?=\/|$)|\*\*\/|\*+|\?|\[!?\]?[^\]]*\]|\\.|.)/su.exec(rest)?.[0] ?? rest;
    source += tokenSource(token, i + token.length === glob.length);
    i += token.length;
  }
  return source;
}

function tokenSource(token: string, last: boolean): string {
  if (token === "/**") return last ? "/.+" : "(?:/[^/]+)*";
  if (token === "**/") return "(?:[^/]+/)*";
  if (token === "**") return ".*";
  if (token.startsWith("*")) return "[^/]*";
  if (token === "?") return "[^/]";
  if (token.length > 2 && token.startsWith("[")) return classSource(token);
  return literal(token.length > 1 && token.startsWith("\\") ? token.slice(1) : token);
}

function classSource(token: string): string {
  const negated = token.startsWith("[!");
  const members = token.slice(negated ? 2 : 1, -1).replace(/[\\\]^[]/gu, "\\$&");
  return members === "" ? literal(token) : `(?!/)[${negated ? "^" : ""}${members}]`;
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&");
}
