/** An application whose requests are validated by the schemas that describe it. */

import type { HttpBindings } from "@hono/node-server";
import { createRoute, OpenAPIHono, type RouteConfig, z } from "@hono/zod-openapi";
import type { Peer, Principal } from "../auth/types.js";
import { Problem } from "./problem.js";
import { ProblemSchema } from "./schemas.js";
import type { WebSocketAcceptor } from "./upgrade.js";

export type UserPrincipal = Principal & { readonly kind: "user" };

export interface ApiEnv {
  /** Absent where a test asks the application without a server. */
  Bindings: Partial<HttpBindings> & { readonly accept?: WebSocketAcceptor };
  Variables: {
    /** The client, behind the proxies that are trusted. */
    peer: Peer;
    /** Whether the client came over HTTPS, here or to a proxy that is trusted. */
    secure: boolean;
    /** Set behind the guard `authenticate`. */
    who: UserPrincipal;
    token: string;
  };
}

export type Api = OpenAPIHono<ApiEnv>;

export function createRouter(): Api {
  return new OpenAPIHono<ApiEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const flaws = result.error.issues.map(({ path, message }) => ({
        at: [WHERE[result.target as string] ?? result.target, ...path].join("."),
        detail: message,
      }));
      const first = flaws[0];
      throw new Problem("ERR_REQUEST", `the request is not as it should be: ${first?.at}: ${first?.detail}`, { flaws });
    },
  });
}

const WHERE: Readonly<Record<string, string>> = { json: "body", param: "path", query: "query", header: "header" };

/** A JSON answer in a route's list of them. */
export function answer<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } };
}

export function body<T extends z.ZodType>(schema: T) {
  return { content: { "application/json": { schema } }, required: true as const };
}

export const nothing = { description: "Done." };

/** The errors that a route can answer, each a problem. */
export function problems<const S extends number>(...statuses: S[]) {
  const one = { content: { "application/problem+json": { schema: ProblemSchema } } };
  return Object.fromEntries(
    statuses.map((status) => [status, { description: MEANING[status] ?? "Error", ...one }]),
  ) as {
    [K in S]: { description: string; content: { "application/problem+json": { schema: typeof ProblemSchema } } };
  };
}

const MEANING: Readonly<Record<number, string>> = {
  400: "The request is not as it should be.",
  401: "Who asks is not known: log in, or send a token.",
  403: "Who asks may not do that.",
  404: "There is no such thing, or none that who asks may know of.",
  409: "That cannot be done as things are now.",
  412: "What is there is not what was expected.",
  413: "The body is too large.",
  416: "No such range.",
  426: "This is a WebSocket.",
  429: "Too many attempts: wait as long as Retry-After says.",
  503: "Not now.",
  507: "No room: the quota is used up, or the disk is full.",
};

/** Behind the last parameter of a path: it takes all that follows, slashes and line breaks too. No part of the document. */
export const REST_OF_PATH = "{[\\s\\S]+}";

export const SECURITY: { [name: string]: string[] }[] = [{ bearer: [] }, { cookie: [] }];
export { createRoute, type RouteConfig, z };
