/** What happened: transfers, who did what, and the log of events. Kept for a bounded time and number. */
import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import { visibleName } from "../../text/visible.js";
import { EVENTS_CHANNEL, type LiveEvents } from "./live.js";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { Audit, AuditEntry, Events, LoggedEvent, Page, Transfer, Transfers } from "./types.js";

const DAY_MS = 24 * 60 * 60 * 1000;
/** For each: how old, and how many at most. */
const KEPT = {
  events: { ageMs: 7 * DAY_MS, rows: 100_000 },
  transfers: { ageMs: 90 * DAY_MS, rows: 100_000 },
  audit: { ageMs: 400 * DAY_MS, rows: 1_000_000 },
} as const;

/** Rows that a list gives at a time, whatever it is asked for. */
export const MAX_PAGE = 1000;
/** A statement takes so many values at most (SQLite: 32,766). */
const MAX_ROWS = 1000;
/** Held while events are numbered until they are visible, so that no reader ever sees a later one first. */
const NUMBERING_LOCK = 0x6e756d62;
const PRUNED = "events.pruned";

export function transfers(store: Store): Transfers {
  return {
    add: (rows) => store.write((db) => insertTransfers(db, rows)),
    list: ({ folder, ...page }) =>
      store.read(async (db) => {
        const all = db.selectFrom("transfers").selectAll().orderBy("id", "desc").limit(limitOf(page));
        const some = folder === undefined ? all : all.where("folder", "=", folder);
        const rows = await (page.after === undefined ? some : some.where("id", "<", Number(page.after))).execute();
        return rows.map((row): Transfer => ({ ...row, id: String(row.id) }));
      }),
  };
}

export function audit(store: Store): Audit {
  return {
    add: ({ actor, target, detail, ...entry }) =>
      store.write(async (db) => {
        const shown = (text: string | null): string | null => (text === null ? null : visibleName(text));
        const row = {
          ...entry,
          actor: visibleName(actor),
          target: shown(target),
          detail: shown(detail),
          at: store.now(),
        };
        await db.insertInto("audit").values(row).execute();
      }),
    list: (page) =>
      store.read((db): Promise<AuditEntry[]> => {
        const all = db.selectFrom("audit").selectAll().orderBy("id", "desc").limit(limitOf(page));
        return (page.after === undefined ? all : all.where("id", "<", Number(page.after))).execute();
      }),
  };
}

export function events(store: Store, live: LiveEvents): Events {
  return {
    append: async (events) => {
      if (events.length === 0) return;
      await store.write((db) => appendEvents(store, db, events));
      live.wake();
    },
    since: (id, limit) => store.read((db) => eventsAfter(db, id, limit)),
    last: () => store.read(lastEvent),
    live$: live.events$,
  };
}

/** The number of the last event there ever was. */
export async function lastEvent(db: Kysely<Schema>): Promise<number> {
  const last = await db.selectFrom("events").select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
  return Math.max(last?.id ?? 0, await prunedTo(db));
}

export async function eventsAfter(
  db: Kysely<Schema>,
  id: number,
  limit: number,
): Promise<{ events: LoggedEvent[]; gone: boolean }> {
  const later = db.selectFrom("events").selectAll().where("id", ">", id).orderBy("id");
  const rows = await later.limit(limitOf({ limit })).execute();
  // Asked after the rows: what is deleted in between is then known to be gone.
  return { events: rows.map(toEvent), gone: id < (await prunedTo(db)) };
}

/** Deletes what is too old or too much, in slices, so that others have their turn in between. */
export async function prune(store: Store, signal?: AbortSignal): Promise<void> {
  for (const table of ["events", "transfers", "audit"] as const) {
    while (signal?.aborted !== true && (await store.write((db) => pruneSlice(store, db, table))));
  }
}

/** Deletes some of the oldest rows that are not to be kept. Whether there may be more of these. */
async function pruneSlice(store: Store, db: Transaction<Schema>, name: keyof typeof KEPT): Promise<boolean> {
  const { ageMs, rows } = KEPT[name];
  const table = name as "events";
  const newest = await db.selectFrom(table).select("id").orderBy("id", "desc").limit(1).executeTakeFirst();
  if (newest === undefined) return false;
  const aged = await agedTo(store, db, name, newest.id, ageMs);
  const until = Math.max(newest.id - rows, aged);
  const oldest = db.selectFrom(table).select("id").where("id", "<=", until).orderBy("id").limit(MAX_ROWS);
  const ids = (await oldest.execute()).map(({ id }) => id);
  const last = ids.at(-1);
  if (last === undefined) return false;
  await db.deleteFrom(table).where("id", "<=", last).execute();
  if (table === "events") await setFact(db, PRUNED, String(last));
  return ids.length === MAX_ROWS;
}

/** The last row of a table at some moments. */
type Mark = readonly [elapsed: number, id: number];

/**
 * The last row that is older than `ageMs` by the time that the home has seen. For that, the number of the newest row is noted
 * from time to time; rows from before the first note are as old as that.
 */
async function agedTo(
  store: Store,
  db: Transaction<Schema>,
  table: keyof typeof KEPT,
  newest: number,
  ageMs: number,
): Promise<number> {
  const fact = `marks.${table}`;
  const marks = parseMarks(
    (await db.selectFrom("facts").select("value").where("name", "=", fact).executeTakeFirst())?.value,
  );
  const now = store.elapsed();
  const last = marks.at(-1);
  const due = last === undefined || (now - last[0] >= ageMs / MARKS && last[1] < newest);
  if (due) marks.push([now, newest]);
  const aged = marks.findLastIndex(([elapsed]) => elapsed < now - ageMs);
  const until = marks[aged]?.[1] ?? 0;
  if (aged > 0 || due) await setFact(db, fact, JSON.stringify(marks.slice(Math.max(aged, 0))));
  return until;
}

/** Notes for the time that something is kept. */
const MARKS = 50;

function parseMarks(text: string | undefined): Mark[] {
  try {
    const marks = JSON.parse(text ?? "[]") as unknown;
    const isMark = (one: unknown): one is Mark => Array.isArray(one) && one.length === 2 && one.every(Number.isFinite);
    return Array.isArray(marks) ? marks.filter(isMark) : [];
  } catch {
    return [];
  }
}

export async function setFact(db: Kysely<Schema>, name: string, value: string): Promise<void> {
  await db
    .insertInto("facts")
    .values({ name, value })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
    .execute();
}

export async function insertTransfers(db: Kysely<Schema>, rows: readonly Omit<Transfer, "id">[]): Promise<void> {
  for (let at = 0; at < rows.length; at += MAX_ROWS) {
    await db
      .insertInto("transfers")
      .values(rows.slice(at, at + MAX_ROWS))
      .execute();
  }
}

export async function appendEvents(
  store: Store,
  db: Transaction<Schema>,
  events: readonly Omit<LoggedEvent, "id" | "at">[],
): Promise<void> {
  await store.lock(db, NUMBERING_LOCK);
  const at = store.now();
  for (let from = 0; from < events.length; from += MAX_ROWS) {
    const rows = events.slice(from, from + MAX_ROWS).map(({ type, folder, data }) => {
      return { at, type, folder, data: JSON.stringify(data ?? null) };
    });
    await db.insertInto("events").values(rows).execute();
  }
  if (store.dialect === "postgres") await sql`select pg_notify(${EVENTS_CHANNEL}, '')`.execute(db);
}

async function prunedTo(db: Kysely<Schema>): Promise<number> {
  const row = await db.selectFrom("facts").select("value").where("name", "=", PRUNED).executeTakeFirst();
  return Number(row?.value ?? 0);
}

function toEvent({ data, ...row }: Selectable<Schema["events"]>): LoggedEvent {
  return { ...row, data: JSON.parse(data) as unknown };
}

export function limitOf({ limit }: Page): number {
  return Math.min(Math.max(Math.trunc(limit), 1), MAX_PAGE);
}
