/**
 * Deletes that clients hold back until somebody approves them, as files beside the mirrors: commands beside the data read
 * them, and answer through the log of events.
 */
import fs from "node:fs";
import type { Subscription } from "rxjs";
import { makeFolder } from "../files/make-folder.js";
import type { HeldDeletes } from "../sync/index.js";
import type { Database } from "./database/types.js";
import { VersionError } from "./versions/errors.js";

const ANSWERED = "deletes.answered";

/** A person's answer to deletes that are held back. */
export interface DeletesAnswer {
  readonly folder: string;
  /** {@link HeldDeletes.id} */
  readonly id: string;
  readonly approved: boolean;
  /** For the log of events, such as `user:NAME`. */
  readonly by: string;
}

export class HeldDeletesFiles {
  readonly #dir: string;

  /** `dir` is the home's. The folder for the files is made when something is written. */
  constructor(dir: string) {
    this.#dir = `${dir}/.confundo/held-deletes`;
  }

  of(folder: string): HeldDeletes | undefined {
    try {
      return JSON.parse(fs.readFileSync(`${this.#dir}/${folder}`, "utf8")) as HeldDeletes;
    } catch {
      return undefined;
    }
  }

  /** Throws what the system does when it cannot be written. */
  set(folder: string, held: HeldDeletes | null): void {
    if (held === null) {
      fs.rmSync(`${this.#dir}/${folder}`, { force: true });
      return;
    }
    makeFolder(this.#dir, 0o700);
    const beside = `${this.#dir}/.${process.pid}.new`;
    fs.writeFileSync(beside, JSON.stringify(held), { mode: 0o600 });
    fs.renameSync(beside, `${this.#dir}/${folder}`);
  }

  /** What an earlier run of the server has left: its clients say again what they hold back. */
  clear(): void {
    fs.rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Rejects with `ERR_NOTHING_HELD`, or `ERR_PRECONDITION` where other deletes are held back than those that were shown. */
export function requireHeld(folder: string, held: HeldDeletes | undefined, id: string | undefined): HeldDeletes {
  if (held === undefined) {
    throw new VersionError("ERR_NOTHING_HELD", `no client that is connected now holds deletes of "${folder}" back`);
  }
  if (id !== undefined && id !== held.id) {
    const now = `now ${held.files} deletes are held back, under the id ${held.id}`;
    throw new VersionError(
      "ERR_PRECONDITION",
      `the deletes of "${folder}" with the id ${id} are not held back any more: ${now}`,
    );
  }
  return held;
}

/** Lets the server that runs, in whatever process, tell its client. */
export async function answerDeletes(database: Database, { folder, ...data }: DeletesAnswer): Promise<void> {
  await database.events.append([{ type: ANSWERED, folder, data }]);
}

/** In a server: `tell` is called with what people answer, here and in other processes. */
export function watchAnswers(
  database: Database,
  tell: (folder: string, id: string, approved: boolean) => void,
): Subscription {
  return database.events.live$.subscribe(({ type, folder, data }) => {
    const { id, approved } = (data ?? {}) as { readonly id?: unknown; readonly approved?: unknown };
    if (type === ANSWERED && folder !== null && typeof id === "string") tell(folder, id, approved === true);
  });
}
