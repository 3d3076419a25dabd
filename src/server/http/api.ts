/** The application: what every route shares, and the routes. */
import { secureHeaders } from "hono/secure-headers";
import type { Logger } from "pino";
import type { Auth } from "../auth/types.js";
import type { Database } from "../database/types.js";
import type { LimitCounters } from "../limits.js";
import type { LoopDelay } from "../loop-delay.js";
import type { WriteBehindFigures } from "../versions/write-behind.js";
import { TrustedProxies } from "./client-address.js";
import type { Connections } from "./connections.js";
import { authenticate, guardHost, guardPath, guardSite, limitBody, nameClient } from "./guard.js";
import type { EventHub } from "./hub.js";
import { KnownTokens } from "./known-tokens.js";
import { logError } from "./log.js";
import { type ConnectionCounts, Metrics } from "./metrics.js";
import type { Mirrors } from "./mirrors.js";
import { openApiDocument } from "./openapi.js";
import { Problem, problemDetails, problemHeaders } from "./problem.js";
import { type Api, type ApiEnv, createRouter } from "./router.js";
import { addAccounts } from "./routes/accounts.js";
import { addActivity } from "./routes/activity.js";
import { addDevices } from "./routes/devices.js";
import { addEvents } from "./routes/events.js";
import { addFiles } from "./routes/files.js";
import { addFolders } from "./routes/folders.js";
import { addSession } from "./routes/session.js";
import { addSystem } from "./routes/system.js";
import { addVersions } from "./routes/versions.js";
import { addDashboard } from "./static.js";

export interface ApiOptions {
  readonly auth: Auth;
  readonly database: Database;
  readonly mirrors: Mirrors;
  readonly hub: EventHub;
  /** Makes the address that pairs a device: `confundo://HOST:PORT/NAME#CODE`. */
  readonly pairingAddress: (folder: string | null, code: string) => string;
  /** Whether browsers come over HTTPS: then cookies are Secure and HSTS is told. Default false. */
  readonly secure?: boolean;
  /** Addresses and networks of proxies whose Forwarded and X-Forwarded-For count. Default: none. */
  readonly trustProxy?: readonly string[];
  /** Counts what the limits of the server refuse. Default: nothing does. */
  readonly limits?: LimitCounters;
  /** Counts of the UDP port. Default: there is none. */
  readonly connectionCounts?: ConnectionCounts;
  /** How late the event loop is, for the metrics. Default: that is not measured. */
  readonly loopDelay?: LoopDelay;
  /** How far the database is behind, for the metrics. */
  readonly writeBehind?: () => WriteBehindFigures;
  /** The connections of the port. Default: they are not bounded. */
  readonly connections?: Connections;
  /** Names by which the server may be addressed; a request with another `Host` is refused. Default: any. */
  readonly hosts?: readonly string[];
  /** The folder of the built dashboard. Default: there is none. */
  readonly dashboard?: string;
  readonly logger?: Logger;
  /** Of the program, for statistics and the OpenAPI document. */
  readonly version?: string;
  readonly now?: () => number;
}

/** What the routes work with. */
export interface Services extends ApiOptions {
  readonly metrics: Metrics;
  readonly known: KnownTokens;
  readonly proxies: TrustedProxies;
  readonly now: () => number;
  readonly startedAt: number;
}

export interface App {
  readonly app: Api;
  readonly metrics: Metrics;
}

const CONTENT_SECURITY_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", "data:"],
  fontSrc: ["'self'"],
  connectSrc: ["'self'"],
  manifestSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'self'"],
  frameAncestors: ["'none'"],
};

/** Builds the application: `app.fetch` answers requests, `app.request` does so in tests. */
export function createApi(options: ApiOptions): App {
  const now = options.now ?? Date.now;
  const metrics = new Metrics(options);
  const known = new KnownTokens(options.auth, now);
  options.hub.whenRightsChange(() => known.forget());
  const proxies = new TrustedProxies(options.trustProxy);
  const services: Services = { ...options, metrics, known, proxies, now, startedAt: now() };
  const app = createRouter();

  app.use(measure(services));
  app.use(
    secureHeaders({
      contentSecurityPolicy: CONTENT_SECURITY_POLICY,
      strictTransportSecurity: options.secure === true ? "max-age=31536000" : false,
      referrerPolicy: "no-referrer",
      xFrameOptions: "DENY",
      // For browsers that are no more.
      xDownloadOptions: false,
      xPermittedCrossDomainPolicies: false,
      xXssProtection: false,
      xDnsPrefetchControl: false,
      // What a route says of its own answer counts: files are sandboxed.
      overwrite: false,
    }),
  );
  app.use(guardHost(options.hosts), guardPath(), nameClient(services));
  app.use("/api/*", guardSite());
  app.use("/metrics", guardSite());
  app.use("/api/v1/*", limitBody(services), authenticate(services));

  addSession(app, services);
  addAccounts(app, services);
  addDevices(app, services);
  addFolders(app, services);
  addFiles(app, services);
  addVersions(app, services);
  addActivity(app, services);
  addEvents(app, services);
  addSystem(app, services);
  app.get("/api/openapi.json", (c) => c.json(openApiDocument(app, options.version ?? "0.0.0")));
  addDashboard(app, options.dashboard);

  app.notFound(() => {
    throw new Problem("ERR_NOT_FOUND", "there is nothing at this address");
  });
  app.onError((error, c) => {
    const problem = problemDetails(error);
    if (problem.status >= 500) logError(options.logger, error, problem.detail, { path: c.req.path });
    return c.body(JSON.stringify(problem), problem.status as 500, problemHeaders(error));
  });
  return { app, metrics };
}

/** Counts and logs every request by its route, never by what the client made up. */
function measure({ metrics, logger }: Services) {
  return async (c: import("hono").Context<ApiEnv>, next: () => Promise<void>): Promise<void> => {
    const started = performance.now();
    await next();
    const ms = performance.now() - started;
    const route = metrics.request(c, ms / 1000);
    logger?.debug({ method: c.req.method, route, status: c.res.status, ms: Math.round(ms) }, "request");
  };
}
