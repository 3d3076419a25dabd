/** The properties of a system error, as `node:net` and `ConfundoError` have them. */
interface SystemError {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly message?: unknown;
}

/**
 * The message of an error without the `connect ECONNREFUSED ` that it begins with for programs, as in `node:net`: for people
 * the sentence is enough, and the code stands behind it.
 */
export function plainMessage(error: unknown): string {
  const { code, syscall, message } = (error ?? {}) as SystemError;
  if (typeof message !== "string") return String(error);
  const prefix = `${syscall} ${code} `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}

/** A sentence with the code behind it, unless the sentence says it. */
export function withCode(text: string, code: string): string {
  return text.includes(code) ? text : `${text} (${code})`;
}
