/** Folders that no client may change for now, or that are deleted. The log of events is how a server hears of a command beside it, and answers. */
import { randomUUID } from "node:crypto";
import type { Subscription } from "rxjs";
import { SyncError } from "../../sync/index.js";
import type { Database, LoggedEvent } from "../database/types.js";
import { deletedError } from "./deletion.js";

const HELD = "folder.held";
const QUIET = "folder.quiet";
const RESUMED = "folder.resumed";
const DELETED = "folder.deleted";
/** A server hears of a hold within a quarter of a second, and ends its session. */
const QUIET_MS = 1500;

export class Hold {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** No client can change the folder from now on. Resolves when none does any more. */
  async begin(name: string): Promise<void> {
    await this.#database.folders.hold(name, Date.now());
    await this.#untilQuiet(HELD, name, {});
  }

  /** Marks the folder as deleted. Resolves when no client changes it any more; false where there is no such folder. */
  async delete(name: string, deletedAt: number, purgeAt: number): Promise<boolean> {
    if (!(await this.#database.folders.delete(name, deletedAt, purgeAt))) return false;
    await this.#untilQuiet(DELETED, name, { deletedAt, purgeAt });
    return true;
  }

  async end(name: string): Promise<void> {
    await this.#database.folders.hold(name, null);
    await this.#database.events.append([{ type: RESUMED, folder: name, data: {} }]);
  }

  /**
   * In a server: `end` ends the session of a folder, and resolves when nothing of it is being written any more; `settled`
   * when that is in the database.
   */
  guard(
    end: (name: string, reason: SyncError) => Promise<void>,
    settled: () => Promise<void>,
    onError: (error: unknown) => void,
  ): Subscription {
    // The answer names the question by its id.
    const quieten = async ({ folder, data }: LoggedEvent): Promise<void> => {
      if (folder === null) return;
      const { deletedAt, purgeAt } = (data ?? {}) as { readonly deletedAt?: number; readonly purgeAt?: number };
      const isDeleted = deletedAt !== undefined && purgeAt !== undefined;
      await end(folder, isDeleted ? deletedError({ name: folder, deletedAt, purgeAt }) : held(folder, Date.now()));
      await settled();
      await this.#database.events.append([{ type: QUIET, folder, data }]);
    };
    return this.#database.events.live$.subscribe((event) => {
      if (event.type === HELD || event.type === DELETED) quieten(event).catch(onError);
    });
  }

  async #untilQuiet(type: string, name: string, data: Readonly<Record<string, number>>): Promise<void> {
    const id = randomUUID();
    const quiet = this.#quiet(id);
    await this.#database.events.append([{ type, folder: name, data: { ...data, id } }]);
    await quiet;
  }

  #quiet(id: string): Promise<void> {
    return new Promise((resolve) => {
      const over = (): void => {
        clearTimeout(timer);
        subscription.unsubscribe();
        resolve();
      };
      // Without a server there is nobody who answers, and nobody who writes.
      const timer = setTimeout(over, QUIET_MS);
      const subscription = this.#database.events.live$.subscribe(({ type, data }) => {
        if (type === QUIET && (data as { id?: unknown } | null)?.id === id) over();
      });
    });
  }
}

/** What a client is told. */
export function held(name: string, since: number): SyncError {
  const when = new Date(since).toISOString();
  return new SyncError(
    "ERR_FOLDER_HELD",
    `the mirror "${name}" was restored at the server (${when}) and is on hold until somebody says \`confundo resume ${name}\` there`,
  );
}
