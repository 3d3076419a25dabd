/** SQLite inside of Node (node:sqlite) for kysely. */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import {
  CompiledQuery,
  type DatabaseConnection,
  SqliteAdapter,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
  type SqliteStatement,
} from "kysely";
import { fromStored, toStored } from "./text.js";

/** Another process (a command beside the server) may write at this moment: it is waited for. */
const BUSY_MS = 5000;
const MAX_STATEMENTS = 300;
/** Pages (of 4 KiB) in memory, and in the log before they are written to their places: a burst comes to each page often. */
const CACHE_PAGES = 2000;
const CHECKPOINT_PAGES = 4000;

/** Opens or makes the file, readable by its owner only. */
export function openSqlite(path: string): { database: DatabaseSync; dialect: SqliteDialect } {
  if (path !== ":memory:") closeSync(openSync(path, "a", 0o600));
  const database = new DatabaseSync(path, { timeout: BUSY_MS });
  try {
    database.exec("pragma journal_mode = wal");
    // Every commit is on the disk before it is one: WAL alone keeps the database whole but may lose the last commits.
    database.exec("pragma synchronous = full");
    database.exec(`pragma cache_size = ${CACHE_PAGES}`);
    database.exec(`pragma wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  } catch (error) {
    database.close();
    throw error;
  }
  return { database, dialect: new NodeSqliteDialect({ database: prepared(database) }) };
}

class NodeSqliteDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(config: SqliteDialectConfig) {
    super(config);
    this.#config = config;
  }

  override createDriver(): SqliteDriver {
    return new ImmediateDriver(this.#config);
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalAdapter();
  }
}

/** A transaction that reads first and writes then would fail when another process wrote in between. */
class ImmediateDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("begin immediate"));
  }

  /** SQLite has done it by itself where the disk is full or cannot be read: the error to tell is that one. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("rollback")).catch(() => {});
  }
}

/** SQLite can undo changes of tables, too: https://www.sqlite.org/lang_transaction.html */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

/** The subset that kysely needs, with the statements of before at hand. */
function prepared(database: DatabaseSync): { prepare(sql: string): SqliteStatement; close(): void } {
  const statements = new Map<string, SqliteStatement>();
  return {
    close: () => database.close(),
    prepare: (sql) => {
      const known = statements.get(sql);
      if (known !== undefined) return known;
      const statement = adapt(database.prepare(sql));
      if (statements.size >= MAX_STATEMENTS) statements.delete(statements.keys().next().value as string);
      statements.set(sql, statement);
      return statement;
    },
  };
}

function adapt(statement: StatementSync): SqliteStatement {
  const values = (parameters: readonly unknown[]) => parameters.map(toStored) as SQLInputValue[];
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...values(parameters)).map(readRow),
    run: (parameters) => statement.run(...values(parameters)),
    iterate: (parameters) => statement.iterate(...values(parameters)),
  };
}

function readRow(row: Record<string, unknown>): Record<string, unknown> {
  for (const name in row) {
    const value = row[name];
    if (typeof value === "string") row[name] = fromStored(value);
  }
  return row;
}
