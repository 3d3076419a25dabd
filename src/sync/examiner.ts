/**
 * Looks at what a mirror really holds: when a client asks, when it says that everything is equal, and now and then, when
 * some of the content is read again too. What is not as it was stored shows in the root hash, which the client is told.
 */
import type { Desk } from "./desk.js";
import { type Comparison, type Entry, withHash } from "./entry.js";
import { LOOK_EVERY_MS, LOOKING_SHARE, MAX_HASHED_BYTES, SCRUB_BYTES, SCRUB_MS } from "./limits.js";
import { Roots, rootOf } from "./roots.js";
import { scanFolder } from "./scan.js";

export interface Look {
  readonly entries: ReadonlyMap<string, Entry>;
  /** Where all hashes are known. */
  readonly root: Buffer | undefined;
  readonly roots: Roots;
}

export interface ExaminerOptions {
  readonly scrubMs?: number | undefined;
  /** Is told the root hash, in hex, when both ends have found the same. */
  readonly onAgreed: (root: string) => void;
}

/** Of all mirrors of this process. */
let idleAgainMs = 0;

export class Examiner {
  /** What the mirror's file system keeps, and what the client wants kept. */
  comparison: Comparison = {};
  readonly #desk: Desk;
  readonly #onAgreed: (root: string) => void;
  readonly #scrubMs: number;
  readonly #timer: NodeJS.Timeout;
  /** For a look that comes too soon after the last one. */
  #later: NodeJS.Timeout | undefined;
  /** What is found before the client asks. */
  #ahead: Promise<Map<string, Entry> | undefined> | undefined;
  /** What was found at so many steps, and the root hash of that. */
  #known: (Look & { readonly steps: number }) | undefined;
  /** What the client has said last that it should be. */
  #claimed: Uint8Array | undefined;
  #closed = false;
  #looking = false;
  #wanted = false;
  #lookAgainMs = 0;
  #scrubAgainMs: number;
  /** How many files were read again in this round through all of them. */
  #scrubbed = 0;

  constructor(desk: Desk, { scrubMs = SCRUB_MS, onAgreed }: ExaminerOptions) {
    this.#desk = desk;
    this.#onAgreed = onAgreed;
    this.#scrubMs = scrubMs;
    this.#scrubAgainMs = performance.now() + scrubMs;
    this.#timer = setInterval(() => void this.#nowAndThen(), Math.min(scrubMs, LOOK_EVERY_MS)).unref();
  }

  /** Looks while the client looks at its own folder: it is about to ask. */
  lookAhead(): void {
    this.#desk.begin();
    const ahead = this.#look(MAX_HASHED_BYTES, false).catch(() => undefined);
    this.#ahead = ahead.finally(() => this.#desk.leave());
  }

  /** What there is, for a client that asks. What is not known of the files is read, up to a bound; with `anew`, all of it. */
  async look(anew: boolean): Promise<Look> {
    const { steps } = this.#desk;
    const ahead = anew || steps > 0 ? undefined : await this.#ahead;
    this.#ahead = undefined;
    const entries = ahead ?? (await this.#look(MAX_HASHED_BYTES, anew));
    const roots = new Roots(this.comparison);
    const root = await roots.compute(entries.values());
    this.#known = { entries, root, roots, steps };
    return this.#known;
  }

  /**
   * The client has found nothing more to do, and says what the root hash is by that: the mirror is looked at now, or as
   * soon as that may be, unless nothing has come since it was.
   */
  settled(root: Uint8Array): void {
    this.#claimed = root;
    const known = this.#known;
    this.#known = undefined;
    if (known?.root === undefined || known.steps !== this.#desk.steps) {
      this.#lookSoon();
      return;
    }
    this.#desk.storage.reuse?.look(Promise.resolve(known.entries));
    this.#compare(known.root);
  }

  #lookSoon(): void {
    this.#wanted = true;
    if (this.#looking) return;
    const waitMs = this.#lookAgainMs - performance.now();
    if (waitMs <= 0) void this.#tell(0);
    else this.#later ??= setTimeout(() => this.#lookNow(), waitMs).unref();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#later);
  }

  #lookNow(): void {
    this.#later = undefined;
    if (this.#wanted && !this.#closed) this.#lookSoon();
  }

  /** Idle mirrors share the time that looking at them may take. */
  async #nowAndThen(): Promise<void> {
    const began = performance.now();
    if (began < idleAgainMs) return;
    const scrubs = began >= this.#scrubAgainMs;
    if (scrubs) this.#scrubAgainMs = began + this.#scrubMs;
    await this.#tell(scrubs ? SCRUB_BYTES : 0);
    const now = performance.now();
    idleAgainMs = Math.max(idleAgainMs, now + (now - began) / LOOKING_SHARE);
  }

  async #look(readBytes: number, anew: boolean): Promise<Map<string, Entry>> {
    const { storage } = this.#desk;
    if (!storage.checkRoot()) return new Map();
    const keep = anew ? {} : { keep: await storage.hashes.recall() };
    const { entries } = await scanFolder(storage.root, keep);
    await storage.hashes.complete(entries, readBytes, anew, () => this.#closed || this.#desk.channel.closed);
    return entries;
  }

  #compare(root: Buffer): void {
    if (this.#claimed !== undefined && root.equals(this.#claimed)) this.#onAgreed(root.toString("hex"));
  }

  /** Tells the client the root, if nothing is under way, after reading so much again. */
  async #tell(scrubBytes: number): Promise<void> {
    const began = performance.now();
    if (!this.#desk.settled || this.#looking || began < this.#lookAgainMs) return;
    this.#looking = true;
    this.#wanted = false;
    const { steps } = this.#desk;
    try {
      // What was changed behind our back is not known: to say what it is now takes reading it.
      const looking = this.#look(MAX_HASHED_BYTES, false);
      this.#desk.storage.reuse?.look(looking);
      const entries = await looking;
      if (scrubBytes > 0) await this.#scrub(entries, scrubBytes);
      const root = await rootOf(entries.values(), this.comparison);
      if (root === undefined || !this.#desk.settled || this.#closed) return;
      // What was stored meanwhile is in it in part: the root is one that the mirror never had.
      if (this.#desk.steps !== steps) {
        this.#wanted = true;
        return;
      }
      this.#compare(root);
      this.#desk.channel.send({ type: "root", root });
    } catch {
      // The next look shows whether the mirror can be read.
    } finally {
      this.#looking = false;
      const now = performance.now();
      this.#lookAgainMs = now + (now - began) / LOOKING_SHARE;
      this.#lookNow();
    }
  }

  /** Reads some files again, in the order in which they are found, one round after the other. */
  async #scrub(entries: Map<string, Entry>, bytes: number): Promise<void> {
    let left = bytes;
    let number = 0;
    for (const entry of entries.values()) {
      if (entry.kind !== "file" || number++ < this.#scrubbed) continue;
      if (left <= 0 || this.#closed || !this.#desk.settled) return;
      left -= entry.size;
      this.#scrubbed = number;
      const sha256 = await this.#desk.storage.hashes.hashOf(entry);
      // One that cannot be read is not known from now on.
      const { sha256: _, ...unknown } = entry;
      entries.set(entry.path, sha256 === undefined ? unknown : withHash(entry, sha256));
    }
    this.#scrubbed = 0;
  }
}
