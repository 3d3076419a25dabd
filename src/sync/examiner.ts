/**
 * Looks at what a mirror really holds: when a client asks, when it says that everything is equal, and now and then, when
 * some of the content is read again too. What is not as it was stored shows in the root hash, which the client is told.
 */
import type { Desk } from "./desk.js";
import type { Comparison, Entry } from "./entry.js";
import { LOOK_EVERY_MS, LOOKING_SHARE, MAX_HASHED_BYTES, SCRUB_BYTES, SCRUB_MS } from "./limits.js";
import { rootOf } from "./roots.js";
import { scanFolder } from "./scan.js";

export interface Look {
  readonly entries: Map<string, Entry>;
  /** Where all hashes are known. */
  readonly root: Buffer | undefined;
}

/** Of all mirrors of this process. */
let idleAgainMs = 0;

export class Examiner {
  /** What the mirror's file system keeps, and what the client wants kept. */
  comparison: Comparison = {};
  readonly #desk: Desk;
  readonly #scrubMs: number;
  readonly #timer: NodeJS.Timeout;
  /** For a look that comes too soon after the last one. */
  #later: NodeJS.Timeout | undefined;
  #closed = false;
  #looking = false;
  #wanted = false;
  #lookAgainMs = 0;
  #scrubAgainMs: number;
  /** The path that was read again last. */
  #scrubbed = "";

  constructor(desk: Desk, scrubMs: number = SCRUB_MS) {
    this.#desk = desk;
    this.#scrubMs = scrubMs;
    this.#scrubAgainMs = performance.now() + scrubMs;
    this.#timer = setInterval(() => void this.#nowAndThen(), Math.min(scrubMs, LOOK_EVERY_MS)).unref();
  }

  /** With `complete`, what is not known of the files is read, up to a bound; with `anew`, all of it. */
  async look({ complete, anew }: { complete: boolean; anew: boolean }): Promise<Look> {
    const { storage } = this.#desk;
    const found = storage.checkRoot() ? (await scanFolder(storage.root)).entries : new Map<string, Entry>();
    const isOver = (): boolean => this.#closed || this.#desk.channel.closed;
    const entries = await storage.hashes.complete(found, complete ? MAX_HASHED_BYTES : 0, anew, isOver);
    return { entries, root: rootOf(entries.values(), this.comparison) };
  }

  /** The client has found nothing more to do: the mirror is looked at now, or as soon as that may be. */
  settled(): void {
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
    if (this.#wanted && !this.#closed) this.settled();
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

  /** Tells the client the root, if nothing is under way, after reading so much again. */
  async #tell(scrubBytes: number): Promise<void> {
    const began = performance.now();
    if (!this.#desk.settled || this.#looking || began < this.#lookAgainMs) return;
    this.#looking = true;
    this.#wanted = false;
    try {
      // What was changed behind our back is not known: to say what it is now takes reading it.
      const looking = this.look({ complete: true, anew: false });
      this.#desk.storage.reuse?.look(looking.then((look) => look.entries));
      let { entries, root } = await looking;
      if (scrubBytes > 0) {
        await this.#scrub(entries, scrubBytes);
        ({ root } = await this.look({ complete: true, anew: false }));
      }
      if (root !== undefined && this.#desk.settled && !this.#closed) this.#desk.channel.send({ type: "root", root });
    } catch {
      // The next look shows whether the mirror can be read.
    } finally {
      this.#looking = false;
      const now = performance.now();
      this.#lookAgainMs = now + (now - began) / LOOKING_SHARE;
      this.#lookNow();
    }
  }

  /** Reads some files again, in the order of their paths, one round after the other. */
  async #scrub(entries: ReadonlyMap<string, Entry>, bytes: number): Promise<void> {
    const files = [...entries.values()].filter((entry) => entry.kind === "file");
    files.sort((a, b) => (a.path < b.path ? -1 : 1));
    const next = files.findIndex(({ path }) => path > this.#scrubbed);
    let left = bytes;
    for (const entry of next < 0 ? files : files.slice(next)) {
      if (left <= 0 || this.#closed || !this.#desk.settled) return;
      left -= entry.size;
      this.#scrubbed = entry.path;
      await this.#desk.storage.hashes.hashOf(entry);
    }
    this.#scrubbed = "";
  }
}
