/** The authentication service: who somebody is, and what they may do. The only one that sees codes, tokens and passwords. */
import type { Access, Device, Invitation, Role, Token, User } from "../database/types.js";

/** Who acts. What follows from it is asked of {@link Auth.may}. */
export type Principal =
  | { readonly kind: "device"; readonly id: string; readonly name: string; readonly role: Role }
  | {
      readonly kind: "user";
      readonly id: string;
      readonly name: string;
      readonly role: Role;
      /** The token it came with; its scopes narrow what the user may do. */
      readonly token: Token;
    }
  /** Who runs programs beside the data, as the command line does. */
  | { readonly kind: "local" };

export interface Peer {
  /** IP address, for rate limits and the audit log. */
  readonly address: string;
}

export interface SetPasswordOptions {
  /** The password so far. Needed for one's own. */
  readonly oldPassword?: string;
  /** Whether the user's API tokens end, too. Default false. */
  readonly endTokens?: boolean;
  readonly peer?: Peer;
}

export interface Invited {
  readonly invitation: Invitation;
  /** 128 bits, base64url: told once. */
  readonly code: string;
}

/**
 * Refusals reject with an `AuthError`: ERR_UNAUTHENTICATED, ERR_FORBIDDEN, ERR_RATE_LIMITED, ERR_CODE (used, expired, unknown);
 * mistakes of administrators with ERR_NOT_FOUND, ERR_EXISTS, ERR_INVALID. Each refusal is in the audit log.
 */
export interface Auth {
  /** The device behind a pinned key. Rejects where it is unknown or revoked. */
  device(pin: string, peer: Peer): Promise<Principal & { kind: "device" }>;
  /** Uses an invitation up and makes the device known (or gives a known one the folder, too). */
  pair(code: string, device: { name: string; pin: string }, peer: Peer): Promise<Principal & { kind: "device" }>;
  /** Makes a device known that has shown to be of the server's own user, as an administrator. A known one stays what it is. */
  pairLocal(device: { name: string; pin: string }, peer: Peer): Promise<Principal & { kind: "device" }>;
  /** A name and a password for a session token (256 bits, base64url, told once). */
  login(
    name: string,
    password: string,
    peer: Peer,
  ): Promise<{ token: string; principal: Principal & { kind: "user" } }>;
  logout(token: string): Promise<void>;
  /** Of a session or an API token. */
  authenticate(token: string, peer: Peer): Promise<Principal & { kind: "user" }>;
  /** A device gives itself another name. One that cannot be a name changes nothing. Event `device.renamed`. */
  rename(device: Principal & { kind: "device" }, name: string, peer: Peer): Promise<void>;
  /** Notes that a secret of the device that resumes connections came a second time. Event `device.resumption-reused`. */
  resumptionReused(pin: string, peer: Peer): Promise<void>;
  may(who: Principal, folder: string, access: Access): Promise<boolean>;
  /** The folders that somebody may read; null: all. */
  folders(who: Principal): Promise<ReadonlyMap<string, Access> | null>;

  // What administrators do. Each is audited with its actor, and each rejects with ERR_FORBIDDEN for others.
  invite(who: Principal, what: { folder: string | null; access: Access; expiresInMs: number }): Promise<Invited>;
  invitations(who: Principal): Promise<Invitation[]>;
  /** By id: its code is of no use any more. Event `invitation.withdrawn` with `{ id }`. */
  withdraw(who: Principal, invitation: string): Promise<Invitation>;
  devices(who: Principal): Promise<Device[]>;
  /** By id, by name where one device has it. Its connections end at once: event `device.revoked` with `{ id }`. */
  revoke(who: Principal, device: string): Promise<Device>;
  /** By id, by name where one device has it. Event `device.renamed` with `{ id, name }`. */
  renameDevice(who: Principal, device: string, name: string): Promise<Device>;
  users(who: Principal): Promise<User[]>;
  addUser(
    who: Principal,
    user: {
      name: string;
      password: string;
      role: Role;
      grants?: readonly { readonly folder: string; readonly access: Access }[];
    },
  ): Promise<User>;
  /**
   * By an administrator, or by the user itself, who says the old password too (ERR_FORBIDDEN where that is wrong). Ends the
   * user's sessions. Tokens cannot do it.
   */
  setPassword(who: Principal, name: string, password: string, options?: SetPasswordOptions): Promise<void>;
  removeUser(who: Principal, name: string): Promise<void>;
  createToken(
    who: Principal,
    token: { user: string; name: string; scopes: Token["scopes"]; expiresInMs: number | null },
  ): Promise<{ token: string; record: Token }>;
  /** All for an administrator's session, a user's own for others; an API token sees itself. */
  tokens(who: Principal): Promise<Token[]>;
  /**
   * By id, by name where one token has it. Users may revoke their own, an API token itself (by id). Event `token.revoked`
   * with `{ id }`.
   */
  revokeToken(who: Principal, token: string): Promise<void>;
  /** What a device or a user, by id or name, may do with a folder; null: nothing any more. Event `grants.changed`. */
  grant(
    who: Principal,
    what: { subject: "device" | "user"; of: string; folder: string; access: Access | null },
  ): Promise<void>;
}
