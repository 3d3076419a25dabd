import type { Entry } from "./entry.js";
import type { Ignore } from "./ignore.js";
import type { IndexFile } from "./index-file.js";
import { scanFolder } from "./scan.js";

/**
 * What a mirror should hold when nothing has changed on either side: what is in the folder, if the mirror has confirmed
 * every file in the very version that is here. `undefined` if it has not, or if something cannot be read.
 */
export async function expectedEntries(
  folder: string,
  ignore: Ignore,
  index: IndexFile,
): Promise<Map<string, Entry> | undefined> {
  if (index.isEmpty) return undefined;
  const { entries, problems } = await scanFolder(folder, { ignore });
  if (problems.some(({ unreadable }) => unreadable)) return undefined;
  const files = [...entries.values()].filter((entry) => entry.kind === "file");
  const hashes = await index.hashes(files);
  if (hashes.size !== files.length) return undefined;
  for (const entry of files) entries.set(entry.path, { ...entry, sha256: hashes.get(entry.path) as string });
  return entries;
}
