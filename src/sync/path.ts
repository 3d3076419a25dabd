/**
 * Paths inside a mirrored folder: relative, `/` between the parts on every platform, no part empty, `.` or `..`.
 * Pure; the caller says for which platform.
 */
import { MAX_PATH_BYTES, MAX_SEGMENT_BYTES } from "./limits.js";
import { hasEscapes, isBroken, nameToBytes } from "./names.js";

const WINDOWS_RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?$/i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused here
const WINDOWS_FORBIDDEN = /[\u0000-\u001f<>:"|?*\\]/;

/**
 * Why `path` may not be used inside a mirrored folder, in plain words; `undefined` when it may.
 * A path that passes names something strictly below the folder, whatever stands there.
 */
export function unsafePath(path: string, platform: NodeJS.Platform = process.platform): string | undefined {
  if (path === "") return "the path is empty";
  if (isBroken(path)) return "the path is not valid Unicode";
  if (platform !== "linux" && hasEscapes(path)) return "the path is not valid UTF-8, which this system needs";
  if (path.includes("\0")) return "the path contains a NUL character";
  if (path.length * 3 > MAX_PATH_BYTES && nameToBytes(path).length > MAX_PATH_BYTES)
    return `the path is longer than ${MAX_PATH_BYTES} bytes`;
  for (const segment of path.split("/")) {
    const reason = unsafeSegment(segment, platform);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function unsafeSegment(segment: string, platform: NodeJS.Platform): string | undefined {
  if (segment === "") return "the path has an empty part (absolute, or two slashes in a row)";
  if (segment === "." || segment === "..") return `the path has a part that is "${segment}"`;
  if (segment.length * 3 > MAX_SEGMENT_BYTES && nameToBytes(segment).length > MAX_SEGMENT_BYTES) {
    return `a part of the path is longer than ${MAX_SEGMENT_BYTES} bytes`;
  }
  if (platform !== "win32") return undefined;
  if (WINDOWS_FORBIDDEN.test(segment)) return "a part of the path has a character that Windows does not allow";
  if (WINDOWS_RESERVED.test(segment)) return "a part of the path is a name that Windows reserves";
  if (/[. ]$/.test(segment)) return "a part of the path ends with a dot or a space, which Windows does not keep";
  return undefined;
}

/** The folder that holds `path`; `""` is the mirrored folder itself. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

/** The folders above `path`, outermost first, without the mirrored folder itself: `a/b/c` gives `a`, `a/b`. */
export function ancestorsOf(path: string): string[] {
  const ancestors: string[] = [];
  for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) {
    ancestors.push(path.slice(0, slash));
  }
  return ancestors;
}

/** Whether `path` is `root` or below it; everything is below `""`. */
export function isWithin(path: string, root: string): boolean {
  if (root === "" || path === root) return true;
  return path.length > root.length && path.charCodeAt(root.length) === 47 && path.startsWith(root);
}
