/** Counts what a folder takes while sessions change it, and refuses what would exceed its limits. */
import { lstatSync } from "node:fs";
import { invariant } from "../../invariant/index.js";
import { type Admitted, partialId, type ReceiveEvent, SyncError, systemPath, type Ticket } from "../../sync/index.js";
import type { Folder, FolderLimits } from "../database/types.js";
import { ENTRY_COST_BYTES, FREED_AHEAD, LEAST_STORAGE_BYTES, STORAGE_PER_QUOTA } from "./limits.js";

/** The limits in force for a folder; null: none. */
export interface Limits {
  /** Content that is visible. */
  readonly quotaBytes: number | null;
  /** Everything: content, kept versions, unfinished uploads, and {@link ENTRY_COST_BYTES} for each entry and version. */
  readonly storageBytes: number | null;
  /** Files, links and directories. */
  readonly entries: number | null;
}

export type Limit = "quota" | "storage" | "entries";

/** What a folder holds, or by how much that changes. */
export type Usage = Pick<Folder, "bytes" | "entries" | "versionBytes" | "versions">;

const NOTHING: Usage = { bytes: 0, entries: 0, versionBytes: 0, versions: 0 };

/** The limits of a folder: its own, else those of the server. Its own quota counts before the server's storage limit. */
export function limitsOf(own: FolderLimits, server: Partial<FolderLimits>): Limits {
  const quotaBytes = own.quotaBytes ?? server.quotaBytes ?? null;
  const fromQuota = quotaBytes === null ? null : Math.max(quotaBytes * STORAGE_PER_QUOTA, LEAST_STORAGE_BYTES);
  const given = own.quotaBytes === null ? (server.storageLimitBytes ?? null) : null;
  return {
    quotaBytes,
    storageBytes: own.storageLimitBytes ?? given ?? fromQuota,
    entries: own.maxEntries ?? server.maxEntries ?? null,
  };
}

/** Bytes that count towards the storage limit. */
export function storageOf(usage: Usage, unfinishedBytes: number): number {
  const { bytes, entries, versionBytes, versions } = usage;
  return bytes + versionBytes + unfinishedBytes + (entries + versions) * ENTRY_COST_BYTES;
}

interface Growth extends Ticket {
  readonly path: string;
  bytes: number;
  /** Bytes of what it replaces, which may be on its way itself, until that is kept as a version. */
  replaced: number;
  readonly isNew: boolean;
  stored: boolean;
}

export interface QuotaOptions {
  readonly name: string;
  readonly root: string;
  readonly limits: Limits;
  readonly usage: Usage;
  /** Bytes of unfinished uploads that nobody is sending now. */
  readonly unfinished: () => number;
  /** Deletes old versions until {@link Quota.excess} is 0. Rejects where that cannot be done. */
  readonly makeRoom: () => Promise<void>;
  readonly onRefused: (limit: Limit) => void;
}

/**
 * The count of one folder, for all sessions that change it. It consists of what the database says, of changes that the database
 * does not have yet, and of what is on its way in.
 */
export class Quota {
  limits: Limits;
  readonly #options: QuotaOptions;
  #usage: Usage;
  #pending: Usage = NOTHING;
  #unfinished = 0;
  /** By path, what is on its way in. */
  readonly #growing = new Map<string, Set<Growth>>();
  readonly #growth = { bytes: 0, visible: 0, steps: 0, entries: 0 };
  readonly #since = new Map<string, number>();
  #room: Promise<void> | undefined;
  /** Whether a directory was renamed, with versions of all that is in it, and the database has not said how many. */
  #renamed = false;

  constructor(options: QuotaOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.#usage = options.usage;
  }

  get name(): string {
    return this.#options.name;
  }

  get limited(): boolean {
    const { quotaBytes, storageBytes, entries } = this.limits;
    return quotaBytes !== null || storageBytes !== null || entries !== null;
  }

  /**
   * Reserves room for an entry with so many bytes of content, in the place of what stands at the path. Throws `ERR_QUOTA` where the
   * folder would exceed a limit, even without its versions; otherwise the ticket says whether room is being made.
   */
  admit(path: string, bytes: number, what: Admitted): Ticket {
    if (what === "rename") return this.#rename();
    if (what === "file" && !this.#since.has(path)) this.#since.set(path, Date.now());
    // Where everything is admitted, nobody need know what there was.
    if (!this.limited) return { release: () => void this.#since.delete(path) };
    const there = entryAt(`${this.#options.root}/${path}`);
    if (what === "directory" && there?.isDirectory) return { release: () => {} };
    const before = [...(this.#growing.get(path) ?? [])].at(-1);
    const growth: Growth = {
      path,
      bytes,
      replaced: before?.bytes ?? there?.size ?? 0,
      isNew: there === undefined && before === undefined,
      stored: false,
      release: () => this.#release(growth),
    };
    try {
      this.#refuse(growth);
    } catch (error) {
      this.#since.delete(path);
      throw error;
    }
    this.#add(growth);
    return this.excess(false) > 0 ? Object.assign(growth, { ready: this.makeRoom() }) : growth;
  }

  /** Makes room now, where there is too little. */
  makeRoom(): Promise<void> {
    this.#room ??= this.#options.makeRoom().finally(() => {
      this.#room = undefined;
    });
    return this.#room;
  }

  /** Bytes by which the storage limit is exceeded; with `ahead`, those that are to be freed. */
  excess(ahead: boolean): number {
    const { storageBytes } = this.limits;
    if (storageBytes === null) return 0;
    return this.#total() - storageBytes * (ahead ? 1 - FREED_AHEAD : 1);
  }

  /** Looks again at the uploads that nobody is sending. */
  recount(): void {
    this.#unfinished = this.limits.storageBytes === null ? 0 : this.#options.unfinished();
  }

  /** Identifies the paths that something is on its way to, see {@link partialId}. */
  expected(): Set<string> {
    return new Set([...this.#growing.keys()].map(partialId));
  }

  /**
   * A file or link became a version, because it is about to be replaced or removed. Returns what is
   * to be {@link written} with the version (`kept`), and with the change that follows (`left`), as the database counts the entry until then.
   */
  retired(path: string, bytes: number): { readonly kept: Usage; readonly left: Usage } {
    // The first is the one that takes its place.
    const [first] = [...(this.#growing.get(path) ?? [])].filter(({ stored }) => !stored);
    if (first !== undefined) this.#replacesNothing(first);
    const kept = this.#change({ ...NOTHING, versionBytes: bytes, versions: 1 });
    return { kept, left: this.#change({ ...NOTHING, bytes: -bytes, entries: -1 }) };
  }

  /** Counts what the event says that was stored. Of what is removed or moved the database says what it means, later. */
  count(event: ReceiveEvent): Usage {
    if (event.type === "moved" && event.kind === "directory") this.#renamed = true;
    if (event.type !== "stored") return NOTHING;
    const { path, bytes, entry } = event;
    const first = [...(this.#growing.get(path) ?? [])].find(({ stored }) => !stored);
    if (first !== undefined) first.stored = true;
    const known = entry.kind !== "directory" || first?.isNew === true;
    return this.#change({ ...NOTHING, bytes, entries: known ? 1 : 0 });
  }

  /** When the transfer that the event ends began, where that is known. */
  since(event: ReceiveEvent): number | undefined {
    if (event.type !== "stored" && event.type !== "failed" && event.type !== "changed") return undefined;
    const since = this.#since.get(event.path);
    this.#since.delete(event.path);
    return since;
  }

  /** The database has so much of what was pending. */
  written(change: Usage): void {
    this.#pending = plus(this.#pending, change, -1);
  }

  /** The database says what there is now, beside what is pending. */
  update(usage: Usage): void {
    this.#usage = usage;
    this.#renamed = false;
  }

  #rename(): Ticket {
    const release = (): void => {};
    return this.#renamed && this.limited ? { ready: this.makeRoom(), release } : { release };
  }

  #change(change: Usage): Usage {
    this.#pending = plus(this.#pending, change, 1);
    return change;
  }

  #add(growth: Growth): void {
    const all = this.#growing.get(growth.path) ?? new Set();
    this.#growing.set(growth.path, all.add(growth));
    this.#count(growth, 1);
  }

  #release(growth: Growth): void {
    this.#since.delete(growth.path);
    const all = this.#growing.get(growth.path);
    if (all?.delete(growth) !== true) return;
    if (all.size === 0) this.#growing.delete(growth.path);
    this.#count(growth, -1);
    // What others were to replace does not come.
    if (!growth.stored) for (const other of all) this.#replacesNothing(other);
  }

  #replacesNothing(growth: Growth): void {
    this.#growth.visible += growth.replaced;
    growth.replaced = 0;
  }

  #count({ bytes, replaced, isNew }: Growth, sign: 1 | -1): void {
    this.#growth.bytes += sign * bytes;
    this.#growth.visible += sign * (bytes - replaced);
    this.#growth.steps += sign;
    this.#growth.entries += isNew ? sign : 0;
    if (CONFUNDO_ASSERTIONS) {
      const { bytes: coming, steps, entries } = this.#growth;
      invariant(coming >= 0 && steps >= 0 && entries >= 0, "more room was released than reserved");
    }
  }

  #total(): number {
    const coming = this.#growth.bytes + this.#growth.steps * ENTRY_COST_BYTES;
    return storageOf(plus(this.#usage, this.#pending, 1), this.#unfinished) + coming;
  }

  #refuse({ path, bytes, replaced, isNew }: Growth): void {
    const { quotaBytes, storageBytes, entries } = this.limits;
    const now = plus(this.#usage, this.#pending, 1);
    const grown = bytes - replaced;
    const refuse = (limit: Limit, text: string): SyncError => {
      this.#options.onRefused(limit);
      return new SyncError("ERR_QUOTA", `the mirror "${this.#options.name}" may ${text}`, { path });
    };
    if (quotaBytes !== null && grown > 0 && now.bytes + this.#growth.visible + grown > quotaBytes) {
      const more = `there is no room for ${inUnits(bytes)} more`;
      throw refuse("quota", `hold ${inUnits(quotaBytes)} and holds ${inUnits(now.bytes)}: ${more}`);
    }
    if (entries !== null && isNew && now.entries + this.#growth.entries + 1 > entries) {
      const most = `${entries.toLocaleString("en")} files, links and directories`;
      throw refuse("entries", `hold ${most} (--max-entries) and is full: delete some, or ask for a higher limit`);
    }
    if (storageBytes === null || grown + (isNew ? ENTRY_COST_BYTES : 0) <= 0) return;
    // Versions and unfinished uploads make way; nothing else does.
    const visible = now.bytes + this.#growth.visible + grown;
    const cost = (now.entries + this.#growth.entries + (isNew ? 1 : 0)) * ENTRY_COST_BYTES;
    if (visible + cost <= storageBytes) return;
    const each = `each of its ${now.entries.toLocaleString("en")} entries counts ${inUnits(ENTRY_COST_BYTES)} besides its content`;
    const text = `take ${inUnits(storageBytes)} on the server's disk, where ${each}`;
    throw refuse("storage", `${text}: there is no room for ${inUnits(bytes + ENTRY_COST_BYTES)} more`);
  }
}

export function plus(a: Usage, b: Usage, sign: 1 | -1): Usage {
  return {
    bytes: a.bytes + sign * b.bytes,
    entries: a.entries + sign * b.entries,
    versionBytes: a.versionBytes + sign * b.versionBytes,
    versions: a.versions + sign * b.versions,
  };
}

/** `undefined` where nothing is, or what is above it is no folder (yet). Links and folders have no size that counts. */
function entryAt(place: string): { readonly size: number; readonly isDirectory: boolean } | undefined {
  try {
    const stats = lstatSync(systemPath(place), { throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    return { size: stats.isFile() ? stats.size : 0, isDirectory: stats.isDirectory() };
  } catch {
    return undefined;
  }
}

/** Bytes for people: whole numbers of the largest unit (of 1024) that leaves at least ten of it. */
export function inUnits(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.max(0, Math.min(4, Math.floor(Math.log2(bytes / 10) / 10)));
  return `${Math.round(bytes / 1024 ** unit)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}
