/**
 * Keeps the books of a home: what its sessions store, replace and delete is written to the database, in batches, and what
 * goes is kept as a version. The folders are the truth: a client's change is acknowledged when it is on the disk, not
 * when the database has it; a folder is marked unclean while it may be behind, and is looked through after a crash.
 */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Subscription } from "rxjs";
import { type Archive, type ReceiveEvent, Storage, SyncError } from "../../sync/index.js";
import { DatabaseError } from "../database/errors.js";
import type { Database, FileChange, Folder, LoggedEvent, Transfer } from "../database/types.js";
import { mirrorNameProblem } from "../name.js";
import { ContentStore, type Retired } from "./content.js";
import { VersionError } from "./errors.js";
import { Hold, held } from "./hold.js";
import { type Keep, pruneVersions } from "./prune.js";
import { Queue } from "./queue.js";
import { Quota } from "./quota.js";
import { type Actor, toChange, toEvent } from "./record.js";
import { type Reindexed, reindex } from "./reindex.js";
import {
  carryOut,
  findContent,
  planRestore,
  type Restored,
  type RestoreRequest,
  refuseExisting,
  relocated,
  type Wanted,
} from "./restore.js";

export interface KeeperOptions {
  /** The home's directory: mirrors are in `dir/NAME`, ours is `dir/.confundo`. */
  readonly dir: string;
  readonly database: Database;
  /** How long or how many. Default 30 days. */
  readonly keep?: Keep;
  /** Of folders without a quota of their own. Default: none. */
  readonly quotaBytes?: number | null;
  /** Trouble that nobody waits for. Default: a process warning. */
  readonly onError?: (error: Error) => void;
  /** How often folders are looked through for what was changed by hand. Milliseconds, default 10 minutes; 0: never. */
  readonly lookMs?: number;
}

/** What a session of a home needs. */
export interface Keeping {
  readonly archive: Archive;
  /** See `Admission.admitBytes`. */
  readonly admitBytes: (path: string, bytes: number) => void;
  readonly onEvent: (event: ReceiveEvent) => void;
  /** When nothing of the session is being written any more. */
  readonly end: () => void;
}

/** Something to be written to the database. */
type Item =
  | { readonly retired: Retired }
  | { readonly change: FileChange }
  | { readonly event: Omit<LoggedEvent, "id" | "at"> }
  | { readonly transfer: Omit<Transfer, "id"> }
  | { readonly agreed: { readonly folder: string; readonly root: string; readonly at: number } }
  | { readonly clean: string }
  | { readonly done: () => void };

const PRUNE_MS = 60 * 60 * 1000;
const LOOK_MS = 10 * 60 * 1000;
/** So many of a path's last versions can come back to a client that remembers them. */
const HELD_VERSIONS = 100;
const DEFAULT_KEEP: Keep = { days: 30 };

export class Keeper {
  readonly database: Database;
  readonly content: ContentStore;
  readonly #options: KeeperOptions;
  readonly #hold: Hold;
  /** Folders that a client has a session with: one at a time. */
  readonly #clients = new Set<string>();
  /** Who changes a folder now: how many, by folder. */
  readonly #open = new Map<string, number>();
  /** See {@link reindex}. */
  readonly #known = new Map<string, Map<string, number>>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #queue: Queue<Item>;
  #closing = false;
  readonly #background = new Set<Promise<void>>();
  #guard: Subscription | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.database = options.database;
    this.#hold = new Hold(options.database);
    this.content = new ContentStore(`${options.dir}/.confundo/versions`);
    this.#queue = new Queue({
      write: (batch) => this.#write(batch),
      isPassing: (error) => error instanceof DatabaseError && error.retryable,
      onLost: (items, error) => this.#lose(items, error),
      catchUp: () => this.#catchUp(),
    });
  }

  /**
   * Finishes what an earlier run left, and looks through the folders that it was writing to. Then, in the background, old
   * versions are pruned and folders looked through now and then.
   */
  async start(): Promise<void> {
    await this.recover();
    const { lookMs = LOOK_MS } = this.#options;
    const every = (ms: number, work: () => Promise<unknown>): void => {
      this.#timers.push(setInterval(() => this.#inBackground(work), ms).unref());
    };
    every(PRUNE_MS, () => this.prune());
    if (lookMs > 0) every(lookMs, () => this.look());
    this.#inBackground(() => this.prune());
  }

  /** Before a client's session begins. Rejects with `ERR_FOLDER_HELD` or `ERR_DATABASE_UNAVAILABLE` for the client. */
  async open(name: string, device: string | null): Promise<Keeping> {
    const folder = await this.#ask(async ({ folders, files }) => {
      const found = await folders.ensure(name);
      if (found.heldAt === null) await files.markUnclean(name);
      return found;
    });
    if (folder.heldAt !== null) throw held(name, folder.heldAt);
    const keeping = this.#enter(folder, { device });
    this.#clients.add(name);
    const end = (): void => {
      this.#clients.delete(name);
      keeping.end();
    };
    return { ...keeping, end };
  }

  #enter(folder: Folder, who: Actor): Keeping {
    const { name } = folder;
    this.#open.set(name, (this.#open.get(name) ?? 0) + 1);
    const root = this.rootOf(name);
    const quota = new Quota(name, root, folder.bytes, folder.quotaBytes ?? this.#options.quotaBytes ?? null);
    /** A path was gone at the moment in which something else came. */
    const retiredAt = new Map<string, number>();
    const archive: Archive = {
      retire: (absolutePath, path, why) => {
        const at = Date.now();
        const retired = this.content.retire(absolutePath, { folder: name, path, why, at });
        this.#add({ retired });
        retiredAt.set(path, at);
        quota.retired(path, retired.size);
      },
      flush: () => this.content.flush(),
      find: (sha256) => this.content.find(sha256),
      held: (path, sha256) => this.#held(name, path, sha256),
    };
    return {
      archive,
      admitBytes: (path, bytes) => quota.admit(path, bytes),
      onEvent: (event) => {
        const path = "path" in event ? event.path : "";
        const at = retiredAt.get(path) ?? Date.now();
        retiredAt.delete(path);
        const startedAt = quota.tell(event);
        this.#record(event, name, who, at, startedAt ?? at);
      },
      end: () => {
        const left = (this.#open.get(name) ?? 1) - 1;
        if (left > 0) this.#open.set(name, left);
        else this.#open.delete(name);
        if (left === 0) this.#add({ clean: name });
      },
    };
  }

  /** Resolves when everything told so far is in the database. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.#add({ done: resolve }));
  }

  /** Makes the file tables equal to the folder; with `verify` every file is read. */
  async reindex(name: string, verify: boolean): Promise<Reindexed> {
    await this.settled();
    const result = await this.#reindex(name, verify);
    if (!this.#open.has(name)) await this.database.files.markClean(name);
    return result;
  }

  /** What was changed by hand in the folders that no client is writing to. */
  async look(): Promise<void> {
    for (const { name } of await this.database.folders.list()) {
      if (this.#closing) return;
      if (!this.#open.has(name) && existsSync(this.rootOf(name))) await this.reindex(name, false);
    }
  }

  /** Deletes versions that are not to be kept any longer, and content that none needs. */
  async prune(): Promise<void> {
    const isOver = (): boolean => this.#closing;
    await pruneVersions(this.database, this.content, this.#options.keep ?? DEFAULT_KEEP, Date.now(), isOver);
  }

  async recover(): Promise<void> {
    for (const retired of this.content.unfinished()) {
      const page = await this.database.versions.list(retired.folder, retired.path, { limit: 1000 });
      if (page.some(({ endedAt }) => endedAt === retired.at)) this.content.settle(retired);
      else this.#add({ retired });
    }
    await this.settled();
    // What could not be written down stays for the next start.
    if (!this.#queue.incomplete) this.content.forgetEarlierRuns();
    for (const name of await this.database.files.unclean()) await this.reindex(name, false);
  }

  /** While a server lives: sessions of a folder that is put on hold are ended by `end`. See {@link Hold}. */
  guard(end: (name: string, reason: SyncError) => Promise<void>): void {
    this.#guard = this.#hold.guard(
      end,
      () => this.settled(),
      (error) => this.#report(error),
    );
  }

  /** Clients may change the folder again. False where it was not on hold. */
  async resume(name: string): Promise<boolean> {
    const folder = await this.#existing(name);
    if (folder.heldAt !== null) await this.#hold.end(name);
    return folder.heldAt !== null;
  }

  /**
   * Brings back what was, in place or into a folder elsewhere. In place the folder is on hold from then on: a client makes
   * the mirror equal to its own folder, and would undo this at once. Rejects with a `VersionError`, having changed nothing.
   */
  async restore(request: RestoreRequest): Promise<Restored> {
    const { folder: name, path, to } = request;
    const folder = await this.#existing(name);
    const find = (wanted: Wanted) => findContent(this.database, this.content, this.dir, wanted);
    if (to !== undefined) {
      const plan = relocated(await planRestore(this.database, request), path);
      refuseExisting(plan, to);
      mkdirSync(to, { recursive: true });
      const storage = new Storage(to, join(to, `.confundo-restore-${process.pid}`));
      return carryOut(plan, { storage, onEvent: () => {} }, find);
    }
    await planRestore(this.database, request);
    await this.#hold.begin(name);
    try {
      await this.database.files.markUnclean(name);
      await this.#reindex(name, false);
      const keeping = this.#enter(folder, { by: request.actor ?? "local" });
      const { archive, onEvent } = keeping;
      const storage = new Storage(this.rootOf(name), `${this.dir}/.confundo/restoring/${name}`, { archive });
      try {
        const plan = await planRestore(this.database, request);
        const restored = await carryOut(plan, { storage, onEvent: (event) => onEvent({ ...event, name }) }, find);
        const { at = null, version = null } = request;
        this.#add({ event: { type: "folder.restored", folder: name, data: { path, at, version, ...restored } } });
        return restored;
      } finally {
        keeping.end();
        await this.settled();
      }
    } catch (error) {
      if (folder.heldAt === null && error instanceof VersionError) await this.resume(name);
      throw error;
    }
  }

  async #existing(name: string): Promise<Folder> {
    const folder = await this.database.folders.byName(name);
    if (folder === undefined) throw new VersionError("ERR_NO_FOLDER", `there is no mirror "${name}" here`);
    return folder;
  }

  /** A session of somebody else than a client, while no client has one. Rejects with `ERR_MIRROR_BUSY` where one has. */
  async changing<T>(name: string, by: string, work: (keeping: Keeping) => Promise<T>): Promise<T> {
    this.refuseWhereBusy(name);
    const folder = await this.database.folders.ensure(name);
    await this.database.files.markUnclean(name);
    const keeping = this.#enter(folder, { by });
    try {
      return await work(keeping);
    } finally {
      keeping.end();
    }
  }

  /** Throws `ERR_MIRROR_BUSY` where a client has a session. */
  refuseWhereBusy(name: string): void {
    if (!this.#clients.has(name)) return;
    const busy = "a client mirrors its own folder there now, and would undo what is changed beside it";
    throw new SyncError("ERR_MIRROR_BUSY", `the mirror "${name}" is in use: ${busy}`);
  }

  /** Where the content of a version is that is kept, and what it was. */
  async contentOf(
    name: string,
    path: string,
    version: number,
  ): Promise<{ place: string; version: Wanted } | undefined> {
    const plan = await planRestore(this.database, { folder: name, path, version }).catch(() => undefined);
    const [wanted] = plan?.wanted ?? [];
    if (wanted === undefined || wanted.kind !== "file") return undefined;
    const place = await findContent(this.database, this.content, this.dir, wanted).catch(() => undefined);
    return place === undefined ? undefined : { place, version: wanted };
  }

  /** Where the content of an old version of that very path is. What went a moment ago may not be written down yet. */
  async #held(folder: string, path: string, sha256: string): Promise<string | undefined> {
    for (const waits of [false, true]) {
      if (waits) await this.settled();
      const versions = await this.database.versions.list(folder, path, { limit: HELD_VERSIONS });
      if (versions.some((version) => version.sha256 === sha256)) return this.content.find(sha256);
    }
    return undefined;
  }

  /** The mirrors that are on the disk or in the database. */
  async names(): Promise<string[]> {
    const known = (await this.database.folders.list()).map(({ name }) => name);
    const there = readdirSync(this.dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...new Set([...known, ...there.map(({ name }) => name)])]
      .filter((name) => mirrorNameProblem(name) === undefined)
      .sort();
  }

  rootOf(name: string): string {
    return `${this.#options.dir}/${name}`;
  }

  get dir(): string {
    return this.#options.dir;
  }

  /** Writes what is left, if the database takes it. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#guard?.unsubscribe();
    this.#queue.hasten();
    await Promise.all(this.#background);
    await this.#queue.close();
    this.content.close();
  }

  #record(event: ReceiveEvent, folder: string, who: Actor, at: number, startedAt: number): void {
    const change = toChange(event, folder, at);
    if (change !== undefined) this.#add({ change });
    const logged = toEvent(event, folder, who);
    if (event.type === "agreed") this.#add({ agreed: { folder, root: event.root, at } });
    if (logged !== undefined) this.#add({ event: logged });
    if (event.type === "failed" || (event.type === "stored" && event.entry.kind === "file")) {
      const bytes = event.type === "stored" ? event.bytes : 0;
      const outcome = event.type === "stored" ? "stored" : "failed";
      const code = event.type === "failed" ? event.code : null;
      const { path } = event;
      const device = "device" in who ? who.device : null;
      this.#add({ transfer: { folder, device, path, bytes, startedAt, endedAt: Date.now(), outcome, code } });
    }
  }

  #add(item: Item): void {
    this.#queue.add(item, "done" in item);
  }

  /** It is still in the folders, which stay unclean and are looked through, and in the journal of versions. */
  #lose(items: readonly Item[], error?: unknown): void {
    if (error !== undefined) this.#report(error);
    for (const item of items) if ("done" in item) item.done();
  }

  async #write(batch: readonly Item[]): Promise<void> {
    const { files, events, folders, transfers } = this.database;
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
    for (const { retired, sha256 } of kept) {
      // It may have been pruned away in the moment before the database knew of it.
      if (sha256 !== null) this.content.keep(retired, sha256);
      this.content.settle(retired);
    }
    for (const item of batch) {
      if ("done" in item) item.done();
      if ("clean" in item && !this.#open.has(item.clean)) await files.markClean(item.clean);
    }
  }

  /** Gives content its place; its hash is what the database knows of that very file, or else is made. */
  async #keep(retired: Retired): Promise<string | null> {
    if (retired.kind === "link") return null;
    const { folder, path, size, mtimeNs } = retired;
    const known = await this.database.files.byPath(folder, path);
    const same = known?.size === size && known.mtimeNs / 1000n === BigInt(mtimeNs) / 1000n;
    const sha256 = same && known.sha256 !== null ? known.sha256 : await this.content.hash(retired);
    this.content.keep(retired, sha256);
    return sha256;
  }

  #reindex(folder: string, verify: boolean): Promise<Reindexed> {
    const known = this.#known.get(folder) ?? new Map<string, number>();
    this.#known.set(folder, known);
    return reindex({
      database: this.database,
      root: this.rootOf(folder),
      folder,
      verify,
      known,
      content: this.content,
    });
  }

  async #catchUp(): Promise<void> {
    for (const name of await this.database.files.unclean()) {
      await this.#reindex(name, false);
    }
  }

  async #ask<T>(question: (database: Database) => Promise<T>): Promise<T> {
    try {
      return await question(this.database);
    } catch (error) {
      if (error instanceof DatabaseError && error.retryable) {
        throw new SyncError("ERR_DATABASE_UNAVAILABLE", "the server's database cannot be used now", { cause: error });
      }
      throw error;
    }
  }

  #inBackground(work: () => Promise<unknown>): void {
    const done = work()
      .catch((error) => this.#report(error))
      .then(() => void this.#background.delete(done));
    this.#background.add(done);
  }

  #report(error: unknown): void {
    const { onError } = this.#options;
    const known = error instanceof Error ? error : new Error(String(error));
    if (onError === undefined) process.emitWarning(known);
    else onError(known);
  }
}
