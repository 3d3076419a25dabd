/**
 * Names of files may have bytes that are no text; in strings those are lone surrogates (U+DC80 to U+DCFF), which no database
 * takes. In the database each is a character of a private use area that no name has (U+10F780 to U+10F7FF). Pure.
 */

const LONE_BYTES = /[\udc80-\udcff]/;
const STORED_BYTES = /[\u{10f780}-\u{10f7ff}]/u;
/** With the `u` flag a surrogate that is half of a pair does not match. */
const EACH_LONE = /[\udc80-\udcff]/gu;
const EACH_STORED = /[\u{10f780}-\u{10f7ff}]/gu;
const OFFSET = 0x10f700 - 0xdc00;

export function toStored(value: unknown): unknown {
  if (typeof value !== "string" || !LONE_BYTES.test(value)) return value;
  return value.replace(EACH_LONE, (one) => String.fromCodePoint(one.charCodeAt(0) + OFFSET));
}

export function fromStored(value: string): string {
  if (!STORED_BYTES.test(value)) return value;
  return value.replace(EACH_STORED, (one) => String.fromCharCode((one.codePointAt(0) as number) - OFFSET));
}
