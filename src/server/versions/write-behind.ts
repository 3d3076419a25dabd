/**
 * What sessions have done, on its way into the database, in batches: file changes, versions, events and transfers. It is kept
 * in files until the database has it, and is bounded: where it is full, clients wait.
 */
import type { ReceiveEvent } from "../../sync/index.js";
import { DatabaseError } from "../database/errors.js";
import type { Batch, Database, FileChange, LoggedEvent, Transfer } from "../database/types.js";
import type { ContentStore, Retired } from "./content.js";
import { MAX_WRITE_BEHIND_BYTES } from "./limits.js";
import { Queue } from "./queue.js";
import type { Quota, Usage } from "./quota.js";
import { type Actor, fromLine, toChange, toEvent, toLine } from "./record.js";
import { WriteBehindLog } from "./write-behind-log.js";

/** What a session has reported. */
export interface Recorded {
  readonly event: ReceiveEvent;
  readonly folder: string;
  readonly who: Actor;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** What is kept in files until it is written. */
export type Kept =
  | { readonly retired: Retired }
  | { readonly recorded: Recorded }
  | { readonly event: Omit<LoggedEvent, "id" | "at"> };

type Item =
  | (Kept & { readonly count?: Counted; readonly run: string; readonly number: number })
  | { readonly clean: string }
  | { readonly done: () => void };

/** A change that the folder's quota has counted, where the folder is being changed. */
export type Counted = { readonly quota: Quota; readonly usage: Usage } | undefined;

/** How far the database is behind. */
export interface WriteBehindFigures {
  /** For how long the oldest thing has been waiting, in milliseconds. */
  readonly lagMs: number;
  readonly items: number;
  readonly bytes: number;
  /** How often clients had to wait. */
  readonly waits: number;
}

/** What earlier runs have left. */
export interface Replayed {
  readonly runs: readonly string[];
  /** Versions among it, each as `RUN/ID`. */
  readonly retired: ReadonlySet<string>;
}

export interface WriteBehindOptions {
  readonly database: Database;
  readonly content: ContentStore;
  /** Where the files are. Made when needed. */
  readonly dir: string;
  /** Default {@link MAX_WRITE_BEHIND_BYTES}. */
  readonly maxBytes?: number | undefined;
  /** See `QueueOptions.catchUp`. */
  readonly catchUp: () => Promise<void>;
  /** Whether sessions are changing the folder. */
  readonly isOpen: (folder: string) => boolean;
  /** Has the quota of a folder read what the database says. */
  readonly updateQuota: (folder: string) => Promise<void>;
  /** Called when there are more versions in the database. */
  readonly onVersions?: () => void;
  readonly onError: (error: unknown) => void;
}

export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #queue: Queue<Item>;
  readonly #log: WriteBehindLog;
  readonly #maxBytes: number;
  /** Clients that wait until there is room. */
  #room: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #waits = 0;
  /** By folder and path, what was replaced or deleted there and is not written yet. */
  readonly #retired = new Map<string, Retired[]>();
  #flushing: NodeJS.Immediate | undefined;

  constructor(options: WriteBehindOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? MAX_WRITE_BEHIND_BYTES;
    this.#log = new WriteBehindLog(options.dir, (error) => options.onError(error));
    this.#queue = new Queue<Item>({
      write: (batch) => this.#write(batch),
      isPassing: (error) => error instanceof DatabaseError && error.retryable,
      isAlone: isTreeMove,
      onDropped: () => this.#concede(),
      onLost: (items, error) => this.#lose(items, error),
      catchUp: options.catchUp,
    });
  }

  get figures(): WriteBehindFigures {
    return { lagMs: this.#queue.lagMs, items: this.#queue.size, bytes: this.#queue.bytes, waits: this.#waits };
  }

  /** Whether something was lost that is not caught up with yet. */
  get incomplete(): boolean {
    return this.#queue.incomplete;
  }

  /** Whether the database takes nothing now. */
  get failing(): boolean {
    return this.#queue.failing;
  }

  /** `undefined` where there is room, else what resolves when there is. */
  get room(): Promise<void> | undefined {
    if (this.#queue.bytes < this.#maxBytes) return undefined;
    if (this.#room === undefined) {
      let resolve: () => void = () => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#room = { promise, resolve };
      this.#waits++;
    }
    return this.#room.promise;
  }

  /** What was replaced or deleted at a path and is not in the database yet. */
  retired(folder: string, path: string): readonly Retired[] {
    return this.#retired.get(keyOf(folder, path)) ?? [];
  }

  add(kept: Kept, count?: Counted): void {
    if ("retired" in kept) this.#remember(kept.retired);
    const { number, bytes } = this.#log.append(toLine(kept));
    this.#queue.add({ ...kept, count, run: this.#log.run, number }, { bytes });
    this.#flushing ??= setImmediate(() => this.flush());
  }

  /** What was added survives the end of the program from now on. */
  flush(): void {
    if (this.#flushing !== undefined) clearImmediate(this.#flushing);
    this.#flushing = undefined;
    this.#log.flush();
  }

  /** Marks the folder as clean when everything added so far is in the database, unless it is being changed then. */
  clean(folder: string): void {
    this.#queue.add({ clean: folder });
  }

  /** Resolves when everything added so far is in the database. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.#queue.add({ done: resolve }, { hurry: true }));
  }

  /** Adds what earlier runs have left. Resolves to the runs, to be {@link forget forgotten} when that is settled. */
  async replay(turn: () => Promise<unknown>): Promise<Replayed> {
    const positions = new Map<string, number>();
    for (const run of this.#log.earlierRuns()) {
      positions.set(run, await this.#options.database.batches.position(run));
    }
    const retired = new Set<string>();
    for (const { run, number, bytes, value } of this.#log.earlier()) {
      await turn();
      if (number <= (positions.get(run) ?? 0)) continue;
      const kept = fromLine(value);
      if (kept === undefined) continue;
      if ("retired" in kept) {
        retired.add(`${kept.retired.run}/${kept.retired.id}`);
        this.#remember(kept.retired);
      }
      this.#queue.add({ ...kept, run, number }, { bytes });
    }
    return { runs: [...positions.keys()], retired };
  }

  async forget(runs: readonly string[]): Promise<void> {
    this.#log.forgetEarlier();
    for (const run of runs) await this.#options.database.batches.forget(run);
  }

  /** Nothing waits any longer for more, or for a database that is unavailable. */
  hasten(): void {
    this.#queue.hasten();
  }

  /** Writes what is left, if the database takes it; else it is in the files. */
  async close(): Promise<void> {
    this.flush();
    await this.#queue.close();
    this.#room?.resolve();
    if (this.#queue.size > 0) {
      this.#log.close();
      return;
    }
    this.#log.remove();
    if (this.#log.isUsed) await this.#options.database.batches.forget(this.#log.run).catch(() => {});
  }

  /** It is still in the folders, which stay unclean and are looked through, and in the journal of versions. */
  #lose(items: readonly Item[], error?: unknown): void {
    if (error !== undefined) this.#options.onError(error);
    for (const item of items) {
      if ("done" in item) item.done();
      if ("count" in item) item.count?.quota.written(item.count.usage);
      if ("retired" in item) this.#forget(item.retired);
    }
  }

  #remember(retired: Retired): void {
    const key = keyOf(retired.folder, retired.path);
    const others = this.#retired.get(key);
    if (others === undefined) this.#retired.set(key, [retired]);
    else others.push(retired);
  }

  #forget(retired: Retired): void {
    const key = keyOf(retired.folder, retired.path);
    const others = this.#retired.get(key)?.filter((one) => one !== retired) ?? [];
    if (others.length === 0) this.#retired.delete(key);
    else this.#retired.set(key, others);
  }

  async #write(batch: readonly Item[]): Promise<void> {
    const { database } = this.#options;
    const changes: FileChange[] = [];
    const events: Batch["events"][number][] = [];
    const transfers: Omit<Transfer, "id">[] = [];
    const agreed: Batch["agreed"][number][] = [];
    const positions = new Map<string, number>();
    const kept: { retired: Retired; sha256: string | null }[] = [];
    for (const item of batch) {
      if ("number" in item) positions.set(item.run, item.number);
      if ("event" in item) events.push(item.event);
      if ("retired" in item) {
        const sha256 = await this.#keep(item.retired);
        kept.push({ retired: item.retired, sha256 });
        changes.push(retiring(item.retired, sha256));
      }
      if (!("recorded" in item)) continue;
      const { event, folder, who, at } = item.recorded;
      const change = toChange(event, folder, at);
      if (change !== undefined) changes.push(change);
      const logged = toEvent(event, folder, who);
      if (logged !== undefined) events.push(logged);
      if (event.type === "agreed") agreed.push({ folder, root: event.root, at });
      const transfer = toTransfer(item.recorded);
      if (transfer !== undefined) transfers.push(transfer);
    }
    if (positions.size > 0) await database.batches.write({ changes, transfers, events, agreed, positions }, Date.now());
    await this.#updateQuotas(batch);
    for (const { retired, sha256 } of kept) {
      if (sha256 !== null) await this.#keepAgain(retired, sha256);
      this.#options.content.settle(retired);
      this.#forget(retired);
    }
    if (kept.length > 0) this.#options.onVersions?.();
    this.#log.written(positions.get(this.#log.run) ?? 0);
    for (const item of batch) {
      if ("done" in item) item.done();
      if ("clean" in item && !this.#options.isOpen(item.clean)) await database.files.markClean(item.clean);
    }
  }

  /** Lets those go on that wait for room, when there is enough of it. */
  #concede(): void {
    if (this.#room === undefined || this.#queue.bytes > this.#maxBytes / 2) return;
    this.#room.resolve();
    this.#room = undefined;
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

  /** It may have been pruned away in the moment before the database knew of it, or since. */
  async #keepAgain(retired: Retired, sha256: string): Promise<void> {
    const { content, database } = this.#options;
    if (content.find(sha256) !== undefined) return;
    content.keep(retired, sha256);
    const needed = async (): Promise<boolean> => (await database.versions.needed([sha256])).has(sha256);
    if (!(await needed())) await content.remove(sha256, needed);
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

function keyOf(folder: string, path: string): string {
  return `${folder}\0${path}`;
}

function retiring(retired: Retired, sha256: string | null): FileChange {
  const { folder, path, kind, size, mode, mtimeNs, target, why, at } = retired;
  return { do: "retire", at, folder, path, kind, size, mode, mtimeNs: BigInt(mtimeNs), sha256, target, why };
}

function toTransfer({ event, folder, who, startedAt, endedAt }: Recorded): Omit<Transfer, "id"> | undefined {
  if (event.type !== "failed" && !(event.type === "stored" && event.entry.kind === "file")) return undefined;
  const bytes = event.type === "stored" ? event.bytes : 0;
  const outcome = event.type === "stored" ? "stored" : "failed";
  const code = event.type === "failed" ? event.code : null;
  const device = "device" in who ? who.device : null;
  return { folder, device, path: event.path, bytes, startedAt, endedAt, outcome, code };
}

/** The move of a directory may take many transactions. */
function isTreeMove(item: Item): boolean {
  if (!("recorded" in item)) return false;
  const { event } = item.recorded;
  return event.type === "moved" && event.kind === "directory";
}
