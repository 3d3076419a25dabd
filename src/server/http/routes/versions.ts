/** What files were, and getting it back. */
import { versionCursor } from "../../database/versions.js";
import type { Services } from "../api.js";
import { DeletesAnswerBody, HeldDeletesSchema } from "../deletes-schemas.js";
import { audit, noSuchFolder, permit } from "../guard.js";
import { type Api, answer, body, createRoute, nothing, problems, SECURITY } from "../router.js";
import { FolderParam, pageOf, RestoreBody, RestoredSchema, VersionSchema, VersionsQuery } from "../schemas.js";
import { actorOf, pageView, versionView } from "../views.js";

const shared = { tags: ["versions"], security: SECURITY };

const listVersions = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/folders/{folder}/versions",
  summary: "What was replaced or deleted and is kept",
  request: { params: FolderParam, query: VersionsQuery },
  responses: { 200: answer("Newest first.", pageOf(VersionSchema)), ...problems(400, 401, 404) },
});

const restore = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/folders/{folder}/restore",
  summary: "Bring a file, a directory or the whole folder back",
  description:
    "To a version, or to how it was at a time. What is there now is kept as a version in turn. Clients, which would undo that, may not change the folder until it is resumed.",
  request: { params: FolderParam, body: body(RestoreBody) },
  responses: { 200: answer("Restored.", RestoredSchema), ...problems(400, 401, 403, 404, 409, 507) },
});

const resume = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/folders/{folder}/resume",
  summary: "Let clients change a restored folder again",
  description:
    "They make it equal to their own folders: what was restored and is not there will be deleted (and kept as a version).",
  request: { params: FolderParam },
  responses: { 204: nothing, ...problems(400, 401, 403, 404) },
});

const approve = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/folders/{folder}/approve",
  summary: "Approve the deletes that a client holds back",
  description:
    "Once, and only as they were shown: with the id of `heldDeletes` of the folder. With `approved: false` they stay held back.",
  request: { params: FolderParam, body: body(DeletesAnswerBody) },
  responses: { 200: answer("What was answered.", HeldDeletesSchema), ...problems(400, 401, 403, 404, 412) },
});

export function addVersions(app: Api, services: Services): void {
  const { database, mirrors } = services;

  app.openapi(listVersions, async (c) => {
    const { folder } = c.req.valid("param");
    const { path, limit, after } = c.req.valid("query");
    await permit(services, c, folder, "read");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const page = { limit: limit + 1, ...(after === undefined ? {} : { after }) };
    const versions = await database.versions.list(folder, path === "" ? undefined : path, page);
    return c.json(pageView(versions, limit, versionView, versionCursor), 200);
  });

  app.openapi(restore, async (c) => {
    const { folder } = c.req.valid("param");
    const { path, version, at } = c.req.valid("json");
    await permit(services, c, folder, "write");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const actor = actorOf(c.get("who"));
    const restored = await mirrors.restore(
      path !== null && version !== undefined ? { folder, actor, path, version } : { folder, actor, path, at: at ?? 0 },
    );
    const detail = `${restored.files} restored, ${restored.removed} removed`;
    await audit(services, c, "folder.restore", path === null ? folder : `${folder}/${path}`, detail);
    return c.json(restored, 200);
  });

  app.openapi(resume, async (c) => {
    const { folder } = c.req.valid("param");
    await permit(services, c, folder, "write");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    if (await mirrors.resume(folder)) await audit(services, c, "folder.resume", folder);
    return c.body(null, 204);
  });

  app.openapi(approve, async (c) => {
    const { folder } = c.req.valid("param");
    const { id, approved } = c.req.valid("json");
    await permit(services, c, folder, "write");
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const held = await mirrors.answerDeletes({ folder, id, approved, by: actorOf(c.get("who")) });
    await audit(services, c, approved ? "deletes.approve" : "deletes.keep", folder, `${held.files} files (${held.id})`);
    return c.json(held, 200);
  });
}
