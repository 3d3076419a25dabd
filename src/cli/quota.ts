/** `confundo quota`: what the mirrors of a home take and may take. */
import type { Database, Folder, FolderLimits, Keeper } from "../server/index.js";
import type { HomeOption } from "./home.js";
import { formatBytes } from "./progress.js";
import { escaped, shownPath, UsageError } from "./report.js";
import { requireRoomForQuota } from "./serve.js";
import { requireFolder, withKeeper } from "./versions.js";

export interface QuotaCommandOptions extends HomeOption {
  readonly quota?: number | null;
  readonly storageLimit?: number | null;
  readonly maxEntries?: number | null;
  readonly json?: boolean;
}

/** Sets the limits that are given, and shows what one folder, or every one, takes. */
export async function quota(name: string | undefined, options: QuotaCommandOptions): Promise<void> {
  const limits: { -readonly [key in keyof FolderLimits]?: FolderLimits[key] } = {};
  if (options.quota !== undefined) limits.quotaBytes = options.quota;
  if (options.storageLimit !== undefined) limits.storageLimitBytes = options.storageLimit;
  if (options.maxEntries !== undefined) limits.maxEntries = options.maxEntries;
  const sets = Object.keys(limits).length > 0;
  if (sets && name === undefined)
    throw new UsageError("Which mirror is meant? Limits are set for one: confundo quota NAME …");
  await withKeeper(options, async ({ database }, keeper) => {
    if (name !== undefined) await requireFolder(database, name);
    if (sets && name !== undefined) await set(database, keeper, name, limits);
    const folders = await database.folders.list();
    for (const folder of folders)
      if (name === undefined || folder.name === name) show(folder, keeper, options.json ?? false);
  });
}

async function set(database: Database, keeper: Keeper, name: string, limits: Partial<FolderLimits>): Promise<void> {
  const before = await database.folders.byName(name);
  const after = { ...before, ...limits };
  requireRoomForQuota(after.quotaBytes, after.storageLimitBytes);
  await keeper.setLimits(name, limits);
  const detail = Object.entries(limits).map(([limit, value]) => `${limit} ${value ?? "none"}`);
  await database.audit.add({
    actor: "local",
    action: "folder.quota",
    target: name,
    outcome: "ok",
    address: null,
    detail: detail.join(", "),
  });
}

function show(folder: Folder, keeper: Keeper, json: boolean): void {
  const { bytes, unfinishedBytes, limits } = keeper.storage(folder);
  const { name, entries, versions, versionBytes, quotaBytes, storageLimitBytes, maxEntries } = folder;
  if (json) {
    const sizes = { bytes: folder.bytes, entries, versions, versionBytes, unfinishedBytes, storageBytes: bytes };
    process.stdout.write(`${JSON.stringify({ name, ...sizes, quotaBytes, storageLimitBytes, maxEntries })}\n`);
    return;
  }
  const of = (limit: string | null): string => (limit === null ? "" : ` of ${limit}`);
  const size = (limit: number | null): string | null => (limit === null ? null : formatBytes(limit));
  const count = (value: number): string => value.toLocaleString("en");
  const parts = [
    `content ${formatBytes(folder.bytes)}${of(size(quotaBytes))}`,
    `storage ${formatBytes(bytes)}${of(size(limits.storageBytes))}`,
    `entries ${count(entries)}${of(maxEntries === null ? null : count(maxEntries))}`,
    `versions ${count(versions)} (${formatBytes(versionBytes)})`,
    `unfinished uploads ${formatBytes(unfinishedBytes)}`,
  ];
  process.stdout.write(`${escaped(`${shownPath(name)}: ${parts.join(", ")}`)}\n`);
}
