/** What a first word looks like that is no path, host or other name. */
const WORD = /^[a-z]+(?:['’-][a-z]+)*[,;]?(?=\s|$)/;

/** A message that was written as a part of a sentence, as a sentence. What it begins with keeps its letters where that is a `name`. */
export function sentence(message: string, name?: string): string {
  const named = name !== undefined && name !== "" && message.startsWith(name);
  const first = WORD.test(message) && !named ? message.charAt(0).toUpperCase() : message.charAt(0);
  return `${first}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`;
}
