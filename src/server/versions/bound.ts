/** Keeps old versions within what they may take of the disk, and out of the way where that is nearly full: the oldest go first. */
import { statfs } from "node:fs/promises";
import type { Database, Version } from "../database/types.js";
import type { ContentStore } from "./content.js";
import { EVICTION_AUDIT_MS, EVICTION_BATCH, FREED_AHEAD, SPACE_CHECK_MS, TRIM_DELAY_MS } from "./limits.js";
import { removeVersions } from "./prune.js";
import { inUnits } from "./quota.js";

export interface VersionsBoundOptions {
  readonly database: Database;
  readonly content: ContentStore;
  /** What all versions of the home, and those of each folder, may take. Bytes; null: no bound. */
  readonly homeBytes: number | null;
  readonly folderBytes: number | null;
  /** Versions make way where less than this is free on their disk. Bytes. */
  readonly minFreeBytes: number;
  /** What is free on the disk of the versions. Bytes. */
  readonly free: () => Promise<number>;
  readonly onError: (error: unknown) => void;
}

type Reason = "size" | "space";

interface Trimmed {
  versions: number;
  bytes: number;
  /** When the newest of them was replaced or deleted. */
  until: number;
  reason: Reason;
}

export class VersionsBound {
  readonly #options: VersionsBoundOptions;
  /** By folder, what is not reported yet, and when there was a report last. */
  readonly #trimmed = new Map<string, { sum: Trimmed | undefined; at: number }>();
  readonly #figures = { trimmedVersions: 0, trimmedBytes: 0 };
  #timer: NodeJS.Timeout | undefined;
  readonly #checking: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: VersionsBoundOptions) {
    this.#options = options;
    this.#checking = setInterval(() => this.note(), SPACE_CHECK_MS).unref();
  }

  /** Versions that were deleted for their size or for space, and bytes of their content, since the server began. */
  get figures(): Readonly<{ trimmedVersions: number; trimmedBytes: number }> {
    return this.#figures;
  }

  /** There may be more versions, or less space: soon they are looked at. */
  note(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.trim().catch(this.#options.onError);
    }, TRIM_DELAY_MS).unref();
  }

  /** Resolves when the versions are within their bounds, as far as deleting them helps. */
  trim(): Promise<void> {
    this.#running ??= this.#trim().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Reports what is not reported yet. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#checking);
    await this.#running?.catch(() => {});
    for (const name of this.#trimmed.keys()) await this.#report(name, true);
  }

  async #trim(): Promise<void> {
    const { database, homeBytes, folderBytes, minFreeBytes, free } = this.#options;
    const taken = async (name?: string): Promise<number> => {
      const folders = await database.folders.list();
      return folders.reduce(
        (sum, folder) => sum + (name === undefined || folder.name === name ? folder.versionBytes : 0),
        0,
      );
    };
    for (const folder of folderBytes === null ? [] : await database.folders.list()) {
      if (folder.versionBytes <= (folderBytes as number)) continue;
      await this.#evict([folder.name], "size", folderBytes as number, () => taken(folder.name));
    }
    const names = (await database.folders.list()).map(({ name }) => name);
    if (homeBytes !== null && (await taken()) > homeBytes) await this.#evict(names, "size", homeBytes, () => taken());
    if ((await free()) >= minFreeBytes) return;
    await this.#options.content.release();
    await this.#evict(names, "space", 0, async () => minFreeBytes - (await free()));
  }

  /** Deletes the oldest versions of some folders until `taken` is at most `limit`, and a bit less so that it lasts. */
  async #evict(names: readonly string[], reason: Reason, limit: number, taken: () => Promise<number>): Promise<void> {
    for (let excess = await taken(); excess > limit * (1 - FREED_AHEAD) && !this.#closed; ) {
      const wanted = excess - limit * (1 - FREED_AHEAD);
      const leaving = await this.#oldest(names, wanted);
      if (leaving.size === 0) return;
      for (const [name, versions] of leaving) {
        await removeVersions(this.#options.database, this.#options.content, name, versions);
        this.#count(name, versions, reason);
        await this.#report(name, false);
      }
      const next = await taken();
      // Of a disk that others fill, no more is given than what was missing.
      if (reason === "space" && next > 0 && sizeOf(leaving) >= wanted) return;
      excess = next;
    }
  }

  /** By folder, the oldest of all, as many as have so many bytes together. */
  async #oldest(names: readonly string[], wanted: number): Promise<Map<string, Version[]>> {
    const all: Version[] = [];
    for (const name of names) all.push(...(await this.#options.database.versions.oldest(name, EVICTION_BATCH)));
    all.sort((a, b) => a.number - b.number);
    const leaving = new Map<string, Version[]>();
    let bytes = 0;
    for (const version of all.slice(0, EVICTION_BATCH)) {
      if (bytes >= wanted) break;
      bytes += bytesOf(version);
      const others = leaving.get(version.folder);
      if (others === undefined) leaving.set(version.folder, [version]);
      else others.push(version);
    }
    return leaving;
  }

  #count(name: string, versions: readonly Version[], reason: Reason): void {
    const known = this.#trimmed.get(name) ?? { sum: undefined, at: Number.NEGATIVE_INFINITY };
    const sum = known.sum ?? { versions: 0, bytes: 0, until: 0, reason };
    for (const version of versions) {
      sum.versions++;
      sum.bytes += bytesOf(version);
      sum.until = Math.max(sum.until, version.endedAt);
    }
    sum.reason = reason;
    this.#trimmed.set(name, { ...known, sum });
    this.#figures.trimmedVersions += versions.length;
    this.#figures.trimmedBytes += versions.reduce((bytes, version) => bytes + bytesOf(version), 0);
  }

  /** Reports about one folder are a minute apart, so that one that changes all the time does not fill the log. */
  async #report(name: string, now: boolean): Promise<void> {
    const { sum, at = 0 } = this.#trimmed.get(name) ?? {};
    if (sum === undefined || (!now && performance.now() - at < EVICTION_AUDIT_MS)) return;
    this.#trimmed.set(name, { sum: undefined, at: performance.now() });
    const { versions, bytes, until, reason } = sum;
    const { database } = this.#options;
    await database.events.append([{ type: "versions.trimmed", folder: name, data: { ...sum } }]);
    const why = reason === "size" ? "size of the versions reached" : "disk nearly full";
    const what = `${versions} versions, ${inUnits(bytes)}, ended until ${new Date(until).toISOString()}`;
    await database.audit.add({
      actor: "server",
      action: "versions.evict",
      target: name,
      outcome: "ok",
      address: null,
      detail: `${why}: ${what}`,
    });
  }
}

/** What is free for this user on the file system of a folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

function bytesOf({ sha256, why, size }: Version): number {
  return sha256 === null || why === "changed" ? 0 : size;
}

function sizeOf(leaving: ReadonlyMap<string, readonly Version[]>): number {
  return [...leaving.values()].flat().reduce((sum, version) => sum + bytesOf(version), 0);
}
