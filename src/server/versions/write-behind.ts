/** What sessions have done, on its way into the database, in batches: file changes, versions, events and transfers. */
import type { ReceiveEvent } from "../../sync/index.js";
import { DatabaseError } from "../database/errors.js";
import type { Database, FileChange, LoggedEvent, Transfer } from "../database/types.js";
import type { ContentStore, Retired } from "./content.js";
import { Queue } from "./queue.js";
import type { Quota, Usage } from "./quota.js";
import { type Actor, toChange, toEvent } from "./record.js";

/** Something to be written to the database. */
export type Item =
  | { readonly retired: Retired; readonly count: Counted }
  | { readonly change: FileChange; readonly count: Counted }
  | { readonly event: Omit<LoggedEvent, "id" | "at"> }
  | { readonly transfer: Omit<Transfer, "id"> }
  | { readonly agreed: { readonly folder: string; readonly root: string; readonly at: number } }
  | { readonly clean: string }
  | { readonly done: () => void };

/** A change that the folder's quota has counted, where the folder is being changed. */
export type Counted = { readonly quota: Quota; readonly usage: Usage } | undefined;

export interface WriteBehindOptions {
  readonly database: Database;
  readonly content: ContentStore;
  /** See `QueueOptions.catchUp`. */
  readonly catchUp: () => Promise<void>;
  /** Whether sessions are changing the folder. */
  readonly isOpen: (folder: string) => boolean;
  /** Has the quota of a folder read what the database says. */
  readonly updateQuota: (folder: string) => Promise<void>;
  readonly onError: (error: unknown) => void;
}

export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #queue: Queue<Item>;

  constructor(options: WriteBehindOptions) {
    this.#options = options;
    this.#queue = new Queue({
      write: (batch) => this.#write(batch),
      isPassing: (error) => error instanceof DatabaseError && error.retryable,
      onLost: (items, error) => this.#lose(items, error),
      catchUp: options.catchUp,
    });
  }

  /** Whether something was lost that is not caught up with yet. */
  get incomplete(): boolean {
    return this.#queue.incomplete;
  }

  add(item: Item): void {
    this.#queue.add(item, "done" in item);
  }

  /** Resolves when everything added so far is in the database. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.add({ done: resolve }));
  }

  /** Nothing waits any longer for more, or for a database that is unavailable. */
  hasten(): void {
    this.#queue.hasten();
  }

  /** Writes what is left, if the database takes it. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  record(
    event: ReceiveEvent,
    folder: string,
    who: Actor,
    { at, startedAt, count }: { readonly at: number; readonly startedAt: number; readonly count: Counted },
  ): void {
    const change = toChange(event, folder, at);
    if (change !== undefined) this.add({ change, count });
    const logged = toEvent(event, folder, who);
    if (event.type === "agreed") this.add({ agreed: { folder, root: event.root, at } });
    if (logged !== undefined) this.add({ event: logged });
    if (event.type === "failed" || (event.type === "stored" && event.entry.kind === "file")) {
      const bytes = event.type === "stored" ? event.bytes : 0;
      const outcome = event.type === "stored" ? "stored" : "failed";
      const code = event.type === "failed" ? event.code : null;
      const { path } = event;
      const device = "device" in who ? who.device : null;
      this.add({ transfer: { folder, device, path, bytes, startedAt, endedAt: Date.now(), outcome, code } });
    }
  }

  /** It is still in the folders, which stay unclean and are looked through, and in the journal of versions. */
  #lose(items: readonly Item[], error?: unknown): void {
    if (error !== undefined) this.#options.onError(error);
    for (const item of items) {
      if ("done" in item) item.done();
      if ("count" in item) item.count?.quota.written(item.count.usage);
    }
  }

  async #write(batch: readonly Item[]): Promise<void> {
    const { files, events, folders, transfers } = this.#options.database;
    const changes: FileChange[] = [];
    const kept: { retired: Retired; sha256: string | null }[] = [];
    for (const item of batch) {
      if ("change" in item) changes.push(item.change);
      if (!("retired" in item)) continue;
      const sha256 = await this.#keep(item.retired);
      kept.push({ retired: item.retired, sha256 });
      const { folder, path, kind, size, mode, mtimeNs, target, why, at } = item.retired;
      changes.push({ do: "retire", at, folder, path, kind, size, mode, mtimeNs: BigInt(mtimeNs), sha256, target, why });
    }
    // Asked for together, they are one transaction.
    await Promise.all([
      files.apply(changes, Date.now()),
      transfers.add(batch.flatMap((item) => ("transfer" in item ? [item.transfer] : []))),
      events.append(batch.flatMap((item) => ("event" in item ? [item.event] : []))),
      ...batch.map((item) => "agreed" in item && folders.settled(item.agreed.folder, item.agreed.root, item.agreed.at)),
    ]);
    await this.#updateQuotas(batch);
    for (const { retired, sha256 } of kept) {
      // It may have been pruned away in the moment before the database knew of it.
      if (sha256 !== null) this.#options.content.keep(retired, sha256);
      this.#options.content.settle(retired);
    }
    for (const item of batch) {
      if ("done" in item) item.done();
      if ("clean" in item && !this.#options.isOpen(item.clean)) await files.markClean(item.clean);
    }
  }

  /** What was pending in the quotas is in the database now. */
  async #updateQuotas(batch: readonly Item[]): Promise<void> {
    const limited = new Set<string>();
    for (const item of batch) {
      if (!("count" in item) || item.count === undefined) continue;
      const { quota, usage } = item.count;
      quota.written(usage);
      if (quota.limited) limited.add(quota.name);
    }
    for (const name of limited) await this.#options.updateQuota(name);
  }

  /** Gives content its place; its hash is what the database knows of that very file, or else is made. */
  async #keep(retired: Retired): Promise<string | null> {
    if (retired.kind === "link") return null;
    const { folder, path, size, mtimeNs } = retired;
    const known = await this.#options.database.files.byPath(folder, path);
    const same = known?.size === size && known.mtimeNs / 1000n === BigInt(mtimeNs) / 1000n;
    const sha256 = same && known.sha256 !== null ? known.sha256 : await this.#options.content.hash(retired);
    this.#options.content.keep(retired, sha256);
    return sha256;
  }
}
