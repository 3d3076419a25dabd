/**
 * Names as a file system has them, which may be any bytes, as strings: valid UTF-8 as what it says, and each byte that is
 * not part of any as a lone surrogate, U+DC00 and its value (as Python's `surrogateescape`). Pure.
 */
import { isUtf8 } from "node:buffer";

const ESCAPED = /[\udc80-\udcff]/;
/** Surrogates on their own, escaped bytes or not: with the `u` flag a pair is one character and does not match. */
const LONE = /\p{Surrogate}/u;

/** Whether a name has bytes that are not UTF-8. */
export function hasEscapes(name: string): boolean {
  return ESCAPED.test(name) && LONE.test(name);
}

/** Whether a name is no name of a file: it has lone surrogates that stand for no byte. */
export function isBroken(name: string): boolean {
  if (!LONE.test(name)) return false;
  for (const character of name) {
    const code = character.charCodeAt(0);
    if (character.length === 1 && code >= 0xd800 && code <= 0xdfff && (code < 0xdc80 || code > 0xdcff)) return true;
  }
  return false;
}

export function nameFromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isUtf8(buffer)) return buffer.toString();
  let name = "";
  for (let at = 0; at < buffer.length; ) {
    const length = lengthAt(buffer, at);
    name +=
      length > 0 ? buffer.toString("utf8", at, at + length) : String.fromCharCode(0xdc00 + (buffer[at] as number));
    at += Math.max(length, 1);
  }
  return name;
}

export function nameToBytes(name: string): Buffer {
  if (!hasEscapes(name)) return Buffer.from(name);
  const parts: Buffer[] = [];
  for (const character of name) {
    const code = character.charCodeAt(0);
    const escaped = character.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    parts.push(escaped ? Buffer.of(code - 0xdc00) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

/** A path to give to Node: a string where it can be one. */
export function systemPath(path: string): string | Buffer {
  return hasEscapes(path) ? nameToBytes(path) : path;
}

/** How many bytes the character at `at` has; 0 where there is none. */
function lengthAt(bytes: Buffer, at: number): number {
  const first = bytes[at] as number;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return length > 0 && at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
