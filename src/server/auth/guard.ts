/** What every refusal and every act of an administrator goes through: the audit log, and limits for those who fail. */
import type { Database } from "../database/types.js";
import { AuthError, type AuthErrorCode } from "./errors.js";
import { addressKey, Failures } from "./failures.js";
import type { Peer, Principal } from "./types.js";

/** Failed logins, codes, tokens and keys from one address. */
const PER_ADDRESS = { burst: 20, everyMs: 10_000 };
/** Failed logins of one account, from wherever; not for addresses it has logged in from before. */
const PER_ACCOUNT = { burst: 20, everyMs: 30_000 };
/** Pairs of account and address remembered as good. */
const MAX_FAMILIAR = 1000;

export interface Act {
  readonly action: string;
  readonly actor?: string;
  readonly target?: string | null;
  readonly peer?: Peer;
  readonly detail?: string;
}

export class Guard {
  readonly #database: Database;
  readonly now: () => number;
  readonly #addresses = new Failures(PER_ADDRESS);
  readonly #accounts = new Failures(PER_ACCOUNT);
  readonly #familiar = new Set<string>();

  constructor(database: Database, now: () => number) {
    this.#database = database;
    this.now = now;
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

  /**
   * The same for who failed to prove who they are, which is limited. Beyond its limit an address is refused without more
   * being written: nobody fills the log.
   */
  async failed(code: AuthErrorCode, message: string, act: Act & { readonly account?: string }): Promise<AuthError> {
    const now = this.now();
    const { peer, account } = act;
    if (account !== undefined) this.#accounts.add(account, now);
    const last = peer !== undefined && this.#addresses.add(addressKey(peer.address), now);
    const error = await this.refused(code, message, act);
    if (last)
      await this.refused("ERR_RATE_LIMITED", "", { ...act, detail: "no more attempts from this address for now" });
    return error;
  }

  /** @throws AuthError ERR_RATE_LIMITED */
  check(peer: Peer, account?: string): void {
    const now = this.now();
    const address = addressKey(peer.address);
    const unfamiliar = account !== undefined && !this.#familiar.has(`${account}\0${address}`);
    const ofAccount = unfamiliar ? this.#accounts.waitMs(account, now) : 0;
    const waitMs = Math.max(this.#addresses.waitMs(address, now), ofAccount);
    if (waitMs === 0) return;
    const seconds = Math.ceil(waitMs / 1000);
    throw new AuthError("ERR_RATE_LIMITED", `Too many failed attempts. Try again in ${seconds} s.`, waitMs);
  }

  /** A login that went well: who guesses at the account elsewhere does not keep its owner out. */
  familiar(account: string, peer: Peer): void {
    const key = `${account}\0${addressKey(peer.address)}`;
    this.#familiar.delete(key);
    this.#familiar.add(key);
    const [oldest] = this.#familiar;
    if (this.#familiar.size > MAX_FAMILIAR && oldest !== undefined) this.#familiar.delete(oldest);
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
