/** What is under way in one session at the receiving end: in which order, how much of it, and what became of it. */

import { invariant } from "../invariant/index.js";
import type { Channel } from "./channel.js";
import { Commits, type Placed, type Staged } from "./commit.js";
import { explained } from "./descriptors.js";
import { clip, SyncError, toSyncError } from "./errors.js";
import type { Admission, Admitted, StepEvent, StoredEntry, Ticket } from "./hosting.js";
import { MAX_PENDING_BYTES, MAX_PENDING_OPERATIONS } from "./limits.js";
import { PathOrder, type Turn } from "./order.js";
import type { Storage } from "./storage.js";

export interface DeskOptions {
  readonly channel: Channel;
  readonly admission: Admission;
  readonly onStep: (event: StepEvent) => void;
  readonly onFailed: (path: string, code: string) => void;
}

export class Desk {
  readonly channel: Channel;
  readonly storage: Storage;
  /** Whether the client has found nothing more to do since its last step. */
  settled = false;
  /** How many steps have come. */
  steps = 0;
  readonly #options: DeskOptions;
  readonly #order = new PathOrder();
  readonly #commits: Commits;
  readonly #idle: (() => void)[] = [];
  /** Room that is reserved, by the id of its step. */
  readonly #tickets = new Map<number, Ticket>();
  #pending = 0;
  #pendingBytes = 0;
  #full = false;
  #waitsForRoom = false;

  constructor(options: DeskOptions) {
    this.#options = options;
    this.channel = options.channel;
    this.storage = options.admission.storage;
    this.#commits = new Commits({
      storage: this.storage,
      onDone: (group) => this.#report(group),
      onFail: ({ id, folders }, error) => this.fail(id, folders[0] ?? "", error),
      onBusy: (busy) => (busy ? this.begin() : this.leave()),
    });
  }

  /** Takes a place in the line for `paths`. To be followed by {@link leave} with as many bytes. */
  enter(paths: readonly string[], bytes = 0): Turn {
    this.settled = false;
    this.steps++;
    this.begin(bytes);
    return this.#order.enter(...paths);
  }

  /** Something is under way that the end of the session waits for, until {@link leave}. */
  begin(bytes = 0): void {
    this.#pending++;
    this.#pendingBytes += bytes;
    this.#throttle();
  }

  leave(bytes = 0): void {
    this.#pending--;
    this.#pendingBytes -= bytes;
    if (CONFUNDO_ASSERTIONS) invariant(this.#pending >= 0 && this.#pendingBytes >= 0, "more has ended than began");
    this.#throttle();
    if (this.#pending === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Has a file flushed that was written beside, and then placed. */
  stage(staged: Staged): void {
    this.#commits.stage(staged);
  }

  /** Has the folders of a step flushed, and then reports it to the client. */
  place(placed: Placed): void {
    this.#commits.add(placed);
    this.#throttle();
  }

  fail(id: number, path: string, error: unknown): void {
    const { code, message } = explained(toSyncError(error), "server");
    this.channel.send({ type: "fail", id, code, message: clip(message) });
    this.#options.onFailed(path, code);
    this.release(id);
  }

  /** Throws where the host does not let the client change anything. */
  permit(): void {
    const { readOnly } = this.#options.admission;
    if (readOnly) throw new SyncError("ERR_FORBIDDEN", "this client may read the mirror only");
  }

  /**
   * Reserves room for a step until it is done, has failed or is {@link release}d. Throws where there is none; returns a promise
   * where room is being made, and nothing more is read until then.
   */
  reserve(id: number, path: string, bytes: number, what: Admitted = "file"): Promise<void> | undefined {
    const ticket = this.#options.admission.admitBytes?.(path, bytes, what);
    if (ticket === undefined) return undefined;
    if (this.#tickets.has(id)) {
      ticket.release();
      const twice = new SyncError(
        "ERR_PROTOCOL",
        `the id ${id} is used for a second step before the first is answered`,
      );
      this.channel.fail(twice);
      throw twice;
    }
    this.#tickets.set(id, ticket);
    const { ready } = ticket;
    if (ready === undefined) return undefined;
    this.channel.hold();
    ready.catch(() => {}).finally(() => this.channel.release());
    return ready;
  }

  release(id: number): void {
    this.#tickets.get(id)?.release();
    this.#tickets.delete(id);
  }

  /** At the end of a session. */
  releaseAll(): void {
    for (const ticket of this.#tickets.values()) ticket.release();
    this.#tickets.clear();
  }

  whenIdle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  async #report(group: readonly Placed[]): Promise<void> {
    if (group.length === 0) return;
    for (const { event } of group) {
      if (event === undefined) continue;
      if ("entry" in event) this.#remember(event.entry);
      this.#options.onStep(event);
    }
    this.#options.admission.onRecorded?.();
    this.#awaitRoom();
    if (this.#tickets.size > 0) for (const { id } of group) this.release(id);
    this.channel.send({ type: "done", ids: group.map(({ id }) => id) });
    this.#throttle();
    if (!this.channel.needsDrain) return;
    this.channel.hold();
    await this.channel.drained();
    this.channel.release();
  }

  /** What a file holds is known now; by its inode and change time, it stays known. */
  #remember(entry: StoredEntry | undefined): void {
    if (entry?.sha256 === undefined) return;
    this.storage.hashes.remember(entry.path, entry.size, entry.mtimeNs, entry.sha256);
  }

  #awaitRoom(): void {
    if (this.#waitsForRoom) return;
    const room = this.#options.admission.room?.();
    if (room === undefined) return;
    this.#waitsForRoom = true;
    this.channel.hold();
    void room.then(() => {
      this.#waitsForRoom = false;
      this.channel.release();
    });
  }

  /** Reads no further than we can store, and than the client reads our answers. */
  #throttle(): void {
    const most = this.#full ? 0.5 : 1;
    const steps = this.#pending + this.#commits.waiting;
    const full = steps > MAX_PENDING_OPERATIONS * most || this.#pendingBytes > MAX_PENDING_BYTES * most;
    if (full === this.#full) return;
    this.#full = full;
    if (full) this.channel.hold();
    else this.channel.release();
  }
}
