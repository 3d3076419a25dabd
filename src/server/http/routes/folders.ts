/** Folders, and what is in them. */
import type { Services } from "../api.js";
import { administrators, audit, noSuchFolder, permit } from "../guard.js";
import { Problem } from "../problem.js";
import { type Api, answer, body, createRoute, problems, SECURITY } from "../router.js";
import {
  EntriesQuery,
  EntrySchema,
  FolderChange,
  FolderParam,
  FolderSchema,
  NewFolder,
  PageQuery,
  pageOf,
} from "../schemas.js";
import { entryView, folderView, pageView } from "../views.js";

const shared = { tags: ["folders"], security: SECURITY };

const listFolders = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/folders",
  summary: "The folders that one may see",
  request: { query: PageQuery },
  responses: { 200: answer("By name.", pageOf(FolderSchema)), ...problems(400, 401) },
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
  summary: "Set a folder's quota",
  request: { params: FolderParam, body: body(FolderChange) },
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

export function addFolders(app: Api, services: Services): void {
  const { auth, database, mirrors } = services;

  app.openapi(listFolders, async (c) => {
    const { limit, after } = c.req.valid("query");
    const [all, mine] = await Promise.all([database.folders.list(), auth.folders(c.get("who"))]);
    const sessions = mirrors.sessions();
    const visible = all
      .filter(({ name }) => (mine === null || mine.has(name)) && (after === undefined || name > after))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const view = (folder: (typeof all)[number]) =>
      folderView(folder, mine === null ? "write" : (mine.get(folder.name) ?? "read"), sessions);
    return c.json(
      pageView(visible, limit, view, ({ name }) => name),
      200,
    );
  });

  app.on("POST", addFolder.path, administrators());
  app.openapi(addFolder, async (c) => {
    const { name, quotaBytes } = c.req.valid("json");
    if ((await database.folders.byName(name)) !== undefined) {
      throw new Problem("ERR_EXISTS", `there is a folder "${name}" already`);
    }
    const folder = await database.folders.ensure(name, quotaBytes);
    await audit(services, c, "folder.create", name);
    return c.json(folderView(folder, "write", []), 201);
  });

  app.openapi(readFolder, async (c) => {
    const { folder } = c.req.valid("param");
    const mine = await auth.folders(c.get("who"));
    const access = mine === null ? "write" : mine.get(folder);
    const record = access === undefined ? undefined : await database.folders.byName(folder);
    if (access === undefined || record === undefined) throw noSuchFolder(folder);
    return c.json(folderView(record, access, mirrors.sessions()), 200);
  });

  app.on("PATCH", "/api/v1/folders/:folder", administrators());
  app.openapi(changeFolder, async (c) => {
    const { folder } = c.req.valid("param");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const { quotaBytes } = c.req.valid("json");
    await database.folders.setQuota(folder, quotaBytes);
    await audit(services, c, "folder.quota", folder, quotaBytes === null ? "none" : `${quotaBytes} bytes`);
    const record = await database.folders.byName(folder);
    if (record === undefined) throw noSuchFolder(folder);
    return c.json(folderView(record, "write", mirrors.sessions()), 200);
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
