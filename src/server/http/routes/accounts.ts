/** Users and tokens. */
import type { User } from "../../database/types.js";
import type { Services } from "../api.js";
import { administrators } from "../guard.js";
import { type Api, answer, body, createRoute, nothing, problems, SECURITY, z } from "../router.js";
import {
  CreatedToken,
  FolderParam,
  IdParam,
  NameParam,
  NewGrant,
  NewPassword,
  NewToken,
  NewUser,
  TokenSchema,
  UserSchema,
} from "../schemas.js";
import { grantViews, tokenView, userView } from "../views.js";

const shared = { tags: ["accounts"], security: SECURITY };

const listUsers = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/users",
  summary: "All users",
  responses: { 200: answer("By name.", z.object({ items: z.array(UserSchema) })), ...problems(401, 403) },
});

const addUser = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/users",
  summary: "Make a user",
  request: { body: body(NewUser) },
  responses: { 201: answer("The user.", UserSchema), ...problems(400, 401, 403, 409) },
});

const setPassword = createRoute({
  ...shared,
  method: "put",
  path: "/api/v1/users/{name}/password",
  summary: "Set a password; ends the user's sessions",
  description:
    "One's own, with the old one; or as an administrator somebody else's. Only who has logged in can do it, not a token.",
  request: { params: NameParam, body: body(NewPassword) },
  responses: { 204: nothing, ...problems(400, 401, 403, 404, 429) },
});

const removeUser = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/users/{name}",
  summary: "Remove a user, with its tokens",
  request: { params: NameParam },
  responses: { 204: nothing, ...problems(401, 403, 404, 409) },
});

const grantUser = createRoute({
  ...shared,
  method: "put",
  path: "/api/v1/users/{name}/folders/{folder}",
  summary: "Let a user read or write a folder",
  request: { params: NameParam.extend(FolderParam.shape), body: body(NewGrant) },
  responses: { 204: nothing, ...problems(400, 401, 403, 404) },
});

const ungrantUser = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/users/{name}/folders/{folder}",
  summary: "Take a folder from a user",
  request: { params: NameParam.extend(FolderParam.shape) },
  responses: { 204: nothing, ...problems(400, 401, 403, 404) },
});

const listTokens = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/tokens",
  summary: "One's own tokens; an administrator's list has everybody's, an API token's has itself",
  responses: { 200: answer("Newest first.", z.object({ items: z.array(TokenSchema) })), ...problems(401) },
});

const createToken = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/tokens",
  summary: "Make a token for a program",
  description: "It can do what its scopes say and its user may, whichever is less.",
  request: { body: body(NewToken) },
  responses: { 201: answer("The token.", CreatedToken), ...problems(400, 401, 403, 404) },
});

const revokeToken = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/tokens/{id}",
  summary: "Revoke a token",
  description: "Of one's own, or as an administrator any. An API token can revoke itself.",
  request: { params: IdParam },
  responses: { 204: nothing, ...problems(401, 403, 404) },
});

export function addAccounts(app: Api, services: Services): void {
  const { auth, database } = services;

  app.use(listUsers.path, administrators());
  const view = async (user: User) => {
    return { ...userView(user), folders: grantViews(await database.grants.of("user", user.id)) };
  };
  app.openapi(listUsers, async (c) => {
    const users = await auth.users(c.get("who"));
    return c.json({ items: await Promise.all(users.map(view)) }, 200);
  });
  app.openapi(addUser, async (c) => {
    const { folders, ...user } = c.req.valid("json");
    const grants = folders.map(({ name, access }) => ({ folder: name, access }));
    return c.json(await view(await auth.addUser(c.get("who"), { ...user, grants })), 201);
  });

  app.use("/api/v1/users/:name", administrators());
  app.openapi(setPassword, async (c) => {
    const { password, oldPassword, endTokens } = c.req.valid("json");
    const options = { endTokens, peer: c.get("peer"), ...(oldPassword === undefined ? {} : { oldPassword }) };
    await auth.setPassword(c.get("who"), c.req.valid("param").name, password, options);
    return c.body(null, 204);
  });
  app.openapi(removeUser, async (c) => {
    await auth.removeUser(c.get("who"), c.req.valid("param").name);
    return c.body(null, 204);
  });

  app.use("/api/v1/users/:name/folders/*", administrators());
  app.openapi(grantUser, async (c) => {
    const { name, folder } = c.req.valid("param");
    await auth.grant(c.get("who"), { subject: "user", of: name, folder, access: c.req.valid("json").access });
    return c.body(null, 204);
  });
  app.openapi(ungrantUser, async (c) => {
    const { name, folder } = c.req.valid("param");
    await auth.grant(c.get("who"), { subject: "user", of: name, folder, access: null });
    return c.body(null, 204);
  });

  app.openapi(listTokens, async (c) => c.json({ items: (await auth.tokens(c.get("who"))).map(tokenView) }, 200));
  app.openapi(createToken, async (c) => {
    const { name, user, scopes, expiresIn } = c.req.valid("json");
    const who = c.get("who");
    const expiresInMs = expiresIn === null ? null : expiresIn * 1000;
    const { token, record } = await auth.createToken(who, { user: user ?? who.name, name, scopes, expiresInMs });
    c.header("Cache-Control", "no-store");
    return c.json({ token, record: tokenView(record) }, 201);
  });
  app.openapi(revokeToken, async (c) => {
    await auth.revokeToken(c.get("who"), c.req.valid("param").id);
    return c.body(null, 204);
  });
}
