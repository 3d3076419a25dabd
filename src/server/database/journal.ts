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
const MAX_PAGE = 1000;
/** A statement takes so many values at most (SQLite: 32,766). */
const MAX_ROWS = 1000;
/** Held while events are numbered until they are visible, so that no reader ever sees a later one first. */
const NUMBERING_LOCK = 0x6e756d62;
const PRUNED = "events.pruned";

export function transfers(store: Store): Transfers {
  return {
    add: (rows) =>
      store.write(async (db) => {
        for (let at = 0; at < rows.length; at += MAX_ROWS) {
          await db
            .insertInto("transfers")
            .values(rows.slice(at, at + MAX_ROWS))
            .execute();
        }
      }),
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
      await store.write((db) => append(store, db, events));
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

/** Deletes what is too old or too much. */
export async function prune(store: Store): Promise<void> {
  await store.write(async (db) => {
    const pruned = await pruneTable(db, "events", store.now());
    if (pruned === undefined) return;
    const value = String(pruned);
    await db
      .insertInto("facts")
      .values({ name: PRUNED, value })
      .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
      .execute();
  });
  await store.write((db) => pruneTable(db, "transfers", store.now()));
  await store.write((db) => pruneTable(db, "audit", store.now()));
}

/** The last id that is deleted now; `undefined` when nothing is. */
async function pruneTable(db: Transaction<Schema>, table: keyof typeof KEPT, now: number): Promise<number | undefined> {
  const { ageMs, rows } = KEPT[table];
  const ids = db
    .selectFrom(table as "events")
    .select("id")
    .orderBy("id", "desc");
  const time = table === "transfers" ? "endedAt" : "at";
  const tooMany = await ids.offset(rows).limit(1).executeTakeFirst();
  const tooOld = await ids
    .where(time as "at", "<", now - ageMs)
    .limit(1)
    .executeTakeFirst();
  if (tooMany === undefined && tooOld === undefined) return undefined;
  const last = Math.max(tooMany?.id ?? 0, tooOld?.id ?? 0);
  await db
    .deleteFrom(table as "events")
    .where("id", "<=", last)
    .execute();
  return last;
}

async function append(
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
