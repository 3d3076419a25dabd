import { type Entry, type FileEntry, withHash } from "./entry.js";
import type { Ignore } from "./ignore.js";
import type { IndexFile } from "./index-file.js";
import { type Snapshot, scanFolder } from "./scan.js";

/**
 * What is in a folder, with the hashes of those files that the mirror has confirmed in the very version that is here: what the
 * mirror should hold where nothing has changed on either side. `undefined` where nothing was ever confirmed. Rejects as
 * {@link scanFolder} does.
 */
export async function expectedEntries(folder: string, ignore: Ignore, index: IndexFile): Promise<Snapshot | undefined> {
  const recorded = await index.open();
  if (recorded.isEmpty) return undefined;
  const keep = (found: Entry): Entry => {
    const sha256 = found.kind === "file" ? recorded.hashOf(found) : undefined;
    return sha256 === undefined ? found : withHash(found as FileEntry, sha256);
  };
  return scanFolder(folder, { ignore, keep });
}
