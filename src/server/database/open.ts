import type { DatabaseSync } from "node:sqlite";
import { CamelCasePlugin, type Dialect, Kysely } from "kysely";
import { batches } from "./batches.js";
import { HomeClock, type Uptime } from "./clock.js";
import { DatabaseError, toDatabaseError } from "./errors.js";
import { files, folders } from "./files.js";
import { audit, events, prune, transfers } from "./journal.js";
import { LiveEvents } from "./live.js";
import { migrate } from "./migrations.js";
import { devices, grants, invitations, tokens, users } from "./people.js";
import { describeUrl, openPostgres } from "./postgres.js";
import type { Schema } from "./schema.js";
import { openSqlite } from "./sqlite.js";
import { Store } from "./store.js";
import type { Database } from "./types.js";
import { versions } from "./versions.js";

export type DatabaseOptions = (
  | {
      /** Of an SQLite file, made when missing, owner-only; `:memory:` for one that is gone when it is closed. */
      readonly path: string;
    }
  | {
      /** `postgres://user:password@host:port/database`. */
      readonly url: string;
    }
) & {
  /** Milliseconds since 1970. Default: the system's clock. */
  readonly now?: () => number;
  /** Called once when the database goes away while it is open, with the reason, and once, with nothing, when it is back. */
  readonly onAvailability?: (problem: DatabaseError | undefined) => void;
  /** For retention. Default: the system's. */
  readonly uptime?: Uptime;
};

/** How often another process's writes are looked for while somebody listens. */
const POLL_MS = 150;
const PRUNE_MS = 60 * 60 * 1000;

interface Backend {
  readonly dialect: Dialect;
  readonly kind: Store["dialect"];
  readonly where: string;
  /** Calls back when another process may have written, until what it returns is called. */
  readonly watch: (changed: () => void) => () => void;
}

/**
 * Opens the database and brings its tables to this version. Rejects with a `DatabaseError`: `ERR_DATABASE_UNAVAILABLE`
 * (not there, no permission, locked by another program), `ERR_DATABASE_NEWER`, `ERR_DATABASE_DAMAGED` (no database).
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const backend = connect(options);
  const kysely = new Kysely<Schema>({ dialect: backend.dialect, plugins: [new CamelCasePlugin()] });
  const store = new Store(kysely, backend.kind, backend.where, options.now ?? Date.now);
  let clock: HomeClock;
  try {
    await migrate(store);
    clock = await HomeClock.open(store, options.uptime);
    store.elapsed = () => clock.now();
  } catch (error) {
    await store.close();
    throw error;
  }
  if (options.onAvailability !== undefined) store.onAvailability = options.onAvailability;
  const live = new LiveEvents(store, backend.watch);
  const ending = new AbortController();
  // What fails now is tried again in an hour.
  const pruneInBackground = (): void => void prune(store, ending.signal).catch(() => {});
  const pruning = setInterval(pruneInBackground, PRUNE_MS).unref();
  pruneInBackground();
  return {
    batches: batches(store, live),
    users: users(store),
    devices: devices(store),
    grants: grants(store),
    invitations: invitations(store),
    tokens: tokens(store),
    folders: folders(store),
    files: files(store),
    versions: versions(store),
    elapsed: () => store.elapsed(),
    prune: () => prune(store, ending.signal),
    transfers: transfers(store),
    audit: audit(store),
    events: events(store, live),
    ping: async () => void (await store.read((db) => db.selectFrom("facts").select("name").limit(1).execute())),
    close: async () => {
      clearInterval(pruning);
      ending.abort();
      clock.close();
      live.close();
      await clock.save(store).catch(() => {});
      await store.close();
    },
  };
}

function connect(options: DatabaseOptions): Backend {
  if ("url" in options) {
    const { url } = options;
    if (!/^postgres(ql)?:\/\//.test(url)) {
      throw new DatabaseError("ERR_DATABASE", `"${url}" is no address of a database: it begins with postgres://`);
    }
    return { ...openPostgres(url), kind: "postgres", where: describeUrl(url) };
  }
  const { path } = options;
  try {
    const { database, dialect } = openSqlite(path);
    return { dialect, kind: "sqlite", where: path, watch: (changed) => poll(database, changed) };
  } catch (error) {
    throw toDatabaseError(error, path);
  }
}

function poll(database: DatabaseSync, changed: () => void): () => void {
  // https://www.sqlite.org/pragma.html#pragma_data_version: another one when somebody else has written.
  const version = database.prepare("pragma data_version");
  const read = (): number => Number(version.get()?.data_version);
  let last = read();
  const timer = setInterval(() => {
    const now = read();
    if (now !== last) changed();
    last = now;
  }, POLL_MS).unref();
  return () => clearInterval(timer);
}
