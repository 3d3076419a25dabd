/** The door to the events: a WebSocket. */
import type { Services } from "../api.js";
import { Problem } from "../problem.js";
import { type Api, createRoute, problems, SECURITY } from "../router.js";
import { EventsQuery } from "../schemas.js";

const events = createRoute({
  method: "get",
  path: "/api/v1/events",
  tags: ["events"],
  security: SECURITY,
  summary: "Live events, over a WebSocket",
  description:
    "Each text message is one event, as docs/api.md describes them. After a disconnect ask for `after=` the number of the last one.",
  request: { query: EventsQuery },
  responses: {
    101: { description: "The WebSocket is open." },
    ...problems(400, 401, 403, 426, 503),
  },
});

export function addEvents(app: Api, { hub }: Services): void {
  app.openapi(events, (c) => {
    const accept = c.env?.accept;
    if (accept === undefined) {
      throw new Problem("ERR_UPGRADE", "events come over a WebSocket", { headers: { Upgrade: "websocket" } });
    }
    const { after, live } = c.req.valid("query");
    const who = c.get("who");
    const token = c.get("token");
    const peer = c.get("peer");
    if (hub.refuses({ who, peer })) {
      const why = "as many listen to events as the server can bear, or as you or your address may";
      throw new Problem("ERR_TOO_MANY", `${why}; close some, or come back later`);
    }
    accept((socket) => hub.add(socket, { who, token, peer, after: after ?? null, live: live === "true" }));
    return c.body(null, 200);
  });
}
