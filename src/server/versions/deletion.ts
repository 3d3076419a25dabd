/** Deletes folders: first they are only marked, and can be restored; later, all that is kept of them is removed. */
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../../files/make-folder.js";
import { SyncError } from "../../sync/index.js";
import type { Database, Folder } from "../database/types.js";
import { MAX_FOLDER_GRACE_MS } from "../limits.js";
import { mirrorNameProblem } from "../name.js";
import { VersionError } from "./errors.js";
import type { Hold } from "./hold.js";

/** Under `.confundo/`, each with a folder or file for every mirror. */
const KEPT_BY_NAME = ["staging", "restoring", "hashes", "chunk-index", "chunks", "owners"];
const PURGED = "folder.purged";
const UNDELETED = "folder.undeleted";

export interface FolderDeletionOptions {
  /** The home's directory. */
  readonly dir: string;
  readonly database: Database;
  readonly hold: Hold;
  /** Removes the versions of a folder, with the content that no other needs. */
  readonly removeVersions: (name: string) => Promise<void>;
  /** Called when nothing is left of a folder. */
  readonly onPurged: (name: string) => void;
}

export class FolderDeletion {
  readonly #options: FolderDeletionOptions;

  constructor(options: FolderDeletionOptions) {
    this.#options = options;
  }

  /**
   * Deletes a folder: its sessions end, nobody sees it, and after `graceMs` its content and its versions are removed; with
   * 0, before this resolves. Rejects with `ERR_NO_FOLDER`, or `ERR_INVALID` for a time longer than a year.
   */
  async delete(name: string, graceMs: number): Promise<Folder> {
    const { database, hold } = this.#options;
    if (!(graceMs >= 0 && graceMs <= MAX_FOLDER_GRACE_MS)) {
      throw new VersionError("ERR_INVALID", "A deleted folder can be restored for at most a year.");
    }
    const folder = await database.folders.byName(name);
    const deletedAt = Date.now();
    const purgeAt = deletedAt + graceMs;
    if (folder === undefined || !(await hold.delete(name, deletedAt, purgeAt))) throw noFolder(name);
    if (graceMs === 0) await this.#purge(name);
    return { ...folder, deletedAt, purgeAt };
  }

  /** Brings a deleted folder back as it was. Rejects with `ERR_NO_FOLDER` where there is none, or it is purged. */
  async undelete(name: string): Promise<Folder> {
    const { database } = this.#options;
    if (!(await database.folders.undelete(name)))
      throw new VersionError("ERR_NO_FOLDER", `no deleted mirror "${name}" is kept here`);
    await database.events.append([{ type: UNDELETED, folder: name, data: {} }]);
    const folder = await database.folders.byName(name);
    if (folder === undefined) throw noFolder(name);
    return folder;
  }

  /** Removes what is left of the folders whose time is over, by the time that the home has seen. */
  async purge(elapsed: number, isOver: () => boolean): Promise<void> {
    for (const name of await this.#options.database.folders.overdue(elapsed)) {
      if (isOver()) return;
      await this.#purge(name);
    }
  }

  /** Throws what a client is told where the folder is deleted. */
  async refuse(name: string): Promise<void> {
    const deleted = (await this.#options.database.folders.deleted()).find((folder) => folder.name === name);
    if (deleted !== undefined) throw deletedError(deleted);
  }

  /** The disk first: interrupted, it is done again, as the database still knows the folder. */
  async #purge(name: string): Promise<void> {
    const { dir, database, onPurged, removeVersions } = this.#options;
    if (mirrorNameProblem(name) !== undefined) return;
    const own = join(dir, ".confundo");
    // By one rename the name is free, however long it takes to remove what was there.
    const trash = join(own, "trash", randomUUID());
    makeFolder(trash, 0o700);
    try {
      fs.renameSync(join(dir, name), join(trash, "content"));
    } catch (error) {
      // A folder that is on another disk is removed where it is.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        await rm(join(dir, name), { recursive: true, force: true });
    }
    for (const kept of KEPT_BY_NAME) await rm(join(own, kept, name), { recursive: true, force: true });
    await rm(join(own, "trash"), { recursive: true, force: true });
    await removeVersions(name);
    await database.folders.purge(name, Date.now());
    await database.events.append([{ type: PURGED, folder: name, data: {} }]);
    onPurged(name);
  }
}

/** What a client of a deleted folder is told. */
export function deletedError({ name, deletedAt, purgeAt }: Pick<Folder, "name" | "deletedAt" | "purgeAt">): SyncError {
  const since = new Date(deletedAt ?? 0).toISOString();
  const until = new Date(purgeAt ?? 0).toISOString();
  return new SyncError(
    "ERR_FOLDER_DELETED",
    `the mirror "${name}" was deleted at the server (${since}); until ${until} \`confundo folder undelete ${name}\` there restores it`,
  );
}

function noFolder(name: string): VersionError {
  return new VersionError("ERR_NO_FOLDER", `there is no mirror "${name}" here`);
}
