/**
 * Keeps the books of a home: what its sessions store, replace and delete is written to the database, in batches, and what
 * goes is kept as a version. The folders are the truth: a client's change is acknowledged when it is on the disk, not
 * when the database has it; a folder is marked unclean while it may be behind, and is looked through after a crash.
 */
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, renameSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause, setImmediate as yieldToOthers } from "node:timers/promises";
import type { Subscription } from "rxjs";
import { makeFolder } from "../../files/make-folder.js";
import {
  type Admission,
  type Archive,
  type FileLayer,
  type ReceiveEvent,
  Storage,
  SyncError,
  systemPath,
} from "../../sync/index.js";
import { DatabaseError } from "../database/errors.js";
import type { Database, Folder, FolderLimits } from "../database/types.js";
import { mirrorNameProblem } from "../name.js";
import { freeBytes, VersionsBound } from "./bound.js";
import { ContentStore, type Linked } from "./content.js";
import { deletedError, FolderDeletion } from "./deletion.js";
import { VersionError } from "./errors.js";
import { FolderChecks } from "./folder-checks.js";
import { Hold, held } from "./hold.js";
import { MIN_FREE_BYTES, VERSION_LOOKUP_MS } from "./limits.js";
import { type Keep, pruneVersions, removeVersions, sweepContent } from "./prune.js";
import { type Limits, plus, storageOf, type Usage } from "./quota.js";
import type { Actor } from "./record.js";
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
import { type QuotaFigures, Quotas } from "./room.js";
import { DEFAULT_THINNING, type Thinning, thinVersions } from "./thin.js";
import { WriteBehind, type WriteBehindFigures } from "./write-behind.js";

export interface KeeperOptions {
  /** The home's directory: mirrors are in `dir/NAME`, ours is `dir/.confundo`. */
  readonly dir: string;
  readonly database: Database;
  /** How long or how many. Default 30 days. */
  readonly keep?: Keep;
  /** Which of those are kept. Default: {@link DEFAULT_THINNING}, or all where a number of versions is kept. */
  readonly thin?: Thinning | undefined;
  /** What the versions of the home, and those of each folder, may take; the oldest go first. Default: no bound. */
  readonly versionsBytes?: number | null | undefined;
  readonly folderVersionsBytes?: number | null | undefined;
  /** The oldest versions make way where less than this is free on the disk. Default 256 MiB. */
  readonly minFreeBytes?: number | undefined;
  /** What is free on the disk. Default: what the system says. */
  readonly free?: (() => Promise<number>) | undefined;
  /** Limits of folders that have none of their own. Default: none. */
  readonly quotaBytes?: number | null;
  /** Default: three times the quota. */
  readonly storageLimitBytes?: number | null;
  readonly maxEntries?: number | null;
  /** Bytes that may wait to be written to the database. Default 64 MiB. */
  readonly writeBehindBytes?: number | undefined;
  /** How content of versions is made durable. Default: by the system. */
  readonly files?: FileLayer | undefined;
  /** Trouble that nobody waits for. Default: a process warning. */
  readonly onError?: (error: Error) => void;
  /** How often folders are looked through for what was changed by hand. Milliseconds, default 10 minutes; 0: never. */
  readonly lookMs?: number;
}

/** What a session of a home needs. */
export interface Keeping {
  readonly archive: Archive;
  /** See `Admission.admitBytes`. */
  readonly admitBytes: NonNullable<Admission["admitBytes"]>;
  readonly onEvent: (event: ReceiveEvent) => void;
  /** See `Admission.onRecorded` and `Admission.room`. */
  readonly onRecorded: () => void;
  readonly room: () => Promise<void> | undefined;
  /** When nothing of the session is being written any more. */
  readonly end: () => void;
}

const LIMITS_CHANGED = "folder.limits";
/** Between two tries to finish what an earlier run left. */
const RETRY_MS = 1000;
const PRUNE_MS = 60 * 60 * 1000;
const LOOK_MS = 10 * 60 * 1000;
/** Places of the content, of 256, that are looked through at each prune. */
const SWEPT_AN_HOUR = 8;
/** Versions of a purged folder that are removed together. */
const PURGED_AT_ONCE = 200;
/** So many of a path's last versions can come back to a client that remembers them. */
const HELD_VERSIONS = 100;
const DEFAULT_KEEP: Keep = { days: 30 };

export class Keeper {
  readonly database: Database;
  readonly content: ContentStore;
  readonly deletion: FolderDeletion;
  readonly #options: KeeperOptions;
  readonly #hold: Hold;
  /** Folders that a client has a session with: one at a time. */
  readonly #clients = new Set<string>();
  /** Who changes a folder now: how many, by folder. */
  readonly #open = new Map<string, number>();
  /** See {@link reindex}. */
  readonly #known = new Map<string, Map<string, number>>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #written: WriteBehind;
  readonly #quotas: Quotas;
  readonly #bound: VersionsBound;
  /** The last place of the content that was looked through. Not the first one after each start. */
  #sweptTo = Math.floor(Math.random() * 256)
    .toString(16)
    .padStart(2, "0");
  #closing = false;
  readonly #background = new Set<Promise<void>>();
  readonly #checks: FolderChecks;
  #recovering: Promise<void> = Promise.resolve();
  #replayed: Promise<void> = Promise.resolve();
  #guard: Subscription | undefined;
  #limits: Subscription | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.database = options.database;
    this.#hold = new Hold(options.database);
    this.#checks = new FolderChecks(
      (name) => this.#insist(() => this.reindex(name, false)),
      (error) => this.#report(error),
    );
    this.deletion = new FolderDeletion({
      ...options,
      hold: this.#hold,
      onPurged: (name) => {
        this.#known.delete(name);
      },
      removeVersions: async (name) => {
        for (;;) {
          const versions = await this.database.versions.oldest(name, PURGED_AT_ONCE);
          if (versions.length === 0) return;
          await removeVersions(this.database, this.content, name, versions);
        }
      },
    });
    this.content = new ContentStore(`${options.dir}/.confundo/versions`, {
      files: options.files,
      onError: (error) => this.#report(error),
    });
    this.#written = new WriteBehind({
      database: options.database,
      content: this.content,
      dir: `${options.dir}/.confundo/write-behind`,
      maxBytes: options.writeBehindBytes,
      catchUp: () => this.#catchUp(),
      isOpen: (name) => this.#open.has(name),
      updateQuota: (name) => this.#updateQuota(name),
      onVersions: () => this.#bound.note(),
      onError: (error) => this.#report(error),
    });
    this.#bound = new VersionsBound({
      database: options.database,
      content: this.content,
      homeBytes: options.versionsBytes ?? null,
      folderBytes: options.folderVersionsBytes ?? null,
      minFreeBytes: options.minFreeBytes ?? MIN_FREE_BYTES,
      free: options.free ?? (() => freeBytes(options.dir)),
      onError: (error) => this.#report(error),
    });
    const { quotaBytes = null, storageLimitBytes = null, maxEntries = null } = options;
    this.#quotas = new Quotas({
      database: options.database,
      content: this.content,
      dir: options.dir,
      limits: { quotaBytes, storageLimitBytes, maxEntries },
      settled: () => this.settled(),
      onError: (error) => this.#report(error),
    });
  }

  /** How far the database is behind. */
  get writeBehind(): WriteBehindFigures {
    return this.#written.figures;
  }

  /** Versions that were deleted for their size or for space, see {@link VersionsBound}. */
  get trimFigures(): VersionsBound["figures"] {
    return this.#bound.figures;
  }

  get quotaFigures(): QuotaFigures {
    return this.#quotas.figures;
  }

  /** What a folder takes, and the limits in force. */
  storage(folder: Folder): { readonly bytes: number; readonly unfinishedBytes: number; readonly limits: Limits } {
    const unfinishedBytes = this.#quotas.unfinishedBytes(folder.name);
    return { bytes: storageOf(folder, unfinishedBytes), unfinishedBytes, limits: this.#quotas.limitsOf(folder) };
  }

  /** Sets limits of a folder, also for the sessions that change it now, in whatever process. */
  async setLimits(name: string, limits: Partial<FolderLimits>): Promise<Folder> {
    await this.database.folders.setLimits(name, limits);
    const folder = await this.existing(name);
    await this.database.events.append([{ type: LIMITS_CHANGED, folder: name, data: limits }]);
    return folder;
  }

  /**
   * Begins to finish what an earlier run left, see {@link recovered}; sessions can begin when this resolves, and wait for their own
   * folders. Then, in the background, old versions are pruned and folders looked through now and then.
   */
  async start(): Promise<void> {
    this.#checks.add(await this.database.files.unclean());
    const leftovers = this.#setAside();
    const recovering = new Promise<void>((resolve) => {
      this.#recovering = this.#recover(leftovers, resolve).finally(resolve);
    });
    this.#replayed = recovering;
    this.#inBackground(() => this.#recovering);
    this.#limits = this.database.events.live$.subscribe(({ type, folder }) => {
      if (type === LIMITS_CHANGED && folder !== null) this.#inBackground(() => this.#updateQuota(folder));
    });
    const { lookMs = LOOK_MS } = this.#options;
    const every = (ms: number, work: () => Promise<unknown>): void => {
      this.#timers.push(setInterval(() => this.#inBackground(work), ms).unref());
    };
    every(PRUNE_MS, () => this.prune(SWEPT_AN_HOUR));
    if (lookMs > 0) every(lookMs, () => this.look());
  }

  /** Before a client's session begins. Rejects with `ERR_FOLDER_HELD` or `ERR_DATABASE_UNAVAILABLE` for the client. */
  async open(name: string, device: string | null): Promise<Keeping> {
    await this.#replayed;
    await this.#checks.until(name);
    const folder = await this.#ask(async ({ folders, files }) => {
      const found = await folders.ensure(name);
      if (found.heldAt === null && found.deletedAt === null) await files.markUnclean(name);
      return found;
    });
    if (folder.deletedAt !== null) throw deletedError(folder);
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
    const quota = this.#quotas.enter(folder);
    /** By path, when it was gone because something else came: many times, before the first is reported. */
    const retiredAt = new Map<string, { readonly at: number; readonly left: Usage }[]>();
    const archive: Archive = {
      keepAhead: (absolutePath, path) => this.content.link(absolutePath, { folder: name, path, at: Date.now() }),
      forgetAhead: (ahead) => this.content.forget(ahead as Linked),
      retire: (absolutePath, path, why, ahead) => {
        const what = { folder: name, path, why, at: Date.now() };
        const retired = this.content.retire(absolutePath, what, ahead as Linked | undefined);
        const { at } = retired;
        const size = retired.kind === "file" ? retired.size : 0;
        const { kept, left } = quota.retired(path, size);
        this.#written.add({ retired }, { quota, usage: kept });
        const others = retiredAt.get(path);
        if (others === undefined) retiredAt.set(path, [{ at, left }]);
        else others.push({ at, left });
      },
      flush: () => this.content.flush(),
      find: (sha256) => this.content.find(sha256),
      held: (path, sha256) => this.#held(name, path, sha256),
    };
    return {
      archive,
      admitBytes: (path, bytes, what) => quota.admit(path, bytes, what),
      onEvent: (event) => {
        const path = "path" in event ? event.path : "";
        const retired = retiredAt.get(path);
        const before = retired?.shift();
        const at = before?.at ?? Date.now();
        if (retired?.length === 0) retiredAt.delete(path);
        const counted = quota.count(event);
        const usage = before === undefined ? counted : plus(counted, before.left, 1);
        // Then what was there is still there.
        if (event.type === "failed") quota.written(usage);
        if (event.type === "failed" && event.code === "ENOSPC") this.#bound.note();
        const recorded = { event, folder: name, who, at, startedAt: quota.since(event) ?? at, endedAt: Date.now() };
        this.#written.add({ recorded }, { quota, usage });
      },
      onRecorded: () => this.#written.flush(),
      room: () => this.#written.room,
      end: () => {
        const left = (this.#open.get(name) ?? 1) - 1;
        if (left > 0) this.#open.set(name, left);
        else this.#open.delete(name);
        this.#quotas.leave(name);
        if (left === 0) this.#written.clean(name);
      },
    };
  }

  /** Resolves when everything told so far is in the database. */
  settled(): Promise<void> {
    return this.#written.settled();
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

  /**
   * Deletes versions that are not to be kept any longer, with their content. Content that a crash has left without a version is
   * looked for in so many places, of 256; default: in all.
   */
  async prune(places = 256): Promise<void> {
    const isOver = (): boolean => this.#closing;
    await this.deletion.purge(this.database.elapsed(), isOver);
    const { keep = DEFAULT_KEEP } = this.#options;
    const { thin = "versions" in keep ? [] : DEFAULT_THINNING } = this.#options;
    await pruneVersions(this.database, this.content, keep, isOver);
    await thinVersions(this.database, this.content, thin, isOver);
    await this.#bound.trim();
    this.#sweptTo = await sweepContent(this.database, this.content, { after: this.#sweptTo, places, isOver });
    for (const folder of await this.database.folders.list()) {
      if (this.#closing) return;
      if (!this.#open.has(folder.name)) this.#cleanStaging(folder.name);
      await this.#quotas.trim(folder);
    }
  }

  /** Removes the unfinished uploads that are too old. */
  #cleanStaging(name: string): void {
    if (mirrorNameProblem(name) !== undefined) return;
    const staging = `${this.dir}/.confundo/staging/${name}`;
    if (existsSync(staging)) new Storage(this.rootOf(name), staging).clean(false);
  }

  async #updateQuota(name: string): Promise<void> {
    const folder = await this.database.folders.byName(name);
    if (folder !== undefined) this.#quotas.update(folder);
  }

  /** Resolves when what an earlier run left is finished, and the folders that it was writing to are looked through. */
  async recovered(): Promise<void> {
    await this.#recovering;
    await this.#checks.idle();
  }

  /** `leftovers`: what an earlier run left to be removed. `replayed` is called when what it noted comes before all that is new. */
  async #recover(leftovers: readonly string[], replayed: () => void): Promise<void> {
    // After a crash there may be content without a version anywhere.
    let crashed = this.#checks.pending > 0;
    const earlier = await this.#insist(() => this.#written.replay(() => yieldToOthers()));
    replayed();
    if (earlier.runs.length > 0) crashed = true;
    for (const retired of this.content.unfinished()) {
      crashed = true;
      if (earlier.retired.has(`${retired.run}/${retired.id}`)) continue;
      await yieldToOthers();
      const { folder, path } = retired;
      const page = await this.#insist(() => this.database.versions.list(folder, path, { limit: 1000 }));
      const known = page.find(({ endedAt }) => endedAt === retired.at);
      if (known === undefined && !this.content.isThere(retired, systemPath(`${this.rootOf(folder)}/${path}`))) {
        this.#written.add({ retired });
        continue;
      }
      // The database has the version, and its content may have no place among the objects yet.
      if (typeof known?.sha256 === "string" && retired.kind === "file") this.content.keep(retired, known.sha256);
      this.content.settle(retired);
    }
    if ((await this.content.adoptOrphans()) > 0) crashed = true;
    await this.settled();
    await this.content.release();
    // What could not be written down stays for the next start.
    if (!this.#written.incomplete) await this.content.forgetEarlierRuns();
    await this.#insist(() => this.#written.forget(earlier.runs));
    for (const name of leftovers) await rm(name, { recursive: true, force: true });
    this.#checks.start();
    await this.#checks.idle();
    await this.prune(crashed ? undefined : SWEPT_AN_HOUR);
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
    const folder = await this.existing(name);
    if (folder.heldAt !== null) await this.#hold.end(name);
    return folder.heldAt !== null;
  }

  /**
   * Brings back what was, in place or into a folder elsewhere. In place the folder is on hold from then on: a client makes
   * the mirror equal to its own folder, and would undo this at once. Rejects with a `VersionError`, having changed nothing.
   */
  async restore(request: RestoreRequest): Promise<Restored> {
    const { folder: name, path, to } = request;
    const folder = await this.existing(name);
    const find = (wanted: Wanted) => findContent(this.database, this.content, this.dir, wanted);
    if (to !== undefined) {
      const plan = relocated(await planRestore(this.database, request), path);
      refuseExisting(plan, to);
      makeFolder(to, 0o700);
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
        this.#written.add({
          event: { type: "folder.restored", folder: name, data: { path, at, version, ...restored } },
        });
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

  /** The folder; rejects with `ERR_NO_FOLDER` where there is none, or it is deleted. */
  async existing(name: string): Promise<Folder> {
    const folder = await this.database.folders.byName(name);
    if (folder === undefined) throw new VersionError("ERR_NO_FOLDER", `there is no mirror "${name}" here`);
    return folder;
  }

  /** A session of somebody else than a client, while no client has one. Rejects with `ERR_MIRROR_BUSY` where one has. */
  async changing<T>(name: string, by: string, work: (keeping: Keeping) => Promise<T>): Promise<T> {
    this.refuseWhereBusy(name);
    await this.#replayed;
    await this.#checks.until(name);
    const folder = await this.database.folders.ensure(name);
    if (folder.deletedAt !== null) throw deletedError(folder);
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

  /**
   * Where the content of an old version of that very path is. A database that does not answer soon is not waited for: then there
   * is none.
   */
  async #held(folder: string, path: string, sha256: string): Promise<string | undefined> {
    for (const retired of this.#written.retired(folder, path)) {
      if ((await this.content.hash(retired).catch(() => undefined)) !== sha256) continue;
      this.content.keep(retired, sha256);
      return this.content.find(sha256);
    }
    if (this.#written.failing) return undefined;
    const asked = this.database.versions.list(folder, path, { limit: HELD_VERSIONS });
    const versions = await Promise.race([asked.catch(() => []), pause(VERSION_LOOKUP_MS, [], { ref: false })]);
    return versions.some((version) => version.sha256 === sha256) ? this.content.find(sha256) : undefined;
  }

  /** The mirrors that are on the disk or in the database. */
  async names(): Promise<string[]> {
    const known = (await this.database.folders.list()).map(({ name }) => name);
    const deleted = new Set((await this.database.folders.deleted()).map(({ name }) => name));
    const there = readdirSync(this.dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...new Set([...known, ...there.map(({ name }) => name)])]
      .filter((name) => mirrorNameProblem(name) === undefined && !deleted.has(name))
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
    this.#limits?.unsubscribe();
    this.#written.hasten();
    await this.#checks.close();
    await Promise.all(this.#background);
    await this.#written.close();
    await this.#quotas.close().catch((error) => this.#report(error));
    await this.#bound.close().catch((error) => this.#report(error));
    await this.content.close().catch((error) => this.#report(error));
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

  /** Again and again while the database is away. */
  async #insist<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (this.#closing || !(error instanceof DatabaseError && error.retryable)) throw error;
        await pause(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  /** What single uploads left when an earlier run was killed makes way at once, and is removed later. */
  #setAside(): string[] {
    const own = join(this.#options.dir, ".confundo");
    const [uploads, trash] = [join(own, "uploads"), join(own, "trash")];
    if (existsSync(uploads)) {
      makeFolder(trash, 0o700);
      renameSync(uploads, join(trash, randomUUID()));
    }
    return existsSync(trash) ? readdirSync(trash).map((name) => join(trash, name)) : [];
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
