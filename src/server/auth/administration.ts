/** What administrators do, each time with a line in the audit log. */
import { createCode } from "../../secure/index.js";
import type { Database, Device, LoggedEvent, Token, User } from "../database/types.js";
import { mirrorNameProblem } from "../name.js";
import { AuthError } from "./errors.js";
import { actorOf, type Guard } from "./guard.js";
import { checkPassword, hashPassword } from "./passwords.js";
import { createToken, hashSecret } from "./secrets.js";
import type { Auth, Principal } from "./types.js";

type Acts = Omit<Auth, "device" | "pair" | "pairLocal" | "login" | "logout" | "authenticate" | "may" | "folders">;

/** Invitations are remembered for so long after they were used or expired: so that their codes are told from unknown ones. */
const FORGET_INVITATIONS_MS = 30 * 24 * 60 * 60 * 1000;
const MAX_INVITATION_MS = 30 * 24 * 60 * 60 * 1000;
const MAX_SCOPES = 1000;
const USER_NAME = /^[\p{L}\p{N}][\p{L}\p{N}._@-]{0,63}$/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const TOKEN_NAME = /^[^\u0000-\u001f\u007f]{1,100}$/;

export function acts(database: Database, guard: Guard): Acts {
  const desk = new Desk(database, guard);
  return {
    invite: (who, what) => desk.invite(who, what),
    invitations: (who) => desk.admit(who, "invitation.list").then(() => database.invitations.list()),
    devices: (who) => desk.admit(who, "device.list").then(() => database.devices.list()),
    revoke: (who, device) => desk.revoke(who, device),
    users: (who) => desk.admit(who, "user.list").then(() => database.users.list()),
    addUser: (who, user) => desk.addUser(who, user),
    setPassword: (who, name, password) => desk.setPassword(who, name, password),
    removeUser: (who, name) => desk.removeUser(who, name),
    createToken: (who, token) => desk.createToken(who, token),
    tokens: (who) => desk.tokens(who),
    revokeToken: (who, token) => desk.revokeToken(who, token),
    grant: (who, what) => desk.grant(who, what),
  };
}

/** Whether somebody may do what is done here: programs beside the data, and administrators whose token is not narrowed. */
function administers(who: Principal): boolean {
  if (who.kind === "local") return true;
  const whole =
    who.kind === "user" && who.token.scopes.some(({ folder, access }) => folder === null && access === "write");
  return whole && who.role === "admin";
}

class Desk {
  readonly #database: Database;
  readonly #guard: Guard;

  constructor(database: Database, guard: Guard) {
    this.#database = database;
    this.#guard = guard;
  }

  /** @throws AuthError ERR_FORBIDDEN */
  async admit(who: Principal, action: string, target?: string): Promise<void> {
    if (administers(who)) return;
    const act = { action, actor: actorOf(who), ...(target === undefined ? {} : { target }) };
    throw await this.#guard.refused("ERR_FORBIDDEN", "Only administrators may do this.", act);
  }

  async invite(who: Principal, what: Parameters<Auth["invite"]>[1]): ReturnType<Auth["invite"]> {
    const { folder, access, expiresInMs } = what;
    await this.admit(who, "device.invite", folder ?? undefined);
    if (folder !== null) checkFolder(folder);
    else if (access === "read")
      throw new AuthError("ERR_INVALID", "A device that may only read is invited to one folder.");
    if (!(expiresInMs > 0 && expiresInMs <= MAX_INVITATION_MS)) {
      throw new AuthError("ERR_INVALID", "An invitation is good for at most 30 days.");
    }
    const code = createCode();
    const createdAt = this.#guard.now();
    await this.#forgetInvitations(createdAt);
    const codeHash = hashSecret(code);
    const expiresAt = createdAt + expiresInMs;
    const invitation = await this.#database.invitations.create({ codeHash, folder, access, createdAt, expiresAt });
    await this.#done(who, "device.invite", folder, `${access}, ${Math.round(expiresInMs / 60_000)} min`);
    return { invitation, code };
  }

  async revoke(who: Principal, wanted: string): Promise<Device> {
    await this.admit(who, "device.revoke", wanted);
    const device = one(await this.#database.devices.list(), wanted, "device", ({ revokedAt }) => revokedAt === null);
    const at = this.#guard.now();
    if (!(await this.#database.devices.revoke(device.id, at))) {
      throw new AuthError("ERR_NOT_FOUND", `The device "${wanted}" was revoked already.`);
    }
    await this.#tell([{ type: "device.revoked", folder: null, data: { id: device.id } }]);
    await this.#done(who, "device.revoke", device.id, device.name);
    return { ...device, revokedAt: at };
  }

  async addUser(who: Principal, user: Parameters<Auth["addUser"]>[1]): Promise<User> {
    const { name, password, role, grants = [] } = user;
    await this.admit(who, "user.add", name);
    if (!USER_NAME.test(name) || name !== name.normalize("NFC")) {
      throw new AuthError(
        "ERR_INVALID",
        `"${name}" cannot be a user's name: letters, digits and . _ @ - can, up to 64.`,
      );
    }
    checkPassword(password);
    for (const { folder } of grants) checkFolder(folder);
    if ((await this.#database.users.byName(name)) !== undefined) {
      throw new AuthError("ERR_EXISTS", `There is a user "${name}" already.`);
    }
    const created = await this.#database.users.create({ name, role, passwordHash: await hashPassword(password) });
    for (const grant of grants) await this.#database.grants.set({ subject: "user", subjectId: created.id, ...grant });
    await this.#done(who, "user.add", name, role);
    return created;
  }

  async setPassword(who: Principal, name: string, password: string): Promise<void> {
    // With a session, that is; a token in a script does not change its user's password.
    if (!(who.kind === "user" && who.name === name && who.token.kind === "session")) {
      await this.admit(who, "user.passwd", name);
    }
    checkPassword(password);
    const user = await this.#user(name);
    await this.#database.users.setPassword(user.id, await hashPassword(password));
    await this.#endTokens(user.id, ({ kind }) => kind === "session");
    await this.#done(who, "user.passwd", name);
  }

  async removeUser(who: Principal, name: string): Promise<void> {
    await this.admit(who, "user.remove", name);
    const user = await this.#user(name);
    const admins = (await this.#database.users.list()).filter(({ role }) => role === "admin");
    if (user.role === "admin" && admins.length === 1) {
      throw new AuthError("ERR_INVALID", `"${name}" is the only administrator. Add another one first.`);
    }
    await this.#endTokens(user.id, () => true);
    await this.#database.users.remove(user.id);
    await this.#done(who, "user.remove", name);
  }

  async createToken(who: Principal, wanted: Parameters<Auth["createToken"]>[1]): ReturnType<Auth["createToken"]> {
    const { user: owner, name, scopes, expiresInMs } = wanted;
    const own = who.kind === "user" && who.name === owner && who.token.kind === "session";
    if (!own) await this.admit(who, "token.create", owner);
    if (!TOKEN_NAME.test(name))
      throw new AuthError("ERR_INVALID", "A token's name is one line of at most 100 characters.");
    if (scopes.length === 0 || scopes.length > MAX_SCOPES) {
      throw new AuthError("ERR_INVALID", `A token is for at least one folder, or all, and for at most ${MAX_SCOPES}.`);
    }
    for (const { folder } of scopes) if (folder !== null) checkFolder(folder);
    if (expiresInMs !== null && !(expiresInMs > 0))
      throw new AuthError("ERR_INVALID", "A token cannot end before it begins.");
    const user = await this.#user(owner);
    const token = createToken();
    const createdAt = this.#guard.now();
    const record = await this.#database.tokens.create({
      kind: "api",
      name,
      userId: user.id,
      hash: hashSecret(token),
      scopes: scopes.map(({ folder, access }) => ({ folder, access })),
      createdAt,
      expiresAt: expiresInMs === null ? null : createdAt + expiresInMs,
    });
    await this.#done(who, "token.create", record.id, `${name}, of ${owner}`);
    return { token, record };
  }

  /** Administrators see all, users their own. */
  async tokens(who: Principal): Promise<Token[]> {
    if (!administers(who) && who.kind === "user") return this.#database.tokens.list(who.id);
    await this.admit(who, "token.list");
    return this.#database.tokens.list();
  }

  async revokeToken(who: Principal, wanted: string): Promise<void> {
    const all = await this.#database.tokens.list(who.kind === "user" && !administers(who) ? who.id : undefined);
    if (who.kind !== "user") await this.admit(who, "token.revoke", wanted);
    const token = one(all, wanted, "token", ({ revokedAt, kind }) => revokedAt === null && kind === "api");
    if (!(await this.#database.tokens.revoke(token.id, this.#guard.now()))) {
      throw new AuthError("ERR_NOT_FOUND", `The token "${wanted}" was revoked already.`);
    }
    await this.#tell([{ type: "token.revoked", folder: null, data: { id: token.id } }]);
    await this.#done(who, "token.revoke", token.id, token.name);
  }

  async grant(who: Principal, { subject, of, folder, access }: Parameters<Auth["grant"]>[1]): Promise<void> {
    await this.admit(who, "grant", of);
    checkFolder(folder);
    const { devices, users, grants } = this.#database;
    const all = subject === "device" ? await devices.list() : await users.list();
    const { id: subjectId, name } = one<{ id: string; name: string }>(all, of, subject, () => true);
    if (access === null) await grants.remove({ subject, subjectId, folder });
    else await grants.set({ subject, subjectId, folder, access });
    await this.#tell([{ type: "grants.changed", folder, data: { subject, id: subjectId } }]);
    await this.#done(who, "grant", folder, `${subject} ${name}: ${access ?? "nothing"}`);
  }

  async #user(name: string): Promise<User> {
    const user = await this.#database.users.byName(name);
    if (user === undefined) throw new AuthError("ERR_NOT_FOUND", `There is no user "${name}".`);
    return user;
  }

  async #endTokens(userId: string, which: (token: Token) => boolean): Promise<void> {
    const at = this.#guard.now();
    const ending = (await this.#database.tokens.list(userId)).filter(
      (token) => token.revokedAt === null && which(token),
    );
    for (const { id } of ending) await this.#database.tokens.revoke(id, at);
    await this.#tell(ending.map(({ id }) => ({ type: "token.revoked", folder: null, data: { id } })));
  }

  async #forgetInvitations(now: number): Promise<void> {
    for (const { id, expiresAt } of await this.#database.invitations.list()) {
      if (expiresAt < now - FORGET_INVITATIONS_MS) await this.#database.invitations.remove(id);
    }
  }

  async #tell(events: readonly Omit<LoggedEvent, "id" | "at">[]): Promise<void> {
    if (events.length > 0) await this.#database.events.append(events);
  }

  #done(who: Principal, action: string, target: string | null, detail?: string): Promise<void> {
    return this.#guard.done({ action, actor: actorOf(who), target, ...(detail === undefined ? {} : { detail }) });
  }
}

/** By id, or by name where that is clear: those that are `current` come first. */
function one<T extends { readonly id: string; readonly name: string }>(
  all: readonly T[],
  wanted: string,
  kind: string,
  current: (each: T) => boolean,
): T {
  const byId = all.find(({ id }) => id === wanted);
  if (byId !== undefined) return byId;
  const named = all.filter(({ name }) => name === wanted);
  const now = named.filter(current);
  const [found, ...more] = now.length > 0 ? now : named;
  if (found === undefined) throw new AuthError("ERR_NOT_FOUND", `There is no ${kind} "${wanted}".`);
  if (more.length === 0) return found;
  const ids = [found, ...more].map(({ id }) => id).join(", ");
  throw new AuthError("ERR_INVALID", `Several ${kind}s are called "${wanted}". Say which by its id: ${ids}.`);
}

function checkFolder(folder: string): void {
  const problem = mirrorNameProblem(folder);
  if (problem !== undefined) throw new AuthError("ERR_INVALID", `"${folder}" cannot be a folder's name: ${problem}.`);
}
