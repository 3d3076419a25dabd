import type { Database, User } from "../database/types.js";
import type { AuthError, AuthErrorCode } from "./errors.js";
import type { Act, Guard } from "./guard.js";
import { hashPassword, isOutdated, verifyPassword } from "./passwords.js";
import { createToken } from "./secrets.js";
import type { Peer } from "./types.js";

/** What is said and noted when a password is wrong. */
export interface Refusal {
  readonly code: AuthErrorCode;
  readonly message: string;
  readonly act: Act;
}

/** Verifies passwords of accounts, within the budgets of their addresses and accounts. */
export class PasswordCheck {
  readonly #database: Database;
  readonly #guard: Guard;
  /** A hash of no password: a login to an unknown account is compared with it, so that it takes as long. */
  #nobody: Promise<string> | undefined;

  constructor(database: Database, guard: Guard) {
    this.#database = database;
    this.#guard = guard;
  }

  /**
   * The user of the account whose password it is.
   * @throws AuthError ERR_RATE_LIMITED, or what `refusal` says where the account or the password is not right
   */
  async verify(account: string, password: string, peer: Peer | undefined, refusal: Refusal): Promise<User> {
    await this.#guard.ready();
    // Before anything is awaited that takes long: attempts that come at once are counted like those of a series.
    const attempt = this.#guard.attempt({ kind: "password", account }, peer);
    let wrong = false;
    try {
      const user = await this.#database.users.byName(account);
      this.#nobody ??= hashPassword(createToken());
      const right = await this.#compare(password, user?.passwordHash ?? (await this.#nobody));
      wrong = user === undefined || !right;
      if (user === undefined || !right) {
        throw await this.#guard.failed(attempt, refusal.code, refusal.message, refusal.act);
      }
      if (isOutdated(user.passwordHash)) {
        await this.#database.users.setPassword(user.id, await hashPassword(password));
      }
      return user;
    } finally {
      if (!wrong) attempt.refund();
    }
  }

  async #compare(password: string, stored: string): Promise<boolean> {
    try {
      return await verifyPassword(password, stored);
    } catch (error) {
      if ((error as AuthError).code === "ERR_RATE_LIMITED") this.#guard.limits.add("hashesWaiting");
      throw error;
    }
  }
}
