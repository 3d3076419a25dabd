/** PostgreSQL (pg) for kysely, with what it takes to outlive a database that goes away. */
import { type Dialect, PostgresDialect } from "kysely";
import pg from "pg";
import { EVENTS_CHANNEL } from "./live.js";
import { fromStored, toStored } from "./text.js";

/** One writes; the others read. */
const MAX_CONNECTIONS = 6;
const CONNECT_MS = 5000;
/** An answer that takes longer does not come any more. */
const QUERY_MS = 30_000;
const RECONNECT_MS = 500;
const { INT8, TEXT } = pg.types.builtins;

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format: "text") => {
    // Times, sizes and counts are well below 2^53.
    if (oid === INT8) return Number;
    return oid === TEXT ? fromStored : pg.types.getTypeParser(oid, format);
  }) as typeof pg.types.getTypeParser,
};

export function openPostgres(url: string): { dialect: Dialect; watch: (changed: () => void) => () => void } {
  const settings: pg.PoolConfig = {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: QUERY_MS,
    keepAlive: true,
    application_name: "confundo",
    types,
  };
  const pool = new pg.Pool({ ...settings, max: MAX_CONNECTIONS, Client: ImpatientClient });
  // Who uses a connection learns of its end by its query; one that nobody uses is replaced.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return { dialect: new PostgresDialect({ pool }), watch: (changed) => listen(settings, changed) };
}

/** The address without its password. */
export function describeUrl(url: string): string {
  try {
    const { protocol, host, pathname, searchParams } = new URL(url);
    return `${protocol}//${host || (searchParams.get("host") ?? "")}${pathname}`;
  } catch {
    return "at that address";
  }
}

/** After a question without an answer the connection would answer that one first, if ever: it is of no use any more. */
class ImpatientClient extends pg.Client {
  // biome-ignore lint/suspicious/noExplicitAny: pg's many ways to call it are passed on as they are
  override query(...args: any[]): any {
    if (Array.isArray(args[1])) args[1] = args[1].map(toStored);
    const answer = (super.query as (...args: unknown[]) => unknown).apply(this, args);
    if (answer instanceof Promise) {
      answer.catch((error: Error) => {
        if (error.message === "Query read timeout") this.connection.stream.destroy();
      });
    }
    return answer;
  }
}

/** Calls back at each notification, and after each time that some may have been missed. */
function listen(settings: pg.ClientConfig, changed: () => void): () => void {
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let over = false;
  const again = (): void => {
    client?.removeAllListeners("end");
    void client?.end().catch(() => {});
    client = undefined;
    clearTimeout(timer);
    if (!over) timer = setTimeout(() => void start(), RECONNECT_MS).unref();
  };
  const start = async (): Promise<void> => {
    const fresh = new pg.Client(settings);
    client = fresh;
    fresh.on("error", () => {});
    fresh.on("end", () => {
      again();
      // Whoever looks for events now finds out whether the database has gone.
      if (!over) changed();
    });
    fresh.on("notification", changed);
    try {
      await fresh.connect();
      await fresh.query(`listen ${EVENTS_CHANNEL}`);
      changed();
    } catch {
      if (client === fresh) again();
    }
  };
  void start();
  return () => {
    over = true;
    again();
  };
}
