/** What goes on now, and what has gone on. */
import type { Context } from "hono";
import type { Services } from "../api.js";
import { administrates, administrators, noSuchFolder, permit } from "../guard.js";
import { Problem } from "../problem.js";
import { type Api, type ApiEnv, answer, createRoute, nothing, problems, SECURITY, z } from "../router.js";
import {
  ActiveTransferSchema,
  AuditSchema,
  IdParam,
  NumberedPageQuery,
  pageOf,
  SessionSchema,
  StatisticsSchema,
  TransferSchema,
  TransfersQuery,
} from "../schemas.js";
import { pageView } from "../views.js";

const shared = { tags: ["activity"], security: SECURITY };

const listSessions = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/sessions",
  summary: "Clients that mirror now, and how their connections do",
  responses: { 200: answer("Oldest first.", z.object({ items: z.array(SessionSchema) })), ...problems(401) },
});

const endSession = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/sessions/{id}",
  summary: "End a client's session",
  description: "It comes back, unless its device is revoked.",
  request: { params: IdParam },
  responses: { 204: nothing, ...problems(401, 403, 404) },
});

const listTransfers = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/transfers",
  summary: "Files on their way in, and those that have come",
  request: { query: TransfersQuery },
  responses: {
    200: answer(
      "`active` in no order, `items` (ended) newest first.",
      pageOf(TransferSchema).extend({ active: z.array(ActiveTransferSchema) }),
    ),
    ...problems(400, 401, 403, 404),
  },
});

const statistics = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/statistics",
  summary: "Sums over the folders that one may see",
  responses: { 200: answer("The sums.", StatisticsSchema), ...problems(401) },
});

const listAudit = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/audit",
  summary: "Who did what",
  request: { query: NumberedPageQuery },
  responses: { 200: answer("Newest first.", pageOf(AuditSchema)), ...problems(400, 401, 403) },
});

export function addActivity(app: Api, services: Services): void {
  const { auth, database, mirrors, hub } = services;
  const visible = async <T extends { readonly folder: string }>(
    c: Context<ApiEnv>,
    items: readonly T[],
  ): Promise<T[]> => {
    const mine = await auth.folders(c.get("who"));
    return items.filter(({ folder }) => mine === null || mine.has(folder));
  };

  app.openapi(listSessions, async (c) => c.json({ items: await visible(c, mirrors.sessions()) }, 200));

  app.on("DELETE", "/api/v1/sessions/:id", administrators());
  app.openapi(endSession, async (c) => {
    if (!mirrors.endSession(c.req.valid("param").id)) throw new Problem("ERR_NOT_FOUND", "there is no such session");
    return c.body(null, 204);
  });

  app.openapi(listTransfers, async (c) => {
    const { folder, limit, after } = c.req.valid("query");
    if (folder === undefined && !administrates(c.get("who"))) {
      throw new Problem("ERR_FORBIDDEN", "say which folder; the transfers of all are for administrators");
    }
    if (folder !== undefined) await permit(services, c, folder, "read");
    if (folder !== undefined && (await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
    const of = folder === undefined ? {} : { folder };
    const ended = await database.transfers.list({ limit: limit + 1, ...(after === undefined ? {} : { after }), ...of });
    const active = mirrors.transfers().filter((one) => folder === undefined || one.folder === folder);
    return c.json(
      {
        active,
        ...pageView(
          ended,
          limit,
          (one) => one,
          ({ id }) => id,
        ),
      },
      200,
    );
  });

  app.openapi(statistics, async (c) => {
    const mine = await auth.folders(c.get("who"));
    const sees = ({ folder }: { folder: string }) => mine === null || mine.has(folder);
    const folders = (await database.folders.list()).filter(({ name }) => sees({ folder: name }));
    const sum = (of: (folder: (typeof folders)[number]) => number) => folders.reduce((all, one) => all + of(one), 0);
    return c.json(
      {
        startedAt: services.startedAt,
        version: services.version ?? "0.0.0",
        folders: folders.length,
        files: sum(({ files }) => files),
        bytes: sum(({ bytes }) => bytes),
        versionBytes: sum(({ versionBytes }) => versionBytes),
        sessions: mirrors.sessions().filter(sees).length,
        transfers: mirrors.transfers().filter(sees).length,
        subscribers: hub.subscribers,
        memoryBytes: administrates(c.get("who")) ? process.memoryUsage.rss() : null,
        lastEvent: await database.events.last(),
      },
      200,
    );
  });

  app.use(listAudit.path, administrators());
  app.openapi(listAudit, async (c) => {
    const { limit, after } = c.req.valid("query");
    const entries = await database.audit.list({ limit: limit + 1, ...(after === undefined ? {} : { after }) });
    return c.json(
      pageView(
        entries,
        limit,
        (one) => one,
        ({ id }) => String(id),
      ),
      200,
    );
  });
}
