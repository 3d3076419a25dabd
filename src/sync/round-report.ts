/** What a round reports of entries and steps. Pure. */
import type { Entry } from "./entry.js";
import type { Step } from "./events.js";
import type { Operation } from "./plan.js";

export function count(entries: Iterable<Entry>) {
  const found = { files: 0, directories: 0, links: 0, bytes: 0 };
  for (const entry of entries) {
    if (entry.kind === "directory") found.directories++;
    else if (entry.kind === "symlink") found.links++;
    else {
      found.files++;
      found.bytes += entry.size;
    }
  }
  return found;
}

export function sizeOf({ entry }: Operation): number {
  return entry.kind === "file" ? entry.size : 0;
}

/** What serves other steps goes without saying, and so do the times of folders. */
export function isShown({ do: what, entry }: Operation): boolean {
  return what !== "hold" && !(what === "touch" && entry.kind === "directory");
}

export function toStep(operation: Operation): Step {
  const { do: what, entry } = operation;
  const from = operation.do === "move" || operation.do === "rename" ? { from: operation.from } : {};
  return { do: what, kind: entry.kind, path: entry.path, ...from };
}
