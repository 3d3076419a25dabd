/** Folders, and what is in them. */
import type { Folder, FolderLimits } from "../../database/types.js";
import type { Services } from "../api.js";
import { administrates, administrators, audit, noSuchFolder, permit } from "../guard.js";
import { Problem } from "../problem.js";
import { type Api, answer, body, createRoute, problems, SECURITY } from "../router.js";
import {
  DeletionQuery,
  EntriesQuery,
  EntrySchema,
  FolderChange,
  FolderParam,
  FolderSchema,
  FoldersQuery,
  NewFolder,
  pageOf,
} from "../schemas.js";
import { entryView, folderView, pageView } from "../views.js";

const shared = { tags: ["folders"], security: SECURITY };

const listFolders = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/folders",
  summary: "The folders that one may see",
  request: { query: FoldersQuery },
  responses: { 200: answer("By name.", pageOf(FolderSchema)), ...problems(400, 401, 403) },
});

const addFolder = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/folders",
  summary: "Make a folder",
  request: { body: body(NewFolder) },
  responses: { 201: answer("The folder.", FolderSchema), ...problems(400, 401, 403, 409) },
});

const readFolder = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/folders/{folder}",
  summary: "One folder",
  request: { params: FolderParam },
  responses: { 200: answer("The folder.", FolderSchema), ...problems(400, 401, 404) },
});

const changeFolder = createRoute({
  ...shared,
  method: "patch",
  path: "/api/v1/folders/{folder}",
  summary: "Set a folder's limits",
  request: { params: FolderParam, body: body(FolderChange) },
  responses: { 200: answer("The folder.", FolderSchema), ...problems(400, 401, 403, 404) },
});

const deleteFolder = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/folders/{folder}",
  summary: "Delete a folder",
  description:
    "Its sessions end and nobody sees it any more. Until `purgeAt` it can be restored as it was; then its files and its versions are removed.",
  request: { params: FolderParam, query: DeletionQuery },
  responses: { 200: answer("The deleted folder.", FolderSchema), ...problems(400, 401, 403, 404) },
});

const undeleteFolder = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/folders/{folder}/undelete",
  summary: "Restore a deleted folder",
  request: { params: FolderParam },
  responses: { 200: answer("The folder.", FolderSchema), ...problems(400, 401, 403, 404) },
});

const listEntries = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/folders/{folder}/entries",
  summary: "What is in a directory of a folder",
  request: { params: FolderParam, query: EntriesQuery },
  responses: { 200: answer("By path.", pageOf(EntrySchema)), ...problems(400, 401, 404) },
});

/** @throws Problem where a folder could never hold as much as its quota says */
function requireRoom({ quotaBytes, storageLimitBytes }: Partial<FolderLimits>): void {
  if (typeof quotaBytes !== "number" || typeof storageLimitBytes !== "number" || storageLimitBytes >= quotaBytes)
    return;
  throw new Problem("ERR_REQUEST", "storageLimitBytes is less than quotaBytes, but the content counts towards both");
}

export function addFolders(app: Api, services: Services): void {
  const { auth, database, mirrors } = services;

  app.openapi(listFolders, async (c) => {
    const { limit, after, deleted } = c.req.valid("query");
    const who = c.get("who");
    if (deleted === "true" && !administrates(who)) {
      throw new Problem("ERR_FORBIDDEN", "only an administrator sees deleted folders");
    }
    const listed = deleted === "true" ? database.folders.deleted() : database.folders.list();
    const [all, mine] = await Promise.all([listed, auth.folders(who)]);
    const visible = all
      .filter(({ name }) => (mine === null || mine.has(name)) && (after === undefined || name > after))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const view = (folder: (typeof all)[number]) =>
      folderView(folder, mine === null ? "write" : (mine.get(folder.name) ?? "read"), mirrors);
    return c.json(
      pageView(visible, limit, view, ({ name }) => name),
      200,
    );
  });

  app.on("POST", addFolder.path, administrators());
  app.openapi(addFolder, async (c) => {
    const { name, ...limits } = c.req.valid("json");
    requireRoom(limits);
    if ((await database.folders.byName(name)) !== undefined) {
      throw new Problem("ERR_EXISTS", `there is a folder "${name}" already`);
    }
    if ((await database.folders.deleted()).some((folder) => folder.name === name)) {
      const ways = "restore it, or wait until it is purged";
      throw new Problem("ERR_EXISTS", `a folder "${name}" was deleted and is still kept: ${ways}`);
    }
    await database.folders.ensure(name);
    const folder = await mirrors.setLimits(name, limits);
    await audit(services, c, "folder.create", name);
    return c.json(folderView(folder, "write", mirrors), 201);
  });

  app.openapi(readFolder, async (c) => {
    const { folder } = c.req.valid("param");
    const mine = await auth.folders(c.get("who"));
    const access = mine === null ? "write" : mine.get(folder);
    const record = access === undefined ? undefined : await database.folders.byName(folder);
    if (access === undefined || record === undefined) throw noSuchFolder(folder);
    return c.json(folderView(record, access, mirrors), 200);
  });

  app.on("PATCH", "/api/v1/folders/:folder", administrators());
  app.openapi(changeFolder, async (c) => {
    const { folder } = c.req.valid("param");
    const before = await database.folders.byName(folder);
    if (before === undefined) throw noSuchFolder(folder);
    const given = Object.entries(c.req.valid("json")).filter(([, value]) => value !== undefined);
    const limits: Partial<FolderLimits> = Object.fromEntries(given);
    requireRoom({ ...before, ...limits });
    const record = await mirrors.setLimits(folder, limits);
    await audit(
      services,
      c,
      "folder.quota",
      folder,
      given.map(([name, value]) => `${name} ${value ?? "none"}`).join(", "),
    );
    return c.json(folderView(record, "write", mirrors), 200);
  });

  app.on("DELETE", "/api/v1/folders/:folder", administrators());
  app.openapi(deleteFolder, async (c) => {
    const { folder } = c.req.valid("param");
    const { grace } = c.req.valid("query");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const record = await mirrors.deleteFolder(folder, grace * 1000);
    await audit(services, c, "folder.delete", folder, purgeDetail(record));
    return c.json(folderView(record, "write", mirrors), 200);
  });

  app.on("POST", "/api/v1/folders/:folder/undelete", administrators());
  app.openapi(undeleteFolder, async (c) => {
    const { folder } = c.req.valid("param");
    const record = await mirrors.undeleteFolder(folder);
    await audit(services, c, "folder.undelete", folder);
    return c.json(folderView(record, "write", mirrors), 200);
  });

  app.openapi(listEntries, async (c) => {
    const { folder } = c.req.valid("param");
    const { path, limit, after } = c.req.valid("query");
    await permit(services, c, folder, "read");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const directory = path.replace(/\/$/, "");
    if (directory !== "" && (await database.files.byPath(folder, directory))?.kind !== "directory") {
      throw new Problem("ERR_NOT_FOUND", `there is no directory ${directory} in "${folder}"`);
    }
    const page = { limit: limit + 1, ...(after === undefined ? {} : { after }) };
    const entries = await database.files.list(folder, directory, page);
    return c.json(
      pageView(entries, limit, entryView, (entry) => entry.path),
      200,
    );
  });
}

function purgeDetail({ purgeAt }: Folder): string {
  return `restorable until ${new Date(purgeAt ?? 0).toISOString()}`;
}
