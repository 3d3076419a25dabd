import type { Auth, Peer } from "../auth/types.js";
import type { UserPrincipal } from "./router.js";

/** So long a token that was good is taken for good, unless something is heard of it. */
const KNOWN_MS = 1000;
const MOST = 10_000;

/**
 * Who showed which token just now, so that a program that asks much does not have the database asked each time. It is
 * forgotten at once when rights change: here before the change is answered, elsewhere as soon as the event is heard.
 */
export class KnownTokens {
  readonly #auth: Auth;
  readonly #now: () => number;
  readonly #known = new Map<string, { readonly who: UserPrincipal; readonly until: number }>();
  #generation = 0;

  constructor(auth: Auth, now: () => number) {
    this.#auth = auth;
    this.#now = now;
  }

  /** Rejects as {@link Auth.authenticate} does. */
  async authenticate(token: string, peer: Peer): Promise<UserPrincipal> {
    const known = this.#known.get(token);
    if (known !== undefined && known.until > this.#now()) return known.who;
    const generation = this.#generation;
    const who = await this.#auth.authenticate(token, peer);
    const { expiresAt } = who.token;
    const until = Math.min(this.#now() + KNOWN_MS, expiresAt ?? Number.POSITIVE_INFINITY);
    if (this.#known.size >= MOST) this.#known.clear();
    // What was asked before a change may be answered after it.
    if (generation === this.#generation) this.#known.set(token, { who, until });
    return who;
  }

  forget(): void {
    this.#generation++;
    this.#known.clear();
  }
}
