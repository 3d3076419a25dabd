/** Who may ask at all: checks that come before any route. */
import type { Context, MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { getCookie } from "hono/cookie";
import type { Access } from "../database/types.js";
import { MAX_JSON_BYTES, MAX_TOKEN_CHARACTERS } from "../limits.js";
import type { Services } from "./api.js";
import { Problem } from "./problem.js";
import type { ApiEnv, UserPrincipal } from "./router.js";
import { actorOf } from "./views.js";

const SESSION_COOKIE = "confundo_session";
export const LOGIN_PATH = "/api/v1/login";

type Guard = MiddlewareHandler<ApiEnv>;

/**
 * Refuses requests that were meant for another name. A page of somebody else's can have its own name point to 127.0.0.1
 * and would then be of the same origin as we are (DNS rebinding); the name in `Host` gives it away.
 */
export function guardHost(hosts: readonly string[] | undefined): Guard {
  const allowed = new Set(hosts);
  return async (c, next) => {
    const host = hostName(c.req.header("host") ?? new URL(c.req.url).host);
    if (hosts !== undefined && !allowed.has(host)) {
      const names = [...allowed].join(", ");
      throw new Problem("ERR_HOST", `this server is not "${host}"; it answers as ${names}`);
    }
    await next();
  };
}

/** Refuses addresses that are not validly percent-encoded, before anything guesses what was meant. */
export function guardPath(): Guard {
  return async (c, next) => {
    const { url } = c.req;
    if (url.includes("%")) {
      try {
        decodeURIComponent(url.replaceAll("+", " "));
      } catch {
        throw new Problem("ERR_REQUEST", "the address is not validly percent-encoded UTF-8");
      }
    }
    await next();
  };
}

/**
 * Refuses what other sites' pages make a browser send. Browsers say where a request comes from in Sec-Fetch-Site (Fetch
 * Metadata) or, the older ones and for everything that changes something, in Origin; programs send neither.
 */
export function guardSite(): Guard {
  return async (c, next) => {
    const site = c.req.header("sec-fetch-site");
    const origin = c.req.header("origin");
    const foreign =
      site === undefined ? origin !== undefined && !sameOrigin(origin, c) : site !== "same-origin" && site !== "none";
    if (foreign) throw new Problem("ERR_CROSS_SITE", "this was asked by a page of another site");
    await next();
  };
}

/** Names the client, through the proxies that are trusted. */
export function nameClient({ proxies, secure = false }: Services): Guard {
  return async (c, next) => {
    const from = c.env?.incoming?.socket.remoteAddress ?? "127.0.0.1";
    const { address, https } = proxies.clientOf(from, (name) => c.req.header(name));
    c.set("peer", { address });
    c.set("secure", secure || https === true);
    await next();
  };
}

/** Bounds bodies: what is larger than any JSON of ours is not read. Files have bounds of their own. */
export function limitBody({ metrics, limits }: Services): Guard {
  const limit = bodyLimit({
    maxSize: MAX_JSON_BYTES,
    onError: () => {
      metrics.refused("too-large");
      limits?.add("jsonBytes");
      throw new Problem("ERR_TOO_LARGE", `a body may have ${MAX_JSON_BYTES} bytes`);
    },
  });
  return async (c, next) => {
    const isFile = c.req.method === "PUT" && isFilePath(c.req.path);
    if (isFile || c.req.method === "GET" || c.req.method === "HEAD") await next();
    else await limit(c, next);
  };
}

/** Whether it is the address of a file's content. */
export function isFilePath(path: string): boolean {
  return /^\/api\/v1\/folders\/[^/]+\/files\//.test(path);
}

/** Lets in who brings a token, as `Authorization: Bearer` or as the cookie of a login; and who wants to log in. */
export function authenticate(services: Services): Guard {
  const { known } = services;
  return async (c, next) => {
    if (c.req.path === LOGIN_PATH) return next();
    const token = requireToken(c);
    c.set("token", token);
    const who = await known.authenticate(token, c.get("peer"));
    if (isForMetrics(who)) throw new Problem("ERR_FORBIDDEN", "this token is for /metrics, and for nothing else");
    boundConnections(services, c, who);
    c.set("who", who);
    await next();
    if (c.req.method !== "GET" && c.req.method !== "HEAD") known.forget();
  };
}

function boundConnections({ connections }: Services, c: Context<ApiEnv>, who: UserPrincipal): void {
  const socket = c.env?.incoming?.socket;
  const limit = socket === undefined ? undefined : connections?.identify(socket, holderOf(who));
  if (limit === undefined) return;
  const why = "you have as many connections as one user may have, or the server has as many as it can bear";
  throw new Problem("ERR_TOO_MANY", `${why}; close some, or come back later`, { headers: { Connection: "close" } });
}

/** By whom shares are counted: what an administrator's narrow tokens take is not taken from the administrator. */
export function holderOf(who: UserPrincipal): { readonly user: string; readonly administrator: boolean } {
  const administrator = administrates(who);
  return { user: administrator ? `${who.id} administrator` : who.id, administrator };
}

export function administrators(): Guard {
  return async (c, next) => {
    if (!administrates(c.get("who"))) throw new Problem("ERR_FORBIDDEN", "only an administrator may do that");
    await next();
  };
}

/** A token that is narrower than its user is not an administrator's. */
export function administrates({ role, token }: UserPrincipal): boolean {
  return role === "admin" && token.scopes.some(({ folder, access }) => folder === null && access === "write");
}

/** Whether the token was made with the scope `metrics`, which stands alone. */
export function isForMetrics({ token }: UserPrincipal): boolean {
  return token.scopes.some(({ access }) => access === "metrics");
}

function tokenOf(c: Context<ApiEnv>): string | undefined {
  const header = c.req.header("authorization");
  const token = header === undefined ? getCookie(c, sessionCookie(c)) : /^Bearer ([\w-]+)$/i.exec(header)?.[1];
  return token !== undefined && token.length <= MAX_TOKEN_CHARACTERS ? token : undefined;
}

/**
 * The name of the cookie of a session. Over HTTPS it is one that only this very host can set (RFC 6265bis, 4.1.3.2). Plain HTTP
 * is for loopback addresses, where not every browser takes cookies that are `Secure`, as that name demands.
 */
export function sessionCookie(c: Context<ApiEnv>): string {
  return c.get("secure") ? `__Host-${SESSION_COOKIE}` : SESSION_COOKIE;
}

/** @throws Problem ERR_UNAUTHENTICATED where none was sent */
export function requireToken(c: Context<ApiEnv>): string {
  const token = tokenOf(c);
  if (token === undefined) throw new Problem("ERR_UNAUTHENTICATED", "log in, or send a token");
  return token;
}

/** Rejects with 404 where who asks may not even know of the folder, with 403 where only writing is not allowed. */
export async function permit({ auth }: Services, c: Context<ApiEnv>, folder: string, access: Access): Promise<void> {
  const who = c.get("who");
  if (await auth.may(who, folder, access)) return;
  if (access === "write" && (await auth.may(who, folder, "read"))) {
    throw new Problem("ERR_FORBIDDEN", `you may read "${folder}" and not change it`);
  }
  throw noSuchFolder(folder);
}

/** Writes down what somebody did to a folder. What is done to accounts and devices {@link Services.auth} writes down. */
export function audit(
  { database }: Services,
  c: Context<ApiEnv>,
  action: string,
  target: string,
  detail: string | null = null,
): Promise<void> {
  const { address } = c.get("peer");
  return database.audit.add({ actor: actorOf(c.get("who")), action, target, outcome: "ok", address, detail });
}

export function noSuchFolder(folder: string): Problem {
  return new Problem("ERR_NOT_FOUND", `there is no folder "${folder}"`);
}

/** Without port and brackets, in lower case. */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(host);
  return (bracketed?.[1] ?? host.replace(/:\d*$/, "")).toLowerCase();
}

function sameOrigin(origin: string, c: Context<ApiEnv>): boolean {
  try {
    return new URL(origin).host === (c.req.header("host") ?? new URL(c.req.url).host).toLowerCase();
  } catch {
    return false;
  }
}
