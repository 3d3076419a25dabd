/**
 * The time that the home has seen: it advances while a server runs, whatever is done to the system's clock, and is kept in
 * the database. Retention goes by it.
 */
import { readFileSync } from "node:fs";
import { setFact } from "./journal.js";
import type { Store } from "./store.js";

const CLOCK = "clock";
/** A crash sets it back by this much at most. */
const SAVE_MS = 60_000;

/** Milliseconds since the machine has started, and what tells this start from others (`null`: nothing does). */
export interface Uptime {
  readonly boot: string | null;
  readonly now: () => number;
}

interface Saved {
  readonly elapsed: number;
  readonly boot: string | null;
  readonly uptime: number;
}

export class HomeClock {
  readonly #uptime: Uptime;
  #from: { readonly elapsed: number; readonly uptime: number };
  #timer: NodeJS.Timeout | undefined;

  private constructor(uptime: Uptime, elapsed: number) {
    this.#uptime = uptime;
    this.#from = { elapsed, uptime: uptime.now() };
  }

  /**
   * Goes on where it was. The time in which no server ran counts while the machine was not started again. A new one begins
   * with the system's time.
   */
  static async open(store: Store, uptime: Uptime = systemUptime()): Promise<HomeClock> {
    const saved = await read(store);
    const passed = saved !== undefined && saved.boot !== null && saved.boot === uptime.boot;
    const away = passed ? Math.max(0, uptime.now() - saved.uptime) : 0;
    const clock = new HomeClock(uptime, saved === undefined ? store.now() : saved.elapsed + away);
    await clock.save(store);
    clock.#timer = setInterval(() => void clock.save(store).catch(() => {}), SAVE_MS).unref();
    return clock;
  }

  /** Milliseconds. Comparable with those of {@link Date.now} until the system's clock is set for the first time. */
  now(): number {
    return Math.floor(this.#from.elapsed + this.#uptime.now() - this.#from.uptime);
  }

  /** Writes it down, unless another process has written a later time. */
  async save(store: Store): Promise<void> {
    const saved: Saved = { elapsed: this.now(), boot: this.#uptime.boot, uptime: this.#uptime.now() };
    const value = JSON.stringify(saved);
    await store.write(async (db) => {
      const row = await db.selectFrom("facts").select("value").where("name", "=", CLOCK).executeTakeFirst();
      if ((parse(row?.value)?.elapsed ?? 0) > saved.elapsed) return;
      await setFact(db, CLOCK, value);
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function systemUptime(): Uptime {
  let boot: string | null = null;
  try {
    boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Not on Linux: then only the time in which a server runs counts.
  }
  return { boot, now: () => Number(process.hrtime.bigint() / 1_000_000n) };
}

async function read(store: Store): Promise<Saved | undefined> {
  const row = await store.read((db) =>
    db.selectFrom("facts").select("value").where("name", "=", CLOCK).executeTakeFirst(),
  );
  return parse(row?.value);
}

function parse(text: string | undefined): Saved | undefined {
  try {
    const { elapsed, boot, uptime } = JSON.parse(text ?? "") as Saved;
    const sound = Number.isFinite(elapsed) && Number.isFinite(uptime) && (boot === null || typeof boot === "string");
    return sound ? { elapsed, boot, uptime } : undefined;
  } catch {
    return undefined;
  }
}
