/** Characters that deceive a reader, made visible: names come from others, and people judge files by them. Pure. */

/**
 * Control characters (C0, DEL, C1), everything that Unicode calls a format character (bidirectional controls, zero-width
 * characters, byte order marks, tags) or ignorable (fillers, joiners, variation selectors), line and paragraph separators,
 * and halves of surrogate pairs. Only a variation selector behind a pictograph is left alone, as emoji are written so.
 */
const INVISIBLE =
  /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]|(?!(?<=\p{Extended_Pictographic})[\ufe0e\ufe0f])\p{Default_Ignorable_Code_Point}/gu;

/** Most texts are of these only, which is found out faster. */
const PLAIN = /^[\x20-\x7e]*$/;

/** Whether every character of the text can be seen, and stands where it seems to. */
export function isVisible(text: string): boolean {
  return PLAIN.test(text) || text.search(INVISIBLE) === -1;
}

/** The text with each deceiving character written as `\u202e`, as JSON has it: in a JSON text it stays the same value. */
export function escapeInvisible(text: string): string {
  if (PLAIN.test(text)) return text;
  return text.replace(INVISIBLE, (found) => {
    let escaped = "";
    for (let at = 0; at < found.length; at++) escaped += `\\u${found.charCodeAt(at).toString(16).padStart(4, "0")}`;
    return escaped;
  });
}

/** The text as it is; quoted and escaped as JSON where it has a character that deceives. */
export function visibleName(text: string): string {
  return isVisible(text) ? text : escapeInvisible(JSON.stringify(text));
}

/** A stretch of a text: plain, or one character that would not be seen, as `U+202E`. */
export interface VisiblePart {
  readonly text: string;
  readonly invisible: boolean;
}

/** The text in parts, for a page that shows the invisible ones in a style of their own. */
export function visibleParts(text: string): VisiblePart[] {
  const parts: VisiblePart[] = [];
  let plainFrom = 0;
  for (const { 0: found, index } of text.matchAll(INVISIBLE)) {
    if (index > plainFrom) parts.push({ text: text.slice(plainFrom, index), invisible: false });
    parts.push({ text: codePointName(found), invisible: true });
    plainFrom = index + found.length;
  }
  if (plainFrom < text.length) parts.push({ text: text.slice(plainFrom), invisible: false });
  return parts;
}

/** The text with each deceiving character written as `<U+202E>`, for labels and titles. */
export function visibleLabel(text: string): string {
  return text.replace(INVISIBLE, (found) => `<${codePointName(found)}>`);
}

function codePointName(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
