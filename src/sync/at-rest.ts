/** Tells whether a scan has seen a folder as it is, or one that changed meanwhile. */
import type { Entry } from "./entry.js";
import { parentOf } from "./path.js";
import { modificationTime } from "./scan.js";

/** Whether no folder that holds one of these paths, or held it, has changed since it was scanned. */
export function isAtRest(
  folder: string,
  paths: Iterable<string>,
  local: ReadonlyMap<string, Entry>,
  rootTime: bigint | undefined,
): boolean {
  const above = new Set<string>();
  for (const path of paths) {
    // All of them: a folder that gets another name keeps its own time.
    for (let parent = parentOf(path); !above.has(parent); parent = parentOf(parent)) {
      if (parent === "" || local.get(parent)?.kind === "directory") above.add(parent);
      if (parent === "") break;
    }
  }
  return [...above].every((path) => {
    const then = path === "" ? rootTime : local.get(path)?.mtimeNs;
    return then === modificationTime(path === "" ? folder : `${folder}/${path}`);
  });
}
