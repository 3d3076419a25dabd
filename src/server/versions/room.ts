/** Keeps folders within their storage limits: unfinished uploads that nobody sends and the oldest versions make way for what comes. */
import { rmSync } from "node:fs";
import { listPartials, SyncError } from "../../sync/index.js";
import { DatabaseError } from "../database/errors.js";
import type { Database, Folder, FolderLimits, Version } from "../database/types.js";
import type { ContentStore } from "./content.js";
import { ENTRY_COST_BYTES, EVICTION_AUDIT_MS, EVICTION_BATCH, ROOM_WAIT_MS } from "./limits.js";
import { removeVersions } from "./prune.js";
import { inUnits, type Limit, limitsOf, Quota } from "./quota.js";

/** Counters since the server began. */
export interface QuotaFigures {
  /** Steps that were refused, by the limit that they would have exceeded. */
  readonly refused: Readonly<Record<Limit, number>>;
  /** Versions that were deleted before their time, and bytes of their content. */
  readonly evictedVersions: number;
  readonly evictedBytes: number;
  /** Unfinished uploads that were deleted before their time. */
  readonly evictedUploads: number;
}

export interface QuotasOptions {
  readonly database: Database;
  readonly content: ContentStore;
  /** The home's directory. */
  readonly dir: string;
  /** Limits of folders that have none of their own. */
  readonly limits: Partial<FolderLimits>;
  /** Resolves when the database has all that was reported so far. */
  readonly settled: () => Promise<void>;
  readonly onError: (error: unknown) => void;
}

interface Used {
  readonly quota: Quota;
  users: number;
}

interface Evicted {
  versions: number;
  bytes: number;
  /** When the newest of them was replaced or deleted. */
  until: number;
  uploads: number;
}

/** One {@link Quota} for each folder that is being changed. */
export class Quotas {
  readonly #options: QuotasOptions;
  readonly #used = new Map<string, Used>();
  /** By folder, what is not in the audit log yet, and when there was an entry last. */
  readonly #evicted = new Map<string, { readonly sum: Evicted; at: number }>();
  readonly #refused = { quota: 0, storage: 0, entries: 0 };
  readonly #figures = { evictedVersions: 0, evictedBytes: 0, evictedUploads: 0 };

  constructor(options: QuotasOptions) {
    this.#options = options;
  }

  get figures(): QuotaFigures {
    return { refused: this.#refused, ...this.#figures };
  }

  /** The limits in force for a folder. */
  limitsOf(folder: FolderLimits): ReturnType<typeof limitsOf> {
    return limitsOf(folder, this.#options.limits);
  }

  /** Bytes of the folder's unfinished uploads. */
  unfinishedBytes(name: string): number {
    return listPartials(this.#staging(name)).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** For a session that changes the folder, until it {@link leave}s. */
  enter(folder: Folder): Quota {
    const { name } = folder;
    const used = this.#used.get(name) ?? { quota: this.#make(folder), users: 0 };
    used.users++;
    this.#used.set(name, used);
    if (used.users > 1) used.quota.recount();
    return used.quota;
  }

  leave(name: string): void {
    const used = this.#used.get(name);
    if (used === undefined) return;
    used.quota.recount();
    if (--used.users === 0) this.#used.delete(name);
  }

  /** Brings limits and figures of a folder up to date where it is being changed; to be called when they have changed. */
  update(folder: Folder): void {
    const quota = this.#used.get(folder.name)?.quota;
    if (quota === undefined) return;
    quota.limits = this.limitsOf(folder);
    quota.update(folder);
    if (quota.excess(false) > 0) quota.makeRoom().catch(this.#options.onError);
  }

  /** Makes a folder that exceeds its storage limit fit again, as far as versions and unfinished uploads can make way. */
  async trim(folder: Folder): Promise<void> {
    const quota = this.enter(folder);
    try {
      if (quota.excess(false) > 0) await quota.makeRoom();
    } finally {
      this.leave(folder.name);
    }
  }

  /** Writes what is not in the audit log yet. */
  async close(): Promise<void> {
    for (const name of this.#evicted.keys()) await this.#audit(name, true);
  }

  #make(folder: Folder): Quota {
    const { name } = folder;
    const quota: Quota = new Quota({
      name,
      root: `${this.#options.dir}/${name}`,
      limits: this.limitsOf(folder),
      usage: folder,
      unfinished: () => this.#idlePartials(name, quota).reduce((sum, { bytes }) => sum + bytes, 0),
      makeRoom: () => this.#makeRoom(name, quota),
      onRefused: (limit) => void this.#refused[limit]++,
    });
    quota.recount();
    return quota;
  }

  async #makeRoom(name: string, quota: Quota): Promise<void> {
    try {
      await within(ROOM_WAIT_MS, this.#options.settled());
      // Or else their content takes room as long as it is under another name.
      await this.#options.content.release().catch(this.#options.onError);
      await this.#read(name, quota);
      quota.recount();
      if (quota.excess(false) <= 0) return;
      const evicted: Evicted = { versions: 0, bytes: 0, until: 0, uploads: 0 };
      this.#dropUploads(name, quota, evicted);
      while (quota.excess(true) > 0 && (await this.#dropVersions(name, quota, evicted)));
      await this.#report(name, evicted);
    } catch (error) {
      if (!(error instanceof DatabaseError && error.retryable)) throw error;
      throw new SyncError("ERR_DATABASE_UNAVAILABLE", "the server's database cannot be used now", { cause: error });
    }
  }

  async #read(name: string, quota: Quota): Promise<void> {
    const folder = await this.#options.database.folders.byName(name);
    if (folder !== undefined) quota.update(folder);
  }

  /** What was sent can be sent again; a version cannot come back. */
  #dropUploads(name: string, quota: Quota, evicted: Evicted): void {
    for (const { file } of this.#idlePartials(name, quota).reverse()) {
      if (quota.excess(true) <= 0) return;
      rmSync(file, { force: true });
      evicted.uploads++;
      quota.recount();
    }
  }

  /** Deletes the oldest versions, as many as are necessary. False where there is none. */
  async #dropVersions(name: string, quota: Quota, evicted: Evicted): Promise<boolean> {
    const { database, content } = this.#options;
    const oldest = await database.versions.oldest(name, EVICTION_BATCH);
    const leaving: Version[] = [];
    let freed = 0;
    for (const version of oldest) {
      if (freed >= quota.excess(true)) break;
      freed += ENTRY_COST_BYTES + (version.sha256 === null ? 0 : version.size);
      leaving.push(version);
    }
    if (leaving.length === 0) return false;
    await removeVersions(database, content, name, leaving);
    for (const { size, sha256, endedAt } of leaving) {
      evicted.versions++;
      evicted.bytes += sha256 === null ? 0 : size;
      evicted.until = Math.max(evicted.until, endedAt);
    }
    await this.#read(name, quota);
    return true;
  }

  async #report(name: string, { versions, bytes, until, uploads }: Evicted): Promise<void> {
    if (versions + uploads === 0) return;
    this.#figures.evictedVersions += versions;
    this.#figures.evictedBytes += bytes;
    this.#figures.evictedUploads += uploads;
    const known = this.#evicted.get(name) ?? { sum: { versions: 0, bytes: 0, until: 0, uploads: 0 }, at: 0 };
    const { sum } = known;
    sum.versions += versions;
    sum.bytes += bytes;
    sum.until = Math.max(sum.until, until);
    sum.uploads += uploads;
    this.#evicted.set(name, known);
    await this.#audit(name, false);
  }

  /** Entries about one folder are a minute apart, so that a device that overwrites all the time does not fill the log. */
  async #audit(name: string, now: boolean): Promise<void> {
    const known = this.#evicted.get(name);
    if (known === undefined || known.sum.versions + known.sum.uploads === 0) return;
    if (!now && Date.now() - known.at < EVICTION_AUDIT_MS) return;
    const { versions, bytes, until, uploads } = known.sum;
    this.#evicted.set(name, { sum: { versions: 0, bytes: 0, until: 0, uploads: 0 }, at: Date.now() });
    const oldest =
      versions === 0 ? [] : [`${versions} versions, ${inUnits(bytes)}, ended until ${new Date(until).toISOString()}`];
    const partial = uploads === 0 ? [] : [`${uploads} unfinished uploads`];
    if (versions > 0) {
      const data = { versions, bytes, until, reason: "storage-limit" };
      await this.#options.database.events.append([{ type: "versions.trimmed", folder: name, data }]);
    }
    await this.#options.database.audit.add({
      actor: "server",
      action: "versions.evict",
      target: name,
      outcome: "ok",
      address: null,
      detail: `storage limit reached: ${[...oldest, ...partial].join("; ")}`,
    });
  }

  #idlePartials(name: string, quota: Quota | undefined): ReturnType<typeof listPartials> {
    const partials = listPartials(this.#staging(name));
    if (partials.length === 0) return partials;
    const expected = quota?.expected() ?? new Set();
    return partials.filter(({ id }) => !expected.has(id));
  }

  #staging(name: string): string {
    return `${this.#options.dir}/.confundo/staging/${name}`;
  }
}

function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void =>
      reject(
        new SyncError("ERR_DATABASE_UNAVAILABLE", `there is no room, and none could be made within ${ms / 1000} s`),
      );
    const timer = setTimeout(late, ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
