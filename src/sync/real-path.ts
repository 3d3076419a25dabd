/** Paths without links, of folders whose names may be any bytes: see {@link systemPath}. */
import fs from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { nameFromBytes, systemPath } from "./names.js";

/** The path of what stands at `path`, without links. Throws what the system says. */
export function realPath(path: string): string {
  // Elsewhere names are Unicode, and the system's own answer may differ in spelling.
  if (process.platform !== "linux") return fs.realpathSync(path);
  return nameFromBytes(fs.realpathSync.native(systemPath(path === "" ? "." : path), { encoding: "buffer" }));
}

/** The absolute path, links in it as they are. Node cannot name a working directory whose path is not UTF-8. */
export function absolutePath(path: string): string {
  return isAbsolute(path) || process.platform !== "linux" ? resolve(path) : join(realPath("."), path);
}
