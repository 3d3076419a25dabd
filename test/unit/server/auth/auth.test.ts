import { describe, expect, onTestFinished, test } from "vitest";
import { createCode, createIdentity } from "../../../../src/secure/index.js";
import { hashPassword, isOutdated, verifyPassword } from "../../../../src/server/auth/passwords.js";
import { type Auth, createAuth, type Database, openDatabase, type Principal } from "../../../../src/server/index.js";

const LOCAL = { kind: "local" } as const;
const peer = { address: "192.0.2.1" };
const HOUR = 3_600_000;

interface Rig {
  readonly auth: Auth;
  readonly database: Database;
  readonly clock: { now: number };
}

async function rig(): Promise<Rig> {
  const clock = { now: 1_000_000 };
  const now = (): number => clock.now;
  const database = await openDatabase({ path: ":memory:", now });
  onTestFinished(() => database.close());
  return { auth: createAuth({ database, now }), database, clock };
}

function device(name = "laptop"): { name: string; pin: string } {
  return { name, pin: createIdentity().pin };
}

async function codeFor({ auth }: Rig, folder: string | null, access: "read" | "write" = "write"): Promise<string> {
  return (await auth.invite(LOCAL, { folder, access, expiresInMs: HOUR })).code;
}

async function events({ database }: Rig): Promise<string[]> {
  return (await database.events.since(0, 100)).events.map(({ type }) => type);
}

describe("devices", () => {
  test("a code makes a device known, for its folder and no other", async () => {
    const home = await rig();
    const { auth } = home;
    const laptop = device();
    const principal = await auth.pair(await codeFor(home, "photos"), laptop, peer);
    expect(await auth.device(laptop.pin, peer)).toEqual(principal);
    expect(principal).toMatchObject({ kind: "device", name: "laptop", role: "user" });
    expect(await auth.may(principal, "photos", "write")).toBe(true);
    expect(await auth.may(principal, "other", "read")).toBe(false);
    expect([...((await auth.folders(principal)) ?? [])]).toEqual([["photos", "write"]]);
    // Another folder for the same device, to read.
    await auth.pair(await codeFor(home, "music", "read"), laptop, peer);
    expect(await auth.may(principal, "music", "read")).toBe(true);
    expect(await auth.may(principal, "music", "write")).toBe(false);
    expect(await auth.may(principal, "photos", "write")).toBe(true);
  });

  test("a code for all folders makes an administrator, also of a known device", async () => {
    const home = await rig();
    const laptop = device();
    await home.auth.pair(await codeFor(home, "photos"), laptop, peer);
    await home.auth.pair(await codeFor(home, null), laptop, peer);
    const principal = await home.auth.device(laptop.pin, peer);
    expect(principal.role).toBe("admin");
    expect(await home.auth.folders(principal)).toBeNull();
    expect(await home.auth.may(principal, "anything", "write")).toBe(true);
    // It may write everything, and look after nothing.
    await expect(home.auth.devices(principal)).rejects.toMatchObject({ code: "ERR_FORBIDDEN" });
  });

  test("a code is good once, for one device; again for that one, whose answer may have been lost", async () => {
    const home = await rig();
    const code = await codeFor(home, "photos");
    const laptop = device();
    const first = await home.auth.pair(code, laptop, peer);
    expect(await home.auth.pair(code, laptop, peer)).toEqual(first);
    await expect(home.auth.pair(code, device(), peer)).rejects.toMatchObject({
      code: "ERR_CODE",
      message: expect.stringContaining("used already"),
    });
    expect(await home.auth.devices(LOCAL)).toHaveLength(1);
  });

  test("of two that come with one code at once, one gets it", async () => {
    const home = await rig();
    const code = await codeFor(home, "photos");
    const both = await Promise.allSettled([home.auth.pair(code, device(), peer), home.auth.pair(code, device(), peer)]);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("an expired code and an unknown one are refused", async () => {
    const home = await rig();
    const code = await codeFor(home, "photos");
    home.clock.now += HOUR;
    await expect(home.auth.pair(code, device(), peer)).rejects.toMatchObject({
      code: "ERR_CODE",
      message: expect.stringContaining("expired"),
    });
    await expect(home.auth.pair(createCode(), device(), peer)).rejects.toMatchObject({ code: "ERR_CODE" });
    await expect(home.auth.device(device().pin, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
  });

  test("a revoked device is refused, with its key and with new codes, and the others hear of it", async () => {
    const home = await rig();
    const { auth } = home;
    const laptop = device();
    const { id } = await auth.pair(await codeFor(home, "photos"), laptop, peer);
    await auth.revoke(LOCAL, "laptop");
    expect(await events(home)).toEqual(["device.paired", "device.revoked"]);
    const refusal = { code: "ERR_FORBIDDEN", message: expect.stringContaining("revoked") };
    await expect(auth.device(laptop.pin, peer)).rejects.toMatchObject(refusal);
    await expect(auth.pair(await codeFor(home, "photos"), laptop, peer)).rejects.toMatchObject(refusal);
    await expect(auth.pairLocal(laptop, peer)).rejects.toMatchObject(refusal);
    await expect(auth.revoke(LOCAL, id)).rejects.toMatchObject({ code: "ERR_NOT_FOUND" });
    await expect(auth.revoke(LOCAL, "nobody")).rejects.toMatchObject({ code: "ERR_NOT_FOUND" });
  });

  test("two of one name are told apart by their ids", async () => {
    const home = await rig();
    for (const folder of ["a", "b"]) await home.auth.pair(await codeFor(home, folder), device("twin"), peer);
    await expect(home.auth.revoke(LOCAL, "twin")).rejects.toMatchObject({
      code: "ERR_INVALID",
      message: expect.stringMatching(/by its id: \w+, \w+\./),
    });
    const [first] = await home.auth.devices(LOCAL);
    await home.auth.revoke(LOCAL, first?.id ?? "");
    // Now the name is clear.
    await home.auth.revoke(LOCAL, "twin");
  });

  test("a device of the server's own user is an administrator, unless it is known as something else", async () => {
    const home = await rig();
    const mine = device("mine");
    expect(await home.auth.pairLocal(mine, peer)).toMatchObject({ role: "admin" });
    const guest = device("guest");
    await home.auth.pair(await codeFor(home, "photos"), guest, peer);
    expect(await home.auth.pairLocal(guest, peer)).toMatchObject({ role: "user" });
  });

  test("grants come and go", async () => {
    const home = await rig();
    const principal = await home.auth.pair(await codeFor(home, "photos"), device(), peer);
    await home.auth.grant(LOCAL, { subject: "device", of: "laptop", folder: "photos", access: null });
    expect(await home.auth.may(principal, "photos", "read")).toBe(false);
    expect(await events(home)).toEqual(["device.paired", "grants.changed"]);
  });
});

describe("users and tokens", () => {
  async function withUsers(): Promise<Rig> {
    const home = await rig();
    await home.auth.addUser(LOCAL, { name: "admin", password: "a long password", role: "admin" });
    const grants = [{ folder: "photos", access: "write" as const }];
    await home.auth.addUser(LOCAL, { name: "anna", password: "another password", role: "user", grants });
    return home;
  }

  test("a password is good for a session, a wrong one and an unknown name are told alike", async () => {
    const { auth, clock } = await withUsers();
    const { token, principal } = await auth.login("anna", "another password", peer);
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(await auth.authenticate(token, peer)).toMatchObject({ kind: "user", name: "anna", id: principal.id });
    const refusal = { code: "ERR_UNAUTHENTICATED", message: "The name or the password is wrong." };
    await expect(auth.login("anna", "wrong", peer)).rejects.toMatchObject(refusal);
    await expect(auth.login("nobody", "wrong", peer)).rejects.toMatchObject(refusal);
    await auth.logout(token);
    await expect(auth.authenticate(token, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
    const second = await auth.login("anna", "another password", peer);
    clock.now += 8 * 24 * HOUR;
    await expect(auth.authenticate(second.token, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
  });

  test("guessing is slowed down for the address, and for the account but where its owner is known", async () => {
    const { auth, clock } = await withUsers();
    await auth.login("admin", "a long password", peer);
    let attempts = 0;
    const guess = (address: string): Promise<string> =>
      auth.login("admin", `guess ${++attempts}`, { address }).then(
        () => "in",
        (error) => error.code,
      );
    const guesses = new Set<string>();
    for (let i = 0; i < 20; i++) guesses.add(await guess("198.51.100.9"));
    expect([...guesses]).toEqual(["ERR_UNAUTHENTICATED"]);
    await expect(auth.login("admin", "a long password", { address: "198.51.100.9" })).rejects.toMatchObject({
      code: "ERR_RATE_LIMITED",
      retryAfterMs: expect.any(Number),
    });
    expect(await guess("198.51.100.77")).toBe("ERR_RATE_LIMITED");
    // The owner, from where they were before.
    await auth.login("admin", "a long password", peer);
    clock.now += HOUR;
    expect(await guess("198.51.100.9")).toBe("ERR_UNAUTHENTICATED");
  });

  test("guessing fills neither the log nor the memory", async () => {
    const { auth, database, clock } = await withUsers();
    for (let i = 0; i < 200; i++)
      await auth.authenticate(`guess ${i}`, { address: `2001:db8::${i.toString(16)}` }).catch(() => {});
    const refused = (await database.audit.list({ limit: 1000 })).filter(({ outcome }) => outcome === "refused");
    expect(refused).toHaveLength(21);
    expect(refused[0]?.detail).toMatch(/no more attempts from this address/);
    clock.now += HOUR;
    await expect(auth.authenticate("x", { address: "2001:db8::1" })).rejects.toMatchObject({
      code: "ERR_UNAUTHENTICATED",
    });
  });

  test("what a token may do is what its user may, within its scopes", async () => {
    const { auth, database, clock } = await withUsers();
    await database.folders.ensure("photos");
    await database.folders.ensure("music");
    const who = async (
      user: string,
      scopes: { folder: string | null; access: "read" | "write" }[],
    ): Promise<Principal> => {
      const { token } = await auth.createToken(LOCAL, { user, name: "t", scopes, expiresInMs: HOUR });
      return auth.authenticate(token, peer);
    };
    const whole = await who("anna", [{ folder: null, access: "write" }]);
    expect([...((await auth.folders(whole)) ?? [])]).toEqual([["photos", "write"]]);
    const reader = await who("anna", [{ folder: null, access: "read" }]);
    expect([...((await auth.folders(reader)) ?? [])]).toEqual([["photos", "read"]]);
    const elsewhere = await who("anna", [{ folder: "music", access: "write" }]);
    expect([...((await auth.folders(elsewhere)) ?? [])]).toEqual([]);
    const looker = await who("admin", [{ folder: null, access: "read" }]);
    expect([...((await auth.folders(looker)) ?? [])].sort()).toEqual([
      ["music", "read"],
      ["photos", "read"],
    ]);
    const one = await who("admin", [{ folder: "music", access: "write" }]);
    expect([...((await auth.folders(one)) ?? [])]).toEqual([["music", "write"]]);
    // A token with less than everything looks after nothing, whoever's it is.
    for (const narrow of [looker, one, whole]) {
      await expect(auth.users(narrow)).rejects.toMatchObject({ code: "ERR_FORBIDDEN" });
    }
    expect(await auth.users(await who("admin", [{ folder: null, access: "write" }]))).toHaveLength(2);
    clock.now += HOUR;
    const { token } = await auth.createToken(LOCAL, {
      user: "anna",
      name: "endless",
      scopes: [{ folder: null, access: "read" }],
      expiresInMs: null,
    });
    clock.now += 10_000 * HOUR;
    expect(await auth.authenticate(token, peer)).toMatchObject({ name: "anna" });
  });

  test("a revoked token is refused, and whose it is may revoke it", async () => {
    const { auth } = await withUsers();
    const { principal } = await auth.login("anna", "another password", peer);
    const scopes = [{ folder: null, access: "write" as const }];
    const { token, record } = await auth.createToken(principal, {
      user: "anna",
      name: "mine",
      scopes,
      expiresInMs: null,
    });
    await expect(
      auth.createToken(principal, { user: "admin", name: "not mine", scopes, expiresInMs: null }),
    ).rejects.toMatchObject({ code: "ERR_FORBIDDEN" });
    expect((await auth.tokens(principal)).map(({ id }) => id)).toContain(record.id);
    await auth.revokeToken(principal, "mine");
    await expect(auth.authenticate(token, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
    const other = await auth.createToken(LOCAL, { user: "admin", name: "theirs", scopes, expiresInMs: null });
    await expect(auth.revokeToken(principal, other.record.id)).rejects.toMatchObject({ code: "ERR_NOT_FOUND" });
  });

  test("a new password ends the sessions; a removed user is gone with its tokens; the last administrator stays", async () => {
    const { auth } = await withUsers();
    const session = await auth.login("anna", "another password", peer);
    await auth.setPassword(session.principal, "anna", "a new password", { oldPassword: "another password" });
    await expect(auth.authenticate(session.token, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
    const { token } = await auth.login("anna", "a new password", peer);
    await expect(auth.setPassword(session.principal, "admin", "mine now!")).rejects.toMatchObject({
      code: "ERR_FORBIDDEN",
    });
    await auth.removeUser(LOCAL, "anna");
    await expect(auth.authenticate(token, peer)).rejects.toMatchObject({ code: "ERR_UNAUTHENTICATED" });
    await expect(auth.removeUser(LOCAL, "admin")).rejects.toMatchObject({ code: "ERR_INVALID" });
    await expect(auth.removeUser(LOCAL, "anna")).rejects.toMatchObject({ code: "ERR_NOT_FOUND" });
  });

  test.each([
    ["a short password", { name: "bob", password: "short" }, "ERR_INVALID"],
    ["a password of a megabyte", { name: "bob", password: "x".repeat(1_000_000) }, "ERR_INVALID"],
    ["a name with a colon", { name: "bob:x", password: "long enough" }, "ERR_INVALID"],
    ["a name that there is", { name: "anna", password: "long enough" }, "ERR_EXISTS"],
  ])("%s is refused", async (_, user, code) => {
    const { auth } = await withUsers();
    await expect(auth.addUser(LOCAL, { ...user, role: "user" })).rejects.toMatchObject({ code });
  });

  test("what administrators do, and what is refused, is in the audit log", async () => {
    const { auth, database } = await withUsers();
    const { principal } = await auth.login("anna", "another password", peer);
    await auth.users(principal).catch(() => {});
    const log = (await database.audit.list({ limit: 100 })).reverse();
    expect(log.map(({ actor, action, target, outcome }) => [actor, action, target, outcome])).toEqual([
      ["local", "user.add", "admin", "ok"],
      ["local", "user.add", "anna", "ok"],
      ["user:anna", "login", null, "ok"],
      ["user:anna", "user.list", null, "refused"],
    ]);
    expect(JSON.stringify(log)).not.toContain('password"');
  });
});

describe("a stored password", () => {
  test.each(["argon2id", "scrypt"] as const)("by %s says how it was made, and verifies", async (algorithm) => {
    const stored = await hashPassword("correct horse", algorithm);
    expect(stored).toMatch(
      algorithm === "argon2id"
        ? /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/
        : /^\$scrypt\$ln=17,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}$/,
    );
    expect(await verifyPassword("correct horse", stored)).toBe(true);
    expect(await verifyPassword("correct horsE", stored)).toBe(false);
    expect(isOutdated(stored)).toBe(algorithm === "scrypt");
  });

  test("that another program made verifies too", async () => {
    // From the reference implementation: echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1
    const stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    expect(await verifyPassword("password", stored)).toBe(true);
    expect(await verifyPassword("password", "no such thing")).toBe(false);
  });
});
