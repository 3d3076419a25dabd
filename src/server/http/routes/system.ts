/** For those who look after the server: is it alive, is it of use, how does it do. */
import type { Context } from "hono";
import type { Services } from "../api.js";
import { administrates, tokenOf } from "../guard.js";
import { Problem } from "../problem.js";
import { type Api, type ApiEnv, answer, createRoute, problems, z } from "../router.js";
import { HealthSchema, ProblemSchema } from "../schemas.js";

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
  description: "For programs on this machine, and for administrators' tokens.",
  security: [{}, { bearer: [] }],
  responses: {
    200: { description: "The figures.", content: { "text/plain": { schema: z.string() } } },
    401: { description: "Send a token.", content: { "application/problem+json": { schema: ProblemSchema } } },
  },
});

export function addSystem(app: Api, services: Services): void {
  const { auth, database } = services;
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
    const token = tokenOf(c);
    if (token !== undefined) {
      const address = c.env?.incoming?.socket.remoteAddress ?? "";
      const who = await auth.authenticate(token, { address });
      if (!administrates(who)) throw new Problem("ERR_FORBIDDEN", "figures are for administrators");
    } else if (!isLocal(c)) throw new Problem("ERR_UNAUTHENTICATED", "send an administrator's token");
    return c.text(await services.metrics.text(), 200, { "Content-Type": services.metrics.contentType });
  });
}

/** From this machine, and not passed on by a proxy on it, nor asked for by a page in a browser on it. */
function isLocal(c: Context<ApiEnv>): boolean {
  const address = c.env?.incoming?.socket.remoteAddress ?? "127.0.0.1";
  const passedOn = ["forwarded", "x-forwarded-for", "via", "origin"].some((name) => c.req.header(name) !== undefined);
  const site = c.req.header("sec-fetch-site") ?? "none";
  const loopback = /^(::ffff:)?127\.|^::1$/.test(address);
  return loopback && !passedOn && (site === "none" || site === "same-origin");
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
