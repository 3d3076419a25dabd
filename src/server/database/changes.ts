/**
 * How changes of folders become changes of the file tables. A number of changes of one folder is worked out in memory,
 * from the rows of the paths that it is about, and written back in a few statements.
 */
import { type Kysely, sql } from "kysely";
import { parentOf } from "../../sync/index.js";
import { ensureFolder } from "./files.js";
import type { FileRow, Schema } from "./schema.js";
import type { FileChange, Version } from "./types.js";

/** Rows a statement reads or writes: SQLite takes 32,766 values at most. */
const MAX_ROWS = 500;

type Row = FileRow & { parent: string };
type VersionRow = Schema["versions"];
type Put = FileChange & { do: "put" };

export async function applyChanges(db: Kysely<Schema>, changes: readonly FileChange[], at: number): Promise<void> {
  let rest = changes;
  while (rest[0] !== undefined) {
    const { folder, do: what } = rest[0];
    await ensureFolder(db, folder, at);
    if (what === "move") await applyMove(db, rest[0], at);
    const end = what === "move" ? 1 : rest.findIndex((one) => one.folder !== folder || one.do === "move");
    const run = end === -1 ? rest : rest.slice(0, end);
    if (what !== "move") {
      for (let from = 0; from < run.length; from += MAX_ROWS) {
        const piece = await Piece.of(
          db,
          folder,
          run.slice(from, from + MAX_ROWS).map(({ path }) => path),
        );
        for (const change of run.slice(from, from + MAX_ROWS)) piece.apply(change, change.at ?? at);
        await piece.write(db);
      }
    }
    rest = rest.slice(run.length);
  }
}

/** As if all that moves were deleted there and stored here. */
async function applyMove(db: Kysely<Schema>, change: FileChange & { do: "move" }, at: number): Promise<void> {
  const { folder, from, path } = change;
  const time = change.at ?? at;
  const inside = sql<boolean>`(path = ${from} or (path >= ${`${from}/`} and path < ${`${from}0`}))`;
  for (;;) {
    const moving = db.selectFrom("files").selectAll().where("folder", "=", folder).where(inside);
    const rows = await moving
      .orderBy("path")
      .limit(MAX_ROWS / 2)
      .execute();
    if (rows.length === 0) return;
    const target = (row: Row): string => path + row.path.slice(from.length);
    const piece = await Piece.of(db, folder, [...rows.map((row) => row.path), ...rows.map(target)]);
    for (const row of rows) {
      const entry = { ...row, mtimeNs: BigInt(row.mtimeNs) };
      if (row.kind !== "directory") {
        piece.apply({ ...entry, do: "retire", why: "moved", movedTo: target(row) }, time);
      }
      piece.apply({ do: "remove", folder, path: row.path }, time);
      piece.apply({ ...entry, do: "put", path: target(row) }, time);
    }
    await piece.write(db);
  }
}

/** Adds a version without touching what is there now. */
export async function addVersion(
  db: Kysely<Schema>,
  { endedAt, ...version }: Omit<Version, "version" | "movedTo"> & { readonly movedTo?: string | null },
): Promise<void> {
  const { folder, path } = version;
  await ensureFolder(db, folder, endedAt);
  const piece = await Piece.of(db, folder, [path]);
  piece.apply({ ...version, do: "retire" }, endedAt, version.storedAt);
  await piece.write(db);
}

class Piece {
  readonly #folder: string;
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
    rows: readonly Row[],
    last: readonly { path: string; version: number; endedAt: number }[],
  ) {
    this.#folder = folder;
    this.#rows = new Map(rows.map((row) => [row.path, row]));
    this.#last = new Map(last.map((one) => [one.path, one]));
  }

  static async of(db: Kysely<Schema>, folder: string, paths: readonly string[]): Promise<Piece> {
    const some = [...new Set(paths)];
    const rows = db.selectFrom("files").selectAll().where("folder", "=", folder).where("path", "in", some);
    const versions = db.selectFrom("versions").where("folder", "=", folder).where("path", "in", some);
    const last = versions.select(({ fn }) => [
      "path",
      fn.max("version").as("version"),
      fn.max("endedAt").as("endedAt"),
    ]);
    return new Piece(folder, await rows.execute(), await last.groupBy("path").execute());
  }

  apply(change: FileChange, at: number, storedAt?: number): void {
    if (change.do === "put") this.#put(change, at);
    else if (change.do === "retire") this.#retire(change, at, storedAt);
    else if (change.do === "remove") this.#remove(change.path, at);
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
      const kept = db
        .selectFrom("versions")
        .select("sha256")
        .distinct()
        .where("folder", "=", this.#folder)
        .where("why", "<>", "changed");
      for (const { sha256 } of await kept.where("sha256", "in", [...sizes.keys()]).execute()) {
        if (sha256 !== null) sizes.delete(sha256);
      }
    }
    await db.insertInto("versions").values(this.#retired).execute();
    return [...sizes.values()].reduce((sum, size) => sum + size, 0);
  }
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
