/**
 * How the tables came to be what they are: a migration is never changed once it has been released, only followed by
 * another. All that are missing are done in one transaction, so that an interrupted one leaves what was there.
 */
import { type ColumnDataType, type Kysely, type RawBuilder, sql } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import { DatabaseError } from "./errors.js";
import type { Schema } from "./schema.js";
import type { Store } from "./store.js";

/** Brings the database to this program's version. Rejects with `ERR_DATABASE_NEWER` where it is of a later one. */
export async function migrate(store: Store): Promise<void> {
  const migrations = MIGRATIONS(store.dialect);
  await store.write(async (db) => {
    // Whoever comes at the same time waits here (SQLite: at the beginning of the transaction).
    await store.lock(db, MIGRATION_LOCK);
    await refuseNewer(db, Object.keys(migrations), store);
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
    const { error } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
  });
}

const MIGRATION_LOCK = 0x636f6e66;
/** The fact that counts all versions that there ever were: the last {@link Schema.versions.number}. */
export const VERSIONS_COUNTED = "versions counted";

async function refuseNewer(db: Kysely<Schema>, known: string[], { dialect, where }: Store): Promise<void> {
  const tables = await sql<{ name: string }>`${
    dialect === "sqlite"
      ? sql`select name from sqlite_master where name = 'kysely_migration'`
      : sql`select table_name as name from information_schema.tables
            where table_name = 'kysely_migration' and table_schema = current_schema()`
  }`.execute(db);
  if (tables.rows.length === 0) return;
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  const unknown = rows.filter(({ name }) => !known.includes(name));
  if (unknown.length === 0) return;
  throw new DatabaseError(
    "ERR_DATABASE_NEWER",
    `the database ${where} was made by a newer version of Confundo (its change ${unknown[0]?.name} is not known here): ` +
      "use that version, or start with another database; nothing was changed",
  );
}

function MIGRATIONS(dialect: Store["dialect"]): Record<string, Migration> {
  return {
    "001-tables": {
      up: async (db: Kysely<unknown>) => {
        const { text, number, table } = builders(db, dialect);
        await table("facts", { name: text, value: text }, ["name"]);
        await table("users", { id: text, name: text, role: text, password_hash: text, created_at: number }, ["id"]);
        await unique(db, "users", ["name"]);
        await table("devices", { id: text, name: text, pin: text, role: text, created_at: number }, ["id"], {
          last_seen_at: number,
          revoked_at: number,
        });
        await unique(db, "devices", ["pin"]);
        await table("grants", { subject: text, subject_id: text, folder: text, access: text }, [
          "subject",
          "subject_id",
          "folder",
        ]);
        await table(
          "invitations",
          { id: text, code_hash: text, access: text, created_at: number, expires_at: number },
          ["id"],
          { folder: text, used_at: number, used_by: text },
        );
        await unique(db, "invitations", ["code_hash"]);
        await table(
          "tokens",
          { id: text, kind: text, name: text, user_id: text, hash: text, scopes: text, created_at: number },
          ["id"],
          { expires_at: number, revoked_at: number, last_used_at: number },
        );
        await unique(db, "tokens", ["hash"]);
        await index(db, "tokens", ["user_id"]);
        await table(
          "folders",
          { name: text, created_at: number, files: number, bytes: number, version_bytes: number, unclean: number },
          ["name"],
          { quota_bytes: number, changed_at: number, root_hash: text, held_at: number },
        );
        const file = { folder: text, path: text, kind: text, size: number, mode: number, mtime_ns: text } as const;
        const more = { version: number, stored_at: number } as const;
        const optional = { sha256: text, target: text } as const;
        await table("files", { ...file, ...more, parent: text }, ["folder", "path"], optional);
        await index(db, "files", ["folder", "parent", "path"]);
        await index(db, "files", ["sha256"]);
        await table(
          "versions",
          { ...file, ...more, ended_at: number, why: text },
          ["folder", "path", "version"],
          optional,
        );
        await index(db, "versions", ["folder", "ended_at"]);
        await index(db, "versions", ["sha256", "folder"]);
        await table(
          "transfers",
          { folder: text, path: text, bytes: number, started_at: number, ended_at: number, outcome: text },
          "counted",
          { device: text, code: text },
        );
        await index(db, "transfers", ["folder", "id"]);
        await table("audit", { at: number, actor: text, action: text, outcome: text }, "counted", {
          target: text,
          address: text,
          detail: text,
        });
        await table("events", { at: number, type: text, data: text }, "counted", { folder: text });
      },
    },
    "002-storage-limits": {
      up: async (db: Kysely<unknown>) => {
        const { number } = builders(db, dialect);
        for (const column of ["entries", "versions"]) {
          const add = db.schema.alterTable("folders");
          await add.addColumn(column, number, (c) => c.notNull().defaultTo(0)).execute();
        }
        for (const column of ["storage_limit_bytes", "max_entries"]) {
          await db.schema.alterTable("folders").addColumn(column, number).execute();
        }
        await sql`update folders set
          entries = (select count(*) from files where files.folder = folders.name),
          versions = (select count(*) from versions where versions.folder = folders.name)`.execute(db);
      },
    },
    "003-withdrawn-and-deleted": {
      up: async (db: Kysely<unknown>) => {
        const { number } = builders(db, dialect);
        await db.schema.alterTable("invitations").addColumn("withdrawn_at", number).execute();
        await db.schema.alterTable("folders").addColumn("deleted_at", number).execute();
        await db.schema.alterTable("folders").addColumn("purge_at", number).execute();
      },
    },
    "004-moved-versions": {
      up: async (db: Kysely<unknown>) => {
        const { text } = builders(db, dialect);
        await db.schema.alterTable("versions").addColumn("moved_to", text).execute();
        await index(db, "versions", ["folder", "moved_to"]);
      },
    },
    "005-numbered-versions": {
      up: async (db: Kysely<unknown>) => {
        const { number } = builders(db, dialect);
        for (const column of ["number", "ended_seen"]) {
          const add = db.schema.alterTable("versions");
          await add.addColumn(column, number, (c) => c.notNull().defaultTo(0)).execute();
        }
        const row = sql.ref(dialect === "sqlite" ? "rowid" : "ctid");
        await sql`update versions set ended_seen = ended_at, number = numbered.number
          from (select ${row} as id, row_number() over (order by ended_at, version, path) as number from versions) as numbered
          where numbered.id = versions.${row}`.execute(db);
        await sql`insert into facts (name, value) select ${VERSIONS_COUNTED}, cast(count(*) as text) from versions
          having count(*) > 0`.execute(db);
        await db.schema.dropIndex("versions_by_folder_ended_at").execute();
        await db.schema.dropIndex("versions_by_sha256_folder").execute();
        await index(db, "versions", ["folder", "number"]);
        await index(db, "versions", ["sha256", "folder", "why"]);
        await sql`create index versions_listed on versions (folder, number) where not (kind = 'directory' and why = 'changed')`.execute(
          db,
        );
        await sql`create index folders_unclean on folders (name) where unclean = 1`.execute(db);
        await sql`create index folders_deleted on folders (name) where deleted_at is not null`.execute(db);
      },
    },
  };
}

type Type = ColumnDataType | RawBuilder<unknown>;
type Columns = Readonly<Record<string, Type>>;

function builders(db: Kysely<unknown>, dialect: Store["dialect"]) {
  const sqlite = dialect === "sqlite";
  return {
    // Paths are in the order of their bytes in both, whatever the database's locale.
    text: (sqlite ? "text" : sql`text collate "C"`) as Type,
    number: (sqlite ? "integer" : "bigint") as Type,
    /** `counted`: an id that grows and is never given again. */
    table: async (name: string, columns: Columns, key: readonly string[] | "counted", optional: Columns = {}) => {
      let create = db.schema.createTable(name);
      if (key === "counted") {
        create = create.addColumn("id", sqlite ? "integer" : "bigint", (column) =>
          sqlite ? column.primaryKey().autoIncrement() : column.primaryKey().generatedAlwaysAsIdentity(),
        );
      }
      for (const [column, type] of Object.entries(columns)) create = create.addColumn(column, type, (c) => c.notNull());
      for (const [column, type] of Object.entries(optional)) create = create.addColumn(column, type);
      if (key !== "counted") create = create.addPrimaryKeyConstraint(`${name}_key`, key as never);
      await (sqlite ? create.modifyEnd(sql`strict`) : create).execute();
    },
  };
}

function unique(db: Kysely<unknown>, table: string, columns: string[]): Promise<void> {
  return db.schema
    .createIndex(`${table}_by_${columns.join("_")}`)
    .on(table)
    .columns(columns)
    .unique()
    .execute();
}

function index(db: Kysely<unknown>, table: string, columns: string[]): Promise<void> {
  return db.schema
    .createIndex(`${table}_by_${columns.join("_")}`)
    .on(table)
    .columns(columns)
    .execute();
}
