/** `confundo folder …`: beside the data, whether the server runs or not. */
import { type Folder, type Keeper, VersionError } from "../server/index.js";
import { FOLDER_GRACE_MS } from "../server/limits.js";
import { type HomeOption, type OpenHome, withHome } from "./home.js";
import { parseDuration } from "./options.js";
import { formatBytes } from "./progress.js";
import { shownPath } from "./report.js";
import { printJson, printTable, shownTime } from "./table.js";
import { withKeeper } from "./versions.js";

export async function listFolders(
  options: HomeOption & { readonly deleted?: boolean; readonly json?: boolean },
): Promise<void> {
  await withHome(options, async ({ database }) => {
    const { deleted = false, json = false } = options;
    const all = await (deleted ? database.folders.deleted() : database.folders.list());
    if (json) for (const folder of all) printJson(folder);
    else if (deleted) printTable(["NAME", "FILES", "SIZE", "DELETED", "KEPT UNTIL"], all.map(deletedRow));
    else printTable(["NAME", "FILES", "SIZE", "VERSIONS", "CHANGED"], all.map(presentRow));
  });
}

export function deleteFolder(name: string, options: HomeOption & { readonly grace?: string }): Promise<void> {
  const { grace } = options;
  const graceMs = grace === undefined ? FOLDER_GRACE_MS : grace === "0" ? 0 : parseDuration(grace);
  return withKeeper(options, async (home, keeper) => {
    const { purgeAt } = await keeper.deletion.delete(name, graceMs);
    await noteDown(home, "folder.delete", name, `restorable until ${new Date(purgeAt ?? 0).toISOString()}`);
    const until = `until ${shownTime(purgeAt)}: confundo folder undelete ${shownPath(name)}`;
    process.stdout.write(
      `deleted ${shownPath(name)}${graceMs === 0 ? " for good" : `; it can be restored ${until}`}\n`,
    );
  });
}

export function undeleteFolder(name: string, options: HomeOption): Promise<void> {
  return withKeeper(options, async (home, keeper) => {
    await undelete(keeper, home, name);
    await noteDown(home, "folder.undelete", name, null);
    process.stdout.write(`restored ${shownPath(name)}\n`);
  });
}

async function undelete(keeper: Keeper, { database }: OpenHome, name: string): Promise<void> {
  try {
    await keeper.deletion.undelete(name);
  } catch (error) {
    if (!(error instanceof VersionError)) throw error;
    const kept = (await database.folders.deleted()).map((folder) => shownPath(folder.name));
    const there = kept.length === 0 ? "none is deleted" : `deleted are ${kept.join(", ")}`;
    throw new VersionError(error.code, `${error.message}: ${there}`);
  }
}

function noteDown({ database }: OpenHome, action: string, target: string, detail: string | null): Promise<void> {
  return database.audit.add({ actor: "local", action, target, outcome: "ok", address: null, detail });
}

function presentRow({ name, files, bytes, versionBytes, changedAt }: Folder): string[] {
  return [name, `${files}`, formatBytes(bytes), formatBytes(versionBytes), shownTime(changedAt)];
}

function deletedRow({ name, files, bytes, deletedAt, purgeAt }: Folder): string[] {
  return [name, `${files}`, formatBytes(bytes), shownTime(deletedAt), shownTime(purgeAt)];
}
