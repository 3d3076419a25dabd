/** What a running server has noted, and how much of that is in the database. */
import type { Kysely, Transaction } from "kysely";
import { applyChanges } from "./changes.js";
import { ensureFolder } from "./files.js";
import { appendEvents, insertTransfers, setFact } from "./journal.js";
import type { LiveEvents } from "./live.js";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";
import type { Batch, Batches } from "./types.js";

export function batches(store: Store, live: LiveEvents): Batches {
  return {
    write: async (batch, at) => {
      // The move of a directory is done in parts, each in a transaction of its own, and the rest with the last.
      while (!(await store.write((db) => writeSome(store, db, batch, at))));
      if (batch.events.length > 0) live.wake();
    },
    position: (run) => store.read((db) => positionOf(db, run)),
    forget: (run) =>
      store.write(async (db) => {
        await db.deleteFrom("facts").where("name", "=", factOf(run)).execute();
      }),
  };
}

/** Whether everything is written. */
async function writeSome(store: Store, db: Transaction<Schema>, batch: Batch, at: number): Promise<boolean> {
  const { changes, transfers, events, agreed, positions } = batch;
  // The answer to an earlier attempt may have been lost.
  if (positions.size > 0 && (await isWritten(db, positions))) return true;
  for (let done = 0; done < changes.length; ) {
    done += await applyChanges(db, changes.slice(done), at, store.elapsed);
    if (done < changes.length && changes.length === 1) return false;
  }
  await insertTransfers(db, transfers);
  if (events.length > 0) await appendEvents(store, db, events);
  for (const { folder, root, at: time } of agreed) {
    await ensureFolder(db, folder, time);
    await db.updateTable("folders").set({ rootHash: root }).where("name", "=", folder).execute();
  }
  for (const [run, number] of positions) await setFact(db, factOf(run), String(number));
  return true;
}

async function isWritten(db: Kysely<Schema>, positions: Batch["positions"]): Promise<boolean> {
  for (const [run, number] of positions) if ((await positionOf(db, run)) < number) return false;
  return true;
}

async function positionOf(db: Kysely<Schema>, run: string): Promise<number> {
  const row = await db.selectFrom("facts").select("value").where("name", "=", factOf(run)).executeTakeFirst();
  return Number(row?.value ?? 0);
}

function factOf(run: string): string {
  return `written.${run}`;
}
