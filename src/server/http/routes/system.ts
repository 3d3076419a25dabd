/** For those who look after the server: is it alive, is it of use, how does it do. */
import type { Services } from "../api.js";
import { administrates, isForMetrics, requireToken } from "../guard.js";
import { Problem } from "../problem.js";
import { type Api, answer, createRoute, problems, SECURITY, z } from "../router.js";
import { HealthSchema } from "../schemas.js";

const DATABASE_ANSWERS_MS = 2000;
const shared = { tags: ["system"] };

const healthz = createRoute({
  ...shared,
  method: "get",
  path: "/healthz",
  summary: "Whether the server runs",
  responses: { 200: answer("It does.", HealthSchema) },
});

const readyz = createRoute({
  ...shared,
  method: "get",
  path: "/readyz",
  summary: "Whether the server can serve: its database answers",
  responses: { 200: answer("It can.", HealthSchema), ...problems(503) },
});

const metrics = createRoute({
  ...shared,
  method: "get",
  path: "/metrics",
  summary: "Figures for Prometheus",
  description: "For tokens with the scope `metrics`, and for administrators.",
  security: SECURITY,
  responses: {
    200: { description: "The figures.", content: { "text/plain": { schema: z.string() } } },
    ...problems(401, 403, 429),
  },
});

export function addSystem(app: Api, services: Services): void {
  const { database } = services;
  app.openapi(healthz, (c) => c.json({ status: "ok" as const }, 200));

  app.openapi(readyz, async (c) => {
    try {
      await within(DATABASE_ANSWERS_MS, database.ping());
    } catch {
      throw new Problem("ERR_DATABASE", "the database does not answer");
    }
    return c.json({ status: "ok" as const }, 200);
  });

  app.openapi(metrics, async (c) => {
    const who = await services.known.authenticate(requireToken(c), c.get("peer"));
    const reads = administrates(who) || (who.role === "admin" && isForMetrics(who));
    if (!reads) throw new Problem("ERR_FORBIDDEN", "figures are for administrators, and for tokens made for them");
    return c.text(await services.metrics.text(), 200, { "Content-Type": services.metrics.contentType });
  });
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("too late")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
