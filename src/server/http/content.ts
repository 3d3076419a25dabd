/** What HTTP says about content: conditions, ranges, types, names (RFC 9110, RFC 6266). Pure. */
import { getMimeType } from "hono/utils/mime";
import type { Expected } from "./mirrors.js";
import { Problem } from "./problem.js";

/** Of a file as it is now. */
export interface Validators {
  /** Hex. */
  readonly sha256: string;
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
}

type Header = (name: string) => string | undefined;

const MAX_TAGS = 50;
const HASH_TAG = /^"([0-9a-f]{64})"$/;

export function etagOf(sha256: string): string {
  return `"${sha256}"`;
}

/**
 * Whether a GET is to be answered with the content, 304 or 412 (RFC 9110 section 13.2.2, in its order).
 */
export function judge(header: Header, { sha256, modifiedAt }: Validators): "content" | "unchanged" | "failed" {
  const ifMatch = header("if-match");
  if (ifMatch !== undefined && !matches(ifMatch, sha256, "strong")) return "failed";
  const since = ifMatch === undefined ? dateOf(header("if-unmodified-since")) : undefined;
  if (since !== undefined && wholeSeconds(modifiedAt) > since) return "failed";
  const ifNoneMatch = header("if-none-match");
  if (ifNoneMatch !== undefined) return matches(ifNoneMatch, sha256, "weak") ? "unchanged" : "content";
  const modifiedSince = dateOf(header("if-modified-since"));
  return modifiedSince !== undefined && wholeSeconds(modifiedAt) <= modifiedSince ? "unchanged" : "content";
}

/** What must be there for a PUT or DELETE, from If-Match and If-None-Match. */
export function expectation(header: Header): Expected {
  const ifMatch = header("if-match");
  const ifNoneMatch = header("if-none-match");
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() !== "*" || ifMatch !== undefined) {
      throw new Problem("ERR_REQUEST", "to change a file, say If-None-Match: * or If-Match with its ETag");
    }
    return "absent";
  }
  if (ifMatch === undefined) return "anything";
  if (ifMatch.trim() === "*") return "present";
  return tagsOf(ifMatch).flatMap((tag) => HASH_TAG.exec(tag)?.[1] ?? []);
}

export interface Range {
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
}

/**
 * The part that is asked for. `whole` where none is, or one that we need not heed: several at once, another unit, a
 * malformed one, or one of another version (If-Range). `outside` where there is no such part.
 */
export function rangeOf(header: Header, size: number, { sha256, modifiedAt }: Validators): Range | "whole" | "outside" {
  const range = header("range");
  const ifRange = header("if-range")?.trim();
  if (range === undefined) return "whole";
  if (ifRange !== undefined) {
    const same = ifRange.startsWith('"') ? ifRange === etagOf(sha256) : dateOf(ifRange) === wholeSeconds(modifiedAt);
    if (!same) return "whole";
  }
  const [, first = "", last = ""] = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/.exec(range) ?? [];
  if (first === "" && last === "") return "whole";
  if (first === "") {
    const length = Math.min(Number(last), size);
    if (Number(last) === 0) return "outside";
    return size === 0 ? "whole" : { start: size - length, end: size - 1 };
  }
  if (last !== "" && Number(last) < Number(first)) return "whole";
  if (Number(first) >= size) return "outside";
  return { start: Number(first), end: last === "" ? size - 1 : Math.min(Number(last), size - 1) };
}

const HARMLESS =
  /^(?:image\/(?!svg)|audio\/|video\/|font\/|text\/(?:plain|csv|calendar)|application\/(?:pdf|zip|gzip|epub\+zip|rtf|json)$)/;
const AS_TEXT = /\.(?:md|log|ini|conf|cfg|toml|ya?ml|json|csv)$/i;
const SHOWN = /^(?:image\/|audio\/|video\/|text\/plain)/;

/** What a file is called to a browser: never something that could run in our origin. */
export function typeOf(path: string, inline: boolean): { type: string; shown: boolean } {
  const guessed = inline && AS_TEXT.test(path) ? "text/plain; charset=utf-8" : (getMimeType(path) ?? "");
  const type = HARMLESS.test(guessed) ? guessed : "application/octet-stream";
  return { type, shown: inline && SHOWN.test(type) };
}

/** RFC 6266: a plain name for those who cannot do better, and the true one (RFC 8187). */
export function disposition(path: string, shown: boolean): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, "_");
  const encoded = encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return `${shown ? "inline" : "attachment"}; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

/** The SHA-256 that a client says its content has, hex (RFC 9530). */
export function digestOf(header: Header): string | null {
  const value = header("content-digest") ?? header("repr-digest");
  const [, base64] = /(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):/.exec(value ?? "") ?? [];
  return base64 === undefined ? null : Buffer.from(base64, "base64").toString("hex");
}

export function digestHeader(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
}

function matches(list: string, sha256: string, comparison: "strong" | "weak"): boolean {
  if (list.trim() === "*") return true;
  return tagsOf(list).some((tag) => (comparison === "weak" ? tag.replace(/^W\//, "") : tag) === etagOf(sha256));
}

function tagsOf(list: string): string[] {
  return list.split(",", MAX_TAGS).map((tag) => tag.trim());
}

function dateOf(date: string | undefined): number | undefined {
  const at = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(at) ? undefined : at;
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
