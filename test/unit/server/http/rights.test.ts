import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ApiRig, PASSWORD } from "../../../support/api-rig.js";

/** Every route with every kind of credential: what is answered, by its status. A route without a row fails the last test. */

/** Who asks. The first ones are nobody: all that is not open answers 401 to them. */
const NOBODY = [
  "nothing",
  "an unknown token",
  "no bearer",
  "an expired token",
  "a revoked token",
  "an ended session",
] as const;
const SOMEBODY = [
  /** API tokens of ann, who may write `photos` and read `music`: for one folder each. */
  "a reader's token",
  "a writer's token",
  /** Of the administrator, for metrics. */
  "a metrics token",
  /** Of the administrator, to read one folder; and for everything. */
  "an administrator's narrow token",
  "an administrator's token",
  /** Logins. */
  "a user",
  "an administrator",
] as const;
type Nobody = (typeof NOBODY)[number];
type Somebody = (typeof SOMEBODY)[number];
type Statuses = readonly [number, number, number, number, number, number, number];

interface State {
  readonly token: string | null;
  /** The id of the token that asks, where there is one. */
  readonly own: string;
  readonly device: string;
  readonly invitation: string;
  /** Ids of ann's session and of another API token of hers. */
  readonly session: string;
  readonly other: string;
  /** Of the administrator's. */
  readonly foreign: string;
}

interface Row {
  readonly route: string;
  /** Where a route has several rows. */
  readonly what?: string;
  readonly path?: (state: State) => string;
  readonly json?: unknown | ((state: State) => unknown);
  readonly body?: string;
  /** In the order of {@link SOMEBODY}; one number: of everybody, with or without a credential. */
  readonly statuses: Statuses | number;
}

const ALL_BUT_METRICS: Statuses = [200, 200, 403, 200, 200, 200, 200];
const ADMINS: Statuses = [403, 403, 403, 403, 200, 403, 200];
const ADMINS_DONE: Statuses = [403, 403, 403, 403, 204, 403, 204];
const ADMINS_MADE: Statuses = [403, 403, 403, 403, 201, 403, 201];
const ADMINS_MISSING: Statuses = [403, 403, 403, 403, 404, 403, 404];
/** Of `photos`, which all but the metrics token may read. */
const READERS: Statuses = [200, 200, 403, 200, 200, 200, 200];
const WRITERS: Statuses = [403, 200, 403, 403, 200, 200, 200];
const WRITERS_DONE: Statuses = [403, 204, 403, 403, 204, 204, 204];
/** Of `secret`, which only administrators may see, and of `music`, which is not in the tokens' scopes. */
const SECRET: Statuses = [404, 404, 403, 404, 200, 404, 200];
const MUSIC: Statuses = [404, 404, 403, 404, 200, 200, 200];

const ROWS: readonly Row[] = [
  { route: "GET /healthz", statuses: 200 },
  { route: "GET /readyz", statuses: 200 },
  { route: "POST /api/v1/login", json: { name: "ann", password: PASSWORD }, statuses: 200 },
  { route: "POST /api/v1/login", what: "with a wrong password", json: { name: "ann", password: "x" }, statuses: 401 },
  { route: "GET /metrics", statuses: [403, 403, 200, 403, 200, 403, 200] },

  { route: "POST /api/v1/logout", statuses: [204, 204, 403, 204, 204, 204, 204] },
  { route: "GET /api/v1/me", statuses: ALL_BUT_METRICS },

  { route: "GET /api/v1/users", statuses: ADMINS },
  { route: "POST /api/v1/users", json: { name: "eve", password: "0123456789", role: "admin" }, statuses: ADMINS_MADE },
  {
    route: "PUT /api/v1/users/{name}/password",
    what: "of ann, who says the old one",
    path: () => "/api/v1/users/ann/password",
    json: { password: "0123456789", oldPassword: PASSWORD },
    statuses: [403, 403, 403, 403, 403, 204, 204],
  },
  {
    route: "PUT /api/v1/users/{name}/password",
    what: "of ann, who says a wrong one",
    path: () => "/api/v1/users/ann/password",
    json: { password: "0123456789", oldPassword: "wrong" },
    // An administrator need not know it.
    statuses: [403, 403, 403, 403, 403, 403, 204],
  },
  {
    route: "PUT /api/v1/users/{name}/password",
    what: "of ann, without the old one",
    path: () => "/api/v1/users/ann/password",
    json: { password: "0123456789" },
    statuses: [403, 403, 403, 403, 403, 400, 204],
  },
  {
    route: "PUT /api/v1/users/{name}/password",
    what: "of the administrator",
    path: () => "/api/v1/users/admin/password",
    json: { password: "0123456789" },
    statuses: [403, 403, 403, 403, 403, 403, 400],
  },
  { route: "DELETE /api/v1/users/{name}", path: () => "/api/v1/users/ben", statuses: ADMINS_DONE },
  {
    route: "PUT /api/v1/users/{name}/folders/{folder}",
    path: () => "/api/v1/users/ann/folders/secret",
    json: { access: "read" },
    statuses: ADMINS_DONE,
  },
  {
    route: "DELETE /api/v1/users/{name}/folders/{folder}",
    path: () => "/api/v1/users/ann/folders/photos",
    statuses: ADMINS_DONE,
  },

  { route: "GET /api/v1/tokens", statuses: ALL_BUT_METRICS },
  {
    route: "POST /api/v1/tokens",
    what: "of one's own",
    json: { name: "new", scopes: [{ folder: null, access: "write" }] },
    statuses: [403, 403, 403, 403, 403, 201, 201],
  },
  {
    route: "POST /api/v1/tokens",
    what: "of the administrator",
    json: { name: "new", user: "admin", scopes: [{ folder: null, access: "write" }] },
    statuses: [403, 403, 403, 403, 403, 403, 201],
  },
  {
    route: "POST /api/v1/tokens",
    what: "for metrics",
    json: { name: "new", scopes: [{ folder: null, access: "metrics" }] },
    statuses: [403, 403, 403, 403, 403, 400, 201],
  },
  {
    route: "DELETE /api/v1/tokens/{id}",
    what: "the one that asks",
    path: ({ own }) => `/api/v1/tokens/${own}`,
    statuses: [204, 204, 403, 204, 204, 204, 204],
  },
  {
    route: "DELETE /api/v1/tokens/{id}",
    what: "another one of ann",
    path: ({ other }) => `/api/v1/tokens/${other}`,
    statuses: [403, 403, 403, 403, 403, 204, 204],
  },
  {
    route: "DELETE /api/v1/tokens/{id}",
    what: "a session of ann",
    path: ({ session }) => `/api/v1/tokens/${session}`,
    statuses: [403, 403, 403, 403, 403, 204, 204],
  },
  {
    route: "DELETE /api/v1/tokens/{id}",
    what: "one of the administrator",
    path: ({ foreign }) => `/api/v1/tokens/${foreign}`,
    statuses: [403, 403, 403, 403, 403, 404, 204],
  },

  { route: "GET /api/v1/devices", statuses: ADMINS },
  {
    route: "PATCH /api/v1/devices/{id}",
    path: ({ device }) => `/api/v1/devices/${device}`,
    json: { name: "tablet" },
    statuses: ADMINS,
  },
  { route: "DELETE /api/v1/devices/{id}", path: ({ device }) => `/api/v1/devices/${device}`, statuses: ADMINS_DONE },
  {
    route: "PUT /api/v1/devices/{id}/folders/{folder}",
    path: ({ device }) => `/api/v1/devices/${device}/folders/photos`,
    json: { access: "write" },
    statuses: ADMINS_DONE,
  },
  {
    route: "DELETE /api/v1/devices/{id}/folders/{folder}",
    path: ({ device }) => `/api/v1/devices/${device}/folders/photos`,
    statuses: ADMINS_DONE,
  },
  { route: "GET /api/v1/invitations", statuses: ADMINS },
  { route: "POST /api/v1/invitations", json: { folder: null }, statuses: ADMINS_MADE },
  {
    route: "DELETE /api/v1/invitations/{id}",
    path: ({ invitation }) => `/api/v1/invitations/${invitation}`,
    statuses: ADMINS_DONE,
  },

  { route: "GET /api/v1/folders", statuses: ALL_BUT_METRICS },
  { route: "GET /api/v1/folders", what: "deleted ones", path: () => "/api/v1/folders?deleted=true", statuses: ADMINS },
  { route: "POST /api/v1/folders", json: { name: "new" }, statuses: ADMINS_MADE },
  ...folderRows("GET /api/v1/folders/{folder}", "", READERS, SECRET, MUSIC),
  { route: "PATCH /api/v1/folders/{folder}", path: photos(""), json: { quotaBytes: 5 }, statuses: ADMINS },
  { route: "DELETE /api/v1/folders/{folder}", path: photos(""), statuses: ADMINS },
  {
    route: "POST /api/v1/folders/{folder}/undelete",
    what: "one that is not deleted",
    path: photos("/undelete"),
    statuses: [403, 403, 403, 403, 200, 403, 200],
  },
  ...folderRows("GET /api/v1/folders/{folder}/entries", "/entries", READERS, SECRET, MUSIC),
  ...folderRows("GET /api/v1/folders/{folder}/files/{path}", "/files/a", READERS, SECRET, MUSIC),
  {
    route: "PUT /api/v1/folders/{folder}/files/{path}",
    path: photos("/files/a"),
    body: "after",
    statuses: WRITERS,
  },
  {
    route: "PUT /api/v1/folders/{folder}/files/{path}",
    what: "in one that ann may only read",
    path: () => "/api/v1/folders/music/files/a",
    body: "after",
    statuses: [404, 404, 403, 404, 200, 403, 200],
  },
  { route: "DELETE /api/v1/folders/{folder}/files/{path}", path: photos("/files/a"), statuses: WRITERS_DONE },
  ...folderRows("GET /api/v1/folders/{folder}/versions", "/versions", READERS, SECRET, MUSIC),
  { route: "POST /api/v1/folders/{folder}/restore", path: photos("/restore"), json: { at: 5 }, statuses: WRITERS },
  {
    route: "POST /api/v1/folders/{folder}/approve",
    what: "where nothing is held back",
    path: photos("/approve"),
    json: { id: "f00" },
    statuses: [403, 404, 403, 403, 404, 404, 404],
  },
  { route: "POST /api/v1/folders/{folder}/resume", path: photos("/resume"), statuses: WRITERS_DONE },

  { route: "GET /api/v1/sessions", statuses: ALL_BUT_METRICS },
  { route: "DELETE /api/v1/sessions/{id}", path: () => "/api/v1/sessions/7", statuses: ADMINS_MISSING },
  { route: "GET /api/v1/transfers", statuses: ADMINS },
  {
    route: "GET /api/v1/transfers",
    what: "of one folder",
    path: () => "/api/v1/transfers?folder=photos",
    statuses: READERS,
  },
  { route: "GET /api/v1/statistics", statuses: ALL_BUT_METRICS },
  { route: "GET /api/v1/audit", statuses: ADMINS },
  // Whoever may come in is told to come with a WebSocket.
  { route: "GET /api/v1/events", statuses: [426, 426, 403, 426, 426, 426, 426] },
];

function photos(rest: string): () => string {
  return () => `/api/v1/folders/photos${rest}`;
}

function folderRows(route: string, rest: string, readable: Statuses, secret: Statuses, music: Statuses): Row[] {
  return (
    [
      ["photos", readable],
      ["music", music],
      ["secret", secret],
      ["missing", secret.map((status) => (status === 200 ? 404 : status)) as unknown as Statuses],
    ] as const
  ).map(([folder, statuses]) => ({
    route,
    what: folder,
    path: () => `/api/v1/folders/${folder}${rest}`,
    statuses,
  }));
}

let rig: ApiRig;
beforeEach(async () => {
  rig = await ApiRig.start();
});
afterEach(() => rig[Symbol.asyncDispose]());

const read = [{ folder: "photos", access: "read" }] as const;
const write = [{ folder: "photos", access: "write" }] as const;
const all = [{ folder: null, access: "write" }] as const;

async function stateFor(who: Nobody | Somebody): Promise<State> {
  for (const folder of ["music", "secret"]) await rig.database.folders.ensure(folder);
  for (const folder of ["photos", "music", "secret"]) rig.mirrors.files.set(`${folder}/a`, Buffer.from("before"));
  const session = await rig.user("ann", "user", { photos: "write", music: "read" });
  await rig.user("ben");
  const local = { kind: "local" } as const;
  const { invitation } = await rig.auth.invite(local, { folder: "photos", access: "read", expiresInMs: 60_000 });
  const device = await rig.database.devices.create({ name: "laptop", pin: "p", role: "user" });
  const other = await rig.token("ann", all);
  const foreign = await rig.token("admin", all);
  const token = await tokenFor(who, session);
  const idOf = async (secret: string | null): Promise<string> => {
    const known =
      secret === null ? undefined : await rig.auth.authenticate(secret, { address: "::1" }).catch(() => undefined);
    return known?.token.id ?? "none";
  };
  return {
    token,
    own: await idOf(token),
    device: device.id,
    invitation: invitation.id,
    session: await idOf(session),
    other: await idOf(other),
    foreign: await idOf(foreign),
  };
}

async function tokenFor(who: Nobody | Somebody, session: string): Promise<string | null> {
  switch (who) {
    case "nothing":
    case "no bearer":
      return null;
    case "an unknown token":
      return randomBytes(32).toString("base64url");
    case "an expired token":
      return rig.session("admin", -1000, "api");
    case "a revoked token": {
      const token = await rig.token("admin", all);
      await rig.auth.logout(token);
      return token;
    }
    case "an ended session": {
      const token = await rig.session("admin");
      await rig.auth.logout(token);
      return token;
    }
    case "a reader's token":
      return rig.token("ann", read);
    case "a writer's token":
      return rig.token("ann", write);
    case "a metrics token":
      return rig.token("admin", [{ folder: null, access: "metrics" }]);
    case "an administrator's narrow token":
      return rig.token("admin", read);
    case "an administrator's token":
      return rig.token("admin", all);
    case "a user":
      return session;
    case "an administrator":
      return rig.adminToken;
  }
}

async function answer(row: Row, who: Nobody | Somebody): Promise<number> {
  const state = await stateFor(who);
  if (row.route === "POST /api/v1/folders/{folder}/undelete") await rig.database.folders.delete("photos", 1, 2);
  const [method = "", path = ""] = row.route.split(" ");
  const headers = who === "no bearer" ? { authorization: "Basic YWRtaW46YWRtaW4=" } : {};
  const { json, body } = row;
  const response = await rig.ask(method, row.path?.(state) ?? path, {
    token: state.token,
    headers,
    ...(json === undefined ? {} : { json }),
    ...(body === undefined ? {} : { body }),
  });
  if (response.status >= 400) expect(response.headers.get("content-type")).toBe("application/problem+json");
  await response.arrayBuffer();
  return response.status;
}

describe.each(ROWS.map((row) => [`${row.route}${row.what === undefined ? "" : `, ${row.what}`}`, row] as const))(
  "%s",
  (_, row) => {
    test.each(NOBODY)("for %s", async (who) => {
      expect(await answer(row, who)).toBe(typeof row.statuses === "number" ? row.statuses : 401);
    });

    test.each(SOMEBODY.map((who, column) => [who, column] as const))("for %s", async (who, column) => {
      expect(await answer(row, who)).toBe(typeof row.statuses === "number" ? row.statuses : row.statuses[column]);
    });
  },
);

test("every route of the OpenAPI document has a row, and every row a route", async () => {
  const response = await rig.ask("GET", "/api/openapi.json", { token: null });
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, unknown>> };
  const described = Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect([...new Set(ROWS.map(({ route }) => route))].sort()).toEqual(described.sort());
});

describe("what a narrow token sees", () => {
  test.each(["a reader's token", "a writer's token", "an administrator's narrow token"] as const)(
    "%s lists itself, and nothing of its user's sessions and other tokens",
    async (who) => {
      const { token, own } = await stateFor(who);
      const list = (await (await rig.ask("GET", "/api/v1/tokens", { token })).json()) as { items: { id: string }[] };
      expect(list.items.map(({ id }) => id)).toEqual([own]);
      const folders = await (await rig.ask("GET", "/api/v1/folders", { token })).json();
      expect(folders).toMatchObject({ items: [{ name: "photos" }], next: null });
    },
  );

  test("an administrator's login lists everybody's, a user's login one's own", async () => {
    const { session, other, foreign } = await stateFor("a user");
    const idsOf = async (token: string): Promise<string[]> => {
      const response = await rig.ask("GET", "/api/v1/tokens", { token });
      return ((await response.json()) as { items: { id: string }[] }).items.map(({ id }) => id);
    };
    const ann = await rig.session("ann");
    expect(await idsOf(ann)).toEqual(expect.arrayContaining([session, other]));
    expect(await idsOf(ann)).not.toContain(foreign);
    expect(await idsOf(rig.adminToken)).toEqual(expect.arrayContaining([session, other, foreign]));
  });

  test("a new password ends the tokens too if that is asked for", async () => {
    const { other } = await stateFor("a user");
    const change = (password: string, endTokens: boolean, token: string, oldPassword: string) =>
      rig.ask("PUT", "/api/v1/users/ann/password", { token, json: { password, oldPassword, endTokens } });
    const revoked = async (): Promise<boolean> => {
      const tokens = await rig.database.tokens.list();
      return tokens.find(({ id }) => id === other)?.revokedAt !== null;
    };
    expect((await change("a new password", false, await rig.session("ann"), PASSWORD)).status).toBe(204);
    expect(await revoked()).toBe(false);
    expect((await change("a newer password", true, await rig.session("ann"), "a new password")).status).toBe(204);
    expect(await revoked()).toBe(true);
  });
});
