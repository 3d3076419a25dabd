/** What a client is told of a mirror that is not the one it expects: all that is in it, or folder by folder. */
import type { Channel } from "./channel.js";
import type { Entry } from "./entry.js";
import { SyncError } from "./errors.js";
import type { Look } from "./examiner.js";
import { LEAST_ENTRIES_BY_FOLDER, LISTED_HASH_BYTES, MAX_LISTING_BYTES } from "./limits.js";
import { parentOf } from "./path.js";
import { Turns } from "./turns.js";
import { entryBytes } from "./wire.js";

export class Listing {
  readonly #channel: Channel;
  readonly #look: Look;
  /** By folder what is in it. */
  #children: ReadonlyMap<string, readonly Entry[]> | undefined;

  constructor(channel: Channel, look: Look) {
    this.#channel = channel;
    this.#look = look;
  }

  /** Begins with what is in the mirror's folder itself, where the client goes on by asking and there is enough for that. */
  async begin(byFolder: boolean): Promise<void> {
    const { entries } = this.#look;
    if (byFolder && entries.size >= LEAST_ENTRIES_BY_FOLDER) return this.tell([""]);
    await this.#send(entries.values());
    this.#channel.send({ type: "listed", count: entries.size });
  }

  /** What is in those folders, with the hashes of the folders among it. */
  async tell(folders: readonly string[]): Promise<void> {
    this.#children ??= await childrenOf(this.#look.entries);
    const found: Entry[] = [];
    for (const folder of folders) {
      const inside = this.#children.get(folder);
      if (inside === undefined && folder !== "") throw new SyncError("ERR_PROTOCOL", "the client asks for no folder");
      for (const entry of inside ?? []) found.push(entry);
    }
    await this.#send(found);
    const below = found.filter(({ kind }) => kind === "directory");
    const hashed = below.map(({ path }) => ({ path, hash: this.#hashOf(path) }));
    // At least one, which tells that more can be asked for.
    do this.#channel.send({ type: "folders", folders: hashed.splice(0, FOLDERS_AT_ONCE) });
    while (hashed.length > 0);
    this.#channel.send({ type: "listed", count: found.length });
  }

  #hashOf(folder: string): Uint8Array {
    return this.#look.roots.hashOf(folder)?.subarray(0, LISTED_HASH_BYTES) ?? Buffer.alloc(LISTED_HASH_BYTES);
  }

  async #send(entries: Iterable<Entry>): Promise<void> {
    let batch: Entry[] = [];
    let bytes = 0;
    for (const entry of entries) {
      batch.push(entry);
      bytes += entryBytes(entry);
      if (bytes < MAX_LISTING_BYTES) continue;
      this.#channel.send({ type: "entries", entries: batch });
      await this.#channel.drained();
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) this.#channel.send({ type: "entries", entries: batch });
  }
}

/** Folders in one FOLDERS message, so that it is not too long whatever their names are. */
const FOLDERS_AT_ONCE = 60;

async function childrenOf(entries: ReadonlyMap<string, Entry>): Promise<Map<string, Entry[]>> {
  const children = new Map<string, Entry[]>();
  const inside = (folder: string): Entry[] => {
    const list = children.get(folder) ?? [];
    if (list.length === 0) children.set(folder, list);
    return list;
  };
  const turns = new Turns();
  for (const entry of entries.values()) {
    if (turns.isOver()) await turns.next();
    inside(parentOf(entry.path)).push(entry);
    if (entry.kind === "directory") inside(entry.path);
  }
  return children;
}
