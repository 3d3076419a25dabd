/** Records of the database as they are told to clients: nothing secret, plain JSON. */
import type { Access, FileRecord, Folder, Grant, Invitation, Token, User, Version } from "../database/types.js";
import type { Mirrors } from "./mirrors.js";
import type { UserPrincipal } from "./router.js";

export function userView({ id, name, role, createdAt }: User) {
  return { id, name, role, createdAt };
}

export function grantViews(grants: readonly Grant[]) {
  return grants.map(({ folder, access }) => ({ name: folder, access }));
}

export function tokenView({ id, kind, name, userId, scopes, createdAt, expiresAt, revokedAt, lastUsedAt }: Token) {
  return { id, kind, name, userId, scopes: [...scopes], createdAt, expiresAt, revokedAt, lastUsedAt };
}

export function invitationView(invitation: Invitation) {
  const { id, folder, access, createdAt, expiresAt, usedAt, usedBy, withdrawnAt } = invitation;
  return { id, folder, access, createdAt, expiresAt, usedAt, usedBy, withdrawnAt };
}

export function folderView(folder: Folder, access: Access, mirrors: Mirrors) {
  const { name, files, bytes, entries, versions, versionBytes, createdAt, changedAt, heldAt, rootHash } = folder;
  const { deletedAt, purgeAt } = folder;
  const { quotaBytes, storageLimitBytes, maxEntries } = folder;
  const { bytes: storageBytes, unfinishedBytes, limits } = mirrors.storage(folder);
  const sessions = mirrors.sessions();
  const session = sessions.find((each) => each.folder === name);
  const heldDeletes = sessions.find((each) => each.folder === name && each.heldDeletes !== null)?.heldDeletes ?? null;
  const live = heldDeletes === null ? (session?.state ?? ("idle" as const)) : ("awaiting-approval" as const);
  const state = deletedAt !== null ? ("deleted" as const) : heldAt === null ? live : ("held" as const);
  const sizes = { files, entries, bytes, versions, versionBytes, unfinishedBytes, storageBytes };
  const own = { quotaBytes, storageLimitBytes, maxEntries, limits };
  const times = { createdAt, changedAt, heldAt, deletedAt, purgeAt };
  return { name, state, access, ...sizes, ...own, ...times, heldDeletes, rootHash };
}

export function entryView({ path, kind, size, mode, mtimeNs, sha256, target, version, storedAt }: FileRecord) {
  return { path, kind, size, mode, modifiedAt: milliseconds(mtimeNs), sha256, target, version, storedAt };
}

export function versionView(version: Version) {
  const { endedAt, why, movedTo } = version;
  return { ...entryView(version), endedAt, why, movedTo };
}

/** With microseconds behind the point. */
export function milliseconds(ns: bigint): number {
  return Number(ns / 1000n) / 1000;
}

/** A page and the `after` of the next one. `items` are one more than asked for where there is a next page. */
export function pageView<T, V>(items: readonly T[], limit: number, view: (item: T) => V, key: (item: T) => string) {
  const shown = items.slice(0, limit);
  const last = shown.at(-1);
  const next = items.length > limit && last !== undefined ? key(last) : null;
  return { items: shown.map(view), next };
}

/** For the audit log and the events. */
export function actorOf({ name }: UserPrincipal): string {
  return `user:${name}`;
}
