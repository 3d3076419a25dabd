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

/** Bodies of requests that are no files, and a token in a request. */
export const MAX_JSON_BYTES: number = 64 * 1024;
export const MAX_TOKEN_CHARACTERS = 200;
/** All headers of a request. */
export const MAX_HEADER_BYTES: number = 16 * 1024;
/** How long all headers may take, and all of a body that is no file. */
export const MAX_HEADERS_MS: number = 10 * SECOND_MS;
export const MAX_BODY_MS: number = 30 * SECOND_MS;
/** A connection over which nothing is sent and nothing taken ends after so long. */
export const MAX_IDLE_MS: number = 60 * SECOND_MS;
/** A file that is received over HTTP brings so much within so long, or is given up. */
export const LEAST_FILE_BYTES = 4096;
export const MAX_FILE_WINDOW_MS: number = 30 * SECOND_MS;
/** One message of a client that listens to events: it has nothing to say. */
export const MAX_WEB_SOCKET_MESSAGE_BYTES = 4096;
/** Pings, one in half a minute, that such a client leaves unanswered. */
export const MAX_MISSED_PINGS = 8;

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

/** Beyond this mean delay of the event loop, newcomers wait until those are served that are in … */
export const BUSY_LOOP_DELAY_MS = 30;
/** … and are let in one by one, so often at most … */
export const ADMISSION_EVERY_MS = 10;
/** … and so often at least. */
export const LEAST_ADMISSION_MS = 100;
/** Who has waited for so long is turned away, and comes back later. Clients give up after 10 s. */
export const ADMISSION_WAIT_MS = 6000;

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
  "attemptKeys",
  "familiarLogins",
  "endedTokensPerUser",
  "hashesWaiting",
  "handshakes",
  "handshakesPerAddress",
  "admission",
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
  "headerBytes",
  "headersMs",
  "jsonBytes",
  "bodyMs",
  "idleMs",
  "fileWindowMs",
  "webSocketMessageBytes",
  "missedPings",
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

/**
 * Codes of connections that were refused and of sessions that failed which are counted one by one. All others are one, as a peer
 * may say any.
 */
const COUNTED_CODES: ReadonlySet<string> = new Set([
  "ERR_CERTIFICATE",
  "ERR_CHECKSUM",
  "ERR_CODE",
  "ERR_CONNECTION_LOST",
  "ERR_FOLDER_DELETED",
  "ERR_FOLDER_HELD",
  "ERR_FORBIDDEN",
  "ERR_LIMIT",
  "ERR_MIRROR_BUSY",
  "ERR_MIRROR_NAME",
  "ERR_PEER_SILENT",
  "ERR_PROTOCOL",
  "ERR_RATE_LIMITED",
  "ERR_REPLACED",
  "ERR_RESUMPTION_REUSED",
  "ERR_SERVER_CLOSING",
  "ERR_TLS",
  "ERR_TOO_MANY",
  "ERR_UNAUTHENTICATED",
  "ERR_UNAVAILABLE",
  "ERR_UNSUPPORTED",
]);

/** Counts errors by their code. */
export class CodeCounters {
  readonly #counts = new Map<string, number>();

  add(code: string): void {
    const counted = COUNTED_CODES.has(code) ? code : "other";
    this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1);
  }

  /** All codes that can be counted, also those that were not yet. */
  entries(): [code: string, count: number][] {
    return [...COUNTED_CODES, "other"].map((code) => [code, this.#counts.get(code) ?? 0]);
  }
}
