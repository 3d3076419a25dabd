import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { createCode, createIdentity } from "../../../src/secure/index.js";
import { createAuth } from "../../../src/server/auth/auth.js";
import { Guard } from "../../../src/server/auth/guard.js";
import { AttemptBudget } from "../../../src/server/auth/rate-limit.js";
import { TrustedProxies } from "../../../src/server/http/client-address.js";
import { Connections } from "../../../src/server/http/connections.js";
import { type Auth, type Database, LimitCounters, openDatabase } from "../../../src/server/index.js";
import {
  ATTEMPTS,
  LIMIT_NAMES,
  type LimitName,
  MAX_ATTEMPT_KEYS,
  MAX_ENDED_TOKENS_PER_USER,
  MAX_FAMILIAR,
  MAX_HASHES_AT_ONCE,
  MAX_HASHES_WAITING,
  MAX_LOGINS_PER_USER,
  MAX_TOKENS_PER_USER,
  SHARES,
} from "../../../src/server/limits.js";
import { Shares } from "../../../src/server/shares.js";
import { ApiRig, PASSWORD } from "../../support/api-rig.js";

/** Every limit of the server is reached here, and counted under its name. */

const LOCAL = { kind: "local" } as const;
const reached = new Set<LimitName>();

interface Rig {
  readonly auth: Auth;
  readonly database: Database;
  readonly limits: LimitCounters;
  readonly clock: { now: number };
}

async function rig(): Promise<Rig> {
  const clock = { now: 1_000_000 };
  const now = (): number => clock.now;
  const database = await openDatabase({ path: ":memory:", now });
  onTestFinished(() => database.close());
  const limits = new LimitCounters();
  return { auth: createAuth({ database, now, limits }), database, limits, clock };
}

function expectReached(limits: LimitCounters, ...names: LimitName[]): void {
  for (const name of names) {
    expect(limits.of(name), name).toBeGreaterThan(0);
    reached.add(name);
  }
}

const outcome = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => "in",
    (error) => error.code,
  );

describe("failed attempts", () => {
  const from = (address: string) => ({ address });
  const attempts = (auth: Auth) => ({
    password: (address: string, name = "nobody", password = "wrong") =>
      outcome(auth.login(name, password, from(address))),
    code: (address: string) =>
      outcome(auth.pair(createCode(), { name: "x", pin: createIdentity().pin }, from(address))),
    token: (address: string) => outcome(auth.authenticate("unknown", from(address))),
    key: (address: string) => outcome(auth.device(createIdentity().pin, from(address))),
  });

  test.each([
    ["code", "codesPerAddress", "ERR_CODE"],
    ["token", "tokensPerAddress", "ERR_UNAUTHENTICATED"],
    ["key", "keysPerAddress", "ERR_UNAUTHENTICATED"],
    ["password", "passwordsPerAddress", "ERR_UNAUTHENTICATED"],
  ] as const)("with a %s have a budget of their own", async (kind, limit, code) => {
    const { auth, limits, clock } = await rig();
    const tries = attempts(auth);
    const { burst, everyMs } = ATTEMPTS[limit];
    // Different names, so that no account's budget is reached.
    const once = (address: string, i: number) =>
      kind === "password" ? tries.password(address, `name${i}`) : tries[kind](address);
    for (let i = 0; i < burst; i++) expect(await once("192.0.2.1", i)).toBe(code);
    expect(await once("192.0.2.1", burst)).toBe("ERR_RATE_LIMITED");
    expectReached(limits, limit);
    // Neither are the others in the way, nor other addresses.
    for (const other of ["password", "code", "token", "key"] as const) {
      if (other !== kind) expect(await tries[other]("192.0.2.1")).not.toBe("ERR_RATE_LIMITED");
    }
    expect(await once("192.0.2.2", burst + 1)).toBe(code);
    clock.now += everyMs;
    expect(await once("192.0.2.1", burst + 2)).toBe(code);
    expect(await once("192.0.2.1", burst + 3)).toBe("ERR_RATE_LIMITED");
  });

  test("from IPv6 count by the /64", async () => {
    const { auth } = await rig();
    const { token } = attempts(auth);
    const { burst } = ATTEMPTS.tokensPerAddress;
    for (let i = 0; i < burst; i++) expect(await token(`2001:db8::${i.toString(16)}`)).toBe("ERR_UNAUTHENTICATED");
    expect(await token("2001:db8::ffff:1")).toBe("ERR_RATE_LIMITED");
    expect(await token("2001:db8:0:1::1")).toBe("ERR_UNAUTHENTICATED");
  });

  test("from an IPv4 address count as such, however it is written", async () => {
    const { auth } = await rig();
    const { token } = attempts(auth);
    for (let i = 0; i < ATTEMPTS.tokensPerAddress.burst; i++) await token("192.0.2.1");
    for (const same of ["::ffff:192.0.2.1", "::ffff:c000:201", "0:0:0:0:0:FFFF:c000:0201"]) {
      expect(await token(same)).toBe("ERR_RATE_LIMITED");
    }
    expect(await token("::ffff:c000:202")).toBe("ERR_UNAUTHENTICATED");
  });

  test("of a good token, a known device and a right code there are none, whatever else comes from the address", async () => {
    const { auth, database } = await rig();
    await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const scopes = [{ folder: null, access: "read" }] as const;
    const { token } = await auth.createToken(LOCAL, { user: "ann", name: "t", scopes, expiresInMs: null });
    const pin = createIdentity().pin;
    const device = await database.devices.create({ name: "laptop", pin, role: "user" });
    const tries = attempts(auth);
    for (let i = 0; i < 100; i++) await Promise.all([tries.token("192.0.2.1"), tries.key("192.0.2.1")]);
    expect(await auth.authenticate(token, from("192.0.2.1"))).toMatchObject({ name: "ann" });
    expect(await auth.device(pin, from("192.0.2.1"))).toMatchObject({ id: device.id });
    const { code } = await auth.invite(LOCAL, { folder: "photos", access: "read", expiresInMs: 1000 });
    for (let i = 0; i < 3; i++) await auth.pair(code, { name: "laptop", pin }, from("192.0.2.1"));
  });

  test("that come at once are counted before anything is hashed", async () => {
    const { auth, limits } = await rig();
    await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const { burst } = ATTEMPTS.passwordsPerAccount;
    // From many addresses, so that only the account's budget is in the way.
    const guesses = Array.from({ length: 71 }, (_, i) => outcome(auth.login("ann", `guess ${i}`, from(`10.0.${i}.1`))));
    const codes = await Promise.all(guesses);
    expect(codes.filter((code) => code === "ERR_UNAUTHENTICATED")).toHaveLength(burst);
    expect(codes.filter((code) => code === "ERR_RATE_LIMITED")).toHaveLength(71 - burst);
    expectReached(limits, "passwordsPerAccount");
  });

  test("of whoever logs in from an address where they did before have a budget of their own, also after a restart", async () => {
    const { auth, database, limits, clock } = await rig();
    await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const home = from("192.0.2.1");
    await auth.login("ann", PASSWORD, home);
    const { password } = attempts(auth);
    // Others behind the same address guess at other accounts; others elsewhere at this one.
    for (let i = 0; i < 25; i++) await Promise.all([password("192.0.2.1", `bob${i}`), password(`10.0.0.${i}`, "ann")]);
    expect(await password("192.0.2.1", "carol")).toBe("ERR_RATE_LIMITED");
    expect(await password("10.1.1.1", "ann", PASSWORD)).toBe("ERR_RATE_LIMITED");
    expect(await outcome(auth.login("ann", PASSWORD, home))).toBe("in");
    // A restart forgets the budgets, and not who is familiar.
    const again = createAuth({ database, now: () => clock.now, limits });
    const { burst } = ATTEMPTS.passwordsPerAddress;
    for (let i = 0; i <= burst; i++) await outcome(again.login(`bob${i}`, "wrong", home));
    expect(await outcome(again.login("carol", "wrong", home))).toBe("ERR_RATE_LIMITED");
    expect(await outcome(again.login("ann", PASSWORD, home))).toBe("in");
    // It is a budget all the same.
    for (let i = 0; i < ATTEMPTS.passwordsPerFamiliar.burst; i++) {
      expect(await outcome(again.login("ann", "wrong", home))).toBe("ERR_UNAUTHENTICATED");
    }
    expect(await outcome(again.login("ann", PASSWORD, home))).toBe("ERR_RATE_LIMITED");
    expectReached(limits, "passwordsPerFamiliar");
  });

  test("more than can be hashed wait, and more than may wait are refused and cost no attempt", async () => {
    const { auth, limits } = await rig();
    const most = MAX_HASHES_AT_ONCE + MAX_HASHES_WAITING;
    const logins = Array.from({ length: most + 9 }, (_, i) =>
      outcome(auth.login(`name${i}`, "wrong", from(`10.0.${i}.1`))),
    );
    const codes = await Promise.all(logins);
    expect(codes.filter((code) => code === "ERR_RATE_LIMITED").length).toBeGreaterThan(0);
    expectReached(limits, "hashesWaiting");
  });

  test("of logins a user has so many; the oldest end", async () => {
    const { auth, database, limits, clock } = await rig();
    const user = await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const scopes = [{ folder: null, access: "write" }] as const;
    for (let i = 0; i < MAX_LOGINS_PER_USER; i++) {
      const times = { createdAt: clock.now + i, expiresAt: clock.now + 1e9 };
      await database.tokens.create({
        kind: "session",
        name: "login",
        userId: user.id,
        hash: `h${i}`,
        scopes,
        ...times,
      });
    }
    clock.now += MAX_LOGINS_PER_USER;
    const { token } = await auth.login("ann", PASSWORD, from("192.0.2.1"));
    expect((await database.tokens.byHash("h0"))?.revokedAt).not.toBeNull();
    expect((await database.tokens.byHash("h1"))?.revokedAt).toBeNull();
    expect(await auth.authenticate(token, from("192.0.2.1"))).toMatchObject({ name: "ann" });
    const { events } = await database.events.since(0, 10);
    expect(events.map(({ type }) => type)).toEqual(["token.revoked"]);
    expectReached(limits, "loginsPerUser");
  });

  test("of tokens a user has so many, and revoked ones do not pile up", async () => {
    const { auth, database, limits } = await rig();
    const user = await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const scopes = [{ folder: null, access: "read" }] as const;
    const create = () => auth.createToken(LOCAL, { user: "ann", name: "t", scopes, expiresInMs: null });
    for (let i = 0; i < MAX_TOKENS_PER_USER - 1; i++) {
      const more = { createdAt: 1, expiresAt: null };
      await database.tokens.create({ kind: "api", name: "t", userId: user.id, hash: `h${i}`, scopes, ...more });
    }
    for (let i = 0; i < 2 * MAX_ENDED_TOKENS_PER_USER; i++) await auth.revokeToken(LOCAL, (await create()).record.id);
    await create();
    expect(await outcome(create())).toBe("ERR_INVALID");
    expect((await database.tokens.list(user.id)).length).toBeLessThanOrEqual(
      MAX_TOKENS_PER_USER + MAX_ENDED_TOKENS_PER_USER,
    );
    expectReached(limits, "tokensPerUser", "endedTokensPerUser");
  });

  test("are remembered of so many addresses, and logins of so many", async () => {
    const { limits, clock } = await rig();
    const budget = new AttemptBudget(ATTEMPTS.tokensPerAddress, () => limits.add("attemptKeys"));
    for (let i = 0; i <= MAX_ATTEMPT_KEYS; i++) budget.take(`address ${i}`, clock.now);
    expect(limits.of("attemptKeys")).toBe(1);
    const { database } = await rig();
    const guard = new Guard(database, () => clock.now, limits);
    for (let i = 0; i <= MAX_FAMILIAR; i++) guard.familiar("ann", { address: `2001:db8:0:${i.toString(16)}::1` });
    expect(limits.of("familiarLogins")).toBe(1);
    expectReached(limits, "attemptKeys", "familiarLogins");
  });

  test("to say the old password count like those to log in", async () => {
    const { auth } = await rig();
    await auth.addUser(LOCAL, { name: "ann", password: PASSWORD, role: "user" });
    const { principal } = await auth.login("ann", PASSWORD, from("192.0.2.1"));
    const set = (oldPassword: string) =>
      outcome(auth.setPassword(principal, "ann", "a new password", { oldPassword, peer: from("192.0.2.1") }));
    for (let i = 0; i < ATTEMPTS.passwordsPerFamiliar.burst; i++) expect(await set("wrong")).toBe("ERR_FORBIDDEN");
    expect(await set(PASSWORD)).toBe("ERR_RATE_LIMITED");
  });
});

describe("shares", () => {
  const enter = (shares: Shares, holder: Parameters<Shares["enter"]>[0]): LimitName | "in" => {
    const entered = shares.enter(holder);
    return typeof entered === "function" ? "in" : entered;
  };

  test.each([
    ["webSockets", "user", "webSocketsPerUser", SHARES.webSockets.perUser],
    ["webSockets", "address", "webSocketsPerAddress", SHARES.webSockets.perAddress],
    ["sessions", "device", "sessionsPerDevice", SHARES.sessions.perDevice],
    ["sessions", "address", "sessionsPerAddress", SHARES.sessions.perAddress],
    ["uploads", "user", "uploadsPerUser", SHARES.uploads.perUser],
  ] as const)("of %s: one %s gets no more than its share", (kind, whose, limit, most) => {
    const limits = new LimitCounters();
    const shares = new Shares(kind, limits);
    const holder = { administrator: false, [whose]: "one" };
    for (let i = 0; i < most; i++) expect(enter(shares, holder)).toBe("in");
    expect(enter(shares, holder)).toBe(limit);
    expect(enter(shares, { administrator: false, [whose]: "another" })).toBe("in");
    // Whoever is behind the administrator's address does not keep the administrator out.
    const admin = { administrator: true, ...(whose === "address" ? { address: "one" } : { [whose]: "admin" }) };
    expect(enter(shares, admin)).toBe("in");
    expectReached(limits, limit);
  });

  test.each(["webSockets", "sessions", "uploads"] as const)("of %s: room is kept for administrators", (kind) => {
    const limits = new LimitCounters();
    const shares = new Shares(kind, limits);
    const { total, forAdministrators } = SHARES[kind];
    const all = [];
    for (let i = 0; i < total - forAdministrators; i++) {
      all.push(shares.enter({ administrator: false, user: `u${i}`, device: `d${i}`, address: `a${i}` }));
    }
    expect(enter(shares, { administrator: false, user: "late" })).toBe(kind);
    for (let i = 0; i < forAdministrators; i++) {
      expect(enter(shares, { administrator: true, user: `admin${i}`, device: `admin${i}` })).toBe("in");
    }
    expect(enter(shares, { administrator: true })).toBe(kind);
    // What is given back is free again, once.
    const [leave] = all;
    for (let i = 0; i < 2; i++) if (typeof leave === "function") leave();
    expect(shares.size).toBe(total - 1);
    expect(enter(shares, { administrator: true })).toBe("in");
    expectReached(limits, kind);
  });
});

describe("connections", () => {
  const open: net.Socket[] = [];
  afterEach(() => {
    for (const socket of open.splice(0)) socket.destroy();
  });

  /** A server with so much room. Addresses of 127.0.0.0/8 stand for different clients. */
  async function serve(shares: ConstructorParameters<typeof Connections>[2], trusted: string[] = []) {
    const limits = new LimitCounters();
    const connections = new Connections(new TrustedProxies(trusted), limits, shares);
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      sockets.push(socket.on("error", () => {}));
      connections.add(socket);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as net.AddressInfo;
    const connect = async (from: string) => {
      const before = sockets.length;
      const client = net.connect({ port, host: "127.0.0.1", localAddress: from }).on("error", () => {});
      open.push(client);
      await once(client, "connect");
      await expect.poll(() => sockets.length).toBeGreaterThan(before);
      return { client, server: sockets.at(-1) as net.Socket };
    };
    const identify = (socket: net.Socket, user: string, administrator = false) =>
      connections.identify(socket, { user, administrator });
    return { limits, connections, connect, identify };
  }

  const closed = (socket: net.Socket) => expect.poll(() => socket.closed || socket.destroyed).toBe(true);

  test("of one address that show no token make way for others of it, and only they", async () => {
    const { connect, identify, limits, connections } = await serve({
      total: 100,
      forAdministrators: 10,
      perAddress: 3,
    });
    const other = await connect("127.0.0.9");
    const known = await connect("127.0.0.2");
    expect(identify(known.server, "ann")).toBeUndefined();
    const first = await connect("127.0.0.2");
    await connect("127.0.0.2");
    await connect("127.0.0.2");
    await closed(first.client);
    expect([known.client.destroyed, other.client.destroyed]).toEqual([false, false]);
    expect(connections.size).toBe(4);
    expectReached(limits, "httpConnectionsPerAddress");
  });

  test("of nobody that is known make way where there is no room", async () => {
    const { connect, identify, limits } = await serve({ total: 3, forAdministrators: 1 });
    const known = await connect("127.0.0.2");
    identify(known.server, "ann");
    const first = await connect("127.0.0.3");
    await connect("127.0.0.4");
    const last = await connect("127.0.0.5");
    await closed(first.client);
    // Users get all but what is administrators'.
    expect(identify(last.server, "bob")).toBeUndefined();
    const late = await connect("127.0.0.6");
    expect(identify(late.server, "carol")).toBe("httpConnections");
    expect(identify(late.server, "admin", true)).toBeUndefined();
    expect(known.client.destroyed).toBe(false);
    expectReached(limits, "httpConnections");
    // All are somebody's: the next one is not let in.
    await closed((await connect("127.0.0.7")).client);
  });

  test("of one user are bounded, and free again when they close", async () => {
    const { connect, identify, limits } = await serve({ total: 100, forAdministrators: 10, perUser: 2 });
    const [one, two, three] = [await connect("127.0.0.2"), await connect("127.0.0.3"), await connect("127.0.0.4")];
    expect([one, two, three].map(({ server }) => identify(server, "ann"))).toEqual([
      undefined,
      undefined,
      "httpConnectionsPerUser",
    ]);
    expectReached(limits, "httpConnectionsPerUser");
    one.client.destroy();
    await closed(one.server);
    expect(identify(three.server, "ann")).toBeUndefined();
    // The same connection, for somebody else from now on.
    expect(identify(three.server, "bob")).toBeUndefined();
    expect(identify((await connect("127.0.0.5")).server, "ann")).toBeUndefined();
  });

  test("of a trusted proxy are nobody's, and none of them makes way", async () => {
    const { connect, identify } = await serve({ total: 100, forAdministrators: 10, perAddress: 1, perUser: 1 }, [
      "127.0.0.2",
    ]);
    const all = [await connect("127.0.0.2"), await connect("127.0.0.2"), await connect("127.0.0.2")];
    expect(all.map(({ server }) => identify(server, "ann"))).toEqual([undefined, undefined, undefined]);
    expect(all.map(({ client }) => client.destroyed)).toEqual([false, false, false]);
  });
});

describe("behind a proxy", () => {
  const login = (rig: ApiRig, from: string, password = "wrong") =>
    rig.ask("POST", "/api/v1/login", {
      token: null,
      json: { name: `name of ${from}`, password },
      headers: { "x-forwarded-for": from },
    });

  test("each client has its own budget where the proxy is trusted", async () => {
    await using rig = await ApiRig.start({ trustProxy: ["127.0.0.1"] });
    for (let i = 0; i <= ATTEMPTS.passwordsPerAddress.burst; i++) await login(rig, "203.0.113.1");
    const limited = await login(rig, "203.0.113.1");
    expect(limited.status).toBe(429);
    expect(Number(limited.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await login(rig, "203.0.113.2")).status).toBe(401);
    const [entry] = await rig.database.audit.list({ limit: 1 });
    expect(entry).toMatchObject({ action: "login", outcome: "refused", address: "203.0.113.2" });
  });

  test("what a client says of itself counts for nothing where it is not", async () => {
    await using rig = await ApiRig.start();
    for (let i = 0; i < ATTEMPTS.passwordsPerAddress.burst; i++) await login(rig, `203.0.113.${i}`);
    expect((await login(rig, "203.0.113.200")).status).toBe(429);
  });

  test("that speaks HTTPS the cookie is for HTTPS", async () => {
    await using rig = await ApiRig.start({ trustProxy: ["127.0.0.1"] });
    const headers = { "x-forwarded-for": "203.0.113.1", "x-forwarded-proto": "https" };
    const json = { name: "admin", password: PASSWORD };
    const response = await rig.ask("POST", "/api/v1/login", { token: null, json, headers });
    expect(response.headers.get("set-cookie")).toMatch(/^__Host-confundo_session=.*; Secure/);
  });

  test("bad tokens keep nobody from logging in", async () => {
    await using rig = await ApiRig.start();
    for (let i = 0; i < 30; i++) await rig.ask("GET", "/api/v1/me", { token: "bad" });
    expect((await rig.ask("GET", "/api/v1/me", { token: "bad" })).status).toBe(429);
    const json = { name: "admin", password: PASSWORD };
    expect((await rig.ask("POST", "/api/v1/login", { token: null, json })).status).toBe(200);
    expect((await rig.ask("GET", "/api/v1/me")).status).toBe(200);
  });
});

test("every limit is in the metrics", async () => {
  const limits = new LimitCounters();
  await using rig = await ApiRig.start({ limits });
  limits.add("webSocketsPerUser");
  const text = await (await rig.ask("GET", "/metrics")).text();
  for (const name of LIMIT_NAMES) {
    expect(text).toContain(`confundo_limit_reached_total{limit="${name}"} ${name === "webSocketsPerUser" ? 1 : 0}\n`);
  }
});

test("every limit is reached in these tests", () => {
  const elsewhere: LimitName[] = [
    // test/unit/server/gate.test.ts
    "handshakes",
    "handshakesPerAddress",
    // test/unit/server/admission.test.ts
    "admission",
    // test/unit/server/http
    "headerBytes",
    "headersMs",
    "jsonBytes",
    "bodyMs",
    "idleMs",
    "fileWindowMs",
    "webSocketMessageBytes",
    "missedPings",
  ];
  expect([...reached, ...elsewhere].sort()).toEqual([...LIMIT_NAMES].sort());
});
