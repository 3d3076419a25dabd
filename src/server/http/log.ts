/** Errors for the operator's log. Texts in them come from others too: people read a log, and judge by it. */
import type { Logger } from "pino";
import { escapeInvisible } from "../../text/visible.js";

/**
 * Logs what went wrong, with characters that deceive a reader escaped in every text. JSON escapes no bidirectional control, and
 * what prints a log for people takes back what JSON does escape, so that the values themselves are made visible.
 */
export function logError(
  logger: Logger | undefined,
  error: unknown,
  text: string,
  fields: Readonly<Record<string, string>> = {},
): void {
  if (logger === undefined) return;
  const shown = Object.entries(fields).map(([name, value]) => [name, escapeInvisible(value)]);
  logger.error({ err: visibleError(error), ...Object.fromEntries(shown) }, escapeInvisible(text));
}

/** Causes that are shown at most: they can be a ring. */
const MAX_CAUSES = 5;

/** As pino's own serializer: type, message, code and stack. Line breaks are between the lines of a stack only. */
function visibleError(error: unknown): object {
  const chain: Error[] = [];
  for (let one = error; one instanceof Error && chain.length < MAX_CAUSES; one = one.cause) chain.push(one);
  const [first] = chain;
  if (first === undefined) return { message: escapeInvisible(String(error)) };
  const { code } = first as NodeJS.ErrnoException;
  // Without a constructor, pino takes the name for the type.
  const shown = Object.create(null, { name: { value: first.name } });
  return Object.assign(shown, {
    message: escapeInvisible(chain.map(({ message }) => message).join(": ")),
    ...(typeof code === "string" ? { code: escapeInvisible(code) } : {}),
    stack: chain.map(visibleStack).join("\ncaused by: "),
  });
}

function visibleStack({ message, stack = "" }: Error): string {
  const lines = (message === "" ? stack : stack.replace(message, () => escapeInvisible(message))).split("\n");
  return lines.map(escapeInvisible).join("\n");
}
