/** The sending side's view of a mirror: what it holds, and a way to change it. */
import type { Duplex } from "node:stream";
import { Observable, Subject } from "rxjs";
import { invariant } from "../invariant/index.js";
import { Channel } from "./channel.js";
import { Gone } from "./copies.js";
import { type Deferred, deferred } from "./deferred.js";
import type { HeldDeletes } from "./delete-guard.js";
import { Descent } from "./descent.js";
import { descriptorBudget, isExhausted } from "./descriptors.js";
import { type Comparison, type Entry, type FileEntry, withHash } from "./entry.js";
import { SyncError } from "./errors.js";
import {
  FEATURE_CHECKS,
  FEATURE_DELTAS,
  FEATURE_FOLDERS,
  FEATURE_GUARD,
  FEATURE_HOLES,
  FEATURE_MOVES,
  FEATURE_OFFERS,
  FEATURE_PACKED,
  FEATURE_TIMES,
  FEATURES,
  GOODBYE_MS,
  HANDSHAKE_MS,
  LEAST_SOURCE_BYTES,
  LOOKING_SHARE,
  MAX_DELTA_BYTES,
  MAX_LARGE_SENDS,
  MAX_LISTED_ENTRIES,
  MIN_DELTA_BYTES,
  PROTOCOL_VERSION,
} from "./limits.js";
import { relocated } from "./moves.js";
import { isWithin, parentOf } from "./path.js";
import type { Place } from "./place.js";
import type { Operation } from "./plan.js";
import type { Approval, Outcome, RemoteOptions, RemoteSession } from "./remote-types.js";
import { NO_ROOT, Roots } from "./roots.js";
import { Sender } from "./send.js";
import { LATEST_OLD_NS } from "./times.js";
import { encode, type Message, type Relation } from "./wire.js";

export type { Approval, Outcome, Remote, RemoteOptions, RemoteSession } from "./remote-types.js";

/**
 * Greets the server over `duplex` and fetches what the mirror holds. Takes the Duplex over: it is destroyed when the
 * session ends, or when this rejects (with a {@link SyncError}: what the server answered, or how the connection broke).
 */
export async function openRemote(duplex: Duplex, options: RemoteOptions, signal?: AbortSignal): Promise<RemoteSession> {
  const remote = greet(duplex, options);
  const abort = (): void => remote.destroy();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    if (signal?.aborted) abort();
    await remote.listing;
    return remote;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

function greet(duplex: Duplex, options: RemoteOptions): WireRemote {
  try {
    return new WireRemote(duplex, options);
  } catch (error) {
    duplex.on("error", () => {}).destroy();
    throw error;
  }
}

/** With so many entries the root hash is checked, where invariants are. */
const CHECKED_ENTRIES = 200;

/** Something is missing there, or something else is there, in the folder that should hold it. */
const CONTRADICTIONS: ReadonlySet<string> = new Set([
  "ERR_NOT_A_FOLDER",
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EEXIST",
  "ENOTEMPTY",
  "ELOOP",
]);

const NOTHING_HELD: HeldDeletes = { id: "", reason: "limit", files: 0, of: 0, deleted: 0, windowMs: 0, paths: [] };

class WireRemote implements RemoteSession {
  entries = new Map<string, Entry>();
  comparison: Comparison = {};
  place: Place | undefined;
  #roots = new Roots({});
  /** How often something in them was changed. */
  #changes = 0;
  moves = false;
  #deltas = false;
  #offers = false;
  #holes = false;
  /** Fewer where the server has run out of descriptors. */
  #largeSends = descriptorBudget(MAX_LARGE_SENDS, 1 / 4);
  readonly #gone = new Gone();
  #versions = false;
  /** Whether there are, or were, files to take chunks from. */
  #sources = false;
  readonly #perms: boolean;
  readonly #options: RemoteOptions;
  #expected: Promise<Map<string, Entry> | undefined> | undefined;
  #expecting: Map<string, Entry> | undefined;
  #descent: Descent | undefined;
  /** Entries that have come and were not counted. */
  #unlisted = 0;
  #folders = false;
  root: string | undefined;
  relation: Relation | undefined;
  owner: string | undefined;
  #guarded = false;
  readonly #approvals = new Subject<Approval>();
  readonly approvals$: Observable<Approval> = this.#approvals.asObservable();
  /** Until when computing the root again would take more than its share of the time. */
  #rootAgainMs = 0;
  /** Paths for which what was built from an older version was not right: sent whole next time. */
  readonly #suspect = new Set<string>();
  readonly #channel: Channel;
  readonly #listing: Deferred = deferred();
  readonly #closed: Deferred<SyncError | undefined> = deferred();
  readonly #handshake: NodeJS.Timeout;
  readonly #senders = new Set<Sender>();
  #state: "greeting" | "listing" | "open" = "greeting";
  #nextId = 1;

  constructor(duplex: Duplex, options: RemoteOptions) {
    this.#listing.promise.catch(() => {});
    const { name, clientId, instanceId, label = "", perms = false } = options;
    this.#perms = perms;
    this.#options = options;
    // What no greeting may hold is refused before anything is begun.
    const hello = encode({
      type: "hello",
      version: PROTOCOL_VERSION,
      name,
      clientId,
      instanceId,
      label,
      features: FEATURES,
      ...(options.replaces === undefined ? {} : { replaces: options.replaces }),
      ...(options.source === undefined ? {} : { source: options.source }),
    });
    this.#handshake = setTimeout(
      () => this.#channel.destroy(new SyncError("ERR_PEER_SILENT", "the server did not answer the greeting")),
      options.handshakeMs ?? HANDSHAKE_MS,
    );
    this.#channel = new Channel(duplex, {
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      ...(options.silenceMs === undefined ? {} : { silenceMs: options.silenceMs }),
      onMessage: (message) => this.#receive(message),
      onClose: (error) => this.#finish(error),
    });
    this.#channel.sendFrame(hello);
    this.#expected = options.expected?.().catch(() => undefined);
  }

  get listing(): Promise<void> {
    return this.#listing.promise;
  }

  get bytesSent(): number {
    return this.#channel.bytesSent;
  }

  get closed(): Promise<SyncError | undefined> {
    return this.#closed.promise;
  }

  apply(folder: string, operations: readonly Operation[], settleOpenMs = 0): Observable<Outcome> {
    return new Observable((subscriber) => {
      const sender = new Sender({
        channel: this.#channel,
        folder,
        nextId: () => this.#nextId++,
        perms: this.comparison.perms ?? false,
        baseOf: (entry) => this.#baseOf(entry),
        suspect: this.#suspect,
        entries: this.entries,
        gone: this.#gone,
        offers: () => this.#hasSources(),
        settleOpenMs,
        largeSends: this.#largeSends,
        holes: this.#holes,
        latestNs: this.comparison.latestNs,
        report: (outcome) => {
          if (outcome.type === "done") this.#record(outcome.operation, outcome.sha256);
          else if (outcome.type === "failed" && this.#contradicts(outcome)) this.#diverged();
          else if (outcome.type === "failed" && isExhausted(outcome.error))
            this.#largeSends = Math.max(1, Math.floor(this.#largeSends / 2));
          subscriber.next(outcome);
        },
      });
      this.#senders.add(sender);
      sender.run(operations).then(
        () => subscriber.complete(),
        (error) => subscriber.error(error),
      );
      return () => {
        sender.stop();
        this.#senders.delete(sender);
      };
    });
  }

  async settled(): Promise<void> {
    const root = await this.#computeRoot();
    this.root = root?.toString("hex");
    this.#channel.send({ type: "settled", entries: this.entries.size, root: root ?? NO_ROOT });
  }

  claim(source: string): void {
    if (!this.#guarded) return;
    this.relation = "same";
    this.#channel.send({ type: "claim", source });
  }

  holds(held: HeldDeletes | undefined): void {
    if (this.#guarded) this.#channel.send({ type: "deletes", ...(held ?? NOTHING_HELD) });
  }

  async close(graceMs: number = GOODBYE_MS): Promise<void> {
    this.#channel.goodbye(graceMs);
    await this.#closed.promise;
  }

  destroy(): void {
    this.#channel.destroy();
  }

  /** What is there of an older version is worth asking for. */
  #baseOf({ path, size }: FileEntry): string | undefined {
    const there = this.entries.get(path);
    const older = this.#deltas && there?.kind === "file" && there.size >= MIN_DELTA_BYTES && size >= MIN_DELTA_BYTES;
    return older && there.size <= MAX_DELTA_BYTES ? path : undefined;
  }

  /** Whether the mirror has, or had, files whose chunks may be in others. */
  #hasSources(): boolean {
    if (!this.#offers || this.#sources) return this.#offers;
    for (const entry of this.entries.values()) {
      if (entry.kind !== "file" || entry.size <= LEAST_SOURCE_BYTES) continue;
      this.#sources = true;
      break;
    }
    return this.#sources;
  }

  async #computeRoot(): Promise<Buffer | undefined> {
    const began = performance.now();
    if (began < this.#rootAgainMs) return undefined;
    const before = this.#changes;
    const root = await this.#roots.compute(this.entries.values());
    const now = performance.now();
    this.#rootAgainMs = now + (now - began) / LOOKING_SHARE;
    if (this.#changes === before) {
      if (CONFUNDO_ASSERTIONS && this.entries.size <= CHECKED_ENTRIES) await this.#checkRoot(root, before);
      return root;
    }
    // Of some of it from before a change, and of some from after it.
    this.#roots = new Roots(this.comparison);
    return undefined;
  }

  /** What was computed from the folders that have changed is what all entries give. */
  async #checkRoot(root: Buffer | undefined, changes: number): Promise<void> {
    if (!CONFUNDO_ASSERTIONS) return;
    const whole = await new Roots(this.comparison).compute([...this.entries.values()]);
    const same = root === undefined ? whole === undefined : whole?.equals(root) === true;
    invariant(same || this.#changes !== changes, "the root hash is not that of the entries");
  }

  /** What the mirror holds now. It is told when nobody has asked for anything since all was equal. */
  async #compareRoot(root: Uint8Array): Promise<void> {
    if (this.#senders.size > 0 || NO_ROOT.equals(root)) return;
    const changes = this.#changes;
    this.root ??= (await this.#computeRoot())?.toString("hex");
    const ours = this.root;
    if (ours === undefined || this.#senders.size > 0 || this.#changes !== changes) return;
    if (Buffer.from(root).toString("hex") !== ours) this.#diverged();
  }

  /** Whether a step could fail so only because the mirror is not what it has confirmed to be. */
  #contradicts({ operation, error }: Outcome & { type: "failed" }): boolean {
    // What fails here has a path.
    if (!CONTRADICTIONS.has(error.code) || error.path !== undefined) return false;
    const { path } = operation.entry;
    // Its making failed before, for which there may be other reasons.
    if (operation.do === "touch" && !this.entries.has(path)) return false;
    // A folder that still holds what was to go before, and did not.
    if (error.code === "ENOTEMPTY" && [...this.entries.keys()].some((name) => name !== path && isWithin(name, path))) {
      return false;
    }
    const above = parentOf(path);
    return above === "" || this.entries.get(above)?.kind === "directory";
  }

  #diverged(): void {
    if (!(this.#options.mayDiverge?.() ?? false)) return;
    this.#channel.destroy(new SyncError("ERR_DIVERGED", "the destination is not what it should be; comparing anew"));
  }

  #record(operation: Operation, sha256: Uint8Array | undefined): void {
    const before = this.entries.get(operation.entry.path);
    const entry = withContent(operation.entry, sha256, before);
    const same =
      operation.do !== "remove" && entry.kind === "file" && before?.kind === "file" && entry.sha256 === before.sha256;
    if (this.#versions && before?.kind === "file" && !same) this.#gone.remember(before);
    this.root = undefined;
    this.#changes++;
    this.#roots.touch(entry.path);
    // What goes later may be kept as an old version.
    if (entry.kind === "file" && entry.size > LEAST_SOURCE_BYTES) this.#sources = true;
    if (operation.do === "remove") this.entries.delete(entry.path);
    else if (operation.do === "rename") this.#relocate(operation.from, entry.path);
    // Its attributes are set by a step of their own.
    else if (operation.do === "mkdir") this.entries.set(entry.path, { kind: "directory", path: entry.path });
    else if (operation.do !== "hold") this.entries.set(entry.path, entry);
    if (operation.do !== "move" || operation.held) return;
    this.#roots.touch(operation.from);
    this.entries.delete(operation.from);
  }

  #relocate(from: string, to: string): void {
    this.#roots.touchTree(from);
    this.#roots.touchTree(to);
    for (const [path, entry] of [...this.entries]) {
      if (!isWithin(path, from)) continue;
      this.entries.delete(path);
      const moved = relocated(entry, to + path.slice(from.length));
      this.entries.set(moved.path, moved);
    }
  }

  #receive(message: Message): void {
    const { type } = message;
    if (type === "error") this.#channel.destroy(new SyncError(message.code, message.message));
    else if (type === "bye") this.#channel.destroy(new SyncError("ERR_SERVER_CLOSING", "the server took its leave"));
    else if (type === "welcome") this.#welcome(message);
    else if (type === "entries") this.#list(message.entries);
    else if (type === "folders") this.#descend(message.folders);
    else if (type === "listed") this.#listed(message.count);
    else if (type === "same") this.#same(message.count);
    else if (type === "place") this.place = { machine: message.machine, ids: message.ids };
    else if (type === "root") void this.#compareRoot(message.root);
    else if (type === "approve") this.#approvals.next({ id: message.id, approved: message.approved });
    else if (type === "done") for (const id of message.ids) this.#answer(type, id, (sender) => sender.done(id));
    else if (type === "fail") {
      const error = new SyncError(message.code, message.message);
      this.#answer(type, message.id, (sender) => sender.fail(message.id, error));
    } else if (type === "chunks") {
      this.#answer(type, message.id, (sender) => sender.chunks(message.id, message.records));
    } else if (type === "known") {
      this.#answer(type, message.id, (sender) => sender.known(message.id, message.bits));
    } else if (type === "have") {
      this.#answer(type, message.id, (sender) => sender.have(message.id, message.offset));
    } else throw unexpected(type);
  }

  #welcome(message: Message & { type: "welcome" }): void {
    if (this.#state !== "greeting") throw unexpected("welcome");
    if (message.version !== PROTOCOL_VERSION) {
      throw new SyncError("ERR_VERSION", `the server speaks version ${message.version} of the protocol`);
    }
    clearTimeout(this.#handshake);
    const executable = message.executable && process.platform !== "win32";
    const { folderTimes, linkTimes } = message;
    this.moves = ((message.features ?? 0) & FEATURE_MOVES) !== 0;
    if (((message.features ?? 0) & FEATURE_PACKED) !== 0) this.#channel.compress();
    this.#deltas = ((message.features ?? 0) & FEATURE_DELTAS) !== 0;
    this.#holes = ((message.features ?? 0) & FEATURE_HOLES) !== 0;
    this.#offers = ((message.features ?? 0) & FEATURE_OFFERS) !== 0;
    this.#folders = ((message.features ?? 0) & FEATURE_FOLDERS) !== 0;
    this.#guarded = ((message.features ?? 0) & FEATURE_GUARD) !== 0;
    if (this.#guarded) {
      this.relation = message.relation;
      this.owner = message.owner;
    }
    this.#sources = message.chunks ?? false;
    this.#versions = message.versions ?? false;
    const checks = ((message.features ?? 0) & FEATURE_CHECKS) !== 0;
    const { mtimeToleranceNs, latestNs } = message;
    const old = ((message.features ?? 0) & FEATURE_TIMES) === 0;
    const latest = old ? { latestNs: LATEST_OLD_NS } : latestNs === undefined ? {} : { latestNs };
    const times = { mtimeToleranceNs, folderTimes, linkTimes, ...latest };
    this.comparison = { executable, checks, hashes: true, perms: this.#perms, ...times };
    this.#roots = new Roots(this.comparison);
    this.#state = "listing";
    void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#expecting = await this.#expected;
    this.#expected = undefined;
    const root = this.#expecting === undefined ? undefined : await this.#roots.compute(this.#expecting.values());
    const verify = this.#options.verify?.() ?? false;
    const folders = this.#folders && this.#expecting !== undefined ? { folders: true } : {};
    this.#channel.send({ type: "list", root: root ?? NO_ROOT, verify, perms: this.#perms, ...folders });
  }

  #same(count: number): void {
    if (this.#state !== "listing" || this.#expecting?.size !== count) throw unexpected("same");
    this.entries = this.#expecting;
    this.#finishListing();
  }

  #list(entries: readonly Entry[]): void {
    if (this.#state !== "listing") throw unexpected("entries");
    for (const entry of entries) this.entries.set(entry.path, entry);
    this.#unlisted += entries.length;
    if (this.entries.size > MAX_LISTED_ENTRIES) throw new SyncError("ERR_LIMIT", "the mirror holds too many entries");
  }

  #descend(folders: (Message & { type: "folders" })["folders"]): void {
    const expected = this.#expecting;
    if (this.#state !== "listing" || expected === undefined || !this.#folders) throw unexpected("folders");
    const roots = this.#roots;
    this.#descent ??= new Descent({ entries: expected, hashOf: (folder) => roots.hashOf(folder) }, (asked) =>
      this.#channel.send({ type: "look", folders: asked }),
    );
    this.#descent.take(folders);
  }

  #listed(count: number): void {
    if (this.#state !== "listing" || count !== this.#unlisted) throw unexpected("listed");
    this.#unlisted = 0;
    if (this.#descent === undefined) this.#finishListing();
    else if (this.#descent.answered()) void this.#descent.complete(this.entries).then(() => this.#finishListing());
  }

  #finishListing(): void {
    this.#state = "open";
    if (this.#expecting !== this.entries) this.#roots = new Roots(this.comparison);
    this.#expecting = undefined;
    this.#descent = undefined;
    this.#listing.resolve();
  }

  #answer(type: string, id: number, tell: (sender: Sender) => boolean): void {
    for (const sender of this.#senders) if (tell(sender)) return;
    // What was asked by a sender that has stopped since is answered all the same.
    if (id === 0 || id >= this.#nextId) throw unexpected(type);
  }

  #finish(error: SyncError | undefined): void {
    clearTimeout(this.#handshake);
    const reason = error ?? new SyncError("ERR_CONNECTION_LOST", "the session is closed");
    this.#listing.reject(reason);
    for (const sender of this.#senders) sender.lost(reason);
    this.#closed.resolve(error);
  }
}

/** What a file holds is known from what was sent; other attributes leave it as it is. */
function withContent(entry: Entry, sha256: Uint8Array | undefined, before: Entry | undefined): Entry {
  if (entry.kind !== "file") return entry;
  if (sha256 !== undefined) return withHash(entry, Buffer.from(sha256).toString("hex"));
  const same = before?.kind === "file" && before.sha256 !== undefined && before.size === entry.size;
  return same ? withHash(entry, before.sha256) : entry;
}

function unexpected(type: string): SyncError {
  return new SyncError("ERR_PROTOCOL", `the server sent a ${type} message at a time when none is expected`);
}
