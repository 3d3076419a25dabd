/** The audit log, and the budgets of failed attempts, for everything that the authentication service does or refuses. */
import type { Database } from "../database/types.js";
import { ATTEMPTS, type AttemptLimit, type LimitCounters, MAX_FAMILIAR } from "../limits.js";
import { AuthError, type AuthErrorCode } from "./errors.js";
import { AttemptBudget, addressKey } from "./rate-limit.js";
import type { Peer, Principal } from "./types.js";

type Budget = keyof typeof ATTEMPTS;

/** Entries of the audit log that are searched for successful logins when the service starts. */
const FAMILIAR_ENTRIES = 1000;

export interface Act {
  readonly action: string;
  readonly actor?: string;
  readonly target?: string | null;
  readonly peer?: Peer | undefined;
  readonly detail?: string;
}

/** What is proved: a password of an account, a pairing code, a token or a device's key. */
export type Proof =
  | { readonly kind: "password"; readonly account: string }
  | { readonly kind: "code" | "token" | "key" };

/** An attempt that was counted when it began. */
export interface Attempt {
  /** Gives it back, because it succeeded or was never verified. */
  refund(): void;
  /** Whether it used a budget up: the next one has to wait. */
  readonly last: boolean;
}

export class Guard {
  readonly #database: Database;
  readonly limits: LimitCounters;
  readonly now: () => number;
  readonly #budgets: Readonly<Record<Budget, AttemptBudget>>;
  readonly #familiar = new Set<string>();
  #loading: Promise<void> | undefined;

  constructor(database: Database, now: () => number, limits: LimitCounters) {
    this.#database = database;
    this.now = now;
    this.limits = limits;
    const budget = (limit: AttemptLimit) => new AttemptBudget(limit, () => limits.add("attemptKeys"));
    const budgets = Object.entries(ATTEMPTS).map(([name, limit]) => [name, budget(limit)]);
    this.#budgets = Object.fromEntries(budgets);
  }

  /** Notes that something was done. */
  async done(act: Act): Promise<void> {
    await this.#audit(act, "ok");
  }

  /** Notes that something was refused, and gives the error for it. */
  async refused(code: AuthErrorCode, message: string, act: Act): Promise<AuthError> {
    await this.#audit(act, "refused", code);
    return new AuthError(code, message);
  }

  /** Notes that an attempt failed, and gives the error for it. */
  async failed({ last }: Attempt, code: AuthErrorCode, message: string, act: Act): Promise<AuthError> {
    const error = await this.refused(code, message, act);
    if (last)
      await this.refused("ERR_RATE_LIMITED", "", { ...act, detail: "no more attempts from this address for now" });
    return error;
  }

  /**
   * Counts an attempt before it is verified, so that many at once are limited as a series is. Beyond the limit nothing is
   * written: nobody fills the log.
   * @throws AuthError ERR_RATE_LIMITED
   */
  attempt(proof: Proof, peer: Peer | undefined): Attempt {
    const now = this.now();
    const budgets = this.#budgetsOf(proof, peer);
    for (const [name, key] of budgets) {
      const waitMs = this.#budgets[name].waitMs(key, now);
      if (waitMs === 0) continue;
      this.limits.add(name);
      const seconds = Math.ceil(waitMs / 1000);
      throw new AuthError("ERR_RATE_LIMITED", `Too many failed attempts. Try again in ${seconds} s.`, waitMs);
    }
    for (const [name, key] of budgets) this.#budgets[name].take(key, now);
    return {
      last: budgets.some(([name, key]) => this.#budgets[name].waitMs(key, now) > 0),
      refund: () => {
        for (const [name, key] of budgets) this.#budgets[name].refund(key, this.now());
      },
    };
  }

  /** A login succeeded: whoever guesses at the account, or at others from this address, does not keep its owner out. */
  familiar(account: string, peer: Peer): void {
    const key = familiarKey(account, peer.address);
    this.#familiar.delete(key);
    this.#familiar.add(key);
    const [oldest] = this.#familiar;
    if (this.#familiar.size <= MAX_FAMILIAR || oldest === undefined) return;
    this.#familiar.delete(oldest);
    this.limits.add("familiarLogins");
  }

  /** Resolves when the logins of earlier runs are known, from the audit log. */
  ready(): Promise<void> {
    this.#loading ??= this.#load().catch((error) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async #load(): Promise<void> {
    const entries = await this.#database.audit.list({ limit: FAMILIAR_ENTRIES });
    for (const { action, outcome, actor, address } of entries.toReversed()) {
      if (action === "login" && outcome === "ok" && address !== null) {
        this.familiar(actor.replace(/^user:/, ""), { address });
      }
    }
  }

  #budgetsOf(proof: Proof, peer: Peer | undefined): [Budget, string][] {
    const address = peer === undefined ? [] : [addressKey(peer.address)];
    switch (proof.kind) {
      case "password": {
        const { account } = proof;
        const known = peer === undefined ? undefined : familiarKey(account, peer.address);
        if (known !== undefined && this.#familiar.has(known)) return [["passwordsPerFamiliar", known]];
        return [
          ...address.map((key): [Budget, string] => ["passwordsPerAddress", key]),
          ["passwordsPerAccount", account],
        ];
      }
      case "code":
        return address.map((key) => ["codesPerAddress", key]);
      case "token":
        return address.map((key) => ["tokensPerAddress", key]);
      case "key":
        return address.map((key) => ["keysPerAddress", key]);
    }
  }

  async #audit(
    { action, actor = "anonymous", target = null, peer, detail }: Act,
    outcome: "ok" | "refused",
    code?: string,
  ) {
    const address = peer?.address ?? null;
    const said = [code, detail].filter((part) => part !== undefined).join(": ");
    await this.#database.audit.add({ actor, action, target, outcome, address, detail: said === "" ? null : said });
  }
}

/** As the audit log names it. */
export function actorOf(who: Principal): string {
  return who.kind === "local" ? "local" : `${who.kind}:${who.name}`;
}

function familiarKey(account: string, address: string): string {
  return `${account}\0${addressKey(address)}`;
}
