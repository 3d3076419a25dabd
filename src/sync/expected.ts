import { type Entry, withHash } from "./entry.js";
import type { Ignore } from "./ignore.js";
import type { IndexFile } from "./index-file.js";
import { type Snapshot, scanFolder } from "./scan.js";

/** What is in a folder, with the hashes of the files that the mirror has confirmed in the very version that is here. */
export interface Expectation extends Snapshot {
  /** Whether it has confirmed all there is: then the mirror should hold the same. */
  readonly confirmed: boolean;
}

/** `undefined` where nothing was ever confirmed. Rejects as {@link scanFolder} does. */
export async function expectedEntries(
  folder: string,
  ignore: Ignore,
  index: IndexFile,
): Promise<Expectation | undefined> {
  const recorded = await index.open();
  if (recorded.isEmpty) return undefined;
  let unconfirmed = 0;
  const keep = (found: Entry): Entry => {
    if (found.kind !== "file") return found;
    const sha256 = recorded.hashOf(found);
    if (sha256 !== undefined) return withHash(found, sha256);
    unconfirmed++;
    return found;
  };
  const snapshot = await scanFolder(folder, { ignore, keep });
  const confirmed = unconfirmed === 0 && !snapshot.problems.some(({ unreadable }) => unreadable);
  return { ...snapshot, confirmed };
}
