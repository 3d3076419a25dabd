/**
 * One connection to write with, and the rule how: what is to be written at the same time goes into one transaction,
 * which is durable before any of it resolves. A disk flushes a few hundred times a second; so many small writes one by
 * one would wait for each other.
 */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { type Kysely, sql, type Transaction } from "kysely";
import { DatabaseError, isIoError, toDatabaseError } from "./errors.js";
import type { Schema } from "./schema.js";

/** Writes of one transaction; more wait for the next. */
const MAX_GROUP = 500;
/**
 * After this time of a transaction no other write comes into it, so that the rest of the program has its turn: SQLite works in this
 * thread. Between two statements of one transaction nothing else may have it, as another connection would wait in this thread.
 */
const SLICE_MS = 5;

interface Write {
  readonly change: (db: Transaction<Schema>) => Promise<unknown>;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

export class Store {
  readonly dialect: "sqlite" | "postgres";
  /** For messages: a path, or an address without its password. */
  readonly where: string;
  readonly now: () => number;
  /** Called when the database has become unavailable, with the reason, and with nothing when it answers again. */
  onAvailability: (problem: DatabaseError | undefined) => void = () => {};
  #isAway = false;
  /** Whether a read or write of SQLite's files has failed, see {@link #renewLog}. */
  #suspect = false;
  /** The time that the home has seen, see {@link HomeClock}. Set when the database is open. */
  elapsed: () => number;
  readonly #kysely: Kysely<Schema>;
  #waiting: Write[] = [];
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(kysely: Kysely<Schema>, dialect: Store["dialect"], where: string, now: () => number) {
    this.#kysely = kysely;
    this.dialect = dialect;
    this.where = where;
    this.now = now;
    this.elapsed = now;
  }

  async read<T>(query: (db: Kysely<Schema>) => Promise<T>): Promise<T> {
    try {
      const value = await query(this.#kysely);
      this.#answers();
      return value;
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /**
   * Carries `change` out after all that were asked for before it, and resolves when it is durable. It must await nothing
   * but the database. One that throws leaves no trace and does not disturb the others of its transaction.
   */
  write<T>(change: (db: Transaction<Schema>) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Until the end of the transaction nobody else, in any process, is between this line and its own end. */
  async lock(db: Transaction<Schema>, key: number): Promise<void> {
    // SQLite has one writer at a time anyway.
    if (this.dialect === "postgres") await sql`select pg_advisory_xact_lock(${sql.lit(key)})`.execute(db);
  }

  /** Resolves when everything asked for so far is written, and closes. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#running;
      await this.#kysely.destroy();
    })();
    return this.#closing;
  }

  async #run(): Promise<void> {
    // What else is asked for in this turn of the event loop comes along.
    await new Promise(setImmediate);
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, MAX_GROUP);
      try {
        if (this.#suspect) await this.#renewLog();
        const outcomes = await this.#kysely.transaction().execute((db) => this.#carryOut(group, db));
        this.#answers();
        // What did not come into this transaction is next.
        this.#waiting.unshift(...group.splice(outcomes.length));
        for (const [at, outcome] of outcomes.entries()) {
          if ("error" in outcome) group[at]?.reject(this.#explained(outcome.error));
          else group[at]?.resolve(outcome.value as never);
        }
      } catch (error) {
        const explained = this.#explained(error);
        for (const { reject } of group) reject(explained);
      }
      if (this.#waiting.length > 0) await yieldToOthers();
    }
    this.#running = undefined;
  }

  /**
   * Writes what is committed from SQLite's log into the database and begins a new log. After an I/O error the system may take pages of
   * the old one for written that the disk does not have, and would let a later commit pass that a power failure takes: nothing is
   * written to it any more. Throws `ERR_DATABASE_UNAVAILABLE` where that fails, or another process reads what is only in the log.
   */
  async #renewLog(): Promise<void> {
    // Another process is not waited for in this thread.
    const pragma = (text: string) => sql<Record<string, number>>`pragma ${sql.raw(text)}`.execute(this.#kysely);
    const before = (await pragma("busy_timeout")).rows[0]?.timeout ?? 0;
    let isBusy = true;
    await pragma("busy_timeout = 0");
    try {
      isBusy = (await pragma("wal_checkpoint(truncate)")).rows[0]?.busy !== 0;
    } finally {
      await pragma(`busy_timeout = ${before}`);
    }
    if (!isBusy) {
      this.#suspect = false;
      return;
    }
    const why =
      "an I/O error has struck its log, which another process is reading; a new one is begun when that has ended";
    throw new DatabaseError("ERR_DATABASE_UNAVAILABLE", `the database ${this.where} cannot be written to now: ${why}`);
  }

  #answers(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.onAvailability(undefined);
  }

  #explained(error: unknown): Error {
    if (isIoError(error)) this.#suspect = true;
    const explained = toDatabaseError(error, this.where);
    const unavailable = explained instanceof DatabaseError && explained.retryable && this.#closing === undefined;
    if (unavailable && !this.#isAway) {
      this.#isAway = true;
      this.onAvailability(explained);
    }
    return explained;
  }

  async #carryOut(group: readonly Write[], db: Transaction<Schema>): Promise<Outcome[]> {
    const [only] = group;
    if (group.length === 1 && only !== undefined) return [{ value: await only.change(db) }];
    const outcomes: Outcome[] = [];
    const began = performance.now();
    for (const { change } of group) {
      if (outcomes.length > 0 && performance.now() - began > SLICE_MS) break;
      await sql`savepoint one`.execute(db);
      try {
        outcomes.push({ value: await change(db) });
      } catch (error) {
        outcomes.push({ error });
        // Where the whole transaction is gone (a full disk, a lost connection), this error is that of all.
        await sql`rollback to savepoint one`.execute(db).catch(() => {
          throw error;
        });
      }
      await sql`release savepoint one`.execute(db);
    }
    return outcomes;
  }
}
