/** The names that mirrors can have: one path segment that every common file system can hold. Pure. */

const MAX_NAME_BYTES = 200;
const RESERVED = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$/i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused here
const FORBIDDEN = /[\u0000-\u001f\u007f/\\<>:"|?*]|\p{Surrogate}/u;

/** Why `name` cannot be the name of a mirror, in plain words; `undefined` when it can. */
export function mirrorNameProblem(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `it is longer than ${MAX_NAME_BYTES} bytes`;
  if (name.startsWith(".")) return "it starts with a dot";
  if (/[. ]$/.test(name)) return "it ends with a dot or a space";
  if (FORBIDDEN.test(name)) return "it has a character that not every file system takes";
  if (RESERVED.test(name)) return "some systems reserve it";
  return undefined;
}
