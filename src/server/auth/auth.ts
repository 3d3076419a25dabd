/** The authentication service over the database service: who somebody is, and what they may do. */
import type { Access, Database, Device, Token, User } from "../database/types.js";
import { LimitCounters, MAX_LOGINS_PER_USER } from "../limits.js";
import * as administration from "./administration.js";
import type { AuthError } from "./errors.js";
import { actorOf, Guard } from "./guard.js";
import { deviceNameProblem } from "./names.js";
import { PasswordCheck } from "./password-check.js";
import { createToken, hashSecret } from "./secrets.js";
import type { Auth, Peer, Principal } from "./types.js";

export interface AuthOptions {
  readonly database: Database;
  /** Milliseconds since 1970. Default: the system's clock. */
  readonly now?: () => number;
  /** Counts the refusals of its limits. Default: one of its own. */
  readonly limits?: LimitCounters;
}

const SESSION_MS = 7 * 24 * 60 * 60 * 1000;
/** How exactly it is known when a device or a token was last seen: not each request is a write. */
const SEEN_MS = 60_000;

type DevicePrincipal = Principal & { kind: "device" };
type UserPrincipal = Principal & { kind: "user" };

export function createAuth({ database, now = Date.now, limits = new LimitCounters() }: AuthOptions): Auth {
  const guard = new Guard(database, now, limits);
  const passwords = new PasswordCheck(database, guard);
  const proofs = new Proofs(database, guard, passwords);
  return {
    device: (pin, peer) => proofs.device(pin, peer),
    pair: (code, device, peer) => proofs.pair(code, device, peer),
    pairLocal: (device, peer) => proofs.pairLocal(device, peer),
    login: (name, password, peer) => proofs.login(name, password, peer),
    logout: (token) => proofs.logout(token),
    authenticate: (token, peer) => proofs.authenticate(token, peer),
    rename: (device, name, peer) => proofs.rename(device, name, peer),
    resumptionReused: (pin, peer) => proofs.resumptionReused(pin, peer),
    may: async (who, folder, access) => permits(await foldersOf(database, who), folder, access),
    folders: (who) => foldersOf(database, who),
    ...administration.acts(database, guard, passwords),
  };
}

/** What somebody may do with each folder; null: everything with all. */
async function foldersOf(database: Database, who: Principal): Promise<ReadonlyMap<string, Access> | null> {
  if (who.kind === "local" || (who.kind === "device" && who.role === "admin")) return null;
  const scopes = who.kind === "user" ? who.token.scopes : [{ folder: null, access: "write" as const }];
  if (who.role === "admin" && widest(scopes, null) === "write") return null;
  const own = who.role === "admin" ? await everyFolder(database, scopes) : await grantsOf(database, who);
  const allowed = new Map<string, Access>();
  for (const [folder, access] of own) {
    const scoped = widest(scopes, folder);
    if (scoped !== undefined) allowed.set(folder, access === "write" ? scoped : "read");
  }
  return allowed;
}

async function grantsOf(
  database: Database,
  { kind, id }: DevicePrincipal | UserPrincipal,
): Promise<Map<string, Access>> {
  const grants = await database.grants.of(kind, id);
  return new Map(grants.map(({ folder, access }) => [folder, access]));
}

/** Those that there are, and those that a token names. */
async function everyFolder(database: Database, scopes: Token["scopes"]): Promise<Map<string, Access>> {
  const there = (await database.folders.list()).map(({ name }) => name);
  const named = scopes.flatMap(({ folder }) => folder ?? []);
  return new Map([...there, ...named].map((name) => [name, "write"]));
}

/** The most that scopes allow for a folder; for null, for all folders. */
function widest(scopes: Token["scopes"], folder: string | null): Access | undefined {
  const of = scopes.filter((scope) => scope.folder === null || scope.folder === folder);
  const has = (wanted: Access): boolean => of.some(({ access }) => access === wanted);
  return has("write") ? "write" : has("read") ? "read" : undefined;
}

function permits(folders: ReadonlyMap<string, Access> | null, folder: string, access: Access): boolean {
  const has = folders === null ? "write" : folders.get(folder);
  return has === "write" || (has === "read" && access === "read");
}

/** Keys, codes, passwords and tokens. */
class Proofs {
  readonly #database: Database;
  readonly #guard: Guard;
  readonly #passwords: PasswordCheck;

  constructor(database: Database, guard: Guard, passwords: PasswordCheck) {
    this.#database = database;
    this.#guard = guard;
    this.#passwords = passwords;
  }

  async device(pin: string, peer: Peer): Promise<DevicePrincipal> {
    const device = await this.#database.devices.byPin(pin);
    if (device === undefined) {
      const attempt = this.#guard.attempt({ kind: "key" }, peer);
      const message =
        "This server does not know this device. Mirror once to a pairing address: `confundo invite NAME` prints one.";
      const act = { action: "device.connect", target: pin, peer };
      throw await this.#guard.failed(attempt, "ERR_UNAUTHENTICATED", message, act);
    }
    return this.#admitted(device, "device.connect", peer);
  }

  async pair(code: string, device: { name: string; pin: string }, peer: Peer): Promise<DevicePrincipal> {
    const attempt = this.#guard.attempt({ kind: "code" }, peer);
    let failed = false;
    const fail: Fail = (message, target) => {
      failed = true;
      return this.#guard.failed(attempt, "ERR_CODE", `${message} ${ASK}`, { action: "device.pair", target, peer });
    };
    try {
      return await this.#redeem(code, device, peer, fail);
    } finally {
      if (!failed) attempt.refund();
    }
  }

  async pairLocal(device: { name: string; pin: string }, peer: Peer): Promise<DevicePrincipal> {
    const known = await this.#database.devices.byPin(device.pin);
    if (known !== undefined) return this.#admitted(known, "device.connect", peer);
    return this.#paired(await this.#create(device, "admin"), peer, "by a program of the server's user, all folders");
  }

  async login(name: string, password: string, peer: Peer): Promise<{ token: string; principal: UserPrincipal }> {
    const user = await this.#passwords.verify(name, password, peer, {
      code: "ERR_UNAUTHENTICATED",
      message: "The name or the password is wrong.",
      act: { action: "login", target: name.slice(0, 100), peer },
    });
    this.#guard.familiar(name, peer);
    const secret = createToken();
    const at = this.#guard.now();
    const token = await this.#database.tokens.create({
      kind: "session",
      name: "login",
      userId: user.id,
      hash: hashSecret(secret),
      scopes: [{ folder: null, access: "write" }],
      createdAt: at,
      expiresAt: at + SESSION_MS,
    });
    await this.#endOldest(user.id, at);
    const principal = principalOf(user, token);
    await this.#guard.done({ action: "login", actor: actorOf(principal), peer });
    return { token: secret, principal };
  }

  /** A user has so many sessions: the oldest make way. Those that have ended are forgotten. */
  async #endOldest(userId: string, now: number): Promise<void> {
    const { tokens, events } = this.#database;
    await tokens.trim(userId, "session", now, 0);
    const live = (await tokens.list(userId)).filter(({ kind }) => kind === "session");
    const ending = live.slice(0, Math.max(0, live.length - MAX_LOGINS_PER_USER));
    for (const { id } of ending) {
      this.#guard.limits.add("loginsPerUser");
      await tokens.revoke(id, now);
    }
    await events.append(ending.map(({ id }) => ({ type: "token.revoked", folder: null, data: { id } })));
  }

  async logout(secret: string): Promise<void> {
    const token = await this.#database.tokens.byHash(hashSecret(secret));
    if (token === undefined || !(await this.#database.tokens.revoke(token.id, this.#guard.now()))) return;
    const user = await this.#database.users.byId(token.userId);
    await this.#guard.done({ action: "logout", actor: `user:${user?.name ?? token.userId}` });
    await this.#database.events.append([{ type: "token.revoked", folder: null, data: { id: token.id } }]);
  }

  async authenticate(secret: string, peer: Peer): Promise<UserPrincipal> {
    const { tokens, users } = this.#database;
    const token = await tokens.byHash(hashSecret(secret));
    const now = this.#guard.now();
    const over = token === undefined || token.revokedAt !== null || (token.expiresAt ?? Infinity) <= now;
    const user = over ? undefined : await users.byId(token.userId);
    if (token === undefined || user === undefined) {
      const attempt = this.#guard.attempt({ kind: "token" }, peer);
      const message =
        "The token is unknown, expired or revoked. Log in again, or make a new one: `confundo token create`.";
      const act = { action: "token.use", target: token?.id ?? null, peer };
      throw await this.#guard.failed(attempt, "ERR_UNAUTHENTICATED", message, act);
    }
    if (now - (token.lastUsedAt ?? 0) >= SEEN_MS) await tokens.used(token.id, now);
    return principalOf(user, token);
  }

  async #redeem(code: string, device: { name: string; pin: string }, peer: Peer, fail: Fail): Promise<DevicePrincipal> {
    const { devices, invitations, grants } = this.#database;
    const known = await devices.byPin(device.pin);
    if (known !== undefined) await this.#admitted(known, "device.pair", peer);
    const codeHash = hashSecret(code);
    const invitation = await invitations.take(codeHash, this.#guard.now());
    if (invitation === undefined) return this.#pairAgain(codeHash, known, peer, fail);
    const role = invitation.folder === null && invitation.access === "write" ? "admin" : "user";
    const paired = known ?? (await this.#create(device, role));
    if (role === "admin" && paired.role !== role) await devices.setRole(paired.id, role);
    const { folder, access } = invitation;
    if (folder !== null) await grants.set({ subject: "device", subjectId: paired.id, folder, access });
    await invitations.usedBy(invitation.id, paired.id);
    return this.#paired(
      { ...paired, role: role === "admin" ? role : paired.role },
      peer,
      folder === null ? "all folders" : `${folder}, ${access}`,
    );
  }

  /** A code that is used up is good once more for the device that it was used by: the answer may have been lost. */
  async #pairAgain(codeHash: string, known: Device | undefined, peer: Peer, fail: Fail): Promise<DevicePrincipal> {
    const invitation = (await this.#database.invitations.list()).find((each) => each.codeHash === codeHash);
    if (known !== undefined && invitation?.usedBy === known.id) return this.#admitted(known, "device.pair", peer);
    const target = invitation?.folder ?? null;
    if (invitation === undefined) throw await fail("This server does not know the code.", target);
    if (invitation.usedAt !== null) throw await fail("The code was used already, and each is for one device.", target);
    if (invitation.withdrawnAt !== null) throw await fail("The code was withdrawn.", target);
    throw await fail("The code has expired.", target);
  }

  /** A device gives itself another name. */
  async rename({ id, name: before }: DevicePrincipal, name: string, peer: Peer): Promise<void> {
    if (name === before || deviceNameProblem(name) !== undefined) return;
    await this.#database.devices.rename(id, name);
    await this.#database.events.append([{ type: "device.renamed", folder: null, data: { id, name } }]);
    const act = { action: "device.rename", actor: `device:${before}`, target: id, peer, detail: `${before}: ${name}` };
    await this.#guard.done(act);
  }

  /** A secret that resumes connections came a second time: a copy of it was stolen. */
  async resumptionReused(pin: string, peer: Peer): Promise<void> {
    const device = await this.#database.devices.byPin(pin);
    const actor = device === undefined ? {} : { actor: `device:${device.name}` };
    const detail =
      "its secret was used twice, so that one of the two who have it stole it; all of its secrets are void";
    const act = { action: "device.resume", ...actor, target: device?.id ?? pin, peer, detail };
    await this.#guard.refused("ERR_RESUMPTION_REUSED", detail, act);
    const data = { id: device?.id ?? null };
    await this.#database.events.append([{ type: "device.resumption-reused", folder: null, data }]);
  }

  async #create(device: { name: string; pin: string }, role: Device["role"]): Promise<Device> {
    try {
      return await this.#database.devices.create({ ...device, role });
    } catch (error) {
      // The same device by another connection at the same time.
      const known = await this.#database.devices.byPin(device.pin);
      if (known === undefined) throw error;
      return known;
    }
  }

  async #paired(device: Device, peer: Peer, detail: string): Promise<DevicePrincipal> {
    const principal = deviceOf(device);
    await this.#guard.done({ action: "device.pair", actor: actorOf(principal), target: device.id, peer, detail });
    const data = { id: device.id, name: device.name };
    await this.#database.events.append([{ type: "device.paired", folder: null, data }]);
    return principal;
  }

  async #admitted(device: Device, action: string, peer: Peer): Promise<DevicePrincipal> {
    if (device.revokedAt !== null) {
      const message =
        "This device was revoked. If that was not meant, delete its key (device.key in its state folder) and pair it again.";
      const attempt = this.#guard.attempt({ kind: "key" }, peer);
      const act = { action, actor: `device:${device.name}`, target: device.id, peer };
      throw await this.#guard.failed(attempt, "ERR_FORBIDDEN", message, act);
    }
    const now = this.#guard.now();
    if (now - (device.lastSeenAt ?? 0) >= SEEN_MS) await this.#database.devices.seen(device.id, now);
    return deviceOf(device);
  }
}

/** Notes that a pairing failed. `target`: the folder that the code was for. */
type Fail = (message: string, target: string | null) => Promise<AuthError>;

const ASK = "Ask for a new pairing address: `confundo invite NAME` prints one.";

function deviceOf({ id, name, role }: Device): DevicePrincipal {
  return { kind: "device", id, name, role };
}

function principalOf({ id, name, role }: User, token: Token): UserPrincipal {
  return { kind: "user", id, name, role, token };
}
