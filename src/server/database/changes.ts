/**
 * How changes of folders become changes of the file tables. A number of changes of one folder is worked out in memory,
 * from the rows of the paths that it is about, and written back in a few statements.
 */
import { type Kysely, sql } from "kysely";
import { parentOf } from "../../sync/index.js";
import { ensureFolder } from "./files.js";
import { VERSIONS_COUNTED } from "./migrations.js";
import type { FileRow, Schema } from "./schema.js";
import type { FileChange, NewVersion } from "./types.js";

/** Changes that are applied at a time: so many take some milliseconds, after which others have their turn. */
const MAX_ROWS = 100;
/** Rows that the move of a directory changes in one transaction. */
const MAX_MOVED = 100;

type Row = FileRow & { parent: string };
type VersionRow = Omit<Schema["versions"], "number" | "endedSeen">;
type Put = FileChange & { do: "put" };

/** Tells when a version ended by the clock that never jumps. */
export type Elapsed = () => number;

/**
 * Applies changes in order, up to about {@link MAX_ROWS}, and returns how many of them are complete; the caller passes the rest
 * again, best in another transaction. The move of a directory is done in parts, of which each can be repeated.
 */
export async function applyChanges(
  db: Kysely<Schema>,
  changes: readonly FileChange[],
  at: number,
  elapsed: Elapsed,
): Promise<number> {
  for (let done = 0; ; ) {
    const first = changes[done];
    if (first === undefined || done >= MAX_ROWS) return done;
    const { folder } = first;
    await ensureFolder(db, folder, at);
    const other = changes.findIndex((one, place) => place > done && one.folder !== folder);
    const run = changes.slice(done, Math.min(other === -1 ? changes.length : other, done + MAX_ROWS));
    const piece = await Piece.of(db, folder, run.flatMap(pathsOf), elapsed);
    // Up to the move of a directory, or of what is not known, which is done by itself.
    const end = run.findIndex((change) => !piece.apply(change, change.at ?? at));
    if (end !== 0) {
      await piece.write(db);
      done += end === -1 ? run.length : end;
    } else if (first.do !== "move" || (await applyMove(db, first, at, elapsed))) done++;
    else return done;
  }
}

function pathsOf(change: FileChange): string[] {
  return change.do === "move" ? [change.from, change.path] : [change.path];
}

/** Moves up to {@link MAX_MOVED} rows. Whether that was all. */
async function applyMove(
  db: Kysely<Schema>,
  change: FileChange & { do: "move" },
  at: number,
  elapsed: Elapsed,
): Promise<boolean> {
  const { folder, from, path } = change;
  const time = change.at ?? at;
  const all = db.selectFrom("files").selectAll().where("folder", "=", folder);
  const self = await all.where("path", "=", from).execute();
  // Two statements: with "or" SQLite reads the whole folder.
  const inside = all.where("path", ">=", `${from}/`).where("path", "<", `${from}0`);
  const below = await inside.orderBy("path").limit(MAX_MOVED).execute();
  const rows = [...self, ...below];
  if (rows.length === 0) return true;
  const target = (row: Row): string => path + row.path.slice(from.length);
  const piece = await Piece.of(db, folder, [...rows.map((row) => row.path), ...rows.map(target)], elapsed);
  for (const row of rows) piece.move(row, target(row), time);
  await piece.write(db);
  return below.length < MAX_MOVED;
}

/** Adds a version without touching what is there now. */
export async function addVersion(
  db: Kysely<Schema>,
  { endedAt, ...version }: NewVersion,
  elapsed: Elapsed,
): Promise<void> {
  const { folder, path } = version;
  await ensureFolder(db, folder, endedAt);
  const piece = await Piece.of(db, folder, [path], elapsed);
  piece.apply({ ...version, do: "retire" }, endedAt, version.storedAt);
  await piece.write(db);
}

class Piece {
  readonly #folder: string;
  readonly #elapsed: Elapsed;
  readonly #rows: Map<string, Row>;
  /** The last versions that were kept. */
  readonly #last: Map<string, { version: number; endedAt: number }>;
  readonly #touched = new Set<string>();
  readonly #retired: VersionRow[] = [];
  #files = 0;
  #bytes = 0;
  #entries = 0;
  #changedAt: number | null = null;

  constructor(
    folder: string,
    elapsed: Elapsed,
    rows: readonly Row[],
    last: readonly { path: string; version: number; endedAt: number }[],
  ) {
    this.#folder = folder;
    this.#elapsed = elapsed;
    this.#rows = new Map(rows.map((row) => [row.path, row]));
    this.#last = new Map(last.map((one) => [one.path, one]));
  }

  static async of(db: Kysely<Schema>, folder: string, paths: readonly string[], elapsed: Elapsed): Promise<Piece> {
    const some = [...new Set(paths)];
    const rows = db.selectFrom("files").selectAll().where("folder", "=", folder).where("path", "in", some);
    // The last of each path, by its place in the index: a path may have had many. As a join, it may be made by reading all.
    const ofPath = sql`from versions where folder = ${folder} and path = wanted.path order by version desc limit 1`;
    const last = sql<{ path: string; version: number | null; endedAt: number }>`
      with wanted (path) as (values ${values(some)})
      select path, (select version ${ofPath}) as version, (select ended_at ${ofPath}) as ended_at from wanted`;
    const known = (await last.execute(db)).rows.flatMap(({ version, ...row }) =>
      version === null ? [] : [{ ...row, version }],
    );
    return new Piece(folder, elapsed, await rows.execute(), known);
  }

  /** Whether it could: what is moved has to be a known entry with nothing below it. */
  apply(change: FileChange, at: number, storedAt?: number): boolean {
    if (change.do === "put") this.#put(change, at);
    else if (change.do === "retire") this.#retire(change, at, storedAt);
    else if (change.do === "remove") this.#remove(change.path, at);
    else {
      const row = this.#rows.get(change.from);
      if (row === undefined || row.kind === "directory") return false;
      this.move(row, change.path, at);
    }
    return true;
  }

  /** As if it was deleted there and stored here. */
  move(row: Row, path: string, at: number): void {
    const entry = { ...row, mtimeNs: BigInt(row.mtimeNs) };
    if (row.kind !== "directory") this.#retire({ ...entry, do: "retire", why: "moved", movedTo: path }, at);
    this.#remove(row.path, at);
    this.#put({ ...entry, do: "put", path }, at);
  }

  async write(db: Kysely<Schema>): Promise<void> {
    await this.#writeFiles(db);
    const versionBytes = await this.#writeVersions(db);
    await db
      .updateTable("folders")
      .set((all) => ({
        files: all("files", "+", this.#files),
        bytes: all("bytes", "+", this.#bytes),
        entries: all("entries", "+", this.#entries),
        versions: all("versions", "+", this.#retired.length),
        versionBytes: all("versionBytes", "+", versionBytes),
        ...(this.#changedAt === null ? {} : { changedAt: this.#changedAt }),
      }))
      .where("name", "=", this.#folder)
      .execute();
  }

  #put({ do: _, at: __, ...entry }: Put, at: number): void {
    const before = this.#rows.get(entry.path);
    const last = this.#last.get(entry.path)?.version ?? 0;
    const { folder, path, kind, size, mode, sha256, target } = entry;
    const row = { folder, path, kind, size, mode, mtimeNs: String(entry.mtimeNs), sha256, target };
    const held = before !== undefined && before.version > last && sameContent(before, row) ? before : undefined;
    const changed = held !== undefined && !sameAttributes(held, row);
    if (changed) this.#retireAttributes(held, at);
    const same = held !== undefined && !changed;
    const version = same ? held.version : Math.max(before?.version ?? 0, last) + 1;
    this.#count(before, -1);
    const after: Row = { ...row, parent: parentOf(path), version, storedAt: same ? held.storedAt : at };
    this.#count(after, 1);
    this.#rows.set(path, after);
    this.#touched.add(path);
    this.#changedAt = at;
  }

  /** What a path was before it got another time or other permissions: a version whose content is where it was. */
  #retireAttributes({ parent: _, ...before }: Row, at: number): void {
    this.#retired.push({ ...before, endedAt: at, why: "changed", movedTo: null });
    this.#last.set(before.path, { version: before.version, endedAt: at });
  }

  #retire(change: FileChange & { do: "retire" }, at: number, storedAt?: number): void {
    const before = this.#rows.get(change.path);
    const last = this.#last.get(change.path);
    const known = before !== undefined && before.version > (last?.version ?? 0) ? before : undefined;
    const version = known?.version ?? (last?.version ?? 0) + 1;
    const { folder, path, kind, size, mode, mtimeNs, sha256, target, why, movedTo = null } = change;
    // Of what we were not told about it is only known that it came after the one before, and when it was written.
    const unknown = Math.max(last?.endedAt ?? 0, Math.min(Number(mtimeNs / 1_000_000n), at));
    const since = storedAt ?? known?.storedAt ?? unknown;
    const entry = { folder, path, kind, size, mode, mtimeNs: String(mtimeNs), sha256, target };
    this.#retired.push({ ...entry, version, storedAt: since, endedAt: at, why, movedTo });
    this.#last.set(path, { version, endedAt: at });
  }

  #remove(path: string, at: number): void {
    const before = this.#rows.get(path);
    if (before === undefined) return;
    if (before.kind === "directory") {
      this.#retire({ ...before, mtimeNs: BigInt(before.mtimeNs), do: "retire", why: "deleted" }, at);
    }
    this.#count(before, -1);
    this.#rows.delete(path);
    this.#touched.add(path);
    this.#changedAt = at;
  }

  #count(row: Row | undefined, sign: 1 | -1): void {
    if (row === undefined) return;
    this.#entries += sign;
    if (row.kind === "directory") return;
    this.#files += sign;
    this.#bytes += sign * row.size;
  }

  async #writeFiles(db: Kysely<Schema>): Promise<void> {
    const gone = [...this.#touched].filter((path) => !this.#rows.has(path));
    if (gone.length > 0) {
      await db.deleteFrom("files").where("folder", "=", this.#folder).where("path", "in", gone).execute();
    }
    const there = [...this.#touched].map((path) => this.#rows.get(path)).filter((row) => row !== undefined);
    if (there.length === 0) return;
    const columns = ["kind", "size", "mode", "mtimeNs", "sha256", "target", "version", "storedAt"] as const;
    await db
      .insertInto("files")
      .values(there)
      .onConflict((conflict) =>
        conflict
          .columns(["folder", "path"])
          .doUpdateSet((all) => Object.fromEntries(columns.map((name) => [name, all.ref(`excluded.${name}`)]))),
      )
      .execute();
  }

  /** By how much the kept content grows. */
  async #writeVersions(db: Kysely<Schema>): Promise<number> {
    if (this.#retired.length === 0) return 0;
    const sizes = new Map<string, number>();
    for (const { sha256, size, why } of this.#retired)
      if (sha256 !== null && why !== "changed") sizes.set(sha256, size);
    if (sizes.size > 0) {
      const kept = sql<{ sha256: string; found: number | null }>`
        with wanted (sha256) as (values ${values([...sizes.keys()])})
        select sha256, (select 1 from versions where versions.sha256 = wanted.sha256 and folder = ${this.#folder}
          and why in ('replaced', 'deleted', 'moved') limit 1) as found from wanted`;
      for (const { sha256, found } of (await kept.execute(db)).rows) if (found !== null) sizes.delete(sha256);
    }
    const last = await countVersions(db, this.#retired.length);
    const first = last - this.#retired.length + 1;
    const endedSeen = this.#elapsed();
    const rows = this.#retired.map((row, place) => ({ ...row, number: first + place, endedSeen }));
    await db.insertInto("versions").values(rows).execute();
    return [...sizes.values()].reduce((sum, size) => sum + size, 0);
  }
}

/** Adds to the count of all versions that there ever were, and returns it: the number of the last of those. */
async function countVersions(db: Kysely<Schema>, more: number): Promise<number> {
  const counting = sql<{ value: string }>`
    insert into facts (name, value) values (${VERSIONS_COUNTED}, ${String(more)})
    on conflict (name) do update set value = cast(cast(facts.value as bigint) + ${sql.lit(more)} as text) returning value`;
  return Number((await counting.execute(db)).rows[0]?.value);
}

function values(texts: readonly string[]) {
  return sql.join(texts.map((text) => sql`(${text})`));
}

/** A folder that was just made has no time of its own yet. */
function sameAttributes(a: Row, b: Omit<FileRow, "version" | "storedAt">): boolean {
  if (a.kind === "directory" && a.mtimeNs === String(BigInt(a.storedAt) * 1_000_000n)) return true;
  return a.mtimeNs === b.mtimeNs && (a.kind === "link" || a.mode === b.mode);
}

function sameContent(a: FileRow, b: Omit<FileRow, "version" | "storedAt">): boolean {
  if (a.kind !== b.kind || a.target !== b.target) return false;
  if (a.kind !== "file") return true;
  if (a.size !== b.size) return false;
  return a.sha256 !== null && b.sha256 !== null ? a.sha256 === b.sha256 : a.mtimeNs === b.mtimeNs;
}
