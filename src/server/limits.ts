/**
 * The limits of a server: what strangers, devices and users can make it spend. Each is counted in
 * `confundo_limit_reached_total{limit="…"}` when it refuses something, under the name that {@link LimitName} lists.
 */

const SECOND_MS = 1000;
const DAY_MS = 24 * 60 * 60 * SECOND_MS;

/** A number of attempts in a row, and the time after which one more is allowed. */
export interface AttemptLimit {
  readonly burst: number;
  readonly everyMs: number;
}

/**
 * Failed attempts to prove an identity. Each kind has a budget of its own, so that bad tokens of one program do not keep
 * a person behind the same address from logging in. IPv6 addresses count by their /64.
 */
export const ATTEMPTS = {
  /** Wrong passwords from one address, whatever the account. */
  passwordsPerAddress: { burst: 20, everyMs: 10 * SECOND_MS },
  /** Wrong passwords for one account, from addresses that it has not logged in from. */
  passwordsPerAccount: { burst: 20, everyMs: 30 * SECOND_MS },
  /** Wrong passwords for one account from one address that it has logged in from: this budget replaces the two above. */
  passwordsPerFamiliar: { burst: 20, everyMs: 10 * SECOND_MS },
  /** Pairing codes that are unknown, used, withdrawn or expired. */
  codesPerAddress: { burst: 20, everyMs: 10 * SECOND_MS },
  /** Tokens that are unknown, revoked or expired. A good token is always taken. */
  tokensPerAddress: { burst: 20, everyMs: 10 * SECOND_MS },
  /** Device keys that are unknown or revoked. A known device is always let in. */
  keysPerAddress: { burst: 20, everyMs: 10 * SECOND_MS },
} as const satisfies Record<string, AttemptLimit>;

/** Keys remembered by each budget of {@link ATTEMPTS}; the one that has not failed for longest is forgotten first. */
export const MAX_ATTEMPT_KEYS = 10_000;
/** Pairs of account and address from which a login succeeded. */
export const MAX_FAMILIAR = 1000;

/** A deleted folder can be restored for this long, unless its deletion says otherwise. */
export const FOLDER_GRACE_MS = 30 * DAY_MS;
export const MAX_FOLDER_GRACE_MS = 365 * DAY_MS;

/** Sessions of one user that a login makes; of more, the oldest end. */
export const MAX_LOGINS_PER_USER = 100;
/** API tokens of one user that are good. */
export const MAX_TOKENS_PER_USER = 1000;
/** API tokens of one user that have ended and are still listed. */
export const MAX_ENDED_TOKENS_PER_USER = 100;

/** Passwords that are hashed at once, each in a thread with tens of megabytes, and those that may wait for it. */
export const MAX_HASHES_AT_ONCE = 2;
export const MAX_HASHES_WAITING = 64;

/** Connections that have not shown yet who they are, over Confundo: in all, and from one address. The oldest make way. */
export const MAX_HANDSHAKES = 1024;
export const MAX_HANDSHAKES_PER_ADDRESS = 512;

/** How many of something there may be, and what part of it one user, device or address gets. */
export interface ShareLimits {
  readonly total: number;
  /** Of the total, places that only administrators get. */
  readonly forAdministrators: number;
  readonly perUser?: number;
  readonly perDevice?: number;
  readonly perAddress?: number;
}

export const SHARES = {
  /** Clients that listen to events. */
  webSockets: { total: 2048, forAdministrators: 64, perUser: 64, perAddress: 512 },
  /** TCP connections to the HTTP port. Those of nobody that is known make way for others, the oldest first. */
  httpConnections: { total: 8192, forAdministrators: 256, perUser: 512, perAddress: 1024 },
  /** Devices' sessions with their mirrors. */
  sessions: { total: 2048, forAdministrators: 64, perDevice: 64, perAddress: 512 },
  /** Files that are received over HTTP at once. */
  uploads: { total: 64, forAdministrators: 8, perUser: 16 },
} as const satisfies Record<string, ShareLimits>;

export type ShareKind = keyof typeof SHARES;

/** The names of the limits, as metrics and docs/security.md have them. */
export const LIMIT_NAMES = [
  ...(Object.keys(ATTEMPTS) as (keyof typeof ATTEMPTS)[]),
  "loginsPerUser",
  "tokensPerUser",
  "hashesWaiting",
  "handshakes",
  "handshakesPerAddress",
  "webSockets",
  "webSocketsPerUser",
  "webSocketsPerAddress",
  "httpConnections",
  "httpConnectionsPerUser",
  "httpConnectionsPerAddress",
  "sessions",
  "sessionsPerDevice",
  "sessionsPerAddress",
  "uploads",
  "uploadsPerUser",
] as const;
export type LimitName = (typeof LIMIT_NAMES)[number];

/** Counts how often each limit refused something. */
export class LimitCounters {
  readonly #counts = new Map<LimitName, number>();

  add(limit: LimitName): void {
    this.#counts.set(limit, this.of(limit) + 1);
  }

  of(limit: LimitName): number {
    return this.#counts.get(limit) ?? 0;
  }
}
