/** Logging in and out, and who one is. */
import { deleteCookie, setCookie } from "hono/cookie";
import type { Services } from "../api.js";
import { LOGIN_PATH, sessionCookie } from "../guard.js";
import { type Api, answer, body, createRoute, nothing, problems, SECURITY } from "../router.js";
import { LoginRequest, LoginResponse, MeSchema } from "../schemas.js";
import { tokenView } from "../views.js";

const login = createRoute({
  method: "post",
  path: LOGIN_PATH,
  tags: ["session"],
  summary: "Log in with a name and a password",
  description: "The token is for programs. A cookie with it is set too, for browsers; scripts cannot read that one.",
  request: { body: body(LoginRequest) },
  responses: { 200: answer("Logged in.", LoginResponse), ...problems(400, 401, 403, 413, 429) },
});

const logout = createRoute({
  method: "post",
  path: "/api/v1/logout",
  tags: ["session"],
  summary: "End the session, or revoke the token, that was sent",
  security: SECURITY,
  responses: { 204: nothing, ...problems(401, 403) },
});

const me = createRoute({
  method: "get",
  path: "/api/v1/me",
  tags: ["session"],
  summary: "Who one is, and what one may see",
  security: SECURITY,
  responses: { 200: answer("Who sent the token.", MeSchema), ...problems(401) },
});

export function addSession(app: Api, services: Services): void {
  const { auth, now } = services;
  const cookie = { httpOnly: true, sameSite: "Strict", path: "/" } as const;

  app.openapi(login, async (c) => {
    const { name, password } = c.req.valid("json");
    const { token, principal } = await auth.login(name, password, c.get("peer"));
    const { expiresAt } = principal.token;
    const maxAge = expiresAt === null ? {} : { maxAge: Math.max(0, Math.floor((expiresAt - now()) / 1000)) };
    setCookie(c, sessionCookie(c), token, { ...cookie, secure: c.get("secure"), ...maxAge });
    c.header("Cache-Control", "no-store");
    const { id, role } = principal;
    return c.json({ token, expiresAt, user: { id, name: principal.name, role } }, 200);
  });

  app.openapi(logout, async (c) => {
    await auth.logout(c.get("token"));
    deleteCookie(c, sessionCookie(c), { ...cookie, secure: c.get("secure") });
    return c.body(null, 204);
  });

  app.openapi(me, async (c) => {
    const who = c.get("who");
    const folders = await auth.folders(who);
    const { id, name, role } = who;
    return c.json(
      {
        user: { id, name, role },
        token: tokenView(who.token),
        folders: folders === null ? null : [...folders].map(([name, access]) => ({ name, access })),
      },
      200,
    );
  });
}
