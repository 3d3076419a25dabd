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

/** The names of the limits, as metrics and docs/security.md have them. */
export const LIMIT_NAMES = Object.keys(ATTEMPTS) as readonly (keyof typeof ATTEMPTS)[];
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
