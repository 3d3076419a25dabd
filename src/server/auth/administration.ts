/** What administrators do, each time with a line in the audit log. */
import { createCode } from "../../secure/index.js";
import type { Database, Device, Invitation, LoggedEvent, Token, User } from "../database/types.js";
import { MAX_ENDED_TOKENS_PER_USER, MAX_TOKENS_PER_USER } from "../limits.js";
import { mirrorNameProblem } from "../name.js";
import { AuthError } from "./errors.js";
import { actorOf, type Guard } from "./guard.js";
import { deviceNameProblem, tokenNameProblem, userNameProblem } from "./names.js";
import type { PasswordCheck } from "./password-check.js";
import { checkPassword, hashPassword } from "./passwords.js";
import { createToken, hashSecret } from "./secrets.js";
import type { Auth, Principal, SetPasswordOptions } from "./types.js";

type Acts = Omit<
  Auth,
  | "device"
  | "pair"
  | "pairLocal"
  | "login"
  | "logout"
  | "authenticate"
  | "may"
  | "folders"
  | "rename"
  | "resumptionReused"
>;

/** Invitations are remembered for so long after they were used or expired: so that their codes are told from unknown ones. */
const FORGET_INVITATIONS_MS = 30 * 24 * 60 * 60 * 1000;
const MAX_INVITATION_MS = 30 * 24 * 60 * 60 * 1000;
const MAX_SCOPES = 1000;

export function acts(database: Database, guard: Guard, passwords: PasswordCheck): Acts {
  const desk = new Desk(database, guard, passwords);
  return {
    invite: (who, what) => desk.invite(who, what),
    invitations: (who) => desk.admit(who, "invitation.list").then(() => database.invitations.list()),
    withdraw: (who, invitation) => desk.withdraw(who, invitation),
    devices: (who) => desk.admit(who, "device.list").then(() => database.devices.list()),
    revoke: (who, device) => desk.revoke(who, device),
    renameDevice: (who, device, name) => desk.renameDevice(who, device, name),
    users: (who) => desk.admit(who, "user.list").then(() => database.users.list()),
    addUser: (who, user) => desk.addUser(who, user),
    setPassword: (who, name, password, options = {}) => desk.setPassword(who, name, password, options),
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
  readonly #passwords: PasswordCheck;

  constructor(database: Database, guard: Guard, passwords: PasswordCheck) {
    this.#database = database;
    this.#guard = guard;
    this.#passwords = passwords;
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

  async withdraw(who: Principal, id: string): Promise<Invitation> {
    await this.admit(who, "invitation.withdraw", id);
    const invitation = (await this.#database.invitations.list()).find((each) => each.id === id);
    if (invitation === undefined) throw new AuthError("ERR_NOT_FOUND", `There is no invitation "${id}".`);
    const at = this.#guard.now();
    if (!(await this.#database.invitations.withdraw(id, at))) {
      const why = invitation.withdrawnAt === null ? "used already: revoke the device instead" : "withdrawn already";
      throw new AuthError("ERR_NOT_FOUND", `The invitation "${id}" was ${why}.`);
    }
    await this.#tell([{ type: "invitation.withdrawn", folder: null, data: { id } }]);
    await this.#done(who, "invitation.withdraw", id, invitation.folder ?? "all folders");
    return { ...invitation, withdrawnAt: at };
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

  async renameDevice(who: Principal, wanted: string, name: string): Promise<Device> {
    await this.admit(who, "device.rename", wanted);
    const device = one(await this.#database.devices.list(), wanted, "device", ({ revokedAt }) => revokedAt === null);
    const problem = deviceNameProblem(name);
    if (problem !== undefined) throw new AuthError("ERR_INVALID", `"${name}" cannot be a device's name: ${problem}.`);
    await this.#database.devices.rename(device.id, name);
    await this.#tell([{ type: "device.renamed", folder: null, data: { id: device.id, name } }]);
    await this.#done(who, "device.rename", device.id, `${device.name}: ${name}`);
    return { ...device, name };
  }

  async addUser(who: Principal, user: Parameters<Auth["addUser"]>[1]): Promise<User> {
    const { name, password, role, grants = [] } = user;
    await this.admit(who, "user.add", name);
    const problem = userNameProblem(name);
    if (problem !== undefined) throw new AuthError("ERR_INVALID", `"${name}" cannot be a user's name: ${problem}.`);
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

  async setPassword(who: Principal, name: string, password: string, options: SetPasswordOptions): Promise<void> {
    const { endTokens = false, peer } = options;
    await this.#refuseTokens(who, "user.passwd", name, "Passwords are set by who has logged in, not with a token.");
    const own = who.kind === "user" && who.name === name;
    if (!own) await this.admit(who, "user.passwd", name);
    checkPassword(password);
    if (own) await this.#checkOld(who, options);
    const user = await this.#user(name);
    await this.#database.users.setPassword(user.id, await hashPassword(password));
    await this.#endTokens(user.id, ({ kind }) => kind === "session" || endTokens);
    const act = { action: "user.passwd", actor: actorOf(who), target: name, peer };
    await this.#guard.done(endTokens ? { ...act, detail: "and the tokens ended" } : act);
  }

  async #checkOld(who: Principal & { kind: "user" }, { oldPassword, peer }: SetPasswordOptions): Promise<void> {
    if (oldPassword === undefined) throw new AuthError("ERR_INVALID", "To set your password, say the old one, too.");
    await this.#passwords.verify(who.name, oldPassword, peer, {
      code: "ERR_FORBIDDEN",
      message: "The old password is wrong.",
      act: { action: "user.passwd", actor: actorOf(who), target: who.name, peer },
    });
  }

  /** What only people do: an API token can do nothing but its scopes, and end itself. */
  async #refuseTokens(who: Principal, action: string, target: string, message: string): Promise<void> {
    if (who.kind !== "user" || who.token.kind === "session") return;
    throw await this.#guard.refused("ERR_FORBIDDEN", message, { action, actor: actorOf(who), target });
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
    await this.#refuseTokens(who, "token.create", owner, "Tokens are made by who has logged in, not with a token.");
    if (!(who.kind === "user" && who.name === owner)) await this.admit(who, "token.create", owner);
    const problem = tokenNameProblem(name);
    if (problem !== undefined) throw new AuthError("ERR_INVALID", `This cannot be a token's name: ${problem}.`);
    if (scopes.length === 0 || scopes.length > MAX_SCOPES) {
      throw new AuthError("ERR_INVALID", `A token is for at least one folder, or all, and for at most ${MAX_SCOPES}.`);
    }
    for (const { folder } of scopes) if (folder !== null) checkFolder(folder);
    if (expiresInMs !== null && !(expiresInMs > 0))
      throw new AuthError("ERR_INVALID", "A token cannot end before it begins.");
    const user = await this.#user(owner);
    checkMetricsScope(scopes, user);
    await this.#requireRoomForToken(user);
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

  async #requireRoomForToken({ id, name }: User): Promise<void> {
    const { tokens } = this.#database;
    const now = this.#guard.now();
    if ((await tokens.trim(id, "api", now, MAX_ENDED_TOKENS_PER_USER)) > 0)
      this.#guard.limits.add("endedTokensPerUser");
    const isGood = ({ kind, revokedAt, expiresAt }: Token): boolean =>
      kind === "api" && revokedAt === null && (expiresAt ?? Number.POSITIVE_INFINITY) > now;
    if ((await tokens.list(id)).filter(isGood).length < MAX_TOKENS_PER_USER) return;
    this.#guard.limits.add("tokensPerUser");
    throw new AuthError("ERR_INVALID", `"${name}" has ${MAX_TOKENS_PER_USER} tokens already. Revoke some first.`);
  }

  async tokens(who: Principal): Promise<Token[]> {
    if (who.kind === "user" && who.token.kind === "api") return [who.token];
    if (!administers(who) && who.kind === "user") return this.#database.tokens.list(who.id);
    await this.admit(who, "token.list");
    return this.#database.tokens.list();
  }

  async revokeToken(who: Principal, wanted: string): Promise<void> {
    if (!(who.kind === "user" && who.token.id === wanted)) {
      await this.#refuseTokens(who, "token.revoke", wanted, "A token can revoke itself, and no other.");
    }
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

/** It stands alone, so that who reads figures can do nothing else; and it is an administrator's, as figures are of all folders. */
function checkMetricsScope(scopes: Token["scopes"], owner: User): void {
  if (scopes.every(({ access }) => access !== "metrics")) return;
  if (scopes.length > 1 || scopes[0]?.folder !== null) {
    throw new AuthError("ERR_INVALID", "A token for metrics is for nothing else: leave other scopes and folders out.");
  }
  if (owner.role !== "admin") throw new AuthError("ERR_INVALID", "A token for metrics has to be an administrator's.");
}

function checkFolder(folder: string): void {
  const problem = mirrorNameProblem(folder);
  if (problem !== undefined) throw new AuthError("ERR_INVALID", `"${folder}" cannot be a folder's name: ${problem}.`);
}
