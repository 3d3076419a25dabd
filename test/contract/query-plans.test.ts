import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import pg from "pg";
import { afterAll, expect, test, vi } from "vitest";
import { openDatabase } from "../../src/server/database/open.js";
import { versionCursor } from "../../src/server/database/versions.js";
import type { Database, FileChange } from "../../src/server/index.js";
import { hasPostgres, startPostgres } from "../support/postgres.js";

/**
 * No statement reads more of a table than it needs, however large the table: every statement that the database service makes
 * is asked for its plan, with tables that are large enough to tell.
 */

/** Rows of each of these, of which a statement may read {@link MOST_ROWS}. */
const ROWS = 4000;
const MOST_ROWS = 2600;
/** Tables that grow with what clients do. The others grow with what administrators do, and are listed as a whole. */
const GROWING = ["files", "versions", "transfers", "audit", "events"];
const OTHERS = ["users", "devices", "grants", "invitations", "tokens", "folders", "facts"];

const afterwards: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const step of afterwards.reverse()) await step();
});

const file = (path: string, content = path) =>
  ({
    do: "put",
    folder: "f",
    path,
    kind: "file",
    size: content.length,
    mode: 0o644,
    mtimeNs: 5n,
    sha256: Buffer.from(content.padEnd(32)).toString("hex"),
    target: null,
  }) as const satisfies FileChange;

const inFolder = (at: number): string => `d${String(at % 40).padStart(2, "0")}/n${String(at).padStart(6, "0")}`;

/** As little time as possible: what is not looked at here need not be real. */
async function fill(db: Database): Promise<void> {
  const every = Array.from({ length: ROWS }, (_, at) => at);
  const retired = (path: string, at: number) =>
    ({ ...file(path), do: "retire", why: at % 10 === 0 ? "replaced" : "deleted" }) as const;
  await db.folders.ensure("other");
  for (let from = 0; from < ROWS; from += 500) {
    const some = every.slice(from, from + 500);
    await Promise.all([
      db.files.apply(
        some.map((at) => file(inFolder(at))),
        10,
      ),
      // A quarter of the versions are of one file.
      db.files.apply(
        some.map((at) => retired(at % 4 === 0 ? "log" : inFolder(at), at)),
        20,
      ),
      db.events.append(some.map(() => ({ type: "file.stored", folder: "f", data: {} }))),
      db.transfers.add(some.map((at) => ({ ...transfer, folder: at % 1000 === 0 ? "g" : "f" }))),
    ]);
    for (const _ of some) void db.audit.add(entry);
  }
  await db.audit.add(entry);
}

const transfer = {
  device: null,
  path: "a",
  bytes: 3,
  startedAt: 1,
  endedAt: 2,
  outcome: "stored",
  code: null,
} as const;
const entry = { actor: "a", action: "b", target: null, outcome: "ok", address: null, detail: null } as const;

/** Everything that the service can be asked. What it lists as a whole comes in pages. */
async function useAll(db: Database): Promise<void> {
  const user = await db.users.create({ name: "ada", role: "user", passwordHash: "" });
  await db.users.byName("ada");
  await db.users.byId(user.id);
  await db.users.list();
  await db.users.setPassword(user.id, "$");
  const device = await db.devices.create({ name: "d", pin: "p", role: "user" });
  await db.devices.byPin("p");
  await db.devices.byId(device.id);
  await db.devices.list();
  await db.devices.seen(device.id, 1);
  await db.devices.setRole(device.id, "admin");
  await db.devices.rename(device.id, "e");
  await db.devices.revoke(device.id, 1);
  const grant = { subject: "device", subjectId: "d", folder: "f" } as const;
  await db.grants.set({ ...grant, access: "read" });
  await db.grants.of("device", "d");
  await db.grants.remove(grant);
  const code = { codeHash: "c", folder: null, access: "write", createdAt: 1, expiresAt: 100 } as const;
  const invitation = await db.invitations.create(code);
  await db.invitations.list();
  await db.invitations.take("c", 50);
  await db.invitations.usedBy(invitation.id, "d");
  await db.invitations.withdraw(invitation.id, 5);
  await db.invitations.remove(invitation.id);
  const token = { kind: "api", name: "t", userId: user.id, scopes: [], createdAt: 1, expiresAt: 1, hash: "h" } as const;
  const { id } = await db.tokens.create(token);
  await db.tokens.byHash("h");
  await db.tokens.list();
  await db.tokens.list(user.id);
  await db.tokens.used(id, 1);
  await db.tokens.revoke(id, 1);
  await db.tokens.trim(user.id, "api", 5, 0);
  await db.users.remove(user.id);

  await db.folders.ensure("f", 1000);
  await db.folders.byName("f");
  await db.folders.list();
  await db.folders.deleted();
  await db.folders.overdue(1);
  await db.folders.setLimits("f", { quotaBytes: 1 });
  await db.folders.hold("f", null);
  await db.folders.settled("f", "00", 1);
  await db.files.unclean();
  await db.files.markUnclean("f");
  await db.files.markClean("f");

  await db.files.byPath("f", inFolder(5));
  await db.files.list("f", "d05", { limit: 100 });
  await db.files.list("f", "d05", { limit: 100, after: inFolder(5) });
  await db.files.holding(file(inFolder(5)).sha256);
  for await (const _ of db.files.all("f"));
  await db.files.apply([file("log"), { do: "remove", folder: "f", path: inFolder(7) }], 30);
  await db.files.apply([{ do: "move", folder: "f", from: "d06", path: "d99" }], 31);
  await db.files.apply([{ do: "move", folder: "f", from: inFolder(8), path: "m" }], 32);

  for (const path of [undefined, "log", "d05/", "d0/", inFolder(4)]) {
    const [first] = await db.versions.list("f", path, { limit: 100 });
    if (first !== undefined) await db.versions.list("f", path, { limit: 100, after: versionCursor(first) });
  }
  await db.versions.add({ ...without(file("v")), storedAt: 1, endedAt: 2, why: "deleted" });
  await db.versions.movedTo("f", "m", 40);
  await db.versions.at("f", inFolder(4), 15);
  for await (const _ of db.versions.treeAt("f", 15));
  const oldest = await db.versions.oldest("f", 100);
  await db.versions.beyond("f", 3);
  await db.versions.thin("f", { everyMs: 60_000, olderMs: 0 });
  await db.versions.remove("f", oldest.slice(0, 3));
  await db.versions.needed(oldest.map(({ sha256 }) => sha256 ?? ""));

  await db.transfers.list({ limit: 100 });
  await db.transfers.list({ limit: 100, folder: "g" });
  await db.transfers.list({ limit: 100, folder: "g", after: "1500" });
  await db.audit.list({ limit: 100 });
  await db.audit.list({ limit: 100, after: "1500" });
  await db.events.since(1500, 100);
  await db.events.last();
  await db.prune();
  await db.ping();
  await db.folders.ensure("g");
  await db.folders.delete("g", 1, 2);
  await db.folders.undelete("g");
  await db.folders.delete("g", 1, 2);
  await db.folders.purge("g", 3);
}

const without = ({ do: _, ...record }: ReturnType<typeof file>) => record;

test("SQLite: each statement finds its rows by an index, and sorts no table", { timeout: 120_000 }, async () => {
  const dir = await mkdtemp(join(tmpdir(), "confundo-plans-"));
  afterwards.push(() => rm(dir, { recursive: true }));
  const path = join(dir, "database.sqlite");
  const db = await openDatabase({ path });
  await fill(db);
  const statements = new Set<string>();
  await db.close();
  const prepare = vi.spyOn(DatabaseSync.prototype, "prepare");
  const again = await openDatabase({ path });
  await useAll(again);
  for (const [sql] of prepare.mock.calls) statements.add(sql);
  prepare.mockRestore();
  await again.close();
  const database = new DatabaseSync(path);
  const wrong: string[] = [];
  const explained = new Set<string>();
  for (const sql of statements) {
    if (!/^\s*(select|insert|update|delete|with)/i.test(sql)) continue;
    const plan = database.prepare(`explain query plan ${sql}`).all() as { detail: string }[];
    const details = plan.map(({ detail }) => detail);
    for (const detail of details) explained.add(/^(?:SCAN|SEARCH) (\w+)/.exec(detail)?.[1] ?? "");
    // Read in the order of an index up to a limit, that is no more than is asked for.
    const streams = /\blimit\b/i.test(sql) && !details.some((detail) => /TEMP B-TREE FOR (ORDER|GROUP)/.test(detail));
    const scans = details.some((detail) => {
      const [, how, table = "", more = ""] = /^(SCAN|SEARCH) (\w+)(.*)$/.exec(detail) ?? [];
      if (!GROWING.includes(table)) return false;
      const onlyFolder = /\(folder=\?\)$/.test(more);
      return !streams && (how === "SCAN" || onlyFolder);
    });
    if (scans) wrong.push(`${sql}\n${details.join("\n")}`);
  }
  database.close();
  expect(wrong).toEqual([]);
  for (const table of [...GROWING, ...OTHERS]) expect(explained).toContain(table);
});

test.runIf(hasPostgres())("PostgreSQL: each statement reads few rows", { timeout: 120_000 }, async () => {
  const server = await startPostgres();
  afterwards.push(() => server.stop());
  const url = await server.createDatabase("plans");
  const db = await openDatabase({ url });
  await fill(db);
  const client = new pg.Client(url);
  client.on("error", () => {});
  await client.connect();
  await client.query("analyze");
  // What can only be read as a whole still is.
  await client.query("set enable_seqscan = off");
  const statements = new Map<string, unknown[]>();
  const query = vi.spyOn(pg.Client.prototype, "query");
  await useAll(db);
  for (const call of query.mock.calls as unknown as [string, unknown[] | undefined][]) {
    if (typeof call[0] === "string") statements.set(call[0], call[1] ?? []);
  }
  query.mockRestore();
  const wrong: string[] = [];
  const read = new Set<string>();
  for (const [sql, values] of statements) {
    // What is inserted is there already by now; it reads nothing.
    if (!/^\s*(select|update|delete|with)/i.test(sql)) continue;
    await client.query("begin");
    const { rows } = await client.query(`explain (analyze, format json) ${sql}`, values);
    await client.query("rollback");
    for (const { table, count } of rowsRead(rows[0]["QUERY PLAN"][0].Plan)) {
      read.add(table);
      if (GROWING.includes(table) && count > MOST_ROWS) wrong.push(`${count} rows of ${table}: ${sql}`);
    }
  }
  await client.end();
  await db.close();
  expect(wrong).toEqual([]);
  for (const table of GROWING) expect(read).toContain(table);
});

interface PlanNode {
  readonly "Relation Name"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Rows Removed by Index Recheck"?: number;
  readonly Plans?: readonly PlanNode[];
}

function rowsRead(node: PlanNode): { table: string; count: number }[] {
  const below = (node.Plans ?? []).flatMap(rowsRead);
  const table = node["Relation Name"];
  if (table === undefined) return below;
  const removed = (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0);
  return [{ table, count: (node["Actual Rows"] + removed) * node["Actual Loops"] }, ...below];
}
